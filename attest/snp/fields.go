package snp

import (
	"fmt"
	"strings"
)

// GuestPolicy is what the guest's owner lets the host do, fixed at launch
// (56860, "Guest Policy"). The firmware refuses to launch a guest whose policy
// the platform does not meet.
//
// It is not part of the measurement: a host that launches the same image
// under another policy gets the same measurement, which is why it is checked.
type GuestPolicy uint64

// Bits of a guest policy. Below them, bits 0 to 15, the least firmware ABI.
const (
	PolicySMT              GuestPolicy = 1 << 16 // may run where two threads share a core
	policyMustBeOne        GuestPolicy = 1 << 17
	PolicyMigrate          GuestPolicy = 1 << 18 // may have a migration agent
	PolicyDebug            GuestPolicy = 1 << 19 // the host may read and write its memory
	PolicySingleSocket     GuestPolicy = 1 << 20 // must not span sockets
	PolicyCXL              GuestPolicy = 1 << 21 // may use memory behind CXL
	PolicyAES256           GuestPolicy = 1 << 22 // wants AES-256-XTS
	PolicyNoRAPL           GuestPolicy = 1 << 23 // wants power readings off, a side channel
	PolicyCiphertextHiding GuestPolicy = 1 << 24 // wants the host not to see even its ciphertext
	PolicyNoPageSwap       GuestPolicy = 1 << 25 // its pages cannot be moved or swapped by command
	policyABI              GuestPolicy = 0xffff
	policyKnown            GuestPolicy = 1<<26 - 1
)

// String names the bits that are set, after the least ABI.
func (p GuestPolicy) String() string {
	return fmt.Sprintf("%#x (abi %d.%d%s)", uint64(p), p>>8&0xff, p&0xff, bitNames(uint64(p), policyNames))
}

var policyNames = map[int]string{
	16: "smt", 18: "migration agent", 19: "debug", 20: "single socket", 21: "cxl", 22: "aes-256", 23: "no rapl",
	24: "ciphertext hiding", 25: "no page swap",
}

// PlatformInfo is what the platform is set up to do (56860, PLATFORM_INFO).
type PlatformInfo uint64

// Bits of a platform info.
const (
	PlatformSMT              PlatformInfo = 1 << 0 // two threads share a core
	PlatformTSME             PlatformInfo = 1 << 1 // all memory is encrypted
	PlatformECC              PlatformInfo = 1 << 2
	PlatformNoRAPL           PlatformInfo = 1 << 3
	PlatformCiphertextHiding PlatformInfo = 1 << 4
	PlatformAliasCheck       PlatformInfo = 1 << 5 // no two addresses lead to one cell: the answer to BadRAM
	PlatformTIO              PlatformInfo = 1 << 7 // devices may be trusted
	platformKnown            PlatformInfo = 0xbf
)

// String names the bits that are set.
func (p PlatformInfo) String() string {
	return fmt.Sprintf("%#x (%s)", uint64(p), strings.TrimPrefix(bitNames(uint64(p), platformNames), ", "))
}

var platformNames = map[int]string{
	0: "smt", 1: "tsme", 2: "ecc", 3: "no rapl", 4: "ciphertext hiding", 5: "alias check", 7: "tio",
}

func bitNames(v uint64, names map[int]string) (out string) {
	for i := range 64 {
		if name := names[i]; name != "" && v>>i&1 == 1 {
			out += ", " + name
		}
	}
	return out
}

// KeyInfo says which key signed a report.
type KeyInfo uint32

// Parts of a key info.
const (
	keyAuthor KeyInfo = 1 << 0 // the author key's digest is there
	keyMasked KeyInfo = 1 << 1 // the host forbids signing with the chip's key
	keyKnown  KeyInfo = 0x1f   // and 3 bits that name the key
)

// Signer is a kind of signing key.
type Signer uint8

// The kinds. A VCEK is one chip's; a VLEK is one cloud provider's, loaded into
// all its chips, and names none of them.
const (
	VCEK Signer = 0
	VLEK Signer = 1
)

// Signer is the kind of key that signed, by the report's own word.
func (k KeyInfo) Signer() Signer { return Signer(k >> 2 & 7) }

// Author tells whether there is an author key.
func (k KeyInfo) Author() bool { return k&keyAuthor != 0 }

// Masked tells whether the platform is set up not to sign with the chip's key.
func (k KeyInfo) Masked() bool { return k&keyMasked != 0 }

// String is AMD's name for the key.
func (s Signer) String() string {
	switch s {
	case VCEK:
		return "VCEK"
	case VLEK:
		return "VLEK"
	case 7:
		return "none"
	}
	return fmt.Sprintf("reserved value %d", uint8(s))
}
