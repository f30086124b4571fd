package wallet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// world is the local chain as the driver sees it, without a network between,
// so that hundreds of histories take seconds; and what may happen to a message
// on its way. Its clock stands still between advances.
type world struct {
	t     testing.TB
	chain *localnet.Chain
	begin time.Time

	mu   sync.Mutex
	txs  map[string][]*ton.Transaction
	post func(*cell.Cell) error // what becomes of an external message; nil delivers it
	read func() error           // an error for all reading
	news chan struct{}
}

func newWorld(t testing.TB) *world {
	begin := time.Unix(1_900_000_000, 0)
	w := &world{t: t, begin: begin, txs: map[string][]*ton.Transaction{}, news: make(chan struct{})}
	w.chain = newChain(t, func(c *localnet.Config) { c.Now = func() time.Time { return begin } })
	return w
}

func (w *world) log(trace localnet.Trace) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, root := range trace {
		tx, err := ton.ParseTransaction(0, root)
		if err != nil {
			w.t.Fatal(err)
		}
		at := tx.Account.StringRaw()
		w.txs[at] = append(w.txs[at], tx)
	}
	close(w.news)
	w.news = make(chan struct{})
}

// deliver brings an external message to the chain.
func (w *world) deliver(m *cell.Cell) error {
	trace, err := w.chain.Send(m)
	if err == nil {
		w.log(trace)
	}
	var refused *localnet.RefusedError
	if errors.As(err, &refused) {
		return &ton.RefusedError{Ran: refused.Reason == nil, ExitCode: int32(refused.ExitCode), Reason: fmt.Sprint(refused.Reason)}
	}
	return err
}

