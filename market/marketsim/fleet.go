package marketsim

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"time"

	"github.com/opencocoon/cocoon/market"
)

// Strategy is how a worker behaves.
type Strategy int

// Strategies of workers. All but the first try to get more than they give.
const (
	Honest      Strategy = iota
	Gouger               // asks three times its price
	Undercutter          // asks half its price, and has a third of the speed that its hardware should have
	FastFail             // takes everything, fails nine of ten at once
	SlowLoris            // begins at once, and drips a thirtieth of the speed
	OverClaimer          // says that it can do four times as many at once as it can
	// Those that follow only ask another price than their hardware's.
	Dearer10
	Dearer30
	Cheaper10
	Cheaper30
)

func (s Strategy) String() string {
	return [...]string{"honest", "gouger", "undercutter", "fast-fail", "slow-loris", "over-claimer", "10 % dearer", "30 % dearer", "10 % cheaper", "30 % cheaper"}[s]
}

// Strategies are those that cheat, Prices those that ask another price.
var (
	Strategies = []Strategy{Gouger, Undercutter, FastFail, SlowLoris, OverClaimer}
	Prices     = []Strategy{Dearer10, Dearer30, Cheaper10, Cheaper30}
)

// prices says that a worker follows demand where that is allowed.
func (s Strategy) prices() bool { return s == Honest || s >= Dearer10 }

// factor is what it makes of the price that it otherwise would ask.
func (s Strategy) factor() float64 {
	switch s {
	case Dearer10:
		return 1.1
	case Dearer30:
		return 1.3
	case Cheaper10:
		return 0.9
	case Cheaper30:
		return 0.7
	}
	return 1
}

// hardware is a kind of machine.
type hardware struct {
	name   string
	speed  float64 // tokens per second of one answer alone
	shared float64 // how much each further answer slows all down
	limit  int     // answers at once
	cost   uint32  // coefficient that pays for it
	share  float64 // of the fleet
}

var kinds = []hardware{
	{"datacentre, new", 90, 0.02, 48, 900, 0.15},
	{"datacentre, old", 55, 0.03, 24, 1000, 0.25},
	{"workstation", 45, 0.06, 8, 800, 0.40},
	{"old workstation", 18, 0.10, 4, 700, 0.20},
}

// rate is the speed of each of n answers.
func (h *hardware) rate(n int) float64 {
	if n > h.limit { // they take turns
		return h.rate(h.limit) * float64(h.limit) / float64(n)
	}
	return h.speed / (1 + h.shared*float64(n-1))
}

// capacity is what it does when full, tokens per second.
func (h *hardware) capacity() float64 { return h.rate(h.limit) * float64(h.limit) }

// worker is one machine and its engine.
type worker struct {
	s        *sim
	id       int
	model    int
	hw       hardware
	strategy Strategy
	price    uint32 // coefficient asked for
	claims   int    // answers at once, as it says
	rtt      time.Duration
	failAt   time.Duration // infinite: never
	failFor  time.Duration
	hangs    bool // it does not die, it stops answering

	watched  bool
	up, hung bool
	served   float64 // tokens that an answer would have got that was there from the start
	at       time.Duration
	streams  streams
	wake     *event
	offer    any // of the rule
	running  int // requests it was given
	cache    cache
	pricer   *market.Pricer // nil: the price is fixed
	history  decayed        // of the reference's rule

	income, tokens float64 // price × tokens, tokens
	started, good  int
}

// stream is one answer that a worker produces.
type stream struct {
	a         *attempt
	first     float64 // served at which its first token is there
	end       float64
	begun     bool
	gone      bool
	place     int
	startedAt time.Duration
}

func (t *stream) next() float64 {
	if t.begun {
		return t.end
	}
	return t.first
}

type streams []*stream

func (t streams) Len() int           { return len(t) }
func (t streams) Less(i, j int) bool { return t[i].next() < t[j].next() }
func (t streams) Swap(i, j int)      { t[i], t[j] = t[j], t[i]; t[i].place, t[j].place = i, j }
func (t *streams) Push(x any)        { x.(*stream).place = len(*t); *t = append(*t, x.(*stream)) }
func (t *streams) Pop() any {
	old := *t
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	return last
}

// regions are round trips between proxy and worker.
var regions = []time.Duration{4 * time.Millisecond, 30 * time.Millisecond, 110 * time.Millisecond, 240 * time.Millisecond}

