// Package attest decides whether a peer is the code we want on a machine its
// owner cannot look into.
//
// A peer proves itself with [Evidence]: bytes that its processor signed over
// the public key of its certificate. A verifier of one vendor, attest/tdx or
// attest/snp, says whether it is authentic and what it states; [Policy.Judge]
// asks whether that is wanted, and returns a [Verdict]: named checks and a
// [Level]. The zero Policy believes nobody. Evidence for this process comes
// from a [Platform].
//
// Evidence carries no clock. Peers of ours make some for each connection, which
// [Policy.JudgeSession] judges; of machines that never did, who has stolen a key
// goes on with it until image or machine is struck off. See [Proven] and
// [Rules.RequireFresh].
//
// Specification: wire.md 3.4 to 3.7, current.md 6.
package attest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"fmt"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// What all vendors' packages share is in attest/evidence; these are its
// names for those who only judge.
type (
	Kind     = evidence.Kind
	Hash     = evidence.Hash
	Check    = evidence.Check
	Checks   = evidence.Checks
	Register = evidence.Register
	Finding  = evidence.Finding
	Verifier = evidence.Verifier
)

// Kinds of evidence. A simulated TDX machine is of KindTDX: its quotes are
// judged by the same code, under a test root. What tells it apart is
// Verdict.Insecure.
const (
	KindNone    = evidence.None
	KindFakeTDX = evidence.FakeTDX // binds a key and proves nothing else
	KindTDX     = evidence.TDX
	KindSEVSNP  = evidence.SEVSNP
	KindFakeSNP = evidence.FakeSNP // a report of zeros, with the same worth
	KindSGX     = evidence.SGX     // recognised, never accepted
	KindNVIDIA  = evidence.NVIDIA
)

// Sizes of evidence, in bytes.
const (
	MaxEvidence = 32768 // of the certificate extension that carries it
	fakeSize    = 64    // the report data alone
	fakeSizeV2  = 496   // eight zero registers, report data, zero root key
)

// Evidence is what a peer shows. The zero Evidence is none.
type Evidence struct {
	Kind Kind
	Raw  []byte // as the kind's verifier takes it
}

// Quoted is the evidence in a certificate's quote extension: nil is none.
func Quoted(raw []byte) Evidence { return Evidence{KindOf(raw), raw} }

// KindOf tells what the content of a quote extension claims to be, by its
// size. Nil is no evidence; evidence that is present and empty is not nil.
func KindOf(quote []byte) Kind {
	switch {
	case quote == nil:
		return KindNone
	case len(quote) == fakeSize, len(quote) == fakeSizeV2:
		return KindFakeTDX
	default:
		return KindTDX
	}
}

// ParseHash reads 64 hexadecimal digits.
func ParseHash(s string) (Hash, error) { return evidence.ParseHash(s) }

// HashOf is the image hash of a machine with a single measurement.
func HashOf(measurement []byte) Hash { return evidence.HashOf(measurement) }

// ReportData is what evidence for a key must carry.
func ReportData(key ed25519.PublicKey) [64]byte { return sha512.Sum512(key) }

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
