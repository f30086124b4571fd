package contract_test

import (
	"testing"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// account is what a client's contract should say.
func (c *client) has(state contract.State, balance coin.Nano, tokens uint64) {
	c.n.t.Helper()
	s := c.state()
	equal(c.n, c.name+"'s state", s.State, state)
	c.n.money(c.name+"'s balance", s.Balance, balance)
	equal(c.n, c.name+"'s counter", s.Tokens, tokens)
}

func deposited(n *network) { n.t.Helper(); n.alice.topUp(ton(60)).wants("alice's client 0, proxy 0") }

// gone is a client that has left by itself.
func gone(n *network) {
	n.t.Helper()
	n.alice.goes()
	equal(n, "state", n.alice.state().State, contract.Closed)
}

const (
	aliceAndProxy = "alice's client 0, proxy 0"
	aliceTells    = "alice's client 0, proxy NO_GAS"
)

func TestClientPaysIn(t *testing.T) {
	secretly := func(from func(*network) sender, value coin.Nano) func(*network) *outcome {
		return func(n *network) *outcome {
			return tell(from(n), n.alice.addr, value, &contract.SecretTopUp{QueryID: 9, Amount: ton(60), Hash: someHash, Excess: n.bob.owner.address()})
		}
	}
	owner := func(n *network) sender { return n.alice.owner }
	stranger := func(n *network) sender { return n.stranger }
	play(t, []scene{
		{name: "top up", do: func(n *network) *outcome { return n.alice.topUp(ton(60)) }, want: aliceAndProxy, then: func(n *network, _ *outcome) {
			n.alice.has(contract.Normal, ton(60), 0)
			n.pool(ton(60), 0, 0)
		}},
		{name: "top up by anybody", do: func(n *network) *outcome {
			return n.brings(n.alice.addr, ton(61), &contract.TopUp{Amount: ton(60), Excess: n.stranger.addr})
		}, want: aliceAndProxy, then: func(n *network, _ *outcome) { n.alice.has(contract.Normal, ton(60), 0) }},
		{name: "several in a row", given: func(n *network) { deposited(n); deposited(n) }, do: func(n *network) *outcome { return n.alice.topUp(ton(1)) }, want: aliceAndProxy, then: func(n *network, _ *outcome) {
			n.alice.has(contract.Normal, ton(121), 0)
			n.pool(ton(121), 0, 0)
		}},
		{name: "top up with too little", do: func(n *network) *outcome {
			return n.brings(n.alice.addr, ton(60)+100*milli-1, &contract.TopUp{Amount: ton(60), Excess: n.stranger.addr})
		}, want: "alice's client 1003"},
		{name: "top up when closed", given: gone, do: func(n *network) *outcome { return n.alice.topUp(ton(1)) }, want: "alice's client 1006"},
		{name: "secret and top up", do: secretly(owner, ton(61)), want: aliceAndProxy, then: func(n *network, _ *outcome) {
			n.alice.has(contract.Normal, ton(60), 0)
			equal(n, "secret", n.alice.state().SecretHash, someHash)
		}},
		{name: "secret and top up by a stranger", do: secretly(stranger, ton(61)), want: "alice's client 1010"},
		{name: "secret and top up with too little", do: secretly(owner, ton(60)+100*milli-1), want: "alice's client 1003"},
		{name: "secret and top up when closed", given: gone, do: secretly(owner, ton(61)), want: "alice's client 1006"},
	})
}

func TestClientSpeaks(t *testing.T) {
	body := map[string]func(n *network) contract.Body{
		"register": func(n *network) contract.Body {
			return &contract.ClientRegister{QueryID: 9, Nonce: 5, Excess: n.stranger.addr}
		},
		"change secret": func(n *network) contract.Body {
			return &contract.ChangeSecret{QueryID: 9, Hash: someHash, Excess: n.stranger.addr}
		},
		"raise stake": func(n *network) contract.Body {
			return &contract.RaiseStake{QueryID: 9, Stake: ton(16), Excess: n.stranger.addr}
		},
		"withdraw":       func(n *network) contract.Body { return &contract.Withdraw{QueryID: 9, Excess: n.stranger.addr} },
		"request refund": func(n *network) contract.Body { return &contract.RequestRefund{QueryID: 9, Excess: n.stranger.addr} },
	}
	var scenes []scene
	for name, b := range body {
		notOwner := "alice's client 1010"
		if name == "withdraw" || name == "request refund" {
			notOwner = "alice's client 1009"
		}
		scenes = append(scenes,
			scene{name: name + " by a stranger", do: func(n *network) *outcome { return n.brings(n.alice.addr, 700*milli, b(n)) }, want: notOwner},
			scene{name: name + " with too little", do: func(n *network) *outcome {
				return tell(n.alice.owner, n.alice.addr, 100*milli-1, b(n))
			}, want: "alice's client 1003"},
			scene{name: name + " when closed", given: gone, do: func(n *network) *outcome { return n.alice.asks(b(n)) }, want: "alice's client 1006"},
		)
	}
	play(t, append(scenes, []scene{
		{name: "register", do: func(n *network) *outcome { return n.alice.register(5) }, want: aliceTells, then: func(n *network, o *outcome) {
			if o.change(n.alice.owner.address()) < 680*milli {
				t.Error("the change did not come back")
			}
		}},
		{name: "change secret", do: func(n *network) *outcome { return n.alice.changeSecret(someHash) }, want: aliceTells, then: func(n *network, _ *outcome) {
			equal(n, "secret", n.alice.state().SecretHash, someHash)
		}},
		{name: "raise stake", do: func(n *network) *outcome { return n.alice.raiseStake(ton(16)) }, want: aliceTells, then: func(n *network, _ *outcome) {
			n.money("stake", n.alice.state().Stake, ton(16))
		}},
		{name: "raise stake to what it is", do: func(n *network) *outcome { return n.alice.raiseStake(ton(15)) }, want: "alice's client 1003"},
		{name: "lower stake", do: func(n *network) *outcome { return n.alice.raiseStake(ton(14)) }, want: "alice's client 1003", then: func(n *network, _ *outcome) {
			n.money("stake", n.alice.state().Stake, ton(15))
		}},
	}...))
}

func TestClientIsCharged(t *testing.T) {
	charge := func(n *network) *outcome { return n.proxy.charge(n.alice, 1_000_000_000) }
	otherKey := func(n *network) { deposited(n); n.proxy.key = testKey(8) }
	other := func(kind contract.PaymentKind) func(n *network) *outcome {
		return func(n *network) *outcome { return n.brings(n.alice.addr, ton(1), n.proxy.signs(kind, n.bob.addr, 5)) }
	}
	play(t, []scene{
		{name: "charge", given: deposited, do: charge, want: aliceTells, then: func(n *network, _ *outcome) { n.alice.has(contract.Normal, ton(40), 1_000_000_000) }},
		{name: "charge when closing", given: func(n *network) { deposited(n); n.alice.leave() }, do: func(n *network) *outcome { return n.proxy.charge(n.alice, 500_000_000) }, want: aliceTells, then: func(n *network, _ *outcome) {
			n.alice.has(contract.Closing, ton(5), 500_000_000)
		}},
		{name: "charge when closed", given: gone, do: charge, want: "alice's client 1006"},
		{name: "charge signed by another key", given: otherKey, do: charge, want: "alice's client 1007"},
		{name: "the same charge again", given: func(n *network) { deposited(n); charge(n) }, do: charge, want: "alice's client 1000"},
		{name: "an older charge", given: func(n *network) { deposited(n); charge(n) }, do: func(n *network) *outcome { return n.proxy.charge(n.alice, 999_999_999) }, want: "alice's client 1000"},
		{name: "charge for another contract", given: deposited, do: other(contract.Charge), want: "alice's client 1015"},
		{name: "charge beyond the balance", given: deposited, do: func(n *network) *outcome { return n.proxy.charge(n.alice, 4_000_000_000) }, want: aliceTells, then: func(n *network, _ *outcome) {
			n.alice.has(contract.Normal, 0, 4_000_000_000)
			n.money("debt", n.alice.state().Debt, ton(20))
			n.alice.topUp(ton(60))
			n.alice.has(contract.Normal, ton(40), 4_000_000_000)
			n.money("debt", n.alice.state().Debt, 0)
		}},
		{name: "grant", given: func(n *network) { deposited(n); charge(n) }, do: func(n *network) *outcome { return n.proxy.grant(n.alice, 1_500_000_000) }, want: aliceAndProxy, then: func(n *network, o *outcome) {
			n.alice.has(contract.Closed, 0, 1_500_000_000)
			n.money("returned", o.paid(n.proxy.addr, n.alice.owner.address()), ton(30))
		}},
		{name: "grant signed by another key", given: otherKey, do: func(n *network) *outcome { return n.proxy.grant(n.alice, 0) }, want: "alice's client 1007"},
		{name: "an older grant", given: func(n *network) { deposited(n); charge(n) }, do: func(n *network) *outcome { return n.proxy.grant(n.alice, 999_999_999) }, want: "alice's client 1000"},
		{name: "grant for another contract", given: deposited, do: other(contract.GrantRefund), want: "alice's client 1015"},
		{name: "grant twice", given: func(n *network) { deposited(n); n.proxy.grant(n.alice, 0) }, do: func(n *network) *outcome { return n.proxy.grant(n.alice, 0) }, want: "alice's client 1006"},
		{name: "grant to one that left by itself", given: gone, do: func(n *network) *outcome { return n.proxy.grant(n.alice, 0) }, want: "alice's client 1006"},
	})
}

func TestClientLeaves(t *testing.T) {
	leave := func(n *network) *outcome { return n.alice.leave() }
	withdraw := func(n *network) *outcome { return n.alice.withdraw() }
	unlocked := func(wait time.Duration) func(*network) {
		return func(n *network) { deposited(n); n.alice.leave().wants(aliceAndProxy); n.wait(wait) }
	}
	play(t, []scene{
		{name: "withdraw", given: deposited, do: withdraw, want: aliceAndProxy, then: func(n *network, o *outcome) {
			n.alice.has(contract.Normal, ton(15), 0)
			n.money("returned", o.paid(n.proxy.addr, n.alice.owner.address()), ton(45))
		}},
		{name: "withdraw no more than the stake", given: func(n *network) { n.alice.topUp(ton(15)) }, do: withdraw, want: "alice's client 1001"},
		{name: "withdraw when closing", given: func(n *network) { deposited(n); n.alice.leave() }, do: withdraw, want: "alice's client 1006"},
		{name: "leave with a surplus", given: deposited, do: leave, want: aliceAndProxy, then: func(n *network, o *outcome) {
			n.alice.has(contract.Closing, ton(15), 0)
			equal(n, "unlock", n.alice.state().UnlockAt, n.now()+43200)
			n.money("returned", o.paid(n.proxy.addr, n.alice.owner.address()), ton(45))
		}},
		{name: "leave without a surplus", given: func(n *network) { n.alice.topUp(ton(15)) }, do: leave, want: aliceTells, then: func(n *network, _ *outcome) {
			n.alice.has(contract.Closing, ton(15), 0)
		}},
		{name: "leave at once", given: unlocked(12 * time.Hour), do: leave, want: "alice's client 1011"},
		{name: "leave after the wait", given: unlocked(12*time.Hour + time.Second), do: leave, want: aliceAndProxy, then: func(n *network, o *outcome) {
			n.alice.has(contract.Closed, 0, 0)
			n.money("returned", o.paid(n.proxy.addr, n.alice.owner.address()), ton(15))
		}},
		{name: "leave when gone", given: gone, do: leave, want: "alice's client 1006"},
	})
}

// A whole life: three charges, a withdrawal, and the way out.
func TestClientLife(t *testing.T) {
	n := open(t)
	n.alice.topUp(ton(30))
	for _, step := range []struct {
		tokens  int64
		balance coin.Nano
	}{{100_000_000, ton(28)}, {250_000_000, ton(25)}, {500_000_000, ton(20)}} {
		n.proxy.charge(n.alice, step.tokens).wants(aliceTells)
		n.alice.has(contract.Normal, step.balance, uint64(step.tokens))
	}
	n.alice.leave().wants(aliceAndProxy)
	n.alice.has(contract.Closing, ton(15), 500_000_000)
	n.wait(day)
	n.alice.leave().wants(aliceAndProxy)
	n.alice.has(contract.Closed, 0, 500_000_000)
	n.pool(ton(10), 0, 0) // what was charged, for the worker
}
