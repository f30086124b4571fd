package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/coin"
)

// Rules say from which amount on money moves. The network's own proxy charges
// at 1 TON and pays out and withdraws at 10. Source: contracts.md section 18.3.
type Rules struct {
	Charge, Payout, Withdraw coin.Nano
	// LastPayout is what the last payout of a worker that was never paid must bring: it
	// makes the worker's contract first, and the proxy pays for that. Less is
	// left to the worker, whose promise stays good.
	LastPayout coin.Nano
}

// DefaultRules are those of the network's own proxy; a last payout costs it some 0.03 TON.
var DefaultRules = Rules{Charge: coin.TON, Payout: 10 * coin.TON, Withdraw: 10 * coin.TON, LastPayout: coin.TON / 20}

// OrderKind says what a transaction is to do.
type OrderKind int

// Kinds of orders, in the order in which a generation is closed.
const (
	// Charge takes from a client what it has used, up to Tokens.
	Charge OrderKind = iota
	// Payout pays a worker what it has earned, up to Tokens.
	Payout
	// Withdraw brings the proxy's own income to its operator.
	Withdraw
	// StartClosing begins to close the contract of an old generation.
	StartClosing
	// Grant refunds a client that leaves, or whose generation closes, and closes its contract.
	Grant
	// LastPayout pays a worker of a closing generation and closes its contract.
	LastPayout
	// FinishClosing closes the contract of an old generation for good.
	FinishClosing
)

var orderNames = [...]string{"charge", "payout", "withdraw", "start closing", "grant", "last payout", "finish closing"}

func (k OrderKind) String() string { return orderNames[k] }

// Order is a transaction that is due. Everything in it was committed to the
// chain, so sending it twice, or an older one late, moves nothing twice.
type Order struct {
	Kind       OrderKind
	Generation Generation
	// Account is the client's wallet or the worker's owner; empty for the proxy's own.
	Account string
	// Tokens is the total that is signed.
	Tokens int64
	// Worth is what moves, in nanoTON, as far as it is known.
	Worth coin.Nano
	// Returned is what a grant takes away beside the total; see [Ledger.SeeReturned].
	Returned int64
}

type sentKey struct {
	kind       OrderKind
	generation uint32
	account    string
}

// sent is an order that was submitted: it is not due again before until,
// unless the chain has shown its effect and there is more to do.
type sent struct {
	until  time.Time
	tokens int64
}

// Due lists what should be done on chain, the most valuable first within a kind. An order goes away when
// the chain shows what it was for, never because it was sent. Nothing is due before the chain has
// shown this session's first note: this ledger could be an old copy.
func (l *Ledger) Due(r Rules, now time.Time) []Order {
	list := l.unsorted(r, now) // nobody's request waits for the sorting
	slices.SortFunc(list, func(a, b Order) int {
		return cmp.Or(cmp.Compare(a.Generation.Number, b.Generation.Number), cmp.Compare(a.Kind, b.Kind), cmp.Compare(b.Worth, a.Worth), cmp.Compare(a.Account, b.Account))
	})
	return list
}

func (l *Ledger) unsorted(r Rules, now time.Time) []Order {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lied || !l.begun || l.opening() {
		return nil
	}
	list := []Order{}
	for _, g := range l.state.generations {
		if !g.chainless() {
			list = l.due(g, r, now, list)
		}
	}
	for key, s := range l.sent {
		if !now.Before(s.until) {
			delete(l.sent, key)
		}
	}
	maps.DeleteFunc(l.short, func(key sentKey, _ struct{}) bool { return l.state.generation(key.generation) == nil })
	return slices.DeleteFunc(list, func(o Order) bool { _, waits := l.sent[o.key()]; return waits })
}

// Submitted says that a transaction for the order is on its way, until when it
// can still arrive. If the chain has not shown its effect by then it is due again.
func (l *Ledger) Submitted(o Order, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[o.key()] = sent{until, o.Tokens}
	delete(l.short, o.key())
}

// Short says that the proxy's contract holds too little for the order. It stays
// due. But an old generation is not kept open by it for ever; see [Ledger.KeepsDeposits].
func (l *Ledger) Short(o Order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.short[o.key()] = struct{}{}
}

// KeepsDeposits says that the generation's contract keeps what belongs to clients
// and workers when it is closed, and pays it to whoever claims it. Then it is closed in
// the end although it holds too little for some of them: no order of ours can
// change that, and what there is they can still take.
func (l *Ledger) KeepsDeposits(generation uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.state.generation(generation); g != nil {
		g.keeps = true
	}
}

// shortPatience is how long, beyond the network's own delay, a contract that is
// short is kept open: somebody may raise its stake.
const shortPatience = 7 * 24 * time.Hour

// effected says that the chain shows so many tokens for the account, so that a
// later order need not wait for an earlier one. mu is held.
func (l *Ledger) effected(kind OrderKind, generation uint32, account string, tokens int64) {
	key := sentKey{kind, generation, account}
	if s, ok := l.sent[key]; ok && tokens >= s.tokens {
		delete(l.sent, key)
	}
}

func (o *Order) key() sentKey { return sentKey{o.Kind, o.Generation.Number, o.Account} }

