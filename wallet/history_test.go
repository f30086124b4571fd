package wallet

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// COCOON_WALLET_HISTORIES is how many histories to play, COCOON_WALLET_SEED
// the first one's seed: a failure names its own.
func TestHistories(t *testing.T) {
	count, first := 300, uint64(1)
	if testing.Short() {
		count = 40
	}
	if v, err := strconv.Atoi(os.Getenv("COCOON_WALLET_HISTORIES")); err == nil {
		count = v
	}
	if v, err := strconv.ParseUint(os.Getenv("COCOON_WALLET_SEED"), 10, 64); err == nil {
		first = v
	}
	var total tally
	var w *world
	for i := range count {
		if i%50 == 0 {
			w = newWorld(t) // a fresh chain, since old blocks are kept
		}
		play(t, w, first+uint64(i), &total)
		if t.Failed() {
			t.Fatalf("COCOON_WALLET_SEED=%d COCOON_WALLET_HISTORIES=1 plays the failed history again", first+uint64(i))
		}
	}
	t.Logf("%d histories: %+v", count, total)
	for name, n := range map[string]int{
		"messages": total.Messages, "crashes": total.Crashes, "orders of others": total.Foreign, "restored journals": total.Restored,
		"messages left out": total.LeftOut, "orders signed anew": total.Anew, "lost externals": total.Lost,
	} {
		if n == 0 && count >= 300 {
			t.Errorf("no %s in %d histories: they do not try what they should", name, count)
		}
	}
}

type tally struct{ Messages, LeftOut, Crashes, Foreign, Restored, Anew, Lost, Late, Repeated int }

// history is one wallet's life under a seed. The caller of the driver keeps a
// list of all it ever wanted, like a ledger, and enqueues again, under the same
// ID, what the driver does not know.
type history struct {
	*node
	r       *rand.Rand
	wanted  []Message
	foreign map[string]coin.Nano // value by receiver of what others sent with the key
	held    []*cell.Cell         // externals on their way
	backup  string
	total   *tally
}

func play(t *testing.T, w *world, seed uint64, total *tally) {
	r := rand.New(rand.NewPCG(seed, 0))
	n := newNode(w, 0)
	n.driver.Close()
	var secret [ed25519.SeedSize]byte
	binary.BigEndian.PutUint64(secret[:], seed)
	n.key = KeyOf(ed25519.NewKeyFromSeed(secret[:]))
	n.owner = stranger(byte(r.IntN(256)))
	n.dir = filepath.Join(n.root, fmt.Sprint("seed", seed))
	n.small = r.IntN(3) == 0
	n.open()
	h := &history{node: n, r: r, total: total, foreign: map[string]coin.Nano{}}
	n.tear = func(n int) int { return r.IntN(n + 1) }
	n.crash = func(string) bool { return r.IntN(25) == 0 }
	w.post = h.mail
	w.read = func() error {
		if r.IntN(20) == 0 {
			return fmt.Errorf("no server: %w", ton.ErrUnreachable)
		}
		return nil
	}
	h.fund(n.driver.Address(), coin.TON*coin.Nano(10+r.IntN(60)))
	for range 20 + r.IntN(40) {
		h.act()
		h.reborn()
	}
	h.end()
	n.driver.Close()
	os.RemoveAll(n.root)
}

// reborn opens the next life after a crash, at times an old one's journal.
func (h *history) reborn() {
	if !h.dead {
		return
	}
	h.total.Crashes++
	if h.backup != "" && h.r.IntN(6) == 0 {
		h.total.Restored++
		h.node.lives++
		h.dir = filepath.Join(h.root, fmt.Sprint("restored", h.node.lives))
		copyDir(h.t, h.backup, h.dir)
	}
	h.revive()
}

func (h *history) act() {
	switch h.r.IntN(14) {
	case 0, 1, 2, 12:
		h.want()
	case 3, 4, 5, 6:
		h.drive()
	case 7:
		h.someMail()
	case 8, 13:
		h.advance(time.Duration(h.r.IntN(60)) * time.Second)
	case 9:
		if h.r.IntN(3) == 0 {
			h.advance(time.Duration(5+h.r.IntN(30)) * time.Minute)
		}
	case 10:
		if h.r.IntN(2) == 0 {
			h.stranger()
		}
	case 11:
		h.rare()
	}
}

