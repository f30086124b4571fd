package settlement

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
)

// When the registry's parameters pass, the old contract is closed: the client
// gets its rest, the worker its last payout, the owner what is left; the new
// one is deployed and used. A finish that comes too early is refused and tried again.
func TestGenerationPasses(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		h := newHouse(t)
		again := func() {
			if restarts {
				h.restart()
			}
		}
		h.serving()
		alice, bob, worker := h.customer("alice"), h.customer("bob"), stranger(2)
		alice.topUp(5 * coin.TON)
		bob.topUp(3 * coin.TON)
		h.await("deposits", func() bool {
			return h.clientAccount(alice.at).Available() > 0 && h.clientAccount(bob.at).Available() > 0
		})
		const used = 3_000_000 // 0.06 TON, below all thresholds
		h.book(alice.at, worker, used)
		old := h.generation()
		h.newPrice(30, 25)
		again()
		if err := h.begin(); err != nil {
			t.Fatal(err)
		}
		h.proxy.nudge()
		again()
		oldProxy := h.contracts(old).Proxy.Address
		h.await("the client is refunded", func() bool { return alice.state().State == contract.Closed })
		h.await("who used nothing is refunded", func() bool { return bob.state().State == contract.Closed })
		again()
		h.await("the worker has its last payout", func() bool { return h.paid(worker, oldProxy) == used*fee })
		if got := h.paid(alice.at, oldProxy); got != 5*coin.TON-used*price {
			t.Errorf("alice got %s back", got.Text())
		}
		if got := h.paid(bob.at, oldProxy); got != 3*coin.TON {
			t.Errorf("bob got %s back", got.Text())
		}
		h.await("closing", func() bool { return h.proxyState(old).State == contract.Closing })
		if s := h.proxyState(old); s.Deposits != 0 || s.Balance != used*(price-fee) {
			t.Errorf("old contract: %+v, want no deposits and a balance of %d", s, used*(price-fee))
		}
		// The machine's clock runs ahead: it finishes too early, and the contract refuses.
		h.stop()
		h.ahead = 61 * time.Minute
		h.start()
		h.await("refused", func() bool { return strings.Contains(h.log.String(), "too early to close") })
		if _, err := h.chain.Advance(time.Hour); err != nil {
			t.Fatal(err)
		}
		h.await("finished", func() bool { return h.proxyState(old).State == contract.Closed && len(h.ledger.Generations()) == 1 })
		again()

		h.serving()
		alice.deploy(h)
		alice.topUp(5 * coin.TON)
		h.await("deposit under new terms", func() bool { return h.clientAccount(alice.at).Available() > 0 })
		const more = 20_000_000 // 0.6 TON
		h.book(alice.at, worker, more)
		h.await("charged under new terms", func() bool { return alice.state().Balance == 5*coin.TON-more*30 })
		h.await("paid under new terms", func() bool { return h.paid(worker, h.contracts(h.generation()).Proxy.Address) == more*25 })
		h.check()
	}
}

// A wallet without enough money settles nothing, says so, and goes on when it
// is paid. Meanwhile work goes on within what is committed.
func TestPoorWallet(t *testing.T) {
	h := newHouseWith(t, 27*coin.TON/10)
	h.serving()
	alice, worker := h.customer("alice"), stranger(2)
	alice.topUp(5 * coin.TON)
	h.await("the deposit is available", func() bool { return h.clientAccount(alice.at).Available() > 0 })
	h.book(alice.at, worker, 10_000_000)
	h.await("the wallet is too poor", func() bool {
		due := h.proxy.Status().Due
		return len(due) > 0 && due[0].Err != nil && strings.Contains(due[0].Err.Error(), "too little")
	})
	h.serving()
	h.book(alice.at, worker, 10_000_000)
	if alice.state().Tokens != 0 {
		t.Error("charged without money for it")
	}
	h.fund(h.node.driver.Address(), 10*coin.TON)
	h.await("charged", func() bool { return alice.state().Tokens == 20_000_000 })
	h.await("paid", func() bool { return h.workerAccount(worker).Paid == 20_000_000 })
	h.check()
}

// A generation that passes before its contract could be deployed leaves
// nothing to close, whoever has written to its address.
func TestGenerationPassesUndeployed(t *testing.T) {
	h := newHouseWith(t, coin.TON) // below what the wallet must keep
	h.await("the wallet is too poor to deploy", func() bool { return h.proxy.Status().LastError != "" })
	customer := h.customer("alice")
	customer.topUp(5 * coin.TON) // which comes back
	h.newPrice(10, 9)
	if err := h.begin(); err != nil {
		t.Fatal(err)
	}
	h.await("the old generation is forgotten", func() bool { g := h.ledger.Generations(); return len(g) == 1 && g[0].Price == 10 })
	h.fund(h.node.driver.Address(), 30*coin.TON)
	h.serving()
	h.newPrice(11, 9) // this one was deployed, and is closed as ever
	if err := h.begin(); err != nil {
		t.Fatal(err)
	}
	h.await("it closes", func() bool {
		c := h.proxy.Status().Contracts
		return len(c) == 2 && c[0].State == contract.Closing
	})
}

