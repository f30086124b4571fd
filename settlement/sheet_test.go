package settlement

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
)

// pool is what a status page would know of the current generation.
func (h *house) pool() Pool {
	h.Helper()
	contracts := h.contracts(h.generation())
	p := Pool{Proxy: contracts.Proxy.Address, Used: map[string]int64{}, Earned: map[string]int64{}}
	at := func(derive func(*address.Address) (string, error), account string) string {
		h.Helper()
		who, err := address.ParseRawAddr(account)
		if err != nil {
			h.Fatal(err)
		}
		raw, err := derive(who)
		if err != nil {
			h.Fatal(err)
		}
		return raw
	}
	for _, c := range h.ledger.Clients() {
		p.Used[at(func(a *address.Address) (string, error) {
			d, err := contracts.Client(a)
			return d.Address.StringRaw(), err
		}, c.Wallet)] = c.Used.DB
	}
	for _, w := range h.ledger.Workers() {
		p.Earned[at(func(a *address.Address) (string, error) {
			d, err := contracts.Worker(a)
			return d.Address.StringRaw(), err
		}, w.Owner)] = w.Earned.DB
	}
	return p
}

// The sheet adds up before, between and after each movement, and shows a nano
// that a ledger made up.
func TestSheet(t *testing.T) {
	h := newHouse(t)
	h.serving()
	audit := func(p Pool) Sheet {
		t.Helper()
		s, err := Audit(t.Context(), h.client, []Pool{p}, []*address.Address{h.node.driver.Address()})
		if err != nil {
			t.Fatal(err)
		}
		return *s
	}
	alice, worker := h.customer("alice"), stranger(2)
	alice.topUp(5 * coin.TON)
	h.await("the deposit is available", func() bool { return h.clientAccount(alice.at).Available() > 0 })
	h.serving()
	if s := audit(h.pool()); s.Deposited != 5*coin.TON || s.ClientRemaining != 5*coin.TON || s.Unaccounted != 0 {
		t.Errorf("after a deposit of 5 TON: %+v", s)
	}
	h.book(alice.at, worker, 1000)
	want := Sheet{Deposited: 5 * coin.TON, ClientRemaining: 5*coin.TON - 1000*price, ChargedUnsettled: 1000 * price, WorkerEarned: 1000 * fee, Commission: 1000 * (price - fee)}
	s := audit(h.pool())
	if want.ChainFees = s.ChainFees; s != want || s.ChainFees <= 0 {
		t.Errorf("after a request: %+v, want %+v", s, want)
	}
	const tokens = 50_000_000 // above all thresholds
	h.book(alice.at, worker, tokens-1000)
	h.await("withdrawn", func() bool { return h.paid(h.owner, h.contracts(h.generation()).Proxy.Address) == tokens*(price-fee) })
	want = Sheet{Deposited: 5 * coin.TON, ClientRemaining: 5*coin.TON - tokens*price, WorkerEarned: tokens * fee, WorkerPaid: tokens * fee, Commission: tokens * (price - fee)}
	s = audit(h.pool())
	if want.ChainFees = s.ChainFees; s != want {
		t.Errorf("after charge, payout and withdrawal: %+v, want %+v", s, want)
	}
	for what, change := range map[string]func(map[string]int64){"used": func(m map[string]int64) { m[firstKey(m)]++ }, "not used": func(m map[string]int64) { m[firstKey(m)]-- }} {
		p := h.pool()
		change(p.Used)
		if s := audit(p); s.Unaccounted == 0 {
			t.Errorf("a token more than was %s: the sheet still adds up", what)
		}
		more, less := h.pool(), h.pool()
		more.Used[firstKey(more.Used)]++
		less.Used[firstKey(less.Used)]--
		if s, err := Audit(t.Context(), h.client, []Pool{more, less}, nil); err != nil || s.Unaccounted == 0 {
			t.Errorf("two pools that are wrong in both ways: %+v, %v; they hide each other", s, err)
		}
		p = h.pool()
		change(p.Earned)
		if s := audit(p); s.Unaccounted == 0 {
			t.Errorf("a token more or less earned than %s: the sheet still adds up", what)
		}
	}
}

// A sheet is drawn until it adds up. What moves on and on is said to move; what
// stands still and does not add up is shown.
func TestDraw(t *testing.T) {
	for _, x := range []struct {
		what   string
		drawn  func(n int) Sheet
		want   Sheet
		draws  int
		failed error
	}{
		{"at rest", func(int) Sheet { return Sheet{Deposited: 5} }, Sheet{Deposited: 5}, 1, nil},
		{"under way", func(n int) Sheet { return Sheet{Deposited: coin.Nano(n), Unaccounted: coin.Nano(max(0, 3-n))} }, Sheet{Deposited: 3}, 4, nil},
		{"wrong", func(n int) Sheet { return Sheet{Deposited: 5, Unaccounted: 1} }, Sheet{Deposited: 5, Unaccounted: 1}, 2, nil},
		{"never at rest", func(n int) Sheet { return Sheet{Deposited: coin.Nano(n), Unaccounted: 1} }, Sheet{Deposited: 5, Unaccounted: 1, Moving: true}, 6, nil},
		{"broken", nil, Sheet{}, 1, errFault},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*drawAgain+drawAgain/2)
			defer cancel()
			n := 0
			s, err := Draw(ctx, func() (*Sheet, error) {
				n++
				if x.failed != nil {
					return nil, x.failed
				}
				s := x.drawn(n - 1)
				return &s, nil
			})
			if !errors.Is(err, x.failed) || err == nil && *s != x.want || n != x.draws {
				t.Errorf("%s: %+v, %v after %d drawings, want %+v after %d", x.what, s, err, n, x.want, x.draws)
			}
		})
	}
}

func firstKey(m map[string]int64) string {
	for k := range m {
		return k
	}
	return ""
}
