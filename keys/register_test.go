package keys

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
	"github.com/opencocoon/cocoon/wallet"
)

// An attempt to register is one message in a real wallet's queue, also when a
// process asks that knows nothing of the one before; another follows only when it
// is over.
func TestByWallet(t *testing.T) {
	chain, err := localnet.New(localnet.Config{Seed: [32]byte{9}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { chain.Close() })
	server, err := localnet.Listen(chain, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	config := filepath.Join(t.TempDir(), "global.config.json")
	if err := server.WriteGlobalConfig(config); err != nil {
		t.Fatal(err)
	}
	c, err := ton.Dial(t.Context(), ton.Config{Path: config, InsecureUnsigned: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	driver, err := wallet.Open(wallet.Config{Dir: t.TempDir(), Key: wallet.NewKey(), Owner: chain.FaucetAddress(), Chain: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { driver.Close() })

	root := chain.FaucetAddress()
	e := newEntry(TypeV1, time.Now(), time.Hour)
	by := func(unbound bool) *ByWallet {
		return &ByWallet{Wallet: driver, Root: root, Key: managerKey, Unbound: unbound}
	}
	register := func(r *ByWallet) []*wallet.Handle {
		t.Helper()
		if err := r.Register(t.Context(), e.listing()); err != nil {
			t.Fatal(err)
		}
		return driver.Pending()
	}
	first := by(false)
	for _, r := range []*ByWallet{first, first, by(false)} {
		if pending := register(r); len(pending) != 1 {
			t.Fatalf("%d messages wait, want one", len(pending))
		}
	}
	if err := driver.Pending()[0].Cancel(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*ByWallet{first, first, by(false)} {
		if pending := register(r); len(pending) != 1 || pending[0].ID() != attemptID(e.listing(), 1) {
			t.Fatalf("%d messages wait, want the second attempt", len(pending))
		}
	}
	if err := by(true).Register(t.Context(), e.listing()); err == nil {
		t.Error("one attempt in two forms")
	}
}
