package contract

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// PaymentKind says which contract a payment is for.
type PaymentKind uint32

const (
	// Charge lets the client contract be charged up to a total.
	Charge PaymentKind = 0xbb63ff93
	// Payout lets the worker contract ask for its fee up to a total.
	Payout PaymentKind = 0xa040ad28
)

func (k PaymentKind) String() string {
	switch k {
	case Charge:
		return "charge"
	case Payout:
		return "payout"
	}
	return fmt.Sprintf("%#08x", uint32(k))
}

// Payment is a proxy's signed promise about one counter. It names a running
// total, so a later one replaces all earlier ones and none can be used twice.
//
//	envelope  op:32 query:64 excess:Addr signature:512 ^payload   875 bits
//	payload   op:32 query:64 tokens:64 contract:Addr              427 bits
//
// The signature is over the payload cell's hash; Excess is outside it: who
// submits the payment puts there whom to send the change.
// Source: contracts.md section 6, wire.md section 8.2.
type Payment struct {
	Kind PaymentKind
	// QueryID is free; contracts repeat it in their answers.
	QueryID uint64
	// Excess receives the change of the message that carries the payment.
	Excess *address.Address
	// Tokens is the running total in adjusted tokens, below 2^63.
	Tokens int64
	// Contract is the client's or worker's contract.
	Contract *address.Address
}

// ErrPayment is the kind of all errors that a peer's payment can cause: the
// peer is broken or lies, so drop it.
var ErrPayment = errors.New("invalid payment")

// A payment is two cells; a bag around it may carry an index, stored hashes
// and a checksum, but nothing that takes more room than this.
const (
	maxPaymentBytes = 2048
	maxPaymentCells = 8
)

// Sign writes the payment as the bag of cells that peers expect. It costs
// tens of microseconds: sign when the total has changed, not on every request.
func (p *Payment) Sign(key ed25519.PrivateKey) ([]byte, error) {
	if p.Tokens < 0 {
		return nil, fmt.Errorf("payment: %d tokens, want 0 or more", p.Tokens)
	}
	payload := newBuilder("payment")
	payload.uint(uint64(p.Kind), 32).uint(p.QueryID, 64).uint(uint64(p.Tokens), 64).addr(p.Contract)
	if payload.err != nil {
		return nil, payload.err
	}
	signed := payload.cell()
	envelope := newBuilder("payment")
	envelope.uint(uint64(p.Kind), 32).uint(p.QueryID, 64).addr(p.Excess).bits(ed25519.Sign(key, signed.Hash()), 512).ref(signed)
	if envelope.err != nil {
		return nil, envelope.err
	}
	return envelope.cell().ToBOCWithOptions(cell.BOCSerializeOptions{}), nil
}

// VerifyPayment reads a payment that came from a peer and believes it only if
// it is of this kind, for this contract and signed by this key. Any valid bag
// of cells is accepted, anything beyond the layout is not. Errors wrap [ErrPayment].
func VerifyPayment(data []byte, kind PaymentKind, contract *address.Address, key ed25519.PublicKey) (*Payment, error) {
	p, signature, signed, err := parsePayment(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayment, err)
	}
	switch {
	case p.Kind != kind:
		return nil, fmt.Errorf("%w: kind is %s, want %s", ErrPayment, p.Kind, kind)
	case !sameAccount(p.Contract, contract):
		return nil, fmt.Errorf("%w: for contract %s, want %s", ErrPayment, p.Contract, contract)
	case len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, signed, signature):
		return nil, fmt.Errorf("%w: signature is not the proxy's", ErrPayment)
	}
	return p, nil
}

func sameAccount(a, b *address.Address) bool {
	return a != nil && b != nil && a.Workchain() == b.Workchain() && bytes.Equal(a.Data(), b.Data())
}

func parsePayment(data []byte) (p *Payment, signature, signed []byte, err error) {
	if len(data) > maxPaymentBytes {
		return nil, nil, nil, fmt.Errorf("%d bytes, want at most %d", len(data), maxPaymentBytes)
	}
	root, err := cell.FromBOCWithOptions(data, cell.BOCParseOptions{MaxCells: maxPaymentCells})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("not a bag of cells: %w", err)
	}
	envelope, err := open(root)
	if err != nil {
		return nil, nil, nil, err
	}
	p = &Payment{Kind: PaymentKind(envelope.uint(32)), QueryID: envelope.uint(64), Excess: envelope.addr()}
	signature = envelope.bits(512)
	payloadCell := envelope.ref()
	if err = envelope.end(); err != nil {
		return nil, nil, nil, fmt.Errorf("envelope: %w", err)
	}
	if err = p.parsePayload(payloadCell); err != nil {
		return nil, nil, nil, fmt.Errorf("payload: %w", err)
	}
	return p, signature, payloadCell.Hash(), nil
}

func (p *Payment) parsePayload(c *cell.Cell) error {
	s, err := open(c)
	if err != nil {
		return err
	}
	kind, query, tokens := PaymentKind(s.uint(32)), s.uint(64), s.uint(64)
	p.Contract = s.addr()
	switch err := s.end(); {
	case err != nil:
		return err
	case kind != p.Kind || query != p.QueryID:
		return fmt.Errorf("says %s %d, envelope says %s %d", kind, query, p.Kind, p.QueryID)
	case tokens > math.MaxInt64:
		return fmt.Errorf("%d tokens, want below 2^63", tokens)
	}
	p.Tokens = int64(tokens)
	return nil
}

// reader takes a cell apart and remembers the first thing that was missing.
type reader struct {
	s   *cell.Slice
	err error
}

// open refuses exotic cells: their hash is not that of what they show.
func open(c *cell.Cell) (*reader, error) {
	if c.IsSpecial() {
		return nil, errors.New("exotic cell, want an ordinary one")
	}
	s, err := c.BeginParse()
	return &reader{s: s}, err
}

func (r *reader) uint(size uint) (v uint64) {
	if r.err == nil {
		v, r.err = r.s.LoadUInt(size)
	}
	return v
}

func (r *reader) bits(size uint) (v []byte) {
	if r.err == nil {
		v, r.err = r.s.LoadSlice(size)
	}
	return v
}

func (r *reader) ref() (c *cell.Cell) {
	if r.err == nil {
		c, r.err = r.s.LoadRefCell()
	}
	return c
}

func (r *reader) addr() (a *address.Address) {
	if r.err != nil {
		return nil
	}
	a, r.err = r.s.LoadAddr()
	if r.err == nil && (a.Type() != address.StdAddress || a.Anycast() != nil) {
		r.err = errors.New("not a standard address")
	}
	return a
}

func (r *reader) end() error {
	if r.err == nil && (r.s.BitsLeft() != 0 || r.s.RefsNum() != 0) {
		r.err = fmt.Errorf("%d bits and %d references too many", r.s.BitsLeft(), r.s.RefsNum())
	}
	return r.err
}
