package attest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
	"github.com/opencocoon/cocoon/attest/snp"
	"github.com/opencocoon/cocoon/attest/tdx"
)

var (
	sampleDate  = time.Date(2025, 12, 1, 0, 0, 0, 0, time.UTC)
	sampleImage = "04b3afd931d28680af91a15b09d672c40ad6b141f7f9089a8d67d595220f7436"
)

// authority makes keys once; most tests need no authority of their own.
var sharedAuthority = sync.OnceValues(insecure.NewAuthority)

func authority(t testing.TB) *insecure.Authority {
	t.Helper()
	a, err := sharedAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t testing.TB) ed25519.PublicKey {
	t.Helper()
	key, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func quote(t testing.TB, p attest.Platform, key ed25519.PublicKey) []byte {
	t.Helper()
	q, err := p.Quote(context.Background(), attest.ReportData(key))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func by(v *tdx.Verifier) map[attest.Kind]attest.Verifier {
	return map[attest.Kind]attest.Verifier{attest.KindTDX: v}
}

// verifier changes something about who verifies.
func verifier(change func(*tdx.Verifier)) func(*attest.Policy) {
	return func(p *attest.Policy) {
		v := *p.Verifiers[attest.KindTDX].(*tdx.Verifier)
		change(&v)
		p.Verifiers = by(&v)
	}
}

var unknown = attest.Rules{AllowUnknownTCB: true}

func only(h attest.Hash) func(attest.Hash) bool {
	return func(got attest.Hash) bool { return got == h }
}

// fake496 is the fake evidence of the current release.
func fake496(key ed25519.PublicKey) []byte {
	b := make([]byte, 496)
	data := attest.ReportData(key)
	copy(b[384:], data[:])
	return b
}

// fakeReport is fake evidence of the current release in the form of AMD's, and
// what stands in for the chip's certificate.
func fakeReport(key ed25519.PublicKey) []byte {
	b := make([]byte, 1184)
	data := attest.ReportData(key)
	copy(b[80:], data[:])
	return append(b, "-----BEGIN CERTIFICATE-----\n"...)
}

// shown is evidence by its form.
func shown(raw []byte) attest.Evidence {
	if bytes.HasSuffix(raw, []byte("-----BEGIN CERTIFICATE-----\n")) {
		return attest.Evidence{Kind: attest.KindSEVSNP, Raw: raw}
	}
	return attest.Quoted(raw)
}

// One change at a time away from a policy and a machine that fit, and the
// check that must notice.
func TestJudgeRefuses(t *testing.T) {
	a, now, key := authority(t), time.Now(), newKey(t)
	machine := a.Machine("worker")
	image := insecure.ImageHash("worker")
	good := quote(t, machine, key)
	debug := a.Machine("worker")
	debug.Debug = true
	migratable := a.Machine("worker")
	migratable.Migratable = true
	foreignModule, foreignEnclave := a.Machine("worker"), a.Machine("worker")
	foreignModule.Edit = func(d *insecure.Draft) { d.Body.MRSignerSeam[0] = 1 }
	foreignEnclave.Edit = func(d *insecure.Draft) { d.Enclave.MRSigner[0] ^= 1 }
	fits := attest.Policy{Images: only(image), Verifiers: by(a.Verifier())}
	if v, err := fits.Judge(t.Context(), attest.Quoted(good), key, now); err != nil || !v.Trusted {
		t.Fatalf("the policy that fits refuses: %v", err)
	}
	stranger, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	outdated, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := outdated.Publish(insecure.Collateral{TCBStatus: "OutOfDate"}); err != nil {
		t.Fatal(err)
	}
	revoked, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := revoked.Publish(insecure.Collateral{RevokePCK: true}); err != nil {
		t.Fatal(err)
	}
	flip := func(at int) []byte { b := bytes.Clone(good); b[at] ^= 1; return b }

	for _, c := range []struct {
		name     string
		evidence []byte
		key      ed25519.PublicKey
		now      time.Time
		change   func(*attest.Policy)
		check    string
	}{
		{"zero policy", good, key, now, func(p *attest.Policy) { *p = attest.Policy{} }, attest.CheckEvidence},
		{"a kind without a verifier", good, key, now, func(p *attest.Policy) { p.Verifiers = map[attest.Kind]attest.Verifier{attest.KindSEVSNP: a.Verifier()} }, attest.CheckEvidence},
		{"only Intel's root", good, key, now, verifier(func(v *tdx.Verifier) { v.TestRoots = nil }), evidence.CheckChain},
		{"another test root", good, key, now, verifier(func(v *tdx.Verifier) { v.TestRoots = stranger.Roots() }), evidence.CheckChain},
		{"another authority's machine", quote(t, stranger.Machine("worker"), key), key, now, nil, evidence.CheckChain},
		{"no collateral", good, key, now, verifier(func(v *tdx.Verifier) { v.TestCollateral = nil }), evidence.CheckTCB},
		{"collateral that does not answer", good, key, now, verifier(func(v *tdx.Verifier) { v.TestCollateral = tdx.Answers{} }), evidence.CheckTCB},
		{"collateral of another authority", good, key, now, verifier(func(v *tdx.Verifier) { v.TestCollateral = stranger }), tdx.CheckTCBInfo},
		{"collateral for real machines only", good, key, now, verifier(func(v *tdx.Verifier) { v.Collateral, v.TestCollateral = a, nil }), evidence.CheckTCB},
		{"out of date platform", quote(t, outdated.Machine("worker"), key), key, now, func(p *attest.Policy) { p.Verifiers = by(outdated.Verifier()) }, evidence.CheckTCB},
		{"out of date platform, unknown allowed", quote(t, outdated.Machine("worker"), key), key, now, func(p *attest.Policy) {
			p.Verifiers, p.AllowUnknownTCB = by(outdated.Verifier()), true
		}, evidence.CheckTCB},
		{"revoked platform", quote(t, revoked.Machine("worker"), key), key, now, func(p *attest.Policy) { p.Verifiers = by(revoked.Verifier()) }, evidence.CheckRevocation},
		{"another's quoting enclave", quote(t, foreignEnclave, key), key, now, nil, tdx.CheckEnclave},
		{"another's quoting enclave, state unknown", quote(t, foreignEnclave, key), key, now, func(p *attest.Policy) { p.Verifiers, p.AllowUnknownTCB = by(&tdx.Verifier{TestRoots: a.Roots()}), true }, tdx.CheckEnclave},
		{"another's TDX module, state unknown", quote(t, foreignModule, key), key, now, func(p *attest.Policy) { p.Verifiers, p.AllowUnknownTCB = by(&tdx.Verifier{TestRoots: a.Roots()}), true }, tdx.CheckModule},
		{"debug attribute", quote(t, debug, key), key, now, nil, evidence.CheckDebug},
		{"a host that may move the guest", quote(t, migratable, key), key, now, nil, evidence.CheckMigration},
		{"another key", good, newKey(t), now, nil, evidence.CheckReportData},
		{"no key", good, nil, now, nil, evidence.CheckReportData},
		{"a key of another size", quote(t, machine, key[:31]), key[:31], now, nil, evidence.CheckReportData},
		{"any key, but one is given", good, newKey(t), now, func(p *attest.Policy) { p.AnyKey = true }, evidence.CheckReportData},
		{"another image", quote(t, a.Machine("worker "), key), key, now, nil, evidence.CheckImage},
		{"no list of images", good, key, now, func(p *attest.Policy) { p.Images = nil }, evidence.CheckImage},
		{"an empty list of images", good, key, now, func(p *attest.Policy) { p.Images = func(attest.Hash) bool { return false } }, evidence.CheckImage},
		{"before the certificates", good, key, now.AddDate(-1, 0, 0), nil, tdx.CheckValidity},
		{"after the certificates", good, key, now.AddDate(11, 0, 0), nil, tdx.CheckValidity},
		{"a flipped bit in RTMR2", flip(48 + 424), key, now, nil, evidence.CheckSignature},
		{"a flipped bit in the report data", flip(48 + 520), key, now, nil, evidence.CheckSignature},
		{"too large", make([]byte, attest.MaxEvidence+1), key, now, nil, evidence.CheckSize},
		{"empty evidence", []byte{}, key, now, nil, evidence.CheckFormat},
		{"garbage", []byte("garbage"), key, now, nil, evidence.CheckFormat},
		{"half a quote", good[:900], key, now, nil, evidence.CheckFormat},
		{"63 bytes of fake", good[:63], key, now, func(p *attest.Policy) { p.AllowFake, p.AnyImage = true, true }, evidence.CheckFormat},
		{"fake", quote(t, insecure.Fake{}, key), key, now, nil, attest.CheckEvidence},
		{"fake, any image", quote(t, insecure.Fake{}, key), key, now, func(p *attest.Policy) { p.AnyImage = true }, attest.CheckEvidence},
		{"fake of the current release", fake496(key), key, now, func(p *attest.Policy) { p.AnyImage = true }, attest.CheckEvidence},
		{"fake for another key", quote(t, insecure.Fake{}, newKey(t)), key, now, func(p *attest.Policy) { p.AllowFake, p.AnyImage = true, true }, evidence.CheckReportData},
		{"fake of the current release for another key", fake496(newKey(t)), key, now, func(p *attest.Policy) { p.AllowFake, p.AnyImage = true, true }, evidence.CheckReportData},
		{"fake that claims measurements", func() []byte { b := fake496(key); b[0] = 1; return b }(), key, now, func(p *attest.Policy) { p.AllowFake, p.AnyImage = true, true }, evidence.CheckFormat},
		{"fake that claims a root", func() []byte { b := fake496(key); b[495] = 1; return b }(), key, now, func(p *attest.Policy) { p.AllowFake, p.AnyImage = true, true }, evidence.CheckFormat},
		{"fake, allowed, but not a listed image", quote(t, insecure.Fake{}, key), key, now, func(p *attest.Policy) { p.AllowFake = true }, evidence.CheckImage},
		{"fake report, any image", fakeReport(key), key, now, func(p *attest.Policy) { p.AnyImage = true }, attest.CheckEvidence},
		{"fake report for another key", fakeReport(newKey(t)), key, now, func(p *attest.Policy) { p.AllowFake, p.AnyImage = true, true }, evidence.CheckReportData},
		{"fake report, allowed, but not a listed image", fakeReport(key), key, now, func(p *attest.Policy) { p.AllowFake = true }, evidence.CheckImage},
		{"fake report that claims a measurement", func() []byte { b := fakeReport(key); b[144] = 1; return b }(), key, now, func(p *attest.Policy) { p.AllowFake, p.AnyImage = true, true }, attest.CheckEvidence},
		{"fake report that claims a version", func() []byte { b := fakeReport(key); b[0] = 3; return b }(), key, now, func(p *attest.Policy) { p.AllowFake, p.AnyImage = true, true }, attest.CheckEvidence},
		{"none", nil, key, now, nil, attest.CheckEvidence},
		{"none, any image", nil, key, now, func(p *attest.Policy) { p.AnyImage = true }, attest.CheckEvidence},
		{"none, allowed, but images are listed", nil, key, now, func(p *attest.Policy) { p.AllowNone = true }, evidence.CheckImage},
		{"none, fake allowed", nil, key, now, func(p *attest.Policy) { p.AllowFake, p.AnyImage = true, true }, attest.CheckEvidence},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := fits
			if c.change != nil {
				c.change(&p)
			}
			for range 2 { // the second time with whatever a cache may have kept
				v, err := p.Judge(t.Context(), shown(c.evidence), c.key, c.now)
				mustRefuse(t, v, err, c.check)
				p.Cache = attest.NewCache(8)
			}
		})
	}
}

