package settlement

import (
	"crypto/ed25519"
	"fmt"
	"maps"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
)

// Open makes the account with a proxy known.
func (w *Worker) Open(root *contract.Root, proxy *address.Address, key ed25519.PublicKey) error {
	d, err := root.DeployWorker(w.cfg.Owner, proxy, key)
	if err != nil {
		return err
	}
	init, err := initCell(d.Init)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.accounts[d.Address.StringRaw()]
	if a == nil {
		if len(w.accounts) >= maxAccounts {
			w.forget()
		}
		if a, err = w.newAccount(&workerAccountRecord{Init: init, Fresh: true}); err != nil {
			return err
		}
		w.accounts[a.name], w.dirty = a, true
		if w.start != nil {
			w.start(a)
		}
	}
	a.opened = true
	a.kick()
	return nil
}

// forget drops accounts that owe nothing. Called with mu held.
func (w *Worker) forget() {
	maps.DeleteFunc(w.accounts, func(_ string, a *workerAccount) bool {
		return !a.opened && (a.over || a.r.Signed.Tokens <= a.r.Paid && a.terms.WorkerFeePerToken.Times(a.r.Worked-a.r.Signed.Tokens) < w.cfg.PayoutClosing)
	})
}

func (w *Worker) accountOf(own *address.Address) *workerAccount { return w.accounts[own.StringRaw()] }

// Known is what was promised and counted before, to compare a proxy with.
func (w *Worker) Known(own *address.Address) (signed, stored, most int64, payment []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.accountOf(own); a != nil {
		return a.r.Signed.Tokens, a.r.Stored, a.r.Most, a.r.Signed.Payment
	}
	return 0, 0, 0, nil
}

// Promised takes what a proxy says it owes. The payment is verified.
func (w *Worker) Promised(own *address.Address, signed, stored, most int64, payment []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.accountOf(own)
	if a == nil {
		return
	}
	r := &a.r
	if r.Fresh { // what was earned before this record is the proxy's word
		r.Worked, r.Fresh, w.dirty = max(r.Worked, most), false, true
	}
	if signed > r.Signed.Tokens {
		r.Signed, w.dirty = signedTotal{signed, payment}, true
		a.kick()
	}
	if r.Stored != stored || r.Most != most {
		r.Stored, r.Most, w.dirty = stored, most, true
	}
}

// Worked counts an answer: what was reported to the proxy, in adjusted tokens.
func (w *Worker) Worked(own *address.Address, model string, tokens int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.accountOf(own)
	if a == nil || tokens <= 0 {
		return
	}
	now := w.cfg.Now()
	a.r.Worked, a.r.Fresh, a.worked, w.dirty = a.r.Worked+tokens, false, now, true
	w.earned.add(now, model, tokens, a.terms.WorkerFeePerToken.Times(tokens))
}

// unpaidShare is the part of all work, one in so many, that a proxy may leave
// unpaid for good: work that failed on its way, or that a client could not pay.
const unpaidShare = 20

// Behind says why a proxy should get no more work; nil if it may.
func (w *Worker) Behind(own *address.Address) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.accountOf(own)
	if a == nil {
		return nil
	}
	open := a.terms.WorkerFeePerToken.Times(max(0, a.r.Worked-a.r.Worked/unpaidShare-a.r.Signed.Tokens))
	if open <= w.cfg.MaxUnpaid {
		return nil
	}
	return fmt.Errorf("%s were earned that the proxy has not signed for, %s is the limit", open.Text(), w.cfg.MaxUnpaid.Text())
}

// Remembered is what was set by hand under this configured price.
func (w *Worker) Remembered(configured int32) (coefficient int32, paused bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.hand == nil:
		return configured, false
	case w.hand.Configured != configured:
		return configured, w.hand.Paused
	}
	return w.hand.Coefficient, w.hand.Paused
}

// Remember keeps what was set by hand, and is durable when it returns.
func (w *Worker) Remember(configured, coefficient int32, paused bool) error {
	w.mu.Lock()
	w.hand, w.dirty = &byOperator{configured, coefficient, paused}, true
	w.mu.Unlock()
	return w.save()
}
