package contract

import (
	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// Messages from people and nodes to a proxy's contract; [Text] and [Envelope]
// are the others. Source: contracts.md sections 8.3 and 8.4.

// PayoutRequest has the proxy's balance sent to its owner. Anybody may send it.
type PayoutRequest struct {
	QueryID uint64
	Excess  *address.Address
}

func (*PayoutRequest) op() uint32                  { return 0x7610e6eb }
func (m *PayoutRequest) fields(c codec)            { c.u64(&m.QueryID); c.change(&m.Excess) }
func (m *PayoutRequest) Cell() (*cell.Cell, error) { return write(m) }

// IncreaseStake adds to the proxy's stake, out of the message's value. Anybody may send it.
type IncreaseStake struct {
	QueryID uint64
	Amount  coin.Nano
	Excess  *address.Address
}

func (*IncreaseStake) op() uint32                  { return 0x9713f187 }
func (m *IncreaseStake) Cell() (*cell.Cell, error) { return write(m) }

func (m *IncreaseStake) fields(c codec) {
	c.u64(&m.QueryID)
	c.amount(&m.Amount)
	c.change(&m.Excess)
}

// OwnerClose starts closing; the proxy's owner sends it.
type OwnerClose struct {
	QueryID uint64
	Excess  *address.Address
}

func (*OwnerClose) op() uint32                  { return 0xb51d5a01 }
func (m *OwnerClose) fields(c codec)            { c.u64(&m.QueryID); c.change(&m.Excess) }
func (m *OwnerClose) Cell() (*cell.Cell, error) { return write(m) }

// OwnerFinish closes a proxy's contract whose key is lost, 30 days after the proxy
// might have. From the owner of a closed contract of any kind it takes out what
// came in later. Only our contracts know it.
type OwnerFinish struct{ QueryID uint64 }

func (*OwnerFinish) op() uint32                  { return 0x155ee04f }
func (m *OwnerFinish) fields(c codec)            { c.u64(&m.QueryID) }
func (m *OwnerFinish) Cell() (*cell.Cell, error) { return write(m) }

const (
	opDoNotProcess = 0x9a1247c0
	opSaveState    = 0x53109c0f
)

// SaveState is a proxy's note to itself: its store has been written up to
// Seqno, by the process of this session. Contracts ignore it, and only one
// from the proxy's own node wallet means anything.
//
//	do_not_process:32 query:64 save_state:32 seqno:int32 session:256
type SaveState struct {
	QueryID uint64
	// Seqno is below 2^31: the network reads it as a signed number.
	Seqno   uint32
	Session [32]byte
}

func (*SaveState) op() uint32                  { return opDoNotProcess }
func (m *SaveState) Cell() (*cell.Cell, error) { return write(m) }

func (m *SaveState) fields(c codec) {
	c.u64(&m.QueryID)
	c.must(opSaveState)
	c.u32(&m.Seqno)
	c.hash(&m.Session)
}
