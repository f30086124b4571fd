package attest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// The evidence of GPUs, judged together with that of the machine around them,
// by the real verifiers of both.
func TestGPUsOfAMachine(t *testing.T) {
	a, now, key := authority(t), time.Now(), newKey(t)
	g, err := insecure.NewGPUAuthority()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := insecure.NewGPUAuthority()
	if err != nil {
		t.Fatal(err)
	}
	bound, nonce := [64]byte{1}, [32]byte{2}
	machine := a.Machine("worker")
	fresh, err := machine.Quote(t.Context(), bound)
	if err != nil {
		t.Fatal(err)
	}
	certificate := attest.Quoted(quote(t, machine, key))
	gpus := func(by *insecure.GPUAuthority, nonce [32]byte, of ...insecure.GPU) []byte {
		b, err := by.Guest(of...).Evidence(t.Context(), nonce)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	own := gpus(g, nonce, insecure.GPU{Name: "a"}, insecure.GPU{Name: "b"})
	real := &nvidia.Verifier{Anchors: *g.Anchors()}
	boards := real.Verify(t.Context(), own, now).Platforms()
	if len(boards) != 2 {
		t.Fatalf("boards %v", boards)
	}
	without := *g.Anchors()
	without.Collateral = nil
	for _, c := range []struct {
		name  string
		gpu   []byte
		judge attest.Verifier
		rules attest.Rules
		level attest.Level
		check string // that refuses; empty: none
	}{
		{"in order", own, real, attest.Rules{Require: attest.LevelGPU}, attest.LevelGPU, ""},
		{"one alone", gpus(g, nonce, insecure.GPU{Name: "a"}), real, attest.Rules{}, attest.LevelGPU, ""},
		{"none", nil, real, attest.Rules{}, attest.LevelImage, ""},
		{"none, and some are asked for", nil, real, attest.Rules{Require: attest.LevelGPU}, 0, attest.CheckLevel},
		{"nobody judges them", own, nil, attest.Rules{}, attest.LevelImage, ""},
		{"simulated", own, &nvidia.Verifier{Test: g.Anchors()}, attest.Rules{}, attest.LevelImage, ""},
		{"nobody knows about them", own, &nvidia.Verifier{Anchors: without}, attest.Rules{}, 0, attest.CheckGPU + evidence.CheckRevocation},
		{"nobody knows about them, which is allowed", own, &nvidia.Verifier{Anchors: without, AllowUnknown: true}, attest.Rules{}, attest.LevelImage, ""},
		{"of another vendor", gpus(stranger, nonce), real, attest.Rules{}, 0, attest.CheckGPU + evidence.CheckChain},
		{"asked for another connection", gpus(g, [32]byte{3}), real, attest.Rules{}, 0, attest.CheckGPUNonce},
		{"in debug mode", gpus(g, nonce, insecure.GPU{Debug: true}), real, attest.Rules{}, 0, attest.CheckGPU + evidence.CheckDebug},
		{"one in debug mode", gpus(g, nonce, insecure.GPU{Name: "a"}, insecure.GPU{Name: "b", Debug: true}), real, attest.Rules{}, 0, attest.CheckGPU + evidence.CheckDebug},
		{"struck off", own, real, attest.Rules{DenyPlatforms: []string{strings.ToUpper(boards[1])}}, 0, attest.CheckGPU + evidence.CheckPlatform},
		{"garbage", []byte("gpu"), real, attest.Rules{}, 0, attest.CheckGPU + evidence.CheckFormat},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &attest.Policy{Images: only(insecure.ImageHash("worker")), Verifiers: by(&tdx.Verifier{Roots: a.Roots(), Collateral: a}), Rules: c.rules}
			if c.judge != nil {
				p.Verifiers[attest.KindNVIDIA] = c.judge
			}
			v, err := p.JudgeConnection(t.Context(), certificate, key, &attest.Session{Evidence: fresh, ReportData: bound, GPU: c.gpu, Nonce: nonce}, now)
			if c.check != "" {
				mustRefuse(t, v, err, c.check)
				return
			}
			if err != nil || v.Level != c.level {
				t.Fatalf("%v, level %s, want %s", err, v.Level.Name(), c.level.Name())
			}
			b, err := json.Marshal(v)
			if shown := strings.Contains(string(b), `"gpu":{"status"`); err != nil || shown != (v.GPU != nil) {
				t.Errorf("GPUs in JSON: %v, %v in %s", shown, err, b)
			}
		})
	}
}

// Evidence of GPUs alone, from a file, says nothing about a machine or a key.
func TestGPUsAlone(t *testing.T) {
	g, err := insecure.NewGPUAuthority()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := g.Guest(insecure.GPU{Name: "a"}, insecure.GPU{Name: "b"}).Evidence(t.Context(), [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	shown := attest.Evidence{Kind: attest.KindNVIDIA, Raw: raw}
	verifiers := map[attest.Kind]attest.Verifier{attest.KindNVIDIA: &nvidia.Verifier{Anchors: *g.Anchors()}}
	ids := verifiers[attest.KindNVIDIA].Verify(t.Context(), raw, time.Now()).Platforms()
	for _, c := range []struct {
		name   string
		policy attest.Policy
		check  string
	}{
		{"any", attest.Policy{AnyImage: true, AnyKey: true}, ""},
		{"listed", attest.Policy{AnyImage: true, AnyKey: true, Rules: attest.Rules{Platforms: ids}}, ""},
		{"one is not listed", attest.Policy{AnyImage: true, AnyKey: true, Rules: attest.Rules{Platforms: ids[:1]}}, evidence.CheckPlatform},
		{"one is struck off", attest.Policy{AnyImage: true, AnyKey: true, Rules: attest.Rules{DenyPlatforms: ids[1:]}}, evidence.CheckPlatform},
		{"an image is asked for", attest.Policy{AnyKey: true, Images: func(attest.Hash) bool { return true }}, evidence.CheckImage},
		{"a key is asked for", attest.Policy{AnyImage: true}, evidence.CheckReportData},
	} {
		c.policy.Verifiers = verifiers
		v, err := c.policy.Judge(t.Context(), shown, nil, time.Now())
		if c.check != "" {
			mustRefuse(t, v, err, c.check)
		} else if err != nil || v.Level != attest.LevelAttested {
			t.Errorf("%s: %v, level %s", c.name, err, v.Level.Name())
		}
	}
}
