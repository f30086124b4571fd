package settlement

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/wallet"
)

// gate holds back what deploys one contract.
type gate struct {
	Wallet
	to         *address.Address
	held, open chan struct{}
}

func (g *gate) Enqueue(ctx context.Context, m wallet.Message) (*wallet.Handle, error) {
	if m.Init != nil && m.To.Equals(g.to) {
		close(g.held)
		select {
		case <-g.open:
		case <-ctx.Done():
		}
	}
	return g.Wallet.Enqueue(ctx, m)
}

// A contract whose deployment is about to leave when its parameters pass is
// followed, and closed as any other: what it was sent comes back.
func TestDeployedTooLate(t *testing.T) {
	h := newHouse(t)
	h.serving()
	h.stop()
	h.newPrice(30, 25)
	terms, err := h.issuer.Terms(h.registry.Root())
	if err != nil {
		t.Fatal(err)
	}
	to, err := contract.ParseAddress(terms.Contract)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{to: to, held: make(chan struct{}), open: make(chan struct{})}
	h.between = func(w Wallet) Wallet { g.Wallet = w; return g }
	h.start()
	receive(h.world, g.held)
	h.newPrice(40, 35)
	if err := h.begin(); err != nil {
		t.Fatal(err)
	}
	h.serving() // under the newest parameters
	h.await("the generation before", func() bool {
		for _, c := range h.proxy.Status().Contracts {
			if c.Address.Equals(to) {
				return c.Known && !c.Deployed
			}
		}
		return false
	})
	close(g.open)
	h.await("it closes", func() bool {
		for _, c := range h.proxy.Status().Contracts {
			if c.Address.Equals(to) {
				return c.State == contract.Closing
			}
		}
		return false
	})
	if _, err := h.chain.Advance(time.Hour + time.Minute); err != nil {
		t.Fatal(err)
	}
	h.await("all are closed", func() bool { return len(h.ledger.Generations()) == 1 })
	if left := h.account(to).Balance; left > coin.TON/50 {
		t.Errorf("%s are left in the contract", left.Text())
	}
}

// What a worker of an old generation is owed and is not worth a contract is not
// paid at the proxy's cost. The worker can take it itself, from the closed contract too.
func TestDustIsLeft(t *testing.T) {
	h := newHouse(t)
	h.serving()
	alice, dust, worker := h.customer("alice"), h.person("dust", 2*coin.TON), stranger(2)
	alice.topUp(5 * coin.TON)
	h.await("the deposit is available", func() bool { return h.clientAccount(alice.at).Available() > 0 })
	const little, enough, much = 1_000_000, 4_000_000, 20_000_000 // 0.018, 0.072 and 0.36 TON
	regular := stranger(3)
	h.book(alice.at, regular, much)
	h.await("one worker is paid as ever", func() bool { return h.workerAccount(regular).Paid == much })
	h.book(alice.at, dust.at, little)
	h.book(alice.at, worker, enough)
	h.await("committed", func() bool { return h.clientAccount(alice.at).Used.Chain == little+enough+much })
	promise, err := h.ledger.WorkerStatus(dust.at.StringRaw())
	if err != nil {
		t.Fatal(err)
	}
	c := h.contracts(h.generation())
	old := h.generation()
	h.newPrice(30, 25)
	if err := h.begin(); err != nil {
		t.Fatal(err)
	}
	h.await("the worker is paid", func() bool { return h.paid(worker, c.Proxy.Address) == enough*fee })
	made, err := c.Worker(regular)
	if err != nil {
		t.Fatal(err)
	}
	h.await("a contract that was made is closed, and its own coins are back", func() bool { return h.account(made.Address).Balance < coin.TON/50 })
	h.await("the client has its rest", func() bool { return alice.state().State == contract.Closed })
	if _, err := h.chain.Advance(time.Hour + time.Minute); err != nil {
		t.Fatal(err)
	}
	h.await("closed", func() bool { return len(h.ledger.Generations()) == 1 })
	if s := h.proxyState(old); s.Deposits < little*fee {
		t.Fatalf("deposits of %s: the dust is gone", s.Deposits.Text())
	}
	sheet, err := Audit(t.Context(), h.client, []Pool{{Proxy: c.Proxy.Address}}, nil)
	if err != nil || sheet.Unaccounted != 0 || sheet.ChargedUnsettled != little*price || sheet.WorkerEarned != (little+enough+much)*fee {
		t.Errorf("%+v, %v: the dust is earned and not paid", sheet, err)
	}
	d, err := c.Worker(dust.at)
	if err != nil {
		t.Fatal(err)
	}
	if a := h.account(d.Address); a.Data != nil {
		t.Error("the proxy has made the worker's contract")
	}
	signed, err := contract.VerifyPayment(promise.Payment, contract.Payout, d.Address, h.issuer.Public())
	if err != nil {
		t.Fatal(err)
	}
	dust.send(d.Address, coin.TON/2, signed.Repack(dust.at), d.Init)
	if got := h.paid(dust.at, c.Proxy.Address); got != little*fee {
		t.Errorf("the worker took %s, want %d nanoTON", got.Text(), little*fee)
	}
}

