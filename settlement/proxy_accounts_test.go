package settlement

import (
	"context"
	"crypto/sha256"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/ton"
)

// eventful is a chain on which something happens whenever an account is read.
type eventful struct {
	ton.Chain
	happens func()
}

func (c eventful) Account(ctx context.Context, a *address.Address) (*ton.Account, error) {
	account, err := c.Chain.Account(ctx, a)
	c.happens()
	return account, err
}

// A doubt that comes up while the account is being read for an older one is not
// settled by that reading.
func TestNewDoubtOutlivesAnOldReading(t *testing.T) {
	h := newHouse(t)
	h.serving()
	h.await("nothing is in doubt", func() bool {
		h.proxy.mu.Lock()
		defer h.proxy.mu.Unlock()
		return len(h.proxy.generations[h.proxy.current].doubted) == 0
	})
	g := h.proxy.currentGeneration()
	h.stop() // lookAtAll is called by this test alone from here on
	h.stop = func() {}
	d := doubt{worker: stranger(2), looks: bounceLooks}
	again := 1
	h.proxy.cfg.Chain = eventful{h.client, func() {
		if again--; again >= 0 {
			h.proxy.doubt(g, d)
		}
	}}
	old := d
	old.looks = 1
	h.proxy.doubt(g, old)
	for looks := range bounceLooks {
		if err := h.proxy.lookAtAll(h.ctx, g); err != nil {
			t.Fatal(err)
		}
		if left := g.doubted[d.key()].looks; left != bounceLooks-1-looks {
			t.Fatalf("after %d readings %d are left, want %d", looks+1, left, bounceLooks-1-looks)
		}
	}
}

// gathering is a chain that answers when so many ask at a time.
type gathering struct {
	ton.Chain
	missing atomic.Int64
	all     chan struct{}
}

func (c *gathering) Account(ctx context.Context, a *address.Address) (*ton.Account, error) {
	if c.missing.Add(-1) == 0 {
		close(c.all)
	}
	select {
	case <-c.all:
		return c.Chain.Account(ctx, a)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// The accounts of a large ledger are read many at a time after a start.
func TestManyAccountsAreReadTogether(t *testing.T) {
	h := newHouse(t)
	h.serving()
	g := h.proxy.currentGeneration()
	h.stop()
	h.stop = func() {}
	for i := range 4 * accountsPerReader {
		id := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		h.proxy.doubt(g, doubt{worker: address.NewAddress(0, 0, id[:]), looks: 1})
	}
	chain := &gathering{Chain: h.client, all: make(chan struct{})}
	chain.missing.Store(4)
	h.proxy.cfg.Chain = chain
	ctx, cancel := context.WithTimeout(h.ctx, 30*time.Second)
	defer cancel()
	if err := h.proxy.lookAtAll(ctx, g); err != nil || len(g.doubted) > 0 {
		t.Errorf("%v, %d are left: want 4 at a time and all", err, len(g.doubted))
	}
	h.proxy.doubt(g, doubt{worker: stranger(1), looks: 1})
	cancel()
	if err := h.proxy.lookAtAll(ctx, g); err == nil || len(g.doubted) != 1 {
		t.Errorf("%v, %d are left: want it to be read again", err, len(g.doubted))
	}
}