func mustRefuse(t *testing.T, v *attest.Verdict, err error, check string) {
	t.Helper()
	var refused *attest.RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, attest.ErrUntrusted) {
		t.Fatalf("error %v, want a RefusedError", err)
	}
	if refused.Check.Name != check {
		t.Errorf("refused by %q (%v), want %q", refused.Check.Name, err, check)
	}
	if v == nil || v.Trusted || v.Level != attest.LevelRefused {
		t.Errorf("verdict %+v, want one that refuses", v)
	}
	if failed, ok := v.Failed(); !ok || failed != refused.Check {
		t.Errorf("the verdict's failed check is %+v, the error's %+v", failed, refused.Check)
	}
}

// A kind that evidence is said to be of, as in the file of a hand-over, does
// not say what it holds.
func TestEvidenceOfAnyKind(t *testing.T) {
	a, key := authority(t), newKey(t)
	p := &attest.Policy{AnyImage: true, AllowFake: true, Verifiers: map[attest.Kind]attest.Verifier{
		attest.KindTDX: a.Verifier(), attest.KindSEVSNP: &snp.Verifier{}, attest.KindNVIDIA: &nvidia.Verifier{},
	}}
	genuine := quote(t, a.Machine("x"), key)
	for _, kind := range []attest.Kind{"", "other", attest.KindNone, attest.KindFakeTDX, attest.KindFakeSNP, attest.KindTDX, attest.KindSEVSNP, attest.KindSGX, attest.KindNVIDIA} {
		for _, raw := range [][]byte{nil, {}, {1}, make([]byte, 63), make([]byte, 143), make([]byte, 1183), make([]byte, 1184), bytes.Repeat([]byte{1}, 1184), genuine} {
			if v, err := p.Judge(t.Context(), attest.Evidence{Kind: kind, Raw: raw}, key, time.Now()); (err == nil) != (kind == attest.KindTDX && len(raw) == len(genuine)) {
				t.Errorf("%s evidence of %d bytes: %v, level %s", kind, len(raw), err, v.Level.Name())
			}
		}
	}
}

