package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// hedged is a proxy that may ask as many second workers as it likes, with
// two workers and a client; the first worker is the cheaper one.
func hedged(t *testing.T, f func(r *rig, first, second, c *peer)) {
	inBubble(t, func(c *Config) { c.HedgeShare = 3 }, func(r *rig) {
		first := r.worker(workerOptions{version: 4, features: allFeatures})
		second := r.worker(workerOptions{version: 4, coefficient: 1500, features: allFeatures, owner: "0:" + strings.Repeat("b2", 32)})
		f(r, first, second, r.client(4, allFeatures))
	})
}

// Where nobody knows how long answers take, a third of the time passes before a second worker is asked.
const late = 20 * time.Second

// The second worker wins, the first is cancelled, and each is paid what it delivered.
func TestHedge(t *testing.T) {
	hedged(t, func(r *rig, first, second, c *peer) {
		began := time.Now()
		c.send(question(1))
		slow := first.given()
		fast := second.given()
		if waited := time.Since(began); waited < late-time.Second || waited > late {
			t.Errorf("the second was asked after %s, want about %s", waited, late)
		}
		second.head(fast.RequestID)
		if cancel := want[*tl.CocoonCancelQuery](first); cancel.RequestID != slow.RequestID {
			t.Errorf("cancelled %x, want %x", cancel.RequestID, slow.RequestID)
		}
		if pay := want[*tl.ProxyWorkerRequestPayment](first); pay.RequestTokens != 0 {
			t.Errorf("the loser was paid %d tokens", pay.RequestTokens)
		}
		first.head(slow.RequestID) // too late: nobody listens
		first.end(slow.RequestID, 1000)
		second.end(fast.RequestID, 42)
		if a := c.answer(requestID(1), true); a.head.StatusCode != 200 || a.paid.RequestTokens != 42 || a.header(headerWorker) != friendly(t, "0:"+strings.Repeat("b2", 32)) {
			t.Errorf("answer %+v", a)
		}
		if pay := want[*tl.ProxyWorkerRequestPayment](second); pay.RequestTokens != 42 {
			t.Errorf("the winner was paid %d tokens, want 42", pay.RequestTokens)
		}
		first.quiet()
		if n := r.p.stats.hedged.Total(); n != 1 {
			t.Errorf("%d hedges", n)
		}
	})
}

