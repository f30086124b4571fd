package contract_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

func TestWalletOrders(t *testing.T) {
	for count := range 5 {
		n := open(t)
		w := n.nodeWallet("node", n.alice.owner.(*person), ton(10))
		for seqno := range uint32(3) {
			var messages []contract.OrderMessage
			for i := range count {
				messages = append(messages, w.note(ton(1)/10+coin.Nano(i)))
			}
			o := w.orders(w.order(messages...)).wants("node 0")
			equal(n, "seqno", w.state().Seqno, seqno+1)
			sent := o.sent(w.addr, n.founder.addr)
			equal(n, "messages", len(sent), count)
			for i, m := range sent {
				n.money("value", nano(m.Amount), ton(1)/10+coin.Nano(i))
				equal(n, "body", m.Body.HashKey(), raw(0x11223344).HashKey())
				equal(n, "bounceable", m.Bounce, true)
			}
		}
	}
}

func TestWalletRefusesOrders(t *testing.T) {
	for _, x := range []struct {
		name   string
		funds  coin.Nano
		change func(w *nodeWallet, o *contract.Order)
		exit   int32
	}{
		{"expired", ton(10), func(w *nodeWallet, o *contract.Order) { o.ValidUntil = w.n.now() }, 1030},
		{"blocked", ton(10), func(w *nodeWallet, o *contract.Order) { w.says('b').wants("node 0") }, 1031},
		{"wrong seqno", ton(10), func(w *nodeWallet, o *contract.Order) { o.Seqno++ }, 1032},
		{"wrong subwallet", ton(10), func(w *nodeWallet, o *contract.Order) { o.Subwallet++ }, 1033},
		{"wrong key", ton(10), func(w *nodeWallet, o *contract.Order) { w.key = testKey(8) }, 1034},
		{"poor", 500 * milli, func(w *nodeWallet, o *contract.Order) {}, 1035},
		{"poor by a nano", contract.WalletKeeps - 1, func(w *nodeWallet, o *contract.Order) {}, 1035},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			n := open(t)
			w := n.nodeWallet("node", n.alice.owner.(*person), x.funds)
			o := w.order(w.note(milli))
			x.change(w, o)
			w.orders(o).wants("node " + contract.WalletExit(x.exit))
			equal(n, "seqno", w.state().Seqno, 0)
		})
	}
}

// says is a comment of one letter from the owner.
func (w *nodeWallet) says(letter byte) *outcome {
	w.n.t.Helper()
	return tell(w.owner, w.addr, 100*milli, contract.Text{Letter: letter})
}

func TestWalletOwner(t *testing.T) {
	n := open(t)
	w := n.nodeWallet("node", n.alice.owner.(*person), ton(10))
	send := &contract.WalletSend{QueryID: 9, Mode: 64, Message: w.note(0).Cell}

	for _, letter := range []byte{'w', 'b', 'u', 'x'} {
		n.brings(w.addr, 100*milli, contract.Text{Letter: letter}).wants("node 1040")
	}
	n.brings(w.addr, 100*milli, send).wants("node 1040")
	w.says('x').wants("node 1041")
	w.owner.send(w.addr, 100*milli, raw(0x29111ceb), nil).wants("node 1041")

	w.says('b').wants("node 0")
	w.send(n.founder.addr, milli, raw(1), nil).wants("node " + contract.WalletExit(1031))
	if sent := tell(w.owner, w.addr, 100*milli, send).wants("node 0").sent(w.addr, n.founder.addr); len(sent) != 1 {
		t.Errorf("a blocked wallet sent %d of its owner's messages, want 1", len(sent))
	}
	w.says('u').wants("node 0")
	w.send(n.founder.addr, milli, raw(1), nil).wants("node 0")

	for _, op := range []uint64{0x2565934c, 0xc59a7cd3, 0x9a1247c0} { // change, payouts, notes: from anybody
		n.stranger.send(w.addr, milli, raw(op), nil).wants("node 0")
	}
	n.stranger.send(w.addr, milli, cell.BeginCell().EndCell(), nil).wants("node 0")

	home := w.says('w').wants("node 0").sent(w.addr, w.owner.addr)
	if len(home) != 1 || nano(home[0].Amount) < ton(9) || !home[0].Bounce {
		t.Errorf("the owner got %d messages, want one of more than 9 TON that bounces", len(home))
	}
	if left := w.funds(); left > 50*milli {
		t.Errorf("left behind is %s, want less than 0.05", left)
	}
}

func TestWalletAddresses(t *testing.T) {
	n := open(t)
	seen := map[string]bool{}
	for _, owner := range []*person{n.stranger, n.root.owner} {
		for _, key := range []ed25519.PrivateKey{testKey(1), testKey(2)} {
			at, _, err := contract.NewWallet(contract.OurCodes().Wallet, owner.addr, publicOf(key))
			n.must(err)
			seen[at.StringRaw()] = true
		}
	}
	equal(n, "addresses of four wallets", len(seen), 4)
}

