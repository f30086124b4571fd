package ledger

import (
	"math"

	"github.com/opencocoon/cocoon/tl"
)

// Usage is what an engine counted for one answer, in the model's own tokens.
// Cached is a part of Prompt, Reasoning a part of Completion.
type Usage struct{ Prompt, Cached, Completion, Reasoning int64 }

// Multipliers weigh the classes of tokens: 10000 is times one.
type Multipliers struct{ Prompt, Cached, Completion, Reasoning uint32 }

// Plain weighs every class the same.
var Plain = Multipliers{10000, 10000, 10000, 10000}

// Adjust turns an engine's counts into what the answer costs: the four classes,
// each truncated on its own, and their sum, which is charged and paid. A part
// larger than its whole counts as the whole.
func Adjust(u Usage, coefficient int64, m Multipliers) tl.TokensUsed {
	prompt, completion := max(u.Prompt, 0), max(u.Completion, 0)
	cached, reasoning := min(max(u.Cached, 0), prompt), min(max(u.Reasoning, 0), completion)
	t := tl.TokensUsed{
		PromptTokensUsed:     Tokens(prompt-cached, coefficient, m.Prompt),
		CachedTokensUsed:     Tokens(cached, coefficient, m.Cached),
		CompletionTokensUsed: Tokens(completion-reasoning, coefficient, m.Completion),
		ReasoningTokensUsed:  Tokens(reasoning, coefficient, m.Reasoning),
	}
	t.TotalTokensUsed = add(add(t.PromptTokensUsed, t.CachedTokensUsed), add(t.CompletionTokensUsed, t.ReasoningTokensUsed))
	return t
}

// Tokens turns a count of one class into adjusted tokens, the unit of every
// account: count × coefficient/1000 × multiplier/10000. It computes in
// double precision, left to right, and truncates, because peers do so and
// compare. Nonsense (negative counts) is zero, the unpayable is the maximum.
// Source: roles.md section 2.9, contracts.md section 16.1.
func Tokens(count, coefficient int64, multiplier uint32) int64 {
	if count <= 0 || coefficient <= 0 {
		return 0
	}
	// Conversions keep a compiler from fusing the steps into one rounding.
	v := float64(float64(count) * float64(float64(coefficient)*0.001))
	v = float64(v * float64(multiplier))
	v = float64(v * 0.0001)
	if v >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(v)
}

// Raw is the least count that [Tokens] could have made adjusted tokens of; 0 when
// there is none.
func Raw(adjusted, coefficient int64, multiplier uint32) int64 {
	if adjusted <= 0 || coefficient <= 0 || multiplier == 0 {
		return 0
	}
	v := float64(adjusted) / (float64(coefficient) * 0.001) / (float64(multiplier) * 0.0001)
	if v >= math.MaxInt64/2 {
		return math.MaxInt64 / 2
	}
	return int64(math.Ceil(v * (1 - 1e-12))) // less what the division may have added
}

// add never wraps: a total that does not fit is the largest there is.
func add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
