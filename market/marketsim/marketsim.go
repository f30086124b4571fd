// Package marketsim tries rules of selection against each other on one made-up
// day: workers that differ, fail and cheat, clients that come in waves, and
// answers whose length nobody knows beforehand.
//
// The rule called "ours" is package market itself, the code that a proxy runs;
// the others are baselines, among them the reference's rule and one that knows
// the future. Start with [Scenario] and [Run]. Everything follows from the
// seed: equal scenarios give equal figures, on every machine.
//
// Time is simulated. A worker's engine shares its speed among what runs on it,
// as continuous batching does, so a decision costs later requests what it
// costs in life.
package marketsim

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// start is when simulated time begins; any date will do.
var start = time.Unix(1_800_000_000, 0)

// sim is one run of one rule.
type sim struct {
	sc     Scenario
	now    time.Duration // since start
	events events
	serial uint64
	rule   rule
	fleet  []*worker
	chance *rand.Rand // of what happens in the run; the trace has its own

	next    int // request of the trace that comes next
	trace   []job
	tally   tally
	running int // requests that have come and not ended
}

// event is something that happens at a time. Equal times happen in the order
// in which they were planned.
type event struct {
	at     time.Duration
	serial uint64
	do     func()
	place  int
}

type events []*event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i]; e[i].place, e[j].place = i, j }
func (e *events) Push(x any)   { x.(*event).place = len(*e); *e = append(*e, x.(*event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	last.place = -1
	return last
}

// plan lets something happen after a while.
func (s *sim) plan(after time.Duration, do func()) *event {
	s.serial++
	e := &event{at: s.now + max(after, 0), serial: s.serial, do: do}
	heap.Push(&s.events, e)
	return e
}

// replan moves an event, or plans it again if it has happened.
func (s *sim) replan(e *event, after time.Duration) {
	s.serial++
	e.at, e.serial = s.now+max(after, 0), s.serial
	if e.place < 0 {
		heap.Push(&s.events, e)
		return
	}
	heap.Fix(&s.events, e.place)
}

// callOff makes an event not happen.
func (s *sim) callOff(e *event) {
	if e != nil && e.place >= 0 {
		heap.Remove(&s.events, e.place)
	}
}

func (s *sim) clock() time.Time { return start.Add(s.now) }

// run lets everything happen.
func (s *sim) run() {
	s.comeNext()
	for len(s.events) > 0 && (s.next < len(s.trace) || s.running > 0) {
		e := heap.Pop(&s.events).(*event)
		s.now = e.at
		e.do()
	}
}

// comeNext plans the arrival of the next request of the trace.
func (s *sim) comeNext() {
	if s.next == len(s.trace) {
		return
	}
	j := &s.trace[s.next]
	s.plan(j.at-s.now, func() {
		s.next++
		s.comeNext()
		s.come(j)
	})
}
