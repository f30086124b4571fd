package localnet

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

const (
	// blockCapacity is how many transactions a block takes before the rest of
	// the messages wait for the next one.
	blockCapacity = 1000
	// maxBlocksPerMessage bounds the blocks that one Send seals for a message
	// whose consequences fill them; what is left goes with later blocks.
	maxBlocksPerMessage = 8
)

// RefusedError says that no transaction came of an external message: the
// contract did not accept it, or the message cannot be processed.
type RefusedError struct {
	// ExitCode is the contract's, if it ran.
	ExitCode int64
	// Reason is set if it did not run.
	Reason error
}

func (e *RefusedError) Error() string {
	if e.Reason != nil {
		return fmt.Sprintf("external message was not accepted: %v", e.Reason)
	}
	return fmt.Sprintf("external message was not accepted: the contract ended with exit code %d before accepting it", e.ExitCode)
}

func (e *RefusedError) Unwrap() error { return e.Reason }

// Trace is what a message caused: the transactions in the order of execution.
type Trace []*cell.Cell

// Transactions parses the trace.
func (t Trace) Transactions() ([]*tlb.Transaction, error) {
	all := make([]*tlb.Transaction, len(t))
	for i, root := range t {
		all[i] = new(tlb.Transaction)
		if err := tlb.Parse(all[i], root); err != nil {
			return nil, err
		}
		all[i].Hash = root.Hash()
	}
	return all, nil
}

// draft is a block being filled.
type draft struct {
	seq, now uint32
	startLT  uint64
	context  *tvm.BlockContext
	changed  map[accountID]*change
	trace    Trace        // transactions so far
	inputs   []*cell.Cell // messages that came from outside, for the journal
}

// change is what a block did to one account.
type change struct {
	before  []byte // hash of the account
	txs     []transaction
	forward *big.Int // forwarding fees that arrived with messages, for the block's validators
}

// Send executes an external message and what it causes, and seals it unless
// the chain seals by interval. It returns the transactions that ran; a
// [RefusedError] if there was none.
func (c *Chain) Send(message *cell.Cell) (Trace, error) {
	if _, err := external(message); err != nil {
		return nil, &RefusedError{Reason: err}
	}
	return c.input(message)
}

// Deliver puts an internal message on its way as if a contract had sent it,
// with no balance debited: for messages that Config.Route held back, and for
// tests that need a forged sender.
func (c *Chain) Deliver(message *cell.Cell) (Trace, error) {
	var m tlb.Message
	if err := tlb.Parse(&m, message); err != nil || m.MsgType != tlb.MsgTypeInternal {
		return nil, fmt.Errorf("localnet: deliver: not an internal message (%v)", err)
	}
	return c.input(message)
}

func external(message *cell.Cell) (*tlb.ExternalMessage, error) {
	var m tlb.Message
	if err := tlb.Parse(&m, message); err != nil {
		return nil, fmt.Errorf("not a message: %w", err)
	}
	if m.MsgType != tlb.MsgTypeExternalIn {
		return nil, fmt.Errorf("a message of type %s, want an inbound external one", m.MsgType)
	}
	return m.AsExternalIn(), nil
}

// input takes a message from outside, makes room for it, and seals on demand.
func (c *Chain) input(message *cell.Cell) (Trace, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draft != nil && len(c.draft.trace) >= blockCapacity {
		if err := c.sealDraft(); err != nil {
			return nil, err
		}
	}
	trace, err := c.accept(message)
	if err != nil || c.cfg.Interval > 0 {
		return trace, err
	}
	if _, err := c.seal(); err != nil {
		return trace, err
	}
	for n := 1; n < maxBlocksPerMessage && len(c.world.queue) > 0; n++ {
		if err := c.open(); err != nil {
			return trace, err
		}
		trace = append(trace, c.draft.trace...)
		if _, err := c.seal(); err != nil {
			return trace, err
		}
	}
	return trace, nil
}

// accept executes a message from outside in the current draft.
func (c *Chain) accept(message *cell.Cell) (Trace, error) {
	lt := c.world.lt
	if err := c.open(); err != nil {
		return nil, err
	}
	before := len(c.draft.trace)
	if err := c.execute(message); err != nil {
		if before == 0 { // leave no trace of it: an open block has a fixed time
			c.draft, c.world.lt = nil, lt
		}
		return nil, err
	}
	c.draft.inputs = append(c.draft.inputs, message)
	c.drain()
	return slices.Clone(c.draft.trace[before:]), nil
}

// open begins a block if none is begun, at the present time, and delivers
// what earlier blocks left over.
func (c *Chain) open() error {
	if c.draft != nil {
		return nil
	}
	return c.openAt(max(uint32(c.now().Unix()), c.newest().now))
}

