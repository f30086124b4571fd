package sim

import (
	"slices"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
)

// end lets all trouble cease, changes the price once more, so that every
// contract is closed, and looks at what everybody has then.
func (e *economy) end() {
	e.tell("all trouble ceases")
	e.climate = climate{}
	e.chain.stalled = false
	for _, n := range e.nodes {
		n.cut, n.skew = false, 0
		n.disk.mu.Lock()
		n.disk.full, n.disk.stopIn = false, 0
		n.disk.mu.Unlock()
		if n.dead || n.stuck() {
			e.restart(n)
		}
	}
	for _, h := range e.houses {
		e.fund(h.wallet, 100*coinTON)
	}
	for len(e.chain.late) > 0 {
		e.late()
	}
	for _, r := range append([]*request{}, e.requests...) {
		r.deadline = time.Now()
	}
	e.expire()
	if len(e.requests) > 0 {
		e.broken("%d requests have not ended", len(e.requests))
	}
	if !e.until("what is due is done", 600, 20*time.Second, func() bool { return e.settled(false) }) {
		return
	}
	e.tell("the last price")
	e.founder.says(e.root, coinTON, &contract.ChangePrice{QueryID: 1, Price: 7, Fee: 6}, nil)
	if !e.until("all contracts but the newest are closed", 700, 5*time.Minute, func() bool { return e.settled(true) }) {
		return
	}
	e.final()
}

const coinTON = 1_000_000_000

// until lets the world go on without trouble until it is so.
func (e *economy) until(what string, rounds int, nap time.Duration, so func() bool) bool {
	for range rounds {
		for range 40 {
			e.rest(0)
			if calls := e.chain.pending(); len(calls) > 0 {
				e.answer(calls[0])
			} else if len(e.chain.transit) > 0 {
				e.chain.deliver(0)
			} else {
				break
			}
		}
		e.rest(0)
		e.mend()
		e.seal()
		e.rest(0)
		if e.failed() {
			return false
		}
		if len(e.chain.transit) == 0 && so() {
			return true
		}
		if len(e.chain.transit) > 0 {
			e.rest(7 * time.Second)
		} else {
			e.rest(nap)
		}
	}
	for _, h := range e.houses {
		if !h.alive() {
			e.note("%s: not alive", h.name)
			continue
		}
		s := h.settle.Status()
		e.note("%s: health %v / %v; last error %s; note waits %v; due:", h.name, h.ledger.Health(), h.settle.Health(), s.LastError, s.NoteWaits)
		for _, d := range s.Due {
			e.note("   %s of %s, generation %d: running %v, failures %d, %v", d.Kind, e.who(d.Account), d.Generation.Params, d.Running, d.Failures, d.Err)
		}
		for _, g := range h.ledger.Generations() {
			clients, workers := h.ledger.Accounts(g.Number)
			e.note("   generation %d: %+v %+v", g.Params, clients, workers)
		}
	}
	e.broken("never comes: %s", what)
	return false
}

// settled: nothing is due; and, if it is to be the last, the old generations are gone.
func (e *economy) settled(last bool) bool {
	for _, h := range e.houses {
		if h.ruined || h.lies {
			continue
		}
		if h.unhealthy() != "" {
			return false
		}
		_, _, waits := h.ledger.PendingNote()
		if waits || slices.ContainsFunc(h.ledger.Due(rules, time.Now()), func(o ledger.Order) bool { return !e.short(h, o.Generation) }) {
			return false
		}
		clients, workers := h.ledger.Clients(), h.ledger.Workers()
		for _, c := range clients {
			if c.Used.Chain != c.Used.DB {
				return false
			}
		}
		for _, w := range workers {
			if w.Earned.Chain != w.Earned.DB {
				return false
			}
		}
		g := h.ledger.Generations()
		if last && (g[len(g)-1].Params != e.registryNow().ParamsVersion || slices.ContainsFunc(g[:len(g)-1], func(g ledger.Generation) bool { return !e.short(h, g) })) {
			return false
		}
	}
	return true
}

