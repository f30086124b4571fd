package contract_test

import (
	"testing"

	"github.com/opencocoon/cocoon/contract"
)

// newPrices raises the generation and has the proxy open for business there.
func newPrices(n *network) (*proxy, *client, *worker) {
	n.t.Helper()
	n.root.order(&contract.ChangePrice{Price: 30, Fee: 20}).wants("root 0")
	next := n.root.deployProxy("new proxy", n.proxy.owner, testKey(8))
	equal(n, "generation", next.rules.ParamsVersion, n.proxy.rules.ParamsVersion+1)
	return next, next.deployClient("alice's new client", n.alice.owner), next.deployWorker("new worker", n.worker.owner)
}

// inBusiness is a proxy with two clients and a worker under way: alice has
// used 20 coins and been charged 10 of them, bob nothing, and the worker has
// been paid for those 10.
func inBusiness(n *network) {
	n.t.Helper()
	n.alice.topUp(ton(60))
	n.bob.topUp(ton(50))
	n.proxy.charge(n.alice, 500_000_000).wants(aliceTells)
	n.proxy.payout(n.worker, 500_000_000).wants(workerAndProxy)
}

// N16: the node settles the old contracts while the new ones work.
func TestGenerationChangeIsSettledByTheProxy(t *testing.T) {
	n := open(t)
	inBusiness(n)
	next, alice, worker := newPrices(n)

	n.proxy.close().wants("proxy 0")
	alice.topUp(ton(30)).wants("alice's new client 0, new proxy 0")
	next.charge(alice, 200_000_000).wants("alice's new client 0, new proxy NO_GAS")
	n.money("paid under new prices", next.payout(worker, 200_000_000).wants("new worker 0, new proxy 0").paid(next.addr, worker.owner.address()), ton(4))

	n.money("alice's rest", n.proxy.grant(n.alice, 1_000_000_000).wants(aliceAndProxy).paid(n.proxy.addr, n.alice.owner.address()), ton(40))
	n.money("bob's rest", n.proxy.grant(n.bob, 0).wants("bob's client 0, proxy 0").paid(n.proxy.addr, n.bob.owner.address()), ton(50))
	n.money("the worker's rest", n.proxy.lastPayout(n.worker, 1_000_000_000).wants(workerAndProxy).paid(n.proxy.addr, n.worker.owner.address()), ton(9))
	n.wait(day)
	n.proxy.complete().wants("proxy 0")
	n.pool(0, 0, 0)
	for _, x := range []*outcome{n.proxy.charge(n.alice, 2_000_000_000), n.alice.topUp(ton(1)), n.proxy.payout(n.worker, 2_000_000_000), n.proxy.close()} {
		if codes := x.String(); codes[len(codes)-4:] != "1006" {
			t.Errorf("an old contract answers %s, want 1006", codes)
		}
	}
	alice.has(contract.Normal, ton(24), 200_000_000)
	n.money("deposits under new prices", next.state().Deposits, ton(24))
}

// N16 with a proxy that has gone: clients leave by themselves, the worker
// brings its newest payout, and all are done before the proxy could finish.
func TestGenerationChangeWithoutTheProxy(t *testing.T) {
	n := open(t)
	inBusiness(n)
	newest := n.proxy.signs(contract.Payout, n.worker.addr, 1_000_000_000)
	newPrices(n)
	n.proxy.close().wants("proxy 0") // the last that was heard of it

	n.money("alice's surplus", n.alice.leave().wants(aliceAndProxy).paid(n.proxy.addr, n.alice.owner.address()), ton(35))
	n.money("bob's surplus", n.bob.leave().wants("bob's client 0, proxy 0").paid(n.proxy.addr, n.bob.owner.address()), ton(35))
	n.money("the worker's rest", tell(n.worker.owner, n.worker.addr, ton(1), newest).wants(workerAndProxy).paid(n.proxy.addr, n.worker.owner.address()), ton(9))
	n.wait(day/2 + 1e9)
	n.proxy.complete().wants("proxy 1011")
	n.money("bob's stake", n.bob.leave().wants("bob's client 0, proxy 0").paid(n.proxy.addr, n.bob.owner.address()), ton(15))
	// Alice used more than she was charged, and gets what the pool still has.
	n.pool(ton(5), ton(2), 0)
	n.alice.leave().wants("alice's client 0, proxy 1017, alice's client 0")
	n.proxy.charge(n.alice, 1_000_000_000).wants("alice's client 1006")
	n.money("alice's rest", n.proxy.grant(n.alice, 1_000_000_000).wants(aliceAndProxy).paid(n.proxy.addr, n.alice.owner.address()), ton(5))
	n.pool(0, ton(2), 0)
}

// Payments of one generation are worth nothing in another: the contract's own
// address, which is in them, follows from the parameters.
func TestPaymentsOfOneGenerationStayThere(t *testing.T) {
	n := open(t)
	inBusiness(n)
	_, alice, worker := newPrices(n)
	alice.topUp(ton(30))
	for _, at := range []account{alice.account, worker.account} {
		for _, e := range []*contract.Envelope{n.proxy.signs(contract.Charge, n.alice.addr, 9e8), n.proxy.signs(contract.Payout, n.worker.addr, 9e8)} {
			if n.brings(at.addr, ton(1), e); alice.state().Tokens+worker.state().Tokens > 0 {
				t.Fatalf("%s took %s of the old generation", at.name, e.Kind)
			}
		}
	}
}
