package snp

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	cacheSize    = 4096             // answers in memory; one for each chip, and six lists
	fetchTimeout = 20 * time.Second // one answer from the source
	minRetry     = time.Minute      // before a source that failed is asked again
	maxRetry     = time.Hour        // whatever it says
	refreshAfter = 24 * time.Hour   // what can still change is fetched anew, long before it ends
)

var errRefused = errors.New("snp: the source's last answer was refused")

// Cached keeps the answers of src in memory and, unless path is empty, in the
// files of a directory that exists, as [Dir] reads them. An answer serves
// until it ends by its own word: a revocation list until its next update, a
// certificate until it expires. Lists and chains of more than a day are fetched
// anew in the background while the old ones serve. A source that fails is left
// in peace for a minute, or as long as it says. now may be nil for time.Now.
func Cached(src Collateral, path string, now func() time.Time) Collateral {
	if now == nil {
		now = time.Now
	}
	return &cache{src: src, path: path, now: now, answers: map[string]*cached{}}
}

type cache struct {
	src    Collateral
	path   string
	now    func() time.Time
	flight singleflight.Group

	mu      sync.Mutex // guards answers
	answers map[string]*cached
}

// cached is an answer, or why there is none. It is not changed once it is in
// the table.
type cached struct {
	body []byte
	err  error
	ends time.Time // by the answer's own word; of a failure: when the source may be asked
	next time.Time // when to ask for a newer one
}

func (c *cache) Get(ctx context.Context, path string) ([]byte, error) {
	a, now := c.lookup(path), c.now()
	if a != nil && now.Before(a.ends) {
		if now.After(a.next) {
			c.refresh(ctx, path)
		}
		return a.body, a.err
	}
	select {
	case r := <-c.refresh(ctx, path):
		a := r.Val.(*cached)
		return a.body, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refresh asks the source once, however many wait. The fetch outlives the
// caller.
func (c *cache) refresh(ctx context.Context, path string) <-chan singleflight.Result {
	return c.flight.DoChan(path, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return c.fetch(ctx, path), nil
	})
}

func (c *cache) fetch(ctx context.Context, path string) *cached {
	body, err := c.src.Get(ctx, path)
	a, now := &cached{body: body, err: err}, c.now()
	if err == nil {
		a.ends, a.err = expiry(path, body)
	}
	if a.err == nil && !now.Before(a.ends) {
		a.err = errors.New("snp: the source's answer has ended")
	}
	if a.err != nil {
		return c.failed(path, a.err)
	}
	a.next = a.ends // a chip's certificate never changes
	if it, err := locate(path); err == nil && !it.chip {
		a.next = now.Add(min(refreshAfter, a.ends.Sub(now)/2))
	}
	c.store(path, a)
	c.save(path, body)
	return a
}

// failed keeps an older answer that is still good, and asks again later.
func (c *cache) failed(path string, err error) *cached {
	retry := minRetry
	var status *StatusError
	if errors.As(err, &status) {
		retry = max(retry, status.Retry)
	}
	later := c.now().Add(retry)
	a := &cached{err: err, ends: later, next: later}
	if old := c.lookup(path); old != nil && old.err == nil && c.now().Before(old.ends) {
		a = &cached{body: old.body, ends: old.ends, next: later}
	}
	c.store(path, a)
	return a
}

// Forget drops an answer that the verifier found not to be authentic.
func (c *cache) Forget(path string) {
	later := c.now().Add(minRetry)
	c.store(path, &cached{err: errRefused, ends: later, next: later})
	if name := c.file(path); name != "" {
		os.Remove(name)
	}
}

// forget tells a source that remembers.
func forget(src Collateral, path string) {
	if f, ok := src.(interface{ Forget(string) }); ok {
		f.Forget(path)
	}
}

// lookup finds an answer in memory or else on disk.
func (c *cache) lookup(path string) *cached {
	c.mu.Lock()
	a := c.answers[path]
	c.mu.Unlock()
	if a != nil {
		return a
	}
	name := c.file(path)
	if name == "" {
		return nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil
	}
	body, err := readFile(name)
	if err != nil {
		return nil
	}
	ends, err := expiry(path, body)
	if err != nil || !c.now().Before(ends) {
		return nil
	}
	a = &cached{body: body, ends: ends, next: info.ModTime().Add(refreshAfter)}
	if it, err := locate(path); err == nil && it.chip {
		a.next = ends
	}
	c.store(path, a)
	return a
}

func (c *cache) store(path string, a *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) >= cacheSize { // peers choose the chips, so chips alone make room
		maps.DeleteFunc(c.answers, func(path string, _ *cached) bool {
			it, err := locate(path)
			return err == nil && it.chip
		})
	}
	c.answers[path] = a
}

// file is where an answer lies on disk; empty: nowhere.
func (c *cache) file(path string) string {
	it, err := locate(path)
	if err != nil || c.path == "" {
		return ""
	}
	return filepath.Join(c.path, it.file)
}

// save writes an answer for the next start. A disk that fails costs a fetch
// then, and nothing now.
func (c *cache) save(path string, body []byte) {
	name := c.file(path)
	if name == "" {
		return
	}
	f, err := os.CreateTemp(c.path, ".collateral-*")
	if err != nil {
		return
	}
	_, err = f.Write(body)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Chtimes(f.Name(), c.now(), c.now()) // says how old it is, by our clock
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
}
