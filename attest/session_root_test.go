package attest_test

import (
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// Who has stolen the key of a genuine machine's certificate cannot prove it for
// a connection with a simulated machine, which claims to be the same processor.
func TestSimulatedSessionOfGenuineMachine(t *testing.T) {
	real, test, key, now := authority(t), mustAuthority(t), newKey(t), time.Now()
	v := &tdx.Verifier{Roots: real.Roots(), Collateral: real, TestRoots: test.Roots(), TestCollateral: test}
	p := &attest.Policy{Images: only(insecure.ImageHash("worker")), Verifiers: by(v)}
	certificate := attest.Quoted(quote(t, real.Machine("worker"), key))
	bound := [64]byte{1}
	for _, c := range []struct {
		by    *insecure.Authority
		check string
	}{{real, ""}, {test, attest.CheckSession}} {
		fresh, err := c.by.Machine("worker").Quote(t.Context(), bound)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.JudgeConnection(t.Context(), certificate, key, &attest.Session{Evidence: fresh, ReportData: bound}, now)
		if c.check != "" {
			mustRefuse(t, got, err, c.check)
		} else if err != nil || got.Level != attest.LevelImage {
			t.Errorf("%v, level %s", err, got.Level.Name())
		}
	}
}

func mustAuthority(t *testing.T) *insecure.Authority {
	t.Helper()
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// What was found about the GPUs of a connection that lives is no more lasting
// than what was found about its processor: an hour, and less if a part of the
// answer had not come.
func TestRejudgeAsksAboutGPUsAgain(t *testing.T) {
	a, key, now := authority(t), newKey(t), time.Now()
	g, err := insecure.NewGPUAuthority()
	if err != nil {
		t.Fatal(err)
	}
	nonce, bound := [32]byte{2}, [64]byte{1}
	fresh, err := a.Machine("worker").Quote(t.Context(), bound)
	if err != nil {
		t.Fatal(err)
	}
	gpu, err := g.Guest(insecure.GPU{}).Evidence(t.Context(), nonce)
	if err != nil {
		t.Fatal(err)
	}
	certificate := attest.Quoted(quote(t, a.Machine("worker"), key))
	session := &attest.Session{Evidence: fresh, ReportData: bound, GPU: gpu, Nonce: nonce}
	for _, c := range []struct {
		name  string
		later time.Duration
		first nvidia.Collateral // what the source is while the peer connects
		check string            // that refuses later, once the GPU is revoked
	}{
		{"a moment later", time.Minute, g, ""},
		{"nobody could be asked a moment ago", time.Minute, nvidia.Dir("/dev/null"), ""},
		{"an hour later", time.Hour, g, attest.CheckGPU + evidence.CheckRevocation},
		{"with the clock set back", -time.Minute, g, attest.CheckGPU + evidence.CheckRevocation},
		{"nobody could be asked at first", 5 * time.Minute, nvidia.Dir("/dev/null"), attest.CheckGPU + evidence.CheckRevocation},
	} {
		g.Publish(insecure.GPUCollateral{})
		source := &switched{Collateral: c.first}
		anchors := *g.Anchors()
		anchors.Collateral = source
		p := &attest.Policy{Images: only(insecure.ImageHash("worker")), Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a})}
		p.Verifiers[attest.KindNVIDIA] = &nvidia.Verifier{Anchors: anchors, AllowUnknown: true}
		v, err := p.JudgeConnection(t.Context(), certificate, key, session, now)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		g.Publish(insecure.GPUCollateral{Revoked: []string{"BROM"}})
		source.Collateral = g
		v, err = p.Rejudge(t.Context(), v, certificate, key, session, now.Add(c.later))
		if c.check != "" {
			t.Run(c.name, func(t *testing.T) { mustRefuse(t, v, err, c.check) })
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// switched is a source that becomes another.
type switched struct{ nvidia.Collateral }

// What is shown for a connection is of the certificate's machine and image, and
// as good: one change at a time.
func TestSessionRefuses(t *testing.T) {
	a, key, now := authority(t), newKey(t), time.Now()
	bound := [64]byte{1}
	machine := a.Machine("worker")
	certificate := attest.Quoted(quote(t, machine, key))
	other, elsewhere, feature := a.Machine("other"), a.Machine("worker"), a.Machine("worker")
	elsewhere.Processor = "another"
	feature.Edit = func(d *insecure.Draft) { d.Body.XFAM = 0x3 }
	p := &attest.Policy{AnyImage: true, Verifiers: by(a.Verifier()), Rules: attest.Rules{Registers: []string{"xfam=00000000000602e7"}}}
	for _, c := range []struct {
		name    string
		machine *insecure.Machine // nil: nothing is shown
		data    [64]byte
		check   string
	}{
		{"the same", machine, bound, ""},
		{"nothing", nil, bound, attest.CheckSession},
		{"another image", other, bound, attest.CheckSession},
		{"another machine", elsewhere, bound, attest.CheckSession},
		{"another register that is pinned", feature, bound, attest.CheckSession},
		{"another connection", machine, [64]byte{2}, attest.CheckSession},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &attest.Session{ReportData: bound}
			var err error
			if c.machine != nil {
				if s.Evidence, err = c.machine.Quote(t.Context(), c.data); err != nil {
					t.Fatal(err)
				}
			}
			v, err := p.JudgeConnection(t.Context(), certificate, key, s, now)
			if c.check != "" {
				mustRefuse(t, v, err, c.check)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// A verdict ends with the first thing that it rests on, also what is known of
// the evidence for the connection and of the GPUs.
func TestSessionExpires(t *testing.T) {
	a, key, now := mustAuthority(t), newKey(t), time.Now()
	g, err := insecure.NewGPUAuthority()
	if err != nil {
		t.Fatal(err)
	}
	nonce, bound := [32]byte{2}, [64]byte{1}
	fresh, err := a.Machine("worker").Quote(t.Context(), bound)
	if err != nil {
		t.Fatal(err)
	}
	gpu, err := g.Guest(insecure.GPU{}).Evidence(t.Context(), nonce)
	if err != nil {
		t.Fatal(err)
	}
	p := &attest.Policy{AnyImage: true, Verifiers: by(a.Verifier())}
	p.Verifiers[attest.KindNVIDIA] = &nvidia.Verifier{Anchors: *g.Anchors()}
	v, err := p.JudgeCertificate(t.Context(), attest.Quoted(quote(t, a.Machine("worker"), key)), key, now)
	if err != nil {
		t.Fatal(err)
	}
	soon, sooner := now.Add(20*time.Minute).Truncate(time.Second), now.Add(10*time.Minute).Truncate(time.Second)
	if err := a.Publish(insecure.Collateral{NextUpdate: soon}); err != nil {
		t.Fatal(err)
	}
	judge := func(s *attest.Session, want time.Time) {
		t.Helper()
		got, err := p.JudgeSession(t.Context(), v, s, now)
		if err != nil || !got.Expires.Equal(want) {
			t.Errorf("%v, expires %s, want %s", err, got.Expires, want)
		}
	}
	judge(&attest.Session{Evidence: fresh, ReportData: bound}, soon)
	g.Publish(insecure.GPUCollateral{Until: sooner})
	judge(&attest.Session{Evidence: fresh, ReportData: bound, GPU: gpu, Nonce: nonce}, sooner)
}
