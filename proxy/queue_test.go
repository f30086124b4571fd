package proxy

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// All busy: the request waits and gets the place that becomes free.
func TestQueued(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4, limit: 1}), r.client(4, allFeatures)
		c.send(question(1))
		first := w.given().RequestID
		c.send(question(2))
		if pos := want[*tl.CocoonQueuePosition](c); pos.RequestID != requestID(2) || pos.Position != 1 {
			t.Errorf("%+v", pos)
		}
		c.send(question(3))
		if pos := want[*tl.CocoonQueuePosition](c); pos.RequestID != requestID(3) || pos.Position != 2 {
			t.Errorf("%+v", pos)
		}
		time.Sleep(4 * time.Second)
		w.head(first)
		w.end(first, 1)
		c.answer(requestID(1), true)
		second := w.next() // the payment for the first, or the second request
		if _, ok := second.(*tl.ProxyWorkerRequestPayment); ok {
			second = w.next()
		}
		given := second.(*tl.ProxyRunQueryEx)
		if math.Abs(given.Timeout-56*workerShare) > 1e-6 {
			t.Errorf("the worker got %v s, want what is left after waiting", given.Timeout)
		}
		if pos := want[*tl.CocoonQueuePosition](c); pos.RequestID != requestID(3) || pos.Position != 1 {
			t.Errorf("the third is not told that it has moved up: %+v", pos)
		}
		w.head(given.RequestID)
		w.end(given.RequestID, 1)
		c.answer(requestID(2), true)
	})
}

// The patience ends: capacity exists and is busy is 429, no capacity is 503. Both say when to retry.
func TestQueueTimeouts(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4, limit: 1}), r.client(4, nil)
		c.send(question(1))
		w.given()
		start := time.Now()
		c.send(question(2))
		a := c.answer(requestID(2), false)
		a.refusedWith(t, 429, "651", "rate_limit_exceeded")
		if a.header("Retry-After") == "" || time.Since(start) != 10*time.Second {
			t.Errorf("after %s: %v", time.Since(start), a.head.Headers)
		}
	})
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		w.conn.Close(nil)
		synctest.Wait()
		start := time.Now()
		c.send(question(1))
		a := c.answer(requestID(1), false)
		a.refusedWith(t, 503, "651", "no_worker")
		if a.header("Retry-After") == "" || time.Since(start) != 10*time.Second {
			t.Errorf("after %s: %v", time.Since(start), a.head.Headers)
		}
	})
	inBubble(t, nil, func(r *rig) { // the request's own time is shorter
		w, c := r.worker(workerOptions{version: 4, limit: 1}), r.client(4, nil)
		c.send(question(1))
		w.given()
		q := question(2)
		q.Timeout = 3
		start := time.Now()
		c.send(q)
		c.answer(requestID(2), false).refusedWith(t, 504, "652", "timeout")
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("after %s", d)
		}
	})
}

// Everything that makes a place: a worker comes, is enabled, becomes cheaper, another request fails.
func TestQueueIsServed(t *testing.T) {
	for name, free := range map[string]func(r *rig, w *peer, running tl.Int256) *peer{
		"a worker comes": func(r *rig, w *peer, _ tl.Int256) *peer { return r.worker(workerOptions{version: 4}) },
		"a worker is enabled": func(r *rig, w *peer, _ tl.Int256) *peer {
			x := r.worker(workerOptions{version: 4, disabled: true})
			x.quiet()
			x.send(&tl.WorkerEnabledDisabled{Disabled: 0})
			return x
		},
		"a worker becomes cheaper": func(r *rig, w *peer, _ tl.Int256) *peer {
			x := r.worker(workerOptions{version: 4, coefficient: 9000})
			x.quiet()
			x.send(&tl.WorkerNewCoefficient{NewCoefficient: 4000})
			return x
		},
		"a request is refused": func(r *rig, w *peer, running tl.Int256) *peer {
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: running, ErrorCode: 621, Error: "no", Flags: 1})
			want[*tl.ProxyWorkerRequestPayment](w)
			return w
		},
		"a request is cancelled": func(r *rig, w *peer, running tl.Int256) *peer {
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: running, ErrorCode: 653, Error: "cancelled", Flags: 1})
			want[*tl.ProxyWorkerRequestPayment](w)
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(r *rig) {
				w, c := r.worker(workerOptions{version: 4, limit: 1}), r.client(4, nil)
				if name == "a request is cancelled" {
					c.send(question(1))
					running := w.given().RequestID
					c.send(&tl.CocoonCancelQuery{RequestID: requestID(1)}) // marks it as not to be retried
					c.send(question(2))
					synctest.Wait()
					free(r, w, running).given()
					return
				}
				c.send(question(1))
				running := w.given().RequestID
				c.send(question(2))
				synctest.Wait()
				free(r, w, running).given()
			})
		})
	}
}

// Leaving the queue: by cancel, by the client's end, by the proxy's end.
func TestLeavingTheQueue(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c, gone := r.worker(workerOptions{version: 4, limit: 1}), r.client(4, allFeatures), r.client(4, nil)
		c.send(question(1))
		running := w.given().RequestID
		gone.send(question(2))
		c.send(question(3))
		synctest.Wait()
		want[*tl.CocoonQueuePosition](c)
		c.send(&tl.CocoonCancelQuery{RequestID: requestID(3)})
		c.answer(requestID(3), false).refusedWith(t, 499, "653", "cancelled")
		gone.conn.Close(nil)
		synctest.Wait()
		w.head(running)
		w.end(running, 1)
		c.answer(requestID(1), true)
		want[*tl.ProxyWorkerRequestPayment](w)
		w.quiet()
	})
}

