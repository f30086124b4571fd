package client

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// shop is a proxy whose book has some offers, with what their workers say.
func shop(rate int32, offers []tl.CocoonBookOffer, facts []tl.CocoonFacts) *scriptedProxy {
	return &scriptedProxy{version: 4, features: []string{tl.FeatureMarket, tl.FeatureFacts}, onAsk: func(_ *session, q *wire.Query, fn tl.Object) bool {
		if _, ok := fn.(*tl.CocoonGetBookWithFacts); !ok {
			return false
		}
		now := tl.CocoonBookMoment{Coefficient: rate, Workers: int32(len(offers)), FirstSeconds: 0.5}
		q.Answer(&tl.CocoonBookWithFacts{Book: tl.CocoonBook{Models: []tl.CocoonBookModel{{Name: "m", Now: now, WaitSeconds: 3, TokenSeconds: 0.1, ServiceSeconds: 10.5, Offers: offers}}},
			Facts: []tl.CocoonModelFacts{{Offers: facts}}})
		return true
	}}
}

func quoteOf(t *testing.T, c *Client, body string) (q Quote) {
	t.Helper()
	res := post(t, t.Context(), c, pathQuote, body)
	text := read(t, res)
	if res.StatusCode != 200 || json.Unmarshal([]byte(text), &q) != nil {
		t.Fatalf("status %d, %s", res.StatusCode, text)
	}
	return q
}

func TestQuote(t *testing.T) {
	busy, free := tl.CocoonBookOffer{Coefficient: 500, Running: 2, Limit: 2}, tl.CocoonBookOffer{Coefficient: 1000, Limit: 2}
	dear := tl.CocoonBookOffer{Coefficient: 9000, Limit: 2}
	named := free
	named.Worker = testAddress("somebody").String()
	short := tl.CocoonFacts{Context: 8192, Capabilities: int32(openai.Told)}
	const ask = `{"model":"m","messages":[{"role":"user","content":"Hello there, who are you?"}],"max_tokens":200`
	for _, x := range []struct {
		name    string
		rate    int32
		offers  []tl.CocoonBookOffer
		facts   []tl.CocoonFacts
		body    string
		workers int
		now     bool
		wait    float64
		going   int32
		why     string
	}{
		{"free", 700, []tl.CocoonBookOffer{busy, free}, nil, ask + `}`, 2, true, 0, 700, ""},
		{"busy", 700, []tl.CocoonBookOffer{busy}, nil, ask + `}`, 1, false, 3, 700, ""},
		{"nothing sold yet", 0, []tl.CocoonBookOffer{free, dear}, nil, ask + `}`, 1, true, 0, 1000, ""},
		{"going rate below all that can", 100, []tl.CocoonBookOffer{free}, nil, ask + `}`, 1, true, 0, 1000, ""},
		{"too dear", 700, []tl.CocoonBookOffer{dear}, nil, ask + `}`, 0, false, 0, 0, "9000"},
		{"ceiling", 700, []tl.CocoonBookOffer{busy, free}, nil, ask + `,"max_coefficient":600}`, 1, false, 3, 600, ""},
		{"too long", 700, []tl.CocoonBookOffer{free}, []tl.CocoonFacts{short}, `{"model":"m","messages":[],"max_tokens":9000}`, 0, false, 0, 0, "so many tokens"},
		{"tools", 700, []tl.CocoonBookOffer{free}, []tl.CocoonFacts{short}, ask + `,"tools":[{}]}`, 0, false, 0, 0, "can do what"},
		{"tools, of the silent", 700, []tl.CocoonBookOffer{busy, free}, []tl.CocoonFacts{short}, ask + `,"tools":[{}]}`, 1, true, 0, 1000, ""},
		{"only one", 700, []tl.CocoonBookOffer{busy, named}, nil, ask + `,"provider":{"only":["` + testAddress("somebody").String() + `"]}}`, 1, true, 0, 1000, ""},
		{"ignored", 700, []tl.CocoonBookOffer{named}, nil, ask + `,"provider":{"ignore":["` + testAddress("somebody").StringRaw()[2:12] + `"]}}`, 0, false, 0, 0, "allows none"},
		{"unknown model", 700, []tl.CocoonBookOffer{free}, nil, strings.Replace(ask, `"m"`, `"x"`, 1) + `}`, 0, false, 0, 0, "'x'"},
	} {
		p := shop(x.rate, x.offers, x.facts)
		c := newNetwork(t, p).startReady(p.net.config())
		q := quoteOf(t, c, x.body)
		if q.Workers != x.workers || q.Now != x.now || q.Wait != x.wait || q.Rate != x.going || !strings.Contains(q.WhyNot, x.why) || (q.WhyNot == "") != (x.why == "") {
			t.Errorf("%s: %+v", x.name, q)
		}
		if x.workers > 0 && !(0 < q.Lowest && q.Lowest <= q.Likely && q.Likely < q.Highest) {
			t.Errorf("%s: %d, %d, %d", x.name, q.Lowest, q.Likely, q.Highest)
		}
		if x.workers > 0 && (q.Expected != 100 || q.Prompt < 5 || q.Prompt > 15) { // (10.5 s - 0.5 s) / 0.1 s
			t.Errorf("%s: %d tokens of question and %d of answer", x.name, q.Prompt, q.Expected)
		}
		if sent := len(p.seen()) + len(p.needs); sent > 0 {
			t.Errorf("%s: %d requests were sent", x.name, sent)
		}
	}
}

