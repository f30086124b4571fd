package localnet

import (
	"github.com/xssnick/tonutils-go/tl"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// view is an account at a block, with what proves it.
type view struct {
	id    accountID
	block *block
	asked int // the side whose block the client named
	shard *tlb.ShardAccount
}

func (c *Chain) view(at *ton.BlockIDExt, account ton.AccountID) (*view, error) {
	b, s, err := c.find(at)
	if err != nil {
		return nil, err
	}
	id, err := accountOf(account)
	if err != nil {
		return nil, err
	}
	if s == base && id.side == master {
		return nil, fail(codeBad, "a basechain block does not know masterchain accounts")
	}
	shard, err := b.account(id.address())
	return &view{id: id, block: b, asked: s, shard: shard}, err
}

func (v *view) shardBlock() *ton.BlockIDExt { return v.block.side[v.id.side].id }

// shardProof proves the account's block by the masterchain's state; nothing
// if the client named the account's own block.
func (v *view) shardProof() ([]*cell.Cell, error) {
	if v.asked == v.id.side {
		return nil, nil
	}
	return v.block.stateProof(master, nil)
}

// proof proves the account, or that there is none, by its block.
func (v *view) proof() ([]*cell.Cell, error) { return v.block.stateProof(v.id.side, &v.id) }

func (c *Chain) accountState(at *ton.BlockIDExt, account ton.AccountID) (tl.Serializable, error) {
	v, err := c.view(at, account)
	if err != nil {
		return nil, err
	}
	reply := ton.AccountState{ID: at, Shard: v.shardBlock()}
	if reply.ShardProof, err = v.shardProof(); err != nil {
		return nil, err
	}
	if reply.Proof, err = v.proof(); err != nil {
		return nil, err
	}
	if v.shard != nil {
		reply.State = v.shard.Account
	}
	return reply, nil
}

// configInfo answers with the whole configuration, which is small; a client
// that asked for some of it picks them out.
func (c *Chain) configInfo(at *ton.BlockIDExt, mode int32) (tl.Serializable, error) {
	b, s, err := c.find(at)
	if err != nil {
		return nil, err
	}
	if s != master {
		return nil, fail(codeBad, "the configuration is in masterchain blocks")
	}
	proof, err := b.stateProof(master, nil)
	if err != nil {
		return nil, err
	}
	return ton.ConfigAll{Mode: int(mode), ID: at, StateProof: proof[0].ToBOC(), ConfigProof: proof[1].ToBOC()}, nil
}
