package contract

import (
	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ledger"
)

// Messages from its owner to the registry: parameters, code, ownership. New
// parameters or code of contracts are a new generation: every contract is then
// created anew. Source: contracts.md section 7.

// ChangePrice sets what clients pay and workers get per token.
type ChangePrice struct {
	QueryID    uint64
	Price, Fee coin.Nano
}

func (*ChangePrice) op() uint32                  { return 0xc52ed8d4 }
func (m *ChangePrice) fields(c codec)            { c.u64(&m.QueryID); c.amount(&m.Price); c.amount(&m.Fee) }
func (m *ChangePrice) Cell() (*cell.Cell, error) { return write(m) }

// Limits are the delays before a contract closes, in seconds, and the stakes.
type Limits struct {
	ProxyDelay, ClientDelay       uint32
	MinProxyStake, MinClientStake coin.Nano
}

func (l *Limits) fields(c codec) {
	c.u32(&l.ProxyDelay)
	c.u32(&l.ClientDelay)
	c.amount(&l.MinProxyStake)
	c.amount(&l.MinClientStake)
}

// ChangeParams sets prices and limits.
type ChangeParams struct {
	QueryID    uint64
	Price, Fee coin.Nano
	Limits
}

func (*ChangeParams) op() uint32                  { return 0x022fa189 }
func (m *ChangeParams) Cell() (*cell.Cell, error) { return write(m) }

func (m *ChangeParams) fields(c codec) {
	c.u64(&m.QueryID)
	c.amount(&m.Price)
	c.amount(&m.Fee)
	m.Limits.fields(c)
}

// ChangeAllParams sets the multipliers as well. Only our root contract knows it.
type ChangeAllParams struct {
	QueryID     uint64
	Price, Fee  coin.Nano
	Multipliers ledger.Multipliers
	Limits
}

func (*ChangeAllParams) op() uint32                  { return 0x9f1e69dc }
func (m *ChangeAllParams) Cell() (*cell.Cell, error) { return write(m) }

func (m *ChangeAllParams) fields(c codec) {
	c.u64(&m.QueryID)
	c.amount(&m.Price)
	c.amount(&m.Fee)
	c.u32(&m.Multipliers.Prompt)
	c.u32(&m.Multipliers.Cached)
	c.u32(&m.Multipliers.Completion)
	c.u32(&m.Multipliers.Reasoning)
	m.Limits.fields(c)
}

// UpgradeContracts sets the code of all contracts to come.
type UpgradeContracts struct {
	QueryID               uint64
	Proxy, Worker, Client *cell.Cell
}

func (*UpgradeContracts) op() uint32                  { return 0xa2370f61 }
func (m *UpgradeContracts) Cell() (*cell.Cell, error) { return write(m) }

func (m *UpgradeContracts) fields(c codec) {
	c.u64(&m.QueryID)
	c.cell(&m.Proxy)
	c.cell(&m.Worker)
	c.cell(&m.Client)
}

// UpgradeRoot replaces the registry's own code.
type UpgradeRoot struct {
	QueryID uint64
	Code    *cell.Cell
}

func (*UpgradeRoot) op() uint32                  { return 0x11aefd51 }
func (m *UpgradeRoot) fields(c codec)            { c.u64(&m.QueryID); c.cell(&m.Code) }
func (m *UpgradeRoot) Cell() (*cell.Cell, error) { return write(m) }

// UpgradeAll replaces the registry's data ([Root.Cell]) and code. Nothing else
// raises the version in that data: the sender must.
type UpgradeAll struct {
	QueryID    uint64
	Data, Code *cell.Cell
}

func (*UpgradeAll) op() uint32                  { return 0x4f7c5789 }
func (m *UpgradeAll) fields(c codec)            { c.u64(&m.QueryID); c.cell(&m.Data); c.cell(&m.Code) }
func (m *UpgradeAll) Cell() (*cell.Cell, error) { return write(m) }

// OfferOwner offers the registry to a new owner, who has to accept it with
// [AcceptOwner]. The network's own root contract changes hands at once.
type OfferOwner struct {
	QueryID uint64
	Owner   *address.Address
}

func (*OfferOwner) op() uint32                  { return 0xc4a1ae54 }
func (m *OfferOwner) fields(c codec)            { c.u64(&m.QueryID); c.change(&m.Owner) }
func (m *OfferOwner) Cell() (*cell.Cell, error) { return write(m) }

// AcceptOwner comes from the one that the registry was offered to. Only our
// root contract knows it.
type AcceptOwner struct{ QueryID uint64 }

func (*AcceptOwner) op() uint32                  { return 0x12f05f62 }
func (m *AcceptOwner) fields(c codec)            { c.u64(&m.QueryID) }
func (m *AcceptOwner) Cell() (*cell.Cell, error) { return write(m) }