func (h *history) rare() {
	switch h.r.IntN(4) {
	case 0:
		if h.seqno() > 0 && len(h.held) > 0 {
			if spare := h.balance() - 2*coin.TON; spare > coin.TON {
				h.ownerSends(spare)
			}
		}
	case 1:
		h.fund(h.driver.address, coin.TON*coin.Nano(1+h.r.IntN(20)))
	case 2:
		h.backup = filepath.Join(h.root, fmt.Sprint("backup", len(h.wanted), "-", h.node.lives))
		os.RemoveAll(h.backup)
		copyDir(h.t, h.dir, h.backup)
	case 3:
		h.kill("")
	}
}

func (h *history) drive() {
	before := h.drafts()
	err := h.step()
	if err != nil && !errors.Is(err, errCrash) && !errors.Is(err, ton.ErrRefused) && !errors.Is(err, ton.ErrUnreachable) && !errors.Is(err, ErrPoor) {
		h.t.Errorf("step: %v", err)
	}
	if now := h.drafts(); now > before && now > 1 {
		h.total.Anew++
	}
}

func (h *history) drafts() int { return len(h.driver.state.drafts) }

// want enqueues something new, or something again. A crash in between, or a
// journal that was restored, makes it an older wish that is enqueued again.
func (h *history) want() {
	var m Message
	if n := len(h.wanted); n > 0 && h.r.IntN(4) == 0 {
		m = h.wanted[h.r.IntN(n)]
		h.total.Repeated++
	} else {
		m = letter(byte(h.r.IntN(8)), h.r.Uint64(), coin.Nano(1+h.r.Int64N(int64(3*coin.TON))))
		if h.r.IntN(4) == 0 { // the same as others but for its ID
			m.Value, m.Body = coin.TON/7, cell.BeginCell().MustStoreUInt(0x5a, 8).EndCell()
		}
		m.To = h.receiver(byte(h.r.IntN(8)))
		m.ID = h.r.Uint64() | 1
		h.wanted = append(h.wanted, m)
	}
	h.ask(m)
}

// receiver is an account of this history alone.
func (h *history) receiver(i byte) *address.Address {
	return address.NewAddress(0, 0, append([]byte{0xcc, i}, h.driver.address.Data()[:30]...))
}

func (h *history) ask(m Message) {
	_, err := h.driver.Enqueue(context.Background(), m)
	if err != nil && !errors.Is(err, errCrash) && !errors.Is(err, ErrPoor) {
		h.t.Errorf("enqueue: %v", err)
	}
}

// mail is what becomes of the driver's externals: delivered, twice, later,
// never; and the answer says little of it.
func (h *history) mail(m *cell.Cell) error {
	switch h.r.IntN(6) {
	case 0:
		h.total.Lost++
		return nil
	case 1:
		h.held = append(h.held, m)
		return fmt.Errorf("timeout: %w", ton.ErrUnreachable)
	case 2:
		h.held = append(h.held, m, m)
		return h.deliver(m)
	case 3:
		h.deliver(m)
		return fmt.Errorf("timeout: %w", ton.ErrUnreachable)
	}
	return h.deliver(m)
}

func (h *history) someMail() {
	for len(h.held) > 0 && h.r.IntN(3) > 0 {
		i := h.r.IntN(len(h.held))
		m := h.held[i]
		h.held = append(h.held[:i], h.held[i+1:]...)
		if err := h.deliver(m); err == nil {
			h.total.Late++
		} else if !errors.Is(err, ton.ErrRefused) {
			h.t.Errorf("deliver: %v", err)
		}
	}
}

