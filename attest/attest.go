// Package attest decides whether a peer is the code we want on a machine its
// owner cannot look into.
//
// A peer proves itself with evidence: bytes that its processor signed over
// the public key of its certificate. [Policy.Judge] takes evidence and key and
// returns a [Verdict], a list of named checks; [Policy] says what is wanted,
// and the zero Policy believes nobody. The bytes, signatures and collateral of one
// vendor live in a package of their own, attest/tdx. Evidence for this process
// comes from a [Platform].
//
// Evidence carries no clock. Freshness comes from the short life of the
// certificate that carries it; see package ratls.
//
// Specification: wire.md 3.4 to 3.7, current.md 6.
package attest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// Kind is a kind of evidence.
type Kind string

// A simulated TDX machine is of KindTDX: its quotes are judged by the same
// code, under a test root. What tells it apart is Verdict.Insecure.
const (
	KindNone    Kind = "none"
	KindFakeTDX Kind = "fake-tdx" // binds a key and proves nothing else
	KindTDX     Kind = "tdx"
	KindSEVSNP  Kind = "sev-snp" // recognised, not judged yet: always refused
	KindSGX     Kind = "sgx"     // recognised, never accepted
)

// Sizes of evidence, in bytes.
const (
	MaxEvidence = 32768 // of the certificate extension that carries it
	fakeSize    = 64    // the report data alone
	fakeSizeV2  = 496   // eight zero registers, report data, zero root key
)

// Hash is an image hash: what the registry lists and a verdict names.
type Hash [32]byte

// Unmeasured is the image hash of a report whose registers are all zero, as
// fake evidence has them. It names no image.
var Unmeasured = (&Measurements{}).ImageHash()

// ParseHash reads 64 hexadecimal digits.
func ParseHash(s string) (h Hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("image hash %q is not %d hexadecimal digits", s, 2*len(h))
	}
	return Hash(b), nil
}

// String is the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler like String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// Measurements are the facts that evidence states about a TDX guest, and the
// key id of the root that vouches for them.
type Measurements struct {
	tdx.Body
	RootKey [48]byte
}

// ImageHash is SHA-256 over the eight registers and 64 zeros in place of the
// report data, 448 bytes in all. The debug attribute, the TDX module and its
// version are not part of it; a policy looks at them apart.
func (m *Measurements) ImageHash() Hash {
	b := make([]byte, 0, 448)
	for _, r := range [][48]byte{m.MRTD, m.MRConfigID, m.MROwner, m.MROwnerConfig} {
		b = append(b, r[:]...)
	}
	for _, r := range m.RTMR {
		b = append(b, r[:]...)
	}
	return sha256.Sum256(b[:448])
}

// ReportData is what evidence for a key must carry.
func ReportData(key ed25519.PublicKey) [64]byte { return sha512.Sum512(key) }

// KindOf tells what evidence claims to be, by its size. Nil is no evidence;
// evidence that is present and empty is not nil.
func KindOf(evidence []byte) Kind {
	switch {
	case evidence == nil:
		return KindNone
	case len(evidence) == fakeSize, len(evidence) == fakeSizeV2:
		return KindFakeTDX
	default:
		return KindTDX
	}
}

// Platform makes evidence for this process.
//
// Quote must return evidence that carries reportData, or nil for a platform
// of KindNone; must honour ctx where it can; and may be called from several
// goroutines. Every call gives evidence made now.
type Platform interface {
	Kind() Kind
	Quote(ctx context.Context, reportData [64]byte) ([]byte, error)
}

// NoPlatform has no evidence. Peers that require some refuse it.
type NoPlatform struct{}

// Kind returns KindNone.
func (NoPlatform) Kind() Kind { return KindNone }

// Quote returns nil.
func (NoPlatform) Quote(context.Context, [64]byte) ([]byte, error) { return nil, nil }

// Guest is the TDX guest that this process runs in. Quote fails with
// [tdx.ErrNotGuest] where there is none.
type Guest struct{ *tdx.Guest }

// NewGuest opens the guest's interface for quotes, or returns tdx.ErrNotGuest.
func NewGuest() (Guest, error) {
	g, err := tdx.NewGuest()
	return Guest{g}, err
}

// Kind returns KindTDX.
func (Guest) Kind() Kind { return KindTDX }

// ErrUntrusted means that the peer was judged and is not wanted. Drop it; a
// retry gives the same answer. The error that wraps it is a *RefusedError.
var ErrUntrusted = errors.New("peer not trusted by policy")

// RefusedError says which check refused a peer.
type RefusedError struct {
	Kind  Kind
	Check Check // the first that failed
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s evidence refused: %s is %s, want %s", e.Kind, e.Check.Name, e.Check.Got, e.Check.Want)
}

// Unwrap returns ErrUntrusted.
func (e *RefusedError) Unwrap() error { return ErrUntrusted }
