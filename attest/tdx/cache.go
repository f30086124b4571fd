package tdx

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	cacheSize    = 256              // answers; one per processor model, and three more
	fetchTimeout = 20 * time.Second // one answer from the source
	retryAfter   = time.Minute      // before a source that failed is asked again
)

// Cached keeps the answers of src for life, so that judging a peer seldom
// waits for another machine. When src fails, an older answer is served: what
// is in it says by itself when it expires. now may be nil for time.Now.
func Cached(src Collateral, life time.Duration, now func() time.Time) Collateral {
	if now == nil {
		now = time.Now
	}
	return &cache{src: src, life: life, now: now, answers: map[string]*cached{}}
}

type cache struct {
	src    Collateral
	life   time.Duration
	now    func() time.Time
	flight singleflight.Group

	mu      sync.Mutex // guards answers
	answers map[string]*cached
}

type cached struct {
	header map[string][]string
	body   []byte
	err    error
	fresh  time.Time // until when the source need not be asked
}

func (c *cache) Get(ctx context.Context, address string) (map[string][]string, []byte, error) {
	if a := c.lookup(address); a != nil && c.now().Before(a.fresh) {
		return a.header, a.body, a.err
	}
	// The fetch outlives this caller: others may wait for the same answer.
	done := c.flight.DoChan(address, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return c.fetch(ctx, address), nil
	})
	select {
	case r := <-done:
		a := r.Val.(*cached)
		return a.header, a.body, a.err
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (c *cache) fetch(ctx context.Context, address string) *cached {
	header, body, err := c.src.Get(ctx, address)
	a := &cached{header, body, err, c.now().Add(c.life)}
	if err != nil {
		a.fresh = c.now().Add(min(retryAfter, c.life))
		if old := c.lookup(address); old != nil && old.err == nil {
			a.header, a.body, a.err = old.header, old.body, nil
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) >= cacheSize {
		clear(c.answers)
	}
	c.answers[address] = a
	return a
}

func (c *cache) lookup(address string) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers[address]
}
