package client

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

func wishBody(provider string) string {
	return strings.Replace(chatBody, `{`, `{"provider":`+provider+`,`, 1)
}

// ours is a proxy that knows wishes.
func ours() *scriptedProxy {
	return &scriptedProxy{version: 4, features: []string{tl.FeatureMarket}, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		h := response200("application/json")
		h.Headers = append(h.Headers, tl.HTTPHeader{Name: headerWorker, Value: "w"}, tl.HTTPHeader{Name: headerWhy, Value: "chosen"})
		s.head(q.RequestID, h)
		s.last(q.RequestID, smallAnswer)
	}}
}

// Wishes travel to a proxy that knows them, and never to the engine.
func TestWishesTravel(t *testing.T) {
	p := ours()
	c := newNetwork(t, p).startReady(p.net.config())
	owner := testAddress("a worker")
	res, body := chat(t, c, wishBody(`{"order":["`+owner.String()+`","ABCDEF0123"],"sort":"latency","preferred_max_latency":0.5,"allow_fallbacks":false}`))
	if res.StatusCode != 200 || res.Header.Get(headerWorker) != "w" || res.Header.Get(headerWhy) != "chosen" || res.Header.Get(headerIgnored) != "" {
		t.Fatalf("status %d, headers %v, %s", res.StatusCode, res.Header, body)
	}
	want := tl.CocoonWishes{Order: []string{owner.StringRaw(), "abcdef0123"}, Sort: 2, MaxLatency: 0.5, NoFallbacks: true}
	got := p.wishes[0]
	if !reflect.DeepEqual(got.Wishes, want) || got.Flags != 0 {
		t.Errorf("wishes %+v flags %d, want %+v", got.Wishes, got.Flags, want)
	}
	var forwarded tl.HTTPRequest
	if err := tl.Unmarshal(got.Query, &forwarded); err != nil || string(forwarded.Payload) != chatBody {
		t.Errorf("forwarded %s (%v)", forwarded.Payload, err)
	}
	chat(t, c, strings.Replace(chatBody, `{`, `{"explain":true,"enable_debug":true,`, 1))
	if got := p.wishes[1]; got.Flags != wantsDebug|wantsWhy {
		t.Errorf("flags %d, want both", got.Flags)
	}
	chat(t, c, chatBody)
	if len(p.wishes) != 2 {
		t.Error("a request without wishes did not go in the network's own form")
	}
}

// A proxy of the reference gets what it understands; the caller hears what it
// does not, and where he insists, the request is not sent at all.
func TestWishesAndTheReference(t *testing.T) {
	p := &scriptedProxy{version: 4}
	cfg := newNetwork(t, p).config()
	cfg.ProxyWait = 1 // nanosecond: nobody else will come
	c := p.net.startReady(cfg)
	for provider, want := range map[string]struct {
		status  int
		ignored string
	}{
		`{"sort":"price","order":["abcdef01"],"preferred_max_latency":1}`: {200, "order, sort, preferred_max_latency"},
		`{"max_price":1}`:                                {200, ""},
		`{"allow_fallbacks":false}`:                      {200, ""},
		`{"only":["abcdef01"]}`:                          {503, ""},
		`{"ignore":["abcdef01"]}`:                        {503, ""},
		`{"order":["abcdef01"],"allow_fallbacks":false}`: {503, ""},
	} {
		sent := len(p.seen())
		res, body := chat(t, c, wishBody(provider))
		if res.StatusCode != want.status || res.Header.Get(headerIgnored) != want.ignored {
			t.Errorf("%s: status %d, ignored %q, want %d and %q: %s", provider, res.StatusCode, res.Header.Get(headerIgnored), want.status, want.ignored, body)
		}
		if now := len(p.seen()); now-sent != map[int]int{200: 1, 503: 0}[want.status] {
			t.Errorf("%s: %d requests were sent", provider, now-sent)
		}
		if want.status == 503 && !strings.Contains(body, "knows the wishes") {
			t.Errorf("%s: %s", provider, body)
		}
	}
	if len(p.wishes) > 0 {
		t.Error("the reference was sent our own message")
	}
}

