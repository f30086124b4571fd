package attest

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"sync"
	"time"
)

// Cache remembers quotes that were found authentic, so that a peer that
// connects again costs a hash instead of a chain of signatures. Failures are
// not remembered. It never answers for longer than the finding is good:
// neither beyond the cache's life nor beyond the collateral's expiry. Keys,
// debug attributes and images are judged anew each time.
//
// A Cache may be shared by policies; what it knows under one set of roots, or
// without asking for collateral, does not count under another or for one that
// asks. A nil *Cache remembers nothing.
type Cache struct {
	size int

	mu    sync.Mutex // guards found
	found map[cacheKey]*Verdict
}

type cacheKey struct {
	quote           [32]byte
	roots, test     *x509.CertPool
	asks, asksTest  bool // for collateral
	allowUnknownTCB bool
}

// NewCache remembers up to size quotes, about 2 kB each.
func NewCache(size int) *Cache {
	return &Cache{size: max(size, 1), found: make(map[cacheKey]*Verdict)}
}

func (p *Policy) cacheKey(quote []byte) cacheKey {
	return cacheKey{sha256.Sum256(quote), p.Roots, p.TestRoots, p.Collateral != nil, p.TestCollateral != nil, p.AllowUnknownTCB}
}

func (c *Cache) get(id cacheKey, now time.Time) *Verdict {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.found[id]
	if !ok || now.Before(v.At) || !now.Before(v.Expires) {
		delete(c.found, id)
		return nil
	}
	hit := *v
	hit.Checks = slices.Clone(v.Checks) // the caller appends his own
	return &hit
}

func (c *Cache) put(id cacheKey, v *Verdict) {
	if c == nil {
		return
	}
	kept := *v
	kept.Checks = slices.Clone(v.Checks)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.found) >= c.size {
		c.evict(v.At)
	}
	c.found[id] = &kept
}

// evict drops what has expired, or one entry if nothing has. Which one does
// not matter: a peer that loses it pays one verification.
func (c *Cache) evict(now time.Time) {
	for id, v := range c.found {
		if !now.Before(v.Expires) {
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
