package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// What a request costs is counted here, and not taken from the proxy: before it
// is sent its worst case is set aside, in the tally and against the operator's
// limits; at its end the tokens that the proxy reports are booked as far as the
// request, and the usage that passed in its answer, can account for them.

// graceAfter is how long after its deadline a request may still be worked on.
const graceAfter = time.Minute

// price turns tokens of models into adjusted ones, at the worst.
type price struct {
	perToken    coin.Nano
	coefficient int64
	multipliers ledger.Multipliers
}

func (r *request) price(root *contract.Root) price {
	return price{root.PricePerToken, int64(r.options.MaxCoefficient), root.Multipliers}
}

func (p price) most(prompt, completion int64) int64 {
	m := p.multipliers
	in, out := max(m.Prompt, m.Cached), max(m.Completion, m.Reasoning)
	sum := ledger.Tokens(prompt, p.coefficient, in) + ledger.Tokens(completion, p.coefficient, out)
	return min(max(sum, 0), 1<<60)
}

// reserve sets the call's cost aside, or says why it may not be sent.
func (k *call) reserve(rq *request) *failure {
	l := k.link
	k.price = rq.price(l.root)
	size, limit := int64(len(rq.query)), rq.options.MaxTokens*rq.options.Answers()
	if err := rq.affordable(l); err != nil {
		return err
	}
	var err error
	estimate := k.price.most(size, limit)
	k.worth = k.price.perToken.Times(estimate)
	k.spend, err = l.c.cfg.Tally.Reserve(ledger.Spending{
		Account: l.account.name, Key: rq.key, Price: k.price.perToken,
		Estimate: estimate, Before: rq.before, Most: rq.mostTokens(l.root, 0), Until: rq.deadline.Add(graceAfter),
	})
	var limited *ledger.LimitError
	switch {
	case errors.As(err, &limited):
		return &failure{as: openai.SpendingLimit(limited.Error())}
	case err != nil:
		l.c.cfg.Log.Error("cannot keep accounts, so nothing is sent", "error", err)
		return &failure{as: openai.Unavailable(openai.CodeInternal, retryAfter, "this gateway cannot write down what it spends; its log says why")}
	}
	if rq.options.Encrypted {
		k.usage.CompletionTokens = -1 // what passes is sealed
	}
	return nil
}

// mostTokens is the most that can be believed of the request's bill, in adjusted tokens, if it has so many bytes more.
func (rq *request) mostTokens(root *contract.Root, more int) int64 {
	return ledger.Most(rq.options.MaxTokens, rq.options.Answers(), len(rq.query)+more, int64(rq.options.MaxCoefficient), root.Multipliers)
}

// affordable says why the proxy would certainly refuse the request for want of money, or nil.
func (rq *request) affordable(l *link) *failure {
	need, err := ledger.Need(rq.options.MaxTokens, len(rq.query), int64(rq.options.MaxCoefficient))
	if err != nil {
		return &failure{as: openai.BadRequest("max_tokens", openai.CodeInvalidValue, "%v", err)}
	}
	if r := l.c.cfg.Registrar; r != nil {
		if err := r.Afford(l.contract, max(need, rq.options.MaxTokens)); err != nil {
			return unaffordable(err)
		}
	}
	return nil
}

// settle looks at a part as it passes and books the call when it is the last
// one. It returns the cost, nil while and if it is not known.
func (k *call) settle(p *part) *coin.Nano {
	k.watch(p.data)
	if !p.end || k.sawEnd {
		return nil
	}
	k.sawEnd = true
	if p.final == nil {
		if k.answering() {
			k.spend.Lost()
			return nil
		}
		k.spend.End(0) // refused: no proxy books that
		return new(coin.Nano)
	}
	used, most := max(p.final.TokensUsed.TotalTokensUsed, 0), k.spend.Most()
	if p.failure == nil && k.usage.PromptTokens > 0 && k.usage.CompletionTokens > 0 {
		most = min(most, k.price.most(k.usage.PromptTokens, k.usage.CompletionTokens))
	}
	if used > most {
		k.link.c.counts.inflated.Inc()
		k.link.c.cfg.Log.Warn("proxy reports more than the answer can cost", "proxy", k.link.addr, "reported", used, "counted", most)
		used = most
	}
	k.spend.End(used)
	cost := k.price.perToken.Times(used)
	return &cost
}

// settleLate is settle for the end of a call that nobody waits for any more.
func (k *call) settleLate(p *part) {
	cost := k.settle(p)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cost = cost
}

func (k *call) answering() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.head != nil
}

var usageMember = []byte(`"usage"`)

// watch remembers the usage that an answer tells. Inside a string its quotes
// would be escaped; one that is cut in two by a border of parts is missed, and
// then only the request's own bound holds.
func (k *call) watch(data []byte) {
	if k.usage.CompletionTokens < 0 || !bytes.Contains(data, usageMember) {
		return
	}
	rest := bytes.TrimLeft(data[bytes.LastIndex(data, usageMember)+len(usageMember):], " \t\r\n")
	if len(rest) == 0 || rest[0] != ':' {
		return
	}
	var raw json.RawMessage
	if json.NewDecoder(bytes.NewReader(rest[1:])).Decode(&raw) != nil {
		return
	}
	doc, err := openai.ParseObject(raw)
	if err != nil {
		return
	}
	if u, ok := doc.ReadUsage(); ok {
		k.usage.PromptTokens, k.usage.CompletionTokens = max(k.usage.PromptTokens, u.PromptTokens), max(k.usage.CompletionTokens, u.CompletionTokens)
	}
}

// leave is take for a call whose end nobody waits for any more. It still
// costs, and its end is heard if it comes.
func (l *link) leave(k *call) bool {
	l.mu.Lock()
	running := l.calls[k.id] == k
	if running {
		l.left[k.id] = k
	}
	l.mu.Unlock()
	return running && l.take(k)
}

// returned takes back a call that was left, nil if there is none.
func (l *link) returned(id tl.Int256) *call {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.left[id]
	delete(l.left, id)
	return k
}

// giveUp ends calls that were left and of which nobody can hear any more.
func (l *link) giveUp() {
	now := l.c.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, k := range l.left {
		if now.After(k.spend.Until()) {
			delete(l.left, id)
			k.spend.Lost()
		}
	}
}
