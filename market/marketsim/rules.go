package marketsim

import (
	"math"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/market"
)

// rule decides who serves a request. place must give it, keep it waiting or
// refuse it; done is called once for each worker that a request was given to.
type rule interface {
	join(*worker)
	leave(*worker)
	place(*flight)
	withdraw(*flight) // a request that waits has run out of time
	first(f *flight, after time.Duration)
	done(*flight, *worker, market.Outcome)
	retries() bool
}

// ours is package market, used as a proxy uses it.
type ours struct {
	s *sim
	m *market.Market
}

func newOurs(s *sim) *ours {
	return &ours{s, market.New(market.Config{Seed: s.sc.Seed, Now: s.clock, QueueLimit: queueLimit})}
}

const (
	queueLimit = 256              // requests that may wait for one model
	queueWait  = 20 * time.Second // for so long
)

func (o *ours) join(w *worker) {
	w.offer = o.m.Add(market.Terms{Model: modelName(w.model), Coefficient: w.price, Limit: w.claims, Key: workerName(w.id), Enabled: true, Ref: w})
	o.granted(o.m.Match(modelName(w.model)))
}

func (o *ours) leave(w *worker) { o.m.Remove(w.offer.(*market.Offer)) }

func (o *ours) retries() bool { return true }

func (o *ours) want(f *flight) market.Want {
	w := market.Want{Model: modelName(f.job.model), MaxCoefficient: f.job.ceiling, Client: clientName(f.job.client)}
	for _, t := range f.tried {
		w.Exclude = append(w.Exclude, t.offer.(*market.Offer))
	}
	return w
}

func (o *ours) place(f *flight) {
	offer, d := o.m.Pick(o.want(f))
	if offer != nil {
		f.wait = offer
		o.s.give(f, offer.Ref.(*worker))
		return
	}
	if d.Verdict != market.Busy && d.Verdict != market.NoWorker {
		o.s.refuse(f)
		return
	}
	wait := &market.Waiter{Want: o.want(f), Ref: f}
	dropped, err := o.m.Enqueue(wait)
	if err != nil {
		o.s.refuse(f)
		return
	}
	f.wait = wait
	if dropped != nil {
		o.s.refuse(dropped.Ref.(*flight))
	}
	o.s.plan(queueWait, func() {
		if f.wait == wait && o.m.Cancel(wait) {
			o.s.refuse(f)
		}
	})
}

func (o *ours) withdraw(f *flight) { o.m.Cancel(f.wait.(*market.Waiter)) }

func (o *ours) first(*flight, time.Duration) {}

func (o *ours) done(f *flight, w *worker, how market.Outcome) {
	first, total := o.s.now-f.sentAt, o.s.now-f.sentAt
	if f.firstAt > 0 {
		first = f.firstAt - f.sentAt
	}
	o.granted(o.m.Done(f.wait.(*market.Offer), how, market.Took{First: first, Total: total, Tokens: int64(f.job.output)}))
}

func (o *ours) granted(grants []market.Grant) {
	for _, g := range grants {
		f := g.Waiter.Ref.(*flight)
		f.wait = g.Offer
		o.s.give(f, g.Offer.Ref.(*worker))
	}
}

// simple is a baseline: a choice among the workers that would do, and, unless
// it is the reference's, a queue in order of arrival and another try.
type simple struct {
	s      *sim
	choose func(r *simple, f *flight, of []*worker) *worker
	plain  bool // neither queue nor another try
	sorted bool // the queue serves the shortest first: it knows the future

	fleet   [][]*worker // by model, those that are up, in the order in which they came
	running map[*worker]int
	waiting [][]*flight
	turn    []int
	history map[*worker]*decayed
}

func newSimple(s *sim, choose func(*simple, *flight, []*worker) *worker) *simple {
	return &simple{s: s, choose: choose, fleet: make([][]*worker, s.sc.Models), waiting: make([][]*flight, s.sc.Models),
		turn: make([]int, s.sc.Models), running: map[*worker]int{}, history: map[*worker]*decayed{}}
}

func (r *simple) join(w *worker) {
	r.fleet[w.model] = append(r.fleet[w.model], w)
	r.serve(w.model)
}

func (r *simple) leave(w *worker) {
	r.fleet[w.model] = slices.DeleteFunc(r.fleet[w.model], func(x *worker) bool { return x == w })
}

func (r *simple) retries() bool { return !r.plain }

// candidates are the workers that would do and have room.
func (r *simple) candidates(f *flight) (of []*worker, busy bool) {
	for _, w := range r.fleet[f.job.model] {
		if w.price > f.job.ceiling || slices.Contains(f.tried, w) {
			continue
		}
		if r.running[w] >= w.claims {
			busy = true
			continue
		}
		of = append(of, w)
	}
	return of, busy
}

