package localnet

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"

	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// blockCapacity is how many transactions a block takes before the rest of
// the messages wait for the next one.
const blockCapacity = 1000

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
