package ledger

import (
	"fmt"

	"github.com/opencocoon/cocoon/coin"
)

// ClientState is what the chain shows of a client's contract. Amounts that
// are more than there is come as [coin.Max].
type ClientState struct {
	State State
	// Balance is the deposit, Stake how far use may run ahead of it, Debt what an overdraft left.
	Balance, Stake, Debt coin.Nano
	// Charged is the contract's counter of tokens.
	Charged int64
	// LT is the logical time of the account's last transaction; an older observation is ignored.
	LT uint64
}

// deposit turns the contract's money into tokens. A debt is settled by the
// next payment, so it counts against what was paid.
func (s *ClientState) deposit(price coin.Nano) Deposit {
	d := Deposit{Stake: perToken(s.Stake, price)}
	if s.Debt > 0 && price > 0 {
		d.Paid = s.Charged - s.Debt.PerCeil(price)
	} else {
		d.Paid = s.Charged
	}
	d.Paid = add(max(d.Paid, 0), perToken(s.Balance, price))
	return d
}

func (s *ClientState) event(generation uint32, wallet string) Event {
	return Event{Kind: ClientSeen, Generation: generation, Client: wallet, State: s.State, Balance: s.Balance, Stake: s.Stake, Debt: s.Debt, Tokens: s.Charged, LT: s.LT}
}

// WorkerState is what the chain shows of a worker's contract.
type WorkerState struct {
	State State
	// Paid is the contract's counter of tokens.
	Paid int64
	LT   uint64
}

func (s *WorkerState) event(generation uint32, owner string) Event {
	return Event{Kind: WorkerSeen, Generation: generation, Worker: owner, State: s.State, Tokens: s.Paid, LT: s.LT}
}

// ProxyState is what the chain shows of the proxy's own contract.
type ProxyState struct {
	State State
	// Balance is what the operator may withdraw.
	Balance, Stake coin.Nano
	// Unlock is when a closing contract may be closed for good, in seconds since 1970.
	Unlock int64
	// LT and Hash name the last transaction that was followed.
	LT   uint64
	Hash Hash
}

func (s *ProxyState) event(generation uint32) Event {
	return Event{Kind: ProxySeen, Generation: generation, State: s.State, Balance: s.Balance, Stake: s.Stake, Unlock: s.Unlock, LT: s.LT, Hash: s.Hash}
}

// SeeClient takes what the chain shows. What is negative, older than what is known or the
// same changes nothing. A client that was charged more than it used here is a [RollbackError]: the
// signature for that came from a ledger that knew more.
func (l *Ledger) SeeClient(generation uint32, wallet string, s ClientState) error {
	if err := named(wallet); err != nil {
		return err
	}
	l.admin.Lock()
	defer l.admin.Unlock()
	l.mu.Lock()
	g, err := l.observed(generation, s.Charged, int64(min(s.Balance, s.Stake, s.Debt)))
	if err != nil {
		l.mu.Unlock()
		return err
	}
	c := g.clients[wallet]
	if c == nil {
		c = &client{g: g}
	}
	switch {
	case s.LT < c.seen.LT || s == c.seen:
		l.mu.Unlock()
		return nil
	case s.Charged > add(c.used.db, c.returned):
		return l.forgot(ClientSide, wallet, s.Charged, c.used.db, "was charged for")
	}
	return l.write(&booking{event: s.event(g.Number, wallet), done: func(error) { l.effected(Charge, g.Number, wallet, s.Charged) }})
}

// SeeReturned takes that the proxy's contract gave a deposit back to the client,
// in the transaction of this time, and the client's contract counts it all the
// same. The network's own contracts do so while they close, and who then takes its
// rest takes it from others: so the last charge of the client takes it away. The
// same transaction again changes nothing. Source: contracts.md section 21, W1.
func (l *Ledger) SeeReturned(generation uint32, wallet string, amount coin.Nano, lt uint64) error {
	l.admin.Lock()
	defer l.admin.Unlock()
	l.mu.Lock()
	g, err := l.observed(generation, int64(amount))
	if err != nil {
		l.mu.Unlock()
		return err
	}
	if c := g.clients[wallet]; c != nil && lt <= c.returnedLT || amount == 0 || g.Price == 0 {
		l.mu.Unlock()
		return nil
	}
	e := Event{Kind: Returned, Generation: g.Number, Client: wallet, Tokens: amount.PerCeil(g.Price), LT: lt}
	return l.write(&booking{event: e, done: func(error) {}})
}

// SeeWorker takes what the chain shows. A worker that was paid for more than it
// earned here is a [RollbackError].
func (l *Ledger) SeeWorker(generation uint32, owner string, s WorkerState) error {
	if err := named(owner); err != nil {
		return err
	}
	l.admin.Lock()
	defer l.admin.Unlock()
	l.mu.Lock()
	g, err := l.observed(generation, s.Paid, 0)
	if err != nil {
		l.mu.Unlock()
		return err
	}
	w := g.workers[owner]
	if w == nil {
		w = &worker{g: g}
	}
	switch {
	case s.LT < w.seen.LT || s == w.seen:
		l.mu.Unlock()
		return nil
	case s.Paid > w.earned.db:
		return l.forgot(WorkerSide, owner, s.Paid, w.earned.db, "was paid for")
	}
	return l.write(&booking{event: s.event(g.Number, owner), done: func(error) { l.effected(Payout, g.Number, owner, s.Paid) }})
}

// SeeProxy takes what the chain shows of the proxy's contract, once everything
// up to its LT was brought here ([Ledger.NoteSeen] above all). A closing generation whose contract is
// closed is forgotten.
func (l *Ledger) SeeProxy(generation uint32, s ProxyState) error {
	l.admin.Lock()
	defer l.admin.Unlock()
	l.mu.Lock()
	g, err := l.observed(generation, s.Unlock, int64(min(s.Balance, s.Stake)))
	if err != nil {
		l.mu.Unlock()
		return err
	}
	if s.LT < g.proxy.LT || s == g.proxy {
		l.mu.Unlock()
		return nil
	}
	e := s.event(g.Number)
	if g.closing && s.State == Closed {
		e = Event{Kind: Ended, Generation: g.Number}
	}
	withdrawn := s.Balance < g.proxy.Balance
	return l.write(&booking{event: e, done: func(error) {
		if withdrawn {
			l.effected(Withdraw, g.Number, "", 0)
		}
	}})
}

// Followed is how far the proxy's contract was followed on chain: the last transaction's
// logical time and hash, zero at the beginning.
func (l *Ledger) Followed(generation uint32) (lt uint64, hash Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.state.generation(generation); g != nil {
		return g.proxy.LT, g.proxy.Hash
	}
	return 0, Hash{}
}

// observed is the generation of an observation that makes sense. mu is held.
func (l *Ledger) observed(number uint32, numbers ...int64) (*generation, error) {
	g := l.state.generation(number)
	if g == nil {
		return nil, fmt.Errorf("%w: generation %d", ErrAccount, number)
	}
	for _, n := range numbers {
		if n < 0 {
			return nil, ErrAmount
		}
	}
	return g, nil
}

// forgot refuses from now on. It is called with mu held and returns without.
func (l *Ledger) forgot(side Side, account string, theirs, ours int64, verb string) error {
	err := &RollbackError{fmt.Sprintf("%s %s %s %d tokens, this ledger knows of %d", side, account, verb, theirs, ours)}
	l.refuse(err)
	l.mu.Unlock()
	return err
}