// A client that is not charged in time leaves with all it paid in. What a worker
// has earned by then waits, at no cost, until the operator's stake pays it.
func TestShortPool(t *testing.T) {
	h := newHouse(t)
	h.serving()
	alice, worker := h.customer("alice"), stranger(2)
	alice.topUp(5 * coin.TON)
	h.await("the deposit is available", func() bool { return h.clientAccount(alice.at).Available() > 0 })
	const used = 4_000_000 // 0.08 TON to charge and 0.072 to pay: below both thresholds
	h.book(alice.at, worker, used)
	h.await("committed", func() bool { return h.workerAccount(worker).Earned.Chain == used })
	h.stop()
	leave := &contract.RequestRefund{QueryID: 1, Excess: alice.at}
	alice.send(alice.at2.Address, coin.TON, leave, nil)
	if _, err := h.chain.Advance(time.Hour); err != nil {
		t.Fatal(err)
	}
	alice.send(alice.at2.Address, coin.TON, leave, nil)
	at := h.contracts(h.generation()).Proxy.Address
	if got := h.paid(alice.at, at); got != 5*coin.TON {
		t.Fatalf("alice left with %s, want all of it", got.Text())
	}
	h.start()
	h.serving()
	if _, err := h.proxy.Payout(h.ctx, worker); err == nil || !strings.Contains(err.Error(), "raise its stake") {
		t.Errorf("a payout that nothing is left for: %v", err)
	}
	d, err := h.contracts(h.generation()).Worker(worker)
	if err != nil {
		t.Fatal(err)
	}
	if a := h.account(d.Address); a.Status != ton.NonExistent {
		t.Errorf("the worker's contract was asked in vain: %+v", a)
	}
	alice.send(at, 2*coin.TON, &contract.IncreaseStake{QueryID: 2, Amount: coin.TON, Excess: alice.at}, nil)
	h.await("paid out of the stake", func() bool {
		h.proxy.Payout(h.ctx, worker)
		return h.paid(worker, at) == used*fee
	})
}

// While the chain is away, work goes on within what is staked; when it is back
// everything catches up.
func TestChainAway(t *testing.T) {
	h := newHouse(t)
	h.serving()
	alice, worker := h.customer("alice"), stranger(2)
	alice.topUp(5 * coin.TON)
	h.await("the deposit is available", func() bool { return h.clientAccount(alice.at).Available() == 100_000_000 })
	addr := h.server.Addr().String()
	h.server.Close()
	h.book(alice.at, worker, 60_000_000)
	if _, err := h.ledger.Reserve(alice.at.StringRaw(), 40_000_001); err == nil {
		t.Error("more than the stake is given while the chain is away")
	}
	if err := errors.Join(h.ledger.Health(), h.proxy.Health()); err != nil {
		t.Errorf("no work is taken: %v", err)
	}
	h.await("the trouble is seen", func() bool { return h.proxy.Status().LastError != "" || h.proxy.Status().Trouble != "" })
	h.listen(addr)
	h.await("charged", func() bool { return h.clientAccount(alice.at).Charged == 60_000_000 })
	h.await("paid", func() bool { return h.workerAccount(worker).Paid == 60_000_000 })
	if h.proxy.Status().Trouble != "" {
		t.Errorf("still in trouble: %s", h.proxy.Status().Trouble)
	}
	h.check()
}

