package contract_test

import (
	"crypto/ed25519"
	"errors"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// nodeWallet is a node's wallet contract and the key that gives it orders.
type nodeWallet struct {
	account
	owner *person
	key   ed25519.PrivateKey
}

func (n *network) nodeWallet(name string, owner *person, funds coin.Nano) *nodeWallet {
	n.t.Helper()
	w := &nodeWallet{owner: owner, key: n.chain.Key(name)}
	at, init, err := contract.NewWallet(contract.OurCodes().Wallet, owner.addr, publicOf(w.key))
	w.account = n.deploy(name, &contract.Deployment{Address: at, Init: init}, err, funds)
	n.watched[at.StringRaw()] = w
	return w
}

func (w *nodeWallet) address() *address.Address { return w.addr }

func (w *nodeWallet) state() *contract.WalletState {
	w.n.t.Helper()
	s, err := contract.ParseWalletState(w.data())
	w.n.must(err)
	return s
}

func (w *nodeWallet) inspect() error {
	s, err := contract.ParseWalletState(w.data())
	if err != nil {
		return err
	}
	if err := w.agrees("seqno", s.Seqno); err != nil {
		return err
	}
	if err := w.agrees("get_public_key", s.Key); err != nil {
		return err
	}
	return w.agrees("get_owner_address", s.Owner)
}

// order is valid for an hour and carries the present seqno.
func (w *nodeWallet) order(messages ...contract.OrderMessage) *contract.Order {
	return &contract.Order{ValidUntil: w.n.now() + 3600, Seqno: w.state().Seqno, Messages: messages}
}

// orders signs and submits. A refusal is an outcome with the wallet's exit code.
func (w *nodeWallet) orders(o *contract.Order) *outcome {
	w.n.t.Helper()
	body, err := o.Sign(w.key)
	w.n.must(err)
	return w.submits(body, w.addr)
}

func (w *nodeWallet) submits(body *cell.Cell, to *address.Address) *outcome {
	w.n.t.Helper()
	external, err := tlb.ToCell(&tlb.ExternalMessage{DstAddr: w.addr, Body: body})
	w.n.must(err)
	trace, err := w.n.chain.Send(external)
	if refused := (*localnet.RefusedError)(nil); errors.As(err, &refused) && refused.Reason == nil {
		return &outcome{n: w.n, steps: []step{{name: w.name, at: w.addr, exit: contract.WalletExit(int32(refused.ExitCode))}}}
	}
	w.n.must(err)
	return w.n.outcome(trace, to)
}

func (w *nodeWallet) send(to *address.Address, value coin.Nano, body *cell.Cell, init *tlb.StateInit) *outcome {
	w.n.t.Helper()
	return w.orders(w.order(w.message(1, to, value, body, init)))
}

func (w *nodeWallet) message(mode uint8, to *address.Address, value coin.Nano, body *cell.Cell, init *tlb.StateInit) contract.OrderMessage {
	w.n.t.Helper()
	c, err := tlb.ToCell(&tlb.InternalMessage{
		IHRDisabled: true, Bounce: init == nil, SrcAddr: address.NewAddressNone(), DstAddr: to, Amount: amount(value), Body: body, StateInit: init,
	})
	w.n.must(err)
	return contract.OrderMessage{Mode: mode, Cell: c}
}

// note is a message to somebody whose wallet keeps it.
func (w *nodeWallet) note(value coin.Nano) contract.OrderMessage {
	return w.message(1, w.n.founder.addr, value, raw(0x11223344), nil)
}