// short says whether what keeps a generation open is a pool that cannot pay a
// worker, or a client: another client has left by force, while the proxy was too
// slow to charge it. That may be as much as the client's use, which its stake bounds.
func (e *economy) short(h *house, g ledger.Generation) bool {
	p := e.book.pages[g.Contract]
	account := e.chain.look(p.contracts.Proxy.Address)
	if account.Status != ton.Active {
		return false
	}
	s, err := contract.ParseProxyState(account.Data)
	e.must(err)
	fee, price := p.contracts.Params.WorkerFeePerToken, p.contracts.Params.PricePerToken
	owed, lost := coin.Nano(0), coin.Nano(0)
	used, earned := totalsOf(h.ledger.Accounts(g.Number))
	for _, w := range e.workers {
		paid := int64(0)
		if state, err := e.book.workerState(e.worker(p.contracts, w).Address); err == nil && state != nil {
			paid = int64(state.Tokens - state.Owed)
		}
		owed += fee.Times(max(0, earned[w.account()]-paid))
	}
	for _, c := range e.clients {
		state, err := e.book.clientState(e.client(p.contracts, c).Address)
		if err != nil || state == nil {
			continue
		}
		open := price.Times(max(0, used[c.account()]-int64(state.Tokens)))
		if state.State == contract.Closed {
			lost, owed = lost+open, owed+state.Balance
		} else {
			owed += max(0, state.Balance-open)
		}
	}
	if owed == 0 || s.Deposits+s.Stake >= owed {
		return false
	}
	if owed > s.Deposits+s.Stake+lost+price { // a token is not divided
		e.broken("%s owes %s and has %s; clients left without paying %s", e.called(p.contracts.Proxy.Address), owed.Text(), s.Deposits.Text(), lost.Text())
	}
	return true
}

func totalsOf(clients []ledger.Client, workers []ledger.Worker) (used, earned totals) {
	used, earned = totals{}, totals{}
	for _, c := range clients {
		used[c.Wallet] = c.Used.DB
	}
	for _, w := range workers {
		earned[w.Owner] = w.Earned.DB
	}
	return used, earned
}

// final: who earned something has it, who used something paid it.
func (e *economy) final() {
	for _, h := range e.houses {
		for _, p := range e.pagesOf(h) {
			if h.ruined || h.lies || p.gen == e.registryNow().ParamsVersion {
				continue
			}
			e.finalPage(p)
		}
	}
}

func (e *economy) finalPage(p *page) {
	name := e.called(p.contracts.Proxy.Address)
	account := e.chain.look(p.contracts.Proxy.Address)
	if account.Status != ton.Active {
		return
	}
	s, err := contract.ParseProxyState(account.Data)
	e.must(err)
	if p.house.diverged || slices.ContainsFunc(p.house.ledger.Generations(), func(g ledger.Generation) bool {
		return g.Contract == p.contracts.Proxy.Address.StringRaw() && e.short(p.house, g)
	}) {
		e.counts["pools that are short"]++
		return
	}
	if s.State != contract.Closed || s.Balance != 0 {
		e.broken("%s is %s and has %s", name, s.State, s.Balance.Text())
	}
	for _, w := range e.workers {
		state, err := e.book.workerState(e.worker(p.contracts, w).Address)
		e.must(err)
		low, high := p.booked[w.account()], p.most()[w.account()]
		paid := state != nil && state.Tokens > state.Owed
		if state == nil && low == 0 || !paid && p.contracts.Params.WorkerFeePerToken.Times(low) < rules.LastPayout {
			continue // it is not worth a contract: the promise stays good
		}
		if state == nil || int64(state.Tokens) < low && !p.house.diverged || int64(state.Tokens) > high {
			e.broken("%s: %s earned %d tokens (%d perhaps), its contract: %+v", name, w.name, low, high, state)
		} else if state.Owed > 0 && s.Deposits >= p.contracts.Params.WorkerFeePerToken.Times(int64(state.Owed)) {
			e.broken("%s: %s is owed %d tokens, and there are %s", name, w.name, state.Owed, s.Deposits.Text())
		}
	}
	for _, c := range e.clients {
		state, err := e.book.clientState(e.client(p.contracts, c).Address)
		e.must(err)
		if state == nil {
			continue
		}
		if state.State != contract.Closed && (state.Tokens > 0 || state.Balance > 0) && p.booked[c.account()] > 0 {
			e.broken("%s: the account of %s is %s with %s", name, c.name, state.State, state.Balance.Text())
		}
	}
	_ = ledger.Open
}
