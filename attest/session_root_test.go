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
		{"an hour later", time.Hour, g, attest.CheckGPU + evidence.CheckRevocation},
		{"with the clock set back", -time.Minute, g, attest.CheckGPU + evidence.CheckRevocation},
		{"nobody could be asked at first", time.Minute, nvidia.Dir("/dev/null"), attest.CheckGPU + evidence.CheckRevocation},
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
