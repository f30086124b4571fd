package proxy

import (
	"fmt"
	"testing"

	"github.com/opencocoon/cocoon/tl"
)

// Every version at the client with every version at the worker, which answers
// in either family: the client gets the form of its own version, whole.
func TestVersionMatrix(t *testing.T) {
	for cv := range int32(maxVersion + 1) {
		for wv := range int32(maxVersion + 1) {
			for _, legacy := range []bool{false, true} {
				t.Run(fmt.Sprintf("client %d, worker %d, legacy answer %v", cv, wv, legacy), func(t *testing.T) {
					inBubble(t, nil, func(r *rig) {
						w, c := r.worker(workerOptions{version: wv}), r.client(cv, nil)
						q := question(1)
						q.EnableDebug = true
						c.send(q)
						id := w.givenAt(t, wv, string(q.Query))
						w.answerAs(id, wv, legacy)
						c.wantAs(t, cv, wv, legacy)
						pay := c.payment(q.RequestID)
						if pay.RequestTokens != 15 {
							t.Errorf("paid %d, want 15", pay.RequestTokens)
						}
						if pay := want[*tl.ProxyWorkerRequestPayment](w); pay.RequestTokens != 15 || pay.RequestID != id {
							t.Errorf("worker was paid %+v", pay)
						}
						c.quiet()
					})
				})
			}
		}
	}
}

// givenAt checks the request as a worker of the version has it.
func (p *peer) givenAt(t *testing.T, version int32, query string) tl.Int256 {
	t.Helper()
	if version == 0 {
		q := want[*tl.ProxyRunQuery](p)
		if string(q.Query) != query || q.Coefficient != 1000 || q.Timeout != 57 {
			t.Errorf("given %+v", q)
		}
		return q.RequestID
	}
	q := want[*tl.ProxyRunQueryEx](p)
	flags := uint32(1)
	if version >= 3 {
		flags = 3
	}
	if string(q.Query) != query || q.Flags != flags || !q.EnableDebug || q.PrivateKey != (tl.Int256{}) {
		t.Errorf("given %+v, want flags %d", q, flags)
	}
	return q.RequestID
}

func (p *peer) answerAs(id tl.Int256, version int32, legacy bool) {
	p.r.t.Helper()
	head := response(200, "h", "Transfer-Encoding", "chunked")
	if legacy {
		p.send(&tl.ProxyQueryAnswer{Answer: head, RequestID: id})
		p.send(&tl.ProxyQueryAnswerPart{Answer: []byte("p"), RequestID: id})
		p.send(&tl.ProxyQueryAnswerPart{Answer: []byte("l"), IsCompleted: true, RequestID: id, TokensUsed: used(15)})
		return
	}
	info := tl.ProxyQueryFinalInfo{Flags: 1, TokensUsed: used(15), WorkerDebug: "{}"}
	if version >= 2 {
		info.Flags, info.WorkerStartTime, info.WorkerEndTime = 3, 100, 101
	}
	p.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: head})
	p.send(&tl.ProxyQueryAnswerPartEx{RequestID: id, Answer: []byte("p")})
	p.send(&tl.ProxyQueryAnswerPartEx{RequestID: id, Answer: []byte("l"), Flags: 1, FinalInfo: info})
}

func (p *peer) wantAs(t *testing.T, version, worker int32, legacy bool) {
	t.Helper()
	if version == 0 {
		p.wantLegacy(t)
		return
	}
	var a answered
	first := want[*tl.ClientQueryAnswerEx](p)
	if err := tl.Unmarshal(first.Answer, &a.head); err != nil || first.Flags != 0 {
		t.Errorf("head: %v, flags %d", err, first.Flags)
	}
	a.body = string(a.head.Payload)
	p.rest(requestID(1), &a)
	if a.body != "hpl" || a.final.TokensUsed != used(15) {
		t.Errorf("%+v", a)
	}
	flags, start, debug := uint32(1), 0.0, "{}" // the wish for debugging came with Ex
	if version >= 2 {
		flags = 3
		if worker >= 2 {
			start = 100
		}
	}
	if legacy {
		start, debug = 0, ""
	}
	if a.final.Flags != flags || a.final.WorkerStartTime != start || a.final.WorkerDebug != debug || (a.final.ProxyStartTime != 0) != (version >= 2) {
		t.Errorf("final info %+v, want flags %d, worker start %v, debug %q", a.final, flags, start, debug)
	}
}

