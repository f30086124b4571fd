package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Result is what a [Load] found.
type Result struct {
	Requests          int64            `json:"requests"`
	Errors            map[string]int64 `json:"errors,omitempty"`
	Seconds           float64          `json:"seconds"`
	RequestsPerSecond float64          `json:"requests_per_second"`
	// Latency is from sending a request to the last byte of its answer; in an
	// open loop it begins when the request was due, had it to wait.
	Latency Latency `json:"latency"`
	// FirstChunk is from sending to the first byte of the body.
	FirstChunk *Latency `json:"first_chunk,omitempty"`
	// Relay is from an [Engine] emitting a chunk to its arrival here.
	Relay *Latency `json:"relay,omitempty"`
	// Lowest is how many chunks the poorest stream got: a starved stream shows.
	Lowest int64 `json:"fewest_chunks,omitempty"`
}

// ErrNothing means that not one request succeeded; look at [Result.Errors].
var ErrNothing = errors.New("bench: no request succeeded")

var errNoDone = errors.New("stream ended without [DONE]")

// run is a load in progress.
type run struct {
	Load
	target *target
	ticket atomic.Int64 // numbers requests from 0
	begin  time.Time    // of the warm-up
	start  time.Time    // of the counting
	end    time.Time    // no request begins after it

	latency, first, relay Histogram
	last                  atomic.Int64 // completion of the last counted request, ns after start
	fewest                atomic.Int64

	mu     sync.Mutex // guards errors
	errors map[string]int64
}

// Run makes the measurement. It returns ctx's error if that ends first, and
// [ErrNothing] with a result when all requests failed.
func (l Load) Run(ctx context.Context) (*Result, error) {
	l = l.withDefaults()
	t, err := l.target()
	if err != nil {
		return nil, err
	}
	r := &run{Load: l, target: t, begin: time.Now(), errors: map[string]int64{}}
	r.start = r.begin.Add(l.WarmUp)
	r.end = r.start.Add(l.Duration)
	r.fewest.Store(1 << 62)
	var wg sync.WaitGroup
	if l.Window != nil {
		wg.Go(func() {
			sleep(ctx, l.WarmUp)
			l.Window()
		})
		defer l.Window()
	}
	for range l.Connections {
		wg.Go(func() { r.work(ctx) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.result()
}

// work is one connection's life: requests until the end, a new connection
// after each failure.
func (r *run) work(ctx context.Context) {
	var c *conn
	body := bodyWatch{relay: &r.relay, from: r.start}
	for {
		due, queued, ok := r.next(ctx)
		if !ok {
			break
		}
		if c == nil {
			var err error
			if c, err = r.target.dial(ctx); err != nil {
				r.fail(ctx, due, 0, err)
				sleep(ctx, 50*time.Millisecond) // a refused dial is cheap: do not spin
				continue
			}
		}
		sent := time.Now()
		if !queued {
			due = sent
		}
		if !r.one(ctx, c, &body, due, sent) {
			c.Close()
			c = nil
		}
	}
	if c != nil {
		c.Close()
	}
}

// next takes a ticket and waits until its request is due. queued is true if
// that moment had passed: then the wait for a free connection is part of the
// request's latency, otherwise a late wake-up of ours is not.
func (r *run) next(ctx context.Context) (due time.Time, queued, ok bool) {
	n := r.ticket.Add(1) - 1
	now := time.Now()
	due = now
	if r.Rate > 0 {
		due = r.begin.Add(time.Duration(float64(n) / r.Rate * float64(time.Second)))
		if queued = due.Before(now); !queued {
			sleep(ctx, due.Sub(now))
		}
	}
	over := due.After(r.end) || r.Requests > 0 && n >= r.Requests
	return due, queued, !over && ctx.Err() == nil
}

// one makes one request and counts it; false means that the connection is
// used up.
func (r *run) one(ctx context.Context, c *conn, body *bodyWatch, due, sent time.Time) bool {
	counted := !sent.Before(r.start)
	body.reset(r.Stream)
	deadline := sent.Add(r.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	status, keep, err := c.do(r.target.request, deadline, body.piece)
	if err == nil && status == 200 && r.Stream && !body.done() {
		err = errNoDone
	}
	if err != nil || status != 200 {
		r.fail(ctx, due, status, err)
		return keep && err == nil
	}
	if counted {
		now := time.Now()
		r.latency.Record(now.Sub(due))
		storeMax(&r.last, int64(now.Sub(r.start)))
		if r.Stream {
			r.first.Record(body.first.Sub(sent))
			storeMin(&r.fewest, body.stamps)
		}
	}
	return keep
}

// fail counts an error, unless the whole measurement was given up.
func (r *run) fail(ctx context.Context, due time.Time, status int, err error) {
	if ctx.Err() != nil || due.Before(r.start) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors[errorKind(status, err)]++
}

func (r *run) result() (*Result, error) {
	res := &Result{Requests: r.latency.count.Load(), Latency: r.latency.Latency()}
	res.Seconds = time.Duration(r.last.Load()).Seconds()
	if res.Seconds > 0 {
		res.RequestsPerSecond = float64(res.Requests) / res.Seconds
	}
	if len(r.errors) > 0 {
		res.Errors = r.errors
	}
	if r.Stream {
		first := r.first.Latency()
		res.FirstChunk = &first
	}
	if r.relay.count.Load() > 0 {
		relay := r.relay.Latency()
		res.Relay = &relay
	}
	if res.Requests == 0 {
		return res, ErrNothing
	}
	if res.Relay != nil {
		res.Lowest = r.fewest.Load()
	}
	return res, nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func storeMax(a *atomic.Int64, v int64) {
	for old := a.Load(); v > old && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}

func storeMin(a *atomic.Int64, v int64) {
	for old := a.Load(); v < old && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}
