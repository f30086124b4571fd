package contract_test

import (
	"errors"
	"fmt"

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
	rent                     coin.Nano // since there was last enough; payments bring it back
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
		p.stake, p.rent = p.stake+m.Amount, 0
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
	p.balance, p.rent = 0, 0
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
	p.state, p.balance, p.stake, p.unlock, p.rent = contract.Closed, 0, 0, 0, 0
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
	p.rent = 0
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
