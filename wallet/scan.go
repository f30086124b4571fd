package wallet

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/xssnick/tonutils-go/tlb"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// Stranger is an order under our key that this journal did not sign: another
// process or machine uses the key, or the journal is an old copy.
type Stranger struct {
	Tx    TxID   `json:"tx"`
	At    int64  `json:"at"` // unix seconds
	Seqno uint32 `json:"seqno"`
	Hash  Hash   `json:"hash"`
	// Ours is how many of its messages this journal had in its queue, or had
	// numbered: they were not sent again.
	Ours int `json:"ours"`
	// Messages is how many it had.
	Messages int `json:"messages"`
}

// step looks at the wallet once and does what follows from it. It returns the
// block that it looked at.
func (d *Driver) step(ctx context.Context) (ton.Block, error) {
	a, err := d.cfg.Chain.Account(ctx, d.address)
	if err != nil {
		return ton.Block{}, err
	}
	w, err := d.read(a)
	if err != nil {
		return a.At, err
	}
	d.mu.Lock()
	d.account, d.blocked = a, w.Blocked()
	d.mu.Unlock()
	if err := d.follow(ctx, a, w); err != nil {
		return a.At, err
	}
	next, err := d.next(a, w)
	if err != nil || next == nil {
		return a.At, err
	}
	return a.At, d.send(ctx, a, next)
}

// read is the wallet's state; before it is deployed, the one it begins with.
func (d *Driver) read(a *ton.Account) (*contract.WalletState, error) {
	switch a.Status {
	case ton.Active:
		return contract.ParseWalletState(a.Data)
	case ton.Frozen:
		return nil, errors.New("wallet is frozen for unpaid rent: its owner must revive it")
	}
	return &contract.WalletState{Key: d.cfg.Key.Public(), Owner: d.cfg.Owner}, nil
}

// follow brings the journal up to the account: every transaction since the
// last one recorded is read, and the queue knows what they did. Only this way
// may the seqno change.
func (d *Driver) follow(ctx context.Context, a *ton.Account, w *contract.WalletState) error {
	d.mu.Lock()
	begun, cursor, seqno := d.state.begun, d.state.cursor, d.state.seqno
	d.mu.Unlock()
	if !begun {
		return d.begin(ctx, a, w)
	}
	if a.Last.LT < cursor.LT || w.Seqno < seqno {
		return fmt.Errorf("the chain shows the wallet at transaction %d with seqno %d, the journal has seen %d with %d: "+
			"another network, or an account that was deleted; if that is so, move %s away", a.Last.LT, w.Seqno, cursor.LT, seqno, d.journal.path())
	}
	txs, err := d.history(ctx, a.Last, cursor)
	if err != nil {
		return err
	}
	v, strangers := d.judge(txs)
	if !cursor.is(a.Last) {
		v.Tx = idOfTx(a.Last)
	}
	if v.Seqno != w.Seqno {
		return fmt.Errorf("the wallet's seqno is %d, and its transactions explain %d: nothing is sent before they agree", w.Seqno, v.Seqno)
	}
	if v.Tx == cursor {
		return nil
	}
	return d.record(v, strangers)
}

// begin takes the wallet as it is. If it has a past, a journal was lost: what
// the latest orders sent is remembered, so that messages enqueued again under
// their IDs are recognised. If messages wait already, all of the past is read:
// this journal may be the copy of one that went on.
func (d *Driver) begin(ctx context.Context, a *ton.Account, w *contract.WalletState) error {
	d.mu.Lock()
	waits := len(d.state.queue) > 0
	d.mu.Unlock()
	var txs []*ton.Transaction
	var err error
	if waits {
		txs, err = d.history(ctx, a.Last, TxID{})
	} else {
		txs, err = d.cfg.Chain.Transactions(ctx, d.address, a.Last, ton.TxID{}, pageSize)
	}
	if err != nil && !errors.Is(err, ton.ErrGap) {
		return err
	}
	v, _ := d.judge(orders(txs))
	return d.record(&seen{Tx: idOfTx(a.Last), Seqno: w.Seqno, Outcomes: v.Outcomes}, nil)
}

func (d *Driver) record(v *seen, strangers []Stranger) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.commit(&record{Seen: v}); err != nil {
		return err
	}
	for _, o := range v.Outcomes {
		if !o.Sent {
			d.cfg.Log.Error("node wallet: a message was not sent", "id", o.ID, "why", o.Why, "transaction", o.Tx.LT)
		}
	}
	for _, s := range strangers {
		d.cfg.Log.Warn("node wallet: an order that this journal did not sign: another process with the same key, or an old copy of the journal",
			"seqno", s.Seqno, "transaction", s.Tx.LT, "messages", s.Messages, "ours", s.Ours)
	}
	d.foreign = append(d.foreign, strangers...)
	d.foreign = d.foreign[max(0, len(d.foreign)-maxStrangers):]
	return nil
}

