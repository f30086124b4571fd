package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

func openaiError(body string) (code string, ok bool) {
	var v struct {
		Error struct{ Message, Type, Code string }
	}
	if json.Unmarshal([]byte(body), &v) != nil || v.Error.Message == "" || v.Error.Type == "" {
		return "", false
	}
	return v.Error.Code, true
}

// What a worker can do before its first answer, with a second worker there:
// the caller gets an ordinary answer all the same, and only the second is paid.
func TestFailureBeforeFirstAnswerMovesOn(t *testing.T) {
	for name, breakIt := range map[string]func(w *peer, id tl.Int256){
		"connection lost": func(w *peer, id tl.Int256) { w.conn.Close(nil) },
		"error 0": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, Error: "http failed", Flags: 1})
		},
		"too many": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 602, Error: "too many active queries", Flags: 1})
		},
		"error without info": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 651, Error: "not ready"})
		},
		"legacy error": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerError{RequestID: id, ErrorCode: 601, Error: "failure"})
		},
		"part first":      func(w *peer, id tl.Int256) { w.part(id, "x") },
		"last part first": func(w *peer, id tl.Int256) { w.end(id, 5) },
		"malformed head":  func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: []byte("nonsense")}) },
		"request as head": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: tl.Marshal(httpRequest())})
		},
		"status 0": func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(0, "")}) },
		"two lengths": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(200, "", "Content-Length", "1", "content-length", "2")})
		},
		"malformed object": func(w *peer, id tl.Int256) {
			w.raw(append(tl.Marshal(&tl.ProxyQueryAnswerEx{RequestID: id}), 1, 2, 3, 4))
		},
		"malformed part": func(w *peer, id tl.Int256) {
			w.raw(tl.Marshal(&tl.ProxyQueryAnswerPartEx{RequestID: id, Flags: 1})[:44])
		},
		"negative tokens": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(200, ""), Flags: 1, FinalInfo: final(-1)})
		},
		"engine is down (502)": func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(502, "")}) },
		"engine is down (503)": func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(503, ""), Flags: 1, FinalInfo: final(7)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(r *rig) {
				bad := r.worker(workerOptions{version: 4, coefficient: 500, owner: rootText})
				good := r.worker(workerOptions{version: 4, coefficient: 2000})
				c := r.client(4, nil)
				q := question(1)
				c.send(q)
				first := bad.given()
				time.Sleep(10 * time.Second)
				breakIt(bad, first.RequestID)
				second := good.given()
				if second.RequestID == first.RequestID || second.Coefficient != 2000 || second.Timeout != 50*workerShare {
					t.Errorf("given again as %+v", second)
				}
				good.head(second.RequestID)
				good.end(second.RequestID, 42)
				if a := c.answer(q.RequestID, true); a.head.StatusCode != 200 || a.final.TokensUsed != used(42) || a.paid.RequestTokens != 42 {
					t.Errorf("%+v", a)
				}
				if pay := want[*tl.ProxyWorkerRequestPayment](good); pay.RequestTokens != 42 {
					t.Errorf("the second worker got %d", pay.RequestTokens)
				}
				if bad.conn.Err() == nil {
					if pay := want[*tl.ProxyWorkerRequestPayment](bad); pay.RequestTokens != 0 || pay.RequestID != first.RequestID {
						t.Errorf("the first worker got %+v", pay)
					}
					bad.head(first.RequestID) // too late: ignored
					bad.end(first.RequestID, 99)
				}
				c.quiet()
				if n := r.p.stats.retried.Total(); n != 1 {
					t.Errorf("%d retries counted", n)
				}
			})
		})
	}
}

func (p *peer) raw(b []byte) {
	p.r.t.Helper()
	if err := p.conn.SendRaw(b); err != nil {
		p.r.t.Fatal(err)
	}
}

