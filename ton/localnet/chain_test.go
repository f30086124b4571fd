package localnet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton/wallet"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// fixed is a clock that stands still.
func fixed() time.Time { return time.Unix(1_900_000_000, 0) }

var testSeed = [32]byte{1, 2, 3}

func newChain(t testing.TB, change ...func(*Config)) *Chain {
	t.Helper()
	cfg := Config{Seed: testSeed, Now: fixed}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Contracts in machine code. Each begins with SETCP 0 (ff00).
const (
	// subtract returns at once on a message (IFNOTRET dd) and computes a-b as
	// any get-method (SUB a1); on an external message it fails before accepting.
	subtract = "ff00dda1"
	// thrower ends every message with exit code 37 (THROW 37: f225).
	thrower = "ff00f225"
)

func contract(code string) *tlb.StateInit {
	b, ok := new(big.Int).SetString(code, 16)
	if !ok {
		panic(code)
	}
	return &tlb.StateInit{
		Code: cell.BeginCell().MustStoreSlice(b.Bytes(), uint(len(code)*4)).EndCell(),
		Data: cell.BeginCell().EndCell(),
	}
}

func transfer(to *address.Address, ton string, bounce bool) *wallet.Message {
	return &wallet.Message{Mode: transferMode, InternalMessage: &tlb.InternalMessage{
		IHRDisabled: true, Bounce: bounce, DstAddr: to, Amount: tlb.MustFromTON(ton), Body: cell.BeginCell().EndCell(),
	}}
}

func deploy(init *tlb.StateInit, ton string) *wallet.Message {
	m := transfer(init.CalcAddress(0), ton, false)
	m.InternalMessage.StateInit = init
	return m
}

func pay(t testing.TB, c *Chain, key ed25519.PrivateKey, messages ...*wallet.Message) []*tlb.Transaction {
	t.Helper()
	trace, err := c.Pay(context.Background(), key, messages...)
	if err != nil {
		t.Fatal(err)
	}
	txs, err := trace.Transactions()
	if err != nil {
		t.Fatal(err)
	}
	return txs
}

func balanceOf(t testing.TB, c *Chain, addr *address.Address) *big.Int {
	t.Helper()
	a, err := c.Account(addr)
	if err != nil {
		t.Fatal(err)
	}
	return a.Balance.Nano()
}

func stranger(n byte) *address.Address {
	return address.NewAddress(0, 0, append(make([]byte, 31), n))
}

func TestFund(t *testing.T) {
	c := newChain(t)
	if _, err := c.Fund(context.Background(), stranger(1), tlb.MustFromTON("5")); err != nil {
		t.Fatal(err)
	}
	if got := balanceOf(t, c, stranger(1)); got.Cmp(big.NewInt(5e9)) != 0 {
		t.Errorf("balance = %s, want 5000000000", got)
	}
}

// Every nanoTON is with an account or was paid as a fee.
func TestMoneyIsConserved(t *testing.T) {
	c := newChain(t)
	before, err := c.Total()
	if err != nil {
		t.Fatal(err)
	}
	var fees big.Int
	key := c.FaucetKey()
	for _, m := range []*wallet.Message{
		transfer(stranger(1), "5", false), transfer(stranger(2), "5", true),
		deploy(contract(subtract), "1"), transfer(contract(subtract).CalcAddress(0), "1", true),
		deploy(contract(thrower), "1"), transfer(contract(thrower).CalcAddress(0), "1", true),
	} {
		for _, tx := range pay(t, c, key, m) {
			fees.Add(&fees, tx.TotalFees.Coins.Nano())
			if tx.IO.In.MsgType == tlb.MsgTypeInternal { // what the sender prepaid for the way
				fees.Add(&fees, tx.IO.In.AsInternal().FwdFee.Nano())
			}
		}
	}
	after, err := c.Total()
	if err != nil {
		t.Fatal(err)
	}
	if lost := new(big.Int).Sub(before, after); lost.Cmp(&fees) != 0 || fees.Sign() <= 0 {
		t.Errorf("balances fell by %s, fees are %s", lost, &fees)
	}
}

func TestBounce(t *testing.T) {
	c := newChain(t)
	key := c.FaucetKey()
	pay(t, c, key, deploy(contract(thrower), "1"))
	for name, to := range map[string]*address.Address{"no contract": stranger(9), "contract throws": contract(thrower).CalcAddress(0)} {
		before := balanceOf(t, c, to)
		txs := pay(t, c, key, transfer(to, "1", true))
		if len(txs) != 3 {
			t.Fatalf("%s: %d transactions, want 3: sent, refused, back", name, len(txs))
		}
		in := txs[2].IO.In.AsInternal()
		if !in.Bounced || in.SrcAddr.String() != to.String() {
			t.Errorf("%s: what came back is %+v, want a bounced message", name, in)
		}
		if after := balanceOf(t, c, to); after.Cmp(before) > 0 {
			t.Errorf("%s: kept %s of the bounced value", name, after)
		}
	}
}

func TestRefusedExternal(t *testing.T) {
	c := newChain(t)
	key := c.FaucetKey()
	pay(t, c, key, deploy(contract(subtract), "1"))
	head := c.Last().SeqNo
	again, err := c.SignTransfer(context.Background(), key, transfer(stranger(1), "1", false))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(again); err != nil {
		t.Fatal(err)
	}
	forContract := func(to *address.Address) *cell.Cell {
		m, err := tlb.ToCell(&tlb.ExternalMessage{DstAddr: to, Body: cell.BeginCell().EndCell()})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, m := range map[string]*cell.Cell{
		"replayed":        again,
		"not accepted":    forContract(contract(subtract).CalcAddress(0)),
		"no such account": forContract(stranger(77)),
		"no such chain":   forContract(address.NewAddress(0, 5, make([]byte, 32))),
		"not a message":   cell.BeginCell().EndCell(),
	} {
		var refused *RefusedError
		if _, err := c.Send(m); !errors.As(err, &refused) {
			t.Errorf("%s: %v, want a RefusedError", name, err)
		}
	}
	if got := c.Last().SeqNo; got != head+1 {
		t.Errorf("refused messages made blocks: %d, want %d", got, head+1)
	}
}

func TestGetMethod(t *testing.T) {
	c := newChain(t)
	pay(t, c, c.FaucetKey(), deploy(contract(subtract), "1"))
	out, err := c.RunMethod(contract(subtract).CalcAddress(0), "difference", big.NewInt(50), big.NewInt(8))
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 1 || out[0].(*big.Int).Int64() != 42 {
		t.Errorf("50-8 = %v", out)
	}
	var failed *MethodError
	if _, err := c.RunMethod(contract(subtract).CalcAddress(0), "difference"); !errors.As(err, &failed) || failed.ExitCode != 2 {
		t.Errorf("without arguments: %v, want exit code 2 (stack underflow)", err)
	}
	if _, err := c.RunMethod(stranger(1), "difference"); err == nil {
		t.Error("a get-method ran where no contract is")
	}
}

func TestStorageDebt(t *testing.T) {
	c := newChain(t)
	key, poor := c.FaucetKey(), contract(subtract)
	pay(t, c, key, deploy(poor, "0.0009"))
	addr := poor.CalcAddress(0)
	before := balanceOf(t, c, addr)
	if _, err := c.Advance(10 * 365 * 24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	txs := pay(t, c, key, transfer(addr, "0.00001", false))
	got := txs[1].Description.(tlb.TransactionDescriptionOrdinary).StoragePhase
	if got.StorageFeesCollected.Nano().Cmp(before) <= 0 || got.StorageFeesDue == nil {
		t.Errorf("ten years: collected %s of %s, due %v: want all and a debt", got.StorageFeesCollected, before, got.StorageFeesDue)
	}
	a, err := c.Account(addr)
	if err != nil {
		t.Fatal(err)
	}
	if a.StorageInfo.DuePayment == nil || a.Balance.Nano().Sign() != 0 {
		t.Errorf("balance %s, debt %v: want nothing and a debt", a.Balance, a.StorageInfo.DuePayment)
	}
	pay(t, c, key, transfer(addr, "1", false))
	if a, _ = c.Account(addr); a.StorageInfo.DuePayment != nil && a.StorageInfo.DuePayment.Nano().Sign() != 0 {
		t.Errorf("debt %v after a deposit, want none", a.StorageInfo.DuePayment)
	}
}
