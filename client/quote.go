package client

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
)

const pathQuote = "/v1/quote"

// Quote says what a request would cost, before it is sent. Amounts are in nanoTON.
type Quote struct {
	Model string `json:"model"`
	// Prompt is how long the question is in tokens, by estimate, Limit how long the answer may be
	// and Expected how long it will probably be: as is usual for the model, where a proxy tells.
	Prompt   int64 `json:"prompt_tokens"`
	Limit    int64 `json:"max_tokens"`
	Expected int64 `json:"expected_tokens"`
	// Rate is the coefficient that requests are served for lately, at the cheapest proxy that can serve this one,
	// or where none was, the cheapest worker's; 0 if nobody can serve it. Ceiling is the highest that the request accepts.
	Rate    int32 `json:"going_rate"`
	Ceiling int32 `json:"max_coefficient"`
	// Lowest is the question and one token by the cheapest worker that could serve it, Likely the expected answer at the going rate. No bill of
	// the proxy that answers is above Highest: a token for each byte and then some, at the ceiling.
	Lowest  coin.Nano `json:"lowest_nanoton"`
	Likely  coin.Nano `json:"expected_nanoton"`
	Highest coin.Nano `json:"highest_nanoton"`
	// Needs is what a worker must be able to do.
	Needs Abilities `json:"needs"`
	// Workers could serve it, of Offers that there are, at Proxies; one that works for two proxies counts twice.
	Workers int `json:"workers"`
	Offers  int `json:"offers"`
	Proxies int `json:"proxies"`
	// Now is true if one of them has a free place; Wait is how long it takes otherwise, in seconds, 0 if nobody knows.
	Now  bool    `json:"served_now"`
	Wait float64 `json:"wait_seconds"`
	// WhyNot is empty if the request could be served, at once or after the wait.
	WhyNot string `json:"why_not,omitempty"`
}