// The same with nobody else there: one error, in the form every client survives.
func TestFailureBeforeFirstAnswerAlone(t *testing.T) {
	for _, x := range []struct {
		name    string
		do      func(w *peer, id tl.Int256)
		status  int32
		network string
		api     string
	}{
		{"connection lost", func(w *peer, id tl.Int256) { w.conn.Close(nil) }, 502, "651", "connection_lost"},
		{"error 0", func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, Error: "http failed"}) }, 502, "601", "bad_answer"},
		{"not ready", func(w *peer, id tl.Int256) { w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 651}) }, 503, "651", "no_worker"},
		{"timeout", func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 652, Error: "worker: timeout"})
		}, 504, "652", "timeout"},
		{"request refused", func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 621, Error: "worker: invalid http request: field x", Flags: 1, FinalInfo: final(99)})
		}, 400, "621", "invalid_value"},
		{"out of order", func(w *peer, id tl.Int256) { w.part(id, "x") }, 502, "651", "bad_answer"},
		{"silence", func(w *peer, id tl.Int256) {}, 504, "652", "timeout"},
	} {
		t.Run(x.name, func(t *testing.T) {
			inBubble(t, nil, func(r *rig) {
				w, c := r.worker(workerOptions{version: 4, features: allFeatures}), r.client(4, nil)
				start := time.Now()
				c.send(question(1))
				x.do(w, w.given().RequestID)
				a := c.answer(requestID(1), true)
				a.refusedWith(t, x.status, x.network, x.api)
				if _, ok := openaiError(a.body); !ok {
					t.Errorf("body %q", a.body)
				}
				if a.paid.RequestTokens != 0 || a.final.TokensUsed != (tl.TokensUsed{}) {
					t.Errorf("it cost %d, %+v", a.paid.RequestTokens, a.final.TokensUsed)
				}
				if x.name == "silence" {
					// The payment behind the answer may wait a few milliseconds for company.
					if d := time.Since(start).Truncate(10 * time.Millisecond); d != 60*time.Second {
						t.Errorf("timed out after %s, want exactly the client's minute", d)
					}
					want[*tl.CocoonCancelQuery](w)
				}
				c.quiet()
			})
		})
	}
}

// The refusal of a request by two workers is not offered to others.
func TestWorkersVerdictIsFinal(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		workers, c := []*peer{}, r.client(4, nil)
		for i := range 3 {
			workers = append(workers, r.worker(workerOptions{version: 4, coefficient: int32(500 + 500*i), owner: fmt.Sprintf("0:%064x", 100+i)}))
		}
		other := workers[2]
		c.send(question(1))
		for _, w := range workers[:2] {
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: w.given().RequestID, ErrorCode: 621, Error: "worker: invalid http request: field \"tools\"", Flags: 1})
		}
		a := c.answer(requestID(1), true)
		a.refusedWith(t, 400, "621", "invalid_value")
		if !strings.Contains(a.body, `field \"tools\"`) {
			t.Errorf("the worker's reason is lost: %s", a.body)
		}
		other.quiet()
	})
}

// A request is given to some workers and then fails, within its time.
func TestAttemptsAreBounded(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		var given atomic.Int32
		for range maxAttempts + 3 {
			w := r.worker(workerOptions{version: 4})
			go func() {
				select {
				case <-w.in:
					given.Add(1)
					w.conn.Close(nil)
				case <-w.conn.Done():
				}
			}()
		}
		c := r.client(4, nil)
		c.send(question(1))
		c.answer(requestID(1), true).refusedWith(t, 502, "651", "connection_lost")
		if n := given.Load(); n != maxAttempts {
			t.Errorf("%d workers were given the request, want %d", n, maxAttempts)
		}
	})
}

