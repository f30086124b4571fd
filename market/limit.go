package market

import (
	"container/list"
	"fmt"
	"sync"
	"time"
)

// Limits of one client. Zero is no limit.
type Limits struct {
	// Requests a minute, of which half a minute's may come at once (at least one).
	Requests float64
	// Concurrent requests that may run or wait.
	Concurrent int
	// Tokens a minute, adjusted as they are charged, of which a minute's may be used at once. A request is let in while any
	// are left, and what it then uses more is owed.
	Tokens float64
}

// LimitError says which limit a client has reached, and when it may come again.
type LimitError struct {
	What       string // "requests", "concurrent" or "tokens"
	Limit      float64
	RetryAfter time.Duration // 0: when one of its requests ends
}

func (e *LimitError) Error() string {
	switch e.What {
	case "concurrent":
		return fmt.Sprintf("market: %.0f requests of this client run already", e.Limit)
	case "requests":
		return fmt.Sprintf("market: more than %g requests a minute; again in %s", e.Limit, e.RetryAfter.Round(time.Millisecond))
	}
	return fmt.Sprintf("market: more than %g tokens a minute; again in %s", e.Limit, e.RetryAfter.Round(time.Millisecond))
}

// Limiter keeps clients within limits. Safe for concurrent use. A client that
// has not come for long enough to be within all of them is forgotten, so its memory is bounded by those who come.
type Limiter struct {
	now    func() time.Time
	limits Limits

	mu      sync.Mutex
	clients map[string]*list.Element
	order   list.List // of *account, who was looked at last is last
}

type account struct {
	name             string
	requests, tokens bucket
	running          int
}

// bucket fills with time; less than nothing is owed.
type bucket struct {
	left float64
	at   time.Time
}

// fill adds what has come since, up to the most.
func (b *bucket) fill(now time.Time, perMinute, most float64) {
	if b.at.IsZero() {
		b.left = most
	} else if since := now.Sub(b.at); since > 0 {
		b.left = min(b.left+since.Minutes()*perMinute, most)
	}
	b.at = now
}

// until is when so much will be there.
func (b *bucket) until(amount, perMinute float64) time.Duration {
	return time.Duration((amount - b.left) / perMinute * float64(time.Minute))
}

// NewLimiter returns one with the same limits for all. Nil now means time.Now.
func NewLimiter(l Limits, now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	return &Limiter{now: now, limits: l, clients: map[string]*list.Element{}}
}

// Begin lets a request in, or says with a [LimitError] why not. Every request let in must be ended by End.
func (l *Limiter) Begin(client string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, now := l.account(client), l.now()
	burst := max(l.limits.Requests/2, 1)
	a.requests.fill(now, l.limits.Requests, burst)
	a.tokens.fill(now, l.limits.Tokens, l.limits.Tokens)
	switch {
	case l.limits.Concurrent > 0 && a.running >= l.limits.Concurrent:
		return &LimitError{"concurrent", float64(l.limits.Concurrent), 0}
	case l.limits.Tokens > 0 && a.tokens.left <= 0:
		return &LimitError{"tokens", l.limits.Tokens, a.tokens.until(min(1, l.limits.Tokens), l.limits.Tokens)}
	case l.limits.Requests > 0 && a.requests.left < 1:
		return &LimitError{"requests", l.limits.Requests, a.requests.until(1, l.limits.Requests)}
	}
	a.requests.left--
	a.running++
	return nil
}

// End gives a request's place back and counts the tokens it was charged.
func (l *Limiter) End(client string, tokens int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.clients[client]
	if !ok {
		return
	}
	a := e.Value.(*account)
	a.running = max(a.running-1, 0)
	a.tokens.fill(l.now(), l.limits.Tokens, l.limits.Tokens)
	a.tokens.left -= float64(max(tokens, 0))
}

// account finds the client's, and looks at two others, whether they need be known any more.
func (l *Limiter) account(client string) *account {
	e, ok := l.clients[client]
	if !ok {
		e = l.order.PushBack(&account{name: client})
		l.clients[client] = e
	}
	l.order.MoveToBack(e)
	for range 2 {
		front := l.order.Front()
		if front == e {
			break
		}
		if a := front.Value.(*account); l.blank(a) {
			l.order.Remove(front)
			delete(l.clients, a.name)
			continue
		}
		l.order.MoveToBack(front)
	}
	return e.Value.(*account)
}

// blank says that the client is as one who has never come.
func (l *Limiter) blank(a *account) bool {
	if a.running > 0 {
		return false
	}
	now := l.now()
	a.requests.fill(now, l.limits.Requests, max(l.limits.Requests/2, 1))
	a.tokens.fill(now, l.limits.Tokens, l.limits.Tokens)
	return (l.limits.Requests <= 0 || a.requests.left >= max(l.limits.Requests/2, 1)) && a.tokens.left >= l.limits.Tokens
}
