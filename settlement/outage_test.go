package settlement

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// outage takes the liteserver away until the function it returns is called.
func (w *world) outage() (end func()) {
	w.Helper()
	addr := w.server.Addr().String()
	if err := w.server.Close(); err != nil {
		w.Error(err)
	}
	return func() {
		w.Helper()
		w.await("the chain to be missed", func() bool { return ton.OutageOf(w.client).Away() })
		w.listen(addr)
		w.await("the chain to be back", func() bool { return !ton.OutageOf(w.client).Away() })
	}
}

// cutting is a wallet that tells when it has taken its nth message.
type cutting struct {
	Wallet
	left  atomic.Int64
	taken chan *wallet.Handle
}

func (c *cutting) Enqueue(ctx context.Context, m wallet.Message) (*wallet.Handle, error) {
	h, err := c.Wallet.Enqueue(ctx, m)
	if err == nil && c.left.Add(-1) == 0 {
		c.taken <- h
	}
	return h, err
}

// The chain goes away just when a message was given to the wallet, or was sent
// and nobody knows yet what became of it, whichever message it is. When it is back each has
// had its effect once, to the nanoTON.
func TestOutageAtEachMessage(t *testing.T) {
	for n := 1; n <= 5; n++ { // the proxy's contract, a note, another, a charge, a payout
		for _, sent := range []bool{false, true} {
			t.Run(fmt.Sprintf("message %d, sent %v", n, sent), func(t *testing.T) {
				t.Parallel()
				h := newHouse(t)
				h.stop()
				c := &cutting{Wallet: h.node.driver, taken: make(chan *wallet.Handle, 1)}
				c.left.Store(int64(n))
				h.between = func(Wallet) Wallet { return c }
				h.start()
				cut := make(chan struct{})
				go func() {
					defer close(cut)
					message := receive(h.world, c.taken)
					for s := h.node.driver.Status(); sent && (s.Order == nil || s.Order.Sent == 0); s = h.node.driver.Status() {
						if _, known := message.Outcome(); known || h.ctx.Err() != nil {
							break // it was quicker
						}
					}
					h.outage()()
				}()
				const tokens = 50_000_000 // 1 TON
				alice, worker := h.person("alice", 50*coin.TON), stranger(2)
				customer := &customer{person: alice}
				h.serving()
				customer.deploy(h)
				customer.topUp(5 * coin.TON)
				h.await("the deposit is available", func() bool { return h.clientAccount(alice.at).Available() == 100_000_000 })
				h.serving()
				h.book(alice.at, worker, tokens)
				h.await("charged", func() bool { return h.clientAccount(alice.at).Charged == tokens })
				h.await("paid", func() bool { return h.workerAccount(worker).Paid == tokens })
				<-cut
				g := h.generation()
				h.await("withdrawn", func() bool { return h.paid(h.owner, h.contracts(g).Proxy.Address) == tokens*(price-fee) })
				if s := customer.state(); s.Balance != 5*coin.TON-tokens*price || s.Tokens != tokens || s.Debt != 0 {
					t.Errorf("client's contract: %+v", s)
				}
				if got := h.paid(worker, h.contracts(g).Proxy.Address); got != tokens*fee {
					t.Errorf("the worker's owner got %s, want %s", got.Text(), coin.Nano(tokens*fee).Text())
				}
				if s := h.proxyState(g); s.Deposits != 4*coin.TON || s.Balance != 0 {
					t.Errorf("proxy's contract: %+v, want deposits of 4 TON", s)
				}
				h.check()
				if list := h.node.driver.Status().Strangers; len(list) > 0 {
					t.Errorf("orders that the wallet does not know: %+v", list)
				}
			})
		}
	}
}