// After the first answer nothing moves: the stream ends with an error in its own
// framing, and what the worker had reported is booked.
func TestFailureInMidStream(t *testing.T) {
	type scene struct {
		name    string
		do      func(w *peer, id tl.Int256)
		booked  int64
		code    string
		cancels bool
	}
	progress := func(w *peer, id tl.Int256, n int64) {
		w.send(&tl.CocoonQueryProgress{RequestID: id, TokensUsed: used(n)})
	}
	for _, x := range []scene{
		{"lost", func(w *peer, id tl.Int256) { synctest.Wait(); w.conn.Close(nil) }, 0, "connection_lost", false},
		{"lost after progress", func(w *peer, id tl.Int256) {
			progress(w, id, 10)
			progress(w, id, 17)
			synctest.Wait()
			w.conn.Close(nil)
		}, 17, "connection_lost", false},
		{"progress never goes back", func(w *peer, id tl.Int256) {
			progress(w, id, 17)
			progress(w, id, 10)
			progress(w, id, -5)
			synctest.Wait()
			w.conn.Close(nil)
		}, 17, "connection_lost", false},
		{"error", func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, Error: "engine died", Flags: 1, FinalInfo: final(12)})
		}, 12, "bad_answer", false},
		{"legacy error", func(w *peer, id tl.Int256) {
			w.send(&tl.ProxyQueryAnswerPartError{RequestID: id, Error: "engine died", TokensUsed: used(12)})
		}, 12, "bad_answer", false},
		{"error below progress", func(w *peer, id tl.Int256) {
			progress(w, id, 20)
			w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, Flags: 1, FinalInfo: final(12)})
		}, 20, "bad_answer", false},
		{"second head", func(w *peer, id tl.Int256) { progress(w, id, 5); w.head(id) }, 5, "bad_answer", true},
		{"malformed part", func(w *peer, id tl.Int256) {
			progress(w, id, 5)
			w.raw(append(tl.Marshal(&tl.ProxyQueryAnswerPartEx{RequestID: id, Flags: 1}), 9))
		}, 5, "bad_answer", true},
		{"silence", func(w *peer, id tl.Int256) { progress(w, id, 5) }, 5, "timeout", true},
	} {
		t.Run(x.name, func(t *testing.T) {
			inBubble(t, nil, func(r *rig) {
				w, c := r.worker(workerOptions{version: 4, coefficient: 500, features: allFeatures}), r.client(4, nil)
				other := r.worker(workerOptions{version: 4, coefficient: 2000})
				c.send(question(1))
				given := w.given()
				w.head(given.RequestID)
				w.part(given.RequestID, "data: {\"a\":1}\n\n")
				x.do(w, given.RequestID)
				a := c.answer(requestID(1), true)
				event, ok := strings.CutPrefix(a.body, "data: {\"a\":1}\n\ndata: ")
				code, isError := openaiError(event)
				if !ok || !isError || code != x.code || a.head.StatusCode != 200 {
					t.Errorf("body %q, want an event with %s", a.body, x.code)
				}
				if a.paid.RequestTokens != x.booked || a.final.TokensUsed.TotalTokensUsed != x.booked {
					t.Errorf("booked %d, told %d, want %d", a.paid.RequestTokens, a.final.TokensUsed.TotalTokensUsed, x.booked)
				}
				if x.cancels {
					want[*tl.CocoonCancelQuery](w)
				}
				if w.conn.Err() == nil {
					if pay := want[*tl.ProxyWorkerRequestPayment](w); pay.RequestTokens != x.booked {
						t.Errorf("the worker got %d, want %d", pay.RequestTokens, x.booked)
					}
					w.part(given.RequestID, "late")
					w.end(given.RequestID, 1000)
				}
				c.quiet()
				other.quiet()
			})
		})
	}
}

// The error begins on a line of its own, whatever the body ended with.
func TestErrorFraming(t *testing.T) {
	for _, x := range []struct{ contentType, body, want string }{
		{"text/event-stream", "", "data: {"},
		{"text/event-stream; charset=utf-8", "data: 1\n\n", "data: 1\n\ndata: {"},
		{"text/event-stream", "data: 1\n", "data: 1\n\ndata: {"},
		{"text/event-stream", "data: 1", "data: 1\n\ndata: {"},
		{"application/x-ndjson", "{}\n", "{}\n{\""},
		{"application/x-ndjson", "{", "{\n{\""},
		{"application/json", "", "{\"error\""},
		{"application/json", "{\"choi", "{\"choi\n{\"error\""},
		{"", "x", "x\n{\"error\""},
	} {
		inBubble(t, nil, func(r *rig) {
			w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
			c.send(question(1))
			id := w.given().RequestID
			w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(200, "", "CONTENT-type", x.contentType)})
			for _, b := range []byte(x.body) {
				w.part(id, string(b))
			}
			synctest.Wait()
			w.conn.Close(nil)
			a := c.answer(requestID(1), true)
			if !strings.HasPrefix(a.body, x.want) || !strings.HasSuffix(a.body, "}\n") && !strings.HasSuffix(a.body, "}\n\n") {
				t.Errorf("%s %q: body %q, want %q…", x.contentType, x.body, a.body, x.want)
			}
		})
	}
}

