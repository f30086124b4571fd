package contract

import (
	"errors"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// builder writes a cell and remembers the first thing that did not fit, so
// that layouts read as one line.
type builder struct {
	what string
	b    *cell.Builder
	err  error
}

func newBuilder(what string) *builder { return &builder{what: what, b: cell.BeginCell()} }

func (b *builder) do(err error) *builder {
	if b.err == nil && err != nil {
		b.err = fmt.Errorf("%s: %w", b.what, err)
	}
	return b
}

func (b *builder) uint(v uint64, size uint) *builder { return b.do(b.b.StoreUInt(v, size)) }
func (b *builder) ref(c *cell.Cell) *builder         { return b.do(b.b.StoreRef(c)) }
func (b *builder) dict(d *cell.Dictionary) *builder  { return b.do(b.b.StoreDict(d)) }

func (b *builder) coins(v coin.Nano) *builder {
	if v < 0 {
		return b.do(fmt.Errorf("amount is %s, want 0 or more", v.Text()))
	}
	return b.do(b.b.StoreCoins(uint64(v)))
}

func (b *builder) bits(v []byte, size uint) *builder {
	if uint(len(v))*8 != size {
		return b.do(fmt.Errorf("got %d bits, want %d", len(v)*8, size))
	}
	return b.do(b.b.StoreSlice(v, size))
}

// Only full addresses have a place in the contracts' data and messages: an
// absent one would be stored silently as two zero bits and give a wrong
// contract, or lose the change.
func (b *builder) addr(a *address.Address) *builder {
	if !standard(a) {
		return b.do(errors.New("a standard address is missing"))
	}
	return b.do(b.b.StoreAddr(a))
}

func standard(a *address.Address) bool {
	return a != nil && a.Type() == address.StdAddress && a.Anycast() == nil
}

// text writes the form of all texts here: kind:1(=0) size:uint7 bytes.
func (b *builder) text(s string) *builder {
	if len(s) > maxText {
		return b.do(fmt.Errorf("text %q has %d bytes, want at most %d", clip(s), len(s), maxText))
	}
	return b.uint(uint64(len(s)), 8).bits([]byte(s), uint(len(s))*8)
}

// maxText is what seven bits can say.
const maxText = 127

func (b *builder) cell() *cell.Cell { return b.b.EndCell() }

// done is the cell, if everything fitted.
func (b *builder) done() (*cell.Cell, error) {
	if b.err != nil {
		return nil, b.err
	}
	return b.cell(), nil
}

var emptyCell = cell.BeginCell().EndCell()
