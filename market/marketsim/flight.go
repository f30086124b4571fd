package marketsim

import (
	"slices"
	"time"

	"github.com/opencocoon/cocoon/market"
)

// flight is a request on its way.
type flight struct {
	job     *job
	tried   []*worker
	live    []*attempt // usually one; two while a second worker is asked as well
	firstAt time.Duration
	over    bool
	limit   *event // the deadline
	wait    any    // of the rule, while it waits
}

// attempt is a request on one worker.
type attempt struct {
	f      *flight
	w      *worker
	stream *stream
	price  uint32 // of the worker, when it was given
	sentAt time.Duration
	over   bool
	second bool // asked while another had it
	offer  any  // of the rule
}

// maxTries bounds how often a request is given away.
const maxTries = 4

// come lets a request of the trace arrive.
func (s *sim) come(j *job) {
	s.running++
	f := &flight{job: j}
	f.limit = s.plan(j.deadline, func() { s.late(f) })
	s.rule.place(f)
}

// give hands a request to a worker.
func (s *sim) give(f *flight, w *worker, offer any) *attempt {
	a := &attempt{f: f, w: w, sentAt: s.now, price: min(w.price, f.job.ceiling), offer: offer, second: len(f.live) > 0}
	f.live = append(f.live, a)
	f.tried = append(f.tried, w)
	w.use(1)
	if w.strategy == FastFail && s.chance.IntN(10) > 0 {
		s.plan(w.rtt+20*time.Millisecond, func() { s.broke(a) })
		return a
	}
	s.plan(w.rtt/2, func() {
		switch {
		case a.over:
		case !w.up:
			s.broke(a)
		default:
			a.stream = w.take(a)
		}
	})
	return a
}

// close ends an attempt and tells the rule.
func (s *sim) close(a *attempt, how market.Outcome) {
	a.over = true
	if a.stream != nil {
		a.w.drop(a.stream)
	}
	a.w.use(-1)
	a.f.live = slices.DeleteFunc(a.f.live, func(x *attempt) bool { return x == a })
	s.rule.done(a, how)
}

// first notes the first token. Whoever else was asked is too late.
func (s *sim) first(a *attempt) {
	f := a.f
	f.firstAt = s.now + a.w.rtt/2
	if a.second {
		s.tally.hedgesWon++
	}
	for _, other := range slices.Clone(f.live) {
		if other != a {
			s.close(other, market.Overtaken)
		}
	}
}

// end is the good end of a request.
func (s *sim) end(a *attempt) {
	f, w := a.f, a.w
	w.pay(f, a.price, float64(f.job.output)+float64(f.job.prompt)/10)
	w.good++
	s.finish(f)
	s.tally.good(f, a.price, s.now+w.rtt/2)
	s.close(a, market.Served)
}

// broke is a worker that fails a request. Before the first token another may
// do it; after it the answer is broken and what came is paid for.
func (s *sim) broke(a *attempt) {
	if a.over {
		return
	}
	f, w := a.f, a.w
	if f.firstAt == 0 {
		s.close(a, market.Failed)
		switch {
		case len(f.live) > 0: // the other still may
		case len(f.tried) < maxTries && s.rule.retries():
			s.rule.place(f)
		default:
			s.finish(f)
			s.tally.fail(f, broken)
		}
		return
	}
	w.pay(f, a.price, w.delivered(a.stream))
	s.finish(f)
	s.tally.fail(f, broken)
	s.close(a, market.Failed)
}

// late ends a request whose time is over.
func (s *sim) late(f *flight) {
	if f.over {
		return
	}
	if len(f.live) == 0 {
		s.rule.withdraw(f)
		s.refuse(f)
		return
	}
	s.finish(f)
	s.tally.fail(f, timeOut)
	for _, a := range slices.Clone(f.live) {
		if f.firstAt > 0 && a.stream != nil {
			a.w.pay(f, a.price, a.w.delivered(a.stream))
		}
		s.close(a, market.Late)
	}
}

// refuse ends a request that nobody was found for.
func (s *sim) refuse(f *flight) {
	s.finish(f)
	s.tally.fail(f, refused)
}

func (s *sim) finish(f *flight) {
	f.over = true
	s.running--
	s.callOff(f.limit)
}

// pay books tokens.
func (w *worker) pay(f *flight, price uint32, tokens float64) {
	w.tokens += tokens
	w.income += tokens * float64(price) / 1000
	w.s.tally.pay(w.s, tokens, price)
}

// fail takes a worker down, or hangs it, and brings it back.
func (s *sim) planFailure(w *worker) {
	if w.failAt < 0 || w.failAt > s.tally.day {
		return
	}
	s.plan(w.failAt, func() {
		w.catchUp()
		if w.hangs {
			w.hung = true
			w.plan()
		} else {
			s.die(w)
		}
		s.plan(w.failFor, func() { s.recover(w) })
	})
}

func (s *sim) die(w *worker) {
	w.up = false
	w.cache.clear()
	s.rule.leave(w)
	for len(w.streams) > 0 {
		s.broke(w.streams[0].a)
	}
}

func (s *sim) recover(w *worker) {
	w.catchUp()
	if w.hung {
		w.hung = false
		w.plan()
		return
	}
	w.up = true
	s.rule.join(w)
}
