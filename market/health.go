package market

import (
	"container/heap"
	"time"
)

// How failing offers are treated.
const (
	failuresToEject = 3
	firstBackOff    = time.Second
	longestBackOff  = time.Minute
	// A request without an answer is the worker's failure after so long, and so many times the usual.
	shortestLate = 5 * time.Second
	lateFactor   = 4
)

// health is how a worker has done lately.
type health struct {
	failures int       // in a row
	failedAt time.Time // the last of them
	retryAt  time.Time // when to try again, once failures reached the limit
	lost     float64   // smoothed share of requests that failed
	pace     pace
}

func (o *Offer) recover() {
	if o.failures >= failuresToEject && !o.gone {
		o.pool.failing--
		o.pool.resting.remove(o)
	}
	o.failures = 0
	o.lost -= o.lost / 32
}

// fail counts a failure; from the third on the offer rests, twice as long each
// time, with a fifth of chance so that many do not come back together. Requests
// that were running when the last failure came are the same failure: a worker
// that dies with fifty has died once. It reports whether this was another one.
func (m *Market) fail(o *Offer, now time.Time, took time.Duration) bool {
	if now.Add(-took).Before(o.failedAt) {
		return false
	}
	o.failures, o.failedAt = o.failures+1, now
	n := o.failures - failuresToEject
	if n < 0 {
		return true
	}
	rest := min(firstBackOff<<min(n, 10), longestBackOff)
	o.retryAt = now.Add(rest + time.Duration(m.rand.Float64()*0.2*float64(rest)))
	if o.gone {
		return true
	}
	if n == 0 {
		o.pool.failing++
	}
	o.pool.resting.remove(o)
	o.pool.resting.add(o)
	return true
}

// Contradict notes that a worker turned a request away as wrong, took it ago,
// which another then served.
func (m *Market) Contradict(o *Offer, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	if m.fail(o, now, took); o.gone {
		o.pool.memory.keep(o, now)
		return
	}
	m.rescore(o, now)
}

// revive rescores the offers whose rest is over.
func (m *Market) revive(p *pool, now time.Time) {
	for len(p.resting) > 0 && !now.Before(p.resting[0].retryAt) {
		o := p.resting[0]
		p.resting.remove(o)
		m.rescore(o, now)
	}
}

// lastResort tries an offer that rests after failing when every offer does:
// a request that may fail is better than one that must. It is used alone, so
// that a broken worker costs one request at a time.
func (p *pool) lastResort(w *Want) *Offer {
	if p.failing < p.offers.len {
		return nil
	}
	var best *Offer
	for _, o := range p.resting[:min(len(p.resting), 64)] {
		if o.Enabled && o.running == 0 && o.Coefficient <= w.MaxCoefficient && w.accepts(o) && (best == nil || o.retryAt.Before(best.retryAt)) {
			best = o
		}
	}
	return best
}

// rests is a heap of those that rest, who may soonest be tried first.
type rests []*Offer

func (r rests) Len() int { return len(r) }
func (r rests) Less(i, j int) bool {
	if a, b := r[i].retryAt, r[j].retryAt; !a.Equal(b) {
		return a.Before(b)
	}
	return r[i].serial < r[j].serial
}
func (r rests) Swap(i, j int) { r[i], r[j] = r[j], r[i]; r[i].rest, r[j].rest = i+1, j+1 }
func (r *rests) Push(x any)   { x.(*Offer).rest = len(*r) + 1; *r = append(*r, x.(*Offer)) }
func (r *rests) Pop() any {
	old := *r
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*r = old[:len(old)-1]
	last.rest = 0
	return last
}

func (r *rests) add(o *Offer) { heap.Push(r, o) }

func (r *rests) remove(o *Offer) {
	if o.rest > 0 {
		heap.Remove(r, o.rest-1)
	}
}
