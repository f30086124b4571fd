package client

import (
	"encoding/hex"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// Headers of an answer: who gave it, why he was asked, and which wishes were
// not passed on because the proxy does not know them.
const (
	headerWorker  = "X-Cocoon-Worker"
	headerWhy     = "X-Cocoon-Why"
	headerIgnored = "X-Cocoon-Provider-Ignored"
)

// Bits of cocoon.runQuery.
const (
	wantsDebug = 1 << iota
	wantsWhy
)

// leastDigits is how many digits of an account name a worker.
const leastDigits = 8

var sorts = map[string]int32{"": 0, "price": 1, "latency": 2, "throughput": 3}

// wishes are a "provider" object as the network has it. Names are made plain,
// so that a proxy cannot tell one gateway's spelling from another's.
func wishes(p *openai.Provider) (w tl.CocoonWishes, err *openai.Error) {
	if p == nil {
		return w, nil
	}
	w = tl.CocoonWishes{Sort: sorts[p.Sort], MaxLatency: p.MaxLatency.Seconds(), NoFallbacks: p.NoFallbacks}
	for _, list := range []struct {
		name string
		from []string
		to   *[]string
	}{{"order", p.Order, &w.Order}, {"only", p.Only, &w.Only}, {"ignore", p.Ignore, &w.Ignore}} {
		for _, name := range list.from {
			plain, ok := workerName(name)
			if !ok {
				return w, openai.BadRequest("provider."+list.name, openai.CodeInvalidValue,
					"'%s' names no worker: want its owner's address, or at least %d hexadecimal digits that its account begins with", name, leastDigits)
			}
			*list.to = append(*list.to, plain)
		}
	}
	if p.Only != nil && len(p.Only) == 0 {
		return w, openai.BadRequest("provider.only", openai.CodeInvalidValue, "provider.only is empty, so that nobody may serve; leave it out to allow everybody")
	}
	return w, nil
}

// workerName makes a name plain: an address in its raw form, or digits in lower case.
func workerName(name string) (string, bool) {
	if a, err := contract.ParseAddress(name); err == nil {
		return a.StringRaw(), true
	}
	name = strings.ToLower(name)
	_, err := hex.DecodeString(name[:len(name)&^1])
	return name, err == nil && len(name) >= leastDigits && len(name) <= 64 && strings.Trim(name, "0123456789abcdef") == ""
}

// ceiling is the highest coefficient at which no token costs more than the
// caller allows, and never more than he or the configuration allow otherwise.
func ceiling(p *openai.Provider, root *contract.Root, highest int32) int32 {
	if p == nil || !p.HasMaxPrice {
		return highest
	}
	for _, side := range []struct {
		most       float64 // TON for a million tokens, which is mTON for a thousand …
		multiplier uint32
	}{{p.MaxPrompt, max(root.Multipliers.Prompt, root.Multipliers.Cached)}, {p.MaxCompletion, max(root.Multipliers.Completion, root.Multipliers.Reasoning)}} {
		usual := tonPerMillion(root, side.multiplier)
		if usual > 0 && side.most < math.Inf(1) {
			highest = int32(min(float64(highest), math.Floor(side.most/usual*1000+1e-9)))
		}
	}
	return highest
}

// tonPerMillion is what a million tokens of a class cost at coefficient 1000:
// n nanoTON a token are n thousandths of a TON a million.
func tonPerMillion(root *contract.Root, multiplier uint32) float64 {
	return float64(root.PricePerToken) / 1000 * float64(multiplier) / 10000
}

// binding says that the caller would rather have no answer than one against his wishes.
func (rq *request) binding() bool {
	w := &rq.wishes
	return len(w.Only)+len(w.Ignore) > 0 || w.NoFallbacks && len(w.Order) > 0
}

// wishful says that a proxy that knows wishes serves the request better.
func (rq *request) wishful() bool { return !rq.options.Provider.Plain() }

// ignored lists the wishes that were lost on a proxy that knows none.
func (rq *request) ignored(l *link) string {
	if rq.options.Provider == nil {
		return ""
	}
	var list []string
	for _, x := range []struct {
		name  string
		given bool
		known bool
	}{{"order", len(rq.wishes.Order) > 0, l.market}, {"sort", rq.wishes.Sort != 0, l.market}, {"preferred_max_latency", rq.wishes.MaxLatency > 0, l.market},
		{"region", rq.options.Provider.Region != "", l.facts}} {
		if x.given && !x.known {
			list = append(list, x.name)
		}
	}
	return strings.Join(list, ", ")
}

// explain writes the headers about wishes.
func (a *answer) explain(h http.Header) {
	if lost := a.rq.ignored(a.k.link); lost != "" {
		h[headerIgnored] = []string{lost}
	}
}

// wished is the query with what only our proxies understand.
func (rq *request) wished(q *tl.ClientRunQueryEx, l *link) *tl.CocoonRunQuery {
	more := &tl.CocoonRunQuery{
		ModelName: q.ModelName, Query: q.Query, MaxCoefficient: q.MaxCoefficient, MaxTokens: q.MaxTokens, Timeout: q.Timeout,
		RequestID: q.RequestID, MinConfigVersion: q.MinConfigVersion, PublicKey: q.PublicKey, Wishes: rq.wishes,
	}
	if room := openai.MaxNamed - len(rq.wishes.Ignore); room > 0 {
		more.Wishes.Ignore = slices.Concat(rq.wishes.Ignore, rq.shun[:min(len(rq.shun), room)])
	}
	if rq.familiar {
		more.Affinity = rq.client.affinity.digest(l.key, &rq.begins)
	}
	if rq.options.Debug {
		more.Flags |= wantsDebug
	}
	if rq.options.Explain {
		more.Flags |= wantsWhy
	}
	return more
}
