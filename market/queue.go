package market

import (
	"errors"
	"fmt"
	"maps"
	"time"
)

// ErrQueueFull means that too many wait for the model, or too many of the same client: try later.
var ErrQueueFull = errors.New("market: queue is full")

// LateError means that a request would wait longer than it can, so that it
// had better not wait at all: try elsewhere, or later.
type LateError struct {
	// Wait is how long it would probably wait, Left how long it can.
	Wait, Left time.Duration
}

func (e *LateError) Error() string {
	return fmt.Sprintf("market: the queue takes about %s, the request has %s", e.Wait.Round(time.Millisecond), e.Left.Round(time.Millisecond))
}

// Waiter is a request that waits for a free offer. Its other fields belong to the market.
type Waiter struct {
	Want
	// Patience is how long it may wait; 0 is as long as the deadline allows.
	Patience time.Duration
	// Ref is whatever the caller wants to find again.
	Ref any

	line  *line // nil when it no longer waits
	pool  *pool
	began float64 // round from which its turn is counted to its client
	cost  float64 // of its turn, in rounds
	turn
}

// queue holds those who wait for one model. While it is short, first come is first
// served. Else each client's requests get turns one after another, a round apart; whoever
// offers more than others has shorter rounds. So a client with a hundred requests delays
// another by one, and by those that came while the queue was short.
type queue struct {
	root   *Waiter
	lines  map[string]*line
	round  float64 // of the last one served
	serial uint64
}

// line is one client's.
type line struct {
	client string
	len    int
	next   float64 // round of its next request
}

// A request's turn costs its client a round, less if it would pay more than
// usual. A ceiling is a promise and no payment, so not much less.
const leastCost, mostCost = 0.5, 2.0

// maxLines bounds the clients remembered because they have had a turn in advance.
const maxLines = 4096

func (q *queue) len() int { return sizeOf(q.root) }

// Enqueue lets a request wait. A request that could not be served in time at the
// present pace is refused with a [LateError]. A full queue makes room only by dropping the one
// whose turn is last, if the asker's comes before: then
// dropped is that one, which waits no longer.
func (m *Market) Enqueue(w *Waiter) (dropped *Waiter, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, now := m.pool(w.Model), m.cfg.Now()
	q := &p.queue
	l := q.line(w.Client)
	w.cost = p.turnCost(w)
	w.began = max(q.round, l.next)
	if w.tag = w.began; p.short(w, m.cfg.QueueLimit) {
		w.tag = q.round
	}
	q.serial++
	w.serial, w.chance = q.serial, scatter(q.serial)
	if err := p.tooLate(w, now); err != nil {
		return nil, err
	}
	if q.len() >= max(m.cfg.QueueLimit, 0) {
		last := lastTurn(q.root)
		if last == nil || last.tag <= w.tag {
			return nil, ErrQueueFull
		}
		dropped = last
		q.remove(dropped)
	}
	w.line, w.pool, l.next = l, p, w.began+w.cost
	l.len++
	q.lines[w.Client] = l
	q.root = withTurn(q.root, w)
	return dropped, nil
}

// line is the client's, or a new one that is not yet among the lines.
func (q *queue) line(client string) *line {
	if q.lines == nil {
		q.lines = map[string]*line{}
	}
	if len(q.lines) >= maxLines {
		maps.DeleteFunc(q.lines, func(_ string, l *line) bool { return l.len == 0 && l.next <= q.round })
	}
	if l, ok := q.lines[client]; ok {
		return l
	}
	return &line{client: client}
}

