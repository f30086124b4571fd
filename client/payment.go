package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"slices"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/tl"
)

// account is what one proxy says we owe it. It outlives connections.
type account struct {
	name      string // in the tally
	contract  *address.Address
	key       ed25519.PublicKey
	tally     *ledger.Tally
	registrar Registrar // nil without a chain

	mu      sync.Mutex // guards below
	signed  int64      // highest verified total, in adjusted tokens
	data    []byte     // the payment that says so
	db, max int64      // totals that the proxy has stored and counted
	fell    int64      // times a total was below an earlier one
	pending []byte     // newest payment not yet verified
}

// accountOf returns the account with the proxy behind a client contract.
func (c *Client) accountOf(contract *address.Address, key ed25519.PublicKey) *account {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := contract.String()
	if c.accounts[name] == nil {
		c.accounts[name] = &account{name: contract.StringRaw(), contract: contract, key: key, tally: c.cfg.Tally, registrar: c.cfg.Registrar}
	}
	return c.accounts[name]
}

// counted notes totals. They only grow; a proxy that comes back with smaller
// ones has forgotten something, in our favour.
func (a *account) counted(stored, all int64) {
	a.tally.Said(a.name, all)
	a.note(stored, all)
}

// answered notes totals that were asked for.
func (a *account) answered(stored, all int64, asked ledger.Asked) {
	a.tally.Answered(a.name, all, asked)
	a.note(stored, all)
}

func (a *account) note(stored, all int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if stored < a.db || all < a.max {
		a.fell++
	}
	a.db, a.max = max(a.db, stored), max(a.max, all)
}

// verified checks a payment and keeps it if it is the newest. One that claims
// more than we have counted is not kept, let alone submitted. The empty one
// says nothing.
func (a *account) verified(p tl.ProxySignedPaymentClass) error {
	signed, ok := p.(*tl.ProxySignedPayment)
	if !ok || a.known(signed.Data) {
		return nil
	}
	payment, err := contract.VerifyPayment(signed.Data, contract.Charge, a.contract, a.key)
	if err != nil {
		return err
	}
	if err := a.tally.Accept(a.name, payment.Tokens); err != nil {
		if a.registrar != nil {
			a.registrar.Inflated(a.contract, slices.Clone(signed.Data), err)
		}
		return err
	}
	if a.keep(payment.Tokens, slices.Clone(signed.Data)) && a.registrar != nil {
		a.registrar.Charged(a.contract, payment.Tokens, slices.Clone(signed.Data))
	}
	return nil
}

func (a *account) keep(tokens int64, data []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if tokens < a.signed {
		a.fell++
		return false
	}
	a.signed, a.data = tokens, data
	return true
}

// known spares the signature check of what was checked before.
func (a *account) known(data []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(data) > 0 && bytes.Equal(a.data, data)
}

// owed takes the payment that follows each request. Verifying costs more than
// relaying the request did, so it happens off the reading goroutine, at most
// once a second, on the newest: each payment replaces all before it.
func (l *link) owed(p tl.ProxySignedPaymentClass) {
	signed, ok := p.(*tl.ProxySignedPayment)
	if !ok || l.account.known(signed.Data) {
		return
	}
	l.account.mu.Lock()
	l.account.pending = signed.Data
	l.account.mu.Unlock()
	select {
	case l.pay <- true:
	default:
	}
}

// verifyPending closes the connection of a proxy that signs nonsense.
func (l *link) verifyPending() {
	l.account.mu.Lock()
	data := l.account.pending
	l.account.pending = nil
	l.account.mu.Unlock()
	if data == nil {
		return
	}
	if err := l.account.verified(&tl.ProxySignedPayment{Data: data}); err != nil {
		l.c.cfg.Log.Warn("proxy sent a bad payment", "proxy", l.addr, "error", err)
		l.conn.Close(err)
	}
}

// pollPayment asks for the newest totals. A proxy that cannot say is not
// worse for it.
func (l *link) pollPayment(ctx context.Context) {
	asked := l.account.tally.Ask(l.account.name)
	status, err := ask[tl.ClientPaymentStatus](ctx, l, 60*time.Second, &tl.ClientUpdatePaymentStatus{})
	if err != nil {
		l.c.cfg.Log.Debug("payment status", "proxy", l.addr, "error", err)
		return
	}
	l.account.answered(status.DbTokens, status.MaxTokens, asked)
	l.owed(status.SignedPayment)
}
