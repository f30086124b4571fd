package localnet

import (
	"fmt"

	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// maxBlocksPerMessage bounds the blocks that one Send seals for a message
// whose consequences fill them; what is left goes with later blocks.
const maxBlocksPerMessage = 8

// RefusedError says that no transaction came of an external message: the
// contract did not accept it, or the message cannot be processed.
type RefusedError struct {
	// ExitCode is the contract's, if it ran.
	ExitCode int64
	// Reason is set if it did not run.
	Reason error
}

func (e *RefusedError) Error() string {
	if e.Reason != nil {
		return fmt.Sprintf("external message was not accepted: %v", e.Reason)
	}
	return fmt.Sprintf("external message was not accepted: the contract ended with exit code %d before accepting it", e.ExitCode)
}

func (e *RefusedError) Unwrap() error { return e.Reason }

// Trace is what a message caused: the transactions in the order of execution.
type Trace []*cell.Cell

// Transactions parses the trace.
func (t Trace) Transactions() ([]*tlb.Transaction, error) {
	all := make([]*tlb.Transaction, len(t))
	for i, root := range t {
		all[i] = new(tlb.Transaction)
		if err := tlb.Parse(all[i], root); err != nil {
			return nil, err
		}
		all[i].Hash = root.Hash()
	}
	return all, nil
}

// Send executes an external message and what it causes, and seals it unless
// the chain seals by interval. It returns the transactions that ran; a
// [RefusedError] if there was none.
func (c *Chain) Send(message *cell.Cell) (Trace, error) {
	if _, err := external(message); err != nil {
		return nil, &RefusedError{Reason: err}
	}
	return c.input(message)
}

// Deliver puts an internal message on its way as if a contract had sent it,
// with no balance debited: for messages that Config.Route held back, and for
// tests that need a forged sender.
func (c *Chain) Deliver(message *cell.Cell) (Trace, error) {
	var m tlb.Message
	if err := tlb.Parse(&m, message); err != nil || m.MsgType != tlb.MsgTypeInternal {
		return nil, fmt.Errorf("localnet: deliver: not an internal message (%v)", err)
	}
	return c.input(message)
}

func external(message *cell.Cell) (*tlb.ExternalMessage, error) {
	var m tlb.Message
	if level := message.Level(); level != 0 {
		return nil, fmt.Errorf("a cell of level %d, want 0: a message stands over no pruned branch", level)
	}
	if err := tlb.Parse(&m, message); err != nil {
		return nil, fmt.Errorf("not a message: %w", err)
	}
	if m.MsgType != tlb.MsgTypeExternalIn {
		return nil, fmt.Errorf("a message of type %s, want an inbound external one", m.MsgType)
	}
	return m.AsExternalIn(), nil
}

// input takes a message from outside, makes room for it, and seals on demand.
func (c *Chain) input(message *cell.Cell) (Trace, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draft != nil && len(c.draft.trace) >= blockCapacity {
		if err := c.sealDraft(); err != nil {
			return nil, err
		}
	}
	trace, err := c.accept(message)
	if err != nil || c.cfg.Interval > 0 {
		return trace, err
	}
	if _, err := c.seal(); err != nil {
		return trace, err
	}
	for n := 1; n < maxBlocksPerMessage && len(c.world.queue) > 0; n++ {
		if err := c.open(); err != nil {
			return trace, err
		}
		trace = append(trace, c.draft.trace...)
		if _, err := c.seal(); err != nil {
			return trace, err
		}
	}
	return trace, nil
}

// Emulate predicts what Send would do at this moment, fees and effects, and
// changes nothing. A Config.Route sees the messages of the prediction too.
func (c *Chain) Emulate(message *cell.Cell) (Trace, error) {
	if _, err := external(message); err != nil {
		return nil, &RefusedError{Reason: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	world, draft := c.world, c.draft
	defer func() { c.world, c.draft = world, draft }()
	c.world, c.draft = world.copy(), draft.copy()
	return c.accept(message)
}
