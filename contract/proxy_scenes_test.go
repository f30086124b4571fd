package contract_test

import (
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

func closing(n *network)  { n.t.Helper(); n.proxy.close().wants("proxy 0") }
func finished(n *network) { n.t.Helper(); n.proxy.finish() }

// earned is a network in which the proxy has two coins of its own: alice has
// paid in 60, and the worker has been paid 18.
func earned(n *network) {
	n.t.Helper()
	n.alice.topUp(ton(60)).wants("alice's client 0, proxy 0")
	n.proxy.payout(n.worker, 1_000_000_000).wants("worker 0, proxy 0")
	n.money("cut", n.proxy.state().Balance, ton(2))
}

// pool is what a proxy's contract should say of its money.
func (n *network) pool(deposits, balance, stake coin.Nano) {
	n.t.Helper()
	s := n.proxy.state()
	n.money("deposits", s.Deposits, deposits)
	n.money("the proxy's balance", s.Balance, balance)
	n.money("the proxy's stake", s.Stake, stake)
}

func TestProxyCloses(t *testing.T) {
	starts := func(n *network, o *outcome) {
		n.t.Helper()
		s := n.proxy.state()
		equal(n, "state", s.State, contract.Closing)
		equal(n, "unlock", s.UnlockAt, n.now()+86400)
		n.pool(ton(40), ton(2), 0)
	}
	owner := func(n *network) *outcome {
		return tell(n.proxy.owner, n.proxy.addr, 100*milli, &contract.OwnerClose{QueryID: 9, Excess: n.bob.owner.address()})
	}
	says := func(letter byte) func(*network) *outcome {
		return func(n *network) *outcome { return n.proxy.says(letter) }
	}
	signed := func(n *network) *outcome { return n.proxy.close() }
	var scenes []scene
	for name, do := range map[string]func(*network) *outcome{"the owner's comment c": says('c'), "the owner's order": owner, "a signed order": signed} {
		scenes = append(scenes,
			scene{name: name, given: earned, do: do, want: "proxy 0", then: starts},
			scene{name: name + " again", given: closing, do: do, want: "proxy 1006"},
			scene{name: name + " when closed", given: finished, do: do, want: "proxy 1006"},
		)
	}
	play(t, append(scenes, []scene{
		{name: "comment c by a stranger", do: func(n *network) *outcome { return n.brings(n.proxy.addr, 200*milli, contract.Text{Letter: 'c'}) }, want: "proxy 1010"},
		{name: "comment c with too little", do: func(n *network) *outcome {
			return tell(n.proxy.owner, n.proxy.addr, 100*milli-1, contract.Text{Letter: 'c'})
		}, want: "proxy 1003"},
		{name: "an owner's order by a stranger", do: func(n *network) *outcome {
			return n.brings(n.proxy.addr, 100*milli, &contract.OwnerClose{Excess: n.stranger.addr})
		}, want: "proxy 1010"},
		{name: "signed by another key", do: func(n *network) *outcome {
			n.proxy.key = testKey(8)
			return n.proxy.close()
		}, want: "proxy 1007"},
		{name: "signed for another contract", do: func(n *network) *outcome {
			return n.brings(n.proxy.addr, ton(1), n.proxy.signs(contract.CloseRequest, n.worker.addr, 0))
		}, want: "proxy 1015"},
		{name: "the order to complete when not closing", do: func(n *network) *outcome { return n.proxy.complete() }, want: "proxy 1006"},
		{name: "complete too early", given: func(n *network) { closing(n); n.wait(day - time.Second) }, do: func(n *network) *outcome { return n.proxy.complete() }, want: "proxy 1011"},
		{name: "complete signed by another key", given: closing, do: func(n *network) *outcome {
			n.proxy.key = testKey(8)
			return n.proxy.complete()
		}, want: "proxy 1007"},
		{name: "complete signed for another contract", given: func(n *network) { closing(n); n.wait(day) }, do: func(n *network) *outcome {
			return n.brings(n.proxy.addr, ton(1), n.proxy.signs(contract.CloseComplete, n.bob.addr, 0))
		}, want: "proxy 1015"},
		{name: "complete", given: func(n *network) { earned(n); n.proxy.stakes(ton(5)); closing(n); n.wait(day) }, do: func(n *network) *outcome { return n.proxy.complete() }, want: "proxy 0", then: func(n *network, o *outcome) {
			equal(n, "state", n.proxy.state().State, contract.Closed)
			equal(n, "unlock", n.proxy.state().UnlockAt, 0)
			n.pool(ton(40), 0, 0)
			if got := o.paid(n.proxy.addr, n.proxy.owner.address()); got < ton(7) || got > ton(9) {
				t.Errorf("the owner got %s, want cut, stake and what the contract had for gas", got)
			}
			if have := n.proxy.funds(); have < ton(40) || have > ton(40)+20*milli {
				t.Errorf("left behind is %s, want the deposits and a little for rent", have)
			}
		}},
	}...))
}

func TestProxyPaysItsOwner(t *testing.T) {
	paysCut := func(n *network, o *outcome) {
		n.t.Helper()
		n.pool(ton(40), 0, 0)
		n.money("paid", o.paid(n.proxy.addr, n.proxy.owner.address()), ton(2))
	}
	play(t, []scene{
		{name: "payout request by anybody", given: earned, do: func(n *network) *outcome { return n.proxy.payOwner() }, want: "proxy 0", then: paysCut},
		{name: "payout request when closing", given: func(n *network) { earned(n); closing(n) }, do: func(n *network) *outcome { return n.proxy.payOwner() }, want: "proxy 0", then: paysCut},
		{name: "payout request when closed", given: finished, do: func(n *network) *outcome { return n.proxy.payOwner() }, want: "proxy 1006"},
		{name: "payout request with too little", do: func(n *network) *outcome {
			return n.brings(n.proxy.addr, 100*milli-1, &contract.PayoutRequest{Excess: n.stranger.addr})
		}, want: "proxy 1003"},
		{name: "comment w", given: earned, do: func(n *network) *outcome { return n.proxy.says('w') }, want: "proxy 0", then: func(n *network, o *outcome) {
			n.pool(ton(40), 0, 0)
			if got := o.paid(n.proxy.addr, n.proxy.owner.address()); got < ton(2)+190*milli || got > ton(2)+200*milli {
				t.Errorf("the owner got %s, want 2 and what was left of 0.2", got)
			}
		}},
		{name: "comment w when closing", given: func(n *network) { earned(n); closing(n) }, do: func(n *network) *outcome { return n.proxy.says('w') }, want: "proxy 0", then: func(n *network, _ *outcome) {
			equal(n, "state", n.proxy.state().State, contract.Closing)
			n.pool(ton(40), 0, 0)
		}},
		{name: "comment w when closed", given: finished, do: func(n *network) *outcome { return n.proxy.says('w') }, want: "proxy 1006"},
		{name: "comment w by a stranger", given: earned, do: func(n *network) *outcome { return n.brings(n.proxy.addr, 200*milli, contract.Text{Letter: 'w'}) }, want: "proxy 1010"},
		{name: "another comment", do: func(n *network) *outcome { return n.proxy.says('x') }, want: "proxy 1013"},
		{name: "increase stake", given: earned, do: func(n *network) *outcome { return n.proxy.stakes(ton(5)) }, want: "proxy 0", then: func(n *network, _ *outcome) {
			n.pool(ton(40), ton(2), ton(5))
		}},
		{name: "increase stake with too little", do: func(n *network) *outcome {
			return n.brings(n.proxy.addr, ton(5)+100*milli-1, &contract.IncreaseStake{Amount: ton(5), Excess: n.stranger.addr})
		}, want: "proxy 1003"},
		{name: "increase stake when closed", given: finished, do: func(n *network) *outcome { return n.proxy.stakes(ton(5)) }, want: "proxy 1006"},
	})
}

// claimed is what a worker's contract says to its proxy, said by somebody.
func claimed(n *network, from sender, owner *address.Address, part *contract.PayoutPart) *outcome {
	return tell(from, n.proxy.addr, 500*milli, &contract.WorkerRequest{QueryID: 9, Owner: owner, Tokens: 5, Part: part})
}

func TestProxyAnswersWorkers(t *testing.T) {
	paid := func(n *network, o *outcome) {
		n.t.Helper()
		n.pool(ton(40), ton(2), 0)
		n.money("paid", o.paid(n.proxy.addr, n.worker.owner.address()), ton(18))
	}
	do := func(n *network) *outcome { return n.proxy.payout(n.worker, 1_000_000_000) }
	deposit := func(n *network) { n.alice.topUp(ton(60)) }
	play(t, []scene{
		{name: "a payout", given: deposit, do: do, want: "worker 0, proxy 0", then: paid},
		{name: "a payout when closing", given: func(n *network) { deposit(n); closing(n) }, do: do, want: "worker 0, proxy 0", then: paid},
		{name: "a payout when closed", given: func(n *network) { deposit(n); finished(n) }, do: do, want: "worker 0, proxy 0", then: paid},
		{name: "a payout out of the stake", given: func(n *network) { n.proxy.stakes(ton(30)) }, do: do, want: "worker 0, proxy 0", then: func(n *network, o *outcome) {
			n.pool(0, 0, ton(12)) // and no cut
			n.money("paid", o.paid(n.proxy.addr, n.worker.owner.address()), ton(18))
		}},
		{name: "a payout that leaves half of the cut", given: func(n *network) { n.alice.topUp(ton(19)); n.proxy.stakes(ton(30)) }, do: do, want: "worker 0, proxy 0", then: func(n *network, _ *outcome) {
			n.pool(0, ton(1), ton(30)) // the cut is what is left
		}},
		{name: "a claim without a payout", do: func(n *network) *outcome { return claimed(n, n.stranger, n.worker.owner.address(), nil) }, want: "proxy 0"},
		{name: "a claim by a stranger", given: deposit, do: func(n *network) *outcome {
			return claimed(n, n.stranger, n.worker.owner.address(), &contract.PayoutPart{Worker: 1, Proxy: 1, Excess: n.stranger.addr})
		}, want: "proxy 1014"},
		{name: "a claim by the worker's owner", given: deposit, do: func(n *network) *outcome {
			return claimed(n, n.worker.owner, n.worker.owner.address(), &contract.PayoutPart{Worker: 1, Proxy: 1, Excess: n.stranger.addr})
		}, want: "proxy 1014"},
	})
}

// demanded is what a client's contract says to its proxy, said by somebody.
func demanded(n *network, from sender, part *contract.ClientPart) *outcome {
	return tell(from, n.proxy.addr, 500*milli, &contract.ClientRequest{QueryID: 9, Owner: n.alice.owner.address(), Part: part})
}

func TestProxyAnswersClients(t *testing.T) {
	deposit := func(n *network) { n.alice.topUp(ton(60)) }
	kept := func(n *network, o *outcome) {
		n.t.Helper()
		n.pool(ton(60), 0, 0)
		n.money("handed back", o.paid(n.proxy.addr, n.alice.owner.address()), 0)
	}
	topUp := func(n *network) *outcome { return n.alice.topUp(ton(60)) }
	// forced is the second step of leaving.
	forced := func(more func(n *network)) func(n *network) {
		return func(n *network) { more(n); n.alice.leave(); n.wait(day) }
	}
	returned := func(want, stake coin.Nano) func(*network, *outcome) {
		return func(n *network, o *outcome) {
			n.t.Helper()
			n.money("returned", o.paid(n.proxy.addr, n.alice.owner.address()), want)
			n.money("the proxy's stake", n.proxy.state().Stake, stake)
		}
	}
	both := "alice's client 0, proxy 0"
	play(t, []scene{
		{name: "a deposit", do: topUp, want: both, then: kept},
		{name: "a deposit when closing", given: closing, do: topUp, want: both, then: kept},
		{name: "a deposit when closed", given: finished, do: topUp, want: both, then: kept},
		{name: "a registration", do: func(n *network) *outcome { return n.alice.register(5) }, want: "alice's client 0, proxy NO_GAS"},
		{name: "a refund", given: deposit, do: func(n *network) *outcome { return n.alice.withdraw() }, want: both, then: returned(ton(45), 0)},
		{name: "a refund when closed", given: func(n *network) { deposit(n); finished(n) }, do: func(n *network) *outcome { return n.alice.withdraw() }, want: both, then: returned(ton(45), 0)},
		{name: "a forced refund out of deposits", given: forced(func(n *network) { n.proxy.stakes(ton(5)); deposit(n) }), do: func(n *network) *outcome { return n.alice.leave() }, want: both, then: returned(ton(15), ton(5))},
		{name: "a forced refund out of the stake", given: forced(func(n *network) { n.proxy.stakes(ton(55)); deposit(n); n.proxy.payout(n.worker, 2_500_000_000) }), do: func(n *network) *outcome { return n.alice.leave() },
			want: "alice's client 0, proxy 0", then: returned(ton(60), ton(5))},
		{name: "a demand by a stranger", given: deposit, do: func(n *network) *outcome {
			return demanded(n, n.stranger, &contract.ClientPart{Kind: contract.PartRefundForced, Amount: 1, Excess: n.stranger.addr})
		}, want: "proxy 1014"},
		{name: "a demand by the client's owner", given: deposit, do: func(n *network) *outcome {
			return demanded(n, n.alice.owner, &contract.ClientPart{Kind: contract.PartTopUp, Amount: 1, Excess: n.stranger.addr})
		}, want: "proxy 1014"},
		{name: "a report by anybody", do: func(n *network) *outcome { return demanded(n, n.stranger, nil) }, want: "proxy 0"},
	})
}

func TestProxyIsDeployedAsComputed(t *testing.T) {
	n := open(t)
	s := n.proxy.state()
	equal(n, "owner", s.Owner.StringRaw(), n.proxy.owner.address().StringRaw())
	equal(n, "root", s.Root.StringRaw(), n.root.addr.StringRaw())
	equal(n, "key", string(s.Key), string(publicOf(n.proxy.key)))
	equal(n, "state", s.State, contract.Normal)
	equal(n, "unlock", s.UnlockAt, 0)
	n.pool(0, 0, 0)
}
