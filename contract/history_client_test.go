package contract_test

import (
	"errors"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

type clientBook struct {
	b         *book
	g         *generation
	at, owner *address.Address
	state     contract.State
	stake     coin.Nano
	tokens    int64
	unlock    uint32
	// net is balance less debt. deposited is what was paid in and not sent
	// back, paid what the owner got.
	net, deposited, paid coin.Nano
	claim
}

func (b *book) client(g *generation, i int, owner *address.Address) {
	d := g.clients[i]
	b.add(fmt.Sprintf("client %s %d", humans[owner.StringRaw()], g.rules.ParamsVersion), d, &clientBook{b: b, g: g, at: d.Address, owner: owner, stake: g.rules.MinClientStake})
}

func (c *clientBook) observe(h *happened) error {
	if h.in.Bounced {
		r, claim := h.body.(*contract.ClientRequest)
		switch {
		case !claim || r.Part == nil:
		case !h.ok:
			return fmt.Errorf("a claim of %s came back and was not taken", r.Part.Amount)
		case r.Part.Kind == contract.PartTopUp:
			c.net, c.deposited = c.net-r.Part.Amount, c.deposited-r.Part.Amount
		default:
			c.net += r.Part.Amount
		}
		return nil
	}
	if !h.ok {
		return nil
	}
	owner := h.sender == c.owner.StringRaw()
	balance := max(c.net, 0)
	switch m := h.body.(type) {
	case *contract.TopUp:
		return c.deposits(h, m.Amount)
	case *contract.SecretTopUp:
		return errors.Join(c.must(owner), c.deposits(h, m.Amount))
	case *contract.ClientRegister, *contract.ChangeSecret:
		return c.must(owner && c.state != contract.Closed)
	case *contract.RaiseStake:
		defer func() { c.stake = m.Stake }()
		return c.must(owner && c.state != contract.Closed && m.Stake > c.stake)
	case *contract.Withdraw:
		return errors.Join(c.must(owner && c.state == contract.Normal && balance > c.stake), c.asks(h, balance-c.stake))
	case *contract.RequestRefund:
		if m.Most == nil {
			return errors.Join(c.must(owner), c.leaves(h, balance, balance))
		}
		return errors.Join(c.must(owner && c.state != contract.Normal), c.leaves(h, balance, min(balance, *m.Most)))
	case *contract.Envelope:
		return c.charged(h, m)
	case *contract.OwnerFinish, contract.Empty, *contract.SaveState:
		return nil
	}
	return errors.New("must not succeed")
}

func (c *clientBook) must(ok bool) error {
	if !ok {
		return fmt.Errorf("accepted in state %s with %s above a stake of %s", c.state, c.net, c.stake)
	}
	return nil
}

func (c *clientBook) deposits(h *happened, v coin.Nano) error {
	c.net, c.deposited = c.net+v, c.deposited+v
	return c.must(c.state != contract.Closed && nano(h.in.Amount) >= v)
}

// asks expects a demand of this amount.
func (c *clientBook) asks(h *happened, v coin.Nano) error {
	for _, m := range h.out {
		if r, ok := said(m).(*contract.ClientRequest); ok && r.Part != nil && r.Part.Kind != contract.PartTopUp {
			c.net -= v
			return differ("the demand", r.Part.Amount, v)
		}
	}
	return fmt.Errorf("no demand was sent, want one of %s", v)
}

// leaves is the first step, or the second with what it asks for.
func (c *clientBook) leaves(h *happened, balance, most coin.Nano) error {
	if c.state == contract.Normal {
		c.state, c.unlock = contract.Closing, h.now+c.g.rules.ClientDelay
		if balance > c.stake {
			return c.asks(h, balance-c.stake)
		}
		return nil
	}
	if h.now <= c.unlock || c.state == contract.Closed && balance == 0 {
		return c.must(false)
	}
	c.state = contract.Closed
	return c.asks(h, most)
}

func (c *clientBook) charged(h *happened, m *contract.Envelope) error {
	grant := m.Kind == contract.GrantRefund
	switch {
	case m.Verify(c.at, publicOf(c.g.key)) != nil || !grant && m.Kind != contract.Charge:
		return errors.New("a payment was accepted that is not the proxy's")
	case m.Tokens < c.tokens || m.Tokens == c.tokens && !grant || c.state == contract.Closed && !(grant && c.net > 0):
		return fmt.Errorf("counter %d was accepted after %d in state %s", m.Tokens, c.tokens, c.state)
	}
	c.net -= c.g.rules.PricePerToken.Times(m.Tokens - c.tokens)
	c.tokens = m.Tokens
	if !grant {
		return nil
	}
	c.state, c.unlock = contract.Closed, 0
	return c.asks(h, max(c.net, 0))
}

func (c *clientBook) compare(a *tlb.AccountState) error {
	s, err := contract.ParseClientState(a.StateInit.Data)
	if err != nil {
		return err
	}
	if used := c.g.rules.PricePerToken.Times(c.tokens); c.deposited-used-c.paid != c.net+c.flying[0] {
		return fmt.Errorf("paid in %s, used %s, got %s; has %s, under way %s", c.deposited, used, c.paid, c.net, c.flying[0])
	}
	if err := c.claim.compare(); err != nil {
		return err
	}
	return differ("state", s.State, c.state, "balance", s.Balance, max(c.net, 0), "debt", s.Debt, max(-c.net, 0),
		"stake", s.Stake, c.stake, "counter", s.Tokens, c.tokens, "unlock", s.UnlockAt, c.unlock)
}