func (r *simple) place(f *flight) {
	of, busy := r.candidates(f)
	if w := r.chosen(f, of); w != nil {
		r.give(f, w)
		return
	}
	m := f.job.model
	if !busy && len(of) == 0 || r.plain || len(r.waiting[m]) >= queueLimit {
		r.s.refuse(f)
		return
	}
	r.waiting[m] = append(r.waiting[m], f)
	if r.sorted {
		slices.SortStableFunc(r.waiting[m], func(a, b *flight) int {
			return int(math.Copysign(1, a.job.work()-b.job.work()))
		})
	}
	r.s.plan(queueWait, func() {
		if !f.over && f.w == nil && slices.Contains(r.waiting[m], f) {
			r.withdraw(f)
			r.s.refuse(f)
		}
	})
}

func (r *simple) chosen(f *flight, of []*worker) *worker {
	if len(of) == 0 {
		return nil
	}
	return r.choose(r, f, of)
}

func (r *simple) give(f *flight, w *worker) {
	r.running[w]++
	r.s.give(f, w)
}

func (r *simple) withdraw(f *flight) {
	m := f.job.model
	r.waiting[m] = slices.DeleteFunc(r.waiting[m], func(x *flight) bool { return x == f })
}

func (r *simple) first(*flight, time.Duration) {}

func (r *simple) done(f *flight, w *worker, how market.Outcome) {
	r.running[w]--
	h := r.history[w]
	if h == nil {
		h = &decayed{}
		r.history[w] = h
	}
	h.add(r.s.now, (r.s.now - f.sentAt).Seconds())
	r.serve(w.model)
}

// serve gives those who wait what has become free.
func (r *simple) serve(m int) {
	for i := 0; i < len(r.waiting[m]); {
		f := r.waiting[m][i]
		of, _ := r.candidates(f)
		w := r.chosen(f, of)
		if w == nil {
			i++
			if i > 16 { // whoever is behind needs the same
				return
			}
			continue
		}
		r.waiting[m] = slices.Delete(r.waiting[m], i, i+1)
		r.give(f, w)
	}
}

// decayed is what the reference keeps of a worker: sums that fade over ten
// minutes (roles.md 4.4).
type decayed struct {
	at          time.Duration
	count, time float64
}

func (d *decayed) fade(now time.Duration) {
	k := math.Exp(-(now - d.at).Seconds() / 600)
	d.count, d.time, d.at = d.count*k, d.time*k, now
}

func (d *decayed) add(now time.Duration, took float64) {
	d.fade(now)
	d.count++
	d.time += took
}

// average is the mean time of a request, which the reference takes for 0 below
// one request in ten seconds.
func (d *decayed) average(now time.Duration) float64 {
	if d == nil {
		return 0
	}
	d.fade(now)
	if d.count/600 <= 0.1 {
		return 0
	}
	return d.time / d.count
}

// reference is the rule of roles.md 4.4: the lowest running × average time,
// the oldest connection among equals; no queue, no other try.
func reference(r *simple, _ *flight, of []*worker) (best *worker) {
	lowest := math.Inf(1)
	for _, w := range of {
		if weight := float64(r.running[w]) * r.history[w].average(r.s.now); weight < lowest {
			best, lowest = w, weight
		}
	}
	return best
}

func random(r *simple, _ *flight, of []*worker) *worker { return of[r.s.chance.IntN(len(of))] }

func roundRobin(r *simple, f *flight, of []*worker) *worker {
	r.turn[f.job.model]++
	return of[r.turn[f.job.model]%len(of)]
}

func leastLoaded(r *simple, _ *flight, of []*worker) *worker {
	return slices.MinFunc(of, func(a, b *worker) int { return compare(r.share(a), r.share(b)) })
}

func (r *simple) share(w *worker) float64 { return float64(r.running[w]) / float64(w.claims) }

func twoChoices(r *simple, f *flight, of []*worker) *worker {
	a, b := random(r, f, of), random(r, f, of)
	if r.share(b) < r.share(a) {
		return b
	}
	return a
}

// clairvoyant knows how long the answer will be, how fast each worker really
// is, which will fail and which cheat. It gives each request to the worker
// that leaves its caller the most. Later requests it does not foresee, so it
// is the best of the greedy rules and not the optimum of all.
func clairvoyant(r *simple, f *flight, of []*worker) *worker {
	best, most := (*worker)(nil), 0.0
	for _, w := range of {
		if left := r.leaves(f, w); best == nil && left > 0 || left > most {
			best, most = w, left
		}
	}
	return best
}

func (r *simple) leaves(f *flight, w *worker) float64 {
	rate := w.hw.rate(r.running[w] + 1)
	first := w.rtt.Seconds() + f.job.untilFirst()/rate
	end := r.s.now + time.Duration((w.rtt.Seconds()+f.job.work()/rate)*float64(time.Second))
	// An answer that slows down meanwhile takes longer: half as long again is foreseen.
	fails := w.failAt < end+(end-r.s.now)/2 && w.failAt+w.failFor > r.s.now
	if w.hung || fails || w.strategy == FastFail {
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