// What happens while both run: the first may still win, either may fail, and the caller may leave.
func TestHedgeEnds(t *testing.T) {
	for name, x := range map[string]struct {
		script func(r *rig, first, second, c *peer, a, b tl.Int256)
		status int32
		by     string // of whom the answer is
	}{
		"first wins": {func(r *rig, first, second, c *peer, a, b tl.Int256) { first.head(a); first.end(a, 5) }, 200, ownerText},
		"first fails": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			first.send(&tl.ProxyQueryAnswerErrorEx{RequestID: a, ErrorCode: 601, Error: "broken"})
			second.head(b)
			second.end(b, 5)
		}, 200, ""},
		"first is out of time": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			first.send(&tl.ProxyQueryAnswerErrorEx{RequestID: a, ErrorCode: 652, Error: "time"})
			second.head(b)
			second.end(b, 5)
		}, 200, ""},
		"first is lost": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			first.conn.Close(nil)
			second.head(b)
			second.end(b, 5)
		}, 200, ""},
		"first's engine is down": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			first.send(&tl.ProxyQueryAnswerEx{RequestID: a, Answer: response(503, "down"), Flags: 1})
			second.head(b)
			second.end(b, 5)
		}, 200, ""},
		"second fails": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			second.send(&tl.ProxyQueryAnswerErrorEx{RequestID: b, ErrorCode: 601, Error: "broken"})
			time.Sleep(time.Second)
			first.head(a)
			first.end(a, 5)
		}, 200, ownerText},
		"second breaks the protocol": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			second.part(b, "x")
			time.Sleep(time.Second)
			first.head(a)
			first.end(a, 5)
		}, 200, ownerText},
		"second's engine is down": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			second.send(&tl.ProxyQueryAnswerEx{RequestID: b, Answer: response(503, "down"), Flags: 1})
			time.Sleep(time.Second)
			first.head(a)
			first.end(a, 5)
		}, 200, ownerText},
		"second's engine is overloaded": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			second.send(&tl.ProxyQueryAnswerEx{RequestID: b, Answer: response(429, "slow down"), Flags: 1})
			time.Sleep(time.Second)
			first.head(a)
			first.end(a, 5)
		}, 200, ownerText},
		"second is lost": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			second.conn.Close(nil)
			time.Sleep(time.Second)
			first.head(a)
			first.end(a, 5)
		}, 200, ownerText},
		"the request is wrong": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			first.send(&tl.ProxyQueryAnswerErrorEx{RequestID: a, ErrorCode: 621, Error: "no such member"})
			second.send(&tl.ProxyQueryAnswerErrorEx{RequestID: b, ErrorCode: 621, Error: "no such member"})
		}, 400, ""},
		"first calls the request wrong": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			first.send(&tl.ProxyQueryAnswerErrorEx{RequestID: a, ErrorCode: 621, Error: "no such member"})
			second.head(b)
			second.end(b, 5)
		}, 200, ""},
		"and nobody else says anything": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			first.send(&tl.ProxyQueryAnswerErrorEx{RequestID: a, ErrorCode: 621, Error: "no such member"})
		}, 400, ""},
		"nobody answers": {func(r *rig, first, second, c *peer, a, b tl.Int256) {}, 504, ""},
		"the caller cancels": {func(r *rig, first, second, c *peer, a, b tl.Int256) {
			c.send(&tl.CocoonCancelQuery{RequestID: requestID(1)})
			want[*tl.CocoonCancelQuery](second)
			want[*tl.CocoonCancelQuery](first)
			first.send(&tl.ProxyQueryAnswerErrorEx{RequestID: a, ErrorCode: 653, Error: "cancelled"})
		}, 499, ""},
	} {
		t.Run(name, func(t *testing.T) {
			hedged(t, func(r *rig, first, second, c *peer) {
				c.send(question(1))
				a, b := first.given(), second.given()
				x.script(r, first, second, c, a.RequestID, b.RequestID)
				got := c.answer(requestID(1), true)
				if got.head.StatusCode != x.status || x.by != "" && got.header(headerWorker) != friendly(t, x.by) {
					t.Errorf("status %d by %s, want %d by %s: %s", got.head.StatusCode, got.header(headerWorker), x.status, x.by, got.body)
				}
				if x.status == 200 && got.paid.RequestTokens != 5 || x.status != 200 && got.paid.RequestTokens != 0 {
					t.Errorf("%d tokens were paid", got.paid.RequestTokens)
				}
			})
		})
	}
}

// If the second worker is late too, a third is asked in the place of the first.
func TestHedgeGoesOn(t *testing.T) {
	hedged(t, func(r *rig, first, second, c *peer) {
		third := r.worker(workerOptions{version: 4, coefficient: 2000, features: allFeatures, owner: "0:" + strings.Repeat("c3", 32)})
		c.send(question(1))
		a := first.given()
		second.given()
		q := third.given()
		if cancel := want[*tl.CocoonCancelQuery](first); cancel.RequestID != a.RequestID {
			t.Error("the first was not given up")
		}
		third.head(q.RequestID)
		third.end(q.RequestID, 7)
		if got := c.answer(requestID(1), true); got.head.StatusCode != 200 || got.paid.RequestTokens != 7 {
			t.Errorf("answer %+v", got)
		}
		want[*tl.CocoonCancelQuery](second)
	})
}

// Nobody is asked twice who did not agree to it, the caller, or before a request is overdue, the operator.
func TestNoHedge(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		first, second := r.worker(workerOptions{version: 4}), r.worker(workerOptions{version: 4, coefficient: 1500})
		c := r.client(4, allFeatures)
		c.send(question(1))
		id := first.given().RequestID
		time.Sleep(late - time.Second)
		first.head(id)
		first.end(id, 5)
		c.answer(requestID(1), true)
		second.quiet()
	})
	hedged(t, func(r *rig, first, second, c *peer) {
		c.send(wishing(1, tl.CocoonWishes{NoFallbacks: true}))
		id := first.given().RequestID
		time.Sleep(late + time.Second)
		first.head(id)
		first.end(id, 5)
		c.answer(requestID(1), true)
		second.quiet()
	})
}
