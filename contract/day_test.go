package contract_test

import (
	"math/big"
	"testing"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// A day in the life of a network, from its first block to the closing of its
// last contract, with every wallet a real one. At the end every nanoTON is
// accounted for.
func TestEveryNanoIsAccountedFor(t *testing.T) {
	const supply = 1_000_000
	n := bare(t, localnet.Config{Supply: supply})
	n.stranger = n.person("stranger")
	n.root = n.found(founding(), n.founder)
	n.proxy = n.root.deployProxy("proxy", n.person("operator"), testKey(7))
	alices := n.nodeWallet("alice's node", n.person("alice"), ton(300))
	bobs := n.nodeWallet("bob's node", n.person("bob"), ton(300))
	n.alice, n.bob = n.proxy.deployClient("alice's client", alices), n.proxy.deployClient("bob's client", bobs)
	wendy, will := n.proxy.deployWorker("wendy's worker", n.person("wendy")), n.proxy.deployWorker("will's worker", n.person("will"))
	n.worker = wendy
	var l books

	// The morning: deposits, and both clients use both workers.
	l.deposit(n.alice.topUp(ton(60)), ton(60))
	l.deposit(n.bob.topUp(ton(45)), ton(45))
	n.proxy.stakes(ton(10)).wants("proxy 0")
	n.proxy.charge(n.alice, 700_000_001).wants("alice's client 0, proxy NO_GAS")
	n.proxy.charge(n.bob, 300_000_002).wants("bob's client 0, proxy NO_GAS")
	l.payout(n, wendy, n.proxy.payout(wendy, 600_000_003))
	l.payout(n, will, n.proxy.payout(will, 400_000_000))
	l.refund(n, n.bob, n.bob.withdraw())
	l.cut(n, n.proxy.payOwner())

	// Noon: new prices. The proxy settles the old contracts.
	n.wait(day / 2)
	next, alice, worker := newPrices(n)
	n.proxy.close().wants("proxy 0")
	l.deposit(n.alice.topUp(ton(5)), ton(5)) // she has not noticed
	l.refund(n, n.alice, n.proxy.grant(n.alice, 800_000_001))
	n.proxy.charge(n.bob, 400_000_002).wants("bob's client 0, proxy NO_GAS")
	n.bob.leave().wants("bob's node 0, bob's client 0, proxy NO_GAS, bob's node 0") // nothing above the stake
	l.payout(n, wendy, n.proxy.lastPayout(wendy, 700_000_003))
	l.payout(n, will, n.proxy.lastPayout(will, 500_000_000))
	n.wait(day)
	l.refund(n, n.bob, n.bob.leave())
	before := n.proxy.state()
	n.proxy.complete().wants("proxy 0")
	l.cutIn += before.Balance
	n.money("stake returned", before.Stake, ton(10))
	n.money("deposits, refunds, payouts and cuts differ by", l.in-l.refunds-l.payouts-l.cutIn, n.proxy.state().Deposits)

	// The afternoon is short.
	var m books
	m.deposit(alice.topUp(ton(20)), ton(20))
	m.payout(n, worker, next.payout(worker, 100_000_000))
	m.refund(n, alice, next.grant(alice, 100_000_000))
	next.close().wants("new proxy 0")
	n.wait(day)
	m.cutIn += next.state().Balance
	next.complete().wants("new proxy 0")
	n.money("under new prices they differ by", m.in-m.refunds-m.payouts-m.cutIn, next.state().Deposits)

	// The evening: everybody takes home what is left over.
	for _, c := range []*client{n.alice, n.bob, alice} {
		c.asks(&contract.OwnerFinish{})
	}
	for _, w := range []*nodeWallet{alices, bobs} {
		w.says('w')
	}
	n.accounted(supply)
}

// books are the sums of a day.
type books struct{ in, refunds, payouts, cutIn coin.Nano }

func (b *books) deposit(o *outcome, v coin.Nano) {
	o.n.t.Helper()
	if s := o.String(); len(s) == 0 || o.steps[len(o.steps)-1].exit != "0" {
		o.n.t.Errorf("deposit: %s", s)
	}
	b.in += v
}

func (b *books) payout(n *network, w *worker, o *outcome) {
	n.t.Helper()
	v := o.paid(w.proxy.addr, w.owner.address())
	if v == 0 {
		n.t.Errorf("nothing paid to %s: %s", w.name, o)
	}
	b.payouts += v
}

func (b *books) refund(n *network, c *client, o *outcome) {
	n.t.Helper()
	v := o.paid(c.proxy.addr, c.owner.address())
	if v == 0 {
		n.t.Errorf("nothing returned to %s: %s", c.name, o)
	}
	b.refunds += v
}

func (b *books) cut(n *network, o *outcome) {
	b.cutIn += o.paid(n.proxy.addr, n.proxy.owner.address())
}

// accounted: the supply is what all accounts have and what fees took, and
// nobody unknown has any of it.
func (n *network) accounted(supply int64) {
	n.t.Helper()
	total, err := n.chain.Total()
	n.must(err)
	want := new(big.Int).Mul(big.NewInt(supply), big.NewInt(int64(coin.TON)))
	if got := new(big.Int).Add(total, n.fees); got.Cmp(want) != 0 {
		n.t.Errorf("accounts have %s and fees took %s nanoTON, together %s; the supply is %s", total, n.fees, got, want)
	}
	sum := new(big.Int)
	for at := range n.met {
		a, err := n.chain.Account(address.MustParseRawAddr(at))
		n.must(err)
		sum.Add(sum, a.Balance.Nano())
	}
	if sum.Cmp(total) != 0 {
		n.t.Errorf("the accounts met have %s nanoTON, all accounts have %s", sum, total)
	}
	n.t.Logf("fees took %s nanoTON", n.fees)
}