// maxStrangers is how many Status shows.
const maxStrangers = 16

// pageSize is how many transactions are asked for at a time.
const pageSize = 256

// history lists the wallet's orders after cursor up to newest, oldest first. Other
// transactions, which anybody can make, are not kept.
func (d *Driver) history(ctx context.Context, newest ton.TxID, cursor TxID) ([]*ton.Transaction, error) {
	var all []*ton.Transaction
	for !cursor.is(newest) {
		page, err := d.cfg.Chain.Transactions(ctx, d.address, newest, cursor.chain(), pageSize)
		more := errors.Is(err, ton.ErrGap) && len(page) == pageSize
		if err != nil && !more {
			return append(orders(page), all...), fmt.Errorf("what happened to the wallet since transaction %d is not known: %w", cursor.LT, err)
		}
		oldest := cursor.chain()
		if more {
			// The oldest comes again, as the next page's newest.
			oldest, page = page[0].TxID, page[1:]
		}
		all = append(orders(page), all...)
		newest = oldest
	}
	return all, nil
}

// orders is those transactions that carried out an order. One that was aborted
// changed nothing, whatever it cost.
func orders(txs []*ton.Transaction) []*ton.Transaction {
	return slices.DeleteFunc(txs, func(tx *ton.Transaction) bool { return tx.In == nil || tx.In.From != nil || tx.Aborted })
}

// judge says what orders did to the queue.
func (d *Driver) judge(txs []*ton.Transaction) (*seen, []Stranger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := &seen{Tx: d.state.cursor, Seqno: d.state.seqno}
	var strangers []Stranger
	taken := map[uint64]bool{}
	for _, tx := range txs {
		v.Seqno++ // which the contract does for whatever it accepts
		order, err := contract.ParseOrder(tx.In.Body)
		if err != nil {
			continue // the network's own contract takes longer ones; no driver makes them
		}
		hash, err := order.Hash()
		if err != nil {
			continue
		}
		known := slices.ContainsFunc(d.state.drafts, func(x *draft) bool { return x.hash == Hash(hash) })
		outcomes := d.outcomes(tx, order, !known, taken)
		v.Outcomes = append(v.Outcomes, outcomes...)
		if !known {
			strangers = append(strangers, Stranger{
				Tx: idOfTx(tx.TxID), At: tx.Time.Unix(), Seqno: order.Seqno, Hash: Hash(hash), Ours: len(outcomes), Messages: len(order.Messages),
			})
		}
	}
	return v, strangers
}

// outcomes pairs an order's messages with those that left. They leave in the
// order's order, and the wallet leaves out what it cannot pay.
func (d *Driver) outcomes(tx *ton.Transaction, order *contract.Order, unknown bool, taken map[uint64]bool) (list []Outcome) {
	out := tx.Out
	for _, m := range order.Messages {
		e := d.state.byHash[Hash(m.Cell.HashKey())]
		if e == nil {
			e = numbered(m)
		}
		if e == nil {
			continue
		}
		o := Outcome{ID: e.id, Tx: idOfTx(tx.TxID), At: tx.Time.Unix(), Unknown: unknown}
		if i := slices.IndexFunc(out, e.left); i >= 0 {
			o.Sent, o.Out, o.OutLT = true, Hash(out[i].Hash), out[i].LT
			out = out[i+1:]
		} else {
			o.Why = fmt.Sprintf("the wallet carried out the order and left this message out: too little money for %s and its fees, or it cannot be delivered", e.value.Text())
		}
		if known := d.state.byID[e.id]; !taken[e.id] && (known == nil || known.outcome == nil && known.hash == e.hash) {
			taken[e.id] = true
			list = append(list, o)
		}
	}
	return list
}

// numbered is a message that a driver of this wallet numbered, and whose
// journal is lost; nil for others' messages.
func numbered(m contract.OrderMessage) *entry {
	var in tlb.InternalMessage
	if err := tlb.Parse(&in, m.Cell); err != nil || in.CreatedLT == 0 {
		return nil
	}
	e, err := newEntry(&accepted{ID: in.CreatedLT, Cell: m.Cell.ToBOC()})
	if err != nil {
		return nil
	}
	return e
}
