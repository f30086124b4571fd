package contract_test

import (
	"testing"

	"github.com/opencocoon/cocoon/contract"
)

// N14: no message costs more gas than half above what the network's own
// contracts take for the same work, nor does what follows at the proxy.
// Source of the network's figures: contracts.md section 15.
func TestGasCeilings(t *testing.T) {
	n := open(t)
	w := n.nodeWallet("node", n.bob.owner.(*person), ton(100))
	code := contract.OurCodes()
	worker := func(kind contract.PaymentKind, tokens int64) func() *outcome {
		return func() *outcome { return n.brings(n.worker.addr, ton(1), n.proxy.signs(kind, n.worker.addr, tokens)) }
	}
	order := func(b contract.Body) func() *outcome { return func() *outcome { return n.root.order(b) } }
	for _, x := range []struct {
		name          string
		at            account
		gas, followUp int64
		do            func() *outcome
	}{
		{"register", n.alice.account, 11300, 0, func() *outcome { return n.alice.register(5) }},
		{"change secret", n.alice.account, 11600, 0, func() *outcome { return n.alice.changeSecret(someHash) }},
		{"raise stake", n.alice.account, 11900, 0, func() *outcome { return n.alice.raiseStake(ton(16)) }},
		{"top up", n.alice.account, 8900, 13200, func() *outcome { return n.alice.topUp(ton(100)) }},
		{"secret and top up", n.alice.account, 9200, 13200, func() *outcome {
			return tell(n.alice.owner, n.alice.addr, ton(61), &contract.SecretTopUp{Amount: ton(60), Excess: n.stranger.addr})
		}},
		{"charge", n.alice.account, 15900, 0, func() *outcome { return n.proxy.charge(n.alice, 1_000_000_000) }},
		{"withdraw", n.alice.account, 10600, 14900, func() *outcome { return n.alice.withdraw() }},
		{"top up once more", n.alice.account, 8900, 13200, func() *outcome { return n.alice.topUp(ton(60)) }},
		{"refund step I", n.alice.account, 13800, 15100, func() *outcome { return n.alice.leave() }},
		{"refund step II", n.alice.account, 11100, 15100, func() *outcome { n.wait(day); return n.alice.leave() }},
		{"another's top up", n.bob.account, 8900, 13200, func() *outcome { return n.bob.topUp(ton(60)) }},
		{"grant", n.bob.account, 15300, 14900, func() *outcome { return n.proxy.grant(n.bob, 1_000_000_000) }},
		{"worker's register", n.worker.account, 6500, 0, func() *outcome { return n.worker.register() }},
		{"payout", n.worker.account, 9400, 13100, worker(contract.Payout, 1_000_000_000)},
		{"last payout", n.worker.account, 9500, 13100, worker(contract.LastPayout, 1_100_000_000)},
		{"payout request", n.proxy.account, 7500, 0, func() *outcome { return n.proxy.payOwner() }},
		{"increase stake", n.proxy.account, 6400, 0, func() *outcome { return n.proxy.stakes(ton(1)) }},
		{"comment w", n.proxy.account, 6900, 0, func() *outcome { return n.proxy.says('w') }},
		{"do not process", n.proxy.account, 1200, 0, func() *outcome { return n.stranger.send(n.proxy.addr, ton(1), raw(0x9a1247c0), nil) }},
		{"signed close", n.proxy.account, 10100, 0, func() *outcome { return n.proxy.close() }},
		{"signed complete", n.proxy.account, 9000, 0, func() *outcome { n.wait(day); return n.proxy.complete() }},
		{"add a hash", n.root.account, 7900, 0, order(&contract.ChangeHash{Hash: someHash})},
		{"register a proxy", n.root.account, 9500, 0, order(&contract.RegisterProxy{Text: "1.2.3.4:5"})},
		{"update a proxy", n.root.account, 10700, 0, order(&contract.UpdateProxy{Seqno: 1, Text: "1.2.3.4:6"})},
		{"unregister a proxy", n.root.account, 8900, 0, order(&contract.UnregisterProxy{Seqno: 1})},
		{"change price", n.root.account, 11700, 0, order(&contract.ChangePrice{Price: 3, Fee: 2})},
		{"change parameters", n.root.account, 11800, 0, order(&contract.ChangeParams{Price: 3, Fee: 2, Limits: contract.Limits{ProxyDelay: 9, ClientDelay: 8}})},
		{"upgrade contracts", n.root.account, 11900, 0, order(&contract.UpgradeContracts{Proxy: code.Proxy, Worker: code.Worker, Client: code.Client})},
		{"upgrade the registry", n.root.account, 9300, 0, order(&contract.UpgradeRoot{Code: code.Root})},
		{"reset", n.root.account, 9100, 0, order(&contract.ResetLists{})},
		{"refused", n.root.account, 3000, 0, func() *outcome { return n.brings(n.root.addr, ton(1), &contract.ResetLists{}) }},
		{"an order of one message", w.account, 3400, 0, func() *outcome { return w.orders(w.order(w.note(1))) }},
		{"an order of four", w.account, 5400, 0, func() *outcome { return w.orders(w.order(w.note(1), w.note(2), w.note(3), w.note(4))) }},
	} {
		o := x.do()
		first, second := o.at(x.at.addr), o.at(n.proxy.addr)
		if first == nil || first.gas == 0 {
			t.Errorf("%s: nothing ran: %s", x.name, o)
			continue
		}
		if 2*first.gas > 3*x.gas {
			t.Errorf("%s takes %d gas, the network's %d", x.name, first.gas, x.gas)
		}
		if x.followUp == 0 {
			t.Logf("%-22s %6d  (network %d)", x.name, first.gas, x.gas)
			continue
		}
		if second == nil || second.gas == 0 || 2*second.gas > 3*x.followUp {
			t.Errorf("%s at the proxy: %+v, the network's takes %d gas", x.name, second, x.followUp)
			continue
		}
		t.Logf("%-22s %6d  (network %d), at the proxy %6d (%d)", x.name, first.gas, x.gas, second.gas, x.followUp)
	}
}
