package contract

import (
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// Messages from worker and client contracts to the proxy's. A reader must
// derive the sender's address from the owner named and compare: anybody can
// send them. Source: contracts.md sections 8.1 and 8.2.

// WorkerRequest is worker_proxy_request: a worker's state after a change, with
// a claim on the proxy unless it only reports.
//
//	op:32 query:64 owner:Addr state:2 tokens:64 part:(Maybe ^[08e7d036 worker:Coins proxy:Coins excess])
type WorkerRequest struct {
	QueryID uint64
	Owner   *address.Address
	State   State
	Tokens  uint64
	Part    *PayoutPart // nil for a report
}

// PayoutPart is what a worker's counter rose by, in coins: its fee and the
// proxy's cut.
type PayoutPart struct {
	Worker, Proxy coin.Nano
	Excess        *address.Address
}

func (*WorkerRequest) op() uint32                  { return 0x4d725d2c }
func (m *WorkerRequest) Cell() (*cell.Cell, error) { return write(m) }

func (m *WorkerRequest) fields(c codec) {
	c.u64(&m.QueryID)
	c.account(&m.Owner)
	c.state(&m.State)
	c.u64(&m.Tokens)
	c.maybe(m.Part != nil, "payout part", func(c codec) {
		if m.Part == nil {
			m.Part = &PayoutPart{}
		}
		c.must(0x08e7d036)
		c.amount(&m.Part.Worker)
		c.amount(&m.Part.Proxy)
		c.change(&m.Part.Excess)
	})
}

// ClientRequest is client_proxy_request: a client's state after a change, with
// a demand unless it only reports.
//
//	op:32 query:64 owner:Addr ^[state:2 balance:Coins stake:Coins tokens:64 secret:256] part:(Maybe ^part)
//	part  top up, refund: op:32 amount:Coins excess     register: op:32 nonce:64
type ClientRequest struct {
	QueryID uint64
	Owner   *address.Address
	Shown   Shown
	Part    *ClientPart // nil for a report
}

// Shown is the state that a client's contract shows its proxy.
type Shown struct {
	State          State
	Balance, Stake coin.Nano
	Tokens         uint64
	SecretHash     [32]byte
}

func (s *Shown) fields(c codec) {
	c.state(&s.State)
	c.amount(&s.Balance)
	c.amount(&s.Stake)
	c.u64(&s.Tokens)
	c.hash(&s.SecretHash)
}

// PartKind says what a client's contract wants of its proxy.
type PartKind uint32

// Kinds of parts.
const (
	PartTopUp         PartKind = 0x5cfc6b87 // money for the deposits
	PartRegister      PartKind = 0xa35cb580 // the client has said a nonce
	PartRefundGranted PartKind = 0xc68ebc7b // money back
	PartRefundForced  PartKind = 0xf4c354c9 // money back, without the proxy's word
)

// ClientPart is the demand. Nonce belongs to PartRegister, Amount and Excess to the others.
type ClientPart struct {
	Kind   PartKind
	Nonce  uint64
	Amount coin.Nano
	Excess *address.Address
}

func (p *ClientPart) fields(c codec) {
	c.u32((*uint32)(&p.Kind))
	switch p.Kind {
	case PartRegister:
		c.u64(&p.Nonce)
	case PartTopUp, PartRefundGranted, PartRefundForced:
		c.amount(&p.Amount)
		c.change(&p.Excess)
	default:
		c.refuse(fmt.Errorf("%w %08x", ErrUnknownOp, uint32(p.Kind)))
	}
}

func (*ClientRequest) op() uint32                  { return 0x65448ff4 }
func (m *ClientRequest) Cell() (*cell.Cell, error) { return write(m) }

func (m *ClientRequest) fields(c codec) {
	c.u64(&m.QueryID)
	c.account(&m.Owner)
	c.inside("state", m.Shown.fields)
	c.maybe(m.Part != nil, "part", func(c codec) {
		if m.Part == nil {
			m.Part = &ClientPart{}
		}
		m.Part.fields(c)
	})
}
