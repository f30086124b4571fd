package worker

import (
	"math"
	"strconv"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// price turns an engine's counts into what the caller pays.
type price struct {
	coefficient int64 // the request's, in thousandths
	multipliers ledger.Multipliers
	perToken    uint64 // nanoTON per adjusted token
}

func priceOf(root *contract.Root, coefficient int64) price {
	return price{coefficient, root.Multipliers, uint64(root.PricePerToken)}
}

func (p price) adjust(u ledger.Usage) tl.TokensUsed {
	return ledger.Adjust(u, p.coefficient, p.multipliers)
}

// costs are the three members that the network adds to each usage object, in
// nanoTON: what the caller pays by the counts so far.
type costs struct{ prompt, completion, total uint64 }

func (p price) costs(t tl.TokensUsed) costs {
	return costs{
		prompt:     p.nano(uint64(t.PromptTokensUsed) + uint64(t.CachedTokensUsed)),
		completion: p.nano(uint64(t.CompletionTokensUsed) + uint64(t.ReasoningTokensUsed)),
		total:      p.nano(uint64(t.TotalTokensUsed)),
	}
}

// nano is the price of adjusted tokens; what does not fit is the largest.
func (p price) nano(tokens uint64) uint64 {
	if tokens > 0 && p.perToken > math.MaxInt64/tokens {
		return math.MaxInt64
	}
	return p.perToken * tokens
}

// into writes the costs into a usage object.
func (c costs) into(usage *openai.Object) {
	usage.Set("prompt_total_cost", strconv.AppendUint(nil, c.prompt, 10))
	usage.Set("completion_total_cost", strconv.AppendUint(nil, c.completion, 10))
	usage.Set("total_cost", strconv.AppendUint(nil, c.total, 10))
}

// appendEstimate appends a usage object of guessed counts, and says so.
func (c costs) appendEstimate(b []byte, u ledger.Usage) []byte {
	for _, m := range []struct {
		name  string
		value uint64
	}{
		{`{"prompt_tokens":`, uint64(u.Prompt)}, {`,"completion_tokens":`, uint64(u.Completion)},
		{`,"total_tokens":`, uint64(u.Prompt + u.Completion)}, {`,"prompt_total_cost":`, c.prompt},
		{`,"completion_total_cost":`, c.completion}, {`,"total_cost":`, c.total},
	} {
		b = strconv.AppendUint(append(b, m.name...), m.value, 10)
	}
	return append(b, `,"estimated":true}`...)
}
