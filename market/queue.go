package market

import (
	"errors"
	"slices"
	"time"
)

// ErrQueueFull means that too many wait for the model, or too many of the same client: try later.
var ErrQueueFull = errors.New("market: queue is full")

// Waiter is a request that waits for a free offer. Its fields belong to the market.
type Waiter struct {
	Want
	// Ref is whatever the caller wants to find again.
	Ref any

	line *line // nil when it no longer waits
	pool *pool
}

// queue holds those who wait for one model: a line per client, served in
// turns, so that a client with a hundred requests delays another by one.
type queue struct {
	lines []*line
	next  int // whose turn it is
	len   int
}

type line struct {
	client  string
	waiters []*Waiter
}

// Enqueue lets a request wait. A full queue makes room only by dropping the
// newest of a client that waits with at least two more than the asker: then
// dropped is that one, which waits no longer.
func (m *Market) Enqueue(w *Waiter) (dropped *Waiter, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pool(w.Model)
	q := &p.queue
	i := slices.IndexFunc(q.lines, func(l *line) bool { return l.client == w.Client })
	if q.len >= max(m.cfg.QueueLimit, 0) {
		own := 0
		if i >= 0 {
			own = len(q.lines[i].waiters)
		}
		longest := q.longest()
		if longest == nil || len(longest.waiters) < own+2 {
			return nil, ErrQueueFull
		}
		dropped = longest.waiters[len(longest.waiters)-1]
		q.remove(dropped)
	}
	if i < 0 { // a new line is served last in this round
		l := &line{client: w.Client}
		q.lines = slices.Insert(q.lines, q.next, l)
		q.next = (q.next + 1) % len(q.lines)
		w.line = l
	} else {
		w.line = q.lines[i]
	}
	w.line.waiters = append(w.line.waiters, w)
	w.pool = p
	q.len++
	return dropped, nil
}

func (q *queue) longest() (l *line) {
	for _, x := range q.lines {
		if l == nil || len(x.waiters) > len(l.waiters) {
			l = x
		}
	}
	return l
}

// remove takes the waiter out, and its line when it was the last of it.
func (q *queue) remove(w *Waiter) {
	l := w.line
	w.line = nil
	l.waiters = slices.DeleteFunc(l.waiters, func(x *Waiter) bool { return x == w })
	q.len--
	if len(l.waiters) > 0 {
		return
	}
	i := slices.Index(q.lines, l)
	q.lines = slices.Delete(q.lines, i, i+1)
	if i < q.next {
		q.next--
	}
	if q.next >= len(q.lines) {
		q.next = 0
	}
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
	if model != "" {
		if p, ok := m.models[model]; ok {
			grants = m.match(p, grants)
		}
		return grants
	}
	for _, p := range m.models {
		grants = m.match(p, grants)
	}
	return grants
}

// match goes round the lines, one waiter each turn, until nothing is free or
// nobody can use what is.
func (m *Market) match(p *pool, grants []Grant) []Grant {
	q := &p.queue
	if q.len == 0 {
		return grants
	}
	m.revive(p)
	for idle := 0; q.len > 0 && idle < len(q.lines) && (p.free > 0 || len(p.ejected) > 0); {
		l := q.lines[q.next]
		g, ok := m.serve(l)
		if !ok {
			idle++
			q.next = (q.next + 1) % len(q.lines)
			continue
		}
		idle = 0
		if q.remove(g.Waiter); len(l.waiters) > 0 { // an emptied line has left, the next is in its place
			q.next = (q.next + 1) % len(q.lines)
		}
		grants = append(grants, g)
	}
	return grants
}

// serve finds the first of a line for whom there is an offer.
func (m *Market) serve(l *line) (Grant, bool) {
	for _, w := range l.waiters {
		if o, d := m.pick(&w.Want); o != nil {
			return Grant{w, o, d}, true
		}
	}
	return Grant{}, false
}

// Place is how many are served before the request, counting itself, and how long that may
// take at the present pace. Zero when it no longer waits.
func (m *Market) Place(w *Waiter) (position int, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.line == nil {
		return 0, 0
	}
	q := &w.pool.queue
	own := slices.Index(w.line.waiters, w)
	for i := range q.lines {
		l := q.lines[(q.next+i)%len(q.lines)]
		if l == w.line {
			position += own + 1
			own-- // lines behind have one turn less before it
			continue
		}
		position += min(len(l.waiters), own+1)
	}
	slots := 0
	for _, o := range w.pool.offers.sorted {
		if o.Enabled {
			slots += o.Limit
		}
	}
	return position, w.pool.service * time.Duration(position) / time.Duration(max(slots, 1))
}
