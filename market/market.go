// Package market decides which worker serves a request, at what price, and who
// waits when none is free.
//
// Start with [New]. Workers make offers ([Market.Add]), requests pick one
// ([Market.Pick]) and say how it went ([Market.Done]). A request that finds
// all workers busy may wait ([Market.Enqueue]); after anything that can free a
// place, [Market.Match] says who goes next. Every decision comes with its
// reasons ([Decision]).
//
// # How an offer is chosen
//
// Among offers that are free (enabled, below their limit, not set aside for failing) and
// not dearer than the caller accepts, one with the lowest score:
//
//	(price + usual price × slowness) × 2^failures
//
// Price is the coefficient. Slowness is the time that the model's usual answer
// would take on this worker with one request more, over what it usually takes: each worker's
// time to the first answer and its time a token, as a line over the number of requests at once, are
// learned from its own answers, and until there are some it counts as an average
// one that slows down as it fills. Failures in a row double the score; at three the offer is set
// aside for a growing while, then tried with one request at a time. Chance decides
// among all that are within a twentieth of the best, so that equals share the work.
//
// # What it costs
//
// Offers of a model lie in a segment tree ordered by price, whose nodes know the
// best score and the number of free offers below them. A pick and its end cost O(log n) each; an offer
// that comes, goes or changes its price costs O(n) once, at the next pick.
//
// The package has no network, no clock and no randomness of its own: the same
// seed and the same calls give the same decisions.
package market

import (
	"cmp"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Config of a market. The zero value is usable.
type Config struct {
	// Seed of all chance.
	Seed uint64
	// QueueLimit is how many requests may wait per model; 0 is 256, negative is none.
	QueueLimit int
	// Now dates failures and waits. Nil means time.Now.
	Now func() time.Time
}

// How failing offers are treated.
const (
	failuresToEject = 3
	firstBackOff    = time.Second
	longestBackOff  = time.Minute
	// A request without an answer is the worker's failure after so long, and so many times the usual.
	shortestLate = 5 * time.Second
	lateFactor   = 4
	// weightOfTime is how much dearer than usual a worker may be that needs no time at all.
	weightOfTime = 1.0
	// maxModels bounds the models that are remembered after their last worker left.
	maxModels = 1024
	// maxRemembered bounds the failing workers remembered per model after they disconnect, for rememberFor each.
	maxRemembered = 256
	rememberFor   = 5 * time.Minute
)

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
	return &Market{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0)), models: map[string]*pool{}}
}

// Terms of an offer.
type Terms struct {
	// Model is the base name that callers use.
	Model string
	// Coefficient is the price in thousandths.
	Coefficient uint32
	// Limit is how many requests may run at once, at least 1.
	Limit int
	// Version is the protocol version of the worker's connection.
	Version int32
	// Key names the worker over reconnections, so that a failing one does not come back with a clean record.
	Key string
	// Enabled says whether it takes requests from the start.
	Enabled bool
	// Ref is whatever the caller wants to find again.
	Ref any
}

// Offer is one worker connection. Its fields belong to the market.
type Offer struct {
	Terms
	pool    *pool
	serial  uint64
	at      int // place in the tree
	score   float64
	running int
	health
	gone bool
}

// health is how a worker has done lately.
type health struct {
	failures int       // in a row
	failedAt time.Time // the last of them
	retryAt  time.Time // when to try again, once failures reached the limit
	pace     pace
	until    time.Time // when to forget, for a worker that left
}

// pool is everything about one model.
type pool struct {
	name       string
	offers     tree
	free       int
	pace       pace
	paid       float64       // smoothed coefficient that requests were served for
	service    time.Duration // smoothed time of a whole request
	ejected    []*Offer
	remembered map[string]health
	queue      queue
}

func (m *Market) pool(model string) *pool {
	p, ok := m.models[model]
	if !ok {
		if len(m.models) >= maxModels {
			m.forgetModels()
		}
		p = &pool{name: model, remembered: map[string]health{}}
		m.models[model] = p
	}
	return p
}

