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
