package seal

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// SNP derives keys from AMD's firmware, in a SEV-SNP guest. The key depends on
// the processor, the guest's measurement and its policy, so neither another
// image nor a guest in debug mode gets it, and not on the TCB version, so that
// it survives updates of the firmware.
//
// The reference's guests get another key for the same name: their selection
// of fields is read in reverse by the firmware [D], and changes with the TCB.
type SNP struct {
	// Derive is the firmware's answer. Nil asks /dev/sev-guest.
	Derive func() ([32]byte, error)
}

// Fields of the guest that are mixed into the key: SNP_GET_DERIVED_KEY's
// GUEST_FIELD_SELECT, SEV-SNP Firmware ABI (56860) 7.2.
const (
	mixPolicy      = 1 << 0
	mixMeasurement = 1 << 3
)

// Binding implements [Source].
func (s *SNP) Binding() string { return "the processor, the guest's measurement and its policy" }

// Key implements [Source].
func (s *SNP) Key(_ context.Context, name string) (key [32]byte, err error) {
	if len(name) == 0 || len(name) > maxName {
		return key, fmt.Errorf("seal: key name of %d bytes, want 1 to %d", len(name), maxName)
	}
	derive := s.Derive
	if derive == nil {
		derive = derivedKey
	}
	root, err := derive()
	if err != nil {
		return key, fmt.Errorf("seal: derived key of the firmware: %w", err)
	}
	b, err := hkdf.Key(sha256.New, root[:], nil, "cocoon sealing key "+name, len(key))
	if err != nil {
		return key, fmt.Errorf("seal: %w", err)
	}
	return [32]byte(b), nil
}
