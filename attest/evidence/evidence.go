// Package evidence is what the kinds of attestation evidence have in common:
// the questions that were asked, their answers, and the facts that authentic
// evidence states.
//
// A package of one vendor (attest/tdx, attest/snp, attest/nvidia) implements
// [Verifier]: it takes evidence apart and asks whether a genuine machine made
// it. Whether that machine is the one we want, package attest decides.
package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Kind is a kind of evidence.
type Kind string

// The kinds. A simulated machine is of the kind that it simulates: its
// evidence is judged by the same code, under a test root, and its finding is
// Insecure.
const (
	None    Kind = "none"
	FakeTDX Kind = "fake-tdx" // binds a key and proves nothing else
	TDX     Kind = "tdx"
	SEVSNP  Kind = "sev-snp"
	FakeSNP Kind = "fake-sev-snp" // the same in the form of a report
	SGX     Kind = "sgx"          // recognised, never accepted
	NVIDIA  Kind = "nvidia"
)

// Hash is an image hash: what the registry lists and a verdict names.
type Hash [32]byte

// HashOf is the image hash of a machine with a single measurement, an SGX
// enclave's or a SEV-SNP guest's: SHA-256 over it and 64 zeros (current.md
// 6.3).
func HashOf(measurement []byte) Hash {
	return sha256.Sum256(append(append([]byte{}, measurement...), make([]byte, 64)...))
}

// String is the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler like String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// ParseHash reads 64 hexadecimal digits.
func ParseHash(s string) (h Hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("image hash %q is not %d hexadecimal digits", s, 2*len(h))
	}
	return Hash(b), nil
}

// Check is one question that was asked about evidence, and its answer. Got and
// Want are for people; Name is stable.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Got  string `json:"got"`
	Want string `json:"want"`
}

// Checks are questions in the order in which they were asked.
type Checks []Check

// Add records an answer and passes it on.
func (c *Checks) Add(name string, ok bool, got, want string) bool {
	*c = append(*c, Check{name, ok, got, want})
	return ok
}

// Passed records that err is nil, as "ok", or what it says, and passes it on.
func (c *Checks) Passed(name string, err error, want string) bool {
	got := "ok"
	if err != nil {
		got = err.Error()
	}
	return c.Add(name, err == nil, got, want)
}

// Failed returns the first check that failed.
func (c Checks) Failed() (Check, bool) {
	for _, check := range c {
		if !check.OK {
			return check, true
		}
	}
	return Check{}, false
}

// Names of checks that every kind makes; what only one vendor has is named in
// its package.
const (
	CheckSize       = "size"        // within the bounds of the kind
	CheckFormat     = "format"      // can be taken apart, nothing left over
	CheckChain      = "chain"       // certificates up to a root that is trusted, all valid now
	CheckSignature  = "signature"   // of the evidence, by the first certificate's key
	CheckRevocation = "revocation"  // nothing in the chain is on a list
	CheckCollateral = "collateral"  // signed by the vendor, valid now
	CheckTCB        = "tcb"         // the platform's firmware is in order
	CheckDebug      = "debug"       // off: the host cannot look inside
	CheckMigration  = "migration"   // off: the host cannot move the guest elsewhere
	CheckReserved   = "reserved"    // bits without a meaning that we know are zero
	CheckReportData = "report data" // binds the peer's key
	CheckImage      = "image hash"  // is wanted
	CheckPlatform   = "platform"    // this one machine is not struck off
)

// Register is one measured register, attribute or version, by the vendor's
// name in lower case ("rtmr0", "td_attributes", "policy").
type Register struct {
	Name  string
	Value []byte
}

// Finding is what verifying evidence showed: true for any key that it may
// bind and for any list of images. It is not changed after it was returned.
type Finding struct {
	Kind   Kind
	Checks Checks // none that failed: the rest is what a genuine machine states

	ReportData [64]byte
	Image      Hash       // as the network computes it; zero if the kind has none
	Platform   string     // names one processor or board for ever, in hex; empty if the evidence does not say
	Registers  []Register // everything measured, in the vendor's order

	// Status is the vendor's word for the platform's firmware, UpToDate or
	// another, or Unknown where nobody could be asked. A finding states it and
	// leaves it to the policy what is good enough: that makes CheckTCB.
	Status     string
	Reason     string   // why the status is Unknown, or another and perhaps worse than it says; for people
	Advisories []string // known weaknesses of this firmware

	Insecure bool      // the root is a test root
	Passing  bool      // a part of the answer did not come: ask again for the next peer
	Expires  time.Time // when the first thing it rests on ends; zero: never

	// Parts are the findings of the boards, where evidence comes from several;
	// Checks then sum them up, and Platform and Registers are theirs.
	Parts []*Finding
}

// Statuses that mean the same for every vendor.
const (
	Unknown  = "unknown"  // nobody was asked, or nobody answered
	UpToDate = "UpToDate" // what every policy accepts
)

// Register returns the value of a register, nil if the evidence has none of
// that name.
func (f *Finding) Register(name string) []byte {
	for _, r := range f.Registers {
		if r.Name == name {
			return r.Value
		}
	}
	return nil
}

// Platforms are the processors or boards that the evidence comes from.
func (f *Finding) Platforms() (ids []string) {
	if f.Platform != "" {
		ids = append(ids, f.Platform)
	}
	for _, part := range f.Parts {
		ids = append(ids, part.Platforms()...)
	}
	return ids
}

// Verifier judges one kind of evidence. Verify returns a finding in any case,
// never panics on a peer's bytes, asks the network only for collateral and no
// longer than ctx allows, and may be called from several goroutines.
//
// A verifier must be a pointer, or comparable at least: findings are
// remembered under the verifier that made them. It must not change what it
// believes while it is in use.
type Verifier interface {
	Verify(ctx context.Context, evidence []byte, now time.Time) *Finding
}