// Two proxies are one market: the cheaper counts, and a place at either.
func TestQuoteOfSeveralProxies(t *testing.T) {
	a, b := shop(2000, []tl.CocoonBookOffer{{Coefficient: 2000, Limit: 1}}, nil), shop(800, []tl.CocoonBookOffer{{Coefficient: 800, Running: 1, Limit: 1}}, nil)
	old := &scriptedProxy{version: 4} // of the reference: tells prices and load
	n := newNetwork(t, a, b, old)
	cfg := n.config()
	cfg.Connections = 3
	c := n.startReady(cfg)
	n.awaitReady(c, 3)
	q := quoteOf(t, c, `{"model":"m","messages":[]}`)
	if q.Proxies != 3 || q.Rate != 800 || !q.Now || q.Limit != 10_000 || q.Needs.ContextLength != 0 {
		t.Errorf("%+v", q)
	}
}

// No bill is above the highest that was quoted, whatever a proxy reports.
func TestNoBillAboveTheQuote(t *testing.T) {
	report := int64(0)
	p := shop(1000, []tl.CocoonBookOffer{{Coefficient: 1000, Limit: 1}}, nil)
	p.onQuery = func(s *session, q *tl.ClientRunQueryEx) {
		s.head(q.RequestID, response200("application/json"))
		s.send(&tl.ClientQueryAnswerPartEx{RequestID: q.RequestID, Answer: []byte(`{"choices":[]}`), Flags: 1,
			FinalInfo: tl.ClientQueryFinalInfo{TokensUsed: tl.TokensUsed{TotalTokensUsed: report}}})
	}
	c := newNetwork(t, p).startReady(p.net.config())
	for _, body := range []string{
		`{"model":"m","messages":[{"role":"user","content":"Hello"}],"max_tokens":50}`,
		`{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("long ", 2000) + `"}],"n":3,"max_tokens":7,"max_coefficient":2500}`,
		`{"model":"m","messages":[]}`,
	} {
		quoted := quoteOf(t, c, body)
		for _, report = range []int64{100, 100_000, math.MaxInt64} {
			res := post(t, t.Context(), c, pathChat, body)
			read(t, res)
			text := res.Header.Get(headerCost)
			if text == "" {
				text = res.Trailer.Get(headerCost)
			}
			bill, err := strconv.ParseInt(text, 10, 64)
			if err != nil || bill <= 0 || bill > int64(quoted.Highest) {
				t.Errorf("%d tokens reported: a bill of %q, the highest quoted was %d", report, text, quoted.Highest)
			}
			if report == math.MaxInt64 && float64(bill) < 0.8*float64(quoted.Highest) {
				t.Errorf("the highest is %d, far above the highest bill %d", quoted.Highest, bill)
			}
		}
	}
}

func TestQuoteRefusesWhatIsNoRequest(t *testing.T) {
	p := shop(1000, nil, nil)
	c := newNetwork(t, p).startReady(p.net.config())
	for _, body := range []string{``, `{}`, `[1]`, `{"model":"m","max_tokens":-1}`} {
		if res := post(t, t.Context(), c, pathQuote, body); res.StatusCode != 400 {
			t.Errorf("%q: status %d: %s", body, res.StatusCode, read(t, res))
		}
	}
	if e := route("GET", pathQuote); e == nil || e.Status != 405 {
		t.Errorf("GET: %v", e)
	}
	if (&MarketOffer{Worker: "\x00"}).is("") {
		t.Error("a worker without an address was named")
	}
}