// Registers of zeros are what machines without measurements report. No list
// makes them an image.
func TestUnmeasuredMachine(t *testing.T) {
	m := &attest.Measurements{RootKey: tdx.IntelRootKey}
	key := newKey(t)
	m.ReportData = attest.ReportData(key)
	p := &attest.Policy{AnyImage: true, Images: func(attest.Hash) bool { return true }}
	v, err := p.JudgeRelayed(&attest.Relayed{Kind: attest.KindTDX, Measurements: m, Key: key}, time.Now())
	mustRefuse(t, v, err, attest.CheckEvidence)

	// Nor does a genuine machine's word.
	a := authority(t)
	machine := a.Machine("x")
	machine.Edit = func(d *insecure.Draft) { d.Body.MRTD, d.Body.RTMR = [48]byte{}, [4][48]byte{} }
	p.Verifiers = by(a.Verifier())
	v, err = p.Judge(t.Context(), attest.Quoted(quote(t, machine, key)), key, time.Now())
	mustRefuse(t, v, err, evidence.CheckImage)
}

func TestJudgeAccepts(t *testing.T) {
	a, now, key := authority(t), time.Now(), newKey(t)
	real := sample(t)
	sampleHash, err := attest.ParseHash(sampleImage)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		policy   attest.Policy
		evidence []byte
		key      ed25519.PublicKey
		now      time.Time
		kind     attest.Kind
		level    attest.Level
		image    attest.Hash
		tcb      string
	}{
		{"simulated", attest.Policy{Images: only(insecure.ImageHash("x")), Verifiers: by(a.Verifier())}, quote(t, a.Machine("x"), key), key, now,
			attest.KindTDX, attest.LevelSimulated, insecure.ImageHash("x"), "UpToDate"},
		{"simulated, state unknown", attest.Policy{AnyImage: true, Verifiers: by(&tdx.Verifier{TestRoots: a.Roots()}), Rules: unknown}, quote(t, a.Machine("x"), key), key, now,
			attest.KindTDX, attest.LevelSimulated, insecure.ImageHash("x"), "unknown"},
		{"an authority taken for real", attest.Policy{AnyImage: true, Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a})}, quote(t, a.Machine("x"), key), key, now,
			attest.KindTDX, attest.LevelAttested, insecure.ImageHash("x"), "UpToDate"},
		{"a real quote from a file", attest.Policy{Images: only(sampleHash), AnyKey: true, Verifiers: by(&tdx.Verifier{}), Rules: unknown}, real, nil, sampleDate,
			attest.KindTDX, attest.LevelUnknownTCB, sampleHash, "unknown"},
		{"a real quote beside a test root", attest.Policy{AnyImage: true, AnyKey: true, Verifiers: by(a.Verifier()), Rules: unknown}, real, nil, sampleDate,
			attest.KindTDX, attest.LevelUnknownTCB, sampleHash, "unknown"},
		{"fake", attest.Policy{AnyImage: true, AllowFake: true}, quote(t, insecure.Fake{}, key), key, now, attest.KindFakeTDX, attest.LevelFake, attest.Unmeasured, "unknown"},
		{"fake of the current release", attest.Policy{AnyImage: true, AllowFake: true}, fake496(key), key, now, attest.KindFakeTDX, attest.LevelFake, attest.Unmeasured, "unknown"},
		{"fake, listed", attest.Policy{Images: only(attest.Unmeasured), AllowFake: true}, quote(t, insecure.Fake{}, key), key, now, attest.KindFakeTDX, attest.LevelFake, attest.Unmeasured, "unknown"},
		{"fake report", attest.Policy{AnyImage: true, AllowFake: true}, fakeReport(key), key, now, attest.KindFakeSNP, attest.LevelFake, attest.HashOf(make([]byte, 48)), "unknown"},
		{"none", attest.Policy{AllowNone: true}, nil, key, now, attest.KindNone, attest.LevelNone, attest.Hash{}, "unknown"},
		{"not counted: fake", attest.Policy{AllowNone: true}, quote(t, insecure.Fake{}, key), key, now, attest.KindNone, attest.LevelNone, attest.Hash{}, "unknown"},
		{"not counted: garbage", attest.Policy{AllowNone: true}, []byte("garbage"), key, now, attest.KindNone, attest.LevelNone, attest.Hash{}, "unknown"},
		{"not counted: a quote for another key", attest.Policy{AllowNone: true, AnyImage: true, Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a})}, quote(t, a.Machine("x"), newKey(t)), key, now,
			attest.KindNone, attest.LevelNone, attest.Hash{}, "unknown"},
		{"counted, though none is needed", attest.Policy{AllowNone: true, AnyImage: true, Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a})}, quote(t, a.Machine("x"), key), key, now,
			attest.KindTDX, attest.LevelAttested, insecure.ImageHash("x"), "UpToDate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := c.policy.Judge(t.Context(), shown(c.evidence), c.key, c.now)
			if err != nil {
				t.Fatal(err)
			}
			if !v.Trusted || v.Kind != c.kind || v.Level != c.level || v.ImageHash != c.image || v.TCB != c.tcb {
				t.Errorf("trusted %v, kind %s, level %q, image %s, tcb %s", v.Trusted, v.Kind, v.Level, v.ImageHash, v.TCB)
			}
			if loud := strings.HasPrefix(v.Level.String(), "INSECURE"); loud != v.Insecure {
				t.Errorf("insecure is %v, and the level says %q", v.Insecure, v.Level)
			}
			for _, check := range v.Checks {
				if !check.OK || check.Name == "" || check.Got == "" || check.Want == "" {
					t.Errorf("check %+v in a verdict that trusts", check)
				}
			}
		})
	}
}

