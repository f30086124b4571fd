package market

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Want is what a request asks for.
type Want struct {
	Model string
	// Pin is the revision asked for, as model.Pins reads it; empty is any.
	Pin string
	// MaxCoefficient is the dearest price accepted, in thousandths.
	MaxCoefficient uint32
	// MinVersion is the lowest protocol version of the worker that will do.
	MinVersion int32
	// Exclude lists the offers that have failed this request already.
	Exclude []*Offer
	// Client names who asks, for fair turns in the queue.
	Client string

	// Proven asks for an offer that has served before and has not failed since.
	Proven bool
	// Alive, with Proven, is since when it must have served; zero is ever.
	Alive time.Time
	// Whole says that the answer comes in one piece, so that its first sign is its end.
	Whole bool
	// PromptBytes is the length of the question and MaxTokens the longest answer allowed; 0 is unknown.
	PromptBytes, MaxTokens int
	// Deadline is when the answer is no use any more; zero is never.
	Deadline time.Time
	// Affinity is a keyed digest of how the question begins, made by the caller, so that
	// only equals can be told: whoever served it last has part of it in memory. Zero is none.
	Affinity [16]byte
	// Context is how many tokens the question and the answer need together; 0 is unknown.
	Context int
	// Needs is what the worker must be able to do.
	Needs Capability
	// Region is where the caller is; empty is unknown. It counts only for workers without a measured round trip.
	Region string
	Wishes
}

// Verdict is the outcome of a decision.
type Verdict int

const (
	// Chosen means that an offer was picked.
	Chosen Verdict = iota
	// UnknownModel means that no worker has ever offered the model.
	UnknownModel
	// NoWorker means that no worker offers it now, or none that this request may use.
	NoWorker
	// Busy means that there are workers, and none is free.
	Busy
	// TooDear means that only dearer workers are free.
	TooDear
)

func (v Verdict) String() string {
	return [...]string{"chosen", "unknown model", "no worker", "busy", "too dear"}[v]
}

// Decision says what was decided and from what.
type Decision struct {
	Verdict Verdict
	Model   string
	// Offers are those of the model, Free those of them that could take a request, Within those that are cheap enough, free or not.
	Offers, Free, Within int
	// Ceiling is the dearest price accepted.
	Ceiling uint32
	// By is what the caller cares for.
	By Sort
	// Why is what decided for the chosen offer.
	Why Way
	// Coefficient, Running, Limit, Failures, Lost and Score are those of the chosen offer, before it got the request.
	Coefficient    uint32
	Running, Limit int
	Failures       int
	Lost           float64
	Score          float64
	// Context is how many tokens the chosen offer says it takes, RTT the measured round trip to it; 0 when unknown.
	Context int
	RTT     time.Duration
	// First is how long the first answer is foreseen to take; 0 when nobody knows. Slowness is the
	// time for the usual request over what it usually takes.
	First    time.Duration
	Slowness float64
	// Second is who would have been chosen otherwise, by the same marks.
	Second Rival
	// LastResort means that the chosen offer was set aside for failing, and there was no other.
	LastResort bool
	// Cheapest is the lowest price among those that were too dear, free ones first; 0 if there are none.
	Cheapest uint32
}

// Rival is an offer that was not chosen. Without one Key and Score are empty.
type Rival struct {
	Key         string
	Coefficient uint32
	Score       float64
}

// Way is how an offer came to be chosen.
type Way int

const (
	// ByScore means that its mark was the best, or as good.
	ByScore Way = iota
	// ByOrder means that the caller named it first.
	ByOrder
	// ByAffinity means that it served the same beginning before.
	ByAffinity
	// ByProbe means that nobody had asked it for long.
	ByProbe
	// ByNeed means that all others are set aside for failing too.
	ByNeed
)

func (w Way) String() string {
	return [...]string{"lowest score", "caller's order", "familiar", "probe", "last resort"}[w]
}

// String explains the decision in one line.
func (d Decision) String() string {
	from := fmt.Sprintf("%s: %d offers, %d free, %d at or below %d", d.Model, d.Offers, d.Free, d.Within, d.Ceiling)
	switch d.Verdict {
	case Chosen:
		return from + "; " + d.chosen()
	case TooDear:
		return fmt.Sprintf("%s; the cheapest free one costs %d", from, d.Cheapest)
	}
	return from + "; " + d.Verdict.String()
}

