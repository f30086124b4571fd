package contract

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// Envelope is a signed payment.
//
//	envelope  op:32 query:64 excess:MsgAddress signature:512 ^payload
//
// The signature is over the payload cell's hash; Excess is outside it: who
// submits the payment puts there whom to send the change ([Envelope.Repack]).
// As a [Body] it is what the contract gets; peers get [Envelope.ForPeer].
// Source: contracts.md section 6, wire.md section 8.2.
type Envelope struct {
	// Payment is what the payload says. Changing it does not change the payload.
	Payment
	signature []byte
	payload   *cell.Cell
}

func (e *Envelope) op() uint32 { return uint32(e.Kind) }

func (e *Envelope) fields(c codec) {
	c.u64(&e.QueryID)
	c.change(&e.Excess)
	c.signature(&e.signature)
	c.cell(&e.payload)
	if r, ok := c.(reading); ok {
		r.reader.inside("payload", e.payload, e.readPayload)
	}
}

// Cell is the message that submits the payment to its contract. A grant or a
// last payout must go nowhere else.
func (e *Envelope) Cell() (*cell.Cell, error) { return write(e) }

// Repack is the same payment with the change going to excess. The signature holds.
func (e *Envelope) Repack(excess *address.Address) *Envelope {
	again := *e
	again.Excess = excess
	return &again
}

// ForPeer is the payment as a peer expects it, a bag of cells. It refuses the
// kinds that must not leave the proxy: there is no other way to peers.
func (e *Envelope) ForPeer() ([]byte, error) {
	if !e.Kind.ForPeers() {
		return nil, fmt.Errorf("%s: not for peers: the proxy sends it itself", e.Kind)
	}
	return e.boc()
}

func (e *Envelope) boc() ([]byte, error) {
	c, err := e.Cell()
	if err != nil {
		return nil, err
	}
	return c.ToBOCWithOptions(cell.BOCSerializeOptions{}), nil
}

// Verify says whether the payment is for this contract and signed by this key.
// Errors wrap [ErrPayment].
func (e *Envelope) Verify(contract *address.Address, key ed25519.PublicKey) error {
	switch {
	case !sameAccount(e.Contract, contract):
		return fmt.Errorf("%w: for contract %s, want %s", ErrPayment, e.Contract, contract)
	case e.payload == nil || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, e.payload.Hash(), e.signature):
		return fmt.Errorf("%w: signature is not the proxy's", ErrPayment)
	}
	return nil
}

func sameAccount(a, b *address.Address) bool {
	return a != nil && b != nil && a.Workchain() == b.Workchain() && bytes.Equal(a.Data(), b.Data())
}

// A payment is two cells; a bag around it may carry an index, stored hashes
// and a checksum, but nothing that takes more room than this.
const (
	maxPaymentBytes = 2048
	maxPaymentCells = 8
)

// VerifyPayment reads a payment that came from a peer and believes it only if
// it is of this kind, for this contract and signed by this key. Any valid bag
// of cells is accepted; anything beyond the layout, or that no chain would
// take, is not. Errors wrap [ErrPayment].
func VerifyPayment(data []byte, kind PaymentKind, contract *address.Address, key ed25519.PublicKey) (*Envelope, error) {
	e, err := parseEnvelope(data)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrPayment, err)
	case e.Kind != kind:
		return nil, fmt.Errorf("%w: kind is %s, want %s", ErrPayment, e.Kind, kind)
	}
	if err := e.Verify(contract, key); err != nil {
		return nil, err
	}
	return e, nil
}

func parseEnvelope(data []byte) (*Envelope, error) {
	if len(data) > maxPaymentBytes {
		return nil, fmt.Errorf("%d bytes, want at most %d", len(data), maxPaymentBytes)
	}
	root, err := parseBOC(data, maxPaymentCells)
	if err != nil {
		return nil, err
	}
	body, err := ParseBody(root)
	if err != nil {
		return nil, err
	}
	e, ok := body.(*Envelope)
	switch {
	case !ok:
		return nil, fmt.Errorf("%T, want a signed payment", body)
	case !standard(e.Excess):
		return nil, errors.New("excess: not a standard address")
	}
	return e, nil
}

// parseBOC reads a message from the bag of cells of somebody who may be lying:
// one root, at most maxCells cells, each of level 0 as in a message they must be.
//
// A cell's level is part of its hash. The library believes the level a bag
// states, the network's nodes compute it: a signature over a false one would
// look good here and be refused by every chain.
func parseBOC(data []byte, maxCells int) (*cell.Cell, error) {
	root, err := cell.FromBOCWithOptions(data, cell.BOCParseOptions{MaxCells: maxCells})
	if err != nil {
		return nil, fmt.Errorf("not a bag of cells: %w", err)
	}
	seen := make(map[cell.Hash]bool)
	var check func(*cell.Cell) error
	check = func(c *cell.Cell) error {
		if seen[c.HashKey()] {
			return nil
		}
		seen[c.HashKey()] = true
		if t := c.GetType(); c.Level() != 0 || t != cell.OrdinaryCellType && t != cell.LibraryCellType {
			return fmt.Errorf("a cell of kind %d and level %d, want a message of ordinary cells of level 0", t, c.Level())
		}
		for i := range int(c.RefsNum()) {
			ref, err := c.PeekRef(i)
			if err != nil {
				return err
			}
			if err := check(ref); err != nil {
				return err
			}
		}
		return nil
	}
	return root, check(root)
}