// makeFleet draws the workers. Every model has some.
func (sc *Scenario) makeFleet(s *sim) (fleet []*worker, capacity []float64) {
	chance := rand.New(rand.NewPCG(sc.Seed, 2))
	kind := make([]float64, len(kinds))
	for i, k := range kinds {
		kind[i] = k.share
	}
	drawKind, drawModel := newShares(kind), zipf(sc.Models, 0.8)
	capacity = make([]float64, sc.Models)
	for i := range sc.Workers {
		w := &worker{s: s, id: i, hw: kinds[drawKind.draw(chance)], failAt: math.MaxInt64, up: true}
		if w.model = i; i >= sc.Models {
			w.model = drawModel.draw(chance)
		}
		w.rtt = regions[chance.IntN(len(regions))]
		w.price = w.hw.cost + uint32(chance.IntN(400))
		w.claims = w.hw.limit
		capacity[w.model] += w.hw.capacity()
		fleet = append(fleet, w)
	}
	for _, strategy := range Strategies {
		for range int(sc.Cheating * float64(sc.Workers)) {
			if w := fleet[chance.IntN(len(fleet))]; w.strategy == Honest {
				capacity[w.model] -= w.hw.capacity()
				w.follow(strategy)
			}
		}
	}
	for i, left := range chance.Perm(len(fleet)) {
		if w := fleet[left]; i < sc.Watched && w.strategy == Honest { // the trace is the same whatever they do
			w.watched = true
			w.follow(sc.Deviance)
		}
	}
	for m, c := range capacity { // a model that only cheats serve
		capacity[m] = max(c, 1)
	}
	return fleet, capacity
}

// follow makes a worker a cheat.
func (w *worker) follow(strategy Strategy) {
	w.strategy = strategy
	switch strategy {
	case Gouger:
		w.price *= 3
	case Undercutter:
		w.price /= 2
		w.hw.speed /= 3
	case SlowLoris:
		w.hw.speed /= 30
	case OverClaimer:
		w.claims *= 4
	default:
		w.price = uint32(float64(w.price) * strategy.factor())
	}
}

// makeFailures lets a share of the workers fail once within the day.
func (sc *Scenario) makeFailures(fleet []*worker, day time.Duration) {
	chance := rand.New(rand.NewPCG(sc.Seed, 3))
	for _, w := range fleet {
		if chance.Float64() < sc.Failing {
			w.failAt = time.Duration(chance.Float64() * float64(day))
			w.failFor = min(day/10, 5*time.Minute)
			w.hangs = chance.IntN(2) == 0
		}
	}
}

// rate is what each of its streams gets now, tokens per second.
func (w *worker) rate() float64 {
	if w.hung || len(w.streams) == 0 {
		return 0
	}
	return w.hw.rate(len(w.streams))
}

// catchUp brings served to now. Call it before the number of streams changes.
func (w *worker) catchUp() {
	w.served += w.rate() * (w.s.now - w.at).Seconds()
	w.at = w.s.now
}

// plan sets the alarm for the next thing that happens here.
func (w *worker) plan() {
	rate := w.rate()
	if rate == 0 {
		w.s.callOff(w.wake)
		return
	}
	after := time.Duration((w.streams[0].next() - w.served) / rate * float64(time.Second))
	if w.wake == nil {
		w.wake = w.s.plan(after, w.happen)
		return
	}
	w.s.replan(w.wake, after)
}

// take begins an answer.
func (w *worker) take(a *attempt) *stream {
	w.catchUp()
	w.started++
	j := a.f.job
	t := &stream{a: a, first: w.served + w.untilFirst(j), startedAt: w.s.now}
	t.end = t.first + float64(j.output)
	w.cache.put(j.talk, w.hw.limit)
	heap.Push(&w.streams, t)
	w.plan()
	return t
}

// untilFirst is the work before the first token: to read what is not in memory.
func (w *worker) untilFirst(j *job) float64 {
	unread := j.prompt
	if w.cache.has(j.talk) {
		unread -= j.known
	}
	return float64(unread)/prefill + 1
}

// use counts the requests it has, for its price.
func (w *worker) use(n int) {
	w.running += n
	if w.pricer != nil {
		w.pricer.Use(w.running, w.claims, w.s.clock())
	}
}

// cache are the conversations that a worker's engine still has in memory: the
// latest, so many for each answer at once.
type cache struct {
	in   map[int]bool
	ring []int
	next int
}

const cached = 8

func (c *cache) has(talk int) bool { return c.in[talk] }

func (c *cache) put(talk, limit int) {
	if talk == 0 || c.in[talk] {
		return
	}
	if c.in == nil {
		c.in, c.ring = map[int]bool{}, make([]int, cached*limit)
	}
	delete(c.in, c.ring[c.next])
	c.ring[c.next] = talk
	c.in[talk] = true
	c.next = (c.next + 1) % len(c.ring)
}

func (c *cache) clear() { *c = cache{} }

// drop ends an answer before its time.
func (w *worker) drop(t *stream) {
	if t.gone {
		return
	}
	t.gone = true
	w.catchUp()
	heap.Remove(&w.streams, t.place)
	w.plan()
}

// happen lets the streams go on whose time has come.
func (w *worker) happen() {
	w.catchUp()
	const near = 1e-6
	for len(w.streams) > 0 && w.streams[0].next() <= w.served+near {
		t := w.streams[0]
		if !t.begun {
			t.begun = true
			heap.Fix(&w.streams, 0)
			w.s.first(t.a)
			continue
		}
		t.gone = true
		heap.Pop(&w.streams)
		w.s.end(t.a)
	}
	w.plan()
}

// delivered are the tokens of the answer that a stream has brought so far.
func (w *worker) delivered(t *stream) float64 {
	w.catchUp()
	return min(max(0, w.served-t.first), float64(t.a.f.job.output))
}
