package worker

import (
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// nextFacts is what the proxy is told next, whatever else it is told.
func nextFacts(t *testing.T, h *proxyConn) *tl.CocoonFacts {
	t.Helper()
	for {
		select {
		case o := <-h.packets:
			if f, ok := o.(*tl.CocoonFacts); ok {
				return f
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the proxy is told nothing")
		}
	}
}

// What the engine says, what the operator knows better, and what changes reach the proxy.
func TestFactsAreTold(t *testing.T) {
	for _, x := range []struct {
		name string
		own  openai.Facts
		want tl.CocoonFacts
		next int32 // context after the engine has another
	}{
		{"the engine's", openai.Facts{}, tl.CocoonFacts{Context: 4096}, 8192},
		{"with what the operator says", openai.Facts{Can: openai.Told | openai.Tools, Region: "eu"}, tl.CocoonFacts{Context: 4096, Capabilities: int32(openai.Told | openai.Tools), Region: "eu"}, 8192},
		{"the operator's context", openai.Facts{Context: 2048}, tl.CocoonFacts{Context: 2048}, 0},
	} {
		p := newProxy(t)
		p.features = []string{tl.FeatureFacts}
		s := start(t, p, enginetest.Fast(), func(cfg *Config) { cfg.Facts = x.own })
		s.engine.SetContext(4096)
		h := <-p.conns
		got := nextFacts(t, h)
		for *got != x.want && got.Context == int32(x.own.Context) { // before the engine was asked
			got = nextFacts(t, h)
		}
		if *got != x.want {
			t.Errorf("%s: told %+v, want %+v", x.name, *got, x.want)
		}
		if e := s.w.Snapshot().Engine; e.Context != int(x.want.Context) || e.Region != x.want.Region {
			t.Errorf("%s: shown %+v", x.name, e)
		}
		if x.next > 0 {
			s.engine.SetContext(int(x.next))
			if got := nextFacts(t, h); got.Context != x.next {
				t.Errorf("%s: told %+v after a change", x.name, *got)
			}
		}
		s.stop()
	}
}

// A proxy that does not know them is told nothing.
func TestFactsAreNegotiated(t *testing.T) {
	for _, features := range [][]string{nil, {tl.FeatureMarket}} {
		p := newProxy(t)
		p.features = features
		s := start(t, p, enginetest.Fast(), func(cfg *Config) { cfg.Facts = openai.Facts{Context: 10, Region: "eu"} })
		s.engine.SetContext(4096)
		h := s.connected()
		h.run(query(post(pathChat, chat(""))))
		s.stop()
		for len(h.packets) > 0 {
			if o := <-h.packets; strings.HasPrefix(o.TLName(), "cocoon.facts") {
				t.Errorf("features %v: told %+v", features, o)
			}
		}
	}
}

func TestFactsOfTheOperatorAreChecked(t *testing.T) {
	cfg := Config{Engine: "http://127.0.0.1:1", Model: fullModel, Facts: openai.Facts{Region: "EU"}}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), `region "EU"`) {
		t.Errorf("New: %v", err)
	}
}
