package ton

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/xssnick/tonutils-go/address"
	tonapi "github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// page is how many transactions a liteserver gives at a time.
const page = 16

// Transactions lists an account's transactions from newest down to, not
// including, after; oldest first. The newest should come from a proven account:
// each transaction names the hash of the one before, so all are as good as it.
//
// With more than limit of them, if servers no longer keep the oldest, or if the
// account was deleted in between, it returns what there is and [ErrGap].
func (c *Client) Transactions(ctx context.Context, addr *address.Address, newest, after TxID, limit int) ([]*Transaction, error) {
	var list []*Transaction
	doing := "list transactions of " + addr.String()
	at := newest
	for at.LT > after.LT {
		if len(list) > limit {
			return backwards(list, limit), fmt.Errorf("ton: %s: %w: more than %d since %d", doing, ErrGap, limit, after.LT)
		}
		var got []*Transaction
		var next TxID
		err := c.ask(ctx, doing, func(ctx context.Context, s server) (err error) {
			got, next, err = c.readPage(ctx, s, addr, at)
			return err
		})
		var failed *UnreachableError
		if errors.As(err, &failed) && failed.lacking {
			return backwards(list, limit), fmt.Errorf("ton: %s: %w: servers do not have transaction %d: %w", doing, ErrGap, at.LT, err)
		}
		if err != nil {
			return nil, err
		}
		end := slices.IndexFunc(got, func(tx *Transaction) bool { return tx.LT <= after.LT })
		if end >= 0 {
			next, got = got[end].TxID, got[:end]
		}
		list, at = append(list, got...), next
	}
	if at == (TxID{}) && after.LT > 0 {
		return backwards(list, limit), fmt.Errorf("ton: %s: %w: the account was deleted and began anew after %d", doing, ErrGap, after.LT)
	}
	if at != after {
		return nil, fmt.Errorf("ton: %s: %w: want %d with hash %x…, it has %d with %x…", doing, ErrCursor, after.LT, after.Hash[:4], at.LT, at.Hash[:4])
	}
	if len(list) > limit {
		return backwards(list, limit), fmt.Errorf("ton: %s: %w: more than %d since %d", doing, ErrGap, limit, after.LT)
	}
	return backwards(list, limit), nil
}

// backwards turns newest first into oldest first, and keeps the newest limit.
func backwards(list []*Transaction, limit int) []*Transaction {
	list = list[:min(len(list), max(0, limit))]
	slices.Reverse(list)
	return list
}

// What liteservers answer when they lack something.
const (
	codeBad      = -400
	codeNotFound = 651
)

// readPage reads some transactions, newest first, the first as named. It also
// returns which one is before them. A server is asked as of the head, or one
// that is behind would say that it lacks the newest.
func (c *Client) readPage(ctx context.Context, s server, addr *address.Address, from TxID) ([]*Transaction, TxID, error) {
	c.mu.Lock()
	h := c.head
	c.mu.Unlock()
	answer, err := stateQuery[tonapi.TransactionList](ctx, s, h, c.cfg.Timeout, tonapi.GetTransactions{
		Limit: page, AccID: &tonapi.AccountID{Workchain: addr.Workchain(), ID: addr.Data()}, LT: int64(from.LT), TxHash: from.Hash[:],
	})
	if err != nil {
		return nil, from, err
	}
	if len(answer.Transactions) == 0 {
		return nil, from, tonapi.LSError{Code: codeNotFound, Text: "an empty list of transactions"}
	}
	roots, err := cell.FromBOCMultiRoot(answer.Transactions)
	if err != nil {
		return nil, from, wrong("transactions: %w", err)
	}
	list := make([]*Transaction, len(roots))
	for i, root := range roots {
		tx, prev, err := parseTransaction(addr.Workchain(), root)
		if err != nil {
			return nil, from, wrong("%w", err)
		}
		if tx.TxID != from || !bytes.Equal(tx.Account.Data(), addr.Data()) || prev.LT >= tx.LT {
			return nil, from, wrong("transaction %d does not follow from the one after it", tx.LT)
		}
		list[i], from = tx, prev
	}
	return list, from, nil
}
