package collateral

import (
	"context"
	"maps"
	"sync"
	"time"
)

const (
	fetchTimeout = 20 * time.Second // one answer from the source
	retryAfter   = time.Minute      // before a source that failed is asked again
)

// Life is how long an answer serves, by its own word.
type Life struct {
	Ask time.Time // from when on a newer one is asked for, while this one serves
	End time.Time // from when on it is of no use
}

// Options are those of a cache for answers of type T. Life is required.
type Options[T any] struct {
	// Life reads out of an answer, fetched at some time, how long it serves. An
	// error counts as one of the source. An answer that has ended is passed on
	// once, for the verifier to name what is wrong with it, and not kept.
	Life func(name string, answer T, fetched time.Time) (Life, error)
	// Disk keeps answers over restarts. Nil keeps them in memory alone.
	Disk Disk[T]
	// Retry is how long a source that failed in this way is left in peace, beyond
	// the minute that it is in any case. Nil adds nothing.
	Retry func(error) time.Duration
	// Size is how many answers are kept in memory; 0 means 256.
	Size int
	// Chosen tells names that peers choose: they alone make room. Nil means all.
	Chosen func(name string) bool
	// Now dates answers. Nil means time.Now.
	Now func() time.Time
}

// Cache keeps answers. Its methods may be called from several goroutines.
type Cache[T any] struct {
	o Options[T]

	mu     sync.Mutex // guards what follows
	kept   map[string]*kept[T]
	flying map[string]*flight[T]
	closed bool
	work   sync.WaitGroup // fetches
}

// kept is an answer, or why there is none. It is not changed once it is in the
// table.
type kept[T any] struct {
	answer T
	err    error
	Life
}

// flight is a fetch that runs; got is set when done is closed.
type flight[T any] struct {
	done chan struct{}
	got  *kept[T]
}

// Fetch asks the source for an answer.
type Fetch[T any] func(context.Context) (T, error)

// New returns an empty cache.
func New[T any](o Options[T]) *Cache[T] {
	if o.Retry == nil {
		o.Retry = func(error) time.Duration { return 0 }
	}
	if o.Size == 0 {
		o.Size = 256
	}
	if o.Chosen == nil {
		o.Chosen = func(string) bool { return true }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Cache[T]{o: o, kept: map[string]*kept[T]{}, flying: map[string]*flight[T]{}}
}

// Get returns the answer of a name, asking the source if it must. However many
// want the same answer, the source is asked once, and goes on being asked when
// this caller leaves.
func (c *Cache[T]) Get(ctx context.Context, name string, fetch Fetch[T]) (T, error) {
	k, f := c.find(ctx, name, fetch)
	if k == nil {
		select {
		case <-f.done:
			k = f.got
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
	return k.answer, k.err
}

// find returns what serves, or else the fetch to wait for.
func (c *Cache[T]) find(ctx context.Context, name string, fetch Fetch[T]) (*kept[T], *flight[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, now := c.lookup(name), c.o.Now()
	serves := k != nil && now.Before(k.End)
	if serves && (now.Before(k.Ask) || c.closed) {
		return k, nil
	}
	f := c.flying[name]
	if f == nil {
		f = &flight[T]{done: make(chan struct{})}
		c.flying[name] = f
		c.work.Go(func() { c.fly(context.WithoutCancel(ctx), f, name, fetch) })
	}
	if serves { // ahead of time: nobody waits
		return k, nil
	}
	return nil, f
}

func (c *Cache[T]) fly(ctx context.Context, f *flight[T], name string, fetch Fetch[T]) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	answer, err := fetch(ctx)
	var life Life
	now := c.o.Now()
	if err == nil {
		life, err = c.o.Life(name, answer, now)
	}
	f.got = c.keep(name, answer, err, life, now)
	close(f.done)
}

// keep takes what the source said. When it fails, what is there stays.
func (c *Cache[T]) keep(name string, answer T, err error, life Life, now time.Time) *kept[T] {
	k := &kept[T]{answer, err, life}
	good := err == nil && now.Before(life.End)
	if good && c.o.Disk != nil {
		_ = c.o.Disk.Write(name, answer, now) // a disk that fails costs a fetch at the next start, and nothing now
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flying, name)
	if good {
		c.store(name, k)
		return k
	}
	later := now.Add(max(retryAfter, c.o.Retry(err)))
	if old := c.kept[name]; old != nil && old.err == nil && now.Before(old.End) {
		old = &kept[T]{answer: old.answer, Life: Life{later, old.End}}
		c.store(name, old)
		return old
	}
	if k.err != nil {
		k.Life = Life{later, later}
		c.store(name, k)
	}
	return k
}

// Forget drops an answer that a verifier found not to be authentic, and leaves
// the source in peace for a while.
func (c *Cache[T]) Forget(name string, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	later := c.o.Now().Add(retryAfter)
	c.store(name, &kept[T]{err: why, Life: Life{later, later}})
	if c.o.Disk != nil {
		c.o.Disk.Remove(name)
	}
}

// Close waits for fetches that run, at most their time-out. After it nothing is
// asked for ahead of time.
func (c *Cache[T]) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.work.Wait()
}

// lookup finds what is kept in memory or, after a restart, on disk.
func (c *Cache[T]) lookup(name string) *kept[T] {
	if k := c.kept[name]; k != nil || c.o.Disk == nil {
		return k
	}
	answer, fetched, err := c.o.Disk.Read(name)
	if err != nil {
		return nil
	}
	life, err := c.o.Life(name, answer, fetched)
	if err != nil {
		return nil
	}
	k := &kept[T]{answer: answer, Life: life}
	c.store(name, k)
	return k
}

func (c *Cache[T]) store(name string, k *kept[T]) {
	if len(c.kept) >= c.o.Size {
		maps.DeleteFunc(c.kept, func(other string, _ *kept[T]) bool { return other != name && c.o.Chosen(other) })
	}
	c.kept[name] = k
}
