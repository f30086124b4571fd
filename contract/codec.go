package contract

import (
	"crypto/ed25519"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// codec goes through a layout field by field: [writing] stores each, [reading]
// fills it in. So a layout is written down once, and what one side writes the
// other reads.
type codec interface {
	u8(*uint8)
	u32(*uint32)
	u64(*uint64)
	state(*State)
	hash(*[32]byte)
	key(*ed25519.PublicKey)
	signature(*[]byte)
	amount(*coin.Nano)
	text(*string)
	// account is the address of a contract or a wallet.
	account(**address.Address)
	// change is where the change goes. Readers take any form of it, none
	// included; writers only what can be paid.
	change(**address.Address)
	cell(**cell.Cell)
	// last is an amount that may follow at the end; absent is nil.
	last(**coin.Nano)
	// must is a number that is always the same.
	must(uint32)
	// refuse gives up: what was read so far has no layout.
	refuse(error)
	// inside is a layout in a cell of its own.
	inside(what string, fields func(codec))
	// maybe is a bit and, if it is set, the same.
	maybe(has bool, what string, fields func(codec))
}

type writing struct{ *builder }

func (w writing) u8(v *uint8)              { w.uint(uint64(*v), 8) }
func (w writing) u32(v *uint32)            { w.uint(uint64(*v), 32) }
func (w writing) u64(v *uint64)            { w.uint(*v, 64) }
func (w writing) state(v *State)           { w.uint(uint64(*v), 2) }
func (w writing) hash(v *[32]byte)         { w.bits(v[:], 256) }
func (w writing) key(v *ed25519.PublicKey) { w.bits(*v, 256) }
func (w writing) signature(v *[]byte)      { w.bits(*v, 512) }
func (w writing) amount(v *coin.Nano)      { w.coins(*v) }
func (w writing) text(v *string)           { w.builder.text(*v) }
func (w writing) last(v **coin.Nano) {
	if *v != nil {
		w.coins(**v)
	}
}
func (w writing) account(v **address.Address) { w.addr(*v) }
func (w writing) change(v **address.Address)  { w.addr(*v) }
func (w writing) must(v uint32)               { w.uint(uint64(v), 32) }
func (w writing) refuse(err error)            { w.do(err) }

func (w writing) cell(v **cell.Cell) {
	if *v == nil {
		w.do(fmt.Errorf("a cell is missing"))
		return
	}
	w.ref(*v)
}

func (w writing) inside(what string, fields func(codec)) {
	in := newBuilder(what)
	fields(writing{in})
	w.do(in.err).ref(in.cell())
}

func (w writing) maybe(has bool, what string, fields func(codec)) {
	if !has {
		w.uint(0, 1)
		return
	}
	w.uint(1, 1)
	w.inside(what, fields)
}

type reading struct{ *reader }

func (r reading) u8(v *uint8)              { *v = uint8(r.uint(8)) }
func (r reading) u32(v *uint32)            { *v = uint32(r.uint(32)) }
func (r reading) u64(v *uint64)            { *v = r.uint(64) }
func (r reading) hash(v *[32]byte)         { *v = r.reader.hash() }
func (r reading) key(v *ed25519.PublicKey) { *v = r.bits(256) }
func (r reading) signature(v *[]byte)      { *v = r.bits(512) }
func (r reading) amount(v *coin.Nano)      { *v = r.coins() }
func (r reading) text(v *string)           { *v = r.reader.text() }
func (r reading) last(v **coin.Nano) {
	if r.err == nil && r.s.BitsLeft() > 0 {
		amount := r.coins()
		*v = &amount
	}
}
func (r reading) account(v **address.Address) { *v = r.addr() }
func (r reading) change(v **address.Address)  { *v = r.anyAddr() }
func (r reading) cell(v **cell.Cell)          { *v = r.ref() }
func (r reading) refuse(err error)            { r.fail(err) }

func (r reading) must(v uint32) {
	if got := uint32(r.uint(32)); r.err == nil && got != v {
		r.fail(fmt.Errorf("operation inside is %08x, want %08x", got, v))
	}
}

// No contract stores state 3; the network's nodes use it for "never heard of".
func (r reading) state(v *State) {
	*v = State(r.uint(2))
	if *v > Closed {
		r.fail(fmt.Errorf("state is %d, want 0 to %d", *v, Closed))
	}
}

func (r reading) inside(what string, fields func(codec)) {
	r.reader.inside(what, r.ref(), func(in *reader) { fields(reading{in}) })
}

func (r reading) maybe(_ bool, what string, fields func(codec)) {
	if r.bit() {
		r.inside(what, fields)
	}
}
