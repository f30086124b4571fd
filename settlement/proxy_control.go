package settlement

import (
	"context"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
)

// NothingError means that there is nothing to do for an operator's order, and why.
type NothingError struct{ Why string }

func (e *NothingError) Error() string { return e.Why }

// Charge charges a client at once for all that is committed, whatever the
// threshold, and returns when its contract has taken it. What it returns is
// for people; errors are [NothingError] and those of [Poster.Post].
func (p *Proxy) Charge(ctx context.Context, wallet *address.Address) (string, error) {
	clients, _ := p.cfg.Ledger.Accounts(p.number())
	for _, c := range clients {
		if c.Wallet != wallet.StringRaw() {
			continue
		}
		o := ledger.Order{Kind: ledger.Charge, Account: c.Wallet, Tokens: c.Used.Chain}
		return p.settleNow(ctx, o, c.Used.Chain-c.Charged, c.Used.Max-c.Used.Chain)
	}
	return "", &NothingError{fmt.Sprintf("client %s has no account here", wallet)}
}

// Payout pays a worker's owner at once all that is committed, whatever the threshold.
func (p *Proxy) Payout(ctx context.Context, owner *address.Address) (string, error) {
	_, workers := p.cfg.Ledger.Accounts(p.number())
	for _, w := range workers {
		if w.Owner != owner.StringRaw() {
			continue
		}
		o := ledger.Order{Kind: ledger.Payout, Account: w.Owner, Tokens: w.Earned.Chain}
		return p.settleNow(ctx, o, w.Earned.Chain-w.Paid, w.Earned.Max-w.Earned.Chain)
	}
	return "", &NothingError{fmt.Sprintf("worker owner %s has no account here", owner)}
}

// Withdraw sends the operator the proxy's income at once, whatever the threshold.
func (p *Proxy) Withdraw(ctx context.Context) (string, error) {
	g := p.currentGeneration()
	if g == nil {
		return "", &NothingError{"the proxy's contract has not been read yet"}
	}
	p.mu.Lock()
	state := g.state
	p.mu.Unlock()
	if state == nil || state.Balance == 0 {
		return "", &NothingError{"there is no income to withdraw"}
	}
	if _, err := p.demand(ctx, ledger.Order{Kind: ledger.Withdraw, Generation: g.Generation, Worth: state.Balance}); err != nil {
		return "", err
	}
	return state.Balance.Text() + " are on their way to the owner", nil
}

func (p *Proxy) number() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// settleNow carries out one order of so many tokens; later ones must be committed first.
func (p *Proxy) settleNow(ctx context.Context, o ledger.Order, tokens, later int64) (string, error) {
	g := p.currentGeneration()
	switch {
	case g == nil:
		return "", &NothingError{"the proxy's contract has not been read yet"}
	case tokens <= 0:
		return "", &NothingError{fmt.Sprintf("nothing is open; %d tokens wait for the next note", later)}
	}
	o.Generation, o.Worth = g.Generation, g.Price.Times(tokens)
	if o.Kind == ledger.Payout {
		o.Worth = g.Fee.Times(tokens)
	}
	if _, err := p.demand(ctx, o); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s of %d tokens, %s; %d tokens wait for the next note", o.Kind, tokens, o.Worth.Text(), later), nil
}

// demand does an order as a job of its own, so that it is not done twice at
// the same time, and waits for it.
func (p *Proxy) demand(ctx context.Context, o ledger.Order) (*ton.Transaction, error) {
	if err := p.cfg.Ledger.Health(); err != nil { // that the first note was not seen too: this may be an old copy
		return nil, err
	}
	var tx *ton.Transaction
	var err error
	done := make(chan struct{})
	p.mu.Lock()
	if j := p.jobs[jobOf(o)]; j != nil {
		j.until = time.Time{} // the operator may want it now for having mended the cause
	}
	p.mu.Unlock()
	if !p.start(jobOf(o), false, func(ctx context.Context) error {
		defer close(done)
		tx, err = p.carryOut(ctx, o)
		return err
	}) {
		return nil, &NothingError{"it is under way already, or too much else is: look at the status and try again"}
	}
	select {
	case <-done:
		return tx, err
	case <-ctx.Done():
		return nil, &UnknownError{ctx.Err()}
	}
}
