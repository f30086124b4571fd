package contract

import (
	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// Messages to a client's contract, all but [TopUp] from its owner only;
// payments are [Envelope]s. Source: contracts.md section 10.

// TopUp pays into the client's account, out of the message's value. Anybody may send it.
type TopUp struct {
	QueryID uint64
	Amount  coin.Nano
	Excess  *address.Address
}

func (*TopUp) op() uint32                  { return 0xf172e6c2 }
func (m *TopUp) fields(c codec)            { c.u64(&m.QueryID); c.amount(&m.Amount); c.change(&m.Excess) }
func (m *TopUp) Cell() (*cell.Cell, error) { return write(m) }

// SecretTopUp is [ChangeSecret] and [TopUp] at once.
type SecretTopUp struct {
	QueryID uint64
	Amount  coin.Nano
	Hash    [32]byte
	Excess  *address.Address
}

func (*SecretTopUp) op() uint32                  { return 0x8473b408 }
func (m *SecretTopUp) Cell() (*cell.Cell, error) { return write(m) }

func (m *SecretTopUp) fields(c codec) {
	c.u64(&m.QueryID)
	c.amount(&m.Amount)
	c.hash(&m.Hash)
	c.change(&m.Excess)
}

// ClientRegister answers a proxy's nonce, which proves who the client is.
type ClientRegister struct {
	QueryID uint64
	Nonce   uint64
	Excess  *address.Address
}

func (*ClientRegister) op() uint32                  { return 0xc45f9f3b }
func (m *ClientRegister) fields(c codec)            { c.u64(&m.QueryID); c.u64(&m.Nonce); c.change(&m.Excess) }
func (m *ClientRegister) Cell() (*cell.Cell, error) { return write(m) }

// ChangeSecret sets the SHA-256 of the secret by which the client is known.
type ChangeSecret struct {
	QueryID uint64
	Hash    [32]byte
	Excess  *address.Address
}

func (*ChangeSecret) op() uint32                  { return 0xa9357034 }
func (m *ChangeSecret) fields(c codec)            { c.u64(&m.QueryID); c.hash(&m.Hash); c.change(&m.Excess) }
func (m *ChangeSecret) Cell() (*cell.Cell, error) { return write(m) }

// RaiseStake raises what the client may use before it is charged. It costs
// nothing: the stake is part of the balance.
type RaiseStake struct {
	QueryID uint64
	Stake   coin.Nano
	Excess  *address.Address
}

func (*RaiseStake) op() uint32                  { return 0x6a1f6a60 }
func (m *RaiseStake) fields(c codec)            { c.u64(&m.QueryID); c.amount(&m.Stake); c.change(&m.Excess) }
func (m *RaiseStake) Cell() (*cell.Cell, error) { return write(m) }

// Withdraw takes out what is above the stake.
type Withdraw struct {
	QueryID uint64
	Excess  *address.Address
}

func (*Withdraw) op() uint32                  { return 0xda068e78 }
func (m *Withdraw) fields(c codec)            { c.u64(&m.QueryID); c.change(&m.Excess) }
func (m *Withdraw) Cell() (*cell.Cell, error) { return write(m) }

// RequestRefund leaves the proxy: the first takes out what is above the stake
// and starts the wait, one sent after the wait takes the rest, whatever the
// proxy says.
type RequestRefund struct {
	QueryID uint64
	Excess  *address.Address
	// Most, after the wait, asks our contracts for no more than that: a pool that
	// is short pays nobody who asks for more than it has. Nil asks for all.
	Most *coin.Nano
}

func (*RequestRefund) op() uint32                  { return 0xfafa6cc1 }
func (m *RequestRefund) fields(c codec)            { c.u64(&m.QueryID); c.change(&m.Excess); c.last(&m.Most) }
func (m *RequestRefund) Cell() (*cell.Cell, error) { return write(m) }
