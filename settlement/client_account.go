package settlement

import (
	"context"
	"crypto/ed25519"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// accountRecord is what must be remembered of an account.
type accountRecord struct {
	// Init is the contract's initial state: parties and parameters.
	Init []byte `json:"init"`
	// Seen is when the proxy was last heard, Outdated when the parameters were first seen to be old; Unix seconds.
	Seen     int64 `json:"seen"`
	Outdated int64 `json:"outdated,omitempty"`
	// Charge is the newest that follows our own count.
	Charge signedTotal `json:"charge"`
	// Leave says that the operator wants it closed, Disputed why the proxy is not trusted any more.
	Leave    bool   `json:"leave,omitempty"`
	Disputed string `json:"disputed,omitempty"`
	// Registered is when registrations were sent in the last day, Unix seconds.
	Registered []int64 `json:"registered,omitempty"`
	// Intent is the message that is under way, Messages how many there were.
	Intent   *intent `json:"intent,omitempty"`
	Messages uint64  `json:"messages"`
	// Block is the newest that the contract had been read in when the last
	// message ended. An older one does not show what that message did.
	Block uint32 `json:"block,omitempty"`
}

// signedTotal is a payment that a proxy has signed.
type signedTotal struct {
	Tokens  int64  `json:"tokens"`
	Payment []byte `json:"payment,omitempty"`
}

func initCell(s *tlb.StateInit) ([]byte, error) {
	c, err := tlb.ToCell(s)
	if err != nil {
		return nil, err
	}
	return c.ToBOC(), nil
}

func parseInit(boc []byte) (*address.Address, *tlb.StateInit, error) {
	c, err := cell.FromBOC(boc)
	if err != nil {
		return nil, nil, err
	}
	s := &tlb.StateInit{}
	if err := tlb.Parse(s, c); err != nil {
		return nil, nil, err
	}
	return address.NewAddress(0, 0, c.Hash()).Bounce(false), s, nil
}

// clientAccount is the client's contract with one proxy in one generation.
type clientAccount struct {
	c       *Client
	name    string // the contract's raw address
	address *address.Address
	init    *tlb.StateInit
	proxy   *address.Address
	key     ed25519.PublicKey
	terms   *contract.Root // of its generation
	wake    chan struct{}

	// Guarded by Client.mu.
	r       accountRecord
	opened  bool // its proxy has been there since the program started
	known   bool // the chain has been read
	state   *contract.ClientState
	own     coin.Nano // what the contract holds
	pool    pool
	block   uint32 // the masterchain block that state is of, or must not be older than
	over    bool   // closed on the chain and in the statement, with nothing to be had
	asked   wishes
	busy    string // what is under way
	trouble string // why the next step cannot be taken
	told    string // what the log was told of it
	changed chan struct{}
}

// wishes are what the operator asked for by hand, done once.
type wishes struct{ charge, topUp, withdraw bool }

func (c *Client) newAccount(r *accountRecord) (*clientAccount, error) {
	at, init, err := parseInit(r.Init)
	if err != nil {
		return nil, err
	}
	first, err := contract.ParseClientState(init.Data)
	if err != nil {
		return nil, err
	}
	terms, err := contract.ParseParams(first.Params)
	if err != nil {
		return nil, err
	}
	a := &clientAccount{
		c: c, name: at.StringRaw(), address: at, init: init, proxy: first.Proxy.Bounce(false), key: first.Key, terms: terms,
		wake: make(chan struct{}, 1), changed: make(chan struct{}), r: *r, block: r.Block,
	}
	if r.Intent != nil {
		a.busy = string(r.Intent.Do)
	}
	return a, nil
}

func (a *clientAccount) kick() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// tell wakes those who wait for the account to change. Called with mu held.
func (a *clientAccount) tell() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// look reads the contract's state; nil if it is not deployed. It is never older
// than what was known before the call.
func (a *clientAccount) look(ctx context.Context) (*contract.ClientState, error) {
	account, err := a.c.cfg.Chain.Account(ctx, a.address)
	if err != nil {
		return nil, err
	}
	return a.take(account)
}

// clientState is nil for a contract that is not deployed.
func clientState(account *ton.Account) (*contract.ClientState, error) {
	if account.Status != ton.Active {
		return nil, nil
	}
	return contract.ParseClientState(account.Data)
}

// errBehind: another server, or the chain after a restart, will catch up.
var errBehind = errors.New("the chain that can be read is behind what was seen of it before")

// take learns from a reading of the contract. Readings overtake each other: one
// that is older than what is known says nothing, and money would be paid twice
// on its word.
func (a *clientAccount) take(account *ton.Account) (state *contract.ClientState, err error) {
	if state, err = clientState(account); err != nil {
		return nil, err
	}
	// Before anybody acts on the state: a proxy that has charged too much
	// must not be paid in to because of it.
	if state != nil && a.c.tally.Knows(a.name) {
		if err := a.c.tally.Accept(a.name, int64(min(state.Tokens, 1<<62))); err != nil {
			a.dispute(nil, err)
		}
	}
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	switch {
	case account.At.Seqno >= a.block:
		a.known, a.state, a.own, a.block = true, state, account.Balance, account.At.Seqno
		a.tell()
	case !a.known:
		return nil, errBehind
	}
	return a.state, nil
}

// run follows the contract and takes one step after another until ctx ends or
// the contract is closed.
func (a *clientAccount) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		a.watch(ctx)
	}()
	defer func() { cancel(); <-watched }()
	if err := a.resume(); err != nil {
		a.c.cfg.Log.Error("settlement: the record cannot be written", "error", err)
	}
	var back backoff
	for {
		wait := a.c.cfg.Every
		if err := a.step(ctx); err != nil {
			wait = back.next(a.c.cfg.Every)
		} else {
			back.reset()
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-a.wake:
		case <-ton.OutageOf(a.c.cfg.Chain).Back:
			_ = pause(ctx, rand.N(a.c.cfg.Every)) // not all at once
		case <-t.C:
		}
		t.Stop()
		if a.finished() {
			return
		}
	}
}