func (c *Chain) openAt(now uint32) error {
	if c.broken != nil {
		return c.broken
	}
	head := c.newest()
	d := &draft{seq: head.seq + 1, now: now, startLT: nextStart(c.world.lt), changed: map[accountID]*change{}}
	seed := sha256.Sum256(binary.BigEndian.AppendUint32(c.cfg.derive("block"), d.seq))
	context, err := c.params.NewBlockContext(tvm.BlockOptions{Now: now, BlockLT: int64(d.startLT), RandSeed: seed[:], GlobalID: c.cfg.GlobalID})
	if err != nil {
		return fmt.Errorf("localnet: begin block %d: %w", d.seq, err)
	}
	d.context = context
	c.draft, c.world.lt = d, d.startLT
	c.drain()
	return nil
}

// nextStart is where the next block's logical time begins: real chains step
// by a million.
func nextStart(lt uint64) uint64 { return (lt/1_000_000 + 1) * 1_000_000 }

// drain delivers internal messages, in the order they were sent, until none
// is left or the block is full.
func (c *Chain) drain() {
	for len(c.world.queue) > 0 && len(c.draft.trace) < blockCapacity {
		next := c.world.queue[0]
		c.world.queue = c.world.queue[1:]
		if err := c.execute(next); err != nil {
			// Nobody is there to be told: the message and its value are lost.
			c.cfg.Log.Error("localnet: an internal message could not be processed", "block", c.draft.seq, "err", err)
		}
	}
}

// execute runs one message in the draft and queues what it sends.
func (c *Chain) execute(message *cell.Cell) error {
	prepared, err := tvm.PrepareMessage(message)
	if err != nil {
		return &RefusedError{Reason: err}
	}
	id, err := idOf(destination(prepared.Message()))
	if err != nil {
		return &RefusedError{Reason: err}
	}
	a, err := c.account(id)
	if err != nil {
		return &RefusedError{Reason: err}
	}
	options := tvm.TransactionOptions{LogicalTime: int64(c.world.lt), AccountStorageStat: a.stat}
	result, err := c.vm.EmulateTransaction(c.draft.context, a.prepared, prepared, options)
	if err != nil {
		return &RefusedError{Reason: err}
	}
	if result.TransactionCell == nil {
		return &RefusedError{ExitCode: result.ExitCode}
	}
	c.commit(id, a, prepared.Message(), result)
	return nil
}

func destination(m *tlb.Message) *address.Address {
	switch m := m.Msg.(type) {
	case *tlb.ExternalMessage:
		return m.DstAddr
	case *tlb.InternalMessage:
		return m.DstAddr
	}
	return nil
}

// commit makes a transaction part of the draft.
func (c *Chain) commit(id accountID, a account, in *tlb.Message, result *tvm.TransactionExecutionResult) {
	d := c.draft
	ch := d.changed[id]
	if ch == nil {
		ch = &change{before: a.prepared.ShardAccount().Account.Hash(), forward: new(big.Int)}
		d.changed[id] = ch
	}
	tx := transaction{id: id, lt: result.NextAccount.ShardAccount().LastTransLT, seq: d.seq, cell: result.TransactionCell}
	ch.txs = append(ch.txs, tx)
	if in.MsgType == tlb.MsgTypeInternal {
		ch.forward.Add(ch.forward, in.AsInternal().FwdFee.Nano())
	}
	d.trace = append(d.trace, tx.cell)
	c.world.accounts[id] = account{prepared: result.NextAccount, stat: result.AccountStorageStat, txs: append(a.txs, tx)}
	c.world.lt = max(c.world.lt, result.EndLT)
	for _, out := range result.OutMessages {
		if out.Msg.MsgType == tlb.MsgTypeInternal {
			c.world.queue = append(c.world.queue, c.route(out.Cell)...)
		}
	}
}

func (c *Chain) route(message *cell.Cell) []*cell.Cell {
	if c.cfg.Route == nil {
		return []*cell.Cell{message}
	}
	return c.cfg.Route(message)
}

// Seal closes the block being filled, or an empty one, and returns the new
// masterchain block.
func (c *Chain) Seal() (*ton.BlockIDExt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seal()
}

// sealDraft seals only if something is under way.
func (c *Chain) sealDraft() error {
	if c.draft == nil {
		return c.broken
	}
	_, err := c.seal()
	return err
}

// Emulate predicts what Send would do at this moment, fees and effects, and
// changes nothing. A Config.Route sees the messages of the prediction too.
func (c *Chain) Emulate(message *cell.Cell) (Trace, error) {
	if _, err := external(message); err != nil {
		return nil, &RefusedError{Reason: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	world, draft := c.world, c.draft
	defer func() { c.world, c.draft = world, draft }()
	c.world, c.draft = world.copy(), draft.copy()
	return c.accept(message)
}

func (d *draft) copy() *draft {
	if d == nil {
		return nil
	}
	fork := *d
	fork.trace, fork.inputs = slices.Clip(d.trace), slices.Clip(d.inputs)
	fork.changed = make(map[accountID]*change, len(d.changed))
	for id, ch := range d.changed {
		fork.changed[id] = &change{before: ch.before, txs: slices.Clip(ch.txs), forward: new(big.Int).Set(ch.forward)}
	}
	return &fork
}
