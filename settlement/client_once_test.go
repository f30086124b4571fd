package settlement

import (
	"context"
	"errors"
	"testing"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

var errFault = errors.New("a fault of the test")

// blind is the chain, but an account of it cannot be read any more from when a
// message to it has been found there.
type blind struct {
	ton.Chain
	at *address.Address
	is bool
}

func (b *blind) Account(ctx context.Context, at *address.Address) (*ton.Account, error) {
	if b.is && at.Equals(b.at) {
		return nil, errFault
	}
	return b.Chain.Account(ctx, at)
}

func (b *blind) Transactions(ctx context.Context, at *address.Address, newest, after ton.TxID, limit int) ([]*ton.Transaction, error) {
	list, err := b.Chain.Transactions(ctx, at, newest, after, limit)
	b.is = b.is || b.at != nil && at.Equals(b.at)
	return list, err
}

// forgetful is the wallet, but its next answer gets lost.
type forgetful struct {
	Wallet
	forgets bool
}

func (f *forgetful) Enqueue(ctx context.Context, m wallet.Message) (*wallet.Handle, error) {
	h, err := f.Wallet.Enqueue(ctx, m)
	if f.forgets && err == nil {
		f.forgets = false
		return nil, errFault
	}
	return h, err
}

// stepwise is a client that takes its steps when it is told to, with its
// contract deployed and nothing paid in yet.
func stepwise(t *testing.T) (s *clientSide, a *clientAccount, chain *blind, purse *forgetful) {
	t.Helper()
	w := newWorld(t)
	p := newByHand(w, newRegistry(w))
	s = newClientSide(w, p, w.node("client", w.person("owner", 10*coin.TON).at, 30*coin.TON))
	s.stop()
	chain, purse = &blind{Chain: w.client}, &forgetful{Wallet: s.node.driver}
	s.cfg.Chain, s.cfg.Wallet = chain, purse
	a = s.reopen()
	s.step(a, nil)
	if c := s.onChain(a.address); c == nil || c.Balance != 0 {
		t.Fatalf("the first step led to %+v, want a contract without money", c)
	}
	return s, a, chain, purse
}

// reopen is the account as another process finds it on disk.
func (s *clientSide) reopen() *clientAccount {
	s.Helper()
	if s.Client != nil {
		s.statement.close()
		s.evidence.file.Close()
	}
	var err error
	if s.Client, err = NewClient(s.cfg); err != nil {
		s.Fatal(err)
	}
	return s.accountOf(s.open())
}

func (s *clientSide) step(a *clientAccount, want error) {
	s.Helper()
	if err := a.step(s.ctx); !errors.Is(err, want) {
		s.Fatalf("step: %v, want %v", err, want)
	}
}

func (s *clientSide) paidOnce(a *clientAccount) {
	s.Helper()
	if c := s.onChain(a.address); c.Balance != stake {
		s.Errorf("%s paid in, want one stake", c.Balance.Text())
	}
}

// What was read before a deposit arrived and is heard of after it, in this
// process or in the next, does not ask for another.
func TestClientHearsOldNews(t *testing.T) {
	s, a, _, _ := stepwise(t)
	old := s.account(a.address)
	s.step(a, nil)
	if state, err := a.take(old); err != nil || state.Balance != stake {
		t.Errorf("old news: %+v, %v, want the newest state", state, err)
	}
	s.step(a, nil)
	s.paidOnce(a)
	a = s.reopen()
	if state, err := a.take(old); !errors.Is(err, errBehind) {
		t.Errorf("old news after a restart: %+v, %v", state, err)
	}
	s.step(a, nil)
	s.paidOnce(a)
}

// A deposit is under way until what it led to has been read.
func TestClientGoesBlind(t *testing.T) {
	for _, restart := range []bool{false, true} {
		s, a, chain, _ := stepwise(t)
		chain.at = a.address
		s.step(a, errFault) // the deposit has arrived
		s.paidOnce(a)
		chain.at, chain.is = nil, false
		if restart {
			a = s.reopen()
			if got := s.Status().Accounts[0].Busy; got != string(doSecretTopUp) {
				t.Errorf("after a restart %q is under way, want the deposit", got)
			}
		}
		for range 3 {
			s.step(a, nil)
		}
		s.paidOnce(a)
	}
}

// A wallet that fails may have taken the message all the same.
func TestClientWalletFails(t *testing.T) {
	s, a, _, purse := stepwise(t)
	purse.forgets = true
	s.step(a, errFault)
	for range 3 {
		s.step(a, nil)
	}
	s.paidOnce(a)
}

// An account that closes while another message's effect is read still gets its
// refund into the statement.
func TestClientEndIsWritten(t *testing.T) {
	s, a, _, _ := stepwise(t)
	s.step(a, nil)
	s.do("close")
	s.step(a, nil)
	s.proxy.owner.send(a.address, coin.TON, s.proxy.sign(contract.GrantRefund, a.address, 0), nil)
	if state, err := a.look(s.ctx); err != nil || state.State != contract.Closed {
		t.Fatalf("%+v, %v, want a closed contract", state, err)
	}
	if a.finished() {
		t.Error("finished without the last transactions in the statement")
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go func() { defer cancel(); a.run(ctx) }()
	<-ctx.Done()
	if got := sum(s.entries(), "refund"); got != stake || s.ctx.Err() != nil {
		t.Errorf("%s refunded in the statement (%v), want one stake", got.Text(), s.ctx.Err())
	}
}