// scatter makes a number that looks like chance of a serial one.
func scatter(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (p *pool) turnCost(w *Waiter) float64 {
	usual := p.price(float64(w.MaxCoefficient))
	return min(max(usual/max(float64(w.MaxCoefficient), 1), leastCost), mostCost)
}

// shortQueue is the share of a request's patience within which all can be served where the
// queue is short. There turns only make those who ask most wait until it is empty, which nobody needs.
const shortQueue = 0.35

// short says that a request that comes in now can wait for all before it; without patience or a
// pace nobody knows. Half of the queue is left for turns, or who fills it would lock the others out.
func (p *pool) short(w *Waiter, most int) bool {
	n := p.queue.len()
	return p.service > 0 && 2*n < most && p.wait(w.MaxCoefficient, n+1) < time.Duration(shortQueue*float64(w.Patience))
}

// tooLate says that a request that would come in now waits longer than it can.
func (p *pool) tooLate(w *Waiter, now time.Time) error {
	left := w.Patience
	if !w.Deadline.IsZero() {
		until := w.Deadline.Sub(now) - time.Duration(p.pace.first*float64(time.Second))
		if left == 0 || until < left {
			left = until
		}
	}
	if wait := p.wait(w.MaxCoefficient, rank(p.queue.root, w)+1); (w.Patience > 0 || !w.Deadline.IsZero()) && wait > left && p.slots > 0 {
		return &LateError{wait, max(left, 0)}
	}
	return nil
}

// Wait is how long a request with that ceiling which comes now and finds no
// free place would wait for one, at the present pace; 0 when nobody knows.
func (m *Market) Wait(model string, ceiling uint32) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.models[model]
	if !ok || p.slots == 0 {
		return 0
	}
	return p.wait(ceiling, p.queue.len()+1)
}

// wait is how long it takes until so many have been served by those whose price
// the ceiling allows. It takes their places to be as many as those of others.
func (p *pool) wait(ceiling uint32, position int) time.Duration {
	t := &p.offers
	within := float64(t.count(t.place(ceiling))) / float64(max(t.len, 1))
	return time.Duration(float64(p.service) * float64(position) / max(within*float64(p.slots), 1))
}

// remove takes the waiter out. A turn that was the last of its line is given back.
func (q *queue) remove(w *Waiter) {
	q.root = withoutTurn(q.root, w)
	l := w.line
	if w.line = nil; l.next == w.began+w.cost {
		l.next = w.began
	}
	q.left(l)
}

// left notes that a client has one less that waits.
func (q *queue) left(l *line) {
	if l.len--; q.root == nil {
		q.round = 0
		clear(q.lines)
	}
}

// serve takes out a waiter whose turn has come.
func (q *queue) serve(w *Waiter) {
	q.root = withoutTurn(q.root, w)
	q.round = max(q.round, w.tag)
	l := w.line
	w.line = nil
	q.left(l)
}

// Cancel takes a request out of the queue: its time is over or its caller
// gone. False means that it no longer waits: a Match has given it an offer.
func (m *Market) Cancel(w *Waiter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.line == nil {
		return false
	}
	w.pool.queue.remove(w)
	return true
}

// Grant is an offer given to a request that waited.
type Grant struct {
	Waiter   *Waiter
	Offer    *Offer
	Decision Decision
}

// Match gives the free offers of a model to those who wait for it. Call it
// when an offer came, was enabled or changed its price, and now and then, because offers
// that rest become free by themselves. The empty model means all.
func (m *Market) Match(model string) (grants []Grant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	if model != "" {
		if p, ok := m.models[model]; ok {
			grants = m.match(p, grants, now)
		}
		return grants
	}
	for _, p := range m.models {
		grants = m.match(p, grants, now)
	}
	return grants
}

// match serves whose turn it is, until nothing is free or nobody can use what
// is. Whoever cannot is passed by and keeps the turn.
func (m *Market) match(p *pool, grants []Grant, now time.Time) []Grant {
	q := &p.queue
	if q.root == nil {
		return grants
	}
	m.revive(p, now)
	var passed *Waiter
	for q.root != nil {
		price, ok := p.leastFree()
		if !ok {
			break
		}
		w := nextTurn(q.root, passed, price)
		if w == nil {
			break
		}
		o, d := m.pick(&w.Want, now)
		if o == nil {
			passed = w
			continue
		}
		q.serve(w)
		p.recent.add(&w.Want, o, d, now)
		grants = append(grants, Grant{w, o, d})
	}
	return grants
}

// leastFree is the lowest price at which anything can be had.
func (p *pool) leastFree() (price uint32, ok bool) {
	if o := p.offers.freeFrom(0); o != nil {
		return o.Coefficient, true
	}
	return 0, p.failing > 0 && p.failing >= p.offers.len
}

// Place is how many are served before the request, counting itself, and how long that may
// take at the present pace. Zero when it no longer waits.
func (m *Market) Place(w *Waiter) (position int, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.line == nil {
		return 0, 0
	}
	position = rank(w.pool.queue.root, w) + 1
	return position, w.pool.wait(w.MaxCoefficient, position)
}
