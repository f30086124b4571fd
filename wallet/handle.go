package wallet

import (
	"context"
	"fmt"
)

// Handle follows a message.
type Handle struct {
	d *Driver
	e *entry
}

// ID is the message's.
func (h *Handle) ID() uint64 { return h.e.id }

// Done is closed when the outcome is known, and durable.
func (h *Handle) Done() <-chan struct{} { return h.e.done }

// Outcome is what became of the message; false before Done.
func (h *Handle) Outcome() (Outcome, bool) {
	select {
	case <-h.e.done:
		return *h.e.outcome, true
	default:
		return Outcome{}, false
	}
}

// Wait waits for the outcome. The error is the context's alone: that a message
// was not sent is an outcome.
func (h *Handle) Wait(ctx context.Context) (Outcome, error) {
	select {
	case <-h.e.done:
		return *h.e.outcome, nil
	case <-ctx.Done():
		return Outcome{}, fmt.Errorf("message %d: %w", h.e.id, ctx.Err())
	}
}

// Find is the handle of a message that was accepted, perhaps by an earlier
// process; nil if the journal does not know the ID.
func (d *Driver) Find(id uint64) *Handle {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.state.byID[id]; e != nil {
		return &Handle{d, e}
	}
	return nil
}

// Pending is the handles of all messages in the queue, oldest first.
func (d *Driver) Pending() []*Handle {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*Handle, len(d.state.queue))
	for i, e := range d.state.queue {
		list[i] = &Handle{d, e}
	}
	return list
}

// Cancel takes the message out of the queue, for good: its outcome is that it
// was not sent. [ErrSigned] if it may be under way.
func (h *Handle) Cancel() error {
	d := h.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if h.e.outcome != nil || d.state.signed(h.e) {
		return fmt.Errorf("message %d: %w", h.e.id, ErrSigned)
	}
	return d.commit(&record{Cancel: h.e.id})
}
