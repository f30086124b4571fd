package attest

import (
	"crypto/ed25519"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// Relayed is what a router on this machine reports about a peer that it
// judged: the peer-info record of wire.md 3.8 and current.md 6.3. It is
// believed because it travels over loopback only.
type Relayed struct {
	Kind         Kind
	Measurements *Measurements // registers, report data and root key; for KindTDX
	ImageHash    Hash
	Key          ed25519.PublicKey
}

// JudgeRelayed decides about a peer behind a router. Signatures, platform and
// debug attribute are not in the record: the router has looked at the first
// two, and the reference router never looks at the third. What the record
// does hold is judged here.
func (p *Policy) JudgeRelayed(r *Relayed, now time.Time) (*Verdict, error) {
	v := newVerdict(r.Kind, now)
	v.ImageHash = r.ImageHash
	switch m := r.Measurements; {
	case r.Kind == KindNone:
	case r.Kind != KindTDX || m == nil:
		v.check(CheckEvidence, false, string(r.Kind), string(KindTDX))
	case m.ReportData == [64]byte{} && m.ImageHash() == Unmeasured:
		v.Kind = KindNone // how the current release writes "no attestation"
	case m.ImageHash() == Unmeasured:
		v.Kind, v.Insecure, v.Level = KindFakeTDX, true, LevelFake
		v.check(CheckEvidence, p.AllowFake, string(KindFakeTDX), "measurements of an image")
		p.judgeRecord(v, m, r.Key)
	default:
		v.Level = LevelRelayed
		v.check(evidence.CheckSignature, true, "judged by the router", "judged by the router")
		v.check(CheckRoot, m.RootKey == tdx.IntelRootKey, short(m.RootKey[:]), short(tdx.IntelRootKey[:])+", Intel's")
		p.judgeRecord(v, m, r.Key)
	}
	return p.conclude(v)
}

// judgeRecord looks at what a record holds. It names neither platform nor
// registers beyond the eight; rules about others refuse.
func (p *Policy) judgeRecord(v *Verdict, m *Measurements, key ed25519.PublicKey) {
	v.Registers, v.ReportData, v.ImageHash = m.listed(), m.ReportData, m.ImageHash()
	p.checkRegisters(v)
	if len(p.Platforms)+len(p.DenyPlatforms) > 0 {
		p.checkPlatform(v)
	}
	p.checkKey(v, key)
	p.checkImage(v)
}
