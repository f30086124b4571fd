package settlement

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

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
	// Intent is the message that is under way, Messages how many there were.
	Intent   *intent `json:"intent,omitempty"`
	Messages uint64  `json:"messages"`
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
	over    bool // closed on the chain
	asked   wishes
	busy    string // what is under way
	trouble string // why the next step cannot be taken
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
	return &clientAccount{
		c: c, name: at.StringRaw(), address: at, init: init, proxy: first.Proxy.Bounce(false), key: first.Key, terms: terms,
		wake: make(chan struct{}, 1), changed: make(chan struct{}), r: *r,
	}, nil
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

// usable says why nothing should be asked of the proxy.
func (a *clientAccount) usable() error {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	switch {
	case a.r.Disputed != "":
		return fmt.Errorf("this proxy is not used any more: %s; take the money out with /request/close", a.r.Disputed)
	case a.over || a.state != nil && a.state.State != contract.Normal:
		return errors.New("the client contract with this proxy is closing or closed: the proxy can be used again in the next generation")
	case a.r.Leave:
		return errors.New("the account with this proxy is being closed, as was asked for")
	}
	return nil
}

// look reads the contract's state; nil if it is not deployed.
func (a *clientAccount) look(ctx context.Context) (*contract.ClientState, error) {
	account, err := a.c.cfg.Chain.Account(ctx, a.address)
	if err != nil {
		return nil, err
	}
	return a.take(account)
}

func (a *clientAccount) take(account *ton.Account) (state *contract.ClientState, err error) {
	if account.Status == ton.Active {
		if state, err = contract.ParseClientState(account.Data); err != nil {
			return nil, err
		}
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
	a.known, a.state = true, state
	a.over = a.over || state != nil && state.State == contract.Closed
	a.tell()
	return state, nil
}

// dispute ends the trust in the proxy, and keeps why.
func (a *clientAccount) dispute(payment []byte, why error) {
	c := a.c
	e := evidence{At: c.cfg.Now().UTC(), Contract: a.name, Proxy: a.proxy.StringRaw(), Key: hex.EncodeToString(a.key), Payment: payment, Why: why.Error()}
	c.mu.Lock()
	kept := c.proven[e.id()]
	if !kept && len(c.proven) < maxEvidence {
		c.proven[e.id()] = true
		if err := c.evidence.add(&e); err != nil {
			c.cfg.Log.Error("settlement: evidence cannot be written", "error", err)
		}
	}
	first := a.r.Disputed == ""
	if first {
		a.r.Disputed = why.Error()
	}
	c.mu.Unlock()
	if !first {
		return
	}
	c.cfg.Log.Error("settlement: a proxy charges more than was used; it gets no more requests and no more money", "proxy", a.proxy.String(), "client contract", a.address.String(), "why", why)
	if err := c.save(); err != nil {
		c.cfg.Log.Error("settlement: the record cannot be written", "error", err)
	}
}

// awaitReady waits until the contract can be used: deployed, its secret set and, where
// requests cost something, with money.
func (a *clientAccount) awaitReady(ctx context.Context) error {
	for poor := 0; ; {
		a.c.mu.Lock()
		state, trouble, changed := a.state, a.trouble, a.changed
		a.c.mu.Unlock()
		if why := a.c.poor(); why == "" {
			poor = 0
		} else if poor++; poor > patience { // money may be on its way
			trouble = or(trouble, why)
		}
		switch {
		case state != nil && state.SecretHash == a.c.hash && (state.Balance > 0 || a.terms.PricePerToken == 0):
			return nil
		case trouble != "":
			return errors.New(trouble)
		}
		look := time.NewTimer(a.c.cfg.Every) // at the wallet
		select {
		case <-changed:
		case <-look.C:
		case <-ctx.Done():
			look.Stop()
			return ctx.Err()
		}
		look.Stop()
	}
}

// patience is how many looks at a wallet that holds too little are worth it.
const patience = 5

// poor says what to send where, if something waits in the wallet for money.
func (c *Client) poor() string {
	s := c.cfg.Wallet.Status()
	if !s.Known || s.Queued == 0 || s.Needs <= 0 {
		return ""
	}
	return fmt.Sprintf("the node wallet holds too little for what waits: send %s to %s", s.Needs.Text(), s.Address)
}

// Afford says whether a request that sets so many tokens aside would be refused.
func (c *Client) Afford(own *address.Address, tokens int64) error {
	a := c.accountOf(own)
	if a == nil {
		return nil
	}
	if err := a.usable(); err != nil {
		return err
	}
	count := c.tally.Count(a.name)
	c.mu.Lock()
	defer c.mu.Unlock()
	s, price := a.state, a.terms.PricePerToken
	if s == nil || price == 0 {
		return nil
	}
	most, charged := min(s.Balance, s.Stake).PerFloor(price), int64(min(s.Tokens, 1<<62))
	if most -= max(0, min(count.Used, count.Said)-charged); most >= tokens {
		return nil
	}
	if all := s.Stake.PerFloor(price); tokens > all {
		return fmt.Errorf("the request sets %s aside, and a proxy lends no more than the stake of %s: lower max_tokens or max_coefficient", price.Times(tokens).Text(), s.Stake.Text())
	}
	a.kick()
	text := fmt.Sprintf("the request sets %s aside, and %s are left with the proxy: lower max_tokens or max_coefficient, or wait", price.Times(tokens).Text(), price.Times(max(0, most)).Text())
	trouble := or(a.trouble, c.poor())
	switch {
	case trouble != "":
		return errors.New(text + "; more cannot be paid in: " + trouble)
	case a.busy != "":
		return errors.New(text + " a moment: " + a.busy + " is under way")
	}
	return errors.New(text)
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
	if err := a.resume(ctx); err != nil {
		return
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
			if _, err := a.take(u.Account); err != nil {
				a.c.cfg.Log.Error("settlement: a client contract cannot be read", "contract", a.address.String(), "error", err)
			}
			a.kick()
			return nil
		})
		if ctx.Err() == nil {
			a.c.cfg.Log.Warn("settlement: transactions of a client contract are missing in the statement", "contract", a.address.String(), "error", err)
			_ = a.c.statement.skip(ctx, a.c.cfg.Chain, a.address) // again after the pause
			_ = pause(ctx, a.c.cfg.Every)
		}
	}
}

// backoff spaces attempts that fail, from the pause given up to ten minutes.
type backoff struct{ wait time.Duration }

func (b *backoff) next(least time.Duration) time.Duration {
	b.wait = min(max(2*b.wait, least), 10*time.Minute)
	return b.wait
}

func (b *backoff) reset() { b.wait = 0 }
