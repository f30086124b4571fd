package contract

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// PaymentKind says what a proxy's signature does at which contract.
type PaymentKind uint32

const (
	// Charge lets the client contract be charged up to a total.
	Charge PaymentKind = 0xbb63ff93
	// GrantRefund charges a client for the last time and returns the rest.
	GrantRefund PaymentKind = 0xefd711e1
	// Payout lets the worker contract ask for its fee up to a total.
	Payout PaymentKind = 0xa040ad28
	// LastPayout is a payout that closes the worker's contract.
	LastPayout PaymentKind = 0xf5f26a36
	// CloseRequest starts to close the proxy's own contract.
	CloseRequest PaymentKind = 0x636a4391
	// CloseComplete ends it.
	CloseComplete PaymentKind = 0xe511abc7
)

// paymentKinds: whether a kind has a counter, and whether a peer may have it.
// With a grant or a last payout in hand a peer could close its account before
// all of it is booked; with the others, the proxy.
var paymentKinds = map[PaymentKind]struct {
	name           string
	counter, peers bool
}{
	Charge:        {"charge", true, true},
	GrantRefund:   {"grant refund", true, false},
	Payout:        {"payout", true, true},
	LastPayout:    {"last payout", true, false},
	CloseRequest:  {"close request", false, false},
	CloseComplete: {"close complete", false, false},
}

func (k PaymentKind) String() string {
	if x, ok := paymentKinds[k]; ok {
		return x.name
	}
	return fmt.Sprintf("%#08x", uint32(k))
}

// ForPeers says whether a signed payment of this kind may be handed to a peer.
// The others the proxy sends itself.
func (k PaymentKind) ForPeers() bool { return paymentKinds[k].peers }

// Payment is a proxy's promise about one counter, or its order to its own
// contract. A counter is a running total, so a later payment replaces all
// earlier ones and none can be used twice. [Payment.Sign] makes it an [Envelope].
type Payment struct {
	Kind PaymentKind
	// QueryID is free; contracts repeat it in their answers.
	QueryID uint64
	// Excess receives the change of the message that carries the payment.
	Excess *address.Address
	// Tokens is the running total in adjusted tokens, below 2^63; zero for
	// the two kinds that close the proxy's contract.
	Tokens int64
	// Contract is the one that the payment is for.
	Contract *address.Address
}

// Sign makes the payment good. It costs tens of microseconds: sign when the
// total has changed, not on every request.
func (p *Payment) Sign(key ed25519.PrivateKey) (*Envelope, error) {
	payload, err := p.unsigned()
	if err != nil {
		return nil, err
	}
	e := &Envelope{*p, ed25519.Sign(key, payload.Hash()), payload}
	_, err = e.Cell()
	return e, err
}

// unsigned is the payload, which gets signed:
//
//	op:32 query:64 [tokens:64] contract:Addr
func (p *Payment) unsigned() (*cell.Cell, error) {
	kind, known := paymentKinds[p.Kind]
	switch {
	case !known:
		return nil, fmt.Errorf("payment: kind is %s, want one that contracts know", p.Kind)
	case p.Tokens < 0 || p.Tokens != 0 && !kind.counter:
		return nil, fmt.Errorf("%s: %d tokens, want 0 or, for a counter, more", p.Kind, p.Tokens)
	}
	b := newBuilder(p.Kind.String()).uint(uint64(p.Kind), 32).uint(p.QueryID, 64)
	if kind.counter {
		b.uint(uint64(p.Tokens), 64)
	}
	return b.addr(p.Contract).done()
}

// readPayload is the way back; what is inside must agree with the envelope.
func (p *Payment) readPayload(in *reader) {
	kind, query := PaymentKind(in.uint(32)), in.uint(64)
	if in.err == nil && (kind != p.Kind || query != p.QueryID) {
		in.fail(fmt.Errorf("says %s %d, envelope says %s %d", kind, query, p.Kind, p.QueryID))
	}
	if paymentKinds[p.Kind].counter {
		tokens := in.uint(64)
		if tokens > math.MaxInt64 {
			in.fail(fmt.Errorf("%d tokens, want below 2^63", tokens))
		}
		p.Tokens = int64(tokens)
	}
	p.Contract = in.addr()
}

// ErrPayment is the kind of all errors that a peer's payment can cause: the
// peer is broken or lies, so drop it.
var ErrPayment = errors.New("invalid payment")
