package wire

import (
	"fmt"
	"sync"
)

// Budget bounds the memory that all connections sharing it hold for messages
// waiting to be written and for frames half read. When it is used up, the
// connection that holds most is closed with [ErrBudget], so that a few greedy
// peers cannot starve the many modest ones. It is safe for concurrent use; a
// nil Budget does not bound anything.
type Budget struct {
	mu      sync.Mutex // taken after Conn.mu; eviction therefore runs on its own
	limit   int
	used    int
	members map[*account]struct{}
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int) *Budget {
	return &Budget{limit: limit, members: map[*account]struct{}{}}
}

// Used is the number of bytes held now.
func (b *Budget) Used() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// The two things a connection holds memory for.
const (
	holdWrites = iota
	holdRead
	holdKinds
)

// account is one connection's share of a Budget.
type account struct {
	b     *Budget
	evict func(error) // must not block; called on a goroutine of its own
	parts [holdKinds]int
	total int
}

func (b *Budget) open(evict func(error)) *account {
	a := &account{b: b, evict: evict}
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.members[a] = struct{}{}
	}
	return a
}

// set reports what the connection now holds for one purpose. An error means
// that it is the one to go.
func (a *account) set(kind, n int) error {
	b := a.b
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, member := b.members[a]; !member {
		return a.refused()
	}
	change := n - a.parts[kind]
	a.parts[kind] = n
	a.total += change
	b.used += change
	for b.used > b.limit {
		greedy := b.greediest()
		b.remove(greedy)
		if greedy == a {
			return a.refused()
		}
		go greedy.evict(greedy.refused())
	}
	return nil
}

func (a *account) close() {
	if a.b != nil {
		a.b.mu.Lock()
		defer a.b.mu.Unlock()
		a.b.remove(a)
	}
}

func (a *account) refused() error {
	return fmt.Errorf("%w: this connection held most of the %d bytes", ErrBudget, a.b.limit)
}

func (b *Budget) remove(a *account) {
	if _, member := b.members[a]; member {
		delete(b.members, a)
		b.used -= a.total
	}
}

// greediest is only called while something is held, so there is a member.
func (b *Budget) greediest() *account {
	var most *account
	for a := range b.members {
		if most == nil || a.total > most.total {
			most = a
		}
	}
	return most
}