// Quote estimates what a request to /v1/chat/completions or /v1/completions with this body would cost. It asks the
// connected proxies for their book of the model; nothing of the request leaves this process. The error is an *openai.Error or ctx's.
func (c *Client) Quote(ctx context.Context, h http.Header, body []byte) (*Quote, error) {
	rq, bad := c.newRequest(pathChat, h, body)
	if bad != nil {
		return nil, bad
	}
	defer rq.release()
	defer rq.origin.release(c)
	links, err := c.awaitLinks(ctx)
	if err != nil {
		return nil, err
	}
	q := &Quote{Model: rq.model(), Prompt: rq.prompt, Limit: rq.options.MaxTokens, Ceiling: rq.options.MaxCoefficient,
		Needs: Abilities{rq.needs.Context, rq.needs.Can.Names()}}
	markets := make([]ProxyMarket, len(links))
	var wg sync.WaitGroup
	for i, l := range links {
		wg.Go(func() { markets[i] = l.marketOf(ctx, rq.options.Model) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s := survey{rq: rq, quote: q}
	for i, l := range links {
		s.proxy(l, &markets[i])
	}
	s.conclude()
	return q, nil
}

// survey sums up what the proxies tell.
type survey struct {
	rq      *request
	quote   *Quote
	broke   error // why an account cannot pay
	dear    int32 // cheapest of those that are too dear, 0 none
	unfit   int   // offers that cannot do it
	barred  int   // that the caller shuts out
	unknown bool  // proxies that carry no such request
	longest int   // context
	wait    float64
}

// headersMore is how much longer the headers of the request itself may be than those of the question for its price, in bytes.
const headersMore = 4 << 10

// assumedAnswer is how many tokens an answer has of which nothing is known.
const assumedAnswer = 500

func (s *survey) proxy(l *link, p *ProxyMarket) {
	rq, q := s.rq, s.quote
	q.Highest = max(q.Highest, l.root.PricePerToken.Times(rq.mostTokens(l.root, headersMore)))
	if !l.usable(rq) {
		s.unknown = true
		return
	}
	if err := rq.affordable(l); err != nil {
		s.broke = err.as
		return
	}
	for i := range p.Models {
		if m := &p.Models[i]; m.Model == rq.options.Model {
			s.market(l, m)
		}
	}
}

func (s *survey) market(l *link, m *ModelMarket) {
	q, before, free := s.quote, s.quote.Workers, false
	cheapest := int32(math.MaxInt32)
	for i := range m.Offers {
		o := &m.Offers[i]
		q.Offers++
		s.longest = max(s.longest, o.ContextLength)
		switch {
		case !s.rq.allows(o):
			s.barred++
		case !s.rq.suits(o):
			s.unfit++
		case o.Coefficient > q.Ceiling:
			if s.dear == 0 || o.Coefficient < s.dear {
				s.dear = o.Coefficient
			}
		default:
			q.Workers++
			cheapest = min(cheapest, o.Coefficient)
			free = free || o.Running < o.Limit
		}
	}
	if q.Workers == before {
		return
	}
	q.Proxies++
	q.Now = q.Now || free && m.Waiting == 0
	if m.Wait > 0 && (s.wait == 0 || m.Wait < s.wait) {
		s.wait = m.Wait
	}
	rate := cheapest
	if m.Coefficient > 0 {
		rate = min(max(m.Coefficient, cheapest), q.Ceiling)
	}
	s.prices(l.root, m, cheapest, rate)
}

// prices takes in what one proxy's workers would cost.
func (s *survey) prices(root *contract.Root, m *ModelMarket, cheapest, rate int32) {
	q := s.quote
	answer := float64(assumedAnswer)
	if m.Token > 0 && m.Service > m.First {
		answer = (m.Service - m.First) / m.Token
	}
	expected := max(min(int64(math.Ceil(answer)), q.Limit), 1)
	lowest := root.PricePerToken.Times(usualTokens(root, cheapest, q.Prompt, 1))
	likely := root.PricePerToken.Times(usualTokens(root, rate, q.Prompt, expected*s.rq.options.Answers()))
	if q.Proxies == 1 || lowest < q.Lowest {
		q.Lowest = lowest
	}
	if q.Proxies == 1 || likely < q.Likely {
		q.Likely, q.Rate, q.Expected = likely, rate, expected
	}
}

// conclude says what stands in the way.
func (s *survey) conclude() {
	q := s.quote
	if q.Workers > 0 {
		if !q.Now {
			q.Wait = s.wait
		}
		return
	}
	switch {
	case s.dear > 0:
		q.WhyNot = openai.PriceAboveCeiling(s.dear, q.Ceiling).Message
	case s.unfit > 0 && s.longest > 0 && s.longest < s.rq.needs.Context:
		q.WhyNot = "no worker takes so many tokens as the question and the limit of its answer have together"
	case s.unfit > 0:
		q.WhyNot = "no worker can do what the request needs"
	case s.barred > 0:
		q.WhyNot = "provider allows none of the workers"
	case s.broke != nil:
		q.WhyNot = s.broke.Error()
	case s.unknown:
		q.WhyNot = "no connected proxy carries such a request: it is encrypted, or has wishes that must be kept"
	default:
		q.WhyNot = openai.ModelNotFound(q.Model).Message
	}
}

// usualTokens is what tokens of a model count at a price, in adjusted tokens.
func usualTokens(root *contract.Root, coefficient int32, prompt, completion int64) int64 {
	m := root.Multipliers
	return min(max(ledger.Tokens(prompt, int64(coefficient), m.Prompt)+ledger.Tokens(completion, int64(coefficient), m.Completion), 0), 1<<60)
}

// allows says that the caller's wishes let the worker serve.
func (rq *request) allows(o *MarketOffer) bool {
	w := &rq.wishes
	only := w.Only
	if w.NoFallbacks && len(w.Order) > 0 {
		only = w.Order
	}
	return (len(only) == 0 || slices.ContainsFunc(only, o.is)) && !slices.ContainsFunc(w.Ignore, o.is)
}

// is says whether a wish names the worker.
func (o *MarketOffer) is(name string) bool {
	a, err := contract.ParseAddress(o.Worker)
	if err != nil {
		return false
	}
	raw := a.StringRaw()
	_, digits, _ := strings.Cut(raw, ":")
	return raw == name || strings.HasPrefix(digits, name)
}

// suits says that the worker can do what is needed, or leaves it open.
func (rq *request) suits(o *MarketOffer) bool {
	return (o.ContextLength == 0 || o.ContextLength >= rq.needs.Context) && (o.can == 0 || o.can&rq.needs.Can == rq.needs.Can)
}

func (c *Client) quoteDocument(ctx context.Context, h http.Header, body []byte) ([]byte, error) {
	q, err := c.Quote(ctx, h, body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(q)
}
