package attest_test

import (
	"context"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// scripted is a verifier that finds what a test says.
type scripted struct {
	found func(now time.Time) *evidence.Finding
	calls int
}

func (s *scripted) Verify(_ context.Context, _ []byte, now time.Time) *evidence.Finding {
	s.calls++
	return s.found(now)
}

// Evidence for the connection completes a verdict, one thing at a time, and
// with GPUs it reaches the level that needs both.
func TestJudgeSession(t *testing.T) {
	a, key, now := authority(t), newKey(t), time.Now()
	data, nonce := [64]byte{1}, [32]byte{2}
	made := func(p attest.Platform, data [64]byte) []byte {
		q, err := p.Quote(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	good := made(a.Machine("x"), data)
	gpuOK := func(now time.Time) *evidence.Finding {
		f := &evidence.Finding{Kind: evidence.NVIDIA, Status: evidence.UpToDate, Expires: now.Add(time.Minute)}
		f.Checks.Add("spdm", true, "ok", "ok")
		copy(f.ReportData[:], nonce[:])
		return f
	}
	bent := func(change func(*evidence.Finding)) func(time.Time) *evidence.Finding {
		return func(now time.Time) *evidence.Finding { f := gpuOK(now); change(f); return f }
	}
	gpu := []byte("evidence of GPUs")
	for _, c := range []struct {
		name    string
		session *attest.Session
		rules   attest.Rules
		gpu     func(time.Time) *evidence.Finding // nil: nobody looks
		level   attest.Level
		check   string // that refuses
	}{
		{"made for it", &attest.Session{Evidence: good, ReportData: data}, attest.Rules{RequireFresh: true}, nil, attest.LevelImage, ""},
		{"not offered", nil, attest.Rules{}, nil, attest.LevelImage, ""},
		{"not offered, but required", nil, attest.Rules{RequireFresh: true}, nil, 0, attest.CheckSession},
		{"no evidence", &attest.Session{ReportData: data}, attest.Rules{}, nil, 0, attest.CheckSession},
		{"other report data", &attest.Session{Evidence: good, ReportData: [64]byte{9}}, attest.Rules{}, nil, 0, attest.CheckSession},
		{"another image", &attest.Session{Evidence: made(a.Machine("y"), data), ReportData: data}, attest.Rules{}, nil, 0, attest.CheckSession},
		{"not a quote", &attest.Session{Evidence: []byte("quote"), ReportData: data}, attest.Rules{}, nil, 0, attest.CheckSession},
		{"fake", &attest.Session{Evidence: made(insecure.Fake{}, data), ReportData: data}, attest.Rules{}, nil, 0, attest.CheckSession},
		{"GPUs that nobody looks at", &attest.Session{Evidence: good, ReportData: data, GPU: gpu, Nonce: nonce}, attest.Rules{}, nil, attest.LevelImage, ""},
		{"GPUs", &attest.Session{Evidence: good, ReportData: data, GPU: gpu, Nonce: nonce}, attest.Rules{Require: attest.LevelGPU}, gpuOK, attest.LevelGPU, ""},
		{"GPUs are required", &attest.Session{Evidence: good, ReportData: data}, attest.Rules{Require: attest.LevelGPU}, gpuOK, 0, attest.CheckLevel},
		{"GPUs are required of one who cannot", nil, attest.Rules{Require: attest.LevelGPU}, gpuOK, 0, attest.CheckLevel},
		{"GPUs with another nonce", &attest.Session{Evidence: good, ReportData: data, GPU: gpu, Nonce: [32]byte{9}}, attest.Rules{}, gpuOK, 0, attest.CheckGPUNonce},
		{"GPUs that are bad", &attest.Session{Evidence: good, ReportData: data, GPU: gpu, Nonce: nonce}, attest.Rules{},
			bent(func(f *evidence.Finding) { f.Checks.Add("measurements", false, "changed", "the vendor's") }), 0, attest.CheckGPU + "measurements"},
		{"GPUs that nobody says anything about", &attest.Session{Evidence: good, ReportData: data, GPU: gpu, Nonce: nonce}, attest.Rules{},
			bent(func(f *evidence.Finding) { f.Status = evidence.Unknown }), attest.LevelImage, ""},
		{"simulated GPUs", &attest.Session{Evidence: good, ReportData: data, GPU: gpu, Nonce: nonce}, attest.Rules{},
			bent(func(f *evidence.Finding) { f.Insecure = true }), attest.LevelImage, ""},
		{"simulated GPUs where real ones are required", &attest.Session{Evidence: good, ReportData: data, GPU: gpu, Nonce: nonce}, attest.Rules{Require: attest.LevelGPU},
			bent(func(f *evidence.Finding) { f.Insecure = true }), 0, attest.CheckLevel},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &attest.Policy{Rules: c.rules, Images: only(insecure.ImageHash("x")), Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a})}
			if c.gpu != nil {
				p.Verifiers[evidence.NVIDIA] = &scripted{found: c.gpu}
			}
			v, err := p.JudgeConnection(t.Context(), attest.Quoted(quote(t, a.Machine("x"), key)), key, c.session, now)
			if c.check != "" {
				mustRefuse(t, v, err, c.check)
			} else if err != nil || v.Level != c.level {
				t.Errorf("%v, level %q, want %q", err, v.Level.Name(), c.level.Name())
			}
		})
	}
}