// While the chain is away who is known stays known, what is booked is booked and
// nothing is promised; whom only the chain could know is told so, not to register.
func TestProxyWithoutTheChain(t *testing.T) {
	h := newHouse(t)
	h.serving()
	alice, late, worker := h.customer("alice"), h.customer("late"), stranger(2)
	for _, c := range []*customer{alice, late} {
		c.topUp(5 * coin.TON)
		c.send(c.at2.Address, coin.TON, &contract.ChangeSecret{QueryID: 1, Hash: SecretHash("alice's own, long and hard to guess"), Excess: c.at}, nil)
	}
	h.await("the deposits", func() bool {
		return h.clientAccount(alice.at).Available() > 0 && h.clientAccount(late.at).Available() > 0
	})
	h.serving()
	if _, ok, err := h.proxy.Known(alice.at); !ok || err != nil {
		t.Fatalf("known: %v, %v", ok, err)
	}
	back := h.outage()
	h.await("the outage", func() bool { return ton.OutageOf(h.client).Away() })
	if _, ok, err := h.proxy.Known(alice.at); !ok || err != nil {
		t.Errorf("who was known: %v, %v", ok, err)
	}
	var away *contract.AwayError
	if _, ok, err := h.proxy.Known(stranger(9)); ok || !errors.As(err, &away) || away.Since.IsZero() {
		t.Errorf("who was not known: %v, %v, want the chain away", ok, err)
	}
	before := h.clientAccount(alice.at).Used.Chain
	h.book(alice.at, worker, 50_000_000)
	if err := h.proxy.Health(); err != nil {
		t.Errorf("no work is taken: %v", err)
	}
	if got := h.clientAccount(alice.at); got.Used.Chain != before || got.Used.DB != 50_000_000 {
		t.Errorf("used %+v, want it booked and not promised", got.Used)
	}
	h.await("the follower to miss the chain", func() bool { return h.proxy.Status().Trouble != "" })
	back()
	h.await("the charge", func() bool { return h.clientAccount(alice.at).Charged == 50_000_000 })
	h.await("the payout", func() bool { return h.workerAccount(worker).Paid == 50_000_000 })
	if n := strings.Count(h.log.String(), "note failed"); n > 1 {
		t.Errorf("tried in vain while the chain was away, %d notes:\n%s", n, h.log)
	}
	h.check()
}

// A chain that is away for so long that nobody waits any more for the effect of
// what was sent: when it is back what it shows is read first, and nothing is sent again.
func TestNothingTwiceAfterALongOutage(t *testing.T) {
	for _, n := range []int{3, 4, 6} { // a note or a charge, a payout, a withdrawal
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.stop()
			c := &cutting{Wallet: h.node.driver, taken: make(chan *wallet.Handle, 1)}
			c.left.Store(int64(n))
			h.between = func(Wallet) Wallet { return c }
			h.start()
			cut := make(chan struct{})
			go func() {
				defer close(cut)
				message := receive(h.world, c.taken)
				if _, err := message.Wait(h.ctx); err != nil {
					t.Error(err)
				}
				back := h.outage()
				h.await("the follower to miss the chain", func() bool { return h.proxy.Status().Trouble != "" })
				if _, err := h.chain.Advance(time.Hour); err != nil {
					t.Error(err)
				}
				back()
			}()
			const tokens = 50_000_000
			alice, worker := &customer{person: h.person("alice", 50*coin.TON)}, stranger(2)
			h.serving()
			alice.deploy(h)
			alice.topUp(5 * coin.TON)
			h.await("the deposit is available", func() bool { return h.clientAccount(alice.at).Available() == 100_000_000 })
			h.serving()
			h.book(alice.at, worker, tokens)
			h.await("paid", func() bool { return h.workerAccount(worker).Paid == tokens })
			receive(h.world, cut) // nobody can look meanwhile
			g := h.generation()
			h.await("withdrawn", func() bool { return h.paid(h.owner, h.contracts(g).Proxy.Address) == tokens*(price-fee) })
			h.await("nothing is due", func() bool { return len(h.proxy.Status().Due) == 0 })
			for kind, count := range h.proxy.Status().Counts {
				if kind.Result == "done" && kind.Kind != "note" && count > 1 {
					t.Errorf("%s %s %d times", kind.Kind, kind.Result, count)
				}
			}
			if strings.Contains(h.log.String(), "refused the message") {
				t.Errorf("something was sent in vain:\n%s", h.log)
			}
			h.check()
			notes := map[uint32]bool{}
			account := h.account(h.contracts(g).Proxy.Address)
			list, err := h.client.Transactions(h.ctx, account.Address, account.Last, ton.TxID{}, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, tx := range list {
				if body, err := contract.ParseBody(tx.In.Body); err == nil {
					if note, ok := body.(*contract.SaveState); ok && notes[note.Seqno] {
						t.Errorf("note %d was sent twice", note.Seqno)
					} else if ok {
						notes[note.Seqno] = true
					}
				}
			}
		})
	}
}
