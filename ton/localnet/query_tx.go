package localnet

import (
	"bytes"
	"slices"
	"sort"

	"github.com/xssnick/tonutils-go/tl"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// What one answer may hold, as with real servers.
const (
	maxTransactions      = 16
	maxBlockTransactions = 256
)

// transactions answers with an account's history, from a transaction that the
// client names back in time.
func (c *Chain) transactions(q ton.GetTransactions) (tl.Serializable, error) {
	id, err := accountOf(*q.AccID)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	txs := c.world.accounts[id].txs
	from := sort.Search(len(txs), func(i int) bool { return txs[i].lt >= uint64(q.LT) })
	if from == len(txs) || txs[from].lt != uint64(q.LT) || int(txs[from].seq) >= len(c.world.blocks) {
		return nil, fail(codeRefused, "cannot locate transaction in block with specified logical time")
	}
	if !bytes.Equal(txs[from].cell.Hash(), q.TxHash) {
		return nil, fail(codeBad, "transaction hash mismatch")
	}
	reply := ton.TransactionList{}
	var roots []*cell.Cell
	for i := from; i >= 0 && len(roots) < int(min(q.Limit, maxTransactions)); i-- {
		roots = append(roots, txs[i].cell)
		reply.IDs = append(reply.IDs, c.world.blocks[txs[i].seq].side[id.side].id)
	}
	if len(roots) > 0 {
		reply.Transactions = cell.ToBOCWithOptions(roots, cell.BOCSerializeOptions{WithCRC32C: true})
	}
	return reply, nil
}

// oneTransaction answers with a transaction and its proof by its block.
func (c *Chain) oneTransaction(q ton.GetOneTransaction) (tl.Serializable, error) {
	b, s, err := c.find(q.ID)
	if err != nil {
		return nil, err
	}
	id, err := accountOf(*q.AccID)
	if err != nil {
		return nil, err
	}
	txs := b.side[s].txs
	i := slices.IndexFunc(txs, func(tx transaction) bool { return tx.id == id && tx.lt == uint64(q.LT) })
	if i < 0 {
		return ton.TransactionInfo{ID: q.ID}, nil
	}
	proof, err := b.transactionsProof(s, txs[i:i+1])
	if err != nil {
		return nil, err
	}
	return ton.TransactionInfo{ID: q.ID, Proof: proof.ToBOC(), Transaction: txs[i].cell.ToBOC()}, nil
}

// Bits of listBlockTransactions' mode.
const (
	modeReverse = 1 << 6
	modeAfter   = 1 << 7
	modeProof   = 1 << 5
)

// listTransactions answers with the ids of a block's transactions, page by page.
func (c *Chain) listTransactions(q ton.ListBlockTransactions) (tl.Serializable, error) {
	b, s, err := c.find(q.ID)
	if err != nil {
		return nil, err
	}
	txs := slices.Clone(b.side[s].txs)
	if q.Mode&modeReverse != 0 {
		slices.Reverse(txs)
	}
	if q.Mode&modeAfter != 0 && q.After != nil {
		txs = after(txs, q.After, q.Mode&modeReverse != 0)
	}
	page := txs[:min(len(txs), int(min(q.Count, maxBlockTransactions)))]
	reply := ton.BlockTransactions{ID: q.ID, ReqCount: int32(q.Count), Incomplete: len(page) < len(txs)}
	for _, tx := range page {
		reply.TransactionIds = append(reply.TransactionIds, shortID(q.Mode&7, tx))
	}
	if q.Mode&modeProof != 0 {
		reply.Proof, err = b.transactionsProof(s, page)
	}
	return reply, err
}

// after drops what comes up to a transaction, in the order of the list.
func after(txs []transaction, last *ton.TransactionID3, reverse bool) []transaction {
	i := slices.IndexFunc(txs, func(tx transaction) bool {
		order := bytes.Compare(tx.id.hash[:], last.Account)
		beyond := order > 0 || order == 0 && tx.lt > last.LT
		before := order < 0 || order == 0 && tx.lt < last.LT
		return beyond && !reverse || before && reverse
	})
	if i < 0 {
		return nil
	}
	return txs[i:]
}

func shortID(mode uint32, tx transaction) ton.TransactionID {
	return ton.TransactionID{Flags: mode, Account: tx.id.hash[:], LT: tx.lt, Hash: tx.cell.Hash()}
}
