package sim

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	"runtime"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// chain is the local chain, one message at a time: what contracts send waits
// until the scheduler delivers it, in any order that a real chain allows, and
// nobody sees a block before it is sealed. It belongs to the scheduler.
type chain struct {
	e   *economy
	net *localnet.Chain

	transit []*ton.Message // sent and not delivered, oldest first
	cells   map[[32]byte]*cell.Cell
	routed  []*cell.Cell // by the transaction that runs

	unsealed []*ton.Transaction
	opened   time.Time // of the block that is being filled; zero if there is none
	head     ton.Block

	late     []lateExternal
	stalled  bool // no blocks
	accounts map[string]*ton.Account

	mu    sync.Mutex // guards all below, which nodes use
	txs   map[string][]*ton.Transaction
	calls []*call
	news  chan struct{}
	seen  ton.Block
}

// lateExternal is a message from outside that is still on its way.
type lateExternal struct {
	from string
	cell *cell.Cell
}

// A call is a node's question to the chain. It waits until the scheduler answers.
type call struct {
	node    *node
	what    string // for the story, and the order of calls
	send    *cell.Cell
	answer  func() (any, error)
	replies chan reply
}

type reply struct {
	value any
	err   error
}

func newChain(e *economy) *chain {
	c := &chain{e: e, cells: map[[32]byte]*cell.Cell{}, txs: map[string][]*ton.Transaction{}, news: make(chan struct{}), accounts: map[string]*ton.Account{}}
	var err error
	c.net, err = localnet.New(localnet.Config{
		Seed: [32]byte{1, byte(e.seed), byte(e.seed >> 8), byte(e.seed >> 16), byte(e.seed >> 24)}, Interval: time.Hour, Supply: supply,
		Route: func(m *cell.Cell) []*cell.Cell { c.routed = append(c.routed, m); return nil },
	})
	e.must(err)
	c.head = ton.Block{Seqno: c.net.Last().SeqNo, Time: time.Unix(time.Now().Unix(), 0)}
	return c
}

// supply is what there is, in TON.
const supply = 1_000_000

// external brings a message from outside to the chain.
func (c *chain) external(m *cell.Cell) error {
	trace, err := c.net.Send(m)
	var refused *localnet.RefusedError
	if errors.As(err, &refused) {
		return &ton.RefusedError{Ran: refused.Reason == nil, ExitCode: int32(refused.ExitCode), Reason: fmt.Sprint(refused.Reason)}
	}
	c.e.must(err)
	c.happened(trace)
	return nil
}

// deliver brings a message in transit to its receiver.
func (c *chain) deliver(i int) {
	m := c.transit[i]
	c.transit = slices.Delete(c.transit, i, i+1)
	root := c.cells[m.Hash]
	delete(c.cells, m.Hash)
	trace, err := c.net.Deliver(root)
	c.e.must(err)
	c.happened(trace)
}

func (c *chain) happened(trace localnet.Trace) {
	if c.opened.IsZero() {
		c.opened = time.Now()
	}
	for _, root := range trace {
		tx, err := ton.ParseTransaction(0, root)
		c.e.must(err)
		c.unsealed = append(c.unsealed, tx)
		c.e.book.transaction(tx)
	}
	for _, root := range c.routed {
		m, err := ton.ParseMessage(root)
		c.e.must(err)
		c.transit, c.cells[m.Hash] = append(c.transit, m), root
	}
	c.routed = nil
}

// ready lists messages that may be delivered next: the first between each two accounts.
func (c *chain) ready() (list []int) {
	met := map[string]bool{}
	for i, m := range c.transit {
		pair := m.From.StringRaw() + m.To.StringRaw()
		if !met[pair] {
			list = append(list, i)
		}
		met[pair] = true
	}
	return list
}

