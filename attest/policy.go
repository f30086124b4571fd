package attest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// Policy says whom to believe. The zero Policy believes nobody: it knows
// Intel's root, but neither wanted images nor collateral. Its methods may be
// called from several goroutines while its fields stay as they are.
type Policy struct {
	// Images says whether an image is wanted. Nil refuses every image,
	// unless AnyImage is set.
	Images func(Hash) bool
	// AnyImage asks nobody which image runs.
	AnyImage bool

	// Roots are the certificates that a chain may end at. Nil means Intel's.
	Roots *x509.CertPool
	// Collateral answers what the vendor publishes about platforms. Nil means
	// that nobody is asked, and the state of a platform is unknown.
	Collateral tdx.Collateral
	// AllowUnknownTCB accepts platforms whose state is unknown, because there
	// is no collateral or it does not answer. A platform that is known to be bad
	// stays refused.
	AllowUnknownTCB bool
	// Cache remembers quotes that were verified. Nil verifies each anew.
	Cache *Cache

	// RequireFresh refuses peers that show only a certificate and no evidence
	// made for the connection; see [Policy.JudgeSession]. Peers of the reference
	// cannot make any.
	RequireFresh bool
	// GPU says whether evidence of GPUs is authentic. Nil asks for none.
	// RequireGPU refuses peers without.
	GPU        evidence.Verifier
	RequireGPU bool

	// TestRoots and TestCollateral are the roots of simulated machines, which
	// anyone can make. Insecure: only for a network on one desk.
	TestRoots      *x509.CertPool
	TestCollateral tdx.Collateral
	// AllowFake accepts evidence that is a mere hash of the key. Insecure.
	AllowFake bool
	// AllowNone accepts peers that prove nothing, also those whose evidence is
	// refused; their verdict is that of a peer without any. Insecure, and right
	// for a listener that serves everybody. With a list of Images it
	// accepts nobody: a peer without evidence runs no image.
	AllowNone bool
	// AnyKey skips the binding to a key, for quotes that come from a file and
	// not from a peer. Insecure for peers.
	AnyKey bool
}

// lifeOfVerdict is how long one judgement is good at most.
const lifeOfVerdict = time.Hour

// Judge decides about a peer that showed evidence, nil if none, in a
// certificate for key. The verdict is returned in any case; the error is nil
// exactly if it is trusted, and else a *RefusedError.
func (p *Policy) Judge(ctx context.Context, evidence []byte, key ed25519.PublicKey, now time.Time) (*Verdict, error) {
	v := &Verdict{Kind: KindOf(evidence), At: now, Expires: now.Add(lifeOfVerdict), TCB: tdx.Unknown}
	switch v.Kind {
	case KindNone:
	case KindFakeTDX:
		p.judgeFake(v, evidence, key)
	default:
		p.judgeTDX(ctx, v, evidence, key)
	}
	return p.conclude(v)
}

// judgeTDX asks first whether the quote is authentic, then whether it is what
// we want. Only the first answer may come from the cache.
func (p *Policy) judgeTDX(ctx context.Context, v *Verdict, quote []byte, key ed25519.PublicKey) {
	f := p.verified(ctx, quote, v.At)
	v.Checks, v.Measurements, v.Insecure, v.TCB = f.Checks, f.Measurements, f.Insecure, f.TCB
	if f.Expires.Before(v.Expires) {
		v.Expires = f.Expires
	}
	v.Level = LevelTDX
	switch {
	case v.Insecure:
		v.Level = LevelSimulatedTDX
	case v.TCB == tdx.Unknown:
		v.Level = LevelTDXUnknown
	}
	if v.Measurements != nil {
		p.validate(v, key)
	}
}

// validate asks whether the measured machine is the one we want.
func (p *Policy) validate(v *Verdict, key ed25519.PublicKey) {
	m := v.Measurements
	v.ImageHash = m.ImageHash()
	v.check(CheckDebug, !m.Debug(), fmt.Sprintf("%#x", m.TDAttributes&0xff), "0x0: the host cannot look inside")
	v.check(CheckMigration, !m.Migratable(), want(m.Migratable(), "the host can move the guest elsewhere", "off"), "off")
	p.checkKey(v, key)
	p.checkImage(v)
}

func (p *Policy) checkKey(v *Verdict, key ed25519.PublicKey) {
	got, want := v.Measurements.ReportData, ReportData(key)
	if p.AnyKey && key == nil {
		v.check(CheckReportData, true, short(got[:]), "anything: no key to compare with")
		return
	}
	v.check(CheckReportData, len(key) == ed25519.PublicKeySize && got == want, short(got[:]), short(want[:])+", the hash of the certificate's key")
}

func (p *Policy) checkImage(v *Verdict) {
	h := v.ImageHash
	switch {
	case h == Unmeasured && v.Kind != KindFakeTDX:
		v.check(CheckImage, false, h.String()+" (all registers zero)", "the hash of an image")
	case p.AnyImage:
		v.check(CheckImage, true, h.String(), "any image")
	case p.Images == nil:
		v.check(CheckImage, false, h.String(), "none: the policy lists no images")
	default:
		v.check(CheckImage, p.Images(h), h.String(), "an image that the policy lists")
	}
}

// judgeFake reads the report data and nothing else: there is nothing else.
func (p *Policy) judgeFake(v *Verdict, evidence []byte, key ed25519.PublicKey) {
	v.Insecure, v.Level, v.Measurements = true, LevelFakeTDX, &Measurements{}
	v.check(CheckEvidence, p.AllowFake, string(KindFakeTDX), "a quote signed by a processor")
	if len(evidence) == fakeSizeV2 {
		registers, root := evidence[:384], evidence[448:]
		zero := len(bytes.Trim(registers, "\x00")) == 0 && len(bytes.Trim(root, "\x00")) == 0
		v.check(CheckFormat, zero, "a report with registers", "registers of zeros, which fake evidence has")
		evidence = evidence[384:448]
	}
	v.Measurements.ReportData = [64]byte(evidence)
	v.ImageHash = Unmeasured
	p.checkKey(v, key)
	p.checkImage(v)
}

// conclude turns checks into a verdict. Nothing is trusted that was not
// checked, and a single check that failed refuses.
func (p *Policy) conclude(v *Verdict) (*Verdict, error) {
	failed, refused := v.Failed()
	if v.Kind == KindNone || refused && p.AllowNone {
		p.unattested(v, failed)
		failed, refused = v.Failed()
	}
	v.Trusted = !refused && len(v.Checks) > 0
	if !v.Trusted {
		v.Level = LevelRefused
		return v, &RefusedError{v.Kind, failed}
	}
	return v, nil
}

// unattested makes the verdict that of a peer without evidence.
func (p *Policy) unattested(v *Verdict, failed Check) {
	got := string(KindNone)
	if v.Kind != KindNone {
		got = fmt.Sprintf("%s, not counted because its %s is %s", v.Kind, failed.Name, failed.Got)
	}
	*v = Verdict{Kind: KindNone, Insecure: true, Level: LevelNone, TCB: tdx.Unknown, At: v.At, Expires: v.Expires}
	v.check(CheckEvidence, p.AllowNone, got, want(p.AllowNone, "none needed", "a quote"))
	if p.Images != nil && !p.AnyImage {
		v.check(CheckImage, false, "none", "an image that the policy lists")
	}
}

func want(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}

// short is enough of a long value to tell it from another.
func short(b []byte) string { return fmt.Sprintf("%x…", b[:8]) }
