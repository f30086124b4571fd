package marketsim

import (
	"time"

	"github.com/opencocoon/cocoon/market"
)

// flight is a request on its way.
type flight struct {
	job     *job
	tried   []*worker
	w       *worker
	stream  *stream
	price   uint32 // of the worker, when it was given
	sentAt  time.Duration
	firstAt time.Duration // 0: not yet
	over    bool
	limit   *event // the deadline
	wait    any    // of the rule, while it waits
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
func (s *sim) give(f *flight, w *worker) {
	f.w, f.sentAt, f.price, f.stream = w, s.now, min(w.price, f.job.ceiling), nil
	f.tried = append(f.tried, w)
	if w.strategy == FastFail && s.chance.IntN(10) > 0 {
		s.plan(w.rtt+20*time.Millisecond, func() { s.broke(f, w) })
		return
	}
	s.plan(w.rtt/2, func() {
		switch {
		case f.over || f.w != w:
		case !w.up:
			s.broke(f, w)
		default:
			f.stream = w.take(f)
		}
	})
}

// first notes the first token.
func (s *sim) first(f *flight) {
	f.firstAt = s.now + f.w.rtt/2
	s.rule.first(f, f.firstAt-f.sentAt)
}

// end is the good end of a request.
func (s *sim) end(f *flight) {
	w := f.w
	w.pay(f, float64(f.job.output)+float64(f.job.prompt)/10)
	w.good++
	s.close(f)
	s.tally.good(f, s.now+w.rtt/2)
	s.rule.done(f, w, market.Served)
}

// broke is a worker that fails a request. Before the first token another may
// do it; after it the answer is broken and what came is paid for.
func (s *sim) broke(f *flight, w *worker) {
	if f.over || f.w != w {
		return
	}
	if f.stream != nil {
		w.drop(f.stream)
	}
	if f.firstAt == 0 && len(f.tried) < maxTries && s.rule.retries() {
		f.w, f.stream = nil, nil
		s.rule.done(f, w, market.Failed)
		s.rule.place(f)
		return
	}
	if f.stream != nil && f.stream.begun {
		w.pay(f, w.delivered(f.stream))
	}
	s.close(f)
	s.tally.fail(f, broken)
	s.rule.done(f, w, market.Failed)
}

// late ends a request whose time is over.
func (s *sim) late(f *flight) {
	if f.over {
		return
	}
	w := f.w
	if w == nil {
		s.rule.withdraw(f)
		s.refuse(f)
		return
	}
	if f.stream != nil {
		if f.stream.begun {
			w.pay(f, w.delivered(f.stream))
		}
		w.drop(f.stream)
	}
	s.close(f)
	s.tally.fail(f, timeOut)
	s.rule.done(f, w, market.Late)
}

// refuse ends a request that nobody was found for.
func (s *sim) refuse(f *flight) {
	s.close(f)
	s.tally.fail(f, refused)
}

func (s *sim) close(f *flight) {
	f.over = true
	s.running--
	s.callOff(f.limit)
}

// pay books tokens.
func (w *worker) pay(f *flight, tokens float64) {
	w.tokens += tokens
	w.income += tokens * float64(f.price) / 1000
	w.s.tally.paid += tokens * float64(f.price) / 1000
	w.s.tally.tokens += tokens
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
	s.rule.leave(w)
	for len(w.streams) > 0 {
		s.broke(w.streams[0].f, w)
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
