package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// own is what the client has counted of its only account.
func own(c *Client) ledger.Counted {
	n := c.Snapshot().Accounts[0].Own
	n.Heard = time.Time{}
	return n
}

// A charge that follows our count is kept, one above it is not: it becomes
// evidence, and the connection ends.
func TestInflatedCharge(t *testing.T) {
	p := &scriptedProxy{version: 4}
	cfg := newNetwork(t, p).config()
	chain := &registrar{}
	cfg.Registrar = chain
	c := p.net.startReady(cfg)
	s := <-p.conns
	chat(t, c, chatBody)
	if got := own(c); got != (ledger.Counted{Used: 5}) {
		t.Fatalf("own count %+v, want the 5 tokens of the answer", got)
	}
	s.send(p.payment(5))
	await(t, "the charge", func() bool { return len(chain.seen(&chain.charged)) == 1 })
	s.send(p.payment(6))
	<-s.conn.Done()
	await(t, "the evidence", func() bool { return len(chain.seen(&chain.inflated)) > 0 })
	if a := c.Snapshot().Accounts[0]; a.Signed != 5 || len(chain.seen(&chain.charged)) != 1 {
		t.Errorf("%+v, charges of %v tokens: the inflated one was kept", a, chain.charged)
	}
}

// A report above what the request and its usage account for is cut.
func TestInflatedReport(t *testing.T) {
	report := tl.TokensUsed{}
	usage := ""
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		s.head(q.RequestID, response200("application/json"))
		s.send(&tl.ClientQueryAnswerPartEx{RequestID: q.RequestID, Answer: []byte(`{"choices":[]` + usage + `}`), Flags: 1,
			FinalInfo: tl.ClientQueryFinalInfo{TokensUsed: report}})
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	before := own(c).Used
	for _, x := range []struct {
		usage          string
		reported, want int64
	}{
		{`,"usage":{"prompt_tokens":10,"completion_tokens":5}`, 15, 15},
		{`,"usage":{"prompt_tokens":10,"completion_tokens":5}`, 61, 60}, // at four times the price
		{`,"usage":{"prompt_tokens":10,"completion_tokens":5},"text":"\"usage\":{}"`, 61, 60},
		{`,"usage":null`, 61, 61},
		{``, -7, 0},
		{``, 1 << 40, -1},
	} {
		usage, report = x.usage, tl.TokensUsed{TotalTokensUsed: x.reported}
		res := post(t, t.Context(), c, pathChat, `{"model":"m","max_tokens":100,"messages":[]}`)
		read(t, res)
		got := own(c).Used - before
		before += got
		// The request's bytes and 100 tokens, at four times the price.
		if x.want < 0 && (got < 4*100 || got > 4*(100+ledger.PromptSlack+1000)) || x.want >= 0 && got != x.want {
			t.Errorf("%s, %d reported: counted %d, want %d", x.usage, x.reported, got, x.want)
		}
	}
	if n := c.counts.inflated.Total(); n != 3 {
		t.Errorf("%d inflated reports, want 3", n)
	}
}

// What an answer costs stands in its header, or behind it if it comes in parts.
func TestCostOfAnAnswer(t *testing.T) {
	begun := make(chan bool)
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		if strings.Contains(string(q.Query), `"stream"`) {
			s.head(q.RequestID, response200("text/event-stream"))
			s.part(q.RequestID, "data: {}\n\n")
			go func() {
				<-begun
				s.last(q.RequestID, "data: [DONE]\n\n")
			}()
			return
		}
		s.whole(q.RequestID, 200, smallAnswer)
	}}
	c, url := newNetwork(t, p).gateway(p.net.config())
	res, _ := do(t, "POST", url+pathChat, chatBody)
	if cost := res.Header.Values(headerCost); len(cost) != 1 || cost[0] != "50" {
		t.Errorf("header %q, want 50 nanoTON: 5 tokens at 10", cost)
	}
	res, err := http.Post(url+pathChat, "application/json", strings.NewReader(streamBody))
	if err != nil {
		t.Fatal(err)
	}
	begun <- true
	read(t, res)
	res.Body.Close()
	if cost := res.Trailer.Get(headerCost); cost != "50" || res.Header.Get(headerCost) != "" {
		t.Errorf("trailer %q, want 50", cost)
	}
	for _, body := range []string{chatBody, streamBody} {
		res := post(t, t.Context(), c, pathChat, body)
		if body == streamBody {
			begun <- true
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		if cost := res.Header.Get(headerCost) + res.Trailer.Get(headerCost); cost != "50" {
			t.Errorf("transport: %q, want 50", cost)
		}
		res.Body.Close()
	}
}

