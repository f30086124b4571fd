package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// One answer from end to end: every byte, every number and every payment.
func TestOneRequest(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		q := question(1)
		c.send(q)
		given := w.given()
		if string(given.Query) != string(q.Query) || given.Coefficient != 1000 || given.Flags != 3 || given.PrivateKey != (tl.Int256{}) || given.RequestID == q.RequestID {
			t.Errorf("given %+v", given)
		}
		if given.Timeout != 57 {
			t.Errorf("timeout %v, want 57", given.Timeout)
		}
		w.head(given.RequestID)
		w.part(given.RequestID, "data: {}\n\n")
		w.end(given.RequestID, 42)
		a := c.answer(q.RequestID, true)
		if a.head.StatusCode != 200 || a.body != "data: {}\n\ndata: [DONE]\n\n" || a.header("Transfer-Encoding") != "chunked" || a.header("X-Cocoon-Proxy-Start") == "" || a.header("X-Cocoon-Proxy-End") == "" {
			t.Errorf("answer %+v", a)
		}
		if a.final.Flags != 2 || a.final.TokensUsed != used(42) || a.final.WorkerStartTime != 100 || a.final.ProxyStartTime == 0 {
			t.Errorf("final info %+v", a.final)
		}
		if a.paid.RequestTokens != 42 || a.paid.MaxTokens != 42 {
			t.Errorf("payment %+v", a.paid)
		}
		pay := want[*tl.ProxyWorkerRequestPayment](w)
		if pay.RequestID != given.RequestID || pay.RequestTokens != 42 || pay.MaxTokens != 42 || len(pay.RequestClientOwner) != 48 {
			t.Errorf("payment %+v", pay)
		}
	})
}

// The market learns how fast a worker writes from the tokens that it reports, undone of its price.
func TestMarketLearnsTokens(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4, coefficient: 2000}), r.client(4, nil)
		q := question(1)
		c.send(q)
		given := w.given()
		time.Sleep(time.Second)
		w.head(given.RequestID)
		w.part(given.RequestID, strings.Repeat("data: {}\n\n", 10))
		time.Sleep(4 * time.Second)
		w.send(&tl.ProxyQueryAnswerPartEx{RequestID: given.RequestID, Answer: []byte("data: [DONE]\n\n"), Flags: 1,
			FinalInfo: tl.ProxyQueryFinalInfo{Flags: 2, TokensUsed: tl.TokensUsed{PromptTokensUsed: 20, CompletionTokensUsed: 60, ReasoningTokensUsed: 20, TotalTokensUsed: 100}}})
		c.answer(q.RequestID, true)
		m := r.p.market.Models()[0]
		if m.First != time.Second || m.Token != 100*time.Millisecond {
			t.Errorf("first answer %s, token %s, want 1s and 100ms: (60 + 20) / 2 tokens in 4 s", m.First, m.Token)
		}
	})
}
