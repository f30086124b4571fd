package ton

import (
	"context"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"
)

// dispersion is by how much the clocks of two accounts' blocks may differ.
const dispersion = 5 * time.Minute

// Consequences returns the transactions that came of one: those of the
// messages that it sent to accounts, those of the messages that these sent, and
// so on, in the order of sending and no more than limit. It waits for each, as long as ctx
// allows and the chain can be read; what was found by then comes with the error.
//
// A message to an account is executed for certain, whatever becomes of it
// there; so only a chain at a standstill keeps this waiting.
func Consequences(ctx context.Context, chain Chain, tx *Transaction, limit int) ([]*Transaction, error) {
	var list []*Transaction
	for queue := []*Transaction{tx}; len(queue) > 0; queue = queue[1:] {
		for _, m := range queue[0].Out {
			if m.To == nil || m.To.Type() != address.StdAddress || len(list) == limit {
				continue
			}
			came, err := await(ctx, chain, m, queue[0].Time)
			if err != nil {
				return list, fmt.Errorf("ton: wait for a message to arrive at %s: %w", m.To, err)
			}
			list, queue = append(list, came), append(queue, came)
		}
	}
	return list, nil
}

// await returns the transaction of a message between accounts.
func await(ctx context.Context, chain Chain, m *Message, sent time.Time) (*Transaction, error) {
	isIt := func(tx *Transaction) bool { return tx.In != nil && tx.In.Hash == m.Hash }
	c := &confirmation{chain: chain}
	seen := TxID{}
	for {
		at, err := chain.Account(ctx, m.To)
		var tx *Transaction
		if err == nil {
			tx, _, err = search(ctx, chain, at, seen, sent.Add(-dispersion), isIt)
		}
		switch {
		case tx != nil:
			return tx, nil
		case err == nil:
			seen, c.failing = at.Last, time.Time{}
		case !c.patient(ctx):
			return nil, err
		}
		c.wait(ctx, at)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}