// stranger spends with the same key.
func (h *history) stranger() {
	to, value := h.receiver(byte(h.r.IntN(8))), coin.Nano(1+h.r.Int64N(int64(coin.TON)))
	c, err := tlb.ToCell(&tlb.InternalMessage{IHRDisabled: true, DstAddr: to, Amount: tlb.FromNanoTON(value.Big()), Body: cell.BeginCell().EndCell()})
	if err != nil {
		h.t.Fatal(err)
	}
	order := h.sign(h.seqno(), c)
	err = h.deliver(order)
	if err != nil && !errors.Is(err, ton.ErrRefused) {
		h.t.Errorf("deliver: %v", err)
	}
	if err != nil {
		return // too poor
	}
	h.total.Foreign++
	txs := h.txs[h.driver.address.StringRaw()]
	for _, out := range txs[len(txs)-1].Out {
		h.foreign[out.To.StringRaw()] += out.Value
	}
}

// end lets all faults cease, has everything sent, and looks at what the chain says.
func (h *history) end() {
	h.crash, h.post, h.world.read = nil, nil, nil
	h.reborn()
	for len(h.held) > 0 {
		h.someMail()
	}
	h.fund(h.driver.address, 1000*coin.TON)
	h.advance(time.Minute)
	if err := h.step(); err != nil && !errors.Is(err, ton.ErrRefused) {
		h.t.Errorf("at the end: %v", err)
	}
	for _, m := range h.wanted {
		h.enqueue(m)
	}
	h.settle()
	h.check()
}

func (h *history) check() {
	type kind struct {
		to, body string
		value    coin.Nano
	}
	due, got, into := map[kind]int{}, map[kind]int{}, map[string]coin.Nano{}
	outs := map[Hash]bool{}
	for _, m := range h.wanted {
		o, ok := h.driver.Find(m.ID).Outcome()
		if !ok {
			h.t.Errorf("message %d has no outcome", m.ID)
		}
		h.total.Messages++
		k := kind{m.To.StringRaw(), string(m.Body.Hash()), m.Value}
		got[k] = len(h.left(m))
		due[k] += 0
		if !o.Sent {
			h.total.LeftOut++
			continue
		}
		due[k]++
		into[k.to] += m.Value
		if outs[o.Out] {
			h.t.Errorf("two messages are said to have left as %s", o.Out)
		}
		outs[o.Out] = true
	}
	for k := range due {
		if due[k] != got[k] {
			h.t.Errorf("%s to %s: %d left the wallet, the driver says %d", k.value.Text(), k.to, got[k], due[k])
		}
	}
	for i := range byte(8) {
		to := h.receiver(i)
		a, err := h.world.look(to)
		if err != nil {
			h.t.Fatal(err)
		}
		came, rent := coin.Nano(0), coin.Nano(0)
		for _, tx := range h.txs[to.StringRaw()] {
			came, rent = came+tx.In.Value, rent+tx.Fees
		}
		if want := into[to.StringRaw()] + h.foreign[to.StringRaw()]; came != want || a.Balance != came-rent {
			h.t.Errorf("receiver %d was sent %s and has %s, want %s", i, came.Text(), a.Balance.Text(), want.Text())
		}
	}
	h.sums()
}

// sums checks the wallet's own account: what came in, went out and was paid in
// fees is what it has; and each seqno was used by one order.
func (h *history) sums() {
	balance, seqno := coin.Nano(0), uint32(0)
	for _, tx := range h.txs[h.driver.address.StringRaw()] {
		balance -= tx.Fees
		if tx.In.From != nil {
			balance += tx.In.Value
		} else if o, err := contract.VerifyOrder(tx.In.Body, h.key.Public()); err != nil || o.Seqno != seqno {
			h.t.Errorf("order %+v, %v; want seqno %d", o, err, seqno)
		} else {
			seqno++
		}
		for _, out := range tx.Out {
			balance -= out.Value
		}
	}
	if got := h.balance(); got != balance {
		h.t.Errorf("the wallet has %s, its transactions sum up to %s", got.Text(), balance.Text())
	}
	if s := h.driver.Status(); s.Seqno != seqno {
		h.t.Errorf("seqno is %d, want %d", s.Seqno, seqno)
	}
}