// The caller cancels: the worker is told, what it delivered is booked, and the client gets an end.
func TestCancel(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4, features: allFeatures}), r.client(4, allFeatures)
		c.send(question(1))
		id := w.given().RequestID
		w.head(id)
		w.part(id, "data: 1\n\n")
		want[*tl.ClientQueryAnswerEx](c)
		want[*tl.ClientQueryAnswerPartEx](c)
		c.send(&tl.CocoonCancelQuery{RequestID: requestID(1)})
		if got := want[*tl.CocoonCancelQuery](w); got.RequestID != id {
			t.Errorf("cancelled %x, want %x", got.RequestID, id)
		}
		w.part(id, "already on its way")
		w.end(id, 9)
		last := want[*tl.ClientQueryAnswerPartEx](c)
		if len(last.Answer) != 0 || last.Flags != 1 || last.FinalInfo.TokensUsed != used(9) {
			t.Errorf("%+v", last)
		}
		if pay := c.payment(requestID(1)); pay.RequestTokens != 9 {
			t.Errorf("paid %d", pay.RequestTokens)
		}
		c.send(&tl.CocoonCancelQuery{RequestID: requestID(1)}) // too late
		c.send(&tl.CocoonCancelQuery{RequestID: requestID(7)}) // never was
		c.quiet()
	})
}

// Cancelled before the first answer: no other worker is tried.
func TestCancelBeforeFirstAnswer(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, other, c := r.worker(workerOptions{version: 4, coefficient: 500, features: allFeatures}), r.worker(workerOptions{version: 4, coefficient: 2000}), r.client(4, allFeatures)
		c.send(question(1))
		id := w.given().RequestID
		c.send(&tl.CocoonCancelQuery{RequestID: requestID(1)})
		want[*tl.CocoonCancelQuery](w)
		w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: id, ErrorCode: 653, Error: "cancelled", Flags: 1, FinalInfo: final(3)})
		a := c.answer(requestID(1), true)
		a.refusedWith(t, 499, "653", "cancelled")
		if a.paid.RequestTokens != 0 {
			t.Errorf("paid %d for nothing delivered", a.paid.RequestTokens)
		}
		other.quiet()
	})
}

// The caller's connection ends: the worker is told if it knows how, and the account is settled either way.
func TestClientLeaves(t *testing.T) {
	for _, features := range [][]string{nil, allFeatures} {
		inBubble(t, nil, func(r *rig) {
			w, c := r.worker(workerOptions{version: 4, features: features}), r.client(4, nil)
			c.send(question(1))
			id := w.given().RequestID
			w.head(id)
			want[*tl.ClientQueryAnswerEx](c)
			c.conn.Close(nil)
			synctest.Wait()
			if features != nil {
				want[*tl.CocoonCancelQuery](w)
			}
			w.part(id, "data: 1\n\n")
			w.end(id, 30)
			if pay := want[*tl.ProxyWorkerRequestPayment](w); pay.RequestTokens != 30 {
				t.Errorf("the worker got %d", pay.RequestTokens)
			}
			if used := r.book.Clients()[0].Used.Max; used != 30 {
				t.Errorf("the client was charged %d", used)
			}
		})
	}
}

// Requests of a client that left end at their time even if the worker stays silent.
func TestClientLeavesSilentWorker(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(question(1))
		w.given()
		c.conn.Close(nil)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		r.sound()
	})
}

// An id in use is left alone; the first request is not disturbed.
func TestDuplicateRequestID(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(question(1))
		id := w.given().RequestID
		c.send(question(1))
		w.quiet()
		w.head(id)
		w.end(id, 1)
		c.answer(requestID(1), true)
		c.send(question(1)) // the id is free again
		w.next()
	})
}

