package settlement

import (
	"context"
	"testing"

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
