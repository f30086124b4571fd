package localnet

import (
	"fmt"

	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// prove makes a Merkle proof of a cell that shows what visit looks at.
func prove(root *cell.Cell, visit func(traced *cell.Cell) error) (*cell.Cell, error) {
	b := cell.NewMerkleProofBuilder(root)
	if err := visit(b.Root()); err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	return b.CreateProof()
}

// stateProof is the usual pair: the block's header with the hash of its state,
// and the state as far as one account, or for the masterchain what a client
// needs: shards and configuration.
func (b *block) stateProof(s int, account *accountID) ([]*cell.Cell, error) {
	head, err := b.headerProof(s)
	if err != nil {
		return nil, err
	}
	if account == nil {
		whole, err := cell.CreateMerkleProof(b.side[s].state)
		return []*cell.Cell{head, whole}, err
	}
	part, err := prove(b.side[s].state, func(traced *cell.Cell) error {
		var state tlb.ShardStateUnsplit
		if err := tlb.Parse(&state, traced); err != nil {
			return err
		}
		// An absent account is proven by the place where it would be.
		_, _, err := state.Accounts.ShardAccounts.LoadValueExtra(account.key())
		if err == cell.ErrNoSuchKeyInDict {
			return nil
		}
		return err
	})
	return []*cell.Cell{head, part}, err
}

// headerProof shows a block's header, its state update and its extra part,
// without messages, accounts and configuration.
func (b *block) headerProof(s int) (*cell.Cell, error) {
	return prove(b.side[s].root, func(traced *cell.Cell) error {
		var parsed tlb.Block
		if err := tlb.Parse(&parsed, traced); err != nil {
			return err
		}
		_, err := parsed.StateUpdate.BeginParse()
		return err
	})
}

// transactionsProof shows the places of transactions in a block.
func (b *block) transactionsProof(s int, txs []transaction) (*cell.Cell, error) {
	return prove(b.side[s].root, func(traced *cell.Cell) error {
		var parsed tlb.Block
		if err := tlb.Parse(&parsed, traced); err != nil {
			return err
		}
		loader, err := parsed.Extra.ShardAccountBlocks.BeginParse()
		if err != nil {
			return err
		}
		var blocks tlb.ShardAccountBlocks
		if err := tlb.LoadFromCell(&blocks, loader); err != nil {
			return err
		}
		for _, tx := range txs {
			if err := visitTransaction(&blocks, tx); err != nil {
				return err
			}
		}
		return nil
	})
}

func visitTransaction(blocks *tlb.ShardAccountBlocks, tx transaction) error {
	value, _, err := blocks.Accounts.LoadValueExtra(tx.id.key())
	if err != nil {
		return err
	}
	var block tlb.AccountBlock
	if err := tlb.LoadFromCell(&block, value); err != nil {
		return err
	}
	_, _, err = block.Transactions.LoadValueExtra(cell.BeginCell().MustStoreUInt(tx.lt, 64).EndCell())
	return err
}
