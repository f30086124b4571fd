package contract_test

import (
	"testing"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

func (w *worker) has(state contract.State, tokens, owed uint64) {
	w.n.t.Helper()
	s := w.state()
	equal(w.n, w.name+"'s state", s.State, state)
	equal(w.n, w.name+"'s counter", s.Tokens, tokens)
	equal(w.n, w.name+" is owed", s.Owed, owed)
}

const workerAndProxy = "worker 0, proxy 0"

func TestWorkerIsPaid(t *testing.T) {
	payout := func(n *network) *outcome { return n.proxy.payout(n.worker, 1_000_000_000) }
	last := func(n *network) *outcome { return n.proxy.lastPayout(n.worker, 1_000_000_000) }
	otherKey := func(n *network) { deposited(n); n.proxy.key = testKey(8) }
	paidBefore := func(n *network) { deposited(n); payout(n).wants(workerAndProxy) }
	paid := func(state contract.State) func(*network, *outcome) {
		return func(n *network, o *outcome) {
			n.t.Helper()
			n.worker.has(state, 1_000_000_000, 0)
			n.money("paid", o.paid(n.proxy.addr, n.worker.owner.address()), ton(18))
			n.pool(ton(40), ton(2), 0)
		}
	}
	other := func(kind contract.PaymentKind) func(n *network) *outcome {
		return func(n *network) *outcome { return n.brings(n.worker.addr, ton(1), n.proxy.signs(kind, n.bob.addr, 5)) }
	}
	worth := func(kind contract.PaymentKind, value coin.Nano) func(n *network) *outcome {
		return func(n *network) *outcome {
			return n.brings(n.worker.addr, value, n.proxy.signs(kind, n.worker.addr, 5))
		}
	}
	play(t, []scene{
		{name: "payout", given: deposited, do: payout, want: workerAndProxy, then: paid(contract.Normal)},
		{name: "payout signed by another key", given: otherKey, do: payout, want: "worker 1007"},
		{name: "the same payout again", given: paidBefore, do: payout, want: "worker 1000"},
		{name: "an older payout", given: paidBefore, do: func(n *network) *outcome { return n.proxy.payout(n.worker, 5) }, want: "worker 1000"},
		{name: "payout for another contract", given: deposited, do: other(contract.Payout), want: "worker 1015"},
		{name: "payout with too little", given: deposited, do: worth(contract.Payout, 100*milli), want: "worker 1003"},
		{name: "last payout", given: deposited, do: last, want: workerAndProxy, then: paid(contract.Closed)},
		{name: "last payout of nothing new", given: paidBefore, do: last, want: workerAndProxy, then: func(n *network, o *outcome) {
			n.worker.has(contract.Closed, 1_000_000_000, 0)
			n.money("paid", o.paid(n.proxy.addr, n.worker.owner.address()), 0)
		}},
		{name: "last payout signed by another key", given: otherKey, do: last, want: "worker 1007"},
		{name: "an older last payout", given: paidBefore, do: func(n *network) *outcome { return n.proxy.lastPayout(n.worker, 5) }, want: "worker 1000"},
		{name: "last payout for another contract", given: deposited, do: other(contract.LastPayout), want: "worker 1015"},
		{name: "last payout with too little", given: deposited, do: worth(contract.LastPayout, 100*milli), want: "worker 1003"},
	})
}

func TestWorkerSpeaks(t *testing.T) {
	closed := func(n *network) { deposited(n); n.proxy.lastPayout(n.worker, 5).wants(workerAndProxy) }
	register := func(from func(*network) sender, value coin.Nano) func(n *network) *outcome {
		return func(n *network) *outcome {
			return tell(from(n), n.worker.addr, value, &contract.WorkerRegister{QueryID: 9, Excess: n.stranger.addr})
		}
	}
	owner := func(n *network) sender { return n.worker.owner }
	stranger := func(n *network) sender { return n.stranger }
	play(t, []scene{
		{name: "register", do: func(n *network) *outcome { return n.worker.register() }, want: "worker 0, proxy NO_GAS"},
		{name: "register by a stranger", do: register(stranger, ton(1)), want: "worker 1010"},
		{name: "register with too little", do: register(owner, 100*milli), want: "worker 1003"},
		{name: "register when closed", given: closed, do: register(owner, ton(1)), want: "worker 1006"},
		{name: "payout when closed", given: closed, do: func(n *network) *outcome { return n.proxy.payout(n.worker, 9) }, want: "worker 1006"},
		{name: "last payout when closed", given: closed, do: func(n *network) *outcome { return n.proxy.lastPayout(n.worker, 9) }, want: "worker 1006"},
		{name: "an unknown operation when closed", given: closed, do: func(n *network) *outcome { return n.stranger.send(n.worker.addr, ton(1), raw(0x12345678), nil) }, want: "worker 1006"},
	})
}

func TestWorkerIsDeployedAsComputed(t *testing.T) {
	n := open(t)
	s := n.worker.state()
	equal(n, "owner", s.Owner.StringRaw(), n.worker.owner.address().StringRaw())
	equal(n, "proxy", s.Proxy.StringRaw(), n.proxy.addr.StringRaw())
	equal(n, "key", string(s.Key), string(publicOf(n.proxy.key)))
	n.worker.has(contract.Normal, 0, 0)
	equal(n, "workchain", n.worker.addr.Workchain(), 0)
	again, err := n.proxy.rules.WorkerAddress(n.worker.owner.address(), n.proxy.addr, publicOf(n.proxy.key))
	n.must(err)
	equal(n, "address of an equal worker", again.StringRaw(), n.worker.addr.StringRaw())
	other, err := n.proxy.rules.WorkerAddress(n.bob.owner.address(), n.proxy.addr, publicOf(n.proxy.key))
	n.must(err)
	if sameAddress(other, n.worker.addr) {
		t.Error("two owners have the same worker's contract")
	}
}
