package wallet

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// draft is an order that has been signed for the present seqno.
type draft struct {
	signing
	order *contract.Order
	hash  Hash
}

// state is what the journal says. Only apply changes it, after the record is
// on disk, and in the same way when the journal is read again.
type state struct {
	wallet string
	begun  bool // a transaction, or that there is none, has been recorded
	cursor TxID
	seqno  uint32   // of the next order
	queue  []*entry // oldest first
	// drafts are all orders ever signed for this seqno, at most one of which
	// can be carried out.
	drafts []*draft
	byID   map[uint64]*entry
	byHash map[Hash]*entry // of those in the queue
	done   []*entry        // the latest, oldest first
}

// remembered is how many finished messages are kept, so that one enqueued
// again under the same ID is recognised.
const remembered = 4096

func newState(wallet string) *state {
	return &state{wallet: wallet, byID: map[uint64]*entry{}, byHash: map[Hash]*entry{}}
}

func (s *state) apply(r *record) error {
	switch {
	case r.Open != nil:
		return s.open(r.Open)
	case r.Accept != nil:
		return s.accept(r.Accept)
	case r.Sign != nil:
		return s.sign(r.Sign)
	case r.Seen != nil:
		return s.see(r.Seen)
	case r.Cancel != 0:
		return s.cancel(r.Cancel)
	case r.Done != nil:
		return s.finished(r.Done)
	}
	return errors.New("an empty record")
}

func (s *state) open(o *opening) error {
	if o.Format != journalFormat {
		return fmt.Errorf("it has format %d, want %d: written by a newer version?", o.Format, journalFormat)
	}
	if o.Wallet != s.wallet {
		return fmt.Errorf("it belongs to wallet %s, not to %s: another key or owner, or another directory", clip(o.Wallet), s.wallet)
	}
	return nil
}

func (s *state) accept(a *accepted) error {
	e, err := newEntry(a)
	if err != nil {
		return err
	}
	if s.byID[a.ID] != nil || s.byHash[e.hash] != nil {
		return fmt.Errorf("message %d is accepted twice", a.ID)
	}
	s.queue = append(s.queue, e)
	s.byID[e.id], s.byHash[e.hash] = e, e
	return nil
}

func (s *state) sign(g *signing) error {
	d, err := s.draft(g)
	if err != nil {
		return err
	}
	s.drafts = append(s.drafts, d)
	return nil
}

// draft rebuilds the order that was signed.
func (s *state) draft(g *signing) (*draft, error) {
	if g.Seqno != s.seqno {
		return nil, fmt.Errorf("an order for seqno %d is signed at %d", g.Seqno, s.seqno)
	}
	d := &draft{signing: *g, order: &contract.Order{ValidUntil: g.Until, Seqno: g.Seqno}}
	for _, id := range g.IDs {
		e := s.byID[id]
		if e == nil || e.outcome != nil {
			return nil, fmt.Errorf("an order carries message %d, which is not in the queue", id)
		}
		d.order.Messages = append(d.order.Messages, contract.OrderMessage{Mode: orderMode, Cell: e.cell})
	}
	hash, err := d.order.Hash()
	d.hash = Hash(hash)
	return d, err
}

func (s *state) see(v *seen) error {
	if v.Tx.LT < s.cursor.LT || v.Seqno < s.seqno {
		return fmt.Errorf("transaction %d and seqno %d come after %d and %d", v.Tx.LT, v.Seqno, s.cursor.LT, s.seqno)
	}
	for i := range v.Outcomes {
		s.finish(&v.Outcomes[i])
	}
	if v.Seqno != s.seqno {
		s.drafts = nil // none of them can be carried out any more
	}
	s.begun, s.cursor, s.seqno = true, v.Tx, v.Seqno
	return nil
}

// finish takes a message out of the queue. One that was never in it was sent
// by a journal that is lost; it is remembered all the same.
func (s *state) finish(o *Outcome) {
	e := s.byID[o.ID]
	if e == nil {
		e = &entry{id: o.ID, done: make(chan struct{})}
	}
	if e.outcome != nil {
		return
	}
	s.remove(e)
	e.outcome = o
	close(e.done)
	s.remember(e)
}

func (s *state) remove(e *entry) {
	s.queue = slices.DeleteFunc(s.queue, func(q *entry) bool { return q == e })
	delete(s.byHash, e.hash)
	e.boc, e.cell, e.message = nil, nil, nil
}

func (s *state) remember(e *entry) {
	s.byID[e.id] = e
	s.done = append(s.done, e)
	if len(s.done) > remembered {
		delete(s.byID, s.done[0].id)
		s.done[0] = nil
		s.done = s.done[1:]
	}
}

func (s *state) cancel(id uint64) error {
	e := s.byID[id]
	if e == nil || e.outcome != nil || s.signed(e) {
		return fmt.Errorf("message %d is cancelled, and cannot be", id)
	}
	s.finish(&Outcome{ID: id, At: e.accepted.Unix(), Why: cancelled})
	return nil
}

const cancelled = "cancelled before it was part of an order"

// signed says that an order with this message may be under way.
func (s *state) signed(e *entry) bool {
	return slices.ContainsFunc(s.drafts, func(d *draft) bool { return slices.Contains(d.IDs, e.id) })
}

func (s *state) finished(f *finished) error {
	if s.byID[f.ID] != nil {
		return fmt.Errorf("message %d is finished twice", f.ID)
	}
	e := &entry{id: f.ID, accepted: time.Unix(f.Accepted, 0), value: coin.Nano(f.Value), hash: f.Cell, outcome: &f.Outcome, done: make(chan struct{})}
	close(e.done)
	s.remember(e)
	return nil
}

// records is the shortest journal that says the same.
func (s *state) records() []record {
	list := []record{{Open: &opening{Format: journalFormat, Wallet: s.wallet}}}
	if s.begun {
		list = append(list, record{Seen: &seen{Tx: s.cursor, Seqno: s.seqno}})
	}
	for _, e := range s.done {
		list = append(list, record{Done: &finished{Outcome: *e.outcome, Accepted: e.accepted.Unix(), Value: int64(e.value), Cell: e.hash}})
	}
	for _, e := range s.queue {
		list = append(list, record{Accept: &accepted{ID: e.id, At: e.accepted.Unix(), Cell: e.boc}})
	}
	for _, d := range s.drafts {
		list = append(list, record{Sign: &d.signing})
	}
	return list
}

// spentSince is the value of all messages accepted since then.
func (s *state) spentSince(then time.Time) (sum coin.Nano) {
	for _, list := range [][]*entry{s.queue, s.done} {
		for i := len(list) - 1; i >= 0; i-- {
			if list[i].accepted.After(then) {
				sum = sum.Add(list[i].value)
			}
		}
	}
	return sum
}

// waiting is what the queue will take from the balance.
func (s *state) waiting() (sum coin.Nano) {
	for _, e := range s.queue {
		sum = sum.Add(e.value).Add(e.fee)
	}
	return sum
}
