package attest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"time"

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
	v := &Verdict{Kind: r.Kind, At: now, Expires: now.Add(lifeOfVerdict), TCB: tdx.Unknown, ImageHash: r.ImageHash}
	switch m := r.Measurements; {
	case r.Kind == KindNone:
	case r.Kind != KindTDX || m == nil:
		v.check(CheckEvidence, false, string(r.Kind), string(KindTDX))
	case m.Body == (tdx.Body{}):
		v.Kind = KindNone // how the current release writes "no attestation"
	case m.ImageHash() == Unmeasured:
		v.Kind, v.Insecure, v.Level, v.Measurements = KindFakeTDX, true, LevelFakeTDX, m
		v.check(CheckEvidence, p.AllowFake, string(KindFakeTDX), "measurements of an image")
		p.checkKey(v, r.Key)
		p.checkImage(v)
	default:
		p.judgeRecord(v, m, r.Key)
	}
	return p.conclude(v)
}

func (p *Policy) judgeRecord(v *Verdict, m *Measurements, key ed25519.PublicKey) {
	v.Level, v.Measurements, v.ImageHash = LevelTDXRelayed, m, m.ImageHash()
	v.check(CheckSignature, true, "judged by the router", "judged by the router")
	v.check(CheckRoot, m.RootKey == tdx.IntelRootKey, short(m.RootKey[:]), short(tdx.IntelRootKey[:])+", Intel's")
	p.checkKey(v, key)
	p.checkImage(v)
}

// HashOf is the image hash of a machine with a single measurement, an SGX
// enclave's or a SEV-SNP guest's: SHA-256 over it and 64 zeros.
func HashOf(measurement []byte) Hash {
	return sha256.Sum256(append(bytes.Clone(measurement), make([]byte, 64)...))
}
