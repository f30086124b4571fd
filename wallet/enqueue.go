package wallet

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// Message is what a node wants its wallet to send.
type Message struct {
	// ID makes enqueueing idempotent: the same message under the same ID is
	// accepted once, also across crashes of the caller, and while the journal
	// remembers it (the last 4096 finished ones): a message that is finished
	// gives its outcome, also that it was not sent. Zero draws one at random. It
	// travels to the wallet, and not further, so that the chain can tell two
	// equal messages apart. An ID may not be used for another message.
	ID uint64
	To *address.Address
	// Value arrives; fees are paid on top.
	Value coin.Nano
	// Init deploys the contract along the way.
	Init *tlb.StateInit
	// Body may be nil.
	Body *cell.Cell
	// NoBounce leaves the money with a receiver that does not exist or fails.
	// Messages with an Init are always such.
	NoBounce bool
}

// Errors of Enqueue, besides [ErrPoor]: nothing was accepted.
var (
	// ErrLimit: the message is beyond what the wallet may spend at once, or in
	// this hour. Ask the operator, or wait.
	ErrLimit = errors.New("beyond the wallet's limit")
	// ErrFull: too many messages wait. Enqueue again when some have gone.
	ErrFull = errors.New("the wallet's queue is full")
	// ErrReused: the ID belongs to another message.
	ErrReused = errors.New("id was used for another message")
	// ErrSigned: the message may be under way and cannot be cancelled.
	ErrSigned = errors.New("message is part of an order")
)

// maxMessageBytes bounds a message, so that any fits into an order.
const maxMessageBytes = 32 << 10

// Enqueue accepts a message for sending. When it returns without error the
// message is on disk and will be sent exactly once. It refuses at once what the
// wallet may not spend, and, once the balance is known, what it does not have
// besides all that waits.
//
// After an error of the disk nothing was accepted, unless the process ends
// before the next message is: give an ID if it matters, and enqueue again.
func (d *Driver) Enqueue(ctx context.Context, m Message) (*Handle, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if m.ID == 0 {
		m.ID = randomID()
	}
	a, err := m.accepted()
	if err != nil {
		return nil, err
	}
	e, err := newEntry(a)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.state.byID[m.ID]; known != nil {
		if known.hash != e.hash && known.hash != (Hash{}) {
			return nil, fmt.Errorf("message %d: %w", m.ID, ErrReused)
		}
		return &Handle{d, known}, nil
	}
	now := d.cfg.Now()
	if err := d.admit(e, now); err != nil {
		return nil, fmt.Errorf("message of %s to %s: %w", m.Value.Text(), m.To, err)
	}
	a.At = now.Unix()
	if err := d.commit(&record{Accept: a}); err != nil {
		return nil, fmt.Errorf("message of %s to %s was not accepted: %w", m.Value.Text(), m.To, err)
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return &Handle{d, d.state.byID[m.ID]}, nil
}

func randomID() (id uint64) {
	var b [8]byte
	for id == 0 {
		rand.Read(b[:])
		id = binary.BigEndian.Uint64(b[:])
	}
	return id
}

// accepted is the message as it goes into the journal and into orders. Its
// created_lt, which every sender leaves to the network, holds the ID.
func (m *Message) accepted() (*accepted, error) {
	if m.To == nil || m.To.Type() != address.StdAddress || m.To.Anycast() != nil {
		return nil, errors.New("message: no address to send to")
	}
	if wc := m.To.Workchain(); wc != 0 && wc != -1 {
		return nil, fmt.Errorf("message to %s: workchain %d does not exist", m.To.StringRaw(), wc)
	}
	if m.Value < 0 {
		return nil, fmt.Errorf("message to %s: value is %s, want 0 or more", m.To, m.Value.Text())
	}
	c, err := tlb.ToCell(&tlb.InternalMessage{
		IHRDisabled: true, Bounce: m.Init == nil && !m.NoBounce, DstAddr: m.To, Amount: tlb.FromNanoTON(m.Value.Big()),
		CreatedLT: m.ID, StateInit: m.Init, Body: m.Body,
	})
	if err != nil {
		return nil, fmt.Errorf("message to %s: %w", m.To, err)
	}
	boc := c.ToBOCWithOptions(cell.BOCSerializeOptions{})
	if len(boc) > maxMessageBytes {
		return nil, fmt.Errorf("message to %s: %d bytes, want at most %d", m.To, len(boc), maxMessageBytes)
	}
	return &accepted{ID: m.ID, Cell: boc}, nil
}

// admit checks the limits: what is accepted must not get stuck.
func (d *Driver) admit(e *entry, now time.Time) error {
	hour := d.state.spentSince(now.Add(-time.Hour)).Add(e.value)
	switch {
	case e.value > d.cfg.MaxOrder:
		return fmt.Errorf("%w of %s per order", ErrLimit, d.cfg.MaxOrder.Text())
	case hour > d.cfg.MaxHour:
		return fmt.Errorf("%w of %s per hour: with this message it would be %s", ErrLimit, d.cfg.MaxHour.Text(), hour.Text())
	case len(d.state.queue) >= d.cfg.MaxQueue:
		return fmt.Errorf("%w: %d messages wait", ErrFull, len(d.state.queue))
	case d.account == nil:
		return nil
	}
	if total := d.state.waiting().Add(e.value).Add(e.fee); total > d.account.Balance-contract.WalletKeeps-d.cfg.Reserve {
		return d.poor(d.account.Balance, total)
	}
	return nil
}
