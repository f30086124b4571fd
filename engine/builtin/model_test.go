package builtin

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// torchData is what torch computed from the exported weights; train/export.py
// writes it beside the model.
type torchData struct {
	Texts []struct {
		Text   string
		Tokens []int32
	}
	Answers []struct {
		Prompt string
		Tokens []int32
		Logits []float64 // every logitStride-th
		Answer string
	}
}

const logitStride = 16

func readTorch(t *testing.T) (data torchData) {
	t.Helper()
	b, err := os.ReadFile("testdata/torch.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &data); err != nil {
		t.Fatal(err)
	}
	if len(data.Texts) == 0 || len(data.Answers) == 0 {
		t.Fatal("testdata/torch.json is empty")
	}
	return data
}

func demoModel(t testing.TB) *Model {
	t.Helper()
	m, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLogitsAreTorchs(t *testing.T) {
	m := demoModel(t)
	for _, a := range readTorch(t).Answers {
		seq := newSequence(m)
		logits, err := seq.prefill(t.Context(), a.Tokens)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range a.Logits {
			if got := float64(logits[i*logitStride]); math.Abs(got-want) > 2e-3*(1+math.Abs(want)) {
				t.Fatalf("%s: logit %d = %g, torch has %g", a.Prompt, i*logitStride, got, want)
			}
		}
	}
}

func TestGreedyTextIsTorchs(t *testing.T) {
	m := demoModel(t)
	for _, a := range readTorch(t).Answers {
		tokens, err := m.turns([]message{{"user", a.Prompt}}, true)
		if err != nil || !slices.Equal(tokens, a.Tokens) {
			t.Fatalf("%s: prompt tokens %v, %v; want %v", a.Prompt, tokens, err, a.Tokens)
		}
		got, _ := say(t, newSequence(m), job{prompt: tokens, maxTokens: 80, sampling: sampling{topP: 1}})
		if got != a.Answer {
			t.Errorf("%s: got %q, torch says %q", a.Prompt, got, a.Answer)
		}
	}
}

func TestTokensAreTheTrainers(t *testing.T) {
	m := demoModel(t)
	for _, c := range readTorch(t).Texts {
		if got := m.tokens.encode(nil, c.Text); !slices.Equal(got, c.Tokens) {
			t.Errorf("encode(%q) = %v, want %v", c.Text, got, c.Tokens)
		}
	}
}

// The whole prompt at once, token by token, and in odd batches must agree.
func TestBatchesAgree(t *testing.T) {
	for name, m := range tinyModels(t) {
		tokens := m.tokens.encode(nil, strings.Repeat("batches of odd sizes ", 3))[:40]
		var want []float32
		for _, size := range []int{1, 7, 32} {
			seq := newSequence(m)
			var got []float32
			for part := range slices.Chunk(tokens, size) {
				got = seq.extend(part)
			}
			if want == nil {
				want = slices.Clone(got)
			}
			for i := range want {
				if math.Abs(float64(got[i]-want[i])) > 1e-4*(1+math.Abs(float64(want[i]))) {
					t.Fatalf("%s: in batches of %d logit %d = %g, one by one %g", name, size, i, got[i], want[i])
				}
			}
		}
	}
}

func TestRewindForgets(t *testing.T) {
	m := tinyModel(t, q8)
	seq := newSequence(m)
	first, _ := seq.prefill(t.Context(), m.tokens.encode(nil, "first"))
	if _, err := seq.prefill(t.Context(), m.tokens.encode(nil, "something else and longer")); err != nil {
		t.Fatal(err)
	}
	again, _ := seq.prefill(t.Context(), m.tokens.encode(nil, "first"))
	if !slices.Equal(first, again) {
		t.Error("a used sequence computes something else than a fresh one")
	}
}

func TestHalf(t *testing.T) {
	for bits, want := range map[uint16]float32{0: 0, 0x3c00: 1, 0xc000: -2, 0x3555: 0.33325195, 1: 5.9604645e-8, 0x7bff: 65504} {
		if got := half(bits); got != want {
			t.Errorf("half(%#04x) = %g, want %g", bits, got, want)
		}
	}
}

func BenchmarkPrompt(b *testing.B) {
	m := demoModel(b)
	seq := newSequence(m)
	prompt := m.tokens.encode(nil, strings.Repeat("What is Cocoon? ", 50))[:256]
	for b.Loop() {
		if _, err := seq.prefill(b.Context(), prompt); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(prompt)*b.N)/b.Elapsed().Seconds(), "tok/s")
}

func BenchmarkAnswer(b *testing.B) {
	m := demoModel(b)
	seq := newSequence(m)
	prompt, _ := m.turns([]message{{"user", "What is Cocoon?"}}, true)
	logits, _ := seq.prefill(b.Context(), prompt)
	total := 0
	for b.Loop() {
		n, _, err := seq.answer(b.Context(), &job{prompt: prompt, maxTokens: 100, sampling: sampling{topP: 1}}, 0, logits, func(piece) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
		total += n
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "tok/s")
}