// A full queue refuses at once, and a client that fills it does not lock out another.
func TestFullQueue(t *testing.T) {
	inBubble(t, func(c *Config) { c.QueueLimit = 3 }, func(r *rig) {
		w, greedy, modest := r.worker(workerOptions{version: 4, limit: 1}), r.client(4, nil), r.client(4, nil)
		greedy.send(question(1))
		w.given()
		for i := 2; i <= 4; i++ {
			greedy.send(question(i))
		}
		synctest.Wait()
		greedy.send(question(5))
		a := greedy.answer(requestID(5), false)
		a.refusedWith(t, 429, "651", "rate_limit_exceeded")
		if !strings.Contains(a.body, "queue is full") {
			t.Errorf("body %s", a.body)
		}
		modest.send(question(6))
		greedy.answer(requestID(4), false).refusedWith(t, 429, "651", "rate_limit_exceeded")
		modest.answer(requestID(6), false) // it waited its whole patience
	})
}

func TestLimitsOfHeldMemoryAndRequests(t *testing.T) {
	inBubble(t, func(c *Config) { c.MaxHeld = int64(len(question(1).Query) * 3 / 2) }, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(question(1))
		w.given()
		c.send(question(2))
		c.answer(requestID(2), false).refusedWith(t, 429, "651", "rate_limit_exceeded")
	})
	inBubble(t, func(c *Config) { c.MaxPerClient = 2 }, func(r *rig) {
		w, c, other := r.worker(workerOptions{version: 4}), r.client(4, nil), r.client(4, nil)
		c.send(question(1))
		c.send(question(2))
		w.given()
		w.given()
		c.send(question(3))
		c.answer(requestID(3), false).refusedWith(t, 429, "651", "rate_limit_exceeded")
		other.send(question(4))
		w.given()
	})
}

// Workers that fail rest, come back one request at a time, and their waiters are not forgotten.
func TestRestingWorkerServesTheQueue(t *testing.T) {
	inBubble(t, func(c *Config) { c.QueueWait = time.Minute }, func(r *rig) {
		bad, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		r.worker(workerOptions{version: 4, disabled: true})
		for i := range 3 {
			c.send(question(i))
			bad.send(&tl.ProxyQueryAnswerErrorEx{RequestID: bad.given().RequestID, Error: "broken", Flags: 1})
			c.answer(requestID(i), true).refusedWith(t, 502, "601", "")
			want[*tl.ProxyWorkerRequestPayment](bad)
			time.Sleep(time.Second / 10)
		}
		start := time.Now()
		c.send(question(9))
		bad.given()
		if d := time.Since(start); d < 500*time.Millisecond || d > 3*time.Second {
			t.Errorf("tried again after %s, want a rest of about a second", d)
		}
	})
}

// Who would wait longer than the queue allows is told so at once, and when to come again.
func TestQueueShedsEarly(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4, limit: 1}), r.client(4, nil)
		serve := func(id tl.Int256, took time.Duration) {
			time.Sleep(took)
			w.head(id)
			w.end(id, 1)
		}
		c.send(question(1)) // from which the market learns what a request takes
		serve(w.given().RequestID, 8*time.Second)
		c.answer(requestID(1), true)
		want[*tl.ProxyWorkerRequestPayment](w)
		c.send(question(2))
		running := w.given().RequestID
		c.send(question(3)) // waits some 8 s, which is less than 10
		synctest.Wait()
		began := time.Now()
		c.send(question(4)) // would wait 16
		a := c.answer(requestID(4), false)
		if a.refusedWith(t, 429, "651", "rate_limit_exceeded"); time.Since(began) > time.Second || a.header("Retry-After") != "6" || !strings.Contains(a.body, "takes about 16s") {
			t.Errorf("after %s, retry after %s: %s", time.Since(began), a.header("Retry-After"), a.body)
		}
		serve(running, 0)
		c.answer(requestID(2), true)
		want[*tl.ProxyWorkerRequestPayment](w)
		serve(w.given().RequestID, 0)
		c.answer(requestID(3), true)
	})
}

// One client's large questions leave room for those of others.
func TestHeldIsShared(t *testing.T) {
	size := int64(len(question(1).Query))
	inBubble(t, func(c *Config) { c.MaxHeld = 32 * size }, func(r *rig) {
		r.worker(workerOptions{version: 4, limit: 100})
		greedy, modest := r.client(4, nil), r.client(4, nil)
		for i := range 40 {
			greedy.send(question(i))
		}
		time.Sleep(time.Second)
		if held := r.p.held.Load(); held > 17*size {
			t.Errorf("one client holds %d bytes of %d", held, 32*size)
		}
		refused := len(greedy.in) / 2
		for i := range 4 {
			modest.send(question(i))
		}
		time.Sleep(time.Second)
		if n := len(modest.in); n != 0 || refused < 20 {
			t.Errorf("the modest client was refused %d times, the greedy one %d times", n/2, refused)
		}
		greedy.conn.Close(nil)
	})
}