func (a *clientAccount) finished() bool {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	return a.over && a.r.Intent == nil
}

// watch writes the statement and keeps the state fresh.
func (a *clientAccount) watch(ctx context.Context) {
	w := ton.Watcher{Chain: a.c.cfg.Chain}
	for ctx.Err() == nil {
		err := w.Watch(ctx, a.address, a.c.statement.cursor(a.name), func(u ton.Update) error {
			if err := a.c.statement.contract(a, u.Transactions); err != nil {
				a.c.cfg.Log.Error("settlement: the statement cannot be written", "error", err)
			}
			if u.More {
				return nil
			}
			a.written(u.Account)
			return nil
		})
		if ctx.Err() == nil {
			a.c.cfg.Log.Warn("settlement: transactions of a client contract are missing in the statement", "contract", a.address.String(), "error", err)
			_ = a.c.statement.skip(ctx, a.c.cfg.Chain, a.address) // again after the pause
			_ = pause(ctx, a.c.cfg.Every)
		}
	}
}

// written takes an account whose transactions are in the statement. Its end is
// the end of watching only now: another reading may have shown it before.
func (a *clientAccount) written(account *ton.Account) {
	if _, err := a.take(account); err != nil {
		a.c.cfg.Log.Warn("settlement: a client contract cannot be read", "contract", a.address.String(), "error", err)
	}
	state, err := clientState(account)
	if err == nil && state != nil && state.State == contract.Closed {
		rest := a.ours() && (state.Balance >= leastPart || account.Balance >= leastLeftOver)
		a.c.mu.Lock()
		a.over = !rest
		a.c.mu.Unlock()
	}
	a.kick()
}

// backoff spaces attempts that fail, from the pause given up to ten minutes.
type backoff struct{ wait time.Duration }

func (b *backoff) next(least time.Duration) time.Duration {
	b.wait = min(max(2*b.wait, least), 10*time.Minute)
	return b.wait
}

func (b *backoff) reset() { b.wait = 0 }
