package settlement

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// What messages to worker contracts bring along. Source: contracts.md section 9.
const (
	workerDeploy = coin.TON * 3 / 10
	payoutValue  = coin.TON / 2
)

// workerAccountRecord is what must be remembered of an account; tokens.
type workerAccountRecord struct {
	Init []byte `json:"init"`
	// Worked is our own count of what was reported, Fresh that it has not begun.
	Worked int64 `json:"worked"`
	Fresh  bool  `json:"fresh,omitempty"`
	// Signed is the newest promise, Stored and Most what the proxy says beside it.
	Signed signedTotal `json:"signed"`
	Stored int64       `json:"stored"`
	Most   int64       `json:"most"`
	// Paid is what the chain has paid.
	Paid     int64 `json:"paid"`
	Outdated int64 `json:"outdated,omitempty"` // since when, Unix seconds
}

// workerAccount is the worker's contract with one proxy in one generation.
type workerAccount struct {
	w       *Worker
	name    string
	address *address.Address
	init    *tlb.StateInit
	proxy   *address.Address
	key     ed25519.PublicKey
	terms   *contract.Root
	wake    chan struct{}

	// Guarded by Worker.mu.
	r       workerAccountRecord
	opened  bool
	known   bool
	state   *contract.WorkerState
	last    uint64 // the contract's last transaction
	closing int64  // since when the proxy's contract closes, Unix seconds; 0 if it does not
	over    bool
	worked  time.Time // last
	asked   bool
	busy    string
	trouble string
	told    string // what the log was told of it
}

func (w *Worker) newAccount(r *workerAccountRecord) (*workerAccount, error) {
	at, init, err := parseInit(r.Init)
	if err != nil {
		return nil, err
	}
	first, err := contract.ParseWorkerState(init.Data)
	if err != nil {
		return nil, err
	}
	terms, err := contract.ParseParams(first.Params)
	if err != nil {
		return nil, err
	}
	return &workerAccount{
		w: w, name: at.StringRaw(), address: at, init: init, proxy: first.Proxy.Bounce(false), key: first.Key, terms: terms,
		wake: make(chan struct{}, 1), r: *r,
	}, nil
}

func (a *workerAccount) kick() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run follows the contract and takes one step after another until ctx ends or
// the contract is closed.
func (a *workerAccount) run(ctx context.Context) {
	var back backoff
	for ctx.Err() == nil {
		wait := a.w.cfg.Every
		err := a.turn(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			wait = back.next(wait)
		} else {
			back.reset()
		}
		if a.finish(err) {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-ton.OutageOf(a.w.cfg.Chain).Back:
			_ = pause(ctx, rand.N(a.w.cfg.Every)) // not all at once
		case <-t.C:
		}
		t.Stop()
	}
}

// finish notes how a turn went, and says whether there is no other.
func (a *workerAccount) finish(err error) bool {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	a.busy = ""
	why := ""
	if err != nil {
		why, a.asked = err.Error(), false
	}
	again := a.told == ton.Alike(err)
	a.told = ton.Alike(err)
	if why != "" && !again {
		w.cfg.Log.Warn("settlement: an account needs something", "proxy", a.proxy.String(), "worker contract", a.address.String(), "why", why)
	}
	a.trouble = why
	return a.over
}

// turn looks at the contract and does what is due.
func (a *workerAccount) turn(ctx context.Context) error {
	if err := a.look(ctx); err != nil {
		return err
	}
	if err := a.lookAtProxy(ctx); err != nil {
		return err
	}
	do, purpose, payment := a.due()
	switch do {
	case doDeploy:
		if _, err := a.w.poster.Post(ctx, Message{Purpose: "worker " + a.name + " deploy", To: a.address, Value: workerDeploy, Init: a.init}); err != nil {
			return fmt.Errorf("%s: %w", do, err)
		}
	case doPayout:
		if err := a.payout(ctx, purpose, payment); err != nil {
			return fmt.Errorf("%s: %w", do, err)
		}
	default:
		return nil
	}
	return a.look(ctx)
}

const doPayout step = "cashing what was earned"

// payout submits a promise, once the proxy's contract can pay it: some
// contracts would forget what they could not.
func (a *workerAccount) payout(ctx context.Context, purpose string, p signedTotal) error {
	e, err := contract.VerifyPayment(p.Payment, contract.Payout, a.address, a.key)
	if err != nil {
		return err
	}
	account, err := a.w.cfg.Chain.Account(ctx, a.proxy)
	if err != nil {
		return err
	}
	if account.Status != ton.Active {
		return errors.New("the proxy's contract is not on the chain")
	}
	s, err := contract.ParseProxyState(account.Data)
	if err != nil {
		return err
	}
	pool, perToken := account.Balance-s.Balance-s.Stake, a.terms.PricePerToken
	if a.ours() { // it pays when it is closed too, and the fee without the proxy's part
		pool, perToken = s.Deposits+s.Stake, a.terms.WorkerFeePerToken
	} else if s.State == contract.Closed {
		return errors.New("the proxy's contract is closed")
	}
	a.w.mu.Lock()
	claim := p.Tokens - a.r.Paid
	a.w.mu.Unlock()
	if pool < perToken.Times(claim) {
		return a.part(ctx, purpose, e, pool, claim)
	}
	return a.send(ctx, purpose, e.Repack(a.w.cfg.Wallet.Address()))
}

