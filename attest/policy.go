package attest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Policy says whom to believe. The zero Policy believes nobody: it can verify
// nothing, and wants no image. Its methods may be called from several
// goroutines while its fields stay as they are.
type Policy struct {
	// Verifiers say whether evidence is authentic, by its kind. A kind without
	// one is refused.
	Verifiers map[Kind]Verifier
	// Rules are what is asked of authentic evidence.
	Rules
	// Images says whether an image is wanted. Nil refuses every image,
	// unless AnyImage is set. It may change its mind between calls.
	Images func(Hash) bool
	// AnyImage asks nobody which image runs.
	AnyImage bool
	// PlatformAllowed says whether one machine is wanted, by its id, beside
	// the lists in Rules. Nil allows every machine. It may change its mind.
	PlatformAllowed func(id string) bool
	// Cache remembers evidence that was verified. Nil verifies it anew.
	Cache *Cache
	// Proven remembers who can prove himself for a connection, and asks it of him
	// from then on. Nil forgets.
	Proven *Proven

	// AllowFake accepts evidence that is a mere hash of the key. Insecure.
	AllowFake bool
	// AllowNone accepts peers that prove nothing, also those whose evidence is
	// refused; their verdict is that of a peer without any. Insecure, and right
	// for a listener that serves everybody. With a list of Images it
	// accepts nobody: a peer without evidence runs no image.
	AllowNone bool
	// AnyKey skips the binding to a key, for evidence that comes from a file
	// and not from a peer. Insecure for peers.
	AnyKey bool
}

// lifeOfVerdict is how long one judgement is good at most.
const lifeOfVerdict = time.Hour

// Judge decides about a peer that showed evidence in a certificate for key.
// The verdict is returned in any case; the error is nil exactly if it is
// trusted, and else a *RefusedError.
func (p *Policy) Judge(ctx context.Context, e Evidence, key ed25519.PublicKey, now time.Time) (*Verdict, error) {
	if e.Kind == KindSEVSNP && fakeReport(e.Raw) {
		e.Kind = KindFakeSNP
	}
	v := newVerdict(e.Kind, now)
	switch v.Kind {
	case KindNone:
	case KindFakeTDX:
		p.judgeFake(v, e.Raw, key)
	case KindFakeSNP:
		p.judgeFakeReport(v, e.Raw, key)
	default:
		p.judge(ctx, v, e, key)
	}
	return p.conclude(v)
}

func newVerdict(kind Kind, now time.Time) *Verdict {
	if kind == "" {
		kind = KindNone
	}
	return &Verdict{Kind: kind, At: now, Expires: now.Add(lifeOfVerdict), TCB: evidence.Unknown, reason: "nobody was asked"}
}

// judge asks first whether the evidence is authentic, then whether it is what
// we want. Only the first answer may come from the cache.
func (p *Policy) judge(ctx context.Context, v *Verdict, e Evidence, key ed25519.PublicKey) {
	verifier := p.Verifiers[e.Kind]
	if verifier == nil {
		v.check(CheckEvidence, false, string(e.Kind), "a kind that the policy can verify")
		return
	}
	v.adopt(p.verified(ctx, e, verifier, v.At))
	if v.Registers != nil || v.GPU != nil {
		p.validate(v, key)
	}
}

// verified verifies evidence, or remembers that it was.
func (p *Policy) verified(ctx context.Context, e Evidence, by Verifier, now time.Time) remembered {
	id := keyOf(e, by)
	if r, ok := p.Cache.get(id, now); ok {
		return r
	}
	r := remembered{by.Verify(ctx, e.Raw, now), now, now.Add(lifeOfVerdict)}
	if !r.Expires.IsZero() {
		r.until = earlier(r.until, r.Expires)
	}
	p.Cache.put(id, r)
	return r
}

// adopt takes over what a verifier found. The finding is shared with the
// cache and stays as it is.
func (v *Verdict) adopt(r remembered) {
	v.Checks = slices.Grow(slices.Concat(v.Checks, r.Checks), 8)
	v.Registers, v.ReportData, v.ImageHash, v.Platform = r.Registers, r.ReportData, r.Image, r.Platform
	v.TCB, v.reason, v.Advisories, v.Insecure = r.Status, r.Reason, r.Advisories, r.Insecure
	v.Expires = earlier(v.Expires, r.until)
	if v.Kind == KindNVIDIA && r.Platforms() != nil { // which could be read
		v.GPU = r.Finding
	}
}

// validate asks whether the measured machine is the one we want.
func (p *Policy) validate(v *Verdict, key ed25519.PublicKey) {
	p.Rules.check(v)
	if p.PlatformAllowed != nil {
		v.check(evidence.CheckPlatform, p.PlatformAllowed(v.Platform), v.Platform, "one that the list of platforms allows")
	}
	p.checkKey(v, key)
	p.checkImage(v)
	v.Level = p.level(v)
}

// level is the highest rung that a verdict reaches if no check failed.
func (p *Policy) level(v *Verdict) Level {
	switch {
	case v.Insecure:
		return LevelSimulated
	case v.TCB == evidence.Unknown || v.reason != "":
		return LevelUnknownTCB
	case p.Images == nil || !p.Images(v.ImageHash):
		return LevelAttested
	}
	return LevelImage
}

