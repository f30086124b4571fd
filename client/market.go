package client

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

const pathMarket = "/v1/market"

// How much of a market is asked for: of all models, and of one.
const (
	someOffers = 20
	manyOffers = 1000
	wholePast  = 240
	bookLimit  = 10 * time.Second
)

// Market is the answer to GET /v1/market and /v1/market/{model}: what each
// connected proxy tells of its market. The second has more offers, and the past.
type Market struct {
	Proxies []ProxyMarket `json:"proxies"`
}

// ProxyMarket is one proxy's.
type ProxyMarket struct {
	Address string `json:"address"`
	// Tells is false of a proxy that knows no such question; then only prices and load of
	// its workers are known.
	Tells bool `json:"tells"`
	// RoundTrip to it in seconds, as measured; 0 is unknown.
	RoundTrip float64       `json:"round_trip_seconds,omitempty"`
	Models    []ModelMarket `json:"models"`
}

// ModelMarket is a model's market at one proxy. Prices are coefficients in thousandths,
// times are seconds; 0 is unknown.
type ModelMarket struct {
	Model string `json:"model"`
	Moment
	// Prompt and Completion are what a million tokens cost at the going rate, in TON; where
	// nothing was sold yet, at the cheapest offer.
	Prompt     float64 `json:"prompt_ton_per_million"`
	Completion float64 `json:"completion_ton_per_million"`
	// Wait is how long a request that comes now and finds no free place would wait.
	Wait    float64 `json:"wait_seconds"`
	Token   float64 `json:"seconds_per_token"`
	Service float64 `json:"seconds_per_request"`
	// Abilities are what the workers say that they can do.
	Abilities
	// Regions are where workers say they are.
	Regions []string `json:"regions,omitempty"`
	// Offers are the cheapest, cheapest first, History is of the last hour, oldest first.
	Offers  []MarketOffer `json:"offers"`
	History []Moment      `json:"history,omitempty"`
}

// Abilities are what one worker says that it can do, or what at least one of several can.
type Abilities struct {
	// ContextLength is how many tokens a question and its answer may have together; 0 is unknown.
	ContextLength int `json:"context_length,omitempty"`
	// Capabilities are "text", or what there is beside it; none is unknown.
	Capabilities []string `json:"capabilities,omitempty"`
}

// Moment is a model's market at some time.
type Moment struct {
	At          int64   `json:"at"`         // Unix seconds
	Coefficient int32   `json:"going_rate"` // that requests were served for lately
	Running     int32   `json:"running_requests"`
	Slots       int32   `json:"slots"`
	Waiting     int32   `json:"waiting_requests"`
	Workers     int32   `json:"workers"`
	First       float64 `json:"first_answer_seconds"`
}

// MarketOffer is one worker's.
type MarketOffer struct {
	Worker      string  `json:"worker,omitempty"`
	Coefficient int32   `json:"coefficient"`
	Running     int32   `json:"running_requests"`
	Limit       int32   `json:"max_running_requests"`
	Failures    int32   `json:"failures_in_a_row"`
	Lost        float64 `json:"lost_share"`
	First       float64 `json:"first_answer_seconds"`
	Token       float64 `json:"seconds_per_token"`
	Abilities
	Region string `json:"region,omitempty"`
	can    openai.Abilities
}

// Market asks all connected proxies; the empty model is all of them, without
// the past.
func (c *Client) Market(ctx context.Context, model string) (*Market, error) {
	links, err := c.awaitLinks(ctx)
	if err != nil {
		return nil, err
	}
	m := &Market{Proxies: make([]ProxyMarket, len(links))}
	var wg sync.WaitGroup
	for i, l := range links {
		wg.Go(func() { m.Proxies[i] = l.marketOf(ctx, model) })
	}
	wg.Wait()
	slices.SortFunc(m.Proxies, func(a, b ProxyMarket) int { return strings.Compare(a.Address, b.Address) })
	return m, nil
}

func (l *link) marketOf(ctx context.Context, model string) ProxyMarket {
	fn := &tl.CocoonGetBook{Model: model, Offers: someOffers}
	if model != "" {
		fn.Offers, fn.History = manyOffers, wholePast
	}
	p := ProxyMarket{Address: l.addr, RoundTrip: l.trip().Seconds(), Models: []ModelMarket{}}
	if l.market {
		if entries, err := l.askBook(ctx, bookLimit, fn); err == nil {
			p.Tells = true
			for i := range entries {
				p.Models = append(p.Models, modelMarket(&entries[i], l.root))
			}
			return p
		}
	}
	l.refresh(ctx, tableFresh)
	if t := l.table.models.Load(); t != nil {
		for name, workers := range t.workers {
			if model == "" || model == name {
				p.Models = append(p.Models, listedMarket(name, workers, l))
			}
		}
	}
	slices.SortFunc(p.Models, func(a, b ModelMarket) int { return strings.Compare(a.Model, b.Model) })
	return p
}

// entry is a model in a proxy's book, with what its workers say, if the proxy tells.
type entry struct {
	tl.CocoonBookModel
	facts tl.CocoonModelFacts
}

