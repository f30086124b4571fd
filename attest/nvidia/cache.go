package nvidia

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	fetchTimeout   = 20 * time.Second   // one answer from the source
	retryAfter     = time.Minute        // before a source that failed is asked again
	lifeOfManifest = 7 * 24 * time.Hour // before it is asked for again; NVIDIA signs anew now and then
	lifeOfKeys     = time.Hour
	maxLifeOfKeys  = 24 * time.Hour // while the source does not answer
)

// Cache keeps collateral on disk, in the files of [Dir], so that judging a
// peer seldom waits for another machine and a restart forgets nothing. An
// answer is asked for again in the last quarter of its life, in the
// background; what has ended is not served.
type Cache struct {
	src    Collateral
	dir    dir
	now    func() time.Time
	flight singleflight.Group

	mu     sync.Mutex         // guards what follows
	tried  map[string]attempt // that brought nothing yet
	closed bool
	work   sync.WaitGroup // fetches in the background
}

// attempt is a fetch; err is nil while it runs.
type attempt struct {
	at  time.Time
	err error
}

const maxAttempts = 1024 // to remember

// Cached keeps the answers of src in a directory that exists. now may be nil
// for time.Now. The caller must call Close.
func Cached(src Collateral, path string, now func() time.Time) *Cache {
	if now == nil {
		now = time.Now
	}
	return &Cache{src: src, dir: dir(path), now: now, tried: map[string]attempt{}}
}

// Close waits for fetches in the background, at most their time-out.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.work.Wait()
}

// Manifest implements [Collateral].
func (c *Cache) Manifest(ctx context.Context, name string) ([]byte, error) {
	return c.get(ctx, manifestFile(name), manifestLife, func(ctx context.Context) ([]byte, error) { return c.src.Manifest(ctx, name) })
}

// Status implements [Collateral].
func (c *Cache) Status(ctx context.Context, cert, issuer *x509.Certificate) ([]byte, error) {
	return c.get(ctx, statusFile(cert), statusLife, func(ctx context.Context) ([]byte, error) { return c.src.Status(ctx, cert, issuer) })
}

// Keys implements [Collateral].
func (c *Cache) Keys(ctx context.Context) ([]byte, error) {
	return c.get(ctx, keysFile, keysLife, c.src.Keys)
}

// life says until when an answer fetched at some time is fresh, and until when
// it can be used.
type life func(body []byte, fetched time.Time) (fresh, end time.Time)

func manifestLife(body []byte, fetched time.Time) (fresh, end time.Time) {
	m, err := ParseManifest(body)
	if err != nil {
		return fresh, end
	}
	end = endOf(m.certs)
	return earlier(fetched.Add(lifeOfManifest), end), end
}

func statusLife(body []byte, _ time.Time) (fresh, end time.Time) {
	from, to := lifeOfAnswer(body)
	return to.Add(-to.Sub(from) / 4), to
}

func keysLife(_ []byte, fetched time.Time) (fresh, end time.Time) {
	return fetched.Add(lifeOfKeys), fetched.Add(maxLifeOfKeys)
}

type fetcher func(context.Context) ([]byte, error)

func (c *Cache) get(ctx context.Context, file string, life life, fetch fetcher) ([]byte, error) {
	if body, err := c.dir.read(file); err == nil {
		fresh, end := life(body, c.fetched(file))
		switch now := c.now(); {
		case now.Before(fresh):
			return body, nil
		case now.Before(end):
			c.ahead(file, fetch)
			return body, nil
		}
	}
	if a := c.lastTry(file); a.err != nil && c.now().Before(a.at.Add(retryAfter)) {
		return nil, a.err
	}
	// The fetch outlives this caller: others may wait for the same answer.
	done := c.flight.DoChan(file, func() (any, error) { return c.fetch(context.WithoutCancel(ctx), file, fetch) })
	select {
	case r := <-done:
		body, _ := r.Val.([]byte)
		return body, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetched is when a file was written.
func (c *Cache) fetched(file string) time.Time {
	info, err := os.Stat(filepath.Join(string(c.dir), file))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// ahead fetches an answer in the background unless that is being done, or
// failed a moment ago.
func (c *Cache) ahead(file string, fetch fetcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.now().Before(c.tried[file].at.Add(retryAfter)) {
		return
	}
	c.tried[file] = attempt{at: c.now()}
	c.work.Go(func() {
		c.flight.Do(file, func() (any, error) { return c.fetch(context.Background(), file, fetch) })
	})
}

func (c *Cache) fetch(ctx context.Context, file string, fetch fetcher) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	body, err := fetch(ctx)
	if err == nil {
		err = errors.Join(c.dir.write(file, body), c.stamp(file))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.tried, file); err != nil {
		if len(c.tried) >= maxAttempts {
			clear(c.tried)
		}
		c.tried[file] = attempt{c.now(), err}
		return nil, err
	}
	return body, nil
}

func (c *Cache) lastTry(file string) attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tried[file]
}

// stamp dates a file by the cache's clock.
func (c *Cache) stamp(file string) error {
	return os.Chtimes(filepath.Join(string(c.dir), file), c.now(), c.now())
}