// Where peers need prove nothing, one that proves badly counts as one that
// proves nothing.
func TestSessionOfWhoNeedsNone(t *testing.T) {
	a, key, now := authority(t), newKey(t), time.Now()
	p := &attest.Policy{AllowNone: true, AnyImage: true, Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a}), Rules: attest.Rules{RequireFresh: true}}
	for name, s := range map[string]*attest.Session{"none": nil, "bad": {Evidence: []byte("bad")}} {
		v, err := p.JudgeConnection(t.Context(), attest.Quoted(quote(t, a.Machine("x"), key)), key, s, now)
		if err != nil || v.Kind != attest.KindNone || v.Level != attest.LevelNone {
			t.Errorf("%s: %v, kind %s, level %s", name, err, v.Kind, v.Level.Name())
		}
	}
	v, err := p.JudgeConnection(t.Context(), attest.Evidence{}, key, nil, now)
	if err != nil || v.Level != attest.LevelNone {
		t.Errorf("%v, level %s", err, v.Level.Name())
	}
}

// Judging anew asks for what may have changed and not for what cannot.
func TestRejudge(t *testing.T) {
	a, key, now := authority(t), newKey(t), time.Now()
	nonce := [32]byte{2}
	gpu := &scripted{found: func(now time.Time) *evidence.Finding {
		f := &evidence.Finding{Kind: evidence.NVIDIA, Status: evidence.UpToDate, Expires: now.Add(10 * time.Minute)}
		f.Checks.Add("spdm", true, "ok", "ok")
		copy(f.ReportData[:], nonce[:])
		return f
	}}
	cpu := &tdx.Verifier{Roots: a.Roots(), Collateral: a}
	wanted := true
	p := &attest.Policy{Images: func(attest.Hash) bool { return wanted }, Cache: attest.NewCache(10), Rules: attest.Rules{RequireFresh: true},
		Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: cpu, evidence.NVIDIA: gpu}}
	data := [64]byte{1}
	made, err := a.Machine("x").Quote(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	shown, s := attest.Quoted(quote(t, a.Machine("x"), key)), &attest.Session{Evidence: made, ReportData: data, GPU: []byte("gpu"), Nonce: nonce}
	first, err := p.JudgeConnection(t.Context(), shown, key, s, now)
	if err != nil || gpu.calls != 1 || !first.Expires.Equal(now.Add(10*time.Minute)) {
		t.Fatalf("%v, %d calls, expires %v", err, gpu.calls, first.Expires)
	}
	again, err := p.Rejudge(t.Context(), first, shown, key, s, now.Add(time.Minute))
	if err != nil || gpu.calls != 1 || again.Level != attest.LevelGPU || len(again.Checks) != len(first.Checks) {
		t.Errorf("%v, %d calls, level %s, checks %+v", err, gpu.calls, again.Level.Name(), again.Checks)
	}
	later := now.Add(10 * time.Minute)
	if again, err = p.Rejudge(t.Context(), again, shown, key, s, later); err != nil || gpu.calls != 2 || !again.Expires.After(later) {
		t.Errorf("after the GPUs' verdict expired: %v, %d calls, expires %v", err, gpu.calls, again.Expires)
	}
	wanted = false
	v, err := p.Rejudge(t.Context(), again, shown, key, s, later)
	mustRefuse(t, v, err, evidence.CheckImage)
	wanted = true
	v, err = p.Rejudge(t.Context(), first, shown, key, nil, later) // it never proved itself
	mustRefuse(t, v, err, attest.CheckSession)
}
