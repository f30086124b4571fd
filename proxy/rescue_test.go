package proxy

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
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
		"overloaded": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(429, "{}"), Flags: 1})
		},
		"engine fails": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(500, "{}")})
		},
		"engine calls it wrong": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(400, "{}"), Flags: 1})
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

// What two engines say of a request is passed on as the second says it.
func TestEnginesVerdictIsFinal(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		a, b := r.worker(workerOptions{version: 4, coefficient: 500}), r.worker(workerOptions{version: 4, owner: secondOwner})
		third := r.worker(workerOptions{version: 4, coefficient: 3000, owner: "0:" + strings.Repeat("c3", 32)})
		c := r.client(4, nil)
		for i, status := range []int32{400, 404, 500} {
			c.send(question(i))
			a.send(&tl.ProxyQueryAnswerEx{RequestID: a.given().RequestID, Answer: response(status, "first"), Flags: 1})
			want[*tl.ProxyWorkerRequestPayment](a)
			b.send(&tl.ProxyQueryAnswerEx{RequestID: b.given().RequestID, Answer: response(status, "second"), Flags: 1})
			want[*tl.ProxyWorkerRequestPayment](b)
			if got := c.answer(requestID(i), true); got.head.StatusCode != status || got.body != "second" || got.paid.RequestTokens != 0 {
				t.Errorf("status %d, %d tokens: %s", got.head.StatusCode, got.paid.RequestTokens, got.body)
			}
		}
		third.quiet()
		c.send(question(9)) // and where the second says nothing, it is the first's word
		a.send(&tl.ProxyQueryAnswerEx{RequestID: a.given().RequestID, Answer: response(404, "first"), Flags: 1})
		b.given()
		b.conn.Close(nil)
		third.given()
		third.conn.Close(nil)
		c.answer(requestID(9), true).refusedWith(t, 404, "621", "bad_answer")
	})
}

// Whoever begins and then says no more, or calls the request wrong, is to blame for it.
func TestBeginningIsNotServing(t *testing.T) {
	for name, stop := range map[string]func(w *peer, id tl.Int256){
		"stalls":            func(w *peer, id tl.Int256) { time.Sleep(2 * time.Minute) },
		"calls it wrong":    func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 621}) },
		"cancels by itself": func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 653}) },
		"is full":           func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 602}) },
	} {
		inBubble(t, nil, func(r *rig) {
			w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
			for i := range 2 {
				c.send(question(i))
				id := w.given().RequestID
				w.head(id)
				w.part(id, "data: 1\n\n")
				stop(w, id)
				c.answer(requestID(i), true)
				want[*tl.ProxyWorkerRequestPayment](w)
				time.Sleep(time.Second)
			}
			if n := r.p.market.Models()[0].Offers[0].Failures; n != 2 {
				t.Errorf("%s: %d failures, want 2", name, n)
			}
		})
	}
	inBubble(t, nil, func(r *rig) { // one that is merely long is not
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(question(1))
		id := w.given().RequestID
		w.head(id)
		for range 59 {
			w.part(id, "data: 1\n\n")
			time.Sleep(time.Second)
		}
		c.answer(requestID(1), true)
		if n := r.p.market.Models()[0].Offers[0].Failures; n != 0 {
			t.Errorf("%d failures, want none", n)
		}
	})
}

// A worker that offers the cheapest and largest place of all and then says nothing takes everything in, and
// still every request is served.
func TestBlackHole(t *testing.T) {
	for name, stream := range map[string]string{"stream": "true", "whole": "false"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(r *rig) {
				good := r.worker(workerOptions{version: 4, coefficient: 2000, owner: secondOwner})
				good.serve(5)
				c := r.client(4, nil)
				c.send(question(0))
				c.answer(requestID(0), true)
				hole := r.worker(workerOptions{version: 4, coefficient: 1, limit: math.MaxInt32})
				const all = 300
				for i := 1; i <= all; i++ {
					q, h := question(i), httpRequest()
					h.Payload = []byte(`{"model":"m","stream":` + stream + `,"messages":[]}`)
					q.Query = tl.Marshal(h)
					c.send(q)
					if i%10 == 0 {
						time.Sleep(500 * time.Millisecond)
					}
				}
				served := 0
				for ended := 0; ended < all; {
					switch m := c.next().(type) {
					case *tl.ClientQueryAnswerEx:
						var h tl.HTTPResponse
						if tl.Unmarshal(m.Answer, &h) == nil && h.StatusCode == 200 {
							served++
						}
					case *tl.ProxyClientRequestPayment:
						ended++
					}
				}
				if served != all {
					t.Errorf("%d of %d requests were served", served, all)
				}
				if n := len(hole.in); n < 30 {
					t.Errorf("the hole got only %d messages", n)
				}
			})
		})
	}
}