// A failing action, or a message that cannot be paid, does not let an accepted
// order be delivered again.
func TestAnAcceptedOrderIsNotAcceptedAgain(t *testing.T) {
	for _, x := range []struct {
		name string
		make func(w *nodeWallet) *cell.Cell
		want string
	}{
		{"a good one", func(w *nodeWallet) *cell.Cell { return w.signed(w.order(w.note(ton(1)))) }, "0"},
		{"more than there is", func(w *nodeWallet) *cell.Cell { return w.signed(w.order(w.note(ton(100)))) }, "0"},
		{"where nothing can go", func(w *nodeWallet) *cell.Cell {
			return w.signed(w.order(w.message(1, address.NewAddress(0, 5, make([]byte, 32)), milli, raw(1), nil)))
		}, "0"},
		{"not a message", func(w *nodeWallet) *cell.Cell {
			return w.signed(w.order(contract.OrderMessage{Mode: 1, Cell: field(1, 8).EndCell()}))
		}, "0"},
		{"to nobody", func(w *nodeWallet) *cell.Cell {
			return w.signed(w.order(w.message(1, address.NewAddressNone(), milli, raw(1), nil)))
		}, "0"},
		{"bits that no mode has", func(w *nodeWallet) *cell.Cell { m := w.note(milli); m.Mode = 0b1100; return w.signed(w.order(m)) }, "0"},
		{"all bits", func(w *nodeWallet) *cell.Cell {
			m := w.note(milli)
			m.Mode = 255
			return w.signed(w.order(w.note(milli), m))
		}, "0"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			n := open(t)
			w := n.nodeWallet("node", n.alice.owner.(*person), ton(10))
			body := x.make(w)
			w.submits(body, w.addr).wants("node " + x.want)
			equal(n, "seqno", w.state().Seqno, 1)
			n.founder.send(w.addr, ton(5), cell.BeginCell().EndCell(), nil) // whatever it sent away
			w.submits(body, w.addr).wants("node " + contract.WalletExit(1032))
		})
	}
}

func (w *nodeWallet) signed(o *contract.Order) *cell.Cell {
	w.n.t.Helper()
	body, err := o.Sign(w.key)
	w.n.must(err)
	return body
}

// An order that is cut short or too long, or that no action could follow from,
// which would undo the new seqno too, is refused and costs the wallet nothing.
func TestMalformedOrdersAreRefused(t *testing.T) {
	n := open(t)
	w := n.nodeWallet("node", n.alice.owner.(*person), ton(10))
	note := w.note(milli).Cell
	signed := func(b *cell.Builder) *cell.Cell {
		order := cell.BeginCell().MustStoreUInt(0, 32).MustStoreUInt(uint64(n.now())+60, 32).MustStoreUInt(0, 32).MustStoreBuilder(b)
		return cell.BeginCell().MustStoreSlice(ed25519.Sign(w.key, order.EndCell().Hash()), 512).MustStoreBuilder(order).EndCell()
	}
	bad := map[string]*cell.Builder{
		"no mode":          cell.BeginCell().MustStoreRef(note),
		"two modes":        field(0x0101, 16).MustStoreRef(note),
		"half a mode":      field(1, 4).MustStoreRef(note),
		"without messages": field(1, 8),
		"a foreign sender": field(1, 8).MustStoreRef(from(n.stranger.addr)),
		"no message":       field(1, 8).MustStoreRef(field(0, 5).EndCell()),
	}
	for name, b := range bad {
		before := w.funds()
		w.submits(signed(b), w.addr).wants("node " + contract.WalletExit(9))
		equal(n, name+": seqno", w.state().Seqno, 0)
		n.money(name+": funds", w.funds(), before)
	}
	if _, err := w.order(w.note(1), w.note(1), w.note(1), w.note(1), w.note(1)).Sign(w.key); err == nil {
		t.Error("an order of five messages was signed")
	}
}

// from is a message that says whom it is from, which only the chain may.
func from(a *address.Address) *cell.Cell {
	c, err := tlb.ToCell(&tlb.InternalMessage{SrcAddr: a, DstAddr: a, Amount: amount(milli), Body: raw(1)})
	if err != nil {
		panic(err)
	}
	return c
}

// Wallet, proxy, worker and client as nodes use them: a hundred notes of the
// proxy's, two deposits of a hundred coins, and five charges and payouts of
// two million tokens each at production's price.
func TestNodesAtWork(t *testing.T) {
	n := open(t, func(r *contract.Root) { r.PricePerToken, r.WorkerFeePerToken = 10000, 9000 })
	w := n.nodeWallet("node", n.alice.owner.(*person), ton(300))
	c := n.proxy.deployClient("client", w)
	spent := w.funds()
	for i := range uint32(100) {
		tell(w, n.proxy.addr, 1, &contract.SaveState{QueryID: 9, Seqno: i}).wants("node 0, proxy NO_GAS")
	}
	if cost := (spent - w.funds()) / 100; cost > 4*milli {
		t.Errorf("a note costs %s, want no more than 0.004", cost)
	}
	for range 2 {
		spent = w.funds()
		c.topUp(ton(100)).wants("node 0, client 0, proxy 0, node 0")
		if cost := spent - w.funds() - ton(100); cost > 18*milli {
			t.Errorf("a deposit costs %s, want no more than 0.018", cost)
		}
	}
	for i := int64(1); i <= 5; i++ {
		n.proxy.charge(c, i*2_000_000).wants("client 0, proxy NO_GAS")
		n.money("paid", n.proxy.payout(n.worker, i*2_000_000).wants(workerAndProxy).paid(n.proxy.addr, n.worker.owner.address()), ton(18))
	}
	n.money("cut", n.proxy.payOwner().paid(n.proxy.addr, n.proxy.owner.address()), ton(10))
	c.has(contract.Normal, ton(100), 10_000_000)
	n.worker.has(contract.Normal, 10_000_000, 0)
	equal(n, "the proxy's state", n.proxy.state().State, contract.Normal)
	n.pool(ton(100), 0, 0)
}
