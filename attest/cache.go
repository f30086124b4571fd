package attest

import (
	"crypto/sha256"
	"sync"
	"time"
)

// Cache remembers findings about authentic evidence, so that a peer that
// connects again costs a hash instead of a chain of signatures. Failures are
// not remembered. It never answers for longer than the finding is good:
// neither beyond the cache's life nor beyond the collateral's expiry. Keys,
// platforms, registers and images are judged anew each time.
//
// A Cache may be shared by policies: what one verifier found does not count
// for another. A nil *Cache remembers nothing.
type Cache struct {
	size int

	mu    sync.Mutex // guards found
	found map[cacheKey]remembered
}

type cacheKey struct {
	evidence [32]byte
	by       Verifier
}

type remembered struct {
	*Finding
	at, until time.Time
}

// NewCache remembers up to size findings, about 5 kB each.
func NewCache(size int) *Cache {
	return &Cache{size: max(size, 1), found: make(map[cacheKey]remembered)}
}

func keyOf(e Evidence, by Verifier) cacheKey { return cacheKey{sha256.Sum256(e.Raw), by} }

func (c *Cache) get(id cacheKey, now time.Time) (remembered, bool) {
	if c == nil {
		return remembered{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.found[id]
	if ok && (now.Before(r.at) || !now.Before(r.until)) {
		delete(c.found, id)
		return remembered{}, false
	}
	return r, ok
}

func (c *Cache) put(id cacheKey, r remembered) {
	if _, failed := r.Checks.Failed(); c == nil || failed || r.Passing {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.found) >= c.size {
		c.evict(r.at)
	}
	c.found[id] = r
}

// evict drops what has expired, or one entry if nothing has. Which one does
// not matter: a peer that loses it pays one verification.
func (c *Cache) evict(now time.Time) {
	for id, r := range c.found {
		if !now.Before(r.until) {
			delete(c.found, id)
		}
	}
	for id := range c.found {
		if len(c.found) < c.size {
			return
		}
		delete(c.found, id)
	}
}
