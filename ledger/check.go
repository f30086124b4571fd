package ledger

import (
	"errors"
	"fmt"
)

// Check says which of the book's promises is broken, if any: what clients used
// is what workers earned, what is reserved is what open holds hold, nothing is
// negative, levels are in order and nobody owes more than he can pay.
func (m *Memory) Check() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var problems []error
	broken := func(format string, args ...any) { problems = append(problems, fmt.Errorf("ledger: "+format, args...)) }

	held, running := map[string]int64{}, map[string]int{}
	for h := range m.open {
		held[h.wallet] += h.need
		running[h.wallet]++
	}
	var used, earned int64
	for name, c := range m.clients {
		used += c.Used.Max
		if c.Reserved != held[name] || c.Running != running[name] {
			broken("client %s has %d tokens reserved for %d requests, its holds say %d for %d", name, c.Reserved, c.Running, held[name], running[name])
		}
		if !c.Used.ordered() || c.Charged < 0 || c.Charged > c.Used.Chain {
			broken("client %s: levels %+v, charged %d", name, c.Used, c.Charged)
		}
		if c.Available() < 0 {
			broken("client %s owes %d tokens more than it can pay", name, -c.Available())
		}
	}
	for name, w := range m.workers {
		earned += w.Earned.Max
		if !w.Earned.ordered() || w.Paid < 0 || w.Paid > w.Earned.Chain {
			broken("worker %s: levels %+v, paid %d", name, w.Earned, w.Paid)
		}
	}
	if used != earned {
		broken("clients used %d tokens, workers earned %d", used, earned)
	}
	return errors.Join(problems...)
}

func (l Levels) ordered() bool { return l.Max >= l.DB && l.DB >= l.Chain && l.Chain >= 0 }
