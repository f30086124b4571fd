package builtin

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// spell feeds text to p in pieces of size bytes and returns what was shown
// after each, and whether a stop string ended it.
func spell(p *pending, text string, size int) (shown []string, stopped bool) {
	for chunk := range slices.Chunk([]byte(text), size) {
		if p.add(chunk, tokenScore{}) {
			return append(shown, p.flush().text), true
		}
		shown = append(shown, p.ready().text)
	}
	return append(shown, p.flush().text), false
}

func TestStopStrings(t *testing.T) {
	for _, c := range []struct {
		text    string
		stops   []string
		want    string
		stopped bool
	}{
		{"one END two", []string{"END"}, "one ", true},
		{"one EN two", []string{"END"}, "one EN two", false},
		{"EEEND", []string{"END"}, "EE", true},
		{"a\nb", []string{"\n"}, "a", true},
		{"abcabd", []string{"abd"}, "abc", true},
		{"late early", []string{"early", "late"}, "", true},
		{"grüße und so", []string{"ße"}, "grü", true},
		{"tail EN", []string{"END"}, "tail EN", false},
		{"ends here", nil, "ends here", false},
	} {
		for size := 1; size <= len(c.text); size++ {
			shown, stopped := spell(newPending(c.stops), c.text, size)
			if got := strings.Join(shown, ""); got != c.want || stopped != c.stopped {
				t.Errorf("%q by %d bytes with stops %q: %q, stopped %t; want %q, %t", c.text, size, c.stops, got, stopped, c.want, c.stopped)
			}
		}
	}
}

func TestNeverHalfARune(t *testing.T) {
	const text = "naïve 🙂 你好!"
	for size := 1; size < 6; size++ {
		shown, _ := spell(newPending(nil), text, size)
		for _, s := range shown {
			if !utf8.ValidString(s) || strings.ContainsRune(s, utf8.RuneError) {
				t.Errorf("by %d bytes: shown %q", size, s)
			}
		}
		if got := strings.Join(shown, ""); got != text {
			t.Errorf("by %d bytes: %q, want %q", size, got, text)
		}
	}
	shown, _ := spell(newPending(nil), "ok\xf0\x9f\x99", 1)
	if got := strings.Join(shown, ""); got != "ok" {
		t.Errorf("an unfinished rune at the end: %q, want it left out", got)
	}
	shown, _ = spell(newPending(nil), "a\xffb\xc3(", 1)
	if got := strings.Join(shown, ""); got != "a\uFFFDb\uFFFD(" {
		t.Errorf("bytes that are no UTF-8: %q", got)
	}
}

func TestSeeds(t *testing.T) {
	m := tinyModel(t, q8)
	with := func(seed uint64, temperature float64) string {
		text, _ := say(t, newSequence(m), job{prompt: []int32{5}, maxTokens: 30,
			sampling: sampling{seed: seed, temperature: temperature, topP: 0.95}})
		return text
	}
	if a, b := with(7, 1), with(7, 1); a != b {
		t.Errorf("seed 7 gives %q and %q", a, b)
	}
	if a, b := with(7, 1), with(8, 1); a == b {
		t.Errorf("seeds 7 and 8 both give %q", a)
	}
	if a, b := with(7, 0), with(8, 0); a != b {
		t.Errorf("temperature 0 depends on the seed: %q and %q", a, b)
	}
}

func TestChoicesDiffer(t *testing.T) {
	m := tinyModel(t, q8)
	j := &job{prompt: []int32{5, 6}, maxTokens: 20, sampling: sampling{seed: 3, temperature: 1.5, topP: 1}}
	seq := newSequence(m)
	logits, err := seq.prefill(t.Context(), j.prompt)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]bool{}
	for _, choice := range []int{0, 1, 0} {
		var text string
		if _, _, err := seq.answer(t.Context(), j, choice, logits, func(p piece) error { text += p.text; return nil }); err != nil {
			t.Fatal(err)
		}
		texts[text] = true
	}
	if len(texts) != 2 {
		t.Errorf("choices 0, 1, 0 gave %d different texts, want 2: %v", len(texts), texts)
	}
}

