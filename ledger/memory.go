package ledger

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"
)

// Memory is a book that forgets everything when the process ends. Because
// workers remember what they earned, a proxy with such a book must take a new
// key, and with it a new contract, at each start. The zero value is ready for Begin.
type Memory struct {
	// Every is the time between two commits; 0 is one second. The amount that
	// is signed trails what has happened by at most two of them.
	Every time.Duration
	// Limit bounds the accounts of each side; 0 is 100,000.
	Limit int

	mu         sync.Mutex // guards all below; never held while signing
	terms      Terms
	generation int
	clients    map[string]*client
	workers    map[string]*worker
	open       map[*Hold]struct{}
	dirty      map[*Levels]struct{}
}

type client struct {
	Client
	signed signed
}

type worker struct {
	Worker
	signed signed
}

// signed remembers the last payment made, so that signing costs one
// signature per commit and account and none per request.
type signed struct {
	amount  int64
	payment []byte
}

// Hold is a part of a client's balance set aside for one running request.
type Hold struct {
	wallet     string
	need       int64
	generation int
}

// Begin starts new accounts.
func (m *Memory) Begin(t Terms) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.terms, m.generation = t, m.generation+1
	m.clients, m.workers = map[string]*client{}, map[string]*worker{}
	m.open, m.dirty = map[*Hold]struct{}{}, map[*Levels]struct{}{}
	return nil
}

// OpenClient makes the account known, with the terms' credit if it is new.
func (m *Memory) OpenClient(wallet string) (Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.clients[wallet]
	if !ok {
		if !room(m.clients, m.Limit, func(c *client) bool { return c.Used.Max == 0 && c.Running == 0 }) {
			return Client{}, ErrFull
		}
		c = &client{Client: Client{Wallet: wallet, Deposit: m.terms.Credit}}
		m.clients[wallet] = c
	}
	return c.Client, nil
}

// room makes some in a full list by dropping accounts that were never used:
// anybody may open accounts by the thousand, and they are all the same anew.
func room[A any](accounts map[string]A, limit int, unused func(A) bool) bool {
	if limit <= 0 {
		limit = 100_000
	}
	if len(accounts) >= limit {
		maps.DeleteFunc(accounts, func(_ string, a A) bool { return unused(a) })
	}
	return len(accounts) < limit
}

// OpenWorker makes the account known.
func (m *Memory) OpenWorker(owner string) (Worker, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.workers[owner]
	if !ok {
		if !room(m.workers, m.Limit, func(w *worker) bool { return w.Earned.Max == 0 }) {
			return Worker{}, ErrFull
		}
		w = &worker{Worker: Worker{Owner: owner}}
		m.workers[owner] = w
	}
	return w.Worker, nil
}

// Reserve sets need tokens aside.
func (m *Memory) Reserve(wallet string, need int64) (*Hold, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.clients[wallet]
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: client %s", ErrAccount, wallet)
	case need < 0:
		return nil, ErrAmount
	case c.State != Open:
		return nil, ErrClosing
	case c.Available() < need:
		return nil, &BalanceError{Available: c.Available(), Need: need}
	}
	h := &Hold{wallet: wallet, need: need, generation: m.generation}
	m.open[h] = struct{}{}
	c.Reserved += need
	c.Running++
	return h, nil
}

// end takes the hold off its client, who is returned. mu is held.
func (m *Memory) end(h *Hold) (*client, error) {
	if _, ok := m.open[h]; !ok {
		return nil, ErrSpent
	}
	delete(m.open, h)
	c := m.clients[h.wallet]
	c.Reserved -= h.need
	c.Running--
	return c, nil
}

// Release gives the hold back: the request cost nothing.
func (m *Memory) Release(h *Hold) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.end(h)
	return err
}

// Settle ends the hold and moves what was used from the client to the worker.
// It may be more than was held, since callers may set no limit, but never more
// than the client can pay: a worker that reports too much earns no debt.
func (m *Memory) Settle(h *Hold, owner string, used int64) (booked int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if used < 0 {
		return 0, ErrAmount
	}
	w, ok := m.workers[owner]
	if !ok {
		return 0, fmt.Errorf("%w: worker %s", ErrAccount, owner)
	}
	c, err := m.end(h)
	if err != nil {
		return 0, err
	}
	booked = max(0, min(used, c.Available()))
	c.Used.Max += booked
	w.Earned.Max = add(w.Earned.Max, booked)
	if booked > 0 {
		m.dirty[&c.Used], m.dirty[&w.Earned] = struct{}{}, struct{}{}
	}
	return booked, nil
}

// Commit moves every counter one level up, as a store and a chain would: what
// was in the store reaches the chain, what was in memory the store. Charging
// and paying out cost nothing here and happen at once.
func (m *Memory) Commit() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for l := range m.dirty {
		if l.Chain, l.DB = l.DB, l.Max; l.Chain == l.Max {
			delete(m.dirty, l)
		}
	}
	for _, c := range m.clients {
		c.Charged = c.Used.Chain
	}
	for _, w := range m.workers {
		w.Paid = w.Earned.Chain
	}
}

// Run commits until ctx ends.
func (m *Memory) Run(ctx context.Context) error {
	every := m.Every
	if every <= 0 {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			m.Commit()
			return nil
		case <-tick.C:
			m.Commit()
		}
	}
}

// ClientStatus is the newest payment and counters of a client.
func (m *Memory) ClientStatus(wallet string) (Status, error) {
	m.mu.Lock()
	c, ok := m.clients[wallet]
	if !ok {
		m.mu.Unlock()
		return Status{}, fmt.Errorf("%w: client %s", ErrAccount, wallet)
	}
	return m.status(ClientSide, wallet, c.Used, &c.signed)
}

// WorkerStatus is the newest payment and counters of a worker's owner.
func (m *Memory) WorkerStatus(owner string) (Status, error) {
	m.mu.Lock()
	w, ok := m.workers[owner]
	if !ok {
		m.mu.Unlock()
		return Status{}, fmt.Errorf("%w: worker %s", ErrAccount, owner)
	}
	return m.status(WorkerSide, owner, w.Earned, &w.signed)
}

// status signs what the chain knows unless that has been done. It is called
// with mu held and returns without: two callers may sign the same amount at the
// same time, and either payment will do.
func (m *Memory) status(side Side, account string, l Levels, last *signed) (Status, error) {
	s := Status{Payment: last.payment, DB: l.DB, Max: l.Max}
	sign := m.terms.Sign
	if s.Payment != nil && last.amount == l.Chain || sign == nil {
		m.mu.Unlock()
		return s, nil
	}
	m.mu.Unlock()
	payment, err := sign(side, account, l.Chain)
	if err != nil {
		return Status{}, fmt.Errorf("ledger: sign %d tokens: %w", l.Chain, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if last.payment == nil || last.amount < l.Chain {
		*last = signed{l.Chain, payment}
	}
	s.Payment = payment
	return s, nil
}

// Clients lists every account, in no order.
func (m *Memory) Clients() []Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Client, 0, len(m.clients))
	for _, c := range m.clients {
		list = append(list, c.Client)
	}
	return list
}

// Workers lists every account, in no order.
func (m *Memory) Workers() []Worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Worker, 0, len(m.workers))
	for _, w := range m.workers {
		list = append(list, w.Worker)
	}
	return list
}