func (m *Market) forgetModels() {
	for name, p := range m.models {
		if len(p.offers.sorted) == 0 && p.queue.len == 0 {
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
	p := m.pool(t.Model)
	o := &Offer{Terms: t, pool: p, serial: m.serial, score: math.Inf(1)}
	if h, ok := p.remembered[t.Key]; ok && h.until.After(m.cfg.Now()) {
		o.health = h
		if o.failures >= failuresToEject {
			p.ejected = append(p.ejected, o)
		}
	}
	delete(p.remembered, t.Key)
	p.offers.insert(o)
	m.rescore(o)
	return o
}

// Remove withdraws an offer. Requests still running on it end by Done as usual.
func (m *Market) Remove(o *Offer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o.gone {
		return
	}
	o.gone = true
	m.rescore(o)
	o.pool.offers.remove(o)
	o.pool.ejected = slices.DeleteFunc(o.pool.ejected, func(x *Offer) bool { return x == o })
	m.remember(o)
}

// remember keeps the bad record of an offer that is gone.
func (m *Market) remember(o *Offer) {
	p := o.pool
	if o.failures == 0 || o.Key == "" {
		return
	}
	if len(p.remembered) >= maxRemembered {
		maps.DeleteFunc(p.remembered, func(_ string, h health) bool { return !h.until.After(m.cfg.Now()) })
	}
	if len(p.remembered) >= maxRemembered {
		return
	}
	o.until = m.cfg.Now().Add(rememberFor)
	p.remembered[o.Key] = o.health
}

// SetEnabled lets the offer take requests, or stops it; running ones go on.
func (m *Market) SetEnabled(o *Offer, enabled bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o.Enabled = enabled
	m.rescore(o)
}

// SetCoefficient changes the price for requests to come.
func (m *Market) SetCoefficient(o *Offer, c uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o.Coefficient = c
	if !o.gone {
		o.pool.offers.stale = true
	}
	m.rescore(o)
}

// rescore notes that something about the offer has changed. mu is held.
func (m *Market) rescore(o *Offer) {
	was := o.free()
	o.score = o.rate(m.cfg.Now())
	o.pool.free += o.free() - was
	if !o.gone {
		o.pool.offers.update(o)
	}
}

// free is 1 or 0, to be counted.
func (o *Offer) free() int {
	if math.IsInf(o.score, 1) {
		return 0
	}
	return 1
}

// rate is the score of the package comment; infinite when the offer is not free.
func (o *Offer) rate(now time.Time) float64 {
	limit := o.Limit
	if o.failures >= failuresToEject {
		if limit = 1; now.Before(o.retryAt) {
			limit = 0
		}
	}
	if o.gone || !o.Enabled || o.running >= limit {
		return math.Inf(1)
	}
	price := math.Max(float64(o.Coefficient), 1)
	score := price + weightOfTime*o.pool.price(price)*o.slowness(o.running+1)
	return math.Ldexp(score, min(o.failures, 20))
}

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
)

// Done ends a request. First is the time from Pick to the first answer, total
// to the end. The grants are for those who waited for the place: nobody who comes
// later can take it from them.
func (m *Market) Done(o *Offer, how Outcome, took Took) []Grant {
	m.mu.Lock()
	defer m.mu.Unlock()
	if how == Late && o.pool.service > 0 && took.Total > max(shortestLate, lateFactor*o.pool.service) {
		how = Failed
	}
	switch how {
	case Served:
		o.recover()
		o.pace.learn(o.running, took)
		o.pool.pace.learn(o.running, took)
		o.pool.learnPrice(o)
		smooth(&o.pool.service, took.Total)
	case Failed:
		m.fail(o, m.cfg.Now().Add(-took.Total))
		if o.gone {
			m.remember(o)
		}
	}
	o.running--
	m.rescore(o)
	return m.match(o.pool, nil)
}

// learnPrice takes in what a request was served for.
func (p *pool) learnPrice(o *Offer) {
	if p.paid == 0 {
		p.paid = float64(o.Coefficient)
	}
	p.paid += (float64(o.Coefficient) - p.paid) / 64
}

// price is what requests are usually served for, own where nobody knows.
func (p *pool) price(own float64) float64 {
	if p.paid == 0 {
		return own
	}
	return p.paid
}

// smooth moves the average an eighth of the way.
func smooth(average *time.Duration, v time.Duration) {
	if *average == 0 {
		*average = v
	}
	*average += (v - *average) / 8
}

func (o *Offer) recover() {
	if o.failures >= failuresToEject {
		o.pool.ejected = slices.DeleteFunc(o.pool.ejected, func(x *Offer) bool { return x == o })
	}
	o.failures = 0
}

// fail counts a failure; from the third on the offer rests, twice as long each
// time, with a fifth of chance so that many do not come back together. Requests
// that were running when the last failure came are the same failure: a worker
// that dies with fifty has died once.
func (m *Market) fail(o *Offer, started time.Time) {
	if started.Before(o.failedAt) {
		return
	}
	o.failures, o.failedAt = o.failures+1, m.cfg.Now()
	n := o.failures - failuresToEject
	if n < 0 {
		return
	}
	if n == 0 && !o.gone {
		o.pool.ejected = append(o.pool.ejected, o)
	}
	rest := min(firstBackOff<<min(n, 10), longestBackOff)
	o.retryAt = m.cfg.Now().Add(rest + time.Duration(m.rand.Float64()*0.2*float64(rest)))
}

// revive rescores the offers whose rest is over. There are few: each has failed three times in a row.
func (m *Market) revive(p *pool) {
	now := m.cfg.Now()
	for _, o := range p.ejected {
		if math.IsInf(o.score, 1) && !now.Before(o.retryAt) {
			m.rescore(o)
		}
	}
}

// OfferInfo is a snapshot of an offer.
type OfferInfo struct {
	Coefficient    uint32
	Running, Limit int
	Enabled        bool
	// Failures in a row; from three on the offer is set aside most of the time.
	Failures int
	// First is the smoothed time to the first answer, 0 when unknown.
	First time.Duration
	Ref   any
}

func (o *Offer) info() OfferInfo {
	return OfferInfo{o.Coefficient, o.running, o.Limit, o.Enabled, o.failures, time.Duration(o.pace.first * float64(time.Second)), o.Ref}
}

// Info is a snapshot of one offer.
func (m *Market) Info(o *Offer) OfferInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return o.info()
}

// ModelInfo is a snapshot of a model and its offers, cheapest first.
type ModelInfo struct {
	Name    string
	Offers  []OfferInfo
	Waiting int
}

// Empty says that no worker has made an offer yet.
func (m *Market) Empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.models) == 0
}

// Models lists the models ever offered, by name. One whose workers have all left stays listed.
func (m *Market) Models() []ModelInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]ModelInfo, 0, len(m.models))
	for _, p := range m.models {
		info := ModelInfo{Name: p.name, Waiting: p.queue.len}
		p.offers.sort()
		for _, o := range p.offers.sorted {
			info.Offers = append(info.Offers, o.info())
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b ModelInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
