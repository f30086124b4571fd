package localnet

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton/wallet"
)

// crowd is a chain with many accounts.
func crowd(b *testing.B, accounts int) *Chain {
	b.Helper()
	c := newChain(b, func(cfg *Config) { cfg.Interval = time.Hour })
	for made := 0; made < accounts; {
		var batch []*wallet.Message
		for ; len(batch) < 200 && made < accounts; made++ {
			id := make([]byte, 32)
			binary.BigEndian.PutUint32(id, uint32(made)*2654435761)
			batch = append(batch, transfer(address.NewAddress(0, 0, id), "1", false))
		}
		pay(b, c, c.FaucetKey(), batch...)
	}
	if _, err := c.Seal(); err != nil {
		b.Fatal(err)
	}
	return c
}

// Transactions per second, signing included: one external message and four
// internal ones, each to a contract.
func BenchmarkTransactions(b *testing.B) {
	for _, interval := range []time.Duration{0, time.Hour} {
		name := "sealed at once"
		if interval > 0 {
			name = "sealed together"
		}
		b.Run(name, func(b *testing.B) {
			c := newChain(b, func(cfg *Config) { cfg.Interval = interval })
			pay(b, c, c.FaucetKey(), deploy(contract(subtract), "1"))
			to := transfer(contract(subtract).CalcAddress(0), "0.01", true)
			count := 0
			for b.Loop() {
				trace, err := c.Pay(context.Background(), c.FaucetKey(), to, to, to, to)
				if err != nil {
					b.Fatal(err)
				}
				count += len(trace)
			}
			b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "tx/s")
		})
	}
}

// Sealing must not grow with the state.
func BenchmarkSeal(b *testing.B) {
	for _, accounts := range []int{10, 10_000} {
		b.Run(fmt.Sprint(accounts, " accounts"), func(b *testing.B) {
			c := crowd(b, accounts)
			for b.Loop() {
				if _, err := c.Seal(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// From an ordinary client's send to its confirmation, over ADNL, proofs checked.
func BenchmarkSendToConfirmed(b *testing.B) {
	_, api, w := liveWallet(b)
	hurry(api, w)
	ctx := context.Background()
	for b.Loop() {
		if _, _, err := w.SendWaitTransaction(ctx, transfer(stranger(1), "0.001", false)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetMethod(b *testing.B) {
	c, api, _ := liveWallet(b)
	pay(b, c, c.FaucetKey(), deploy(contract(subtract), "1"))
	ctx := context.Background()
	block, err := api.GetMasterchainInfo(ctx)
	if err != nil {
		b.Fatal(err)
	}
	addr := contract(subtract).CalcAddress(0)
	for b.Loop() {
		if _, err := api.RunGetMethod(ctx, block, addr, "difference", 50, 8); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		newChain(b)
	}
}

// Reading a journal back, per block with one transfer.
func BenchmarkRestart(b *testing.B) {
	dir := b.TempDir()
	c := newChain(b, inDir(dir))
	const blocks = 500
	for range blocks {
		if _, err := c.Fund(context.Background(), stranger(1), tlb.MustFromTON("1")); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	for b.Loop() {
		again, err := New(Config{Dir: dir, Now: fixed})
		if err != nil {
			b.Fatal(err)
		}
		again.Close()
	}
	b.ReportMetric(float64(b.N)*blocks/b.Elapsed().Seconds(), "blocks/s")
}
