package settlement

import (
	"context"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// slow is a chain that answers about one account, and about others only when
// somebody has waited too long.
type slow struct {
	ton.Chain
	at      *address.Address
	waiting atomic.Int64
}

func (c *slow) Account(ctx context.Context, a *address.Address) (*ton.Account, error) {
	if a.Equals(c.at) {
		return c.Chain.Account(ctx, a)
	}
	c.waiting.Add(1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// counting counts what it is asked.
type counting struct {
	ton.Chain
	asked int
}

func (c *counting) Account(ctx context.Context, a *address.Address) (*ton.Account, error) {
	c.asked++
	return c.Chain.Account(ctx, a)
}

// However many wallets somebody makes up, a client that the ledger knows is not
// taken for a stranger, and nobody without a contract is looked up over and over.
func TestKnownInAFlood(t *testing.T) {
	h := newHouse(t)
	h.serving()
	alice := h.customer("alice")
	want := sha256.Sum256([]byte("a long secret"))
	alice.send(alice.at2.Address, coin.TON, &contract.ChangeSecret{QueryID: 1, Hash: want, Excess: alice.at}, nil)
	h.await("known", func() bool { _, ok, _ := h.proxy.Known(alice.at); return ok })
	h.stop()
	p := h.proxy
	g := p.generations[p.current]
	clear(g.clients)
	p.doubtAll(g) // as after a start
	chain := &slow{Chain: h.client, at: alice.at2.Address}
	p.cfg.Chain = chain
	var strangers sync.WaitGroup
	for i := range byte(2 * maxReads) {
		strangers.Go(func() {
			if _, ok, _ := p.Known(stranger(100 + i)); ok {
				t.Error("a stranger is known")
			}
		})
	}
	h.await("all readers wait", func() bool { return chain.waiting.Load() >= maxReads })
	if got, ok, _ := p.Known(alice.at); !ok || got != want {
		t.Error("a client of the ledger is a stranger")
	}
	strangers.Wait()

	asked := &counting{Chain: h.client}
	p.cfg.Chain = asked
	for range 3 {
		if _, ok, _ := p.Known(stranger(9)); ok {
			t.Error("nobody is known")
		}
	}
	if asked.asked != 1 {
		t.Errorf("%d looks at nobody's contract, want one", asked.asked)
	}
	h.ahead = absentFor
	if p.Known(stranger(9)); asked.asked != 2 {
		t.Errorf("%d looks after a while, want two", asked.asked)
	}
}
