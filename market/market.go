// Package market decides which worker serves a request, at what price, and who
// waits when none is free.
//
// Start with [New]. Workers make offers ([Market.Add]), requests pick one
// ([Market.Pick]) and say how it went ([Market.Done]). A request that finds
// all workers busy may wait ([Market.Enqueue]); after anything that can free a
// place, [Market.Match] says who goes next. Where the first answer is late, a
// second worker may be asked ([Market.Hedge]). Every decision comes with its
// reasons ([Decision]), and a worker without work can ask for them ([Market.Why]).
// [Limiter] and [Pricer] stand beside the market: how much a client may ask, and
// what a worker should.
//
// # How an offer is chosen
//
// Among offers that are free (enabled, below their limit, not set aside for failing),
// not dearer than the caller accepts and able to do what he needs, one with the lowest score:
//
//	(price + usual price × slowness) × 2^failures / (1 - share lost)²
//
// Price is the coefficient. Slowness is the time that the request
// would take on this worker beside what runs there, and take from it, over what the model's usual one takes: each worker's
// time to the first answer, as a line over the length of the question, and its time a token, as a line over the number of requests at once, are
// learned from its own answers, and until there are some it counts as an average
// one that slows down as it fills. Failures in a row double the score; at three the offer is set
// aside for a growing while, then tried with one request at a time. Chance decides
// among all that are within a twentieth of the best, so that equals share the work.
// Until a worker has answered, its measured round trip counts, and without one its
// region. Who says that it can do what is needed ([Claims]) comes before those that say
// nothing, unless it is much worse. A worker that served the same [Want.Affinity] before has a lead as large as what it
// need not read again. One request in fifty goes to whoever has waited longest for
// work, if it is not much dearer than usual: what nobody tries nobody knows.
// Callers may rank by price or time alone, and name workers ([Wishes]).
//
// # What it costs
//
// Offers of a model lie in a segment tree ordered by price, whose nodes know the
// best score of each kind and the number of free offers below them. A pick, its end, and an offer
// that comes, goes or changes its price cost O(log n) each; so does joining and leaving the queue.
//
// The package has no network, no clock and no randomness of its own: the same
// seed and the same calls give the same decisions.
package market

import (
	"cmp"
	"container/list"
	"math/rand/v2"
	"sync"
	"time"
)

// Config of a market. The zero value is usable.
type Config struct {
	// Seed of all chance.
	Seed uint64
	// QueueLimit is how many requests may wait per model; 0 is 256, negative is none.
	QueueLimit int
	// HedgeShare is how many second workers may be asked per request, on average; 0 is a
	// fiftieth, negative is none.
	HedgeShare float64
	// Without lists facts that shall not count, for those who want to know what each is worth.
	Without Facts
	// Now dates failures and waits. Nil means time.Now.
	Now func() time.Time
}

// Facts is a set of things that a decision takes into account.
type Facts uint

const (
	// Size is the request's own length.
	Size Facts = 1 << iota
	// Speed is what is known of a worker's pace.
	Speed
	// Success is the share of requests that a worker lost; failures in a row count all the same.
	Success
	// Probes are requests for those that nobody has asked for long.
	Probes
	// Affinity is the memory of who served what.
	Affinity
)

// maxModels bounds the models that are remembered after their last worker left.
const maxModels = 1024

// Market knows every offer and everybody who waits. Safe for concurrent use;
// every method is short and waits for nothing.
type Market struct {
	cfg Config

	mu     sync.Mutex // guards all below and the inside of every Offer and Waiter
	rand   *rand.Rand
	models map[string]*pool
	serial uint64
}

// New returns an empty market.
func New(cfg Config) *Market {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.QueueLimit == 0 {
		cfg.QueueLimit = 256
	}
	if cfg.HedgeShare == 0 {
		cfg.HedgeShare = 0.02
	}
	return &Market{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0)), models: map[string]*pool{}}
}

