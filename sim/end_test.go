package sim

import (
	"testing/synctest"
	"time"

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
	if !e.until("what is due is done", 600, func() bool { return e.settled(false) }) {
		return
	}
	e.tell("the last price")
	e.founder.says(e.root, coinTON, &contract.ChangePrice{QueryID: 1, Price: 7, Fee: 6}, nil)
	if !e.until("all contracts but the newest are closed", 2000, func() bool { return e.settled(true) }) {
		return
	}
	e.final()
}

const coinTON = 1_000_000_000

// until lets the world go on without trouble until it is so.
func (e *economy) until(what string, rounds int, so func() bool) bool {
	for range rounds {
		for range 40 {
			synctest.Wait()
			if calls := e.chain.pending(); len(calls) > 0 {
				e.answer(calls[0])
			} else if len(e.chain.transit) > 0 {
				e.chain.deliver(0)
			} else {
				break
			}
		}
		synctest.Wait()
		e.mend()
		e.seal()
		synctest.Wait()
		if e.failed() {
			return false
		}
		if len(e.chain.transit) == 0 && so() {
			return true
		}
		time.Sleep(7 * time.Second)
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
		if h.ruined {
			continue
		}
		if h.unhealthy() != "" {
			return false
		}
		_, _, waits := h.ledger.PendingNote()
		if waits || len(h.ledger.Due(rules, time.Now())) > 0 {
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
		if g := h.ledger.Generations(); last && (len(g) != 1 || g[0].Params != e.registryNow().ParamsVersion) {
			return false
		}
	}
	return true
}

// final: who earned something has it, who used something paid it.
func (e *economy) final() {
	for _, h := range e.houses {
		for _, p := range e.pagesOf(h) {
			if h.ruined || p.gen == e.registryNow().ParamsVersion {
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
	if s.State != contract.Closed || s.Balance != 0 {
		e.broken("%s is %s and has %s", name, s.State, s.Balance.Text())
	}
	for _, w := range e.workers {
		state, err := e.book.workerState(e.worker(p.contracts, w).Address)
		e.must(err)
		low, high := p.booked[w.account()], p.most()[w.account()]
		if low == 0 && state == nil {
			continue
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
