package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/tl"
)

// wishing is question with wishes.
func wishing(n int, w tl.CocoonWishes) *tl.CocoonRunQuery {
	q := question(n)
	return &tl.CocoonRunQuery{ModelName: q.ModelName, Query: q.Query, MaxCoefficient: q.MaxCoefficient, MaxTokens: q.MaxTokens, Timeout: q.Timeout,
		RequestID: q.RequestID, MinConfigVersion: q.MinConfigVersion, Flags: wantsWhy, Wishes: w}
}

// friendly is the address as people write it.
func friendly(t *testing.T, raw string) string {
	t.Helper()
	a, err := contract.ParseAddress(raw)
	if err != nil {
		t.Fatal(err)
	}
	return a.Bounce(false).String()
}

// Each wish finds its worker, by whole address or by first digits, and the answer says who it was and why.
func TestWishes(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		cheap, dear, slow := "0:"+strings.Repeat("a1", 32), "0:"+strings.Repeat("b2", 32), "0:"+strings.Repeat("c3", 32)
		for owner, coefficient := range map[string]int32{cheap: 500, dear: 3000, slow: 1000} {
			r.worker(workerOptions{version: 4, owner: owner, coefficient: coefficient}).serve(10)
		}
		c := r.client(4, allFeatures)
		for i, x := range []struct {
			wish tl.CocoonWishes
			want string
			why  string
		}{
			{tl.CocoonWishes{Only: []string{friendly(t, dear)}}, dear, "price 3000"},
			{tl.CocoonWishes{Only: []string{"b2b2b2b2b2"}}, dear, "price 3000"},
			{tl.CocoonWishes{Only: []string{"C3C3C3C3"}}, slow, "price 1000"},
			{tl.CocoonWishes{Order: []string{"nobody", dear, cheap}}, dear, "caller's order"},
			{tl.CocoonWishes{Order: []string{"nobody"}, Sort: 1}, cheap, "by price"},
			{tl.CocoonWishes{Ignore: []string{"a1a1a1a1", dear}}, slow, "price 1000"},
			{tl.CocoonWishes{Order: []string{slow}, NoFallbacks: true}, slow, "caller's order"},
		} {
			c.send(wishing(i, x.wish))
			a := c.answer(requestID(i), true)
			if a.head.StatusCode != 200 || a.header(headerWorker) != friendly(t, x.want) || !strings.Contains(a.header(headerWhy), x.why) {
				t.Errorf("%+v: status %d by %s: %s", x.wish, a.head.StatusCode, a.header(headerWorker), a.header(headerWhy))
			}
		}
	})
}

// A wish that nobody can fulfil, and one that makes no sense, are refused with what would do.
func TestWishesRefused(t *testing.T) {
	inBubble(t, func(c *Config) { c.QueueWait = time.Second }, func(r *rig) {
		owner := "0:" + strings.Repeat("a1", 32)
		w := r.worker(workerOptions{version: 4, owner: owner, limit: 1})
		c := r.client(4, allFeatures)
		long := make([]string, 40)
		for i := range long {
			long[i] = fmt.Sprint("worker ", i)
		}
		for i, x := range []struct {
			wish   tl.CocoonWishes
			status int32
			text   string
		}{
			{tl.CocoonWishes{Only: []string{"b2b2b2b2"}}, 503, "provider allows none"},
			{tl.CocoonWishes{Ignore: []string{owner}}, 503, "provider allows none"},
			{tl.CocoonWishes{Order: []string{"b2b2b2b2"}, NoFallbacks: true}, 503, "provider allows none"},
			{tl.CocoonWishes{Only: long}, 400, "40 workers are named, want at most 32"},
			{tl.CocoonWishes{Only: []string{strings.Repeat("x", 200)}}, 400, "200 bytes"},
			{tl.CocoonWishes{Sort: 4}, 400, "sort is 4"},
			{tl.CocoonWishes{MaxLatency: -1}, 400, "max_latency -1"},
		} {
			c.send(wishing(i, x.wish))
			began := time.Now()
			a := c.answer(requestID(i), false)
			if time.Since(began) > 0 || a.head.StatusCode != x.status || !strings.Contains(a.body, x.text) {
				t.Errorf("%+v: status %d, %s", x.wish, a.head.StatusCode, a.body)
			}
		}
		// After a failure nobody else is asked, if the caller wants that.
		r.worker(workerOptions{version: 4, owner: "0:" + strings.Repeat("b2", 32), coefficient: 3000}).serve(10)
		c.send(wishing(100, tl.CocoonWishes{NoFallbacks: true, Sort: 1}))
		given := w.given()
		w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: given.RequestID, ErrorCode: 601, Error: "broken"})
		if a := c.answer(requestID(100), true); a.head.StatusCode != 502 || !strings.Contains(a.body, "broken") {
			t.Errorf("a failure without fallbacks: status %d, %s", a.head.StatusCode, a.body)
		}
	})
}

// A client that has not agreed on the extension has no wishes, and its answers say nothing of the market.
func TestWishesAreNegotiated(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.worker(workerOptions{version: 4}).serve(10)
		c := r.client(4, []string{tl.FeatureCancel})
		c.send(wishing(1, tl.CocoonWishes{}))
		c.quiet()
		c.send(question(2))
		if a := c.answer(requestID(2), true); a.head.StatusCode != 200 || a.header(headerWorker)+a.header(headerWhy) != "" {
			t.Errorf("answer %+v", a.head)
		}
	})
}

// A worker cannot claim to be another.
func TestOnlyTheProxySaysWho(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, allFeatures)
		c.send(question(1))
		given := w.given()
		w.send(&tl.ProxyQueryAnswerEx{RequestID: given.RequestID, Answer: response(200, "{}", "x-cocoon-worker", "somebody", "X-Cocoon-Why", "because"), Flags: 1, FinalInfo: final(1)})
		a := c.answer(requestID(1), true)
		if a.header(headerWorker) != friendly(t, ownerText) || a.header(headerWhy) != "" {
			t.Errorf("headers %v", a.head.Headers)
		}
	})
}

// Who served the beginning of a conversation serves the rest.
func TestAffinityFindsTheWorker(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		for i := range 8 {
			r.worker(workerOptions{version: 4, owner: fmt.Sprintf("0:%064x", 0xabc0+i)}).serve(10)
		}
		c := r.client(4, allFeatures)
		by, familiar := map[string]string{}, 0
		for i := range 40 {
			q := wishing(i, tl.CocoonWishes{})
			q.Affinity = []byte(fmt.Sprintf("conversation %03d", i%4))
			c.send(q)
			a := c.answer(requestID(i), true)
			who, same := a.header(headerWorker), string(q.Affinity)
			if strings.Contains(a.header(headerWhy), "familiar") {
				familiar++
				if by[same] != who {
					t.Errorf("%s: served by %s, which had not seen it: %s", same, who, a.header(headerWhy))
				}
			}
			by[same] = who
			time.Sleep(time.Second)
		}
		if familiar < 30 {
			t.Errorf("%d of 36 later turns went to the worker that knows the conversation", familiar)
		}
		q := wishing(100, tl.CocoonWishes{}) // of another length: no digest
		q.Affinity = []byte("short")
		c.send(q)
		if a := c.answer(requestID(100), true); a.head.StatusCode != 200 || strings.Contains(a.header(headerWhy), "familiar") {
			t.Errorf("%s", a.header(headerWhy))
		}
	})
}