// Beyond a limit nothing is sent, and the caller learns which and what to do.
func TestSpendingLimits(t *testing.T) {
	p := &scriptedProxy{version: 4}
	cfg := newNetwork(t, p).config()
	cfg.Tally = ledger.NewTally(ledger.TallyConfig{Limits: ledger.Limits{Request: 50_000, Hour: 60_000, KeyHour: 40_000}}, ledger.TallyState{})
	cfg.APIKeys, cfg.MaxTokens = []string{"alpha", "beta"}, 100
	c, url := p.net.gateway(cfg)
	ask := func(key string, maxTokens string) (int, string, string) {
		res, body := do(t, "POST", url+pathChat, `{"model":"m","max_coefficient":1000`+maxTokens+`,"messages":[]}`, "Authorization", "Bearer "+key)
		code, message := "", ""
		if res.StatusCode != 200 {
			code, message = apiError(t, body)
		}
		return res.StatusCode, code, message
	}
	if status, code, message := ask("alpha", `,"max_tokens":6000`); status != 402 || code != openai.CodeSpendingLimit || !strings.Contains(message, "max_tokens") {
		t.Errorf("one request: %d %s %s", status, code, message)
	}
	if len(p.seen()) != 0 {
		t.Fatal("it was sent")
	}
	if status, _, _ := ask("alpha", ``); status != 200 {
		t.Errorf("status %d", status)
	}
	if q := string(p.seen()[0].Query); !strings.Contains(q, `"max_tokens":100`) {
		t.Errorf("what is reserved does not bind the engine: %q", q)
	}
	hold, err := cfg.Tally.Reserve(ledger.Spending{Account: c.accountsFor(t), Key: keyFor("alpha"), Price: 1, Estimate: 38_000, Most: 38_000})
	if err != nil {
		t.Fatal(err)
	}
	if status, code, message := ask("alpha", `,"max_tokens":200`); status != 402 || code != openai.CodeSpendingLimit || !strings.Contains(message, "API key") {
		t.Errorf("alpha's hour: %d %s %s", status, code, message)
	}
	if status, _, _ := ask("beta", `,"max_tokens":200`); status != 200 {
		t.Errorf("beta: %d", status)
	}
	if status, code, message := ask("beta", `,"max_tokens":2500`); status != 402 || code != openai.CodeSpendingLimit || !strings.Contains(message, "gateway may spend in an hour") {
		t.Errorf("the gateway's hour: %d %s %s", status, code, message)
	}
	hold.End(0)
	s := c.Snapshot().Spending
	if s.Hour != 100 || s.ByKey[keyFor("alpha")] != 50 || s.ByKey[keyFor("beta")] != 50 || s.MaxHour != 60_000 {
		t.Errorf("spending %+v, want 50 nanoTON of each key", s)
	}
}

func keyFor(key string) string {
	g := (&Client{cfg: Config{APIKeys: []string{key}}}).Handler().(*gateway)
	r, _ := http.NewRequest("POST", "/", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	name, _ := g.knows(r)
	return name
}

func (c *Client) accountsFor(t *testing.T) string {
	t.Helper()
	ready, _ := c.readyLinks()
	return ready[0].account.name
}

// A balance that is certainly too low is told without asking the proxy.
func TestCannotAfford(t *testing.T) {
	p := &scriptedProxy{version: 4}
	cfg := newNetwork(t, p).config()
	chain := &registrar{poor: errors.New("send 3 TON to UQ")}
	cfg.Registrar = chain
	_, url := p.net.gateway(cfg)
	res, body := do(t, "POST", url+pathChat, chatBody)
	if code, message := apiError(t, body); res.StatusCode != 402 || code != openai.CodeInsufficientQuota || message != "send 3 TON to UQ" || len(p.seen()) != 0 {
		t.Errorf("%d %s, sent %d", res.StatusCode, body, len(p.seen()))
	}
}

// A caller who leaves still pays what the proxy then reports, and an answer
// whose end is lost with its connection stays open to claims.
func TestCostOfWhatNobodyReads(t *testing.T) {
	asked := make(chan *tl.ClientRunQueryEx, 2)
	p := &scriptedProxy{version: 4, features: []string{tl.FeatureCancel}, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		s.head(q.RequestID, response200("text/event-stream"))
		s.part(q.RequestID, "data: {}\n\n")
		asked <- q
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	s := <-p.conns
	ctx, leave := context.WithCancel(t.Context())
	res := post(t, ctx, c, pathChat, streamBody)
	q := <-asked
	leave()
	res.Body.Close()
	<-p.cancels
	if got := own(c); got.Running == 0 {
		t.Errorf("%+v: nothing is open to claims", got)
	}
	s.last(q.RequestID, "")
	await(t, "the late report", func() bool { return own(c) == ledger.Counted{Used: 5} })

	res = post(t, t.Context(), c, pathChat, streamBody)
	defer res.Body.Close()
	<-asked
	open := own(c).Running
	s.conn.Close(nil)
	await(t, "the loss", func() bool { return own(c) == ledger.Counted{Used: 5, Doubt: open} })
}
