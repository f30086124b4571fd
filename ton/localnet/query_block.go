package localnet

import (
	"sort"

	"github.com/xssnick/tonutils-go/tl"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

func (c *Chain) blockData(id *ton.BlockIDExt) (tl.Serializable, error) {
	b, s, err := c.find(id)
	if err != nil {
		return nil, err
	}
	return ton.BlockData{ID: id, Payload: b.side[s].root.ToBOC()}, nil
}

func (c *Chain) blockHeader(id *ton.BlockIDExt) (tl.Serializable, error) {
	b, s, err := c.find(id)
	if err != nil {
		return nil, err
	}
	proof, err := b.headerProof(s)
	if err != nil {
		return nil, err
	}
	return ton.BlockHeader{ID: id, HeaderProof: proof.ToBOC()}, nil
}

// lookupBlock finds a block by number, by logical time or by time, whichever
// bit of the mode is set: the first block that reaches it.
func (c *Chain) lookupBlock(q ton.LookupBlock) (tl.Serializable, error) {
	s, err := sideOf(q.ID.Workchain)
	if err != nil {
		return nil, fail(codeNotFound, "%v", err)
	}
	c.mu.Lock()
	blocks := c.world.blocks
	c.mu.Unlock()
	at := -1
	switch q.Mode & 7 {
	case 1:
		at = int(uint32(q.ID.Seqno))
	case 2:
		at = 1 + sort.Search(len(blocks)-1, func(i int) bool { return blocks[i+1].endLT >= q.LT })
	case 4:
		at = 1 + sort.Search(len(blocks)-1, func(i int) bool { return blocks[i+1].now >= q.UTime })
	default:
		return nil, fail(codeBad, "mode %d: want exactly one of seqno (1), logical time (2), time (4)", q.Mode)
	}
	if at < 1 || at >= len(blocks) {
		return nil, fail(codeNotFound, "block not found: the newest is %d", len(blocks)-1)
	}
	return c.foundBlock(blocks[at], s)
}

func (c *Chain) foundBlock(b *block, s int) (tl.Serializable, error) {
	reply := ton.BlockHeader{ID: b.side[s].id}
	if b.side[s].root == nil {
		return reply, nil // known by its id only
	}
	proof, err := b.headerProof(s)
	reply.HeaderProof = proof.ToBOC()
	return reply, err
}

// shards answers with the masterchain block's list of shards.
func (c *Chain) shards(id *ton.BlockIDExt) (tl.Serializable, error) {
	b, s, err := c.find(id)
	if err != nil {
		return nil, err
	}
	if s != master {
		return nil, fail(codeBad, "shards are listed in masterchain blocks")
	}
	list, err := shardHashes(b)
	if err != nil {
		return nil, err
	}
	proof, err := b.stateProof(master, nil)
	return ton.AllShardsInfo{ID: id, Proof: proof, Data: cell.BeginCell().MustStoreDict(list).EndCell()}, err
}

// shard answers with the basechain's one shard, whatever part of it was named.
func (c *Chain) shard(q ton.GetShardInfo) (tl.Serializable, error) {
	b, s, err := c.find(q.ID)
	if err != nil {
		return nil, err
	}
	if s != master || q.Workchain != workchains[base] || q.Exact && q.Shard != wholeShard {
		return nil, fail(codeNotFound, "no such shard: the basechain has one, in masterchain blocks")
	}
	list, err := shardHashes(b)
	if err != nil {
		return nil, err
	}
	tree, err := list.LoadValue(cell.BeginCell().MustStoreInt(int64(workchains[base]), 32).EndCell())
	if err != nil {
		return nil, err
	}
	leaf, err := tree.LoadRef()
	if err != nil {
		return nil, err
	}
	if _, err := leaf.LoadBoolBit(); err != nil {
		return nil, err
	}
	description, err := leaf.ToCell()
	if err != nil {
		return nil, err
	}
	proof, err := b.stateProof(master, nil)
	return ton.ShardInfo{ID: q.ID, ShardBlock: b.side[base].id, ShardProof: proof, ShardDescription: description}, err
}

// shardHashes is rebuilt: the same block always gives the same cells.
func shardHashes(b *block) (*cell.Dictionary, error) {
	list := cell.NewDict(32)
	return list, describe(list, b)
}
