package proxy

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
)

// sight is a registry whose chain can be taken away.
type sight struct {
	*contract.Memory
	out  atomic.Pointer[ton.Outage]
	asOf time.Time
}

func (s *sight) Outage() ton.Outage {
	if o := s.out.Load(); o != nil {
		return *o
	}
	return ton.Outage{}
}

func (s *sight) AsOf() ton.Block { return ton.Block{Seqno: 1, Time: s.asOf} }

func (s *sight) away() { s.out.Store(&ton.Outage{Since: time.Now(), Why: errors.New("cut")}) }

// What is refused while the chain is away says since when and what to do, and
// asks for patience that differs from one caller to the next.
func TestRefusedWithoutTheChain(t *testing.T) {
	s, money := &sight{}, &teller{}
	inBubble(t, func(c *Config) {
		s.asOf = time.Now() // the bubble's
		s.Memory, c.Registry, c.Registrar, c.Settler = c.Registry.(*contract.Memory), s, &chain{secret: &noSecret}, money
	}, func(r *rig) {
		stale := &contract.StaleError{Seen: s.asOf}
		for _, x := range []struct {
			away   bool
			why    error
			status int
			says   string
		}{
			{false, stale, 503, "registry is older than 2h0m0s"},
			{false, ledger.ErrOpening, 503, takesNone},
			{true, stale, 503, "no work on a registry older than 2h0m0s"},
			{true, fmt.Errorf("contract: %w", contract.ErrUnread), 503, "was started meanwhile"},
			{true, ledger.ErrOpening, 503, "was started meanwhile"},
			{true, &ledger.RollbackError{Proof: "a note"}, 503, takesNone},
			{true, ledger.ErrStore, 503, takesNone},
		} {
			if s.out.Store(nil); x.away {
				s.away()
			}
			got := r.p.none(x.why)
			if got.Status != x.status || !strings.Contains(got.Message, x.says) || got.RetryAfter <= 0 {
				t.Errorf("away %v, %v: %d %q, again after %v, want %q", x.away, x.why, got.Status, got.Message, got.RetryAfter, x.says)
			}
			if says := strings.Contains(got.Message, "the chain is away since"); says != (x.away && x.says != takesNone) {
				t.Errorf("away %v, %v: %q", x.away, x.why, got.Message)
			}
		}
		if got := r.p.broke(1, 2); got.Status != 503 || got.Code != "chain_away" || got.RetryAfter < 15*time.Second || got.RetryAfter > 45*time.Second {
			t.Errorf("a deposit that is used up, away: %+v", got.Error)
		}
		money.bad = stale
		if why, ok := r.p.takesWork(); ok || !strings.Contains(why, "the chain is away since 2000-01-01 00:00:00 UTC") {
			t.Errorf("peers are told %q", why)
		}
		rec := httptest.NewRecorder()
		r.p.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
		for _, want := range []string{"cocoon_proxy_chain_away_seconds 1\n", "cocoon_proxy_registry_age_seconds 0\n", "cocoon_proxy_serving_within_nanoton 0\n"} {
			if !strings.Contains(rec.Body.String(), want) {
				t.Errorf("no %q in\n%.2000s", want, rec.Body)
			}
		}
		s.out.Store(nil)
		if got := r.p.broke(1, 2); got.Status != 402 {
			t.Errorf("a deposit that is used up: %+v", got.Error)
		}
	})
}

// unseen knows nobody, since the chain is away.
type unseen struct{ chain }

func (unseen) Known(*address.Address) ([32]byte, bool, error) {
	return [32]byte{}, false, &contract.AwayError{Since: time.Now(), What: "come again"}
}

// Who is not known is not sent to register in vain.
func TestNobodyRegistersWithoutTheChain(t *testing.T) {
	inBubble(t, func(c *Config) { c.Registrar = &unseen{} }, func(r *rig) {
		c := r.dial(r.clients, [32]byte{})
		_, err := c.ask(clientHello())
		c.refusedAndClosed("a client that nobody knows", err, 651, "the chain is away since 2000-01-01 00:00:00 UTC: come again")
	})
}

// The longer a client may be gone unseen, the less it may owe.
func TestLent(t *testing.T) {
	const delay = 10 * time.Hour
	for _, x := range []struct {
		away time.Duration
		want int64
	}{{0, 1000}, {5 * time.Hour, 1000}, {6 * time.Hour, 800}, {7*time.Hour + 30*time.Minute, 500}, {10*time.Hour - time.Second, 0}, {delay, 0}, {2 * delay, 0}} {
		if got := lent(1000, x.away, delay); got != x.want {
			t.Errorf("after %v of %v: %d, want %d", x.away, delay, got, x.want)
		}
	}
	if got := lent(1000, time.Second, 0); got != 0 {
		t.Errorf("without any delay: %d, want 0", got)
	}
}
