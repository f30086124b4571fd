package settlement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/wallet"
)

// Count names a counter: a kind of message, and "done" or "failed".
type Count struct{ Kind, Result string }

// ProxyStatus is how a proxy's settlement fares.
type ProxyStatus struct {
	Wallet wallet.Status
	// Contracts are the generations' own, the current one last. Empty before terms.
	Contracts []ProxyContract
	// Paying are the owners, by raw address, to whom a payout is under way.
	Paying []string
	// Due is what the ledger wants done and the chain has not shown yet.
	Due []DueOrder
	// NoteWaits says that a note was prepared and not seen. NoteSent is when
	// the newest one arrived, NextNote the earliest time for another.
	NoteWaits          bool
	NoteSent, NextNote time.Time
	// Head is the time of the newest block seen, zero before the first.
	Head time.Time
	// Trouble is why the chain cannot be read, "" if it can.
	Trouble string
	// LastError is the newest failure, perhaps overcome.
	LastError   string
	LastErrorAt time.Time
	// Counts are the messages since the start.
	Counts map[Count]int64
}

// ProxyContract is the contract of a generation.
type ProxyContract struct {
	Address *address.Address
	Params  uint32
	// Known is false before the chain has shown it, Deployed while it is not there.
	Known, Deployed bool
	State           contract.State
	// Account is all that the contract holds, Ready what the owner may
	// withdraw, Deposits what belongs to clients and workers.
	Account, Ready, Stake, Deposits coin.Nano
	// CloseAt is when a closing contract may be finished; zero for others.
	CloseAt time.Time
	// Running is what is under way for it, "" for nothing.
	Running string
}

// DueOrder is an order and what became of it so far.
type DueOrder struct {
	ledger.Order
	Running  bool
	Failures int
	// Err is why it failed last; Next when it is tried again.
	Err  error
	Next time.Time
}

// Status describes this moment; it asks nobody.
func (p *Proxy) Status() ProxyStatus {
	due := p.cfg.Ledger.Due(p.cfg.Rules, p.now())
	_, _, waits := p.cfg.Ledger.PendingNote()
	s := ProxyStatus{Wallet: p.cfg.Wallet.Status(), NoteWaits: waits}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.NoteSent, s.Head, s.Trouble = p.sentNote.at, p.head, p.trouble
	if !s.NoteSent.IsZero() {
		s.NextNote = s.NoteSent.Add(p.cfg.NoteEvery)
	}
	s.LastError, s.LastErrorAt, s.Counts = p.lastError, p.lastErrorAt, maps.Clone(p.counts)
	for _, g := range p.generations {
		s.Contracts = append(s.Contracts, p.contractOf(g))
	}
	slices.SortFunc(s.Contracts, func(a, b ProxyContract) int { return cmp.Compare(a.Params, b.Params) })
	for key, o := range p.running {
		s.Due = append(s.Due, DueOrder{Order: o, Running: true, Failures: p.jobs[key].failures})
		if o.Kind == ledger.Payout || o.Kind == ledger.LastPayout {
			s.Paying = append(s.Paying, o.Account)
		}
	}
	for _, o := range due {
		if _, running := p.running[jobOf(o)]; running {
			continue
		}
		d := DueOrder{Order: o}
		if j := p.jobs[jobOf(o)]; j != nil {
			d.Failures, d.Err, d.Next = j.failures, j.err, j.until
		}
		s.Due = append(s.Due, d)
	}
	return s
}

// contractOf is called with mu held.
func (p *Proxy) contractOf(g *generation) ProxyContract {
	c := ProxyContract{Address: g.contracts.Proxy.Address, Params: g.Params}
	for key, j := range p.jobs {
		if j.running && strings.HasSuffix(key, fmt.Sprintf(" of generation %d", g.Number)) {
			c.Running = key
		}
	}
	if c.Known = g.account != nil; !c.Known {
		return c
	}
	c.Account = g.account.Balance
	if c.Deployed = g.state != nil; c.Deployed {
		c.State, c.Ready, c.Stake, c.Deposits = g.state.State, g.state.Balance, g.state.Stake, g.state.Deposits
	}
	if c.Deployed && c.State == contract.Closing {
		c.CloseAt = time.Unix(int64(g.state.UnlockAt), 0)
	}
	return c
}
