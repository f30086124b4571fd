package worker

import (
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/ton"
)

// sight is a registry whose chain is away, seen at a time of the test's choice.
type sight struct {
	contract.Registry
	asOf atomic.Int64 // Unix seconds
}

func (s *sight) Outage() ton.Outage {
	return ton.Outage{Since: time.Unix(1700000000, 0), Why: errors.New("cut")}
}

func (s *sight) AsOf() ton.Block { return ton.Block{Time: time.Unix(s.asOf.Load(), 0)} }

// Without the chain a worker works on, and stops when the registry is too old.
func TestWithoutTheChain(t *testing.T) {
	p := newProxy(t)
	registry := &sight{Registry: contract.NewMemory(p.root)}
	registry.asOf.Store(time.Now().Unix())
	s := start(t, p, enginetest.Fast(), func(c *Config) { c.Registry, c.ProbeInterval = registry, time.Millisecond })
	s.connected()
	until := func(what string, so func(Status) bool) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for end := time.After(time.Minute); !so(s.w.Snapshot().Status); {
			select {
			case <-tick.C:
			case <-end:
				t.Fatalf("not so in time: %s: %+v", what, s.w.Snapshot().Status)
			}
		}
	}
	until("serving", func(x Status) bool { return x.Enabled })
	if v := s.w.Snapshot().Chain; v == nil || v.AwaySince != 1700000000 {
		t.Errorf("view %+v, want the chain away", v)
	}
	rec := httptest.NewRecorder()
	s.w.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if text := rec.Body.String(); !strings.Contains(text, "cocoon_worker_chain_away_seconds ") || strings.Contains(text, "cocoon_worker_chain_away_seconds 0") {
		t.Errorf("metrics do not tell:\n%.500s", rec.Body)
	}
	registry.asOf.Store(time.Now().Add(-contract.MaxAge - time.Minute).Unix())
	until("not serving", func(x Status) bool {
		return !x.Enabled && slices.ContainsFunc(x.NotBecause, func(s string) bool { return strings.Contains(s, "registry is too old") })
	})
	registry.asOf.Store(time.Now().Unix())
	until("serving again", func(x Status) bool { return x.Enabled })
}