// A genuine machine is refused by default: without collateral nobody knows
// whether its platform is in order.
func TestRealQuoteNeedsCollateral(t *testing.T) {
	p := &attest.Policy{AnyImage: true, AnyKey: true, Verifiers: by(&tdx.Verifier{})}
	v, err := p.Judge(t.Context(), attest.Quoted(sample(t)), nil, sampleDate)
	mustRefuse(t, v, err, evidence.CheckTCB)
	if !strings.Contains(err.Error(), "unknown") {
		t.Errorf("%v: does not say that the state is unknown", err)
	}
}

func TestJudgeRelayed(t *testing.T) {
	key, now := newKey(t), time.Now()
	record := func(change func(*attest.Relayed)) *attest.Relayed {
		m := &attest.Measurements{RootKey: tdx.IntelRootKey}
		m.MRTD[0], m.ReportData = 1, attest.ReportData(key)
		r := &attest.Relayed{Kind: attest.KindTDX, Measurements: m, Key: key}
		change(r)
		return r
	}
	same := func(*attest.Relayed) {}
	image := record(same).Measurements.ImageHash()
	zero := func(r *attest.Relayed) { r.Measurements = &attest.Measurements{} }
	fake := func(r *attest.Relayed) { r.Measurements.MRTD, r.Measurements.RootKey = [48]byte{}, [48]byte{} }
	none := func(r *attest.Relayed) { r.Kind, r.Measurements = attest.KindNone, nil }
	for _, c := range []struct {
		name   string
		policy attest.Policy
		record *attest.Relayed
		check  string // that refuses; empty: accepted
		level  attest.Level
	}{
		{"wanted", attest.Policy{Images: only(image)}, record(same), "", attest.LevelRelayed},
		{"any image", attest.Policy{AnyImage: true}, record(same), "", attest.LevelRelayed},
		{"fake, allowed", attest.Policy{AnyImage: true, AllowFake: true}, record(fake), "", attest.LevelFake},
		{"none, allowed", attest.Policy{AllowNone: true}, record(none), "", attest.LevelNone},
		{"none in the current form, allowed", attest.Policy{AllowNone: true}, record(zero), "", attest.LevelNone},
		{"SEV-SNP, none needed", attest.Policy{AllowNone: true}, record(func(r *attest.Relayed) { r.Kind = attest.KindSEVSNP }), "", attest.LevelNone},

		{"zero policy", attest.Policy{}, record(same), evidence.CheckImage, attest.LevelRefused},
		{"another image", attest.Policy{Images: only(attest.Unmeasured)}, record(same), evidence.CheckImage, attest.LevelRefused},
		{"another key", attest.Policy{AnyImage: true}, record(func(r *attest.Relayed) { r.Key = newKey(t) }), evidence.CheckReportData, attest.LevelRefused},
		{"another root", attest.Policy{AnyImage: true}, record(func(r *attest.Relayed) { r.Measurements.RootKey[0]++ }), attest.CheckRoot, attest.LevelRefused},
		{"no root", attest.Policy{AnyImage: true}, record(func(r *attest.Relayed) { r.Measurements.RootKey = [48]byte{} }), attest.CheckRoot, attest.LevelRefused},
		{"fake", attest.Policy{AnyImage: true}, record(fake), attest.CheckEvidence, attest.LevelRefused},
		{"fake for another key", attest.Policy{AnyImage: true, AllowFake: true}, record(func(r *attest.Relayed) { fake(r); r.Key = newKey(t) }), evidence.CheckReportData, attest.LevelRefused},
		{"none", attest.Policy{AnyImage: true, AllowFake: true}, record(none), attest.CheckEvidence, attest.LevelRefused},
		{"none in the current form", attest.Policy{AnyImage: true, AllowFake: true}, record(zero), attest.CheckEvidence, attest.LevelRefused},
		{"none, allowed, but images are listed", attest.Policy{AllowNone: true, Images: only(image)}, record(none), evidence.CheckImage, attest.LevelRefused},
		{"SEV-SNP", attest.Policy{AnyImage: true}, record(func(r *attest.Relayed) { r.Kind = attest.KindSEVSNP }), attest.CheckEvidence, attest.LevelRefused},
		{"SGX", attest.Policy{AnyImage: true}, record(func(r *attest.Relayed) { r.Kind = attest.KindSGX }), attest.CheckEvidence, attest.LevelRefused},
		{"TDX without measurements", attest.Policy{AnyImage: true}, record(func(r *attest.Relayed) { r.Measurements = nil }), attest.CheckEvidence, attest.LevelRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := c.policy.JudgeRelayed(c.record, now)
			if c.check != "" {
				mustRefuse(t, v, err, c.check)
			} else if err != nil || !v.Trusted || v.Level != c.level {
				t.Errorf("%v, level %q, want %q", err, v.Level, c.level)
			}
		})
	}
}

