package localnet

import (
	"math/big"
	"slices"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

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
