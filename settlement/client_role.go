package settlement

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
)

// maxAccounts bounds the accounts that are open: proxies choose their keys, and
// every key is another contract.
const maxAccounts = 64

// Open makes the account with a proxy. Where it was never counted before, what
// the chain shows is where counting begins.
func (c *Client) Open(ctx context.Context, root *contract.Root, proxy *address.Address, key ed25519.PublicKey) error {
	d, err := root.DeployClient(c.cfg.Wallet.Address(), proxy, key)
	if err != nil {
		return err
	}
	a, err := c.meet(d)
	if err != nil {
		return err
	}
	if err := a.usable(); err != nil {
		return err
	}
	if !c.tally.Knows(a.name) {
		state, err := a.look(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("its state on the chain is not known yet: %w", err)
		case state == nil:
			c.tally.Adopt(a.name, 0, 0)
		default: // the record was lost: up to a stake may have been used and not charged
			c.tally.Adopt(a.name, int64(min(state.Tokens, 1<<62)), state.Stake.PerFloor(a.terms.PricePerToken))
		}
	}
	// Only now may it be deployed: a contract of ours that is not counted would
	// seem to be one whose record was lost.
	c.mu.Lock()
	a.opened = true
	c.mu.Unlock()
	a.kick()
	return nil
}

// meet finds or makes the account, and notes that its proxy is there.
func (c *Client) meet(d *contract.Deployment) (*clientAccount, error) {
	name := d.Address.StringRaw()
	init, err := initCell(d.Init)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	a := c.accounts[name]
	if a == nil {
		open := 0
		for _, x := range c.accounts {
			if !x.over {
				open++
			}
		}
		if open >= maxAccounts {
			c.mu.Unlock()
			return nil, fmt.Errorf("%d accounts are open already: close some with /request/close", open)
		}
		if a, err = c.newAccount(&accountRecord{Init: init}); err != nil {
			c.mu.Unlock()
			return nil, err
		}
		c.accounts[name] = a
		if c.start != nil {
			c.start(a)
		}
	}
	a.r.Seen = c.cfg.Now().Unix()
	c.mu.Unlock()
	return a, nil
}

// accountOf is the one with this client contract, nil if there is none.
func (c *Client) accountOf(own *address.Address) *clientAccount {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accounts[own.StringRaw()]
}

// maxRegistrations is how many registrations a proxy may demand in a day. It
// needs one when it does not know the client, and each costs the client a fee.
const maxRegistrations = 5

// Register says the proxy's nonce on the chain, once the account has money.
func (c *Client) Register(ctx context.Context, own, _ *address.Address, nonce int64) error {
	a := c.accountOf(own)
	if a == nil {
		return fmt.Errorf("client contract %s is not known", own)
	}
	if err := a.awaitReady(ctx); err != nil {
		return err
	}
	purpose := fmt.Sprintf("client %s register %d", a.name, nonce)
	if !c.poster.Left(purpose) { // the same again costs nothing
		if err := a.mayRegister(); err != nil {
			return err
		}
	}
	_, err := c.poster.Post(ctx, Message{
		Purpose: purpose, To: a.address, Value: registerValue,
		Body: &contract.ClientRegister{QueryID: uint64(nonce), Nonce: uint64(nonce), Excess: c.cfg.Wallet.Address()},
	})
	var refused *RefusedError
	if err != nil && !errors.As(err, &refused) && !c.poster.Left(purpose) {
		a.unregister() // it never left, and cost nothing
	}
	return err
}

// unregister takes the newest registration out of the count.
func (a *clientAccount) unregister() {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	if n := len(a.r.Registered); n > 0 {
		a.r.Registered = a.r.Registered[:n-1]
	}
}

// mayRegister counts a registration that is about to be sent, durably.
func (a *clientAccount) mayRegister() error {
	c, now := a.c, a.c.cfg.Now()
	day := now.Add(-24 * time.Hour).Unix()
	c.mu.Lock()
	sent := slices.DeleteFunc(slices.Clone(a.r.Registered), func(at int64) bool { return at <= day })
	if len(sent) >= maxRegistrations {
		again := time.Unix(sent[0], 0).Add(24 * time.Hour)
		c.mu.Unlock()
		return fmt.Errorf("this proxy has demanded %d registrations on the chain within a day, and each costs a fee: no other before %s", len(sent), again.UTC().Format(time.DateTime))
	}
	a.r.Registered = append(sent, now.Unix())
	c.mu.Unlock()
	return c.save()
}

// Charged keeps the newest charge, which follows the own count.
func (c *Client) Charged(own *address.Address, tokens int64, payment []byte) {
	a := c.accountOf(own)
	if a == nil {
		return
	}
	c.mu.Lock()
	if tokens > a.r.Charge.Tokens {
		a.r.Charge = signedTotal{tokens, payment}
	}
	a.r.Seen = c.cfg.Now().Unix()
	c.mu.Unlock()
	a.kick()
}
