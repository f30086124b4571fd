package contract

import (
	"errors"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// reader takes a cell apart and remembers the first thing that was missing.
type reader struct {
	s   *cell.Slice
	err error
}

// open refuses exotic cells: their hash is not that of what they show.
func open(c *cell.Cell) (*reader, error) {
	if c == nil {
		return nil, errors.New("no cell")
	}
	if c.IsSpecial() {
		return nil, errors.New("exotic cell, want an ordinary one")
	}
	s, err := c.BeginParse()
	return &reader{s: s}, err
}

// inside opens a cell for the reader's own error; after one nothing is read.
func (r *reader) inside(what string, c *cell.Cell, read func(*reader)) {
	if r.err != nil {
		return
	}
	in, err := open(c)
	if err == nil {
		read(in)
		err = in.end()
	}
	if err != nil {
		r.err = fmt.Errorf("%s: %w", what, err)
	}
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) uint(size uint) (v uint64) {
	if r.err == nil {
		v, r.err = r.s.LoadUInt(size)
	}
	return v
}

func (r *reader) bit() bool { return r.uint(1) == 1 }

func (r *reader) bits(size uint) (v []byte) {
	if r.err == nil {
		v, r.err = r.s.LoadSlice(size)
	}
	return v
}

func (r *reader) hash() (h [32]byte) {
	if b := r.bits(256); r.err == nil {
		h = [32]byte(b)
	}
	return h
}

// coins reads an amount; what is more than there is becomes the largest.
func (r *reader) coins() coin.Nano {
	if r.err != nil {
		return 0
	}
	v, err := r.s.LoadBigCoins()
	r.fail(err)
	return coin.FromBig(v)
}

func (r *reader) ref() (c *cell.Cell) {
	if r.err == nil {
		c, r.err = r.s.LoadRefCell()
	}
	return c
}

// maybeRef is nil if the bit says that there is none.
func (r *reader) maybeRef() *cell.Cell {
	if !r.bit() {
		return nil
	}
	return r.ref()
}

func (r *reader) addr() *address.Address {
	a := r.anyAddr()
	if r.err == nil && !standard(a) {
		r.err = errors.New("not a standard address")
	}
	return a
}

// anyAddr takes all forms of an address, none included: where to send the
// change is often written by strangers, and a message is read all the same.
func (r *reader) anyAddr() (a *address.Address) {
	if r.err == nil {
		a, r.err = r.s.LoadAddr()
	}
	return a
}

func (r *reader) text() string {
	if r.bit() {
		r.fail(errors.New("text of kind 1, want kind 0"))
	}
	return string(r.bits(uint(r.uint(7)) * 8))
}

func (r *reader) end() error {
	if r.err == nil && (r.s.BitsLeft() != 0 || r.s.RefsNum() != 0) {
		r.err = fmt.Errorf("%d bits and %d references too many", r.s.BitsLeft(), r.s.RefsNum())
	}
	return r.err
}
