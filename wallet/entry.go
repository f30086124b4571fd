package wallet

import (
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
)

// Outcome is what became of a message.
type Outcome struct {
	ID uint64 `json:"id"`
	// Sent says that the message left the wallet; it arrives unless its
	// receiver does not exist or refuses it. If it is false, nothing left and
	// nothing will: enqueue another if it is still wanted.
	Sent bool `json:"sent"`
	// Tx is the wallet's transaction that carried out the order, At its time.
	Tx TxID  `json:"tx"`
	At int64 `json:"at"` // unix seconds
	// Out is the hash of the message that left, and OutLT its logical time: the
	// receiver's transaction has it as its inbound message.
	Out   Hash   `json:"out"`
	OutLT uint64 `json:"out_lt"`
	// Why nothing left.
	Why string `json:"why,omitempty"`
	// Unknown is set if the order was not in the journal: the journal was
	// restored from a copy, or lost.
	Unknown bool `json:"unknown,omitempty"`
}

// entry is a message, in the queue until its outcome is known.
type entry struct {
	id       uint64
	accepted time.Time
	boc      []byte
	cell     *cell.Cell // as orders carry it; its hash names it
	hash     Hash
	message  *tlb.InternalMessage // nil once finished
	value    coin.Nano
	fee      coin.Nano // an estimate, what sending costs besides the value
	outcome  *Outcome
	done     chan struct{} // closed when outcome is set
}

func newEntry(a *accepted) (*entry, error) {
	c, err := cell.FromBOC(a.Cell)
	if err != nil {
		return nil, fmt.Errorf("message %d: %w", a.ID, err)
	}
	m := &tlb.InternalMessage{}
	if err := tlb.Parse(m, c); err != nil {
		return nil, fmt.Errorf("message %d: %w", a.ID, err)
	}
	if m.Body == nil {
		m.Body = cell.BeginCell().EndCell()
	}
	return &entry{
		id: a.ID, accepted: time.Unix(a.At, 0), boc: a.Cell, cell: c, hash: Hash(c.HashKey()), message: m,
		value: coin.FromBig(m.Amount.Nano()), fee: feeOf(c), done: make(chan struct{}),
	}, nil
}

// left says whether a message that left a wallet is this one.
func (e *entry) left(out *ton.Message) bool {
	m := e.message
	return out.To != nil && out.To.Equals(m.DstAddr) && out.Value == e.value && out.Bounce == m.Bounce && out.Body.HashKey() == m.Body.HashKey()
}

// Fees of the basechain, in nanoTON, as set since 2024. They only decide how
// much is put aside; the reserve makes up for what they miss.
const (
	orderGas   = 10_000_000 // a third of it is usual: importing the order, gas, storage
	lumpFee    = 400_000
	feePerBit  = 400
	feePerCell = 40_000
)

// feeOf estimates what a message costs its sender besides its value.
func feeOf(c *cell.Cell) coin.Nano {
	bits, cells := coin.Nano(0), coin.Nano(0)
	seen := map[cell.Hash]bool{}
	var walk func(*cell.Cell, int)
	walk = func(c *cell.Cell, depth int) {
		if seen[c.HashKey()] || depth > 512 {
			return
		}
		seen[c.HashKey()] = true
		bits, cells = bits+coin.Nano(c.BitsSize()), cells+1
		for i := range int(c.RefsNum()) {
			if ref, err := c.PeekRef(i); err == nil {
				walk(ref, depth+1)
			}
		}
	}
	walk(c, 0)
	return orderGas + lumpFee + bits*feePerBit + cells*feePerCell
}
