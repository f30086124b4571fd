package client

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// stretch is a part of an answer that broke off.
type stretch struct {
	k      *call
	head   *tl.HTTPResponse
	final  *tl.ClientQueryFinalInfo // nil if it was not told
	why    *openai.Error
	at     time.Time
	sent   int64 // tokens of the answer that were in its prompt
	tokens int64 // that it delivered
}

// usage is what the broken parts used, by the prompt that the part at hand has.
// Of one that is known to have cost nothing nothing counts.
func (r *resumer) usage(prompt int64) (u openai.Usage) {
	total, prompts := coin.Nano(0), coin.Nano(0)
	known := true
	for _, b := range r.broken {
		cost := b.k.paid()
		if known = known && cost != nil; cost != nil {
			total = total.Add(*cost)
			if b.final != nil {
				used := &b.final.TokensUsed
				prompts = prompts.Add(min(b.k.price.perToken.Times(max(used.PromptTokensUsed, 0)+max(used.CachedTokensUsed, 0)), *cost))
			}
		}
		if cost == nil || *cost > 0 {
			u.PromptTokens += max(prompt-r.sent+b.sent, 0)
			u.CompletionTokens += b.tokens
		}
	}
	for _, k := range r.useless {
		cost := k.paid()
		if known = known && cost != nil; cost != nil {
			total = total.Add(*cost)
		}
	}
	if known {
		all, in, out := int64(total), int64(prompts), int64(total-prompts)
		u.TotalCost, u.PromptTotalCost, u.CompletionTotalCost = &all, &in, &out
	}
	return u
}

// cost is what the parts have cost that are over, with what one could have cost
// of which that is not known.
func (r *resumer) cost(lost *taken) (sum coin.Nano) {
	for _, b := range r.broken {
		sum = sum.Add(b.k.atMost())
	}
	for _, k := range r.useless {
		sum = sum.Add(k.atMost())
	}
	if lost.cost != nil {
		return sum.Add(*lost.cost)
	}
	return sum.Add(r.a.k.atMost())
}

// total adds what other answers than the last one cost, nil if nobody knows.
func (r *resumer) total(last *coin.Nano) *coin.Nano {
	if r == nil {
		return last
	}
	if last == nil {
		last = r.a.k.paid() // it may have come after nobody waited any more
	}
	calls := slices.Clone(r.useless)
	for _, b := range r.broken {
		calls = append(calls, b.k)
	}
	for _, k := range calls {
		cost := k.paid()
		if cost == nil || last == nil {
			return nil
		}
		sum := last.Add(*cost)
		last = &sum
	}
	return last
}

// workers names those that went on with the answer, in their order, and says
// why they were asked, if that is wished.
func (r *resumer) workers() string {
	if r == nil || len(r.broken) == 0 {
		return ""
	}
	var list []string
	for i := range r.broken {
		head := r.head
		if i+1 < len(r.broken) {
			head = r.broken[i+1].head
		}
		name := cmp.Or(workerOf(head), "unknown")
		if why := header(head, headerWhy); why != "" && r.a.rq.options.Explain {
			name += " (" + why + ")"
		}
		list = append(list, name)
	}
	return strings.Join(list, ", ")
}

// workerOf is who gave an answer, as the proxy says, behind whatever the worker
// may have said itself.
func workerOf(head *tl.HTTPResponse) (name string) {
	for _, h := range head.Headers {
		if strings.EqualFold(h.Name, headerWorker) {
			name = h.Value
		}
	}
	return name
}

// brokenRecord is a part that broke off, in a debug record.
type brokenRecord struct {
	Worker string     `json:"worker,omitempty"`
	Proxy  string     `json:"proxy"`
	Why    string     `json:"why"` // the error's code
	At     float64    `json:"resumed_at"`
	Tokens int64      `json:"tokens"` // delivered, at least
	Cost   *coin.Nano `json:"cost_nanoton"`
}

func (r *resumer) records() (list []brokenRecord) {
	if r == nil {
		return nil
	}
	for _, b := range r.broken {
		list = append(list, brokenRecord{workerOf(b.head), b.k.link.addr, b.why.Code, unixFloat(b.at), b.tokens, b.k.paid()})
	}
	return list
}
