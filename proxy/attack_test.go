package proxy

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// Whoever looks through the tables of requests may meet one that has only just
// arrived: it must be there as a whole or not at all.
func TestRequestIsWholeOnceItCanBeSeen(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.worker(workerOptions{version: 4}).serve(1)
		c := r.client(4, allFeatures)
		synctest.Wait()
		var serving *client
		clients, _ := r.p.connections()
		serving = clients[0]
		stop := make(chan struct{})
		var looking sync.WaitGroup
		for range 2 {
			looking.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					for _, x := range serving.requests.all() {
						x.abort(stopping("test"))
					}
				}
			})
		}
		const questions = 3000
		go func() {
			for n := range questions {
				c.conn.Send(question(n))
			}
		}()
		for ended := 0; ended < questions; {
			if part, ok := (<-c.in).(*tl.ClientQueryAnswerPartEx); ok && part.Flags&1 != 0 {
				ended++
			}
		}
		close(stop)
		looking.Wait()
	})
}

// What one worker said it had delivered is not owed to the next.
func TestProgressEndsWithItsWorker(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		liar := r.worker(workerOptions{version: 4, features: allFeatures, coefficient: 500})
		honest := r.worker(workerOptions{version: 4, features: allFeatures})
		c := r.client(4, nil)
		q := question(1)
		c.send(q)
		liar.send(&tl.CocoonQueryProgress{RequestID: liar.given().RequestID, TokensUsed: used(1_000_000)})
		liar.conn.CloseAfterFlush(nil)
		id := honest.given().RequestID
		honest.head(id)
		honest.send(&tl.CocoonQueryProgress{RequestID: id, TokensUsed: used(7)})
		honest.conn.CloseAfterFlush(nil)
		if a := c.answer(q.RequestID, true); a.paid.RequestTokens != 7 {
			t.Errorf("%d tokens were booked, the worker had delivered 7", a.paid.RequestTokens)
		}
	})
}

// A client that says it wants little and makes the engines give much, many
// times at once, is stopped where its money ends: beyond it workers earn nothing.
func TestWorkBeyondTheMoneyStops(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w := r.worker(workerOptions{version: 4, features: allFeatures, limit: 3})
		c := r.client(4, nil)
		const all = 500_000_000 // of a client without a chain
		var ids []tl.Int256
		for n := range 3 {
			q := limitedTo(1+n, "2000000000") // the engine's limit; what follows is the proxy's
			q.MaxTokens = 0
			c.send(q)
			id := w.given().RequestID
			ids = append(ids, id)
			w.head(id)
			want[*tl.ClientQueryAnswerEx](c)
		}
		w.send(&tl.CocoonQueryProgress{RequestID: ids[0], TokensUsed: used(all - 10_000)})
		w.send(&tl.CocoonQueryProgress{RequestID: ids[1], TokensUsed: used(5_000)})
		c.nothing("while it can pay")
		w.send(&tl.CocoonQueryProgress{RequestID: ids[1], TokensUsed: used(10_000)})
		if stop := want[*tl.CocoonCancelQuery](w); stop.RequestID != ids[1] {
			t.Errorf("the worker is to stop %x, want the request that has gone too far", stop.RequestID[:4])
		}
		a := &answered{}
		c.rest(requestID(2), a)
		if !strings.Contains(a.body, "insufficient_quota") {
			t.Errorf("the answer ends with %q", a.body)
		}
		if pay := c.payment(requestID(2)); pay.RequestTokens < 5_000 || pay.RequestTokens > 10_000 {
			t.Errorf("%d tokens are booked, want what was left", pay.RequestTokens)
		}
		w.end(ids[0], all-10_000)
		c.rest(requestID(1), &answered{})
		if pay := c.payment(requestID(1)); pay.RequestTokens != all-10_000 {
			t.Errorf("%d tokens are booked of %d that were delivered", pay.RequestTokens, all-10_000)
		}
	})
}

// A price that rises between the choice of a worker and the request's way to
// it must not rise above what the caller accepted.
func TestPriceStaysBelowTheCeiling(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w := r.worker(workerOptions{version: 4, coefficient: 1000})
		c := r.client(4, nil)
		_, workers := r.p.connections()
		workers[0].mu.Lock()
		workers[0].price = 900_000 // as setPrice does, before the market hears of it
		workers[0].mu.Unlock()
		q := question(1)
		q.MaxCoefficient = 1500
		c.send(q)
		given := w.given()
		if given.Coefficient > 1500 {
			t.Errorf("the request went out at %d, its caller allows 1500", given.Coefficient)
		}
		w.head(given.RequestID)
		w.end(given.RequestID, 1)
		c.answer(q.RequestID, true)
	})
}

