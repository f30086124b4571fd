package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/tl"
)

// Each limit of a client holds, says when to come again, and is nobody else's.
func TestClientLimits(t *testing.T) {
	for _, x := range []struct {
		limits market.Limits
		let    int // requests at once
		text   string
		after  string // Retry-After
		later  time.Duration
	}{
		{market.Limits{Requests: 6}, 3, "6 requests a minute", "10", 10 * time.Second},
		{market.Limits{Tokens: 100}, 3, "100 tokens a minute", "13", 13 * time.Second}, // 40 each: 20 are owed
		{market.Limits{}, 10, "", "", 0},
	} {
		inBubble(t, func(c *Config) { c.Limits = x.limits }, func(r *rig) {
			r.worker(workerOptions{version: 4}).serve(40)
			c, other := r.client(4, nil), r.client(4, nil)
			for i := range 10 {
				c.send(question(i))
				a := c.answer(requestID(i), i < x.let)
				switch {
				case i < x.let && a.head.StatusCode != 200:
					t.Errorf("%+v: request %d: %s", x.limits, i, a.body)
				case i >= x.let:
					a.refusedWith(t, 429, "651", "rate_limit_exceeded")
					if !strings.Contains(a.body, x.text) || a.header("Retry-After") != x.after {
						t.Errorf("%+v: retry after %s: %s", x.limits, a.header("Retry-After"), a.body)
					}
				}
			}
			other.send(question(1))
			other.answer(requestID(1), true)
			time.Sleep(x.later)
			c.send(question(100))
			if a := c.answer(requestID(100), true); a.head.StatusCode != 200 {
				t.Errorf("%+v: after %s: %s", x.limits, x.later, a.body)
			}
		})
	}
}

// A place that a request has is free again however it ends.
func TestConcurrentLimit(t *testing.T) {
	inBubble(t, func(c *Config) { c.Limits.Concurrent = 2 }, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4, features: allFeatures}), r.client(4, nil)
		for round := range 4 {
			ids := [2]int{10 * round, 10*round + 1}
			for _, id := range ids {
				c.send(question(id))
			}
			first, second := w.given(), w.given()
			c.send(question(10*round + 2))
			a := c.answer(requestID(10*round+2), false)
			a.refusedWith(t, 429, "651", "rate_limit_exceeded")
			if !strings.Contains(a.body, "2 requests at a time") || a.header("Retry-After") != "1" {
				t.Errorf("retry after %s: %s", a.header("Retry-After"), a.body)
			}
			over := question(10*round + 3) // refused for another reason: takes no place
			over.MaxTokens = 1 << 30
			c.send(over)
			c.answer(over.RequestID, false)
			w.head(first.RequestID)
			w.end(first.RequestID, 1)
			c.answer(requestID(ids[0]), true)
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: second.RequestID, ErrorCode: 621, Error: "wrong"})
			c.answer(requestID(ids[1]), true)
			time.Sleep(time.Second)
			for len(w.in) > 0 {
				<-w.in
			}
		}
	})
}
