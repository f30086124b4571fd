package ledger

import "fmt"

// signed remembers the last payment made, so that signing costs one
// signature per commit and account and none per request.
type signed struct {
	amount  int64
	payment []byte
}

// ClientStatus is the newest payment and counters of a client.
func (l *Ledger) ClientStatus(wallet string) (Status, error) {
	l.mu.Lock()
	g, err := l.accounts()
	if err != nil {
		l.mu.Unlock()
		return Status{}, err
	}
	c, ok := g.clients[wallet]
	if !ok {
		l.mu.Unlock()
		return Status{}, fmt.Errorf("%w: client %s", ErrAccount, wallet)
	}
	return l.status(Promise{Generation: g.Generation, Side: ClientSide, Account: wallet}, &c.used, &c.signed)
}

// WorkerStatus is the newest payment and counters of a worker's owner.
func (l *Ledger) WorkerStatus(owner string) (Status, error) {
	l.mu.Lock()
	g, err := l.accounts()
	if err != nil {
		l.mu.Unlock()
		return Status{}, err
	}
	w, ok := g.workers[owner]
	if !ok {
		l.mu.Unlock()
		return Status{}, fmt.Errorf("%w: worker %s", ErrAccount, owner)
	}
	return l.status(Promise{Generation: g.Generation, Side: WorkerSide, Account: owner}, &w.earned, &w.signed)
}

// status signs what the chain knows unless that has been done. It is called
// with mu held and returns without: two callers may sign the same amount at the
// same time, and either payment will do.
func (l *Ledger) status(p Promise, c *counter, last *signed) (Status, error) {
	s := Status{Payment: last.payment, DB: c.db, Max: c.db}
	p.Tokens = c.chain
	sign, lied, why := l.sign, l.lied, l.why
	fresh := last.payment != nil && last.amount == p.Tokens
	l.mu.Unlock()
	switch {
	case lied:
		return Status{}, why
	case fresh || sign == nil:
		return s, nil
	}
	payment, err := sign(p)
	if err != nil {
		return Status{}, fmt.Errorf("ledger: sign %d tokens: %w", p.Tokens, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if last.payment == nil || last.amount < p.Tokens {
		*last = signed{p.Tokens, payment}
	}
	s.Payment = payment
	return s, nil
}
