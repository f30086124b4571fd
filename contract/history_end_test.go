package contract_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
)

// end: the chain is honest again, what was delayed arrives, and everybody
// leaves. Pools that are short, because a client never paid or a message with
// a deposit was lost, are filled up. Then everybody must have what is theirs.
func (h *history) end() error {
	h.faults = 0
	for len(h.held) > 0 {
		if err := h.release(); err != nil {
			return err
		}
	}
	for _, g := range h.gens {
		if err := h.deliver("deployed at last", founders, g.proxy.Address, 300*milli, nil, g.proxy.Init, false); err != nil {
			return err
		}
		if err := errors.Join(h.fill(g), h.workersLeave(g)); err != nil {
			return err
		}
	}
	if err := errors.Join(h.clientsLeave(), h.clientsGo(2*day), h.clientsGo(0)); err != nil {
		return err
	}
	return h.settled()
}

// fill has the donor pay in what all claims together are short of.
func (h *history) fill(g *generation) error {
	p := h.book.parties[g.proxy.Address.StringRaw()].(*proxyBook)
	var claims coin.Nano
	for i, d := range g.workers {
		w := h.book.parties[d.Address.StringRaw()].(*workerBook)
		claims += g.rules.PricePerToken.Times(g.earned[i] - w.tokens + w.owed)
	}
	for _, d := range g.clients {
		claims += max(h.book.parties[d.Address.StringRaw()].(*clientBook).net, 0)
	}
	short := claims - p.deposits
	if short <= 0 {
		return nil
	}
	at := short + ton(1)
	d, err := g.rules.DeployClient(founders, g.proxy.Address, publicOf(g.key))
	if err != nil {
		return err
	}
	if _, known := h.book.parties[d.Address.StringRaw()]; !known {
		h.book.add("donor", d, &clientBook{b: h.book, g: g, at: d.Address, owner: founders, stake: g.rules.MinClientStake})
	}
	body := cellOf(&contract.TopUp{Amount: at, Excess: founders})
	return h.deliver("the donor fills the pool", founders, d.Address, at+ton(1), body, d.Init, true)
}

func (h *history) workersLeave(g *generation) error {
	for i, d := range g.workers {
		w := h.book.parties[d.Address.StringRaw()].(*workerBook)
		if w.state == contract.Closed && w.owed == 0 {
			continue
		}
		if w.state == contract.Closed {
			g.earned[i] = w.tokens // closed early by a paper that should not have left the proxy
		}
		e := h.sign(g, contract.LastPayout, d.Address, g.earned[i])
		if err := h.bring(e, d.Address, ton(1), addr(stranger)); err != nil {
			return err
		}
		if w.tokens != g.earned[i] || w.owed != 0 {
			return fmt.Errorf("%s cannot collect: counter %d of %d, owed %d", h.book.called(d.Address), w.tokens, g.earned[i], w.owed)
		}
	}
	return nil
}

// clientsLeave is their first step.
func (h *history) clientsLeave() error { return h.clientsGo(0) }

func (h *history) clientsGo(after time.Duration) error {
	if _, err := h.chain.Advance(after); err != nil {
		return err
	}
	for _, g := range h.gens {
		for i, d := range g.clients {
			c := h.book.parties[d.Address.StringRaw()].(*clientBook)
			if c.state == contract.Closed && c.net <= 0 {
				continue
			}
			body := cellOf(&contract.RequestRefund{Excess: users[i]})
			if err := h.deliver("leaves", users[i], d.Address, ton(1), body, d.Init, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// settled: all have left, with everything.
func (h *history) settled() error {
	for _, g := range h.gens {
		for _, d := range g.clients {
			if c := h.book.parties[d.Address.StringRaw()].(*clientBook); c.state != contract.Closed || c.net > 0 {
				return fmt.Errorf("%s cannot leave: %s with %s", h.book.called(d.Address), c.state, c.net)
			}
		}
	}
	return nil
}