func TestVerdictJSON(t *testing.T) {
	p := &attest.Policy{AnyImage: true, AnyKey: true, Verifiers: by(&tdx.Verifier{})}
	v, _ := p.Judge(t.Context(), attest.Quoted(sample(t)), nil, sampleDate)
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Verdict, Level string
		Measurements   map[string]string
		Checks         []struct {
			Name      string
			OK        *bool
			Got, Want *string
		}
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Verdict != "refused" || got.Level != "refused" || got.Measurements["image_hash"] != sampleImage {
		t.Errorf("%s", b)
	}
	for _, name := range []string{"mrtd", "mrconfigid", "mrowner", "mrownerconfig", "rtmr0", "rtmr1", "rtmr2", "rtmr3"} {
		if len(got.Measurements[name]) != 96 {
			t.Errorf("%s is %q, want 96 digits", name, got.Measurements[name])
		}
	}
	for _, c := range got.Checks {
		if c.Name == "" || c.OK == nil || c.Got == nil || c.Want == nil {
			t.Errorf("incomplete check in %s", b)
		}
	}
	v, _ = (&attest.Policy{}).Judge(t.Context(), attest.Quoted(nil), nil, sampleDate)
	if b, err = json.Marshal(v); err != nil || !bytes.Contains(b, []byte(`"measurements":{}`)) {
		t.Errorf("%s, %v: want measurements, though empty", b, err)
	}
}

