package attest

import (
	"crypto/sha256"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// Measurements are what the record of a router states about a TDX guest: its
// registers and report data, and the key id of the root that vouches for them
// (wire.md 3.8).
type Measurements struct {
	MRTD, MRConfigID, MROwner, MROwnerConfig [48]byte
	RTMR                                     [4][48]byte
	ReportData                               [64]byte
	RootKey                                  [48]byte
}

// Unmeasured is the image hash of a report whose registers are all zero, as
// fake evidence has them. It names no image.
var Unmeasured = (&Measurements{}).ImageHash()

// unmeasuredSNP is the same for a report with a single measurement.
var unmeasuredSNP = HashOf(make([]byte, 48))

// measured tells whether h may be the hash of an image.
func measured(h Hash) bool { return h != Unmeasured && h != unmeasuredSNP && h != Hash{} }

// registers are the eight that make the image hash, by their names.
func (m *Measurements) registers() []namedRegister {
	return []namedRegister{
		{tdx.RegisterMRTD, &m.MRTD}, {tdx.RegisterMRConfigID, &m.MRConfigID}, {tdx.RegisterMROwner, &m.MROwner}, {tdx.RegisterMROwnerConfig, &m.MROwnerConfig},
		{tdx.RegisterRTMR0, &m.RTMR[0]}, {tdx.RegisterRTMR1, &m.RTMR[1]}, {tdx.RegisterRTMR2, &m.RTMR[2]}, {tdx.RegisterRTMR3, &m.RTMR[3]},
	}
}

type namedRegister struct {
	name  string
	value *[48]byte
}

// ImageHash is SHA-256 over the eight registers and 64 zeros in place of the
// report data, 448 bytes in all. The debug attribute, the TDX module and its
// version are not part of it; a verifier looks at them apart.
func (m *Measurements) ImageHash() Hash {
	b := make([]byte, 0, 448)
	for _, r := range m.registers() {
		b = append(b, r.value[:]...)
	}
	return sha256.Sum256(b[:448])
}

// Measurements are what a router would record about the peer, nil for one
// that showed no TDX evidence, or none that could be read.
func (v *Verdict) Measurements() *Measurements {
	if v.Kind != KindTDX && v.Kind != KindFakeTDX || v.Registers == nil {
		return nil
	}
	m := &Measurements{ReportData: v.ReportData}
	for _, r := range m.registers() {
		copy(r.value[:], v.Register(r.name))
	}
	copy(m.RootKey[:], v.Register(tdx.RegisterRootKey))
	return m
}

// listed are the registers as a verdict lists them.
func (m *Measurements) listed() (out []Register) {
	for _, r := range m.registers() {
		out = append(out, Register{Name: r.name, Value: r.value[:]})
	}
	return append(out, Register{Name: tdx.RegisterRootKey, Value: m.RootKey[:]})
}
