package settlement

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

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
			trouble = cmp.Or(trouble, why)
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
	trouble := cmp.Or(a.trouble, c.poor())
	out := ton.OutageOf(c.cfg.Chain)
	switch {
	case out.Away():
		return &contract.AwayError{Since: out.Since, What: text + " until then: nothing can be paid in"}
	case trouble != "":
		return errors.New(text + "; more cannot be paid in: " + trouble)
	case a.busy != "":
		return errors.New(text + " a moment: " + a.busy + " is under way")
	}
	return errors.New(text)
}