func (p *Policy) checkKey(v *Verdict, key ed25519.PublicKey) {
	got, want := v.ReportData, ReportData(key)
	if p.AnyKey && key == nil {
		v.check(evidence.CheckReportData, true, short(got[:]), "anything: no key to compare with")
		return
	}
	v.check(evidence.CheckReportData, len(key) == ed25519.PublicKeySize && got == want, short(got[:]), short(want[:])+", the hash of the certificate's key")
}

func (p *Policy) checkImage(v *Verdict) {
	h := v.ImageHash
	switch {
	case v.Kind == KindNVIDIA:
		v.check(evidence.CheckImage, p.AnyImage, "none: a GPU runs none", want(p.AnyImage, "any image", "the hash of an image"))
	case !measured(h) && v.Kind != KindFakeTDX && v.Kind != KindFakeSNP:
		v.check(evidence.CheckImage, false, h.String()+" (all registers zero)", "the hash of an image")
	case p.AnyImage:
		v.check(evidence.CheckImage, true, h.String(), "any image")
	case p.Images == nil:
		v.check(evidence.CheckImage, false, h.String(), "none: the policy lists no images")
	default:
		v.check(evidence.CheckImage, p.Images(h), h.String(), "an image that the policy lists")
	}
}

// judgeFake reads the report data and nothing else: there is nothing else.
func (p *Policy) judgeFake(v *Verdict, raw []byte, key ed25519.PublicKey) {
	m := &Measurements{}
	v.Insecure, v.Level, v.Registers, v.ImageHash = true, LevelFake, m.listed(), Unmeasured
	v.check(CheckEvidence, p.AllowFake, string(KindFakeTDX), "a quote signed by a processor")
	if len(raw) == fakeSizeV2 {
		registers, root := raw[:384], raw[448:]
		zero := len(bytes.Trim(registers, "\x00")) == 0 && len(bytes.Trim(root, "\x00")) == 0
		v.check(evidence.CheckFormat, zero, "a report with registers", "registers of zeros, which fake evidence has")
		raw = raw[384:448]
	}
	if !v.check(evidence.CheckSize, len(raw) == fakeSize, fmt.Sprintf("%d bytes", len(raw)), fmt.Sprintf("%d or %d", fakeSize, fakeSizeV2)) {
		return
	}
	v.ReportData = [64]byte(raw)
	p.checkKey(v, key)
	p.checkImage(v)
}

// Where a SEV-SNP report holds what a fake one has, in bytes.
const (
	snpReport  = 1184
	snpData    = 80
	snpDataEnd = snpData + 64
)

// fakeReport tells whether a SEV-SNP report is what the reference's mode
// without hardware shows: zeros around the report data (current.md 6.1).
func fakeReport(raw []byte) bool {
	if len(raw) < snpReport {
		return false
	}
	around := append(bytes.Clone(raw[:snpData]), raw[snpDataEnd:snpReport]...)
	return len(bytes.Trim(around, "\x00")) == 0
}

// judgeFakeReport is judgeFake for such a report.
func (p *Policy) judgeFakeReport(v *Verdict, raw []byte, key ed25519.PublicKey) {
	v.Insecure, v.Level, v.ImageHash = true, LevelFake, unmeasuredSNP
	v.Registers = []Register{{Name: "measurement", Value: make([]byte, 48)}}
	v.check(CheckEvidence, p.AllowFake, string(KindFakeSNP), "a report signed by a processor")
	if !v.check(evidence.CheckFormat, fakeReport(raw), fmt.Sprintf("%d bytes", len(raw)), "a report of zeros around the report data") {
		return // who says that it is of this kind may show anything
	}
	v.ReportData = [64]byte(raw[snpData:snpDataEnd])
	p.checkKey(v, key)
	p.checkImage(v)
}

// conclude turns checks into a verdict. Nothing is trusted that was not
// checked, and a single check that failed refuses.
func (p *Policy) conclude(v *Verdict) (*Verdict, error) {
	failed, refused := v.Failed()
	if v.Kind == KindNone || refused && p.AllowNone {
		p.unattested(v, failed)
	}
	return p.decide(v)
}

// decide looks at the level, which is known last, and at what has failed.
func (p *Policy) decide(v *Verdict) (*Verdict, error) {
	failed, refused := v.Failed()
	if !refused && !v.check(CheckLevel, v.Level >= p.Require, v.Level.Name(), p.Require.Name()+" or higher") {
		failed, refused = v.Failed()
	}
	v.Trusted = !refused && len(v.Checks) > 1
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
	*v = Verdict{Kind: KindNone, Insecure: true, Level: LevelNone, TCB: evidence.Unknown, At: v.At, Expires: v.Expires}
	v.check(CheckEvidence, p.AllowNone, got, want(p.AllowNone, "none needed", "a quote"))
	if p.Images != nil && !p.AnyImage {
		v.check(evidence.CheckImage, false, "none", "an image that the policy lists")
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

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