// asked counts what a policy asks of its collateral.
type asked struct {
	*insecure.Authority
	times int
	err   error
}

func (a *asked) Get(ctx context.Context, part tdx.Part) (tdx.Statement, error) {
	a.times++
	if a.err != nil {
		return tdx.Statement{}, a.err
	}
	return a.Authority.Get(ctx, part)
}

func TestCache(t *testing.T) {
	src := &asked{Authority: authority(t)}
	key, now := newKey(t), time.Now()
	wanted := true
	p := &attest.Policy{Images: func(attest.Hash) bool { return wanted }, Verifiers: by(&tdx.Verifier{TestRoots: src.Roots(), TestCollateral: src}), Cache: attest.NewCache(2)}
	good := quote(t, src.Machine("x"), key)
	judge := func(now time.Time) (int, error) {
		src.times = 0
		_, err := p.Judge(t.Context(), attest.Quoted(good), key, now)
		return src.times, err
	}
	if n, err := judge(now); n == 0 || err != nil {
		t.Fatalf("asked %d times, %v", n, err)
	}
	if n, err := judge(now.Add(59 * time.Minute)); n != 0 || err != nil {
		t.Errorf("a remembered quote: asked %d times, %v", n, err)
	}
	if n, err := judge(now.Add(time.Hour)); n == 0 || err != nil {
		t.Errorf("after an hour: asked %d times, %v, want to be judged anew", n, err)
	}
	if n, _ := judge(now); n == 0 {
		t.Error("a clock that went back: want to be judged anew")
	}
	// What may change is judged each time.
	wanted = false
	if _, err := judge(now); err == nil {
		t.Error("an image that is no longer wanted was remembered as trusted")
	}
	wanted = true
	if _, err := p.Judge(t.Context(), attest.Quoted(good), newKey(t), now); err == nil {
		t.Error("a remembered quote was accepted for another key")
	}
	// The same quote under other roots is another question.
	q := *p
	q.Verifiers = by(&tdx.Verifier{TestCollateral: src})
	if _, err := q.Judge(t.Context(), attest.Quoted(good), key, now); err == nil {
		t.Error("a quote remembered under a test root was accepted without it")
	}
}

