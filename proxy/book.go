package proxy

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

const (
	// lookEvery is how old a look at the whole market may be that many share:
	// with ten thousand workers and as many clients nobody could make one for each.
	lookEvery = time.Second
	// lookShare is how many times as long as a look takes it is at least till the next,
	// whatever changes: a worker could change its price a thousand times a second.
	lookShare = 10
	// noteEvery and maxMoments make the history an hour long.
	noteEvery  = 15 * time.Second
	maxMoments = 240
	// maxListed bounds the offers in one answer.
	maxListed = 20_000
)

// book is the market as peers see it.
type book struct {
	changed atomic.Uint64 // counts what a look must not miss: offers that come, go or change

	mu      sync.Mutex // guards the rest
	seen    uint64
	view    *view
	history map[string]*moments
}

// view is a look at the whole market, and what all who ask for it are told.
type view struct {
	at      time.Time
	took    time.Duration // to look
	models  []market.ModelInfo
	moments []tl.CocoonBookMoment // of each model
	types   *tl.ClientWorkerTypesV2
}

// moments is a ring.
type moments struct {
	all  []tl.CocoonBookMoment
	next int
}

// look is the market at most lookEvery ago. It must not be changed.
func (p *Proxy) look() *view {
	b := &p.shown
	b.mu.Lock()
	defer b.mu.Unlock()
	now, changed := p.now(), b.changed.Load()
	if v := b.view; v == nil || now.Sub(v.at) >= lookEvery || b.seen != changed && now.Sub(v.at) >= lookShare*v.took {
		b.view, b.seen = newView(p.market.Models(), now), changed
		b.view.took = p.now().Sub(now)
	}
	return b.view
}

func newView(models []market.ModelInfo, now time.Time) *view {
	v := &view{at: now, models: models, types: &tl.ClientWorkerTypesV2{}}
	for i := range models {
		v.moments = append(v.moments, moment(&models[i], now))
		t := tl.ClientWorkerTypeV2{Name: models[i].Name}
		for _, o := range models[i].Offers {
			if o.Enabled {
				t.Workers = append(t.Workers, tl.ClientWorkerInstanceV2{
					Coefficient: int32(o.Coefficient), ActiveRequests: int32(o.Running), MaxActiveRequests: int32(o.Limit)})
			}
		}
		v.types.Types = append(v.types.Types, t)
	}
	return v
}

// note keeps what the market is like now, for charts.
func (p *Proxy) note() {
	v := p.look()
	b := &p.shown
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := make(map[string]*moments, len(v.models))
	for i := range v.models {
		m := b.history[v.models[i].Name]
		if m == nil {
			m = &moments{}
		}
		m.add(v.moments[i])
		kept[v.models[i].Name] = m
	}
	b.history = kept
}

func (m *moments) add(x tl.CocoonBookMoment) {
	if len(m.all) < maxMoments {
		m.all = append(m.all, x)
		return
	}
	m.all[m.next] = x
	m.next = (m.next + 1) % maxMoments
}

// last lists the latest, oldest first.
func (m *moments) last(n int) []tl.CocoonBookMoment {
	if m == nil || n <= 0 {
		return nil
	}
	n = min(n, len(m.all))
	out := make([]tl.CocoonBookMoment, 0, n)
	for i := len(m.all) - n; i < len(m.all); i++ {
		out = append(out, m.all[(m.next+i)%len(m.all)])
	}
	return out
}

func moment(m *market.ModelInfo, now time.Time) tl.CocoonBookMoment {
	workers := 0
	for _, o := range m.Offers {
		if o.Enabled {
			workers++
		}
	}
	return tl.CocoonBookMoment{At: int32(now.Unix()), Coefficient: thousandths(m.GoingRate), Running: number(m.Running), Slots: number(m.Slots),
		Waiting: number(m.Waiting), Workers: number(workers), FirstSeconds: m.First.Seconds()}
}

func thousandths(c uint32) int32 { return int32(min(c, math.MaxInt32)) }

// number fits a count into the wire: places that many workers claim to have may add up to anything.
func number(n int) int32 { return int32(min(max(n, 0), math.MaxInt32)) }

// tells answers a client that asks for the market.
func (p *Proxy) tells(fn *tl.CocoonGetBook) (out *tl.CocoonBook, facts []tl.CocoonModelFacts) {
	v := p.look()
	out, left := &tl.CocoonBook{}, maxListed
	for i := range v.models {
		m := &v.models[i]
		if fn.Model != "" && fn.Model != m.Name {
			continue
		}
		x := tl.CocoonBookModel{Name: m.Name, Now: v.moments[i], WaitSeconds: m.Wait.Seconds(), TokenSeconds: m.Token.Seconds(), ServiceSeconds: m.Service.Seconds()}
		all := tl.CocoonModelFacts{Context: number(m.Longest), Capabilities: int32(m.Has), Regions: m.Regions}
		for _, o := range m.Offers {
			if len(x.Offers) >= int(fn.Offers) || left == 0 {
				break
			}
			if o.Enabled {
				left--
				x.Offers = append(x.Offers, tl.CocoonBookOffer{Worker: o.Ref.(*worker).text, Coefficient: thousandths(o.Coefficient), Running: number(o.Running), Limit: number(o.Limit),
					Failures: number(o.Failures), Lost: o.Lost, FirstSeconds: o.First.Seconds(), TokenSeconds: o.Token.Seconds()})
				all.Offers = append(all.Offers, tl.CocoonFacts{Context: number(o.Context), Capabilities: int32(o.Has), Region: o.Region})
			}
		}
		p.shown.mu.Lock()
		x.History = p.shown.history[m.Name].last(int(min(fn.History, maxMoments)))
		p.shown.mu.Unlock()
		out.Models, facts = append(out.Models, x), append(facts, all)
	}
	return out, facts
}

// why answers a worker that asks why it has no work.
func (w *worker) why(q *wire.Query) {
	if !w.ready.Load() || w.features.Load()&featureMarket == 0 {
		lostPromise(q)
		return
	}
	r := w.p.market.Why(w.offer)
	answer := &tl.CocoonReasons{Cause: r.Cause.String(), Text: r.String(), Requests: number(r.Requests), Won: number(r.Won),
		Price: thousandths(r.Price), UsualPrice: thousandths(r.UsualWon), WouldWinAt: thousandths(r.WouldWinAt)}
	if why, ok := w.p.takesWork(); !ok {
		answer.Cause, answer.Text = "proxy", why
	}
	q.Answer(answer)
}

// keepHistory notes the market until ctx ends.
func (p *Proxy) keepHistory(ctx context.Context) {
	t := time.NewTicker(noteEvery)
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			p.note()
			if n%pingsEvery == 0 {
				p.pingWorkers()
			}
		}
	}
}