// Terms of an offer.
type Terms struct {
	// Model is the base name that callers use, FullModel the whole identity,
	// name@commit:hash, by which they may ask for a revision.
	Model, FullModel string
	// Coefficient is the price in thousandths.
	Coefficient uint32
	// Limit is how many requests may run at once, at least 1.
	Limit int
	// Version is the protocol version of the worker's connection.
	Version int32
	// Key names the worker over reconnections, so that a failing one does not come back with a clean
	// record, and in callers' wishes. Offers may share one.
	Key string
	// Context is how many tokens a question and its answer may have together; 0 is unknown, and does for all.
	Context int
	// Has is what it can do; 0 is unknown, and does for all.
	Has Capability
	// Region is where it says it is, such as eu-west; empty is unknown.
	Region string
	// Enabled says whether it takes requests from the start.
	Enabled bool
	// Ref is whatever the caller wants to find again.
	Ref any
}

// Offer is one worker connection. Its fields belong to the market.
type Offer struct {
	Terms
	pool     *pool
	traits   traits
	serial   uint64
	at       int // place in the tree
	keyAt    int // place among its owner's
	score    scores
	running  int
	slots    int        // that it counts for in the pool
	picked   int        // requests it got, ever
	waits    *list.List // of the idlers
	idle     *list.Element
	lastAt   time.Time // it got work
	servedAt time.Time
	rest     int           // place among those that rest, from 1; 0 is none
	rtt      time.Duration // measured; 0 unknown
	health
	gone bool
}

// pool is everything about one model.
type pool struct {
	name    string
	without Facts
	offers  tree
	byKey   map[string]*owner
	slots   int // of all that take requests
	running int

	pace    pace
	paid    float64       // smoothed coefficient that requests were served for
	service time.Duration // smoothed time of a whole request
	rtt     time.Duration // smoothed round trip to its workers

	failing int   // offers with too many failures in a row
	resting rests // those of them that rest
	idle    idlers
	memory  memory
	served  servedBy
	recent  recent
	hedges  float64 // second workers that may be asked now
	queue   queue
}

func (m *Market) pool(model string) *pool {
	p, ok := m.models[model]
	if !ok {
		if len(m.models) >= maxModels {
			m.forgetModels()
		}
		p = &pool{name: model, without: m.cfg.Without, byKey: map[string]*owner{}}
		m.models[model] = p
	}
	return p
}

func (m *Market) forgetModels() {
	for name, p := range m.models {
		if p.offers.len == 0 && p.queue.len() == 0 {
			delete(m.models, name)
		}
	}
}

// Add makes an offer known.
func (m *Market) Add(t Terms) *Offer {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.serial++
	t.Limit = max(t.Limit, 1)
	p, now := m.pool(t.Model), m.cfg.Now()
	o := &Offer{Terms: t, pool: p, traits: t.traits(), serial: m.serial, score: unfit}
	o.health = p.memory.recall(t.Key, now)
	if o.failures >= failuresToEject {
		p.failing++
		p.resting.add(o)
	}
	if o.pace.start.w > 0 || o.pace.token.w > 0 {
		o.traits |= hasServed
	}
	p.owner(t.Key).add(o)
	p.idle.add(o)
	p.offers.insert(o)
	m.rescore(o, now)
	return o
}

// Remove withdraws an offer. Requests still running on it end by Done as usual.
func (m *Market) Remove(o *Offer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o.gone {
		return
	}
	p, now := o.pool, m.cfg.Now()
	o.gone = true
	m.rescore(o, now)
	p.offers.remove(o)
	p.idle.leave(o)
	p.forgetKey(o)
	p.served.forget(o)
	if o.failures >= failuresToEject {
		p.failing--
	}
	p.resting.remove(o)
	p.memory.keep(o, now)
}

// owner has the offers of one key, and how many of them are free: one who has thousands
// that are all busy shall not cost those who name him a look at each.
type owner struct {
	offers []*Offer
	free   int
}

func (p *pool) owner(key string) *owner {
	w := p.byKey[key]
	if w == nil {
		w = &owner{}
		p.byKey[key] = w
	}
	return w
}

func (w *owner) add(o *Offer) {
	o.keyAt = len(w.offers)
	w.offers = append(w.offers, o)
}

// forgetKey takes out an offer, which is not free.
func (p *pool) forgetKey(o *Offer) {
	w := p.byKey[o.Key]
	last := len(w.offers) - 1
	w.offers[o.keyAt] = w.offers[last]
	w.offers[o.keyAt].keyAt = o.keyAt
	w.offers[last] = nil
	if w.offers = w.offers[:last]; last == 0 {
		delete(p.byKey, o.Key)
	}
}