func (d *Decision) chosen() string {
	var b strings.Builder
	fmt.Fprintf(&b, "chose the %s %.4g: price %d, %d of %d running, %d failures in a row", d.Why, d.Score, d.Coefficient, d.Running, d.Limit, d.Failures)
	if d.Lost > 0 {
		fmt.Fprintf(&b, ", %.1f %% lost", 100*d.Lost)
	}
	if d.Context > 0 {
		fmt.Fprintf(&b, ", takes %d tokens", d.Context)
	}
	if d.RTT > 0 {
		fmt.Fprintf(&b, ", round trip %s", d.RTT.Round(10*time.Microsecond))
	}
	if d.First > 0 {
		fmt.Fprintf(&b, ", first answer foreseen in %s, %.2f times the usual", d.First.Round(time.Millisecond), d.Slowness)
	}
	if d.By != Balanced {
		fmt.Fprintf(&b, ", by %s", d.By)
	}
	if d.Second.Score > 0 {
		fmt.Fprintf(&b, "; second %.4g: price %d", d.Second.Score, d.Second.Coefficient)
	}
	return b.String()
}

// Pick chooses an offer and gives it the request; the offer is nil if the
// verdict is anything but Chosen. Every offer picked must be given back by Done.
func (m *Market) Pick(w Want) (*Offer, Decision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	o, d := m.pick(&w, now)
	if o == nil {
		m.refuse(&w, &d)
	}
	if p := m.models[w.Model]; p != nil {
		p.recent.add(&w, o, d, now)
		if len(w.Exclude) == 0 {
			p.hedges = min(p.hedges+max(m.cfg.HedgeShare, 0), maxHedges)
		}
	}
	return o, d
}

// Quote says what Pick would decide now, and gives nothing. Chance may choose another among equals.
func (m *Market) Quote(w Want) Decision {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, d := m.choose(&w, m.cfg.Now())
	if o == nil {
		m.refuse(&w, &d)
	}
	return d
}

// pick chooses and gives; why there is nothing to give is another question. mu is held.
func (m *Market) pick(w *Want, now time.Time) (*Offer, Decision) {
	o, d := m.choose(w, now)
	if o == nil {
		return nil, d
	}
	p := o.pool
	o.running++
	o.picked++
	p.running++
	o.lastAt = now
	p.idle.works(o)
	p.served.note(w.Affinity, o)
	m.rescore(o, now)
	return o, d
}

// choose finds the offer and the reasons.
func (m *Market) choose(w *Want, now time.Time) (*Offer, Decision) {
	d := Decision{Model: cmp.Or(w.Pin, w.Model), Ceiling: w.MaxCoefficient, By: w.Sort}
	p, ok := m.models[w.Model]
	if !ok {
		d.Verdict = UnknownModel
		return nil, d
	}
	m.revive(p, now)
	t := &p.offers
	n := t.place(w.MaxCoefficient)
	d.Offers, d.Free, d.Within = t.len, t.free(), t.count(n)
	q := query{t: t, w: w, n: n, by: w.Sort, needs: w.needs(), latest: inf, limit: inf}
	o := m.find(p, &q, &d, now)
	if o == nil {
		if o = p.lastResort(w); o != nil {
			d.LastResort, d.Why = true, ByNeed
		}
	}
	if o == nil {
		return nil, d
	}
	d.about(o)
	q.skip, q.limit = o, inf
	if at := q.best(); at >= 0 && !d.LastResort {
		second := t.offers[at]
		d.Second = Rival{second.Key, second.Coefficient, float64(second.score[q.by])}
	}
	return o, d
}

// about notes what is known of the chosen offer.
func (d *Decision) about(o *Offer) {
	d.Coefficient, d.Running, d.Limit, d.Failures, d.Lost = o.Coefficient, o.running, o.Limit, o.failures, o.lost
	d.Context, d.RTT = o.Context, o.rtt
	if o.free() {
		d.Score = float64(o.score[d.By])
	}
	slow, first, _ := o.slowness(o.running+1, o.pool.usual())
	if d.Slowness = slow; o.pool.pace.token.w > 0 {
		d.First = time.Duration(first * float64(time.Second))
	}
}

// find looks for the offer, by the caller's wishes, by chance for those that wait, or by score.
func (m *Market) find(p *pool, q *query, d *Decision, now time.Time) *Offer {
	w := q.w
	if len(w.Order) > 0 {
		if o := p.inOrder(w); o != nil {
			d.Why = ByOrder
			return o
		}
	}
	if len(w.Only) > 0 {
		return p.among(w)
	}
	if o := m.probe(p, q, now); o != nil {
		d.Why = ByProbe
		return o
	}
	if w.MaxLatency > 0 {
		q.latest = float32(w.MaxLatency.Seconds())
		if o := m.byScore(p, q, d); o != nil {
			return o
		}
		q.latest, q.limit = inf, inf
	}
	return m.byScore(p, q, d)
}

