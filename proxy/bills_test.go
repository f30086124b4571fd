package proxy

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/tl"
)

// limited is a question whose body names its limit, as our clients' do.
func limitedTo(n int, limit string) *tl.ClientRunQueryEx {
	q := question(n)
	h := httpRequest()
	h.Payload = []byte(`{"model":"m","max_tokens":` + limit + `,"messages":"` + prompt + `"}`)
	q.Query = tl.Marshal(h)
	return q
}

// What the loser of a race had reported is neither charged nor paid to the winner.
func TestLosersProgressIsNobodys(t *testing.T) {
	for name, end := range map[string]func(second *peer, id tl.Int256){
		"winner dies": func(second *peer, _ tl.Int256) { second.conn.Close(nil) },
		"winner reports": func(second *peer, id tl.Int256) {
			second.send(&tl.CocoonQueryProgress{RequestID: id, TokensUsed: used(1)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			hedged(t, func(r *rig, first, second, c *peer) {
				c.send(question(1))
				a, b := first.given(), second.given()
				first.send(&tl.CocoonQueryProgress{RequestID: a.RequestID, TokensUsed: used(90)})
				time.Sleep(time.Second)
				second.head(b.RequestID)
				second.part(b.RequestID, "data: 1\n\n")
				time.Sleep(time.Second)
				end(second, b.RequestID)
				time.Sleep(time.Second)
				second.conn.Close(nil)
				for {
					if pay, ok := c.next().(*tl.ProxyClientRequestPayment); ok {
						if pay.RequestTokens > 1 {
							t.Errorf("%d tokens were charged, which only the loser had reported", pay.RequestTokens)
						}
						return
					}
				}
			})
		})
	}
}

// A worker is paid at the price that it was asked at, whatever the client would have accepted.
func TestBillAtTheAgreedPrice(t *testing.T) {
	for _, price := range []int32{0, 1, 1000} {
		inBubble(t, nil, func(r *rig) {
			w, c := r.worker(workerOptions{version: 4, coefficient: price + 1}), r.client(4, nil)
			w.send(&tl.WorkerNewCoefficient{NewCoefficient: price})
			time.Sleep(time.Second)
			q := limitedTo(1, "100")
			c.send(q)
			id := w.given().RequestID
			w.head(id)
			w.end(id, math.MaxInt64/4)
			a := c.answer(requestID(1), true)
			most := ledger.Most(100, 1, len(q.Query), int64(price), ledger.Plain)
			if a.paid.RequestTokens > most {
				t.Errorf("%d tokens were charged at price %d, at most %d could be owed", a.paid.RequestTokens, price, most)
			}
			if told := a.final.TokensUsed.TotalTokensUsed; told != a.paid.RequestTokens {
				t.Errorf("the client was told of %d tokens and charged %d", told, a.paid.RequestTokens)
			}
		})
	}
}

// A question without a limit of its own costs what was delivered, not what a worker makes up.
func TestBillWithoutALimit(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(question(1))
		id := w.given().RequestID
		w.head(id)
		w.end(id, math.MaxInt64)
		if a := c.answer(requestID(1), true); a.paid.RequestTokens > 3*ledger.PromptSlack {
			t.Errorf("%d tokens were charged for an answer of a few bytes", a.paid.RequestTokens)
		}
		want[*tl.ProxyWorkerRequestPayment](w)
		c.send(question(2))
		id = w.given().RequestID
		w.head(id)
		w.part(id, strings.Repeat("word ", 400_000))
		w.end(id, 500_000)
		if a := c.answer(requestID(2), true); a.paid.RequestTokens != 500_000 {
			t.Errorf("%d tokens were charged of 500000 that were delivered", a.paid.RequestTokens)
		}
	})
}

// An error costs nothing, whatever its worker says.
func TestErrorsAreFree(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4, features: allFeatures}), r.client(4, nil)
		for i, status := range []int32{400, 404, 429, 500} {
			c.send(question(i))
			id := w.given().RequestID
			w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(status, `{"error":{}}`), Flags: 1, FinalInfo: final(50)})
			if a := c.answer(requestID(i), true); a.head.StatusCode != status || a.paid.RequestTokens != 0 || a.final.TokensUsed.TotalTokensUsed != 0 {
				t.Errorf("status %d: %d tokens were charged, %d told", a.head.StatusCode, a.paid.RequestTokens, a.final.TokensUsed.TotalTokensUsed)
			}
			want[*tl.ProxyWorkerRequestPayment](w)
		}
		c.send(question(9))
		id := w.given().RequestID
		w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(500, "")})
		w.send(&tl.CocoonQueryProgress{RequestID: id, TokensUsed: used(50)})
		time.Sleep(time.Second)
		w.conn.Close(nil)
		if a := c.answer(requestID(9), true); a.paid.RequestTokens != 0 {
			t.Errorf("%d tokens were charged for an error that broke off", a.paid.RequestTokens)
		}
	})
}

// A worker that reports absurd progress cannot set its client's money aside, and end what else it asks.
func TestProgressCannotLockMoney(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4, features: allFeatures}), r.client(4, nil)
		c.send(limitedTo(1, "100"))
		id := w.given().RequestID
		w.head(id)
		for _, n := range []int64{r.book.Clients()[0].Available() / 2, math.MaxInt64} {
			w.send(&tl.CocoonQueryProgress{RequestID: id, TokensUsed: used(n)})
			time.Sleep(time.Second)
			if reserved := r.book.Clients()[0].Reserved; reserved > 1_000_000 {
				t.Errorf("progress of %d has set %d tokens aside", n, reserved)
			}
		}
		w.end(id, 40)
		if a := c.answer(requestID(1), true); a.head.StatusCode != 200 || a.paid.RequestTokens != 40 {
			t.Errorf("status %d, %d tokens: %s", a.head.StatusCode, a.paid.RequestTokens, a.body)
		}
	})
}