// Large questions of some must not cost a worker its connection, and with it
// the answers of all others.
func TestFloodOfLargeQuestionsLeavesTheWorker(t *testing.T) {
	inBubble(t, func(c *Config) { c.Wire.MaxQueued = 1 << 20 }, func(r *rig) {
		w := r.worker(workerOptions{version: 4, limit: 1000})
		w.in = make(chan tl.Object) // its reading goroutine blocks at the first packet
		c := r.client(4, nil)
		big := httpRequest()
		big.Payload = make([]byte, 200<<10)
		for n := range 20 {
			q := question(n)
			q.Query = tl.Marshal(big)
			q.MaxTokens, q.Timeout = 0, 300
			c.send(q)
		}
		time.Sleep(5 * time.Second)
		if err := w.conn.Err(); err != nil {
			t.Errorf("the worker was cut off: %v", err)
		}
		if _, workers := r.p.connections(); len(workers) != 1 {
			t.Errorf("%d workers are connected, want 1", len(workers))
		}
		go func() {
			for range w.in {
			}
		}()
		w.conn.Close(nil)
		<-w.closed
		close(w.in)
	})
}

// Numbers from workers are added up in statistics that only grow.
func TestNonsenseNumbersStayOutOfStatistics(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w := r.worker(workerOptions{version: 4})
		for n, info := range []tl.ProxyQueryFinalInfo{
			{Flags: 2, WorkerStartTime: math.NaN(), WorkerEndTime: 1},
			{Flags: 2, WorkerStartTime: math.Inf(-1), WorkerEndTime: math.Inf(1)},
			{TokensUsed: tl.TokensUsed{PromptTokensUsed: math.MaxInt64, TotalTokensUsed: math.MaxInt64}},
			{TokensUsed: tl.TokensUsed{PromptTokensUsed: math.MaxInt64, TotalTokensUsed: math.MaxInt64}},
		} {
			c, q := r.client(4, nil), question(n) // the claims of the last two take all that one has
			c.send(q)
			id := w.given().RequestID
			w.head(id)
			w.send(&tl.ProxyQueryAnswerPartEx{RequestID: id, Flags: 1, FinalInfo: info})
			want[*tl.ProxyWorkerRequestPayment](w)
			c.answer(q.RequestID, true)
		}
		s := r.p.Snapshot().Stats
		for name, v := range map[string]float64{"worker time": s.WorkerTime[0], "total": s.Total[0], "prompt": s.Prompt[0]} {
			if v < 0 {
				t.Errorf("%s is %v", name, v)
			}
		}
	})
}

// A worker that ignores the word that nobody wants its answer cannot keep the
// client's tokens reserved until the request's own time is over.
func TestIgnoredCancelFreesTheReservation(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w := r.worker(workerOptions{version: 4, features: allFeatures})
		c := r.client(4, allFeatures)
		q := question(1)
		q.Timeout = 3600
		c.send(q)
		w.head(w.given().RequestID)
		want[*tl.ClientQueryAnswerEx](c)
		c.send(&tl.CocoonCancelQuery{RequestID: q.RequestID})
		time.Sleep(time.Minute)
		r.sound()
	})
}

// Accounts that were never used make room for others. A worker that is
// connected and has earned nothing yet must not be among the lost for that.
func TestCrowdOfWorkersLeavesTheIdleOne(t *testing.T) {
	inBubble(t, func(c *Config) { c.Book = newBook(t, ledger.Config{Limit: 3}) }, func(r *rig) {
		w := r.worker(workerOptions{version: 4})
		crowd := func() {
			for n := range 5 {
				r.worker(workerOptions{version: 4, owner: fmt.Sprintf("0:%064x", 100+n), disabled: true}).conn.Close(nil)
			}
		}
		crowd()
		c := r.client(4, nil)
		c.send(question(1))
		id := w.given().RequestID
		w.head(id)
		crowd()
		w.end(id, 5)
		if a := c.answer(requestID(1), true); a.paid.RequestTokens != 5 {
			t.Errorf("%d tokens were booked, want 5", a.paid.RequestTokens)
		}
		if pay := want[*tl.ProxyWorkerRequestPayment](w); pay.MaxTokens != 5 {
			t.Errorf("the worker has %d tokens, want 5", pay.MaxTokens)
		}
	})
}

// A proxy that has just started again, and no worker yet, does not know which
// models there are: callers are told to try again, and not that there is none.
func TestNoModelIsUnknownBeforeTheFirstWorker(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		c := r.client(4, nil)
		c.send(question(1))
		a := c.answer(requestID(1), false)
		a.refusedWith(t, 503, "651", openai.CodeNoWorker)
		if a.header("Retry-After") == "" || len(r.p.market.Models()) != 0 {
			t.Errorf("headers %v, models %v", a.head.Headers, r.p.market.Models())
		}
		r.worker(workerOptions{version: 4})
		other := question(2)
		other.ModelName = "other"
		c.send(other)
		c.answer(other.RequestID, false).refusedWith(t, 404, "621", openai.CodeModelNotFound)
	})
}

// Neither requests that cannot be read nor repeated ids fill the log.
func TestFloodsDoNotFillTheLog(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w := r.worker(workerOptions{version: 4})
		broken, repeats := r.client(4, nil), r.client(4, nil)
		for range 1000 {
			repeats.send(question(1))
			broken.conn.SendRaw(tl.Marshal(question(2))[:40])
		}
		id := w.given().RequestID
		w.head(id)
		w.end(id, 1)
		repeats.answer(requestID(1), true)
		if n := strings.Count(r.log.String(), "level=WARN"); n > 2 {
			t.Errorf("%d warnings", n)
		}
	})
}
