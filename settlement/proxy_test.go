package settlement

import (
	"fmt"
	"testing"

	"github.com/opencocoon/cocoon/coin"
)

// A proxy settles: what a client has paid in is available, what it used is
// committed by a note, charged, paid to the worker's owner, and the rest
// withdrawn, to the last nanoTON, wherever the process ends and begins anew.
func TestProxySettles(t *testing.T) {
	for point := range 7 {
		t.Run(fmt.Sprintf("restart at %d", point), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			at := func(n int) {
				if n == point || point == 6 {
					h.restart()
				}
			}
			at(0)
			h.serving()
			alice, worker := h.customer("alice"), stranger(2)
			alice.topUp(5 * coin.TON)
			at(1)
			h.await("the deposit is available", func() bool { return h.clientAccount(alice.at).Available() == 100_000_000 }) // a stake of 2 TON
			h.serving()
			const tokens = 50_000_000 // 1 TON
			h.book(alice.at, worker, 1_000)
			at(2)
			h.await("committed", func() bool { return h.clientAccount(alice.at).Used.Chain == 1_000 })
			if s := alice.state(); s.Tokens != 0 {
				t.Errorf("charged for %d tokens below the threshold", s.Tokens)
			}
			h.serving()
			h.book(alice.at, worker, tokens-1_000)
			at(3)
			h.await("charged", func() bool { return h.clientAccount(alice.at).Charged == tokens })
			at(4)
			h.await("paid", func() bool { return h.workerAccount(worker).Paid == tokens })
			at(5)
			g := h.generation()
			h.await("withdrawn", func() bool { return h.paid(h.owner, h.contracts(g).Proxy.Address) == tokens*(price-fee) })
			if s := alice.state(); s.Balance != 5*coin.TON-tokens*price || s.Tokens != tokens || s.Debt != 0 {
				t.Errorf("client's contract: %+v", s)
			}
			if got := h.paid(worker, h.contracts(g).Proxy.Address); got != tokens*fee {
				t.Errorf("the worker's owner got %s, want %s", got.Text(), coin.Nano(tokens*fee).Text())
			}
			if s := h.proxyState(g); s.Deposits != 4*coin.TON || s.Balance != 0 || s.Stake != 0 {
				t.Errorf("proxy's contract: %+v, want deposits of 4 TON", s)
			}
			h.check()
			h.await("nothing is due", func() bool { return len(h.proxy.Status().Due) == 0 })
		})
	}
}