// What strangers write to the proxy's contract changes nothing, and an absurd
// stake is worth no more than what was paid in.
func TestForeignGarbage(t *testing.T) {
	h := newHouse(t)
	h.serving()
	alice, mallory, worker := h.customer("alice"), h.customer("mallory"), stranger(2)
	alice.topUp(5 * coin.TON)
	at := h.contracts(h.generation()).Proxy.Address
	junk := func(body *cell.Cell) {
		mallory.raw(&tlb.InternalMessage{IHRDisabled: true, DstAddr: at, Amount: tlb.FromNanoTON(coin.Nano(coin.TON / 10).Big()), Body: body})
	}
	junk(cell.BeginCell().MustStoreUInt(0xdeadbeef, 32).EndCell())
	junk(cell.BeginCell().MustStoreUInt(0x65448ff4, 32).MustStoreUInt(1, 64).EndCell())
	junk(cell.BeginCell().MustStoreUInt(1, 3).EndCell())
	mallory.send(at, coin.TON/10, &contract.SaveState{QueryID: 1, Seqno: 7, Session: [32]byte{1}}, nil)
	mallory.send(at, coin.TON/10, &contract.SaveState{QueryID: 1, Seqno: 0xffffffff}, nil)
	mallory.send(at, coin.TON/10, &contract.ClientRequest{Owner: alice.at, Shown: contract.Shown{State: contract.Closed, Tokens: 1 << 63}, Part: &contract.ClientPart{Kind: contract.PartRegister, Nonce: 5}}, nil)
	mallory.send(at, coin.TON/10, &contract.WorkerRequest{Owner: worker, State: contract.Closed, Tokens: 1 << 62}, nil)
	mallory.topUp(coin.TON)
	mallory.send(mallory.at2.Address, coin.TON, &contract.RaiseStake{QueryID: 1, Stake: 1 << 62, Excess: mallory.at}, nil)
	h.await("the stake is seen", func() bool { return h.clientAccount(mallory.at).Stake > 1<<50 })
	if got := h.clientAccount(mallory.at).Available(); got != 50_000_000 {
		t.Errorf("%d tokens are available, want those of 1 TON", got)
	}
	heard, cancel := context.WithTimeout(h.ctx, 50*time.Millisecond)
	defer cancel()
	if err := h.proxy.Await(heard, alice.at, 5); err == nil {
		t.Error("mallory registered for alice")
	}
	h.serving()
	h.book(alice.at, worker, 50_000_000)
	h.await("charged", func() bool { return alice.state().Tokens == 50_000_000 })
	h.await("paid", func() bool { return h.workerAccount(worker).Paid == 50_000_000 })
	h.check()
}

// An older copy of the ledger takes no work and signs nothing, and says why.
func TestRollback(t *testing.T) {
	h := newHouse(t)
	h.serving()
	alice, worker := h.customer("alice"), stranger(2)
	alice.topUp(5 * coin.TON)
	h.await("the deposit is available", func() bool { return h.clientAccount(alice.at).Available() > 0 })
	old := h.copyStore()
	h.book(alice.at, worker, 20_000_000)
	h.await("charged", func() bool { return alice.state().Tokens == 20_000_000 })
	h.await("paid", func() bool { return h.workerAccount(worker).Paid == 20_000_000 })
	h.stop()
	h.store = old
	h.start()
	h.await("the rollback is noticed", func() bool {
		var rollback *ledger.RollbackError
		return errors.As(h.ledger.Health(), &rollback)
	})
	if _, err := h.ledger.Reserve(alice.at.StringRaw(), 1); err == nil {
		t.Error("work is taken")
	}
	if due := h.ledger.Due(rules, h.chain.Now()); len(due) > 0 {
		t.Errorf("due: %+v", due)
	}
	if !strings.Contains(h.log.String(), "older than what it vouched for") {
		t.Errorf("the log does not say it:\n%s", h.log)
	}
}

// The registrar knows clients by the secret on chain, unless anybody could
// guess it, and hears the nonces that they say there.
func TestRegistrar(t *testing.T) {
	h := newHouse(t)
	h.serving()
	alice, nobody := h.person("alice", 50*coin.TON), stranger(9)
	if _, ok, _ := h.proxy.Known(nobody); ok {
		t.Error("a wallet without a contract is known")
	}
	if _, ok, _ := h.proxy.Known(alice.at); ok {
		t.Error("known before it has a contract")
	}
	c := &customer{person: alice}
	c.deploy(h)
	if _, ok, _ := h.proxy.Known(alice.at); ok {
		t.Error("known without a secret")
	}
	secret := func(text string) [32]byte {
		hash := sha256.Sum256([]byte(text))
		alice.send(c.at2.Address, coin.TON, &contract.ChangeSecret{QueryID: 1, Hash: hash, Excess: alice.at}, nil)
		return hash
	}
	secret("")
	awaited := make(chan error, 1)
	go func() { awaited <- h.proxy.Await(h.ctx, alice.at, -5) }()
	alice.send(c.at2.Address, coin.TON, &contract.ClientRegister{QueryID: 1, Nonce: 1<<64 - 5, Excess: alice.at}, nil)
	if err := <-awaited; err != nil {
		t.Error(err)
	}
	if err := h.proxy.Await(h.ctx, alice.at, -5); err != nil {
		t.Errorf("said before it was waited for: %v", err)
	}
	if _, ok, _ := h.proxy.Known(alice.at); ok {
		t.Error("known by the empty secret, which everybody knows")
	}
	want := secret("a long secret")
	known := func() bool { got, ok, _ := h.proxy.Known(alice.at); return ok && got == want }
	h.await("known by its secret", known)
	h.restart()
	h.await("known after a restart", known)
}

