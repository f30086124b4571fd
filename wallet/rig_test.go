package wallet

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

func newChain(t testing.TB, change ...func(*localnet.Config)) *localnet.Chain {
	t.Helper()
	cfg := localnet.Config{Seed: [32]byte{7}}
	for _, f := range change {
		f(&cfg)
	}
	c, err := localnet.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// served is a chain and a client that reads it over the network.
func served(t testing.TB) (*localnet.Chain, *ton.Client) {
	t.Helper()
	c := newChain(t)
	s, err := localnet.Listen(c, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	path := t.TempDir() + "/global.config.json"
	if err := s.WriteGlobalConfig(path); err != nil {
		t.Fatal(err)
	}
	client, err := ton.Dial(context.Background(), ton.Config{Path: path, InsecureUnsigned: true, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return c, client
}

func fund(t testing.TB, c *localnet.Chain, to *address.Address, amount coin.Nano) {
	t.Helper()
	if _, err := c.Fund(context.Background(), to, tlb.FromNanoTON(amount.Big())); err != nil {
		t.Fatal(err)
	}
}

func stranger(n byte) *address.Address {
	id := make([]byte, 32)
	id[0], id[31] = 0xaa, n
	return address.NewAddress(0, 0, id)
}

func testKey(n byte) Key {
	seed := make([]byte, ed25519.SeedSize)
	seed[0], seed[1] = 0x5e, n
	return KeyOf(ed25519.NewKeyFromSeed(seed))
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func testLog(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