// byScore finds one of the best.
func (m *Market) byScore(p *pool, q *query, d *Decision) *Offer {
	q.preferSaid()
	at := q.best()
	if at < 0 {
		return nil
	}
	best := p.offers.offers[at]
	if q.by == Balanced && p.without&(Size|Affinity) != Size|Affinity {
		return m.sized(p, q, best, d)
	}
	q.limit = best.score[q.by] * nearTie
	if at := q.near(m.rand); at >= 0 {
		return p.offers.offers[at]
	}
	return best
}

const (
	// A request of unusual size looks at so many offers more, whose marks for the usual one are so near the best.
	looks   = 2
	looksAt = 1.3
)

// sized weighs a few good offers anew for this very request, and among them the one that knows its beginning.
func (m *Market) sized(p *pool, q *query, best *Offer, d *Decision) *Offer {
	j := p.size(q.w)
	familiarOne := p.served.by(q, p.without)
	offers := [looks + 2]*Offer{}
	marks := [looks + 2]float64{}
	q.limit = best.score[q.by] * looksAt
	lowest, n := 0.0, 0
	look := func(o *Offer) {
		offers[n], marks[n] = o, o.exactly(j, o == familiarOne, q.w.Region)
		if n == 0 || marks[n] < lowest {
			lowest = marks[n]
		}
		n++
	}
	for range looks {
		if at := q.near(m.rand); at >= 0 {
			look(p.offers.offers[at])
		}
	}
	look(best)
	if familiarOne != nil {
		look(familiarOne)
	}
	for i := range n {
		if marks[i] <= lowest*nearTie && (familiarOne == nil || marks[n-1] > lowest*nearTie || offers[i] == familiarOne) {
			if offers[i] == familiarOne {
				d.Why = ByAffinity
			}
			return offers[i]
		}
	}
	return best
}

// inOrder finds the first free of those that the caller names.
func (p *pool) inOrder(w *Want) *Offer {
	for _, key := range named(w.Order) {
		if o := p.of(key, w); o != nil {
			return o
		}
	}
	return nil
}

// among finds the best of those that alone may serve.
func (p *pool) among(w *Want) (best *Offer) {
	for _, key := range named(w.Only) {
		if o := p.of(key, w); o != nil && (best == nil || o.score[w.Sort] < best.score[w.Sort]) {
			best = o
		}
	}
	return best
}

// of finds the best free offer of one worker.
func (p *pool) of(key string, w *Want) (best *Offer) {
	own := p.byKey[key]
	if own == nil || own.free == 0 {
		return nil
	}
	for _, o := range own.offers {
		if o.free() && o.Coefficient <= w.MaxCoefficient && w.accepts(o) && (best == nil || o.score[w.Sort] < best.score[w.Sort]) {
			best = o
		}
	}
	return best
}

// refuse finds out why nothing was chosen.
func (m *Market) refuse(w *Want, d *Decision) {
	if p := m.models[w.Model]; p != nil {
		p.refuse(w, p.offers.place(w.MaxCoefficient), d)
	}
}

// refuse finds out why nothing was picked. Waiting helps only if an offer that
// would do is merely busy, so that is looked at first.
func (p *pool) refuse(w *Want, n int, d *Decision) {
	o := p.would(w)
	switch {
	case o == nil && w.Pin != "" && p.offers.none(w):
		d.Verdict = UnknownModel // nobody waits for a revision that no worker has
		return
	case o == nil:
		d.Verdict = NoWorker
		return
	case o.Coefficient <= w.MaxCoefficient:
		d.Verdict = Busy
	default:
		d.Verdict, d.Cheapest = TooDear, o.Coefficient
	}
	if dear := p.offers.freeFrom(n); dear != nil && w.accepts(dear) {
		d.Cheapest = dear.Coefficient
	}
}

// would is the cheapest offer that could serve the request if it had room, whatever its price.
func (p *pool) would(w *Want) (cheapest *Offer) {
	if len(w.Only) == 0 {
		return p.offers.would(w)
	}
	for _, key := range named(w.Only) {
		own := p.byKey[key]
		if own == nil {
			continue
		}
		for _, o := range own.offers {
			if o.Enabled && w.accepts(o) && (cheapest == nil || o.Coefficient < cheapest.Coefficient) {
				cheapest = o
			}
		}
	}
	return cheapest
}
