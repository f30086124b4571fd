package localnet

import (
	"math/big"

	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// The cells of blocks and states, field by field as block.tlb has them. What
// this chain does not have is written as its empty form.

// noCurrency appends a CurrencyCollection of zero.
func noCurrency(b *cell.Builder) *cell.Builder {
	return b.MustStoreUInt(0, 4).MustStoreBoolBit(false)
}

func currency(b *cell.Builder, coins tlb.Coins) *cell.Builder {
	return b.MustStoreBigCoins(coins.Nano()).MustStoreBoolBit(false)
}

// shardIdent is ShardIdent of a whole workchain.
func shardIdent(workchain int32) *cell.Builder {
	return cell.BeginCell().MustStoreUInt(0, 2).MustStoreUInt(0, 6).MustStoreInt(int64(workchain), 32).MustStoreUInt(0, 64)
}

// blockRef is ExtBlkRef.
func blockRef(id *ton.BlockIDExt, endLT uint64) *cell.Builder {
	return cell.BeginCell().MustStoreUInt(endLT, 64).MustStoreUInt(uint64(id.SeqNo), 32).
		MustStoreSlice(id.RootHash, 256).MustStoreSlice(id.FileHash, 256)
}

// header is BlockInfo. The first masterchain block is the key block.
func header(s int, b, prev *block) *cell.Cell {
	keySeq := uint64(0)
	if b.seq > 1 {
		keySeq = 1
	}
	h := cell.BeginCell().MustStoreUInt(0x9bc7a987, 32).MustStoreUInt(0, 32).
		MustStoreBoolBit(s != master).               // not_master
		MustStoreUInt(0, 5).                         // merges and splits
		MustStoreBoolBit(s == master && b.seq == 1). // key_block
		MustStoreBoolBit(false).MustStoreUInt(0, 8). // vert_seqno_incr, flags
		MustStoreUInt(uint64(b.seq), 32).MustStoreUInt(0, 32).
		MustStoreBuilder(shardIdent(workchains[s])).
		MustStoreUInt(uint64(b.now), 32).MustStoreUInt(b.startLT, 64).MustStoreUInt(b.endLT, 64).
		MustStoreUInt(0, 32).MustStoreUInt(0, 32). // validators, catchain
		MustStoreUInt(uint64(b.seq-1), 32).MustStoreUInt(keySeq, 32)
	if s != master {
		h.MustStoreRef(blockRef(prev.side[master].id, prev.endLT).EndCell())
	}
	return h.MustStoreRef(blockRef(prev.side[s].id, prev.endLT).EndCell()).EndCell()
}

// state is ShardStateUnsplit.
func (c *Chain) state(s int, b *block, accounts *cell.AugmentedDictionary, shards *cell.Dictionary) (*cell.Cell, error) {
	dict, err := accounts.ToCell()
	if err != nil {
		return nil, err
	}
	total, err := balance(accounts)
	if err != nil {
		return nil, err
	}
	// An empty dictionary with its sum, an empty list, no dispatch queue.
	noQueue := cell.BeginCell().MustStoreBoolBit(false).MustStoreUInt(0, 64).MustStoreBoolBit(false).MustStoreBoolBit(false).EndCell()
	stats := currency(cell.BeginCell().MustStoreUInt(0, 128), total)
	noCurrency(stats).MustStoreBoolBit(false).MustStoreBoolBit(false) // fees, libraries, master_ref
	root := cell.BeginCell().MustStoreUInt(0x9023afe2, 32).MustStoreInt(int64(c.cfg.GlobalID), 32).
		MustStoreBuilder(shardIdent(workchains[s])).
		MustStoreUInt(uint64(b.seq), 32).MustStoreUInt(0, 32).
		MustStoreUInt(uint64(b.now), 32).MustStoreUInt(b.endLT, 64).MustStoreUInt(uint64(b.seq), 32).
		MustStoreRef(noQueue).MustStoreBoolBit(false).MustStoreRef(dict).MustStoreRef(stats.EndCell())
	if s != master {
		return root.MustStoreMaybeRef(nil).EndCell(), nil
	}
	return root.MustStoreMaybeRef(c.masterState(shards, total)).EndCell(), nil
}

// masterState is McStateExtra: the shards and the configuration.
func (c *Chain) masterState(shards *cell.Dictionary, total tlb.Coins) *cell.Cell {
	info := cell.BeginCell().MustStoreUInt(0, 16).
		MustStoreUInt(0, 65).                           // validators
		MustStoreBoolBit(false).                        // no previous blocks,
		MustStoreBoolBit(false).MustStoreUInt(0, 64).   // their key and logical time
		MustStoreBoolBit(false).MustStoreBoolBit(false) // after_key_block, last_key_block
	extra := cell.BeginCell().MustStoreUInt(0xcc26, 16).MustStoreDict(shards).
		MustStoreSlice(make([]byte, 32), 256).MustStoreRef(c.root).MustStoreRef(info.EndCell())
	return currency(extra, total).EndCell()
}

// masterExtra is McBlockExtra, nil for other blocks.
func (c *Chain) masterExtra(s int, seq uint32, shards *cell.Dictionary) *cell.Cell {
	if s != master {
		return nil
	}
	key := seq == 1
	extra := cell.BeginCell().MustStoreUInt(0xcca5, 16).MustStoreBoolBit(key).MustStoreDict(shards).MustStoreBoolBit(false)
	noCurrency(noCurrency(extra)).MustStoreRef(cell.BeginCell().MustStoreUInt(0, 3).EndCell())
	if key {
		extra.MustStoreSlice(make([]byte, 32), 256).MustStoreRef(c.root)
	}
	return extra.EndCell()
}

// describe adds the ShardDescr of the basechain block to the shard hashes.
func describe(shards *cell.Dictionary, b *block) error {
	id := b.side[base].id
	noFees := noCurrency(noCurrency(cell.BeginCell())).EndCell()
	leaf := cell.BeginCell().MustStoreBoolBit(false). // a tree of one leaf
								MustStoreUInt(0xa, 4).MustStoreUInt(uint64(b.seq), 32).MustStoreUInt(uint64(b.seq), 32).
								MustStoreUInt(b.startLT, 64).MustStoreUInt(b.endLT, 64).
								MustStoreSlice(id.RootHash, 256).MustStoreSlice(id.FileHash, 256).
								MustStoreUInt(0, 8).MustStoreUInt(0, 32).MustStoreUInt(1<<63, 64).
								MustStoreUInt(uint64(b.seq-1), 32).MustStoreUInt(uint64(b.now), 32).
								MustStoreBoolBit(false).MustStoreRef(noFees).EndCell()
	return shards.SetIntKey(big.NewInt(int64(workchains[base])), cell.BeginCell().MustStoreRef(leaf).EndCell())
}

// accountBlocks is ShardAccountBlocks, every transaction of the block by
// account and logical time, and the fees that the block collects: those of the
// transactions, which the dictionary sums up, and those of the messages that
// arrived.
func accountBlocks(ids []accountID, d *draft, after map[accountID]account) (root *cell.Cell, fees tlb.Coins, err error) {
	all, err := cell.NewAugDict(256, tlb.AugShardAccountBlocks{})
	if err != nil {
		return nil, fees, err
	}
	total := new(big.Int)
	for _, id := range ids {
		one, err := accountBlock(id, d.changed[id], after[id])
		if err != nil {
			return nil, fees, err
		}
		if err := all.Set(id.key(), one); err != nil {
			return nil, fees, err
		}
		total.Add(total, d.changed[id].forward)
	}
	if root, err = all.ToCell(); err != nil {
		return nil, fees, err
	}
	extra, err := all.LoadRootExtra()
	if err != nil {
		return nil, fees, err
	}
	var sum tlb.CurrencyCollection
	err = tlb.LoadFromCell(&sum, extra)
	return root, tlb.FromNanoTON(total.Add(total, sum.Coins.Nano())), err
}

func accountBlock(id accountID, ch *change, after account) (*cell.Cell, error) {
	txs, err := tlb.NewAccountTransactionsAugDict()
	if err != nil {
		return nil, err
	}
	for _, tx := range ch.txs {
		if err := txs.SetIntKey(new(big.Int).SetUint64(tx.lt), cell.BeginCell().MustStoreRef(tx.cell).EndCell()); err != nil {
			return nil, err
		}
	}
	inline, err := txs.InlineCell()
	if err != nil {
		return nil, err
	}
	update := cell.BeginCell().MustStoreUInt(0x72, 8).MustStoreSlice(ch.before, 256).
		MustStoreSlice(after.prepared.ShardAccount().Account.Hash(), 256)
	return cell.BeginCell().MustStoreUInt(5, 4).MustStoreSlice(id.hash[:], 256).
		MustStoreBuilder(inline.ToBuilder()).MustStoreRef(update.EndCell()).EndCell(), nil
}

func blockExtra(accounts, custom *cell.Cell) (*cell.Cell, error) {
	in, err := tlb.NewInMsgDescrAugDict()
	if err != nil {
		return nil, err
	}
	out, err := tlb.NewOutMsgDescrAugDict()
	if err != nil {
		return nil, err
	}
	noIn, err := in.ToCell()
	if err != nil {
		return nil, err
	}
	noOut, err := out.ToCell()
	if err != nil {
		return nil, err
	}
	return cell.BeginCell().MustStoreUInt(0x4a33f6fd, 32).MustStoreRef(noIn).MustStoreRef(noOut).MustStoreRef(accounts).
		MustStoreSlice(make([]byte, 32), 256).MustStoreSlice(make([]byte, 32), 256).MustStoreMaybeRef(custom).EndCell(), nil
}

// valueFlow is ValueFlow: what the accounts held before and after, and the fees.
func valueFlow(before, after *cell.AugmentedDictionary, fees tlb.Coins) (*cell.Cell, error) {
	from, err := balance(before)
	if err != nil {
		return nil, err
	}
	to, err := balance(after)
	if err != nil {
		return nil, err
	}
	moved := currency(currency(cell.BeginCell(), from), to)
	noCurrency(noCurrency(moved)) // imported, exported
	flow := currency(cell.BeginCell().MustStoreUInt(0xb8e48dfb, 32).MustStoreRef(moved.EndCell()), fees)
	none := noCurrency(noCurrency(noCurrency(noCurrency(cell.BeginCell())))) // imported fees, recovered, created, minted
	return flow.MustStoreRef(none.EndCell()).EndCell(), nil
}

// stateUpdate names the states before and after by hash only: see the
// package comment.
func stateUpdate(before, after *cell.Cell) (*cell.Cell, error) {
	old, err := pruned(before)
	if err != nil {
		return nil, err
	}
	next, err := pruned(after)
	if err != nil {
		return nil, err
	}
	return cell.CreateMerkleUpdate(old, next)
}

// pruned is the pruned branch that stands for an ordinary cell.
func pruned(c *cell.Cell) (*cell.Cell, error) {
	return cell.BeginCell().MustStoreUInt(uint64(cell.PrunedCellType), 8).MustStoreUInt(1, 8).
		MustStoreSlice(c.Hash(), 256).MustStoreUInt(uint64(c.Depth()), 16).EndCellSpecial(true)
}