// Answers to requests that a worker was not given do nothing, also when they are another worker's.
func TestForeignAnswers(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, thief, c := r.worker(workerOptions{version: 4, coefficient: 500}), r.worker(workerOptions{version: 4, coefficient: 3000}), r.client(4, nil)
		c.send(question(1))
		id := w.given().RequestID
		thief.head(id)
		thief.end(id, 1_000_000)
		thief.head(requestID(1))
		thief.part(tl.Int256{}, "x")
		thief.raw(nil)
		thief.raw([]byte{1, 2, 3})
		thief.raw([]byte{0x0f, 0xb5, 0x85, 0x6d}) // the id of a part alone
		c.quiet()
		w.head(id)
		w.end(id, 5)
		if a := c.answer(requestID(1), true); a.paid.RequestTokens != 5 {
			t.Errorf("paid %d", a.paid.RequestTokens)
		}
	})
}

// A worker that reports absurd use cannot make the client owe what it does not have.
func TestAbsurdUsage(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(limitedTo(1, "2000000000"))
		id := w.given().RequestID
		w.head(id)
		w.end(id, 1<<62)
		if a := c.answer(requestID(1), true); a.paid.RequestTokens != 500_000_000 {
			t.Errorf("booked %d, want the client's whole limit", a.paid.RequestTokens)
		}
		c.send(question(2))
		c.answer(requestID(2), false).refusedWith(t, 402, "602", "insufficient_quota")
	})
}

// Nor can it make the client owe more than a question with a limit can cost.
func TestReportBeyondTheLimit(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		for i, x := range []struct {
			body    string
			answers int64
		}{{`{"model":"m","max_tokens":100}`, 1}, {`{"model":"m","max_completion_tokens":100,"\u006e":3}`, 3}} {
			q, h := question(i+1), httpRequest()
			h.Payload = []byte(x.body)
			q.Query = tl.Marshal(h)
			c.send(q)
			id := w.given().RequestID
			w.head(id)
			w.end(id, 400_000_000)
			if got, most := c.answer(requestID(i+1), true).paid.RequestTokens, ledger.Most(100, x.answers, len(q.Query), 1000, ledger.Plain); got != most {
				t.Errorf("%s: booked %d of an absurd report, want %d", x.body, got, most)
			}
			want[*tl.ProxyWorkerRequestPayment](w)
		}
	})
}

// A question that does not fit into the worker's frame is refused to its sender, and nobody else suffers.
func TestOversizedQuestion(t *testing.T) {
	inBubble(t, func(c *Config) { c.Wire.MaxFrame = 100_000 }, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		q := question(1)
		big := httpRequest()
		// The client's message has 70 bytes more around the question than the worker's without a payment; with it, it has fewer.
		big.Payload = bytes.Repeat([]byte("x"), 99_700)
		q.Query = tl.Marshal(big)
		c.send(q)
		a := c.answer(q.RequestID, false)
		a.refusedWith(t, 413, "602", openai.CodeTooLarge)
		w.quiet()
		c.send(question(2))
		w.given()
		c.send(question(3))
		w.given()
	})
}

// A client that reads nothing loses its connection; the worker and the other clients go on.
func TestSlowReader(t *testing.T) {
	inBubble(t, func(c *Config) { c.Wire.MaxQueued = 1 << 20 }, func(r *rig) {
		w, slow, c := r.worker(workerOptions{version: 4}), r.client(4, nil), r.client(4, nil)
		slow.in = make(chan tl.Object) // its reading goroutine blocks at the first packet
		slow.send(question(1))
		id := w.given().RequestID
		w.head(id)
		for range 300 {
			w.part(id, strings.Repeat("x", 10_000))
		}
		c.send(question(2))
		next := w.given().RequestID
		w.head(next)
		w.end(next, 1)
		c.answer(requestID(2), true)
		w.end(id, 3000)
		for {
			if pay := want[*tl.ProxyWorkerRequestPayment](w); pay.RequestID == id {
				if pay.RequestTokens != 3000 {
					t.Errorf("the worker got %d", pay.RequestTokens)
				}
				break
			}
		}
		go func() {
			for range slow.in {
			}
		}()
		<-slow.closed
		close(slow.in)
	})
}