// With both kinds of proxies, who wishes goes where wishes are known.
func TestWishesChooseTheProxy(t *testing.T) {
	reference, own := &scriptedProxy{version: 4}, ours()
	n := newNetwork(t, reference, own)
	c := n.startReady(n.config())
	n.awaitReady(c, 2)
	for range 10 {
		if res, body := chat(t, c, wishBody(`{"sort":"price"}`)); res.StatusCode != 200 || res.Header.Get(headerIgnored) != "" {
			t.Fatalf("status %d, headers %v, %s", res.StatusCode, res.Header, body)
		}
	}
}

func TestWishesRefused(t *testing.T) {
	p := ours()
	c := newNetwork(t, p).startReady(p.net.config())
	for provider, param := range map[string]string{
		`{"order":["deepinfra"]}`: "provider.order", `{"only":["abcdef0"]}`: "provider.only", `{"only":[]}`: "provider.only",
		`{"ignore":["abcdefgh"]}`: "provider.ignore", `{"zdr":true}`: "provider.zdr",
	} {
		res, body := chat(t, c, wishBody(provider))
		if res.StatusCode != 400 || !strings.Contains(body, `"param":"`+param+`"`) {
			t.Errorf("%s: status %d, %s", provider, res.StatusCode, body)
		}
	}
}

// Without fallbacks a request goes on to another proxy only if no worker can have had it.
func TestNoFallbacksStay(t *testing.T) {
	for name, x := range map[string]struct {
		script func(s *session, q *tl.ClientRunQueryEx)
		asked  int
	}{
		"no worker": {func(s *session, q *tl.ClientRunQueryEx) {
			s.refuse(q.RequestID, 503, 651, `{"error":{"message":"none"}}`)
		}, 2},
		"busy": {func(s *session, q *tl.ClientRunQueryEx) {
			s.refuse(q.RequestID, 429, 651, `{"error":{"message":"busy"}}`)
		}, 2},
		"failed": {func(s *session, q *tl.ClientRunQueryEx) {
			s.refuse(q.RequestID, 502, 651, `{"error":{"message":"lost"}}`)
		}, 1},
		"lost": {func(s *session, _ *tl.ClientRunQueryEx) { s.p.setRefuse(errors.New("stays away")); s.conn.Close(nil) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := ours(), ours()
			a.onQuery, b.onQuery = x.script, x.script
			n := newNetwork(t, a, b)
			c := n.startReady(n.config())
			n.awaitReady(c, 2)
			res, body := chat(t, c, wishBody(`{"allow_fallbacks":false}`))
			if asked := len(a.seen()) + len(b.seen()); res.StatusCode < 429 || asked != x.asked {
				t.Errorf("status %d after %d proxies, want an error after %d: %s", res.StatusCode, asked, x.asked, body)
			}
		})
	}
}

func TestCeiling(t *testing.T) {
	root := &contract.Root{PricePerToken: 20, Multipliers: ledger.Multipliers{Prompt: 10000, Cached: 1000, Completion: 30000, Reasoning: 30000}}
	inf := math.Inf(1)
	for _, x := range []struct {
		prompt, completion float64
		want               int32
	}{{inf, inf, 4000}, {0.02, inf, 1000}, {0.01, inf, 500}, {inf, 0.06, 1000}, {0.02, 0.03, 500}, {1, 1, 4000}, {0, inf, 0}} {
		if got := ceiling(&openai.Provider{HasMaxPrice: true, MaxPrompt: x.prompt, MaxCompletion: x.completion}, root, 4000); got != x.want {
			t.Errorf("at most %v and %v TON a million: ceiling %d, want %d", x.prompt, x.completion, got, x.want)
		}
	}
	if got := ceiling(nil, root, 4000); got != 4000 {
		t.Errorf("no wish: ceiling %d", got)
	}
}
