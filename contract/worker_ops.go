package contract

import (
	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// WorkerRegister, from the worker's owner, has the worker's contract report to
// the proxy. Payments to the contract are [Envelope]s.
// Source: contracts.md section 9.
type WorkerRegister struct {
	QueryID uint64
	Excess  *address.Address
}

func (*WorkerRegister) op() uint32                  { return 0x26ed7f65 }
func (m *WorkerRegister) fields(c codec)            { c.u64(&m.QueryID); c.change(&m.Excess) }
func (m *WorkerRegister) Cell() (*cell.Cell, error) { return write(m) }

// Collect, from the worker's owner, asks once more for tokens that a short pool
// could not pay when they were claimed, as many of them as it may have now. Only
// our worker contract knows it.
type Collect struct {
	QueryID uint64
	Tokens  uint64
	Excess  *address.Address
}

func (*Collect) op() uint32                  { return 0x5496813c }
func (m *Collect) fields(c codec)            { c.u64(&m.QueryID); c.u64(&m.Tokens); c.change(&m.Excess) }
func (m *Collect) Cell() (*cell.Cell, error) { return write(m) }