// The head keeps every header but the length that parts may change, and gets what clients need.
func TestHeadRewriting(t *testing.T) {
	for _, x := range []struct {
		name    string
		headers []string
		final   bool
		want    map[string]string // empty means absent
	}{
		{"chunked", []string{"Transfer-Encoding", "chunked"}, false, map[string]string{"Transfer-Encoding": "chunked", "Content-Length": ""}},
		{"length, more follows", []string{"Content-Length", "5", "X-A", "b"}, false, map[string]string{"Transfer-Encoding": "chunked", "Content-Length": "", "X-A": "b"}},
		{"lower-case length", []string{"content-length", "5"}, false, map[string]string{"Transfer-Encoding": "chunked", "Content-Length": ""}},
		{"neither", nil, false, map[string]string{"Transfer-Encoding": "chunked", "Content-Length": ""}},
		{"both", []string{"Content-Length", "5", "transfer-encoding", "chunked"}, false, map[string]string{"Transfer-Encoding": "chunked", "Content-Length": ""}},
		{"final with length", []string{"Content-Length", "4"}, true, map[string]string{"Content-Length": "4", "Transfer-Encoding": ""}},
		{"final, neither", nil, true, map[string]string{"Content-Length": "4", "Transfer-Encoding": ""}},
		{"final, chunked", []string{"Transfer-Encoding", "chunked"}, true, map[string]string{"Content-Length": "", "Transfer-Encoding": "chunked"}},
	} {
		inBubble(t, nil, func(r *rig) {
			w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
			c.send(question(1))
			id := w.given().RequestID
			first := &tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(201, "body", append([]string{"X-First", "1"}, x.headers...)...)}
			if x.final {
				first.Flags, first.FinalInfo = 1, final(4)
			}
			w.send(first)
			if !x.final {
				w.end(id, 4)
			}
			a := c.answer(requestID(1), true)
			if a.head.StatusCode != 201 || a.head.Reason != "OK" || !strings.HasPrefix(a.body, "body") || a.header("X-First") != "1" || a.header("X-Cocoon-Proxy-End") == "" || a.paid.RequestTokens != 4 {
				t.Errorf("%s: %+v", x.name, a)
			}
			for name, value := range x.want {
				if got := a.header(name); got != value {
					t.Errorf("%s: %s is %q, want %q", x.name, name, got, value)
				}
			}
		})
	}
}

// Debug texts are JSON or empty, because reference clients die of anything else.
func TestDebug(t *testing.T) {
	for debug, want := range map[string]string{`{"type":"worker_stats"}`: `{"type":"worker_stats"}`, "": "", "not JSON": ""} {
		inBubble(t, nil, func(r *rig) {
			w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
			q := question(1)
			q.EnableDebug = true
			c.send(q)
			given := w.given()
			if !given.EnableDebug {
				t.Error("the wish for debugging was lost")
			}
			w.head(given.RequestID)
			info := final(1)
			info.Flags, info.WorkerDebug = 3, debug
			w.send(&tl.ProxyQueryAnswerPartEx{RequestID: given.RequestID, Flags: 1, FinalInfo: info})
			a := c.answer(q.RequestID, true)
			if a.final.Flags != 3 || a.final.WorkerDebug != want || !json.Valid([]byte(a.final.ProxyDebug)) {
				t.Errorf("%q: %+v", debug, a.final)
			}
		})
	}
}

