package marketsim

import (
	"math"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/market"
)

// simple is a baseline: a choice among the workers that would do, and, unless
// it is the reference's, a queue in order of arrival and another try.
type simple struct {
	s      *sim
	choose func(r *simple, f *flight, of []*worker) *worker
	plain  bool // neither queue nor another try
	sorted bool // the queue serves the shortest first: it knows the future

	fleet   [][]*worker // by model, those that are up, in the order in which they came
	waiting [][]*flight
	turn    []int
}

func newSimple(s *sim, choose func(*simple, *flight, []*worker) *worker) *simple {
	return &simple{s: s, choose: choose, fleet: make([][]*worker, s.sc.Models), waiting: make([][]*flight, s.sc.Models), turn: make([]int, s.sc.Models)}
}

func (r *simple) join(w *worker) {
	r.fleet[w.model] = append(r.fleet[w.model], w)
	r.serve(w)
}

func (r *simple) leave(w *worker) {
	r.fleet[w.model] = slices.DeleteFunc(r.fleet[w.model], func(x *worker) bool { return x == w })
}

func (r *simple) priced(w *worker) { r.serve(w) }

func (r *simple) retries() bool { return !r.plain }

// may says that a worker would do and has room.
func may(f *flight, w *worker) bool { return w.running < w.claims && would(f, w) }

func would(f *flight, w *worker) bool {
	return w.price <= f.job.ceiling && !slices.Contains(f.tried, w)
}

func (r *simple) place(f *flight) {
	m := f.job.model
	if w := r.choose(r, f, r.fleet[m]); w != nil {
		r.s.give(f, w, nil)
		return
	}
	any := slices.ContainsFunc(r.fleet[m], func(w *worker) bool { return would(f, w) })
	if !any || r.plain || len(r.waiting[m]) >= queueLimit {
		r.s.refuse(f)
		return
	}
	at := len(r.waiting[m])
	if r.sorted {
		at, _ = slices.BinarySearchFunc(r.waiting[m], f.job.work(), func(x *flight, work float64) int { return compare(x.job.work(), work) })
	}
	r.waiting[m] = slices.Insert(r.waiting[m], at, f)
	f.wait = r
	r.s.plan(queueWait, func() {
		if !f.over && f.wait != nil {
			r.withdraw(f)
			r.s.refuse(f)
		}
	})
}

func (r *simple) withdraw(f *flight) {
	m := f.job.model
	f.wait = nil
	r.waiting[m] = slices.DeleteFunc(r.waiting[m], func(x *flight) bool { return x == f })
}

func (r *simple) done(a *attempt, _ market.Outcome) {
	a.w.history.add(r.s.now, (r.s.now - a.sentAt).Seconds())
	r.serve(a.w)
}

// serve gives those who wait what has become free at a worker. Whoever is far behind needs the same as those before.
func (r *simple) serve(w *worker) {
	const looks = 16
	one := []*worker{w}
	for i := 0; w.up && i < len(r.waiting[w.model]) && i < looks; {
		f := r.waiting[w.model][i]
		if !may(f, w) || r.choose(r, f, one) == nil {
			i++
			continue
		}
		r.withdraw(f)
		r.s.give(f, w, nil)
	}
}

// decayed is what the reference keeps of a worker: sums that fade over ten
// minutes (roles.md 4.4).
type decayed struct {
	at          time.Duration
	count, time float64
	zeroAt      time.Duration // when the average counts as 0 again
}

const fadeOver = 600 // seconds

func (d *decayed) add(now time.Duration, took float64) {
	k := math.Exp(-(now - d.at).Seconds() / fadeOver)
	d.count, d.time, d.at = d.count*k+1, d.time*k+took, now
	// Below one request in ten seconds the reference takes the mean time for 0.
	d.zeroAt = now + time.Duration(fadeOver*math.Log(d.count/(fadeOver*0.1))*float64(time.Second))
}

// average is the mean time of a request. Both sums fade alike, so only its end depends on now.
func (d *decayed) average(now time.Duration) float64 {
	if d.count == 0 || now >= d.zeroAt {
		return 0
	}
	return d.time / d.count
}

// reference is the rule of roles.md 4.4: the lowest running × average time,
// the oldest connection among equals; no queue, no other try.
func reference(r *simple, f *flight, of []*worker) (best *worker) {
	lowest := math.Inf(1)
	for _, w := range of {
		if weight := float64(w.running) * w.history.average(r.s.now); weight < lowest && may(f, w) {
			best, lowest = w, weight
		}
	}
	return best
}

// random draws until one will do. Where few do, it looks at all from a random place on.
func random(r *simple, f *flight, of []*worker) *worker {
	if len(of) == 0 {
		return nil
	}
	for range 32 {
		if w := of[r.s.chance.IntN(len(of))]; may(f, w) {
			return w
		}
	}
	return from(r.s.chance.IntN(len(of)), f, of)
}

func from(at int, f *flight, of []*worker) *worker {
	for i := range of {
		if w := of[(at+i)%len(of)]; may(f, w) {
			return w
		}
	}
	return nil
}

func roundRobin(r *simple, f *flight, of []*worker) *worker {
	if len(of) == 0 {
		return nil
	}
	at := &r.turn[f.job.model]
	for range of {
		*at = (*at + 1) % len(of)
		if w := of[*at]; may(f, w) {
			return w
		}
	}
	return nil
}

func leastLoaded(_ *simple, f *flight, of []*worker) (best *worker) {
	for _, w := range of {
		if (best == nil || w.share() < best.share()) && may(f, w) {
			best = w
		}
	}
	return best
}

func (w *worker) share() float64 { return float64(w.running) / float64(w.claims) }

func twoChoices(r *simple, f *flight, of []*worker) *worker {
	a, b := random(r, f, of), random(r, f, of)
	if a != nil && b.share() < a.share() {
		return b
	}
	return a
}

// clairvoyant knows how long the answer will be, how fast each worker really
// is and what it has in memory, which will fail and which cheat. It gives each request to the worker
// that leaves its caller the most. Later requests it does not foresee, so it
// is the best of the greedy rules and not the optimum of all.
func clairvoyant(r *simple, f *flight, of []*worker) *worker {
	best, most := (*worker)(nil), 0.0
	for _, w := range of {
		if !may(f, w) {
			continue
		}
		if left := r.leaves(f, w); left > most {
			best, most = w, left
		}
	}
	return best
}

func (r *simple) leaves(f *flight, w *worker) float64 {
	if w.hung || w.strategy == FastFail {
		return 0
	}
	rate := w.hw.rate(w.running + 1)
	work := w.untilFirst(f.job)
	first := w.rtt.Seconds() + work/rate
	end := r.s.now + time.Duration((first+float64(f.job.output)/rate)*float64(time.Second))
	// An answer that slows down meanwhile takes longer: half as long again is foreseen.
	if w.failAt < end+(end-r.s.now)/2 && w.failAt+w.failFor > r.s.now {
		return 0
	}
	return surplus(f.job, w.price, time.Duration(first*float64(time.Second))+r.s.now-f.job.at, end-f.job.at)
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
