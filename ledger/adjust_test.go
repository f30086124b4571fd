package ledger

import (
	"math"
	"testing"

	"github.com/opencocoon/cocoon/tl"
)

// The values of contracts.md section 26.
func TestTokensVectors(t *testing.T) {
	for _, c := range []struct {
		count, coefficient int64
		multiplier         uint32
		want               int64
	}{
		{1, 1000, 10000, 1},
		{9, 1000, 1000, 0},
		{10, 1000, 1000, 1},
		{10, 1100, 10000, 11},
		{1000000, 1000, 80000, 8000000},
		{1234, 700, 2500, 215},
		{3, 999, 10000, 2},
		{12345678901, 1150, 80000, 113580245889},
		{111720, 4100, 20000, 916103}, // 916104 in exact arithmetic
		{85336, 3400, 62500, 1813389}, // 1813390 in exact arithmetic
		{0, 1000, 10000, 0},
		{5, 0, 10000, 0},
		{5, 1000, 0, 0},
		{-5, 1000, 10000, 0},
		{5, -1000, 10000, 0},
		{math.MinInt64, math.MinInt64, 1, 0},
		{math.MaxInt64, 1_000_000_000, math.MaxUint32, math.MaxInt64},
		{math.MaxInt64, 1000, 10000, math.MaxInt64},
	} {
		if got := Tokens(c.count, c.coefficient, c.multiplier); got != c.want {
			t.Errorf("Tokens(%d, %d, %d) = %d, want %d", c.count, c.coefficient, c.multiplier, got, c.want)
		}
	}
}

func TestAdjust(t *testing.T) {
	weights := Multipliers{Prompt: 10000, Cached: 1000, Completion: 80000, Reasoning: 20000}
	for _, c := range []struct {
		usage       Usage
		coefficient int64
		want        tl.TokensUsed
	}{
		{Usage{100, 40, 50, 20}, 1000, tl.TokensUsed{PromptTokensUsed: 60, CachedTokensUsed: 4, CompletionTokensUsed: 240, ReasoningTokensUsed: 40, TotalTokensUsed: 344}},
		// Each class is truncated by itself: 9.9 + 0.99 + 0 + 0 is 9, not 10.
		{Usage{19, 9, 0, 0}, 999, tl.TokensUsed{PromptTokensUsed: 9, TotalTokensUsed: 9}},
		{Usage{10, 99, 10, 99}, 1000, tl.TokensUsed{CachedTokensUsed: 1, ReasoningTokensUsed: 20, TotalTokensUsed: 21}},
		{Usage{-1, -1, -1, -1}, 1000, tl.TokensUsed{}},
		{Usage{100, 40, 50, 20}, 0, tl.TokensUsed{}},
		{Usage{math.MaxInt64, 0, math.MaxInt64, 0}, 1000, tl.TokensUsed{PromptTokensUsed: math.MaxInt64, CompletionTokensUsed: math.MaxInt64, TotalTokensUsed: math.MaxInt64}},
	} {
		if got := Adjust(c.usage, c.coefficient, weights); got != c.want {
			t.Errorf("Adjust(%+v, %d) = %+v, want %+v", c.usage, c.coefficient, got, c.want)
		}
	}
}

// Raw undoes Tokens, but for what truncation has lost.
func TestRaw(t *testing.T) {
	for _, x := range []struct {
		count, coefficient int64
		multiplier         uint32
	}{{1, 1000, 10000}, {9, 4000, 80000}, {1234567, 1100, 10000}, {500, 1000, 80000}, {77, 65535, 20000}} {
		if got := Raw(Tokens(x.count, x.coefficient, x.multiplier), x.coefficient, x.multiplier); got != x.count {
			t.Errorf("Raw of %+v = %d", x, got)
		}
	}
	for _, x := range [][3]int64{{0, 1000, 10000}, {-1, 1000, 10000}, {5, 0, 10000}, {5, 1000, 0}} {
		if got := Raw(x[0], x[1], uint32(x[2])); got != 0 {
			t.Errorf("Raw(%v) = %d, want 0", x, got)
		}
	}
	if got := Raw(math.MaxInt64, 1, 1); got != math.MaxInt64/2 {
		t.Errorf("Raw of the largest = %d", got)
	}
}
