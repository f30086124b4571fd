package ledger

import (
	"fmt"
	"math"
)

// Hold is a part of a client's balance set aside for one running request.
type Hold struct {
	client  *client
	need    int64
	booking bool // it is being settled: nobody else may end it
}

// maxName bounds an account's name; a raw address has 67 bytes.
const maxName = 1000

// named refuses what cannot be the name of an account. Events must be fit to be read back.
func named(account string) error {
	if account == "" || len(account) > maxName {
		return fmt.Errorf("%w: a name of %d bytes, want 1 to %d", ErrAccount, len(account), maxName)
	}
	return nil
}

// accounts is the current generation, or why there is none. mu is held.
func (l *Ledger) accounts() (*generation, error) {
	if !l.begun {
		return nil, fmt.Errorf("%w: no terms yet", ErrAccount)
	}
	return l.state.current(), nil
}

// OpenClient makes the account known. It is kept in memory alone until
// something happens to it: anybody may open accounts, and that must cost no disk.
func (l *Ledger) OpenClient(wallet string) (Client, error) {
	if err := named(wallet); err != nil {
		return Client{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	g, err := l.accounts()
	if err != nil {
		return Client{}, err
	}
	if g.clients[wallet] == nil && !room(g.clients, g.idleClients, l.cfg.Limit, func(c *client) bool { return c.running == 0 }) {
		return Client{}, ErrFull
	}
	return g.client(wallet).snapshot(), nil
}

// OpenWorker makes the account known.
func (l *Ledger) OpenWorker(owner string) (Worker, error) {
	if err := named(owner); err != nil {
		return Worker{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	g, err := l.accounts()
	if err != nil {
		return Worker{}, err
	}
	if g.workers[owner] == nil && !room(g.workers, g.idleWorkers, l.cfg.Limit, func(w *worker) bool { return w.coming == 0 }) {
		return Worker{}, ErrFull
	}
	return g.worker(owner).snapshot(), nil
}

// room makes some in a full list by dropping accounts that were never used:
// anybody may open accounts by the thousand, and they are all the same anew.
func room[A any](accounts map[string]A, idle map[string]struct{}, limit int, unused func(A) bool) bool {
	if len(idle) < limit {
		return true
	}
	for name := range idle {
		if unused(accounts[name]) {
			delete(accounts, name)
			delete(idle, name)
		}
	}
	return len(idle) < limit
}

func (c *client) snapshot() Client {
	s := Client{Wallet: c.name, State: c.seen.State, Deposit: c.g.Credit, Charged: c.seen.Charged, Used: c.used.levels(), Reserved: c.reserved, Running: c.running}
	if c.g.chainless() {
		s.Charged = c.used.chain // charging costs nothing there and happens at once
	} else {
		s.Deposit = c.seen.deposit(c.g.Price)
	}
	if c.g.closing {
		s.State = max(s.State, Closing)
	}
	return s
}

func (w *worker) snapshot() Worker {
	s := Worker{Owner: w.name, Earned: w.earned.levels(), Paid: w.seen.Paid}
	if w.g.chainless() {
		s.Paid = w.earned.chain
	}
	return s
}

// Reserve sets need tokens aside.
func (l *Ledger) Reserve(wallet string, need int64) (*Hold, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g, err := l.accounts()
	if err == nil {
		err = l.healthLocked()
	}
	if err != nil {
		return nil, err
	}
	c, ok := g.clients[wallet]
	if !ok {
		return nil, fmt.Errorf("%w: client %s", ErrAccount, wallet)
	}
	switch s := c.snapshot(); {
	case need < 0:
		return nil, ErrAmount
	case s.State != Open:
		return nil, ErrClosing
	case s.Available() < need:
		return nil, &BalanceError{Available: s.Available(), Need: need}
	}
	h := &Hold{client: c, need: need}
	l.holds[h] = struct{}{}
	c.reserved += need
	c.running++
	return h, nil
}

// Extend sets more aside for a request that turns out to cost at least need
// tokens. With a [BalanceError] the client cannot pay it, and nothing has changed.
func (l *Ledger) Extend(h *Hold, need int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open(h) {
		return ErrSpent
	}
	more := need - h.need
	if s := h.client.snapshot(); more > 0 && s.Available() < more {
		return &BalanceError{Available: s.Available(), Need: more}
	}
	if more > 0 {
		h.need, h.client.reserved = need, h.client.reserved+more
	}
	return nil
}

// open says whether the hold can still be ended. mu is held.
func (l *Ledger) open(h *Hold) bool {
	_, ok := l.holds[h]
	return ok && !h.booking
}

// end takes the hold off its client. mu is held.
func (l *Ledger) end(h *Hold) {
	delete(l.holds, h)
	h.client.reserved -= h.need
	h.client.running--
}

// Release gives the hold back: the request cost nothing.
func (l *Ledger) Release(h *Hold) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open(h) {
		return ErrSpent
	}
	l.end(h)
	return nil
}

// Settle ends the hold and moves what was used from the client to the worker,
// and returns when that is durable. It may be more than was held, since callers may set no limit, but never more
// than the client can pay: a worker that reports too much earns no debt.
func (l *Ledger) Settle(h *Hold, owner string, used int64) (booked int64, err error) {
	l.mu.Lock()
	g, err := l.accounts()
	if err == nil {
		err = l.settleable(g, h, owner, used)
	}
	if err != nil {
		l.mu.Unlock()
		return 0, err
	}
	c, w := h.client, g.workers[owner]
	c.reserved -= h.need
	s := c.snapshot()
	booked = max(0, min(used, s.Available(), math.MaxInt64-w.earned.db-w.coming))
	h.need = booked // it stays reserved until it is used
	c.reserved += booked
	if booked == 0 {
		l.end(h)
		l.mu.Unlock()
		return 0, nil
	}
	h.booking = true
	w.coming += booked
	b := &booking{event: Event{Kind: Settled, Generation: g.Number, Client: c.name, Worker: owner, Tokens: booked}}
	if used > booked {
		b.event.Reported = used
	}
	b.done = func(error) {
		w.coming -= booked
		l.end(h)
	}
	if err := l.write(b); err != nil {
		return 0, err
	}
	return booked, nil
}

// settleable says what forbids to settle the hold and leaves it open. mu is held.
func (l *Ledger) settleable(g *generation, h *Hold, owner string, used int64) error {
	switch {
	case used < 0:
		return ErrAmount
	case !l.open(h):
		return ErrSpent
	case g.workers[owner] == nil:
		return fmt.Errorf("%w: worker %s", ErrAccount, owner)
	}
	return nil
}

// Clients lists every account of the current generation, in no order.
func (l *Ledger) Clients() []Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun {
		return []Client{}
	}
	return l.state.current().clientList()
}

// Workers lists every account of the current generation, in no order.
func (l *Ledger) Workers() []Worker {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun {
		return []Worker{}
	}
	return l.state.current().workerList()
}

// Everyone lists the accounts of the current generation as of one moment, in no
// order: what clients used in it is what workers earned.
func (l *Ledger) Everyone() ([]Client, []Worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun {
		return []Client{}, []Worker{}
	}
	g := l.state.current()
	return g.clientList(), g.workerList()
}

// Accounts lists those of any generation, in no order; none if it is unknown.
func (l *Ledger) Accounts(generation uint32) ([]Client, []Worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.state.generation(generation)
	return g.clientList(), g.workerList()
}

func (g *generation) clientList() []Client {
	list := []Client{}
	if g != nil {
		for _, c := range g.clients {
			list = append(list, c.snapshot())
		}
	}
	return list
}

func (g *generation) workerList() []Worker {
	list := []Worker{}
	if g != nil {
		for _, w := range g.workers {
			list = append(list, w.snapshot())
		}
	}
	return list
}