// A client that leaves is granted its rest; an operator's orders need no
// threshold; an owner that closes the contract stops the taking of work.
func TestLeavingAndControl(t *testing.T) {
	h := newHouse(t)
	ownerPerson := h.person("operator", 10*coin.TON)
	h.stop()
	h.owner = ownerPerson.at
	h.store = &ledger.Memory{}
	h.start()
	h.serving()
	alice, worker := h.customer("alice"), h.person("worker", coin.TON).at
	alice.topUp(5 * coin.TON)
	h.await("the deposit is available", func() bool { return h.clientAccount(alice.at).Available() > 0 })
	const used = 1_000_000 // 0.02 TON
	h.book(alice.at, worker, used)
	h.await("committed", func() bool { return h.clientAccount(alice.at).Used.Chain == used })
	if _, err := h.proxy.Charge(h.ctx, worker); !nothing(err) {
		t.Errorf("charging a stranger: %v", err)
	}
	if done, err := h.proxy.Charge(h.ctx, alice.at); err != nil || !strings.Contains(done, "1000000 tokens, 0.02 TON") {
		t.Errorf("charge: %q, %v", done, err)
	}
	if done, err := h.proxy.Payout(h.ctx, worker); err != nil || !strings.Contains(done, "0.018 TON") {
		t.Errorf("payout: %q, %v", done, err)
	}
	h.await("shown", func() bool { return h.clientAccount(alice.at).Charged == used && h.workerAccount(worker).Paid == used })
	if _, err := h.proxy.Payout(h.ctx, worker); !nothing(err) {
		t.Errorf("paying again: %v", err)
	}
	g := h.generation()
	at := h.contracts(g).Proxy.Address
	h.await("the income is shown", func() bool { c := h.proxy.Status().Contracts; return c[len(c)-1].Ready == used*(price-fee) })
	if _, err := h.proxy.Withdraw(h.ctx); err != nil {
		t.Error(err)
	}
	h.await("withdrawn", func() bool { return h.paid(h.owner, at) == used*(price-fee) })

	h.book(alice.at, worker, used)
	alice.send(alice.at2.Address, coin.TON, &contract.RequestRefund{QueryID: 1, Excess: alice.at}, nil)
	h.await("the rest is granted", func() bool { return alice.state().State == contract.Closed })
	h.await("the rest has come", func() bool { return h.paid(alice.at, at) == 5*coin.TON-2*used*price })
	if _, err := h.ledger.Reserve(alice.at.StringRaw(), 1); !errors.Is(err, ledger.ErrClosing) {
		t.Errorf("a client that has left: %v", err)
	}

	ownerPerson.send(at, coin.TON, contract.Text{Letter: 'c'}, nil)
	h.await("no work is taken", func() bool { err := h.proxy.Health(); return err != nil && strings.Contains(err.Error(), "closing") })
	h.check()
}

func nothing(err error) bool {
	var n *NothingError
	return errors.As(err, &n)
}

// The network's own proxy contract gives a deposit back while it closes, and
// the client's contract counts it all the same: the transaction is recognised,
// and the client's grant takes it away.
func TestDepositGivenBack(t *testing.T) {
	h := newHouse(t)
	h.serving()
	alice := h.customer("alice")
	alice.topUp(5 * coin.TON)
	h.await("the deposit is available", func() bool { return h.clientAccount(alice.at).Available() > 0 })
	old := h.generation()
	h.stop()
	g := &generation{Generation: old, contracts: h.contracts(old)}
	cellOf := func(b contract.Body) *cell.Cell {
		c, err := b.Cell()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	tx := &ton.Transaction{
		TxID: ton.TxID{LT: 5}, Ran: true,
		In: &ton.Message{From: alice.at2.Address, Body: cellOf(&contract.ClientRequest{Owner: alice.at, Part: &contract.ClientPart{Kind: contract.PartTopUp, Amount: 2 * coin.TON, Excess: alice.at}})},
	}
	seen := func() {
		var t2 touched
		t2.clients = map[string]*address.Address{}
		if err := h.proxy.transaction(g, tx, &t2); err != nil {
			t.Fatal(err)
		}
	}
	seen() // an ordinary deposit
	h.newPrice(30, 25)
	if err := h.begin(); err != nil {
		t.Fatal(err)
	}
	tx.LT, tx.Out = 6, []*ton.Message{{To: alice.at, Value: 2*coin.TON - 400_000, Body: cellOf(&contract.PaidOut{})}}
	seen()
	h.start()
	h.await("refunded", func() bool { return alice.state().State == contract.Closed })
	if got := h.paid(alice.at, h.contracts(old).Proxy.Address); got != 3*coin.TON {
		t.Errorf("alice got %s back, want 3 TON: she has had 2", got.Text())
	}
	if !strings.Contains(h.log.String(), "was given back") {
		t.Error("nobody was told")
	}
	h.check()
}
