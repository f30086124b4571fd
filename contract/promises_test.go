package contract_test

import (
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// What the contracts promise, one test each. Numbers are those of
// contracts.md section 22.3.

// N6: what is paid in while the proxy closes is kept once and goes back once.
func TestDepositsDuringClosingAreReturnedOnce(t *testing.T) {
	n := open(t)
	n.bob.topUp(ton(100))
	closing(n)
	in := n.alice.topUp(ton(60))
	n.money("handed back", in.paid(n.proxy.addr, n.alice.owner.address()), 0)
	n.pool(ton(160), 0, 0)
	back := n.alice.withdraw().paid(n.proxy.addr, n.alice.owner.address()) + n.proxy.grant(n.alice, 0).paid(n.proxy.addr, n.alice.owner.address())
	n.money("returned", back, ton(60))
	n.pool(ton(100), 0, 0)
	n.alice.leave().wants("alice's client 1006")
	n.money("bob's", n.proxy.grant(n.bob, 0).paid(n.proxy.addr, n.bob.owner.address()), ton(100))
}

// badChange are addresses that no change can be sent to, in the raw.
var badChange = map[string]*cell.Builder{
	"none":           field(0, 2),
	"external":       field(0b01, 2).MustStoreUInt(8, 9).MustStoreUInt(0xab, 8),
	"in workchain 5": cell.BeginCell().MustStoreAddr(address.NewAddress(0, 5, make([]byte, 32))),
}

// noChange are no addresses to the chain itself.
var noChange = map[string]*cell.Builder{
	"with a rewritten prefix": field(0b101, 3).MustStoreUInt(1, 5).MustStoreUInt(0, 1).MustStoreUInt(0, 8).MustStoreSlice(make([]byte, 32), 256),
	"of variable length":      field(0b110, 3).MustStoreUInt(256, 9).MustStoreUInt(0, 32).MustStoreSlice(make([]byte, 32), 256),
	"cut short":               field(0b100, 3).MustStoreUInt(0, 8),
}

// N7 again: what the chain itself cannot read as an address refuses the
// message, and the same payment can be brought again.
func TestUnreadableChangeRefusesThePayment(t *testing.T) {
	for name, change := range noChange {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := open(t)
			n.alice.topUp(ton(60))
			e := n.proxy.signs(contract.Payout, n.worker.addr, 1_000_000_000)
			n.stranger.send(n.worker.addr, 500*milli, redirect(e, change), nil).wants("worker 9")
			n.money("payout", n.brings(n.worker.addr, 500*milli, e).wants(workerAndProxy).paid(n.proxy.addr, n.worker.owner.address()), ton(18))
			e = n.proxy.signs(contract.GrantRefund, n.alice.addr, 1_000_000_000)
			n.stranger.send(n.alice.addr, ton(1), redirect(e, change), nil).wants("alice's client 9")
			n.money("grant", n.brings(n.alice.addr, ton(1), e).wants(aliceAndProxy).paid(n.proxy.addr, n.alice.owner.address()), ton(40))
		})
	}
}

// redirect is a signed payment that sends its change elsewhere, without the
// package, which would refuse.
func redirect(e *contract.Envelope, change *cell.Builder) *cell.Cell {
	s := cellOf(e).MustBeginParse()
	b := cell.BeginCell().MustStoreUInt(s.MustLoadUInt(32), 32).MustStoreUInt(s.MustLoadUInt(64), 64).MustStoreBuilder(change)
	s.MustLoadAddr()
	return b.MustStoreSlice(s.MustLoadSlice(512), 512).MustStoreRef(s.MustLoadRef().MustToCell()).EndCell()
}