// A refund that the contract cannot pay is not sent: it waits at no cost, the
// status says why, the client can take a part, and the old contract is closed in the end.
func TestShortRefund(t *testing.T) {
	h := newHouse(t)
	h.serving()
	alice, bob, worker := h.customer("alice"), h.customer("bob"), stranger(2)
	alice.topUp(5 * coin.TON)
	bob.topUp(3 * coin.TON)
	h.await("the deposits are available", func() bool {
		return h.clientAccount(alice.at).Available() > 0 && h.clientAccount(bob.at).Available() > 0
	})
	const used = 4_000_000 // 0.08 TON to charge and 0.072 to pay
	h.book(alice.at, worker, used)
	h.await("committed", func() bool { return h.workerAccount(worker).Earned.Chain == used })
	h.stop()
	leave := &contract.RequestRefund{QueryID: 1, Excess: alice.at}
	alice.send(alice.at2.Address, coin.TON, leave, nil)
	if _, err := h.chain.Advance(time.Hour); err != nil {
		t.Fatal(err)
	}
	alice.send(alice.at2.Address, coin.TON, leave, nil)
	h.start()
	h.serving()
	if _, err := h.proxy.Payout(h.ctx, worker); err != nil { // out of bob's deposit
		t.Fatal(err)
	}
	at := h.contracts(h.generation()).Proxy.Address
	old := h.generation()
	h.newPrice(30, 25)
	if err := h.begin(); err != nil {
		t.Fatal(err)
	}
	h.await("the status says it", func() bool {
		for _, d := range h.proxy.Status().Due {
			if d.Account == bob.at.StringRaw() && d.Err != nil && strings.Contains(d.Err.Error(), "2.92 TON for clients") {
				return d.Failures > 2
			}
		}
		return false
	})
	if s := bob.state(); s.State != contract.Normal || s.Balance != 3*coin.TON {
		t.Errorf("bob's contract was asked in vain: %+v", s)
	}
	if _, err := h.chain.Advance(time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := h.chain.Advance(8 * 24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	h.await("closed", func() bool { return len(h.ledger.Generations()) == 1 && h.proxyState(old).State == contract.Closed })
	part := 19 * coin.TON / 10
	bob.send(bob.at2.Address, coin.TON, &contract.RequestRefund{QueryID: 1, Excess: bob.at}, nil)
	if _, err := h.chain.Advance(time.Hour); err != nil {
		t.Fatal(err)
	}
	bob.send(bob.at2.Address, coin.TON, &contract.RequestRefund{QueryID: 2, Excess: bob.at, Most: &part}, nil)
	if got := h.paid(bob.at, at); got != coin.TON+part { // what is above the stake at once
		t.Errorf("bob took %s, want 1 TON and %s", got.Text(), part.Text())
	}
}