// seal makes everything up to now visible.
func (c *chain) seal() {
	at := max(c.head.Time.Unix(), time.Now().Unix())
	if !c.opened.IsZero() {
		at = max(c.head.Time.Unix(), c.opened.Unix())
	}
	id, err := c.net.Seal()
	c.e.must(err)
	c.head, c.opened = ton.Block{Seqno: id.SeqNo, Time: time.Unix(at, 0)}, time.Time{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tx := range c.unsealed {
		key := tx.Account.StringRaw()
		c.txs[key] = append(c.txs[key], tx)
		delete(c.accounts, key)
	}
	c.unsealed, c.seen = nil, c.head
	close(c.news)
	c.news = make(chan struct{})
}

// look is an account as of the newest block.
func (c *chain) look(addr *address.Address) *ton.Account {
	key := addr.StringRaw()
	out, ok := c.accounts[key]
	if !ok {
		a, err := c.net.Account(addr)
		c.e.must(err)
		out = &ton.Account{Address: addr, Balance: coin.FromBig(a.Balance.Nano())}
		switch a.Status {
		case tlb.AccountStatusActive:
			out.Status, out.Code, out.Data = ton.Active, a.StateInit.Code, a.StateInit.Data
		case tlb.AccountStatusUninit:
			out.Status = ton.Uninitialized
		case tlb.AccountStatusFrozen:
			out.Status = ton.Frozen
		}
		if list := c.txs[key]; len(list) > 0 {
			out.Last = list[len(list)-1].TxID
		}
		c.accounts[key] = out
	}
	again := *out
	again.At, again.Time = c.head, c.head.Time
	return &again
}

func (c *chain) list(addr *address.Address, newest, after ton.TxID, limit int) ([]*ton.Transaction, error) {
	var list []*ton.Transaction
	met := after == ton.TxID{}
	for _, tx := range c.txs[addr.StringRaw()] {
		if met && tx.LT <= newest.LT {
			list = append(list, tx)
		}
		met = met || tx.TxID == after
	}
	if !met {
		return nil, fmt.Errorf("no transaction %d: %w", after.LT, ton.ErrCursor)
	}
	if len(list) > limit {
		return list[len(list)-limit:], ton.ErrGap
	}
	return list, nil
}

func (c *chain) total() *big.Int {
	sum, err := c.net.Total()
	c.e.must(err)
	return sum
}

// port is the chain as one process of a node sees it. It is a ton.Chain.
type port struct {
	c    *chain
	node *node
	life int
}

var _ ton.Chain = (*port)(nil)

var errDead = errors.New("the process was killed")

// ask waits for the scheduler.
func (p *port) ask(ctx context.Context, what string, send *cell.Cell, answer func() (any, error)) (any, error) {
	p.c.e.baton.Load()
	q := &call{node: p.node, what: what + caller(), send: send, answer: answer, replies: make(chan reply, 1)}
	p.c.mu.Lock()
	if p.node.life != p.life || p.node.dead {
		p.c.mu.Unlock()
		return nil, errDead
	}
	p.c.calls = append(p.c.calls, q)
	p.c.mu.Unlock()
	select {
	case r := <-q.replies:
		return r.value, r.err
	case <-ctx.Done():
		p.c.mu.Lock()
		defer p.c.mu.Unlock()
		p.c.calls = slices.DeleteFunc(p.c.calls, func(o *call) bool { return o == q })
		return nil, fmt.Errorf("%w: %w", ton.ErrUnreachable, ctx.Err())
	}
}

// caller names whose question it is, so that two of one node for the same
// account are told apart in the same way each time.
func caller() string {
	var pcs [8]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs[:])])
	var names []string
	for {
		f, more := frames.Next()
		if _, name, ok := strings.Cut(f.Function, "/cocoon/"); ok {
			names = append(names, name)
		}
		if !more || len(names) == 3 {
			return " for " + strings.Join(names, "<")
		}
	}
}

func (p *port) Head(ctx context.Context) (ton.Block, error) {
	v, err := p.ask(ctx, "head", nil, func() (any, error) { return p.c.head, nil })
	if err != nil {
		return ton.Block{}, err
	}
	return v.(ton.Block), nil
}

func (p *port) Account(ctx context.Context, addr *address.Address) (*ton.Account, error) {
	p.c.e.baton.Load()
	v, err := p.ask(ctx, "reads "+p.c.e.called(addr), nil, func() (any, error) { return p.c.look(addr), nil })
	if err != nil {
		return nil, err
	}
	return v.(*ton.Account), nil
}

func (p *port) Transactions(ctx context.Context, addr *address.Address, newest, after ton.TxID, limit int) ([]*ton.Transaction, error) {
	p.c.e.baton.Load()
	what := fmt.Sprintf("lists %s", p.c.e.called(addr))
	var list []*ton.Transaction
	_, err := p.ask(ctx, what, nil, func() (any, error) {
		var err error
		list, err = p.c.list(addr, newest, after, limit)
		return nil, err
	})
	return list, err
}

func (p *port) Send(ctx context.Context, m *cell.Cell) error {
	_, err := p.ask(ctx, "sends", m, nil)
	return err
}

func (p *port) RunMethod(context.Context, *address.Address, string, ...any) ([]any, error) {
	return nil, errors.New("nobody asks for this")
}

func (p *port) Params(context.Context) (*cell.Cell, error) {
	return nil, errors.New("nobody asks for this")
}

func (p *port) Changed(after ton.Block) <-chan struct{} {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if p.c.seen.Seqno > after.Seqno {
		now := make(chan struct{})
		close(now)
		return now
	}
	return p.c.news
}

// pending lists the calls in an order that does not depend on who came first.
func (c *chain) pending() []*call {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortStableFunc(c.calls, func(a, b *call) int {
		if n := strings.Compare(a.node.name, b.node.name); n != 0 {
			return n
		}
		return strings.Compare(a.what, b.what)
	})
	return slices.Clone(c.calls)
}

// done answers a call.
func (c *chain) done(q *call, value any, err error) {
	c.mu.Lock()
	c.calls = slices.DeleteFunc(c.calls, func(o *call) bool { return o == q })
	c.mu.Unlock()
	q.replies <- reply{value, err}
}
