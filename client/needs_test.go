package client

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// A proxy that knows them gets the facts of a request, and nothing of its text; with encryption the same.
func TestNeedsAreSent(t *testing.T) {
	for _, x := range []struct {
		name, body, region string
		want               tl.CocoonFacts // its context at least, and less than 100 more
	}{
		{"plain", `{"model":"m","messages":[{"role":"user","content":"Hello, how are you today?"}]}`, "", tl.CocoonFacts{Context: 1}},
		{"limit", `{"model":"m","messages":[],"max_tokens":40000}`, "", tl.CocoonFacts{Context: 40_000}},
		{"tools", `{"model":"m","messages":[],"tools":[{"type":"function"}]}`, "", tl.CocoonFacts{Context: 1, Capabilities: int32(openai.Tools)}},
		{"picture and schema", `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],"response_format":{"type":"json_schema"}}`, "",
			tl.CocoonFacts{Capabilities: int32(openai.Vision | openai.Structured)}},
		{"region", `{"model":"m","messages":[]}`, "eu", tl.CocoonFacts{Region: "eu"}},
		{"caller's region", `{"model":"m","messages":[],"provider":{"region":"us-east"}}`, "eu", tl.CocoonFacts{Region: "us-east"}},
	} {
		for _, features := range [][]string{{tl.FeatureMarket, tl.FeatureFacts}, {tl.FeatureMarket}, {tl.FeatureFacts}, nil} {
			p := &scriptedProxy{version: 4, features: features}
			cfg := newNetwork(t, p).config()
			cfg.Region = x.region
			c := p.net.startReady(cfg)
			res, body := chat(t, c, x.body)
			if res.StatusCode != 200 {
				t.Fatalf("%s: status %d, %s", x.name, res.StatusCode, body)
			}
			p.mu.Lock()
			needs := p.needs
			p.mu.Unlock()
			ignored := res.Header.Get(headerIgnored)
			if len(features) < 2 {
				if len(needs) > 0 || strings.Contains(ignored, "region") != strings.Contains(x.body, "region") {
					t.Errorf("%s: a proxy with %v was sent %d of our messages, ignored %q", x.name, features, len(needs), ignored)
				}
				continue
			}
			if len(needs) != 1 && x.want != (tl.CocoonFacts{}) || ignored != "" {
				t.Fatalf("%s: %d messages, ignored %q", x.name, len(needs), ignored)
			}
			got := needs[0].Needs
			if got.Context < x.want.Context || got.Context > x.want.Context+100 || got.Capabilities != x.want.Capabilities || got.Region != x.want.Region {
				t.Errorf("%s: sent %+v, want %+v", x.name, got, x.want)
			}
		}
	}
}

// What is set aside for those who name no limit is not what an engine must have room for.
func TestDefaultLimitIsNoNeed(t *testing.T) {
	c, err := New(newNetwork(t).config())
	if err != nil {
		t.Fatal(err)
	}
	rq, bad := c.newRequest(pathChat, nil, []byte(`{"model":"m","messages":[]}`))
	if bad != nil || rq.needs.Context > 10 {
		t.Errorf("%+v, %v", rq.needs, bad)
	}
	rq.release()
	rq, bad = c.newRequest(pathChat, nil, []byte(`{"model":"m","messages":"ENC_x","tools":[1],"receiver_public_key":"`+strings.Repeat("ab", 32)+`"}`))
	if bad != nil || rq.needs != (openai.Facts{}) {
		t.Errorf("of a body that its app encrypted: %+v, %v", rq.needs, bad)
	}
	rq.release()
}

// What workers say reaches /v1/models and /v1/market, without what cannot be.
func TestFactsAreShown(t *testing.T) {
	p := &scriptedProxy{version: 4, features: []string{tl.FeatureMarket, tl.FeatureFacts}, onAsk: func(s *session, q *wire.Query, fn tl.Object) bool {
		if _, ok := fn.(*tl.CocoonGetBookWithFacts); !ok {
			return false
		}
		now := tl.CocoonBookMoment{Coefficient: 1000, Slots: 8, Workers: 2}
		q.Answer(&tl.CocoonBookWithFacts{
			Book: tl.CocoonBook{Models: []tl.CocoonBookModel{{Name: "m", Now: now, Offers: []tl.CocoonBookOffer{{Worker: "w", Coefficient: 900}, {Worker: "v", Coefficient: 1000}, {Worker: "u", Coefficient: 2000}}}}},
			Facts: []tl.CocoonModelFacts{{Context: 32_768, Capabilities: int32(openai.Told | openai.Tools | 1<<20), Regions: []string{"eu", "\x1b[2J", "", "us"}, Offers: []tl.CocoonFacts{
				{Context: 32_768, Capabilities: int32(openai.Told | openai.Tools), Region: "eu"}, {Context: -7, Capabilities: -1, Region: "X"}}}},
		})
		return true
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	var m Market
	getJSON(t, c, "/v1/market", 200, &m)
	x := m.Proxies[0].Models[0]
	if x.ContextLength != 32_768 || !slices.Equal(x.Capabilities, []string{"tools"}) || !slices.Equal(x.Regions, []string{"eu", "us"}) || len(x.Offers) != 3 {
		t.Fatalf("%+v", x)
	}
	if o := x.Offers[0]; o.ContextLength != 32_768 || o.Region != "eu" || !slices.Equal(o.Capabilities, []string{"tools"}) {
		t.Errorf("%+v", o)
	}
	for _, o := range x.Offers[1:] {
		if o.ContextLength != 0 || o.Region != "" || len(o.Capabilities) > 0 {
			t.Errorf("nonsense is shown, or what was not told: %+v", o)
		}
	}
	if m.Proxies[0].RoundTrip <= 0 {
		t.Error("the round trip to the proxy is not measured")
	}
	var list openai.ModelList
	getJSON(t, c, "/v1/models", 200, &list)
	if d := list.Data[0]; d.ContextLength != 32_768 || !slices.Equal(d.Capabilities, []string{"tools"}) || !slices.Equal(d.Regions, []string{"eu", "us"}) {
		t.Errorf("%+v", d)
	}
}
