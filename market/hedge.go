package market

import (
	"math"
	"slices"
	"time"
)

// # A second worker
//
// A request whose first answer is later than 95 of 100 of its worker are may be
// given to a second one: [Market.HedgeAfter] says when, [Market.Hedge] to whom,
// as long as the model's budget lasts ([Config.HedgeShare]). The rules for who asks:
//
//   - Both run until one sends its first answer; that one wins and serves the request.
//   - The other is cancelled at once, and ended by Done with Overtaken. It is owed
//     what it reports to have delivered until it saw the cancellation, which before the
//     first answer is nothing. What it sends later is not read.
//   - The caller's reservation must cover both: what the loser is owed comes out of
//     it, never on top. Where it does not, no second worker is asked.
//   - A second worker is asked once per request, never after the first answer, and never one
//     that has failed it.
//   - If the first fails while the second runs, the second simply is the next try.

const (
	// maxHedges bounds how many second workers a model may save up.
	maxHedges = 10.0
	// lateBy is where 95 of 100 of a normal distribution end, in standard deviations.
	lateBy = 1.645
	// leastStray is the least that first answers are taken to stray (a fifth, up or down), and
	// leastSights how many must have been seen.
	leastStray  = 0.2
	leastSights = 4
	// soonestHedge and latestHedge bound when a second worker may be asked.
	soonestHedge = 50 * time.Millisecond
	latestHedge  = time.Minute
	// slowestHedge is how many times as long as for the usual worker a slow one is waited for at most.
	slowestHedge = 4.0
)

// HedgeAfter is how long to wait, from Pick, for the first answer of the
// offer's worker before a second one may be asked: until 95 of 100 of its own
// would have come, or of the model's where little is known of it. A worker that has become
// slow is not waited for longer and longer: at most several times as long as for the usual one.
// Zero means never: nothing is known, or second workers are not wanted.
func (m *Market) HedgeAfter(o *Offer, w Want) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cfg.HedgeShare < 0 || w.NoFallbacks {
		return 0
	}
	usual, own := &o.pool.pace, &o.pace
	most := latestHedge.Seconds()
	if usual.start.w >= leastSights {
		most = min(most, slowestHedge*usual.late(usual.first))
	}
	known := own
	if own.start.w < leastSights {
		known = usual
	}
	if known.start.w < leastSights {
		return 0
	}
	j := o.pool.size(&w)
	first, each, ok := o.foreseen(max(o.running, 1), j)
	if !ok {
		first = known.first
	}
	after := min(known.late(first), most)
	if w.Whole {
		after = min(after+lateFactor*j.tokens*each, latestHedge.Seconds())
	}
	return max(seconds(after), soonestHedge)
}

const (
	// A request is overdue when a third of its time has passed without an answer, and
	// in any case after so many times as long as could be foreseen, or so long.
	overdueShare  = 1.0 / 3
	overdueFactor = 8
	overdueFloor  = shortestLate + time.Second/2 // then it counts as a failure, too
	// What is long by its nature gets twice its time, and this share of what there is.
	patientFactor = 2
	patientShare  = 0.6
)

// Overdue is how long to wait, of the time left, for the first answer of the
// offer's worker before another is picked, beyond all budgets: a worker that hangs
// must not cost its caller the answer. Where nothing is free such a request may wait in the queue. Zero means never.
func (m *Market) Overdue(o *Offer, w Want, left time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.NoFallbacks || left <= 0 {
		return 0
	}
	after := time.Duration(overdueShare * float64(left))
	likely := o.likely(&w)
	if likely <= 0 {
		return after
	}
	after = min(after, max(overdueFactor*likely, overdueFloor))
	after = max(after, min(patientFactor*likely, time.Duration(patientShare*float64(left))), soonestHedge)
	if left < shortestLate && likely > left-after {
		return 0 // callers who allow no time shall not have it of several workers
	}
	return after
}

// likely is when the first answer can be foreseen; 0 when nobody knows. How far answers stray does
// not count: a few that hung would make all others be waited for.
func (o *Offer) likely(w *Want) time.Duration {
	p := o.pool
	j := p.size(w)
	first, each, ok := o.foreseen(max(o.running, 1), j)
	switch {
	case !ok && w.Whole:
		return min(p.service, latestHedge)
	case !ok:
		return min(seconds(p.pace.first), latestHedge)
	}
	first = min(first, slowestHedge*p.pace.start.at(j.kilos))
	if w.Whole {
		// Nobody knows how long the answer will be: it may well be several times the usual.
		tokens := lateFactor * p.pace.tokens
		if w.MaxTokens > 0 {
			tokens = min(tokens, float64(w.MaxTokens))
		}
		first += tokens * min(each, slowestHedge*p.pace.token.at(max(p.pace.requests-1, 0)))
	}
	return seconds(min(first, time.Hour.Seconds()))
}

// late is when 95 of 100 first answers have come of which this one was foreseen, in seconds.
func (p *pace) late(first float64) float64 {
	return first * math.Exp(lateBy*math.Sqrt(max(p.stray, leastStray*leastStray)))
}

// Hedge picks a second worker for a request that the first has not begun to
// answer, within the budget; nil means that the first must do. It never takes the place of
// those who wait.
func (m *Market) Hedge(w Want, first *Offer) (*Offer, Decision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.models[w.Model]
	if !ok || p.hedges < 1 || p.queue.len() > 0 || m.cfg.HedgeShare < 0 {
		return nil, Decision{Verdict: Busy, Model: w.Model, Ceiling: w.MaxCoefficient}
	}
	w.Exclude = append(slices.Clone(w.Exclude), first)
	o, d := m.pick(&w, m.cfg.Now())
	if o == nil {
		m.refuse(&w, &d)
		return nil, d
	}
	p.hedges--
	return o, d
}