// A finding of a policy that asks nobody is no answer for one that asks.
func TestCacheIsSharedByPoliciesThatAskTheSame(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(insecure.Collateral{RevokePCK: true}); err != nil {
		t.Fatal(err)
	}
	key, now, roots := newKey(t), time.Now(), a.Roots()
	bad := quote(t, a.Machine("x"), key)
	for name, p := range map[string]*attest.Policy{
		"roots":      {AnyImage: true, Verifiers: by(&tdx.Verifier{Roots: roots}), Rules: unknown},
		"test roots": {AnyImage: true, Verifiers: by(&tdx.Verifier{TestRoots: roots}), Rules: unknown},
	} {
		p.Cache = attest.NewCache(8)
		if _, err := p.Judge(t.Context(), attest.Quoted(bad), key, now); err != nil {
			t.Fatalf("%s, asking nobody: %v", name, err)
		}
		asks := *p
		was := p.Verifiers[attest.KindTDX].(*tdx.Verifier)
		asks.Verifiers = by(&tdx.Verifier{Roots: was.Roots, TestRoots: was.TestRoots, Collateral: a, TestCollateral: a})
		v, err := asks.Judge(t.Context(), attest.Quoted(bad), key, now)
		mustRefuse(t, v, err, evidence.CheckRevocation)
	}
}