// askBook asks for the book, and cleans it of nonsense.
func (l *link) askBook(ctx context.Context, limit time.Duration, fn *tl.CocoonGetBook) ([]entry, error) {
	var book *tl.CocoonBook
	var facts []tl.CocoonModelFacts
	var err error
	if l.facts {
		var both *tl.CocoonBookWithFacts
		if both, err = ask[tl.CocoonBookWithFacts](ctx, l, limit, &tl.CocoonGetBookWithFacts{Model: fn.Model, Offers: fn.Offers, History: fn.History}); err == nil {
			book, facts = &both.Book, both.Facts
		}
	} else {
		book, err = ask[tl.CocoonBook](ctx, l, limit, fn)
	}
	if err != nil {
		return nil, err
	}
	var entries []entry
	for i := range book.Models[:min(len(book.Models), maxModels)] {
		x := entry{CocoonBookModel: book.Models[i]}
		if i < len(facts) {
			x.facts = facts[i]
		}
		if saneEntry(&x); isName(x.Name) {
			entries = append(entries, x)
		}
	}
	return entries, nil
}

func abilitiesOf(f *tl.CocoonFacts) Abilities {
	return Abilities{int(f.Context), openai.Abilities(f.Capabilities).Names()}
}

func modelMarket(b *entry, root *contract.Root) ModelMarket {
	m := ModelMarket{Model: b.Name, Moment: momentOf(&b.Now), Wait: b.WaitSeconds, Token: b.TokenSeconds, Service: b.ServiceSeconds, Offers: []MarketOffer{}}
	m.Abilities = abilitiesOf(&tl.CocoonFacts{Context: b.facts.Context, Capabilities: b.facts.Capabilities})
	m.Regions = b.facts.Regions
	for i, o := range b.Offers {
		f := &b.facts.Offers[i]
		m.Offers = append(m.Offers, MarketOffer{Worker: o.Worker, Coefficient: o.Coefficient, Running: o.Running, Limit: o.Limit, Failures: o.Failures,
			Lost: o.Lost, First: o.FirstSeconds, Token: o.TokenSeconds,
			Abilities: abilitiesOf(f), Region: f.Region, can: openai.Abilities(f.Capabilities)})
	}
	for i := range b.History {
		m.History = append(m.History, momentOf(&b.History[i]))
	}
	m.cost(root)
	return m
}

func momentOf(x *tl.CocoonBookMoment) Moment {
	return Moment{At: int64(x.At), Coefficient: x.Coefficient, Running: x.Running, Slots: x.Slots, Waiting: x.Waiting, Workers: x.Workers, First: x.FirstSeconds}
}

// listedMarket makes do with what every proxy tells.
func listedMarket(name string, workers []openai.ModelWorker, l *link) ModelMarket {
	m := ModelMarket{Model: name, Moment: Moment{At: l.c.cfg.Now().Unix(), Workers: int32(len(workers))}, Offers: []MarketOffer{}}
	for _, w := range workers {
		m.Running, m.Slots = sum(m.Running, w.RunningRequests), sum(m.Slots, w.MaxRunningRequests)
		m.Offers = append(m.Offers, MarketOffer{Coefficient: w.Coefficient, Running: w.RunningRequests, Limit: w.MaxRunningRequests})
	}
	slices.SortStableFunc(m.Offers, func(a, b MarketOffer) int { return int(a.Coefficient) - int(b.Coefficient) })
	m.cost(l.root)
	return m
}

// cost says what the going rate means in money.
func (m *ModelMarket) cost(root *contract.Root) {
	rate := m.Coefficient
	if rate == 0 && len(m.Offers) > 0 {
		rate = m.Offers[0].Coefficient
	}
	m.Prompt = tonPerMillion(root, root.Multipliers.Prompt) * float64(rate) / 1000
	m.Completion = tonPerMillion(root, root.Multipliers.Completion) * float64(rate) / 1000
}

// marketDocument is the answer to GET /v1/market and /v1/market/{model}.
func (c *Client) marketDocument(ctx context.Context, path string) ([]byte, error) {
	model := strings.TrimPrefix(strings.TrimPrefix(path, pathMarket), "/")
	m, err := c.Market(ctx, model)
	if err != nil {
		return nil, err
	}
	if model != "" && !slices.ContainsFunc(m.Proxies, func(p ProxyMarket) bool { return len(p.Models) > 0 }) {
		return nil, openai.ModelNotFound(model)
	}
	return json.Marshal(m)
}

// quote is the market's part of a model in the list of models: of the proxy
// that sells cheapest.
func quote(name string, links []*link) *openai.ModelMarket {
	var best *openai.ModelMarket
	for _, l := range links {
		b := l.table.book(name)
		if b == nil || b.Now.Workers == 0 {
			continue
		}
		m := modelMarket(b, l.root)
		if m.Coefficient == 0 {
			continue
		}
		q := &openai.ModelMarket{GoingRate: m.Coefficient, PromptTON: m.Prompt, CompletionTON: m.Completion,
			FirstAnswer: m.First, TokensPerSecond: perSecond(m.Token), Wait: waitOf(&m)}
		if best == nil || q.GoingRate < best.GoingRate {
			best = q
		}
	}
	return best
}

func perSecond(token float64) float64 {
	if token <= 0 {
		return 0
	}
	return 1 / token
}

// waitOf is how long a request would wait now: nothing while places are free.
func waitOf(m *ModelMarket) float64 {
	if m.Running < m.Slots && m.Waiting == 0 {
		return 0
	}
	return m.Wait
}
