package contract

import (
	"errors"
	"fmt"

	"github.com/xssnick/tonutils-go/tvm/cell"
)

// Body is what a message says. Each of the contracts' messages is one small
// struct here: build it and take its Cell, or get it from [ParseBody].
//
// In all of them QueryID is the sender's choice and comes back in the answers,
// and Excess is where the change goes. What is read from the chain may have
// any form of address there, none included; what is written must be standard.
type Body interface {
	// Cell is the body with its operation first.
	Cell() (*cell.Cell, error)
}

// ErrUnknownOp means that a body is none of ours. Contracts get such messages
// from anybody; ignore them.
var ErrUnknownOp = errors.New("unknown operation")

// message is a body of the usual form: op:32 and its fields.
type message interface {
	Body
	op() uint32
	fields(codec)
}

func write(m message) (*cell.Cell, error) {
	b := newBuilder(fmt.Sprintf("message %T", m))
	b.uint(uint64(m.op()), 32)
	m.fields(writing{b})
	return b.done()
}

// messages makes an empty message of each kind. Hash lists, payments and text
// commands have operations of their own besides.
var messages = byOp(
	func() message { return &Excesses{} }, func() message { return &PaidOut{} }, func() message { return &SaveState{} },

	func() message { return &RegisterProxy{} }, func() message { return &UnregisterProxy{} }, func() message { return &UpdateProxy{} },
	func() message { return &ChangePrice{} }, func() message { return &ChangeParams{} }, func() message { return &ChangeAllParams{} },
	func() message { return &UpgradeContracts{} }, func() message { return &UpgradeRoot{} }, func() message { return &UpgradeAll{} },
	func() message { return &ResetLists{} }, func() message { return &OfferOwner{} }, func() message { return &AcceptOwner{} },
	func() message { return &ChangeKeyManager{} }, func() message { return &AddKey{} }, func() message { return &SignedKey{} },

	func() message { return &PayoutRequest{} }, func() message { return &IncreaseStake{} },
	func() message { return &OwnerClose{} }, func() message { return &OwnerFinish{} },
	func() message { return &WorkerRequest{} }, func() message { return &ClientRequest{} },

	func() message { return &WorkerRegister{} }, func() message { return &Collect{} },

	func() message { return &TopUp{} }, func() message { return &SecretTopUp{} }, func() message { return &ClientRegister{} },
	func() message { return &ChangeSecret{} }, func() message { return &RaiseStake{} },
	func() message { return &Withdraw{} }, func() message { return &RequestRefund{} },
)

func byOp(makers ...func() message) map[uint32]func() message {
	m := make(map[uint32]func() message, len(makers))
	for _, f := range makers {
		m[f().op()] = f
	}
	for list, ops := range hashOps {
		for i, op := range ops {
			m[op] = func() message { return &ChangeHash{List: HashList(list), Remove: i == 1} }
		}
	}
	for kind := range paymentKinds {
		m[uint32(kind)] = func() message { return &Envelope{Payment: Payment{Kind: kind}} }
	}
	return m
}

// ParseBody reads a message's body, to its last bit. [ErrUnknownOp] if it is
// none of these contracts' own.
func ParseBody(body *cell.Cell) (Body, error) {
	in, err := open(body)
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if in.end() == nil {
		return Empty{}, nil
	}
	in.err = nil
	op := uint32(in.uint(32))
	if in.err != nil {
		return nil, fmt.Errorf("body: %w: %w", ErrUnknownOp, in.err)
	}
	if op == opText {
		return parseText(in)
	}
	empty, ok := messages[op]
	if !ok {
		return nil, fmt.Errorf("body: %w %08x", ErrUnknownOp, op)
	}
	m := empty()
	m.fields(reading{in})
	if err := in.end(); err != nil {
		return nil, fmt.Errorf("message %T: %w", m, err)
	}
	return m, nil
}

// Empty is a message without a body: a contract keeps its coins and does nothing.
type Empty struct{}

// Cell is the empty cell.
func (Empty) Cell() (*cell.Cell, error) { return emptyCell, nil }

const opText = 0

// Text is a command of one letter that people send from their wallets as a
// comment: 'c' closes a proxy's contract, 'w' withdraws.
type Text struct{ Letter byte }

// Cell is the comment as wallets write it.
func (t Text) Cell() (*cell.Cell, error) {
	return newBuilder("text").uint(opText, 32).uint(uint64(t.Letter), 8).done()
}

func parseText(in *reader) (Body, error) {
	t := Text{byte(in.uint(8))}
	if err := in.end(); err != nil {
		return nil, fmt.Errorf("body: %w: comment of other than one letter", ErrUnknownOp)
	}
	return t, nil
}

// Excesses is the change of a message that a contract has dealt with.
type Excesses struct{ QueryID uint64 }

func (*Excesses) op() uint32                  { return 0x2565934c }
func (m *Excesses) fields(c codec)            { c.u64(&m.QueryID) }
func (m *Excesses) Cell() (*cell.Cell, error) { return write(m) }

// PaidOut is the payout message: it carries money that a proxy's contract pays
// to its owner, a worker's owner or a client's wallet.
type PaidOut struct{ QueryID uint64 }

func (*PaidOut) op() uint32                  { return 0xc59a7cd3 }
func (m *PaidOut) fields(c codec)            { c.u64(&m.QueryID) }
func (m *PaidOut) Cell() (*cell.Cell, error) { return write(m) }
