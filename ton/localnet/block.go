package localnet

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// history is how many of the newest blocks keep their cells. Older ones are
// known by id only; transactions are kept for ever.
const history = 4096

// wholeShard is the id of a shard that was never split.
const wholeShard = -0x8000000000000000

// block is a sealed pair: a basechain block and the masterchain block that
// names it, both with the same seqno. It never changes.
type block struct {
	seq, now       uint32
	startLT, endLT uint64
	side           [2]side
}

type side struct {
	id       *ton.BlockIDExt
	root     *cell.Cell // the block; nil for the zero state
	state    *cell.Cell // after the block; nil if forgotten
	accounts *cell.AugmentedDictionary
	txs      []transaction // by account, then by logical time
}

// account returns an account as of the block, nil if it does not exist.
func (b *block) account(addr *address.Address) (*tlb.ShardAccount, error) {
	id, err := idOf(addr)
	if err != nil {
		return nil, err
	}
	value, err := b.side[id.side].accounts.LoadValue(id.key())
	if err == cell.ErrNoSuchKeyInDict {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var shard tlb.ShardAccount
	return &shard, tlb.LoadFromCell(&shard, value)
}

// genesis makes the zero state: the faucet's balance and nothing else.
func (c *Chain) genesis(now uint32) error {
	c.world = world{accounts: map[accountID]account{}}
	for side := range c.world.dicts {
		dict, err := cell.NewAugDict(256, tlb.AugShardAccounts{})
		if err != nil {
			return err
		}
		c.world.dicts[side] = dict
	}
	faucet, err := idOf(c.FaucetAddress())
	if err != nil {
		return err
	}
	rich, err := endow(faucet, tlb.MustFromTON(fmt.Sprint(c.cfg.Supply)), now)
	if err != nil {
		return err
	}
	c.world.accounts[faucet] = rich
	if err := c.world.keep(faucet, rich); err != nil {
		return err
	}
	zero := &block{now: now}
	for s := range zero.side {
		state, err := c.state(s, zero, c.world.dicts[s], nil)
		if err != nil {
			return err
		}
		zero.side[s] = side{id: blockID(s, 0, state), state: state, accounts: c.world.dicts[s].Copy()}
	}
	c.world.blocks = []*block{zero}
	return nil
}

func blockID(s int, seq uint32, root *cell.Cell) *ton.BlockIDExt {
	file := sha256.Sum256(root.ToBOC())
	return &ton.BlockIDExt{Workchain: workchains[s], Shard: wholeShard, SeqNo: seq, RootHash: root.Hash(), FileHash: file[:]}
}

// seal turns the draft into a block: durable first, visible then.
func (c *Chain) seal() (*ton.BlockIDExt, error) {
	if err := c.open(); err != nil {
		return nil, err
	}
	b, err := c.build(c.draft)
	if err != nil {
		c.broken = fmt.Errorf("localnet: seal block %d: %w", c.draft.seq, err)
		return nil, c.broken
	}
	if err := c.journal.append(c.draft, b.side[master].id.RootHash); err != nil {
		c.broken = err
		return nil, err
	}
	c.publish(b)
	return b.side[master].id.Copy(), nil
}

func (c *Chain) publish(b *block) {
	c.world.blocks = append(c.world.blocks, b)
	if old := len(c.world.blocks) - 1 - history; old > 0 {
		c.world.blocks[old] = c.world.blocks[old].forget()
	}
	c.draft = nil
	close(c.sealed)
	c.sealed = make(chan struct{})
}

// forget keeps what lookups by number and time need.
func (b *block) forget() *block {
	thin := *b
	for s := range thin.side {
		thin.side[s] = side{id: b.side[s].id}
	}
	return &thin
}

// build makes the two blocks and their states.
func (c *Chain) build(d *draft) (*block, error) {
	b := &block{seq: d.seq, now: d.now, startLT: d.startLT, endLT: c.world.lt + 1}
	c.world.lt = b.endLT
	for id := range d.changed {
		if err := c.world.keep(id, c.world.accounts[id]); err != nil {
			return nil, fmt.Errorf("account %s: %w", id.address(), err)
		}
	}
	shards := cell.NewDict(32) // the masterchain names the basechain's block
	for s := range b.side {
		if err := c.buildSide(b, s, d, shards); err != nil {
			return nil, fmt.Errorf("workchain %d: %w", workchains[s], err)
		}
	}
	return b, nil
}

func (c *Chain) buildSide(b *block, s int, d *draft, shards *cell.Dictionary) error {
	prev := c.newest()
	ids := changedOn(d, s)
	blocks, fees, err := accountBlocks(ids, d, c.world.accounts)
	if err != nil {
		return err
	}
	state, err := c.state(s, b, c.world.dicts[s], shards)
	if err != nil {
		return err
	}
	flow, err := valueFlow(prev.side[s].accounts, c.world.dicts[s], fees)
	if err != nil {
		return err
	}
	update, err := stateUpdate(prev.side[s].state, state)
	if err != nil {
		return err
	}
	extra, err := blockExtra(blocks, c.masterExtra(s, b.seq, shards))
	if err != nil {
		return err
	}
	root := cell.BeginCell().MustStoreUInt(0x11ef55aa, 32).MustStoreInt(int64(c.cfg.GlobalID), 32).
		MustStoreRef(header(s, b, prev)).MustStoreRef(flow).MustStoreRef(update).MustStoreRef(extra).EndCell()
	b.side[s] = side{id: blockID(s, b.seq, root), root: root, state: state, accounts: c.world.dicts[s].Copy()}
	for _, id := range ids {
		b.side[s].txs = append(b.side[s].txs, d.changed[id].txs...)
	}
	if s == base {
		return describe(shards, b)
	}
	return nil
}

// changedOn lists the accounts that the draft changed on one side, by address.
func changedOn(d *draft, s int) []accountID {
	var ids []accountID
	for id := range d.changed {
		if id.side == s {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b accountID) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	return ids
}