// A worker's word that there is no time left is believed when there is none.
func TestOutOfTimeTooEarly(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		a, b := r.worker(workerOptions{version: 4, coefficient: 500}), r.worker(workerOptions{version: 4, owner: secondOwner})
		c := r.client(4, nil)
		for i := range 12 { // 12 s an answer, so that nobody is asked beside it for long
			c.send(question(i))
			id := a.given().RequestID
			time.Sleep(12 * time.Second)
			a.send(&tl.ProxyQueryAnswerEx{RequestID: id, Flags: 1, FinalInfo: final(1), Answer: response(200, "x")})
			c.answer(requestID(i), true)
			want[*tl.ProxyWorkerRequestPayment](a)
		}
		q := question(20)
		q.Timeout = 36
		c.send(q)
		id := a.given().RequestID
		time.Sleep(19 * time.Second)
		a.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 652})
		id = b.given().RequestID
		b.head(id)
		b.end(id, 5)
		if got := c.answer(q.RequestID, true); got.head.StatusCode != 200 {
			t.Errorf("status %d: %s", got.head.StatusCode, got.body)
		}
	})
}

// What a worker did wrong is told in words that send the client to another proxy, and never as the caller's doing.
func TestBrokenWorkersSendElsewhere(t *testing.T) {
	for name, x := range map[string]struct {
		do   func(w *peer, id tl.Int256)
		code string
	}{
		"breaks the protocol": {func(w *peer, id tl.Int256) { w.part(id, "x") }, "651"},
		"fails": {func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 0, Error: "no"})
		}, "601"},
		"is odd":            {func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: -7}) }, "601"},
		"cancels by itself": {func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 653}) }, "651"},
	} {
		inBubble(t, nil, func(r *rig) {
			w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
			c.send(question(1))
			x.do(w, w.given().RequestID)
			if a := c.answer(requestID(1), true); a.head.StatusCode != 502 || a.header("X-Cocoon-Error") != x.code {
				t.Errorf("%s: status %d, code %s: %s", name, a.head.StatusCode, a.header("X-Cocoon-Error"), a.body)
			}
		})
	}
}

// An engine that is down and has no other beside it sends the client on, unless it wants no other; one that
// has an opinion of the request does not.
func TestEngineDownSendsElsewhere(t *testing.T) {
	for status, code := range map[int32]string{429: "651", 502: "651", 503: "651", 500: "", 400: "", 200: ""} {
		inBubble(t, nil, func(r *rig) {
			w, c := r.worker(workerOptions{version: 4}), r.client(4, allFeatures)
			for i, q := range []tl.Object{question(0), wishing(1, tl.CocoonWishes{NoFallbacks: true})} {
				c.send(q)
				w.send(&tl.ProxyQueryAnswerEx{RequestID: w.given().RequestID, Answer: response(status, "engine's words"), Flags: 1})
				want[*tl.ProxyWorkerRequestPayment](w)
				if i == 1 {
					code = ""
				}
				if a := c.answer(requestID(i), true); a.head.StatusCode != status || a.header("X-Cocoon-Error") != code || a.body != "engine's words" {
					t.Errorf("status %d, code %q, want %d, %q: %s", a.head.StatusCode, a.header("X-Cocoon-Error"), status, code, a.body)
				}
				time.Sleep(2 * time.Second)
			}
		})
	}
}

// A worker whose engine cannot go on with what another began is as good as
// before for all else, however often it is asked to.
func TestRestsThatAreDeclined(t *testing.T) {
	for _, rest := range []bool{true, false} {
		inBubble(t, nil, func(r *rig) {
			unable := r.worker(workerOptions{version: 4, coefficient: 500})
			able := r.worker(workerOptions{version: 4, owner: secondOwner})
			c := r.client(4, nil)
			for i := range 4 {
				q := question(i)
				if rest {
					h := httpRequest()
					h.Headers = append(h.Headers, tl.HTTPHeader{Name: tl.HeaderContinue, Value: "1"})
					q.Query = tl.Marshal(h)
				}
				c.send(q)
				if rest || i < 3 {
					unable.send(&tl.ProxyQueryAnswerErrorEx{RequestID: unable.given().RequestID, ErrorCode: wire.CodeError, Error: "worker: its engine is not known to go on", Flags: 1})
					want[*tl.ProxyWorkerRequestPayment](unable)
				}
				id := able.given().RequestID
				able.head(id)
				able.end(id, 7)
				if a := c.answer(requestID(i), true); a.head.StatusCode != 200 {
					t.Errorf("status %d: %s", a.head.StatusCode, a.body)
				}
				want[*tl.ProxyWorkerRequestPayment](able)
			}
			for _, m := range r.p.market.Models() {
				for _, o := range m.Offers {
					if wanted := 3; o.Coefficient == 500 && (rest && o.Failures != 0 || !rest && o.Failures != wanted) {
						t.Errorf("rests %v: %d failures in a row", rest, o.Failures)
					}
				}
			}
		})
	}
}
