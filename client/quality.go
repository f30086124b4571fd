package client

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Several proxies are one network to the caller: a request goes to the proxy
// that has been fast, reliable and cheap for its model lately. Near-ties are
// spread by load, and now and then another is asked, because what nobody asks nobody knows.

const (
	nearTie      = 1.1
	exploreShare = 1.0 / 32
	// jitter is added to each time to the first answer, so that milliseconds do not decide.
	jitter = 0.05 // seconds
	// usualFirst is how long a first answer takes of a proxy that has given none, in seconds.
	usualFirst = 0.3
	// lostHalves is how long it takes until failures count half.
	lostHalves = 30 * time.Second
)

// quality is how a proxy has done lately.
type quality struct {
	mu    sync.Mutex // guards the rest
	first float64    // smoothed seconds to the first answer, 0 unknown
	lost  float64    // smoothed share of requests that failed, as of at
	at    time.Time
}

func (q *quality) served(first time.Duration, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if seconds := max(first.Seconds(), 1e-6); q.first == 0 {
		q.first = seconds
	} else {
		q.first += (seconds - q.first) / 8
	}
	q.lost = q.fading(now) * 7 / 8
	q.at = now
}

func (q *quality) failed(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lost = q.fading(now)*7/8 + 1.0/8
	q.at = now
}

// fading is called with mu held.
func (q *quality) fading(now time.Time) float64 {
	return q.lost * math.Exp2(-float64(now.Sub(q.at))/float64(lostHalves))
}

func (q *quality) look(now time.Time) (first, lost float64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.first, q.fading(now)
}

// candidate is a link that could take a request.
type candidate struct {
	l           *link
	rate, first float64 // 0 unknown
	trip        float64 // round trip in seconds, 0 unknown
	lost        float64
	score       float64
}

// choose picks among the links that can take the request: those that have the
// model and know its wishes come first, then the best of them.
func choose(ready []*link, rq *request) *link {
	var list []candidate
	best := math.MaxInt
	for _, l := range ready {
		if !l.usable(rq) {
			continue
		}
		rank := l.table.rank(rq.options.Model)
		if rq.wishful() && !l.market {
			rank += 10
		}
		if rank > best {
			continue
		}
		if rank < best {
			best, list = rank, list[:0]
		}
		list = append(list, candidate{l: l})
	}
	if len(list) > 1 && rand.Float64() >= exploreShare {
		list = foremost(list, rq)
	}
	return leastBusy(list)
}

// foremost are the best and all that are nearly as good.
func foremost(list []candidate, rq *request) []candidate {
	now := rq.client.cfg.Now()
	rate, first, trip := math.Inf(1), math.Inf(1), math.Inf(1)
	for i := range list {
		c := &list[i]
		c.first, c.lost = c.l.quality.look(now)
		if b := c.l.table.book(rq.options.Model); b != nil {
			c.rate = float64(b.Now.Coefficient)
		}
		if c.trip = c.l.trip().Seconds(); c.trip > 0 {
			trip = min(trip, c.trip)
		}
		if c.rate > 0 {
			rate = min(rate, c.rate)
		}
		if c.first > 0 {
			first = min(first, c.first)
		}
	}
	price, speed := 1.0, 1.0
	switch rq.wishes.Sort {
	case sorts["price"]:
		speed = 0.05
	case sorts["latency"], sorts["throughput"]:
		price = 0.05
	}
	least := math.Inf(1)
	for i := range list {
		c := &list[i]
		c.score = price + speed // as good as the best, where nothing is known
		if c.rate > 0 {
			c.score += price * (c.rate/rate - 1)
		}
		if c.first > 0 {
			c.score += speed * ((c.first+jitter)/(first+jitter) - 1)
		} else if c.trip > 0 { // no answer yet, so that its distance is all that is known
			c.score += speed * (c.trip - trip) / (usualFirst + jitter)
		}
		kept := max(1-c.lost, 0.05)
		c.score /= kept * kept
		least = min(least, c.score)
	}
	kept := list[:0]
	for _, c := range list {
		if c.score <= least*nearTie {
			kept = append(kept, c)
		}
	}
	return kept
}

func leastBusy(list []candidate) *link {
	var best *link
	var busy int64
	ties := 0
	for _, c := range list {
		switch n := c.l.outstanding.Load(); {
		case best == nil || n < busy:
			best, busy, ties = c.l, n, 1
		case n == busy:
			if ties++; rand.IntN(ties) == 0 {
				best = c.l
			}
		}
	}
	return best
}

// learn notes how an attempt on the link went. What is the request's own
// fault, or a matter of its price or model, says nothing about the proxy.
func (l *link) learn(began time.Time, a *answer, err error) {
	now, status := l.c.cfg.Now(), 0
	if f, ok := err.(*failure); ok {
		status = f.as.StatusCode()
	} else if a != nil {
		status = a.status()
	}
	switch {
	case a != nil && !a.refusedHere():
		l.quality.served(now.Sub(began), now)
	case status == 429 || status == 502 || status == 503 || status == 504:
		l.quality.failed(now)
	}
}
