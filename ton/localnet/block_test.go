package localnet

import (
	"context"
	"math/big"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// By interval, several messages share a block.
func TestInterval(t *testing.T) {
	c := newChain(t, func(cfg *Config) { cfg.Interval = time.Hour })
	head := c.Last().SeqNo
	for n := range 3 {
		pay(t, c, c.FaucetKey(), transfer(stranger(byte(n)), "1", false))
	}
	if got := c.Last().SeqNo; got != head {
		t.Fatalf("block %d before the interval, want %d", got, head)
	}
	if got := balanceOf(t, c, stranger(1)); got.Sign() != 0 {
		t.Errorf("an unsealed transfer is visible: %s", got)
	}
	if _, err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	if got := len(c.head().side[base].txs); got != 6 {
		t.Errorf("%d transactions in the block, want 6", got)
	}
	if got := balanceOf(t, c, stranger(1)); got.Cmp(big.NewInt(1e9)) != 0 {
		t.Errorf("balance = %s", got)
	}
}

// What a message causes may fill blocks; nothing is lost, and order is kept.
func TestFullBlocks(t *testing.T) {
	c := newChain(t, func(cfg *Config) { cfg.Interval = time.Hour })
	many := make([]*wallet.Message, 250)
	for i := range many {
		many[i] = transfer(stranger(7), "0.01", false)
	}
	for range 5 {
		pay(t, c, c.FaucetKey(), many...)
	}
	for len(c.world.queue) > 0 || c.draft != nil {
		if _, err := c.Seal(); err != nil {
			t.Fatal(err)
		}
	}
	if got := balanceOf(t, c, stranger(7)); got.Cmp(big.NewInt(1250*1e7)) != 0 {
		t.Errorf("balance = %s, want 12500000000", got)
	}
	lt := uint64(0)
	for _, b := range c.world.blocks[1:] {
		if len(b.side[base].txs) > blockCapacity {
			t.Errorf("block %d has %d transactions, want at most %d", b.seq, len(b.side[base].txs), blockCapacity)
		}
		if b.startLT < lt || b.endLT < b.startLT {
			t.Errorf("block %d spans %d to %d, the one before ended at %d", b.seq, b.startLT, b.endLT, lt)
		}
		lt = b.endLT
	}
}

// A Route loses, doubles and holds back messages.
func TestRoute(t *testing.T) {
	var held []*cell.Cell
	c := newChain(t, func(cfg *Config) {
		cfg.Route = func(m *cell.Cell) []*cell.Cell {
			var message tlb.InternalMessage
			if err := tlb.Parse(&message, m); err != nil {
				t.Error(err)
			}
			switch message.DstAddr.Data()[31] {
			case 1:
				return nil
			case 2:
				return []*cell.Cell{m, m}
			case 3:
				held = append(held, m)
				return nil
			}
			return []*cell.Cell{m}
		}
	})
	pay(t, c, c.FaucetKey(), transfer(stranger(1), "1", false), transfer(stranger(2), "1", false), transfer(stranger(3), "1", false))
	for n, want := range map[byte]int64{1: 0, 2: 2e9, 3: 0} {
		if got := balanceOf(t, c, stranger(n)); got.Cmp(big.NewInt(want)) != 0 {
			t.Errorf("account %d has %s, want %d", n, got, want)
		}
	}
	if _, err := c.Deliver(held[0]); err != nil {
		t.Fatal(err)
	}
	if got := balanceOf(t, c, stranger(3)); got.Cmp(big.NewInt(1e9)) != 0 {
		t.Errorf("the message held back brought %s", got)
	}
	if _, err := c.Deliver(cell.BeginCell().EndCell()); err == nil {
		t.Error("delivered an empty cell")
	}
}

// Fees follow the served configuration's prices.
func TestFees(t *testing.T) {
	c := newChain(t)
	prices := tlb.BlockchainConfig{Root: c.root}
	gas, err := prices.GetGasPrices(false)
	if err != nil {
		t.Fatal(err)
	}
	forward, err := prices.GetMsgForwardPrices(false)
	if err != nil {
		t.Fatal(err)
	}
	pay(t, c, c.FaucetKey(), transfer(stranger(1), "1", false)) // deploys the wallet
	before := balanceOf(t, c, c.FaucetAddress())
	tx := pay(t, c, c.FaucetKey(), transfer(stranger(2), "1", false))[0]
	description := tx.Description.(tlb.TransactionDescriptionOrdinary)
	compute := description.ComputePhase.Phase.(tlb.ComputePhaseVM)
	wantGas := gasFee(gas, compute.Details.GasUsed)
	if compute.GasFees.Nano().Cmp(wantGas) != 0 {
		t.Errorf("%s gas costs %s, want %s", compute.Details.GasUsed, compute.GasFees.Nano(), wantGas)
	}
	// A transfer without a body is one cell: the lump price and nothing else.
	lump := new(big.Int).SetUint64(forward.LumpPrice)
	if got := description.ActionPhase.TotalFwdFees.Nano(); got.Cmp(lump) != 0 {
		t.Errorf("forwarding costs %s, want %s", got, lump)
	}
	out, err := tx.IO.Out.ToSlice()
	if err != nil {
		t.Fatal(err)
	}
	spent := new(big.Int).Add(tx.TotalFees.Coins.Nano(), out[0].AsInternal().FwdFee.Nano())
	spent.Add(spent, big.NewInt(1e9))
	if got := new(big.Int).Sub(before, balanceOf(t, c, c.FaucetAddress())); got.Cmp(spent) != 0 {
		t.Errorf("the wallet paid %s, its transaction says %s", got, spent)
	}
}

// Dry run: the same message on a restored snapshot costs the same.
func TestDryRun(t *testing.T) {
	c := newChain(t)
	message, err := c.SignTransfer(context.Background(), c.FaucetKey(), deploy(contract(thrower), "1"))
	if err != nil {
		t.Fatal(err)
	}
	predicted, err := c.Emulate(message)
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := c.Account(contract(thrower).CalcAddress(0)); a.Status != tlb.AccountStatusNonExist {
		t.Fatal("a dry run changed the chain")
	}
	real, err := c.Send(message)
	if err != nil {
		t.Fatal(err)
	}
	if len(real) != len(predicted) {
		t.Fatalf("%d transactions, predicted %d", len(real), len(predicted))
	}
	for i := range real {
		if string(real[i].Hash()) != string(predicted[i].Hash()) {
			t.Errorf("transaction %d is not the predicted one", i)
		}
	}
}

// gasFee computes a price from the configuration's fixed-point numbers, by hand.
func gasFee(p *tlb.ConfigGasLimitsPrices, used *big.Int) *big.Int {
	above := new(big.Int).Sub(used, new(big.Int).SetUint64(p.FlatGasLimit))
	if !p.HasFlatPricing || above.Sign() < 0 {
		above.SetInt64(0)
	}
	above.Mul(above, new(big.Int).SetUint64(p.GasPrice))
	above.Add(above, big.NewInt(1<<16-1)).Rsh(above, 16)
	return above.Add(above, new(big.Int).SetUint64(p.FlatGasPrice))
}
