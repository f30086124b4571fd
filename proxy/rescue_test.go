package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

const secondOwner = "0:b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"

// A worker that hangs costs its caller some time and not the answer, also a
// deployed one that cannot be cancelled; and only who answered is paid.
func TestHungWorkerIsLeft(t *testing.T) {
	for _, features := range [][]string{nil, allFeatures} {
		inBubble(t, nil, func(r *rig) {
			hung := r.worker(workerOptions{version: 4, coefficient: 500, features: features})
			good := r.worker(workerOptions{version: 4, owner: secondOwner})
			c := r.client(4, nil)
			began := time.Now()
			c.send(question(1))
			first := hung.given()
			second := good.given()
			if waited := time.Since(began); waited > late {
				t.Errorf("another was asked after %s, want at most %s", waited, late)
			}
			good.head(second.RequestID)
			good.end(second.RequestID, 7)
			if a := c.answer(requestID(1), true); a.head.StatusCode != 200 || a.paid.RequestTokens != 7 {
				t.Errorf("status %d, %d tokens: %s", a.head.StatusCode, a.paid.RequestTokens, a.body)
			}
			hung.head(first.RequestID) // it wakes up, and nobody listens
			hung.end(first.RequestID, 1000)
			time.Sleep(time.Second)
			for _, w := range r.book.Workers() {
				if paid := w.Earned.Max; w.Owner == secondOwner && paid != 7 || w.Owner != secondOwner && paid != 0 {
					t.Errorf("%s earned %d tokens", w.Owner, paid)
				}
			}
			c.quiet()
		})
	}
}

// An answer that comes in one piece is not late before it could have been written.
func TestLongAnswersAreWaitedFor(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, other := r.worker(workerOptions{version: 4, coefficient: 500}), r.worker(workerOptions{version: 4, coefficient: 3000, owner: secondOwner})
		c := r.client(4, nil)
		for i := range 12 { // 12 s an answer
			c.send(limitedTo(i, "100"))
			id := w.given().RequestID
			time.Sleep(12 * time.Second)
			w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Flags: 1, FinalInfo: tl.ProxyQueryFinalInfo{TokensUsed: tl.TokensUsed{CompletionTokensUsed: 10, TotalTokensUsed: 10}},
				Answer: response(200, strings.Repeat("word ", 20))})
			c.answer(requestID(i), true)
			want[*tl.ProxyWorkerRequestPayment](w)
		}
		c.send(limitedTo(50, "100"))
		id := w.given().RequestID
		time.Sleep(22 * time.Second) // more than a third of its time
		w.head(id)
		w.end(id, 1)
		c.answer(requestID(50), true)
		other.quiet()
	})
}

// Where nothing is free, a request whose worker hangs has its turn like others,
// and the first to answer wins.
func TestRescueWaitsItsTurn(t *testing.T) {
	for name, firstWins := range map[string]bool{"second": false, "first": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(r *rig) {
				hung := r.worker(workerOptions{version: 4, coefficient: 500, limit: 1, features: allFeatures})
				good := r.worker(workerOptions{version: 4, limit: 1, owner: secondOwner})
				c := r.client(4, nil)
				c.send(question(1))
				first := hung.given()
				c.send(question(2))
				busy := good.given()
				good.head(busy.RequestID)
				want[*tl.ClientQueryAnswerEx](c)
				time.Sleep(late + 2*time.Second)
				if firstWins {
					hung.head(first.RequestID)
					hung.end(first.RequestID, 3)
					c.answer(requestID(1), true)
				}
				good.end(busy.RequestID, 5)
				c.rest(requestID(2), &answered{})
				c.payment(requestID(2))
				if firstWins {
					want[*tl.ProxyWorkerRequestPayment](good)
					good.quiet()
					return
				}
				var second tl.Int256
				for second == (tl.Int256{}) {
					if q, ok := good.next().(*tl.ProxyRunQueryEx); ok {
						second = q.RequestID
					}
				}
				good.head(second)
				good.end(second, 7)
				if a := c.answer(requestID(1), true); a.head.StatusCode != 200 || a.paid.RequestTokens != 7 {
					t.Errorf("status %d, %d tokens: %s", a.head.StatusCode, a.paid.RequestTokens, a.body)
				}
			})
		})
	}
}

// Any number of cheap workers that turn everything away, however they say it, do not
// keep a request from the one that serves.
func TestCrowdOfRefusers(t *testing.T) {
	for name, refuse := range map[string]func(w *peer, id tl.Int256){
		"too busy":      func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 602}) },
		"wrong request": func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 621}) },
		"out of time":   func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 652}) },
		"cancelled":     func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 653}) },
		"not ready":     func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 651}) },
		"engine down": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(503, ""), Flags: 1})
		},
		"dies": func(w *peer, id tl.Int256) { w.conn.Close(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(r *rig) {
				r.worker(workerOptions{version: 4, coefficient: 2000, owner: secondOwner}).serve(5)
				c := r.client(4, nil)
				c.send(question(0))
				c.answer(requestID(0), true)
				for i := range 30 {
					w := r.worker(workerOptions{version: 4, coefficient: 1, owner: fmt.Sprintf("0:%064x", 100+i%15)})
					go func() {
						for {
							select {
							case o := <-w.in:
								if q, ok := o.(*tl.ProxyRunQueryEx); ok {
									refuse(w, q.RequestID)
								}
							case <-w.conn.Done():
								return
							}
						}
					}()
				}
				failed := 0
				for i := 1; i <= 40; i++ {
					c.send(question(i))
					if a := c.answer(requestID(i), true); a.head.StatusCode != 200 {
						failed++
					}
				}
				if failed > 0 {
					t.Errorf("%d of 40 requests failed that one of the workers serves", failed)
				}
			})
		})
	}
}
