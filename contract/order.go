package contract

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/xssnick/tonutils-go/tvm/cell"
)

// MaxOrderMessages is what one order can carry: a cell has four references.
const MaxOrderMessages = 4

// Order is what a node's key tells its wallet to send, in the body of an
// external message. An order with the wallet's present seqno is accepted once;
// of several with the same seqno, one.
//
//	body  signature:512 subwallet:32 valid_until:32 seqno:32 { mode:8 ^message }×n
//
// The signature is over the hash of the cell that begins after it.
// Source: contracts.md section 11.1.
type Order struct {
	Subwallet uint32
	// ValidUntil is the first second in which the wallet refuses the order, in
	// unix time.
	ValidUntil uint32
	Seqno      uint32
	Messages   []OrderMessage
}

// OrderMessage is one message of an order. Our wallet adds mode 2 by itself: a
// message that cannot be paid is left out and the others go.
type OrderMessage struct {
	Mode uint8
	Cell *cell.Cell
}

// ErrOrder is the kind of all errors of bodies that are no order.
var ErrOrder = errors.New("not an order")

func (o *Order) signed() (*builder, error) {
	if len(o.Messages) > MaxOrderMessages {
		return nil, fmt.Errorf("order: %d messages, want at most %d", len(o.Messages), MaxOrderMessages)
	}
	b := newBuilder("order").uint(uint64(o.Subwallet), 32).uint(uint64(o.ValidUntil), 32).uint(uint64(o.Seqno), 32)
	for _, m := range o.Messages {
		if m.Cell == nil {
			return nil, errors.New("order: a message is missing")
		}
		b.uint(uint64(m.Mode), 8).ref(m.Cell)
	}
	return b, b.err
}

// Hash is what is signed. It names the order: whatever form the external
// message around it takes, the wallet accepts one order of this hash.
func (o *Order) Hash() ([32]byte, error) {
	b, err := o.signed()
	if err != nil {
		return [32]byte{}, err
	}
	return b.cell().HashKey(), nil
}

// Sign makes the body of the external message. The same order gives the same body.
func (o *Order) Sign(key ed25519.PrivateKey) (*cell.Cell, error) {
	content, err := o.signed()
	if err != nil {
		return nil, err
	}
	body := newBuilder("order").bits(ed25519.Sign(key, content.cell().Hash()), 512)
	body.do(body.b.StoreBuilder(content.b))
	return body.cell(), body.err
}

// ParseOrder reads an order without asking who signed it. Use it for bodies
// that the wallet's contract has accepted; errors wrap [ErrOrder].
func ParseOrder(body *cell.Cell) (*Order, error) {
	o, _, err := parseOrder(body)
	return o, err
}

// VerifyOrder is [ParseOrder] for bodies from anywhere.
func VerifyOrder(body *cell.Cell, key ed25519.PublicKey) (*Order, error) {
	o, signature, err := parseOrder(body)
	if err != nil {
		return nil, err
	}
	hash, err := o.Hash()
	if err != nil {
		return nil, err
	}
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, hash[:], signature) {
		return nil, fmt.Errorf("%w: %s", ErrOrder, WalletExit(1034))
	}
	return o, nil
}

func parseOrder(body *cell.Cell) (*Order, []byte, error) {
	if body == nil {
		return nil, nil, fmt.Errorf("%w: no body", ErrOrder)
	}
	in, err := open(body)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	signature := in.bits(512)
	o := &Order{Subwallet: uint32(in.uint(32)), ValidUntil: uint32(in.uint(32)), Seqno: uint32(in.uint(32))}
	for in.err == nil && in.s.RefsNum() > 0 {
		o.Messages = append(o.Messages, OrderMessage{Mode: uint8(in.uint(8)), Cell: in.ref()})
	}
	if err := in.end(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	return o, signature, nil
}