func TestSampler(t *testing.T) {
	base := []float32{0, 1, 3, 2, -1}
	count := func(s sampling, n int) map[int32]int {
		got := map[int32]int{}
		sampler := newSampler(s, 0)
		for range n {
			sampler.used = map[int32]int{}
			got[sampler.pick(slices.Clone(base))]++
		}
		return got
	}
	if got := count(sampling{topP: 1}, 10); got[2] != 10 {
		t.Errorf("greedy picks %v, want token 2 only", got)
	}
	// The two likeliest hold 0.87 of all, the likeliest alone 0.64.
	if got := count(sampling{temperature: 1, topP: 0.8}, 1000); len(got) != 2 || got[2] < got[3] {
		t.Errorf("top_p 0.8 picks %v, want tokens 2 and 3", got)
	}
	if got := count(sampling{temperature: 1, topP: 0}, 100); got[2] != 100 {
		t.Errorf("top_p 0 picks %v, want the likeliest", got)
	}
	got := count(sampling{temperature: 1, topP: 1}, 20000)
	for token, logit := range base {
		want := math.Exp(float64(logit)) / 31.56
		if share := float64(got[int32(token)]) / 20000; math.Abs(share-want) > 0.02 {
			t.Errorf("token %d has a share of %.3f, want %.3f", token, share, want)
		}
	}
	if got := count(sampling{topP: 1, bias: map[int32]float64{4: 100}}, 1); got[4] != 1 {
		t.Errorf("bias: %v, want token 4", got)
	}
	s := newSampler(sampling{topP: 1, frequency: 0.6, presence: 0.6}, 0)
	if a, b := s.pick(slices.Clone(base)), s.pick(slices.Clone(base)); a != 2 || b != 3 {
		t.Errorf("with penalties: %d then %d, want 2 then 3", a, b)
	}
}

// Weights that are no numbers must not stop the program or loop.
func TestNotANumber(t *testing.T) {
	nan := float32(math.NaN())
	for _, logits := range [][]float32{{nan, nan, nan}, {1, nan, 2}, {float32(math.Inf(1)), 0, 0}} {
		for _, s := range []sampling{{topP: 1}, {temperature: 1, topP: 1}, {temperature: 1, topP: 0.5}} {
			token := newSampler(s, 0).pick(slices.Clone(logits))
			at, top := score(logits, token, 2)
			if math.IsNaN(at.logprob) || len(top) != 2 || math.IsNaN(top[0].logprob) {
				t.Errorf("score(%v) = %v, %v", logits, at, top)
			}
		}
	}
}

func TestLogprobs(t *testing.T) {
	logits := []float32{0, 1, 3, 2, -1, 3}
	_, top := score(logits, 0, len(logits))
	var sum float64
	for i, s := range top {
		sum += math.Exp(s.logprob)
		if i > 0 && s.logprob > top[i-1].logprob {
			t.Errorf("rivals out of order: %v", top)
		}
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("probabilities sum to %g, want 1", sum)
	}
	if at, best := score(logits, 2, 2); at != best[0] || best[1].token != 5 {
		t.Errorf("score = %v, %v; want token 2 first, then 5", at, best)
	}
	if _, none := score(logits, 2, 0); len(none) != 0 {
		t.Errorf("no rivals asked for, got %v", none)
	}
}

func TestCancelStopsAtTheNextToken(t *testing.T) {
	m := tinyModel(t, q8)
	ctx, cancel := context.WithCancel(t.Context())
	seq := newSequence(m)
	j := &job{prompt: []int32{1}, maxTokens: 50, sampling: sampling{topP: 1, bias: map[int32]float64{int32('a'): 100}}}
	logits, err := seq.prefill(ctx, j.prompt)
	if err != nil {
		t.Fatal(err)
	}
	n, _, err := seq.answer(ctx, j, 0, logits, func(piece) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("cancelled at the first token: %d tokens, %v; want 1 and context canceled", n, err)
	}
	if _, err := seq.prefill(ctx, j.prompt); !errors.Is(err, context.Canceled) {
		t.Errorf("prefill after the end: %v", err)
	}
}

func TestLengthIsBounded(t *testing.T) {
	m := tinyModel(t, f32)
	forever := sampling{topP: 1, bias: map[int32]float64{int32('a'): 100, int32('b'): 100}, frequency: 2} // by turns
	text, finish := say(t, newSequence(m), job{prompt: []int32{1, 2}, maxTokens: 5, sampling: forever})
	if len(text) != 5 || finish != finishLength {
		t.Errorf("five tokens: %q, %s", text, finish)
	}
	text, finish = say(t, newSequence(m), job{prompt: []int32{1, 2}, maxTokens: 1 << 30, sampling: forever})
	if len(text) != tinyContext-2 || finish != finishLength {
		t.Errorf("prompt and answer are %d tokens, want the context of %d; %s", 2+len(text), tinyContext, finish)
	}
	stuck := sampling{topP: 1, bias: map[int32]float64{int32('a'): 100}}
	text, finish = say(t, newSequence(m), job{prompt: []int32{1, 2}, maxTokens: 1 << 30, sampling: stuck})
	if len(text) != rut-1 || finish != finishStop {
		t.Errorf("a model in a rut: %q, %s; want %d tokens and an end", text, finish, rut-1)
	}
	end := m.tokens.ends[0]
	text, finish = say(t, newSequence(m), job{prompt: []int32{1}, maxTokens: 5, sampling: sampling{topP: 1, bias: map[int32]float64{end: 100}}})
	if text != "" || finish != finishStop {
		t.Errorf("an answer that ends at once: %q, %s", text, finish)
	}
}