func (p *peer) wantLegacy(t *testing.T) {
	t.Helper()
	first := want[*tl.ClientQueryAnswer](p)
	var head tl.HTTPResponse
	if err := tl.Unmarshal(first.Answer, &head); err != nil || first.IsCompleted || first.RequestTokensUsed != (tl.TokensUsed{}) || string(head.Payload) != "h" {
		t.Errorf("head %+v: %v", first, err)
	}
	if part := want[*tl.ClientQueryAnswerPart](p); part.IsCompleted || string(part.Answer) != "p" || part.RequestTokensUsed != (tl.TokensUsed{}) || part.RequestID != requestID(1) {
		t.Errorf("part %+v", part)
	}
	if last := want[*tl.ClientQueryAnswerPart](p); !last.IsCompleted || string(last.Answer) != "l" || last.RequestTokensUsed != used(15) {
		t.Errorf("last %+v", last)
	}
}

// A whole answer in one message, both ways, and failures at version 0.
func TestOneMessageAnswers(t *testing.T) {
	for cv := range int32(maxVersion + 1) {
		for _, legacy := range []bool{false, true} {
			inBubble(t, nil, func(r *rig) {
				w, c := r.worker(workerOptions{version: 4}), r.client(cv, nil)
				c.send(question(1))
				id := w.given().RequestID
				body := response(200, "all", "Content-Length", "3")
				if legacy {
					w.send(&tl.ProxyQueryAnswer{Answer: body, IsCompleted: true, RequestID: id, TokensUsed: used(4)})
				} else {
					w.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: body, Flags: 1, FinalInfo: final(4)})
				}
				if cv == 0 {
					if a := want[*tl.ClientQueryAnswer](c); !a.IsCompleted || a.RequestTokensUsed != used(4) {
						t.Errorf("%+v", a)
					}
				} else if a := want[*tl.ClientQueryAnswerEx](c); a.Flags != 1 || a.FinalInfo.TokensUsed != used(4) {
					t.Errorf("%+v", a)
				}
				if pay := c.payment(requestID(1)); pay.RequestTokens != 4 {
					t.Errorf("paid %d", pay.RequestTokens)
				}
			})
		}
	}
}

func TestLegacyClientFailures(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(0, nil)
		old := &tl.ClientRunQuery{ModelName: "x", Query: question(1).Query, MaxCoefficient: 4000, MaxTokens: 10, Timeout: 60, RequestID: requestID(1)}
		c.send(old)
		if e := want[*tl.ClientQueryAnswerError](c); e.ErrorCode != 621 || e.RequestID != requestID(1) {
			t.Errorf("%+v", e)
		}
		old.ModelName, old.RequestID = "m", requestID(2)
		c.send(old)
		given := w.given()
		if given.EnableDebug {
			t.Error("a wish for debugging that nobody had")
		}
		w.head(given.RequestID)
		w.send(&tl.ProxyQueryAnswerErrorEx{RequestID: given.RequestID, ErrorCode: 601, Error: "died", Flags: 1, FinalInfo: final(8)})
		want[*tl.ClientQueryAnswer](c)
		if e := want[*tl.ClientQueryAnswerPartError](c); e.ErrorCode != 601 || e.Error != "died" || e.RequestTokensUsed != used(8) {
			t.Errorf("%+v", e)
		}
		c.payment(requestID(2))
	})
}

func TestChooseVersion(t *testing.T) {
	for _, x := range []struct {
		flags           uint32
		lowest, highest int32
		want            int32
		ok              bool
	}{
		{1, 0, 0, 0, true}, {1, 3, 9, 0, true}, {3, 0, 0, 0, true}, {3, 1, 1, 1, true}, {3, 1, 2, 2, true}, {3, 3, 4, 4, true},
		{3, 0, 99, 4, true}, {3, 4, 99, 4, true}, {3, 5, 99, 0, false}, {3, -5, -1, 0, false}, {3, 2, 1, 0, false}, {3, -5, 1, 1, true},
	} {
		if got, ok := chooseVersion(x.flags, x.lowest, x.highest); ok != x.ok || ok && got != x.want {
			t.Errorf("chooseVersion(%d, %d, %d) = %d, %v, want %d, %v", x.flags, x.lowest, x.highest, got, ok, x.want, x.ok)
		}
	}
}
