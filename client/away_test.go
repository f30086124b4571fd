package client

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// sight is a registry whose chain can be taken away.
type sight struct {
	contract.Registry
	out  atomic.Pointer[ton.Outage]
	asOf atomic.Int64 // Unix seconds
}

func (s *sight) Outage() ton.Outage {
	if o := s.out.Load(); o != nil {
		return *o
	}
	return ton.Outage{}
}

func (s *sight) AsOf() ton.Block { return ton.Block{Time: time.Unix(s.asOf.Load(), 0)} }

// Without the chain requests go on, until the registry is too old: then nobody
// is trusted on its word.
func TestWithoutTheChain(t *testing.T) {
	p := &scriptedProxy{version: 4}
	n := newNetwork(t, p)
	s := &sight{Registry: n.registry}
	s.asOf.Store(time.Now().Unix())
	cfg := n.config()
	cfg.Registry = s
	c := n.startReady(cfg)
	if res, body := chat(t, c, chatBody); res.StatusCode != 200 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	if v := c.Snapshot().Chain; v.Away() || v.Seen != s.asOf.Load() {
		t.Errorf("view %+v, want the chain there", v)
	}
	s.out.Store(&ton.Outage{Since: time.Unix(1700000000, 0), Why: errors.New("cut")})
	if res, body := chat(t, c, chatBody); res.StatusCode != 200 {
		t.Errorf("without the chain: %d %s", res.StatusCode, body)
	}
	if v := c.Snapshot().Chain; v.AwaySince != 1700000000 || v.Why != "cut" {
		t.Errorf("view %+v, want the chain away", v)
	}
	old := time.Now().Add(-contract.MaxAge - time.Minute).Unix()
	for _, x := range []struct {
		away bool
		says string
	}{{true, "the chain is away since 2023-11-14 22:13:20 UTC: this gateway trusts no proxy"}, {false, "registry: last seen on the chain at"}} {
		s.asOf.Store(old)
		if !x.away {
			s.out.Store(nil)
		}
		res, body := chat(t, c, chatBody)
		if code, text := apiError(t, body); res.StatusCode != 503 || code != "chain_away" || !strings.Contains(text, x.says) || res.Header.Get("Retry-After") == "" {
			t.Errorf("on an old registry, away %v: %d %v %s", x.away, res.StatusCode, res.Header, body)
		}
	}
	if _, _, err := c.dialJudged(t.Context(), p.addr); !errors.As(err, new(*contract.StaleError)) {
		t.Errorf("a connection on an old registry: %v", err)
	}
	s.asOf.Store(time.Now().Unix())
	if res, body := chat(t, c, chatBody); res.StatusCode != 200 {
		t.Errorf("with the chain again: %d %s", res.StatusCode, body)
	}
}

// A request that is not covered is a matter of money, or of waiting.
func TestUnaffordable(t *testing.T) {
	if f := unaffordable(errors.New("too little")); f.as.Status != 402 || !f.elsewhere {
		t.Errorf("%+v", f.as)
	}
	f := unaffordable(&contract.AwayError{Since: time.Unix(1700000000, 0), What: "nothing can be paid in"})
	if f.as.Status != 503 || f.as.RetryAfter < 15*time.Second || !strings.Contains(f.as.Message, "since 2023-11-14") || !f.elsewhere {
		t.Errorf("%+v", f.as)
	}
}