func (l *Ledger) due(g *generation, r Rules, now time.Time, list []Order) []Order {
	add := func(kind OrderKind, account string, tokens int64, worth coin.Nano) {
		list = append(list, Order{Kind: kind, Generation: g.Generation, Account: account, Tokens: tokens, Worth: worth})
	}
	left := 0 // that keep an old contract open
	last := func(kind OrderKind, account string, tokens int64, worth coin.Nano) {
		add(kind, account, tokens, worth)
		_, short := l.short[list[len(list)-1].key()]
		if !short || !g.keeps || now.Unix() < g.proxy.Unlock+int64(shortPatience/time.Second) {
			left++
		}
	}
	for c := range g.owingClients {
		worth := g.Price.Times(max(0, c.used.chain-c.seen.Charged)) // less than was charged if a deposit was returned
		switch leaves := g.closing || c.seen.State == Closing; {
		case leaves && c.running == 0 && c.used.chain == c.used.db:
			last(Grant, c.name, c.used.chain, worth)
			list[len(list)-1].Returned = c.returned
		case leaves:
			if left++; c.running > 0 && worth >= r.Charge && worth > 0 { // it may force its refund before its last request has ended
				add(Charge, c.name, c.used.chain, worth)
			}
		case worth >= r.Charge && worth > 0:
			add(Charge, c.name, c.used.chain, worth)
		}
	}
	for w := range g.owingWorkers {
		worth := g.Fee.Times(w.earned.chain - w.seen.Paid)
		switch {
		case g.closing && (w.coming > 0 || w.earned.chain < w.earned.db):
			left++
		case g.closing && w.worthLast(worth, r):
			last(LastPayout, w.name, w.earned.chain, worth)
		case g.closing:
		case worth >= r.Payout && worth > 0:
			add(Payout, w.name, w.earned.chain, worth)
		}
	}
	switch p := &g.proxy; {
	case g.closing && p.State == Open && p.LT > 0:
		add(StartClosing, "", 0, 0)
	case g.closing && p.State == Closing && left == 0 && now.Unix() >= p.Unlock:
		add(FinishClosing, "", 0, p.Balance)
	case p.State == Open && p.Balance >= r.Withdraw && p.Balance > 0:
		add(Withdraw, "", 0, p.Balance)
	}
	return list
}

// worthLast says whether a last payout is worth its gas. One that was paid
// before costs little, and gets back what its contract holds of its own.
func (w *worker) worthLast(worth coin.Nano, r Rules) bool {
	return w.g.Fee > 0 && (w.seen.Paid > 0 || worth > 0 && worth >= r.LastPayout)
}

// track keeps the account among those that may have something due. An account
// the chain has never shown has no contract that could be closed, unless it moved something.
// One that has nothing and asks for nothing costs nobody gas, nor does one that
// came when the contract was closing: it can leave by itself.
func (c *client) track() {
	owes := c.used.chain > c.seen.Charged || c.seen.State == Closing ||
		c.g.closing && (c.used.db > 0 || c.seen.Balance > 0)
	if owes && c.seen.State != Closed && !c.late {
		c.g.owingClients[c] = struct{}{}
	} else {
		delete(c.g.owingClients, c)
	}
}

func (w *worker) track() {
	if w.seen.State != Closed && (w.earned.chain > w.seen.Paid || w.g.closing && (w.earned.db > w.seen.Paid || w.seen.Paid > 0)) {
		w.g.owingWorkers[w] = struct{}{}
	} else {
		delete(w.g.owingWorkers, w)
	}
}

// SignOrder signs the total of an order for an account. It signs what the
// ledger knows to be committed now, and refuses an order that says more. A
// grant also takes away what the client was returned before; see [Ledger.SeeReturned].
func (l *Ledger) SignOrder(o Order) ([]byte, error) {
	side, final := ClientSide, o.Kind == Grant || o.Kind == LastPayout
	if o.Kind == Payout || o.Kind == LastPayout {
		side = WorkerSide
	}
	l.mu.Lock()
	g := l.state.generation(o.Generation.Number)
	sign, why := l.sign, l.why
	committed, complete, returned := int64(-1), false, int64(0)
	if g != nil {
		if c := g.clients[o.Account]; c != nil && side == ClientSide {
			committed, complete = c.used.chain, c.used.chain == c.used.db && c.running == 0
			if final {
				returned = c.returned
			}
		} else if w := g.workers[o.Account]; w != nil && side == WorkerSide {
			committed, complete = w.earned.chain, w.earned.chain == w.earned.db && w.coming == 0
		}
	}
	lied, opening := l.lied, l.begun && l.opening()
	l.mu.Unlock()
	switch {
	case lied:
		return nil, why
	case opening:
		return nil, ErrOpening
	case committed < 0:
		return nil, fmt.Errorf("%w: %s %s of generation %d", ErrAccount, side, o.Account, o.Generation.Number)
	case o.Tokens > committed || final && !complete:
		return nil, fmt.Errorf("ledger: %s for %d tokens of %s %s: only %d are committed to the chain", o.Kind, o.Tokens, side, o.Account, committed)
	case sign == nil:
		return nil, fmt.Errorf("ledger: nothing can be signed")
	}
	return sign(Promise{Generation: g.Generation, Side: side, Account: o.Account, Tokens: add(committed, returned), Final: final})
}