// N7: an address for the change that cannot be paid costs nobody an earning,
// in any of the six signed payments or in what owners send.
func TestUnpayableChangeCostsNobodyAnything(t *testing.T) {
	for name, change := range badChange {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := open(t)
			bring := func(e *contract.Envelope, value coin.Nano, codes string) *outcome {
				t.Helper()
				return n.stranger.send(e.Contract, value, redirect(e, change), nil).wants(codes)
			}
			n.alice.owner.send(n.alice.addr, ton(101), raw(0xf172e6c2, coins(ton(100)), change), nil).wants(aliceAndProxy)
			n.alice.owner.send(n.alice.addr, ton(2), raw(0x8473b408, coins(ton(1)), field(0, 256), change), nil).wants(aliceAndProxy)
			n.pool(ton(101), 0, 0)
			for op, fields := range map[uint64][]*cell.Builder{0xc45f9f3b: {field(5, 64)}, 0xa9357034: {field(5, 256)}, 0x6a1f6a60: {coins(ton(16))}} {
				n.alice.owner.send(n.alice.addr, ton(1), raw(op, append(fields, change)...), nil).wants(aliceTells)
			}
			n.worker.owner.send(n.worker.addr, ton(1), raw(0x26ed7f65, change), nil).wants("worker 0, proxy NO_GAS")

			worker, alice := n.worker.owner.address(), n.alice.owner.address()
			n.money("payout", bring(n.proxy.signs(contract.Payout, n.worker.addr, 1_000_000_000), 500*milli, workerAndProxy).paid(n.proxy.addr, worker), ton(18))
			bring(n.proxy.signs(contract.Charge, n.alice.addr, 1_000_000_000), 700*milli, aliceTells)
			n.money("withdrawal", n.alice.owner.send(n.alice.addr, 700*milli, raw(0xda068e78, change), nil).wants(aliceAndProxy).paid(n.proxy.addr, alice), ton(65))
			n.money("last payout", bring(n.proxy.signs(contract.LastPayout, n.worker.addr, 1_100_000_000), ton(1), workerAndProxy).paid(n.proxy.addr, worker), 1800*milli)
			n.money("grant", bring(n.proxy.signs(contract.GrantRefund, n.alice.addr, 1_100_000_000), ton(1), aliceAndProxy).paid(n.proxy.addr, alice), ton(14))
			n.money("cut", n.stranger.send(n.proxy.addr, 200*milli, raw(0x7610e6eb, change), nil).wants("proxy 0").paid(n.proxy.addr, n.proxy.owner.address()), 2200*milli)
			n.stranger.send(n.proxy.addr, ton(2), raw(0x9713f187, coins(ton(1)), change), nil).wants("proxy 0")
			n.money("stake", n.proxy.state().Stake, ton(1))
			n.bob.topUp(ton(20))
			n.bob.owner.send(n.bob.addr, 700*milli, raw(0xfafa6cc1, change), nil).wants("bob's client 0, proxy 0")
			bring(n.proxy.signs(contract.CloseRequest, n.proxy.addr, 0), ton(1), "proxy 0")
			n.wait(day)
			n.money("forced refund", n.bob.owner.send(n.bob.addr, 700*milli, raw(0xfafa6cc1, change), nil).wants("bob's client 0, proxy 0").paid(n.proxy.addr, n.bob.owner.address()), ton(15))
			bring(n.proxy.signs(contract.CloseComplete, n.proxy.addr, 0), ton(1), "proxy 0")
			n.pool(0, 0, 0)
		})
	}
}

func coins(v coin.Nano) *cell.Builder { return cell.BeginCell().MustStoreCoins(uint64(v)) }

// N8: a worker that an empty pool could not pay is paid everything by the next
// payout, and nothing twice.
func TestEmptyPoolPaysLater(t *testing.T) {
	n := open(t)
	refused := "worker 0, proxy 1017, worker 0"
	n.proxy.payout(n.worker, 1_000_000_000).wants(refused)
	n.worker.has(contract.Normal, 1_000_000_000, 1_000_000_000)
	n.proxy.payout(n.worker, 1_200_000_000).wants(refused)
	n.worker.has(contract.Normal, 1_200_000_000, 1_200_000_000)
	n.alice.topUp(ton(60))
	o := n.proxy.payout(n.worker, 1_500_000_000).wants(workerAndProxy)
	n.money("paid", o.paid(n.proxy.addr, n.worker.owner.address()), ton(27))
	n.worker.has(contract.Normal, 1_500_000_000, 0)
	n.pool(ton(30), ton(3), 0)
	n.proxy.payout(n.worker, 1_500_000_000).wants("worker 1000")
}

// N8 again, for a worker's contract that has no TON of its own: whatever the
// payment is brought with, it is refused, paid, or owed.
func TestPoorWorkerLosesNoClaim(t *testing.T) {
	n := open(t)
	d, err := n.proxy.rules.DeployWorker(n.bob.owner.address(), n.proxy.addr, publicOf(n.proxy.key))
	n.must(err)
	fresh, err := n.chain.Snapshot()
	n.must(err)
	for v := 100 * milli; v < 240*milli; v += milli / 2 {
		n.must(n.chain.Restore(fresh))
		poor := &worker{account: n.expect("poor", d.Address), proxy: n.proxy, owner: n.bob.owner}
		o := n.founder.send(d.Address, v, cellOf(n.proxy.signs(contract.Payout, d.Address, 1_000_000_000)), d.Init)
		if s := poor.state(); s.Tokens != s.Owed {
			t.Errorf("brought with %s: %s; counter is %d and %d are owed", v, o, s.Tokens, s.Owed)
		}
	}
}

