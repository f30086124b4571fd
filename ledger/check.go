package ledger

import (
	"errors"
	"fmt"
)

// Check says which of the ledger's promises is broken, if any: what clients used
// is what workers earned, what is reserved is what open holds hold, nothing is
// negative, levels are in order and nobody owes more than he can pay.
func (l *Ledger) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var problems []error
	broken := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("ledger: "+format, args...))
	}
	held, running := map[*client]int64{}, map[*client]int{}
	for h := range l.holds {
		held[h.client] += h.need
		running[h.client]++
	}
	for _, g := range l.state.generations {
		g.check(broken)
		for name, c := range g.clients {
			if c.reserved != held[c] || c.running != running[c] {
				broken("client %s has %d tokens reserved for %d requests, its holds say %d for %d", name, c.reserved, c.running, held[c], running[c])
			}
		}
	}
	return errors.Join(problems...)
}

func (g *generation) check(broken func(string, ...any)) {
	for name, c := range g.clients {
		s := c.snapshot()
		if !s.Used.ordered() || s.Charged < 0 || s.Charged > add(s.Used.Chain, c.returned) {
			broken("client %s: levels %+v, charged %d", name, s.Used, s.Charged)
		}
		if g.chainless() && s.Available() < 0 {
			broken("client %s owes %d tokens more than it can pay", name, -s.Available())
		}
	}
	for name, w := range g.workers {
		if s := w.snapshot(); !s.Earned.ordered() || s.Paid < 0 || s.Paid > s.Earned.Chain {
			broken("worker %s: levels %+v, paid %d", name, s.Earned, s.Paid)
		}
	}
	if used, earned := g.sum(); used != earned {
		broken("clients used %d tokens, workers earned %d", used, earned)
	}
}

func (l Levels) ordered() bool { return l.Max >= l.DB && l.DB >= l.Chain && l.Chain >= 0 }