func (a *workerAccount) send(ctx context.Context, purpose string, body contract.Body) error {
	_, err := a.w.poster.Post(ctx, Message{Purpose: purpose, To: a.address, Value: payoutValue, Body: body})
	return err
}

// ours says whether the contract is of our code, which remembers what a proxy
// could not pay.
func (a *workerAccount) ours() bool {
	return bytes.Equal(a.init.Code.Hash(), contract.OurCodes().Worker.Hash())
}

// part takes what there is in a pool that is short, when the proxy has had its
// time: it pays nobody who asks for more than it has. The claim is shown to the worker's
// contract, which then owes it, and a part of that can be collected, by the owner alone.
func (a *workerAccount) part(ctx context.Context, purpose string, e *contract.Envelope, pool coin.Nano, claim int64) error {
	w, fee := a.w, a.terms.WorkerFeePerToken
	short := fmt.Errorf("the proxy's contract holds too little: %s, and %s are due", pool.Text(), fee.Times(claim).Text())
	w.mu.Lock()
	_, late := a.passed(w.cfg.Now())
	owed := a.state.Owed
	w.mu.Unlock()
	if !a.ours() || !late || fee == 0 || pool < leastPart {
		return short
	}
	if owed == 0 {
		return a.send(ctx, purpose, e.Repack(w.cfg.Wallet.Address()))
	}
	m := &contract.Collect{QueryID: uint64(a.last), Tokens: min(owed, uint64(pool/fee)), Excess: w.cfg.Owner}
	if w.cfg.Owner.Equals(w.cfg.Wallet.Address()) {
		return a.send(ctx, "collect "+purpose, m)
	}
	body, err := m.Cell()
	if err != nil {
		return err
	}
	link, err := wallet.Link(wallet.Transfer{To: a.address, Amount: payoutValue, Body: body, Bounce: true})
	if err != nil {
		return err
	}
	return fmt.Errorf("%w; the owner's wallet can collect %s of it, and gets the change: open %s", short, fee.Times(int64(m.Tokens)).Text(), link)
}

func (a *workerAccount) look(ctx context.Context) error {
	account, err := a.w.cfg.Chain.Account(ctx, a.address)
	if err != nil {
		return err
	}
	var state *contract.WorkerState
	if account.Status == ton.Active {
		if state, err = contract.ParseWorkerState(account.Data); err != nil {
			return err
		}
	}
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	a.known, a.state, a.last = true, state, account.Last.LT
	if state == nil {
		return nil
	}
	a.over = ended(state)
	paid := int64(min(state.Tokens-min(state.Owed, state.Tokens), 1<<62))
	if paid != a.r.Paid {
		a.r.Paid, w.dirty = paid, true
	}
	return nil
}

// lookAtProxy learns, where there is something to be paid, since when the
// proxy's contract closes. Its word counts and not when it was heard: who comes
// back after days may have little time left.
func (a *workerAccount) lookAtProxy(ctx context.Context) error {
	a.w.mu.Lock()
	open := a.r.Signed.Tokens > a.r.Paid
	a.w.mu.Unlock()
	if !open {
		return nil
	}
	account, err := a.w.cfg.Chain.Account(ctx, a.proxy)
	if err != nil || account.Status != ton.Active {
		return err
	}
	s, err := contract.ParseProxyState(account.Data)
	if err != nil {
		return err
	}
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if a.closing = 0; s.State != contract.Normal {
		a.closing = max(1, int64(s.UnlockAt)-int64(a.terms.ProxyDelay))
	}
	return nil
}

// due is the next step of the account, with what it needs. The purpose holds
// the contract's last transaction: a payout found again after a crash is the
// same if nothing has happened to the contract since, and another if it has.
func (a *workerAccount) due() (do step, purpose string, payment signedTotal) {
	w := a.w
	now := w.cfg.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cfg.Registry.Root().ParamsVersion > a.terms.ParamsVersion && a.r.Outdated == 0 {
		a.r.Outdated, w.dirty = now.Unix(), true
	}
	v := workerView{
		cfg: &w.cfg, state: a.state, worth: a.terms.WorkerFeePerToken.Times(max(0, a.r.Signed.Tokens-a.r.Paid)), newer: claimable(a.state, a.r.Signed.Tokens),
		asked: a.asked, idle: now.Sub(a.worked) >= w.cfg.IdleAfter,
	}
	v.outdated, v.late = a.passed(now)
	do = v.next()
	a.asked, a.busy = false, string(do)
	return do, fmt.Sprintf("worker %s payout %d %d", a.name, a.r.Signed.Tokens, a.last), a.r.Signed
}