func (w *world) fund(to *address.Address, amount coin.Nano) {
	w.t.Helper()
	trace, err := w.chain.Fund(context.Background(), to, tlb.FromNanoTON(amount.Big()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.log(trace)
}

func (w *world) advance(d time.Duration) {
	if _, err := w.chain.Advance(d); err != nil {
		w.t.Fatal(err)
	}
	w.log(nil)
}

func (w *world) Send(_ context.Context, m *cell.Cell) error {
	if w.post != nil {
		return w.post(m)
	}
	return w.deliver(m)
}

func (w *world) Head(context.Context) (ton.Block, error) {
	return ton.Block{Seqno: w.chain.Last().SeqNo, Time: w.chain.Now()}, nil
}

func (w *world) Account(_ context.Context, addr *address.Address) (*ton.Account, error) {
	if w.read != nil {
		if err := w.read(); err != nil {
			return nil, err
		}
	}
	return w.look(addr)
}

// look is Account without faults.
func (w *world) look(addr *address.Address) (*ton.Account, error) {
	a, err := w.chain.Account(addr)
	if err != nil {
		return nil, err
	}
	out := &ton.Account{Address: addr, Balance: coin.FromBig(a.Balance.Nano()), At: ton.Block{Seqno: w.chain.Last().SeqNo, Time: w.chain.Now()}}
	switch a.Status {
	case tlb.AccountStatusActive:
		out.Status, out.Code, out.Data = ton.Active, a.StateInit.Code, a.StateInit.Data
	case tlb.AccountStatusUninit:
		out.Status = ton.Uninitialized
	case tlb.AccountStatusFrozen:
		out.Status = ton.Frozen
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if list := w.txs[addr.StringRaw()]; len(list) > 0 {
		out.Last = list[len(list)-1].TxID
	}
	return out, nil
}

func (w *world) Transactions(_ context.Context, addr *address.Address, newest, after ton.TxID, limit int) ([]*ton.Transaction, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []*ton.Transaction
	met := after == ton.TxID{}
	for _, tx := range w.txs[addr.StringRaw()] {
		if met && tx.LT <= newest.LT {
			list = append(list, tx)
		}
		met = met || tx.TxID == after
	}
	if !met {
		return nil, fmt.Errorf("no transaction %d", after.LT)
	}
	if len(list) > limit {
		return list[len(list)-limit:], ton.ErrGap
	}
	return list, nil
}

func (w *world) RunMethod(context.Context, *address.Address, string, ...any) ([]any, error) {
	return nil, errors.New("the driver parses states")
}

func (w *world) Params(context.Context) (*cell.Cell, error) {
	return nil, errors.New("the driver needs no configuration")
}

func (w *world) Changed(after ton.Block) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.chain.Last().SeqNo > after.Seqno {
		now := make(chan struct{})
		close(now)
		return now
	}
	return w.news
}

// node is one node wallet in the world, and its driver through all its lives.
type node struct {
	*world
	key    Key
	owner  *address.Address
	driver *Driver
	dir    string
	lives  int
	root   string
	// crash, if set, is asked at each point where a crash differs from one
	// elsewhere; true ends this life there.
	crash func(point string) bool
	dead  bool
	tear  func(n int) int // how much of an unsynced line of n bytes survives
	full  error           // what the disk says to writing
	small bool            // rewrite the journal all the time
}

var errCrash = errors.New("the process was killed")

func newNode(w *world, key byte) *node {
	n := &node{world: w, key: testKey(key), owner: stranger(200), root: fastDir(w.t), tear: func(n int) int { return n }}
	n.dir = filepath.Join(n.root, "0")
	n.open()
	return n
}

// fastDir is in memory where that is possible: crashes are played by copying
// files, so that waiting for a disk would only take time.
func fastDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "wallet-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (n *node) config() Config {
	return Config{
		Dir: n.dir, Key: n.key, Owner: n.owner, Chain: n, Now: n.chain.Now, Fault: n.point,
		MaxHour: coin.Max / 2, Reserve: coin.TON / 10, Log: testLog(n.t),
	}
}

func (n *node) open() {
	n.t.Helper()
	d, err := Open(n.config())
	if err != nil {
		n.t.Fatalf("life %d: %v", n.lives, err)
	}
	if n.small {
		d.journal.rewriteAt = 1 << 10
	}
	n.driver = d
}

// point is called by the journal, and by Send below.
func (n *node) point(name string) error {
	if n.dead {
		return errCrash
	}
	if n.full != nil && (name == "write" || name == "rename") {
		return n.full
	}
	if n.crash != nil && n.crash(name) {
		n.kill(name)
		return errCrash
	}
	return nil
}

// kill keeps what would be on disk now. A line that was not synced may be
// there, in part, or not at all.
func (n *node) kill(point string) {
	n.dead = true
	before, synced := n.dir, int64(-1)
	if point == "sync" && n.driver != nil {
		synced = n.driver.journal.end
	}
	n.lives++
	n.dir = filepath.Join(n.root, fmt.Sprint(n.lives))
	copyDir(n.t, before, n.dir)
	if synced >= 0 {
		path := filepath.Join(n.dir, journalName)
		text, err := os.ReadFile(path)
		if err != nil {
			n.t.Fatal(err)
		}
		text = text[:int(synced)+n.tear(len(text)-int(synced))]
		if err := os.WriteFile(path, text, 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
}

// revive opens the next life, if this one has ended.
func (n *node) revive() bool {
	n.t.Helper()
	if !n.dead {
		return false
	}
	n.driver.Close()
	n.dead = false
	n.open()
	return true
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// Send is where the driver's externals enter the world.
func (n *node) Send(ctx context.Context, m *cell.Cell) error {
	if err := n.point("before send"); err != nil {
		return err
	}
	err := n.world.Send(ctx, m)
	if crash := n.point("after send"); crash != nil {
		return crash
	}
	return err
}

// settle steps until nothing waits.
func (n *node) settle() {
	n.t.Helper()
	for range 200 {
		_, err := n.driver.step(context.Background())
		if n.revive() {
			continue
		}
		if err != nil && !errors.Is(err, ton.ErrRefused) {
			n.t.Fatal(err)
		}
		if len(n.driver.Pending()) == 0 {
			return
		}
		n.advance(20 * time.Second)
	}
	n.t.Fatalf("the queue does not empty: %+v", n.driver.Status())
}

func (n *node) step() error {
	_, err := n.driver.step(context.Background())
	return err
}

// sign is an order of somebody else who has the key.
func (n *node) sign(seqno uint32, messages ...*cell.Cell) *cell.Cell {
	return n.signMode(seqno, orderMode, messages...)
}

func (n *node) signMode(seqno uint32, mode uint8, messages ...*cell.Cell) *cell.Cell {
	n.t.Helper()
	o := &contract.Order{Seqno: seqno, ValidUntil: uint32(n.chain.Now().Add(time.Hour).Unix())}
	for _, m := range messages {
		o.Messages = append(o.Messages, contract.OrderMessage{Mode: mode, Cell: m})
	}
	body, err := o.Sign(n.key.Private())
	if err != nil {
		n.t.Fatal(err)
	}
	m := &tlb.ExternalMessage{DstAddr: n.driver.address, Body: body}
	if a, err := n.look(n.driver.address); err != nil || a.Status != ton.Active {
		m.StateInit = n.driver.init
	}
	external, err := tlb.ToCell(m)
	if err != nil {
		n.t.Fatal(err)
	}
	return external
}

func (n *node) seqno() uint32 {
	n.t.Helper()
	a, err := n.look(n.driver.address)
	if err != nil {
		n.t.Fatal(err)
	}
	if a.Status != ton.Active {
		return 0
	}
	s, err := contract.ParseWalletState(a.Data)
	if err != nil {
		n.t.Fatal(err)
	}
	return s.Seqno
}

// letter is a message nobody else has.
func letter(to byte, qid uint64, value coin.Nano) Message {
	return Message{To: stranger(to), Value: value, NoBounce: true, Body: cell.BeginCell().MustStoreUInt(0x600d, 32).MustStoreUInt(qid, 64).EndCell()}
}

// left lists the messages that left the wallet, ever, with this body.
func (n *node) left(m Message) (list []*ton.Message) {
	for _, tx := range n.txs[n.driver.address.StringRaw()] {
		for _, out := range tx.Out {
			if out.To.Equals(m.To) && bytes.Equal(out.Body.Hash(), m.Body.Hash()) && out.Value == m.Value {
				list = append(list, out)
			}
		}
	}
	return list
}

// arrived says that a message came to its receiver.
func (n *node) arrived(m *ton.Message) bool {
	for _, tx := range n.txs[m.To.StringRaw()] {
		if tx.In != nil && tx.In.Hash == m.Hash {
			return true
		}
	}
	return false
}

func (n *node) enqueue(m Message) *Handle {
	n.t.Helper()
	h, err := n.driver.Enqueue(context.Background(), m)
	if err != nil {
		n.t.Fatal(err)
	}
	return h
}

// exactly checks that the message left once, and that the driver says so.
func (n *node) exactly(h *Handle, m Message) {
	n.t.Helper()
	o, ok := h.Outcome()
	if !ok {
		n.t.Fatalf("message %d has no outcome", h.ID())
	}
	out := n.left(m)
	if len(out) != 1 || !o.Sent || o.Out != Hash(out[0].Hash) || o.OutLT != out[0].LT || !n.arrived(out[0]) {
		n.t.Errorf("message %d: outcome %+v; %d left the wallet, want 1 that arrived", h.ID(), o, len(out))
	}
}
