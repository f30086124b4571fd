package settlement

import (
	"context"
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/wallet"
)

// A message is sent once for its purpose, across a restart too, and a failed
// one again; what became of it is said with its reason.
func TestPost(t *testing.T) {
	w := newWorld(t)
	owner := w.person("owner", 50*coin.TON)
	n := w.node("node", owner.at, 20*coin.TON)
	registry := newRegistry(w)
	p := NewPoster(w.client, n.driver)
	d, err := registry.Root().DeployProxy(n.driver.Address(), registry.at, w.chain.Key("proxy").Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	stake := Message{Purpose: "stake", To: d.Address, Value: 2 * coin.TON, Body: &contract.IncreaseStake{Amount: coin.TON, Excess: n.driver.Address()}}
	if _, err := p.Post(w.ctx, stake); !refusedWith(err, false, 0) {
		t.Errorf("a contract that is not there: %v", err)
	}
	if _, err := p.Post(w.ctx, Message{Purpose: "deploy", To: d.Address, Value: coin.TON, Init: d.Init}); err != nil {
		t.Fatal(err)
	}
	first, err := p.Post(w.ctx, stake)
	if err != nil {
		t.Fatal(err)
	}
	close := Message{To: d.Address, Value: coin.TON / 100, Body: &contract.PayoutRequest{Excess: n.driver.Address()}}
	if _, err := p.Post(w.ctx, close); !refusedWith(err, true, 1003) {
		t.Errorf("too little value: %v", err)
	}
	if _, err := p.Post(w.ctx, Message{To: d.Address, Value: 1, Quiet: true, Body: &contract.SaveState{Seqno: 1}}); err != nil {
		t.Error(err)
	}
	n.restart()
	p = NewPoster(w.client, n.driver)
	again, err := p.Post(w.ctx, stake)
	if err != nil || again.TxID != first.TxID {
		t.Errorf("after a restart %v, %v, want the transaction of before, %v", again, err, first.TxID)
	}
	if s, err := contract.ParseProxyState(w.account(d.Address).Data); err != nil || s.Stake != coin.TON {
		t.Errorf("%+v, %v, want a stake of 1 TON", s, err)
	}
	w.await("the balance is known", func() bool { return n.driver.Status().Known })
	if _, err := p.Post(w.ctx, Message{To: d.Address, Value: 100 * coin.TON}); !errors.Is(err, wallet.ErrPoor) {
		t.Errorf("more than there is: %v", err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := p.Post(ctx, Message{To: d.Address, Value: coin.TON}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func refusedWith(err error, ran bool, code int32) bool {
	var refused *RefusedError
	return errors.As(err, &refused) && refused.Ran == ran && refused.ExitCode == code
}