// Payments: nothing is signed above what is committed, the same payment is
// repeated until a commit, and both sides verify theirs.
func TestPayments(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.clientOf(rootText, 4, nil)
		w.serve(10)
		c.send(question(1))
		a := c.answer(requestID(1), true)
		first := a.paid.SignedPayment.(*tl.ProxySignedPayment)
		if n := r.verify(first, contract.Charge, rootText); n != 0 || a.paid.MaxTokens != 10 {
			t.Errorf("signed %d of %d before any commit", n, a.paid.MaxTokens)
		}
		c.send(question(2))
		second := c.answer(requestID(2), true).paid
		if !bytes.Equal(first.Data, second.SignedPayment.(*tl.ProxySignedPayment).Data) || second.MaxTokens != 20 {
			t.Error("the same amount was signed twice")
		}
		time.Sleep(3 * time.Second)
		s := mustAsk[*tl.ClientPaymentStatus](c, &tl.ClientUpdatePaymentStatus{})
		if n := r.verify(s.SignedPayment.(*tl.ProxySignedPayment), contract.Charge, rootText); n != 20 || s.DbTokens != 20 || s.MaxTokens != 20 {
			t.Errorf("signed %d, stored %d, counted %d", n, s.DbTokens, s.MaxTokens)
		}
	})
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(question(1))
		id := w.given().RequestID
		w.head(id)
		w.end(id, 10)
		want[*tl.ProxyWorkerRequestPayment](w)
		time.Sleep(3 * time.Second)
		s := mustAsk[*tl.WorkerPaymentStatus](w, &tl.WorkerUpdatePaymentStatus{})
		if n := r.verify(s.SignedPayment.(*tl.ProxySignedPayment), contract.Payout, ownerText); n != 10 || s.DbTokens != 10 || s.MaxTokens != 10 {
			t.Errorf("signed %d, stored %d, counted %d", n, s.DbTokens, s.MaxTokens)
		}
	})
}

// The wishes of workers take effect with the next request.
func TestEnableAndPrice(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4, disabled: true}), r.client(4, nil)
		types := func() *tl.ClientWorkerTypeV2 {
			return &mustAsk[*tl.ClientWorkerTypesV2](c, &tl.ClientGetWorkerTypesV2{}).Types[0]
		}
		if got := types(); got.Name != "m" || len(got.Workers) != 0 {
			t.Errorf("while disabled: %+v", got)
		}
		w.send(&tl.WorkerEnabledDisabled{Disabled: 0})
		w.send(&tl.WorkerNewCoefficient{NewCoefficient: 1500})
		synctest.Wait()
		c.send(question(1))
		if got := w.given(); got.Coefficient != 1500 {
			t.Errorf("coefficient %d, want 1500", got.Coefficient)
		}
		if got := types().Workers; len(got) != 1 || got[0] != (tl.ClientWorkerInstanceV2{Coefficient: 1500, ActiveRequests: 1, MaxActiveRequests: 10}) {
			t.Errorf("while running: %+v", got)
		}
		old := mustAsk[*tl.ClientWorkerTypes](c, &tl.ClientGetWorkerTypes{}).Types
		if len(old) != 1 || old[0] != (tl.ClientWorkerType{Name: "m", ActiveWorkers: 1, CoefficientMin: 1500, CoefficientBucket50: 1<<31 - 1, CoefficientMax: 1<<31 - 1}) {
			t.Errorf("the older list: %+v", old)
		}
		w.raw(tl.Marshal(&tl.WorkerNewCoefficient{})[:4]) // malformed: ignored
		w.raw(tl.Marshal(&tl.WorkerEnabledDisabled{})[:4])
		synctest.Wait()
		if w.conn.Err() != nil {
			t.Errorf("closed: %v", w.conn.Err())
		}
	})
	for _, bad := range []int32{-1, maxCoefficient} {
		inBubble(t, nil, func(r *rig) {
			w := r.worker(workerOptions{version: 4})
			w.send(&tl.WorkerNewCoefficient{NewCoefficient: bad})
			select {
			case <-w.closed:
			case <-time.After(time.Minute):
				t.Errorf("a worker asking %d is still connected", bad)
			}
		})
	}
}

// What is left of another release's words at a wrong time: nothing happens.
func TestIgnoredPackets(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		early := r.dial(r.clients, [32]byte{})
		early.send(question(1)) // before the handshake: dropped without reply
		early.quiet()
		c := r.client(4, nil)
		c.raw(nil)
		c.raw([]byte{1, 2, 3, 4})
		c.raw(tl.Marshal(question(1))[:60])
		c.raw(append(tl.Marshal(question(1)), 0, 0, 0, 0))
		c.send(&tl.ProxyQueryAnswerPartEx{})
		c.send(&tl.WorkerEnabledDisabled{Disabled: 1})
		c.quiet()
		if c.conn.Err() != nil || early.conn.Err() != nil {
			t.Errorf("closed: %v, %v", c.conn.Err(), early.conn.Err())
		}
	})
}
