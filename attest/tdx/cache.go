package tdx

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// CacheOptions say how collateral is kept.
type CacheOptions struct {
	// Source is who is asked. Required.
	Source Collateral
	// Dir keeps statements over restarts, in the files of [Dir].
	// Empty keeps them in memory alone.
	Dir string
	// Refresh is the age at which a statement is asked for again, though it has
	// not expired. Zero means a day. It is asked for earlier once half of the
	// time to its expiry has passed.
	Refresh time.Duration
	// Now dates statements. Nil means time.Now.
	Now func() time.Time
	// Log gets a line for each refresh that failed. Nil discards.
	Log *slog.Logger
}

const (
	cacheSize    = 256              // statements; one per processor model, and four more
	fetchTimeout = 20 * time.Second // one statement from the source
	retryAfter   = time.Minute      // before a source that failed is asked again
)

// NewCache keeps the statements of a source until they expire, so that judging
// a peer seldom waits for another machine: one that grows old is served while
// it is asked for again. What is kept is not trusted for that; the verifier
// checks it each time, and what is in it says by itself when it expires.
func NewCache(o CacheOptions) Collateral {
	if o.Refresh == 0 {
		o.Refresh = 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &cache{CacheOptions: o, kept: map[Part]*kept{}}
}

type cache struct {
	CacheOptions
	flight singleflight.Group

	mu   sync.Mutex // guards kept
	kept map[Part]*kept
}

// kept is a statement, or why there is none.
type kept struct {
	Statement
	err     error
	ask     time.Time // from when on the source is asked again
	expires time.Time // from when on it is of no use
}

func (c *cache) Get(ctx context.Context, part Part) (Statement, error) {
	k, now := c.lookup(part), c.Now()
	switch {
	case k == nil:
	case k.err != nil && now.Before(k.ask):
		return k.Statement, k.err
	case k.err == nil && now.Before(k.expires):
		if !now.Before(k.ask) {
			c.fetch(ctx, part) // ahead of time: nobody waits
		}
		return k.Statement, nil
	}
	select {
	case r := <-c.fetch(ctx, part):
		k = r.Val.(*kept)
		return k.Statement, k.err
	case <-ctx.Done():
		return Statement{}, ctx.Err()
	}
}

// fetch asks the source. It outlives this caller: others may wait for the same
// statement.
func (c *cache) fetch(ctx context.Context, part Part) <-chan singleflight.Result {
	ctx = context.WithoutCancel(ctx)
	return c.flight.DoChan(part.File(), func() (any, error) {
		if k := c.lookup(part); k != nil && c.Now().Before(k.ask) {
			return k, nil // another has just been and gone
		}
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		s, err := c.Source.Get(ctx, part)
		return c.keep(part, s, err), nil
	})
}

// keep takes what the source said. What does not say when it expires is no
// statement: it is passed on, for the verifier to name what is wrong with it,
// and forgotten. When the source fails, what is there stays.
func (c *cache) keep(part Part, s Statement, err error) *kept {
	now := c.Now()
	k := &kept{Statement: s, err: err, expires: nextUpdate(s.Body)}
	good := err == nil && now.Before(k.expires)
	if good {
		k.ask = now.Add(min(c.Refresh, k.expires.Sub(now)/2))
		if c.Dir != "" {
			if err := dir(c.Dir).put(part, s); err != nil {
				c.Log.Warn("collateral not kept", "part", part, "err", err)
			}
		}
	} else {
		k.ask = now.Add(retryAfter)
		if err == nil {
			err = errors.New("expired, or does not say when it expires")
		}
		c.Log.Warn("collateral not refreshed", "part", part, "err", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.kept[part]; !good && old != nil && old.err == nil && now.Before(old.expires) {
		old = &kept{Statement: old.Statement, ask: k.ask, expires: old.expires}
		c.kept[part] = old
		return old
	}
	if len(c.kept) >= cacheSize {
		clear(c.kept)
	}
	if good || k.err != nil {
		c.kept[part] = k
	}
	return k
}

// lookup finds a statement in memory or, after a restart, on disk. Its age is
// not known then: it is asked for again soon.
func (c *cache) lookup(part Part) *kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.kept[part]; k != nil || c.Dir == "" {
		return k
	}
	s, err := Dir(c.Dir).Get(context.Background(), part)
	if err != nil {
		return nil
	}
	k := &kept{Statement: s, expires: nextUpdate(s.Body)}
	k.ask = c.Now()
	c.kept[part] = k
	return k
}
