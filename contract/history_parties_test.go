package contract_test

import (
	"errors"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// The rules, once more, for the book. Amounts are kept as far as they go;
// histories stay far below what numbers can hold.

type proxyBook struct {
	b                        *book
	g                        *generation
	state                    contract.State
	deposits, balance, stake coin.Nano
	unlock                   uint32
	rent                     coin.Nano // since there was last enough
}

func (b *book) proxy(g *generation, i int) {
	b.add(fmt.Sprintf("proxy %d", i), g.proxy, &proxyBook{b: b, g: g})
}

func (p *proxyBook) observe(h *happened) error {
	p.rent += h.rent
	switch m := h.body.(type) {
	case *contract.WorkerRequest:
		return p.workerRequest(h, m)
	case *contract.ClientRequest:
		return p.clientRequest(h, m)
	}
	if !h.ok {
		return nil
	}
	owner := h.sender == operators.StringRaw()
	switch m := h.body.(type) {
	case *contract.PayoutRequest:
		return p.paysCut(h, true)
	case *contract.IncreaseStake:
		if p.state == contract.Closed || nano(h.in.Amount) < m.Amount {
			return errors.New("the stake must not grow")
		}
		p.stake += m.Amount
	case *contract.OwnerClose:
		return p.closes(h, owner)
	case *contract.OwnerFinish:
		return p.finishes(h, owner && (p.state == contract.Closed || p.state == contract.Closing && h.now >= p.unlock+30*86400))
	case contract.Text:
		if m.Letter == 'c' {
			return p.closes(h, owner)
		}
		if !owner || p.state == contract.Closed {
			return errors.New("only the owner of an open contract withdraws")
		}
		return p.paysCut(h, false)
	case *contract.Envelope:
		genuine := m.Verify(p.g.proxy.Address, publicOf(p.g.key)) == nil
		if m.Kind == contract.CloseRequest {
			return p.closes(h, genuine)
		}
		return p.finishes(h, genuine && m.Kind == contract.CloseComplete && p.state == contract.Closing && h.now >= p.unlock)
	case contract.Empty, *contract.SaveState, nil:
	default:
		return errors.New("must not succeed")
	}
	return nil
}

func (p *proxyBook) paysCut(h *happened, exactly bool) error {
	got, ok := h.paid(operators)
	if !ok || got < p.balance || exactly && got != p.balance {
		return fmt.Errorf("the owner got %s, want the cut of %s", got, p.balance)
	}
	p.balance = 0
	return nil
}

func (p *proxyBook) closes(h *happened, may bool) error {
	if !may || p.state != contract.Normal {
		return errors.New("must not start to close")
	}
	p.state, p.unlock = contract.Closing, h.now+p.g.rules.ProxyDelay
	return nil
}

func (p *proxyBook) finishes(h *happened, may bool) error {
	got, ok := h.paid(operators)
	if !may || !ok || got < p.balance+p.stake {
		return fmt.Errorf("must not finish, or with %s to the owner", got)
	}
	p.state, p.balance, p.stake, p.unlock = contract.Closed, 0, 0, 0
	return nil
}

// takes is a payment out of the pool.
func (p *proxyBook) takes(v coin.Nano, stake bool) error {
	short := max(v-p.deposits, 0)
	if short > 0 && (!stake || short > p.stake) {
		return fmt.Errorf("pays %s out of deposits of %s and a stake of %s", v, p.deposits, p.stake)
	}
	p.stake -= short
	p.deposits -= v - short
	return nil
}

// workerRequest: a claim is paid to the worker's owner to the last nano, or
// goes back with all it said.
func (p *proxyBook) workerRequest(h *happened, m *contract.WorkerRequest) error {
	w, known := p.b.parties[h.sender].(*workerBook)
	switch {
	case m.Part == nil:
		return nil
	case !known || w.g != p.g:
		return mustFail(h)
	case !h.ok && !h.returned():
		return fmt.Errorf("a claim of %s has vanished", m.Part.Worker)
	case !h.ok:
		return nil
	}
	if got, ok := h.paid(w.owner); !ok || got != m.Part.Worker {
		return fmt.Errorf("paid %s, the claim is %s", got, m.Part.Worker)
	}
	w.paid += m.Part.Worker
	if err := p.takes(m.Part.Worker, true); err != nil {
		return err
	}
	cut := min(m.Part.Proxy, p.deposits)
	p.deposits, p.balance = p.deposits-cut, p.balance+cut
	return nil
}

func mustFail(h *happened) error {
	if h.ok {
		return errors.New("a forged request was accepted")
	}
	return nil
}

func (p *proxyBook) clientRequest(h *happened, m *contract.ClientRequest) error {
	c, known := p.b.parties[h.sender].(*clientBook)
	switch {
	case m.Part == nil || m.Part.Kind == contract.PartRegister && h.in.Amount.Nano().Int64() == 1:
		return nil
	case !known || c.g != p.g:
		return mustFail(h)
	case !h.ok && !h.returned():
		return fmt.Errorf("a claim of %s has vanished", m.Part.Amount)
	case !h.ok:
		return nil
	case m.Part.Kind == contract.PartTopUp:
		p.deposits += m.Part.Amount
		return nil
	}
	if got, ok := h.paid(c.owner); !ok || got != m.Part.Amount {
		return fmt.Errorf("paid %s, the claim is %s", got, m.Part.Amount)
	}
	c.paid += m.Part.Amount
	return p.takes(m.Part.Amount, m.Part.Kind == contract.PartRefundForced)
}

// compare: the account has what it owes, but for rent that no payment has
// brought since.
func (p *proxyBook) compare(a *tlb.AccountState) error {
	s, err := contract.ParseProxyState(a.StateInit.Data)
	if err != nil {
		return err
	}
	have, owed := nano(a.Balance), s.Deposits+s.Balance+s.Stake
	if have >= owed {
		p.rent = 0
	} else if have+p.rent < owed {
		return fmt.Errorf("has %s and owes %s", have, owed)
	}
	return differ("state", s.State, p.state, "deposits", s.Deposits, p.deposits, "balance", s.Balance, p.balance,
		"stake", s.Stake, p.stake, "unlock", s.UnlockAt, p.unlock)
}

type workerBook struct {
	b            *book
	g            *generation
	at, owner    *address.Address
	state        contract.State
	tokens, owed int64
	paid         coin.Nano // to the owner
	claim
}

func (b *book) worker(g *generation, i int, owner *address.Address) {
	d := g.workers[i]
	b.add(fmt.Sprintf("worker %s %d", humans[owner.StringRaw()], g.rules.ParamsVersion), d, &workerBook{b: b, g: g, at: d.Address, owner: owner})
}

func (w *workerBook) observe(h *happened) error {
	if h.in.Bounced {
		r, claim := h.body.(*contract.WorkerRequest)
		if !claim || r.Part == nil {
			return nil
		}
		if !h.ok {
			return fmt.Errorf("a claim of %s came back and was not taken", r.Part.Worker)
		}
		if price := w.g.rules.PricePerToken; price > 0 {
			w.owed += int64((r.Part.Worker + r.Part.Proxy) / price)
		}
		return nil
	}
	if !h.ok {
		return nil
	}
	switch m := h.body.(type) {
	case *contract.Envelope:
		again := w.owed > 0 || m.Kind == contract.LastPayout
		switch {
		case m.Verify(w.at, publicOf(w.g.key)) != nil || m.Kind != contract.Payout && m.Kind != contract.LastPayout:
			return errors.New("a payment was accepted that is not the proxy's")
		case m.Tokens < w.tokens || m.Tokens == w.tokens && !again || w.state == contract.Closed && w.owed == 0:
			return fmt.Errorf("counter %d was accepted after %d in state %s", m.Tokens, w.tokens, w.state)
		}
		w.tokens, w.owed = m.Tokens, 0
		if m.Kind == contract.LastPayout {
			w.state = contract.Closed
		}
	case *contract.Collect:
		if h.sender != w.owner.StringRaw() || m.Tokens == 0 || m.Tokens > uint64(w.owed) {
			return fmt.Errorf("%d of %d tokens owed were collected", m.Tokens, w.owed)
		}
		w.owed -= int64(m.Tokens)
	case *contract.WorkerRegister:
		if h.sender != w.owner.StringRaw() {
			return errors.New("not the owner")
		}
	case *contract.OwnerFinish, contract.Empty, *contract.SaveState:
	default:
		return errors.New("must not succeed")
	}
	return nil
}

// compare: whatever the counter rose by is paid, owed, or under way.
func (w *workerBook) compare(a *tlb.AccountState) error {
	s, err := contract.ParseWorkerState(a.StateInit.Data)
	if err != nil {
		return err
	}
	fee := w.g.rules.WorkerFeePerToken
	if due := fee.Times(w.tokens); due != w.paid+w.flying[0]+fee.Times(w.owed) {
		return fmt.Errorf("earned %s; paid %s, owed %s, under way %s", due, w.paid, fee.Times(w.owed), w.flying[0])
	}
	if err := w.claim.compare(); err != nil {
		return err
	}
	return differ("state", s.State, w.state, "counter", s.Tokens, w.tokens, "owed", s.Owed, w.owed)
}

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