// mark gives the offer its marks, and counts the free.
func (o *Offer) mark(s scores) {
	was := o.free()
	o.score = s
	switch is := o.free(); {
	case is && !was:
		o.pool.byKey[o.Key].free++
	case was && !is:
		o.pool.byKey[o.Key].free--
	}
}

// SetEnabled lets the offer take requests, or stops it; running ones go on.
func (m *Market) SetEnabled(o *Offer, enabled bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o.Enabled = enabled
	m.rescore(o, m.cfg.Now())
}

// SetCoefficient changes the price for requests to come.
func (m *Market) SetCoefficient(o *Offer, c uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o.gone || o.Coefficient == c {
		o.Coefficient = c
		return
	}
	o.pool.offers.remove(o)
	o.Coefficient = c
	o.mark(o.rate(m.cfg.Now()))
	o.pool.offers.insert(o)
}

// rescore notes that something about the offer has changed. mu is held.
func (m *Market) rescore(o *Offer, now time.Time) {
	slots := o.Limit
	if o.gone || !o.Enabled || o.failures >= failuresToEject {
		slots = 0
	}
	o.pool.slots += slots - o.slots
	o.slots = slots
	if o.mark(o.rate(now)); !o.gone {
		o.pool.offers.update(o)
	}
}

func (o *Offer) free() bool { return o.score[Balanced] < inf }

// Outcome says how a request went, seen from the market.
type Outcome int

const (
	// Served means the worker answered.
	Served Outcome = iota
	// Failed means the worker is to blame: it broke the protocol or died.
	Failed
	// Late means that the time passed without an answer. It counts as Failed if the request had
	// several times as long as requests of the model usually take; callers who allow
	// little time must not be able to discredit a worker.
	Late
	// Neutral means nobody can tell: the caller left or sent nonsense.
	Neutral
	// Overtaken means that a second worker was asked and answered first. This one is not to blame,
	// but that it took so long is remembered.
	Overtaken
	// Declined means that the worker would not take what it had offered to take. That costs nobody
	// more than a moment, but it must not attract work: it counts among the failures in a row.
	Declined
)

// Done ends a request. The grants are for those who waited for the place: nobody who comes
// later can take it from them.
func (m *Market) Done(o *Offer, how Outcome, took Took) []Grant {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, now := o.pool, m.cfg.Now()
	if how == Late && p.service > 0 && took.Total > max(shortestLate, lateFactor*p.service) {
		how = Failed
	}
	switch how {
	case Served:
		o.recover()
		o.traits |= hasServed
		o.servedAt = now
		o.pace.learn(o.running, took)
		p.pace.learn(o.running, took)
		p.learnPrice(cmp.Or(took.Price, o.Coefficient))
		p.learnService(took.Total)
	case Failed:
		if m.fail(o, now, took.Total) {
			o.lost += (1 - o.lost) / 32
		}
	case Declined:
		m.fail(o, now, took.Total)
	case Overtaken:
		o.pace.learnAtLeast(o.running, took)
	}
	if o.gone {
		p.memory.keep(o, now)
	}
	o.running--
	p.running--
	m.rescore(o, now)
	return m.match(p, nil, now)
}

// learnPrice takes in what a request was served for. A worker and a client of one owner
// may agree on any price, so a single one is believed up to several times the usual.
func (p *pool) learnPrice(coefficient uint32) {
	price := float64(coefficient)
	if p.paid > 0 {
		price = min(max(price, p.paid/outlier), p.paid*outlier)
	}
	smoothed(&p.paid, price, 64)
}

// longService is how many times the usual a request's time counts at most.
const longService = 16

func (p *pool) learnService(took time.Duration) {
	if p.service > 0 {
		took = min(took, longService*p.service)
	}
	smooth(&p.service, max(took, 0))
}

// smooth moves the average an eighth of the way.
func smooth(average *time.Duration, v time.Duration) {
	if *average == 0 {
		*average = v
	}
	*average += (v - *average) / 8
}
