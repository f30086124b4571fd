// Package measure computes what a machine ought to measure, from the files
// that it is started with: the registers of an Intel TDX guest and the image
// hash that the network makes of them.
//
// [Launch] says how the machine is started, [Launch.Expect] what its registers
// will hold, each with how that is known. A register that depends on what the
// files do not say, such as the virtual machine's ACPI tables, is not guessed:
// it is unknown, and with it the image hash, until the caller supplies it.
// [Expected.Compare] holds all this against a genuine machine.
//
// The guest is started as the network does it (roles.md section 11): QEMU
// with OVMF, and the kernel given to QEMU ("direct boot"). The order of events
// is edk2's: OvmfPkg/Tcg/TdTcg2Dxe and GenericQemuLoadImageLib; the event texts
// are those of the TCG PC Client Platform Firmware Profile.
package measure

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Register is the value of a measurement register, a SHA-384 digest.
type Register [sha512.Size384]byte

// String is the register in lower-case hexadecimal.
func (r Register) String() string { return hex.EncodeToString(r[:]) }

// MarshalText implements encoding.TextMarshaler like String.
func (r Register) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// ParseRegister reads 96 hexadecimal digits.
func ParseRegister(s string) (r Register, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(r) {
		return r, fmt.Errorf("register %.100q, want %d hexadecimal digits", s, 2*len(r))
	}
	return Register(b), nil
}

// extend is what the TDX module does to a run-time register:
// SHA-384(old ‖ digest).
func (r *Register) extend(digest Register) {
	*r = sha512.Sum384(append(r[:], digest[:]...))
}

// replay is the register that is left when digests were extended into zeros.
func replay(digests ...Register) (r Register) {
	for _, d := range digests {
		r.extend(d)
	}
	return r
}

func digestOf(b []byte) Register { return sha512.Sum384(b) }

// Names of the registers that an image hash covers, in its order.
const (
	MRTD          = "mrtd"
	MRConfigID    = "mrconfigid"
	MROwner       = "mrowner"
	MROwnerConfig = "mrownerconfig"
	RTMR0         = "rtmr0"
	RTMR1         = "rtmr1"
	RTMR2         = "rtmr2"
	RTMR3         = "rtmr3"
)

// Names are the registers in the order in which they are hashed and shown.
var Names = []string{MRTD, MRConfigID, MROwner, MROwnerConfig, RTMR0, RTMR1, RTMR2, RTMR3}

// ImageHash is what the registry lists of a TDX guest: SHA-256 over its
// registers in the order of Names, and 64 zeros where the report data would be
// (wire.md section 3.6).
func ImageHash(registers [8]Register) evidence.Hash {
	h := sha256.New()
	for _, r := range registers {
		h.Write(r[:])
	}
	h.Write(make([]byte, 64))
	return evidence.Hash(h.Sum(nil))
}