// A machine that was refused is asked about anew when the reason is gone.
func TestCacheRemembersNoFailure(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(insecure.Collateral{RevokePCK: true}); err != nil {
		t.Fatal(err)
	}
	key, now := newKey(t), time.Now()
	p := &attest.Policy{AnyImage: true, Verifiers: by(a.Verifier()), Cache: attest.NewCache(4)}
	q := attest.Quoted(quote(t, a.Machine("x"), key))
	v, err := p.Judge(t.Context(), q, key, now)
	mustRefuse(t, v, err, evidence.CheckRevocation)
	if err := a.Publish(insecure.Collateral{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Judge(t.Context(), q, key, now); err != nil {
		t.Error(err)
	}
}

func TestCacheForgets(t *testing.T) {
	src := &asked{Authority: authority(t)}
	key, now := newKey(t), time.Now()
	p := &attest.Policy{AnyImage: true, Verifiers: by(&tdx.Verifier{TestRoots: src.Roots(), TestCollateral: src}), Rules: unknown, Cache: attest.NewCache(4)}
	quotes := map[string][]byte{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		quotes[name] = quote(t, src.Machine(name), key)
		p.Judge(t.Context(), attest.Quoted(quotes[name]), key, now)
	}
	src.times = 0
	remembered := 0
	for _, q := range quotes {
		before := src.times
		if p.Judge(t.Context(), attest.Quoted(q), key, now); src.times == before {
			remembered++
		}
	}
	if remembered > 4 {
		t.Errorf("%d quotes remembered, want at most 4", remembered)
	}
	// An answer that did not come is not a finding.
	src.err = errors.New("down")
	late := quote(t, src.Machine("late"), key)
	for range 2 {
		src.times = 0
		if v, err := p.Judge(t.Context(), attest.Quoted(late), key, now); err != nil || v.TCB != tdx.Unknown || src.times == 0 {
			t.Errorf("%v, tcb %s, asked %d times", err, v.TCB, src.times)
		}
	}
}

// A verdict lasts no longer than the collateral it rests on.
func TestVerdictExpires(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	soon := now.Add(10 * time.Minute).Truncate(time.Second)
	for name, say := range map[string]insecure.Collateral{"all": {NextUpdate: soon}, "revocation lists": {ListsUntil: soon}} {
		if err := a.Publish(say); err != nil {
			t.Fatal(err)
		}
		key := newKey(t)
		p := &attest.Policy{AnyImage: true, Verifiers: by(a.Verifier()), Cache: attest.NewCache(1)}
		v, err := p.Judge(t.Context(), attest.Quoted(quote(t, a.Machine("x"), key)), key, now)
		if err != nil || !v.Expires.Equal(soon) {
			t.Errorf("%s: %v, expires %v, want %v", name, err, v.Expires, soon)
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	a, key, now := authority(b), newKey(b), time.Now()
	q := quote(b, a.Machine("x"), key)
	for name, p := range map[string]*attest.Policy{
		"signature":  {AnyImage: true, Verifiers: by(&tdx.Verifier{Roots: a.Roots()}), Rules: unknown},
		"collateral": {AnyImage: true, Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a})},
		"remembered": {AnyImage: true, Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a}), Cache: attest.NewCache(1)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Judge(b.Context(), attest.Quoted(q), key, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