// N9: a client whose proxy has neither stake nor deposits keeps its claim, and
// a grant that comes later pays it.
func TestForcedRefundIsNotForgotten(t *testing.T) {
	n := open(t)
	n.alice.topUp(ton(60))
	n.proxy.payout(n.worker, 3_000_000_000).wants(workerAndProxy)
	n.pool(0, ton(6), 0) // and alice was never charged
	refused := "alice's client 0, proxy 1017, alice's client 0"
	n.alice.leave().wants(refused)
	n.wait(day)
	n.alice.leave().wants(refused)
	n.alice.has(contract.Closed, ton(60), 0)
	n.bob.topUp(ton(70))
	n.money("granted later", n.proxy.grant(n.alice, 500_000_000).wants(aliceAndProxy).paid(n.proxy.addr, n.alice.owner.address()), ton(50))
	n.alice.has(contract.Closed, 0, 500_000_000)
	n.proxy.grant(n.alice, 500_000_000).wants("alice's client 1006")
	n.pool(ton(20), ton(6), 0)
}

// N12: every request that a contract sends on can be refused, and then nothing
// is changed or the claim is there again.
func TestRefusedRequestsComeBack(t *testing.T) {
	nowhere := address.NewAddress(0, 0, make([]byte, 32))
	n := open(t)
	lost := &proxy{account: account{n: n, name: "nowhere", addr: nowhere}, root: n.root, owner: n.stranger, key: testKey(7), rules: n.root.state()}
	c, w := lost.deployClient("client", n.alice.owner), lost.deployWorker("worker at nowhere", n.bob.owner)

	before := c.state()
	n.money("back to the owner", c.topUp(ton(60)).wants("client 0, client 0").paid(c.addr, n.alice.owner.address())/ton(1), 60)
	c.register(5).wants("client 0")
	c.has(contract.Normal, 0, 0)
	equal(n, "unlock", c.state().UnlockAt, before.UnlockAt)
	c.changeSecret(someHash).wants("client 0")
	equal(n, "secret", c.state().SecretHash, someHash)
	w.register().wants("worker at nowhere 0")
	lost.payout(w, 1000).wants("worker at nowhere 0, worker at nowhere 0")
	w.has(contract.Normal, 1000, 1000)
	lost.lastPayout(w, 1500).wants("worker at nowhere 0, worker at nowhere 0")
	w.has(contract.Closed, 1500, 1500)

	n.alice.topUp(ton(60))
	n.proxy.payout(n.worker, 3_000_000_000)
	for _, ask := range []func() *outcome{n.alice.withdraw, n.alice.leave, func() *outcome { return n.proxy.grant(n.alice, 0) }} {
		ask().wants("alice's client 0, proxy 1017, alice's client 0")
		n.money("balance", n.alice.state().Balance, ton(60))
	}
}

// The chain alone can say that a message came back. One that looks like it and
// is none, and a bounce without a body, change nothing.
func TestNobodyCanForgeABounce(t *testing.T) {
	n := open(t)
	n.alice.topUp(ton(60))
	request := cellOf(&contract.ClientRequest{QueryID: 9, Owner: n.alice.owner.address(), Part: &contract.ClientPart{
		Kind: contract.PartRefundGranted, Amount: ton(1000), Excess: n.stranger.addr,
	}})
	rich := cell.BeginCell().MustStoreUInt(0xfffffffe, 32).MustStoreRef(request).EndCell()
	n.stranger.send(n.alice.addr, ton(1), rich, nil).wants("alice's client 9")
	plain := cell.BeginCell().MustStoreUInt(0xffffffff, 32).MustStoreUInt(0x65448ff4, 32).MustStoreUInt(9, 64).EndCell()
	n.stranger.send(n.alice.addr, ton(1), plain, nil).wants("alice's client 1012")
	for _, body := range []*cell.Cell{plain, field(0xffffffff, 32).EndCell()} {
		c, err := tlb.ToCell(&tlb.InternalMessage{
			IHRDisabled: true, Bounced: true, SrcAddr: n.proxy.addr, DstAddr: n.alice.addr, Amount: amount(ton(1)), Body: body,
		})
		n.must(err)
		trace, err := n.chain.Deliver(c)
		n.must(err)
		n.outcome(trace, n.alice.addr).wants("alice's client 0")
	}
	n.alice.has(contract.Normal, ton(60), 0)
}

// H8: a proxy whose key is lost can be finished by its owner, a month after it
// might have been, and its deposits stay.
func TestLostKeyLocksNoMoney(t *testing.T) {
	n := open(t)
	earned(n)
	finish := func(from sender) *outcome {
		return tell(from, n.proxy.addr, 200*milli, &contract.OwnerFinish{QueryID: 9})
	}
	finish(n.proxy.owner).wants("proxy 1006")
	n.proxy.says('c').wants("proxy 0")
	n.wait(31*day - time.Second)
	finish(n.proxy.owner).wants("proxy 1011")
	n.wait(time.Second)
	finish(n.stranger).wants("proxy 1010")
	finish(n.proxy.owner).wants("proxy 0")
	n.pool(ton(40), 0, 0)
}
