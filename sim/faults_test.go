package sim

import (
	"errors"
	"os"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
)

// climate is what a seed's world suffers from: most have some trouble, a few all.
type climate struct {
	crashes, disks, chain, clocks, generations, restores, liars bool
}

func (e *economy) weather() {
	flags := []*bool{&e.climate.crashes, &e.climate.disks, &e.climate.chain, &e.climate.clocks, &e.climate.generations, &e.climate.restores, &e.climate.liars}
	for _, f := range flags {
		*f = e.r.IntN(2) == 0
	}
	e.tell("the climate: %+v", e.climate)
}

// troubles are what may go wrong next.
func (e *economy) troubles(may func(int, func())) {
	h := e.houses[e.r.IntN(len(e.houses))]
	n := e.nodes[e.r.IntN(len(e.nodes))]
	c := e.climate
	if n.dead || n.stuck() {
		may(10, func() { e.restart(n) })
	}
	if c.crashes && !n.dead {
		may(1, func() {
			power := e.r.IntN(2) == 0
			e.counts["crashes"]++
			e.tell("%s is killed, power %v", n.name, power)
			n.kill(power)
		})
		may(1, func() {
			n.disk.mu.Lock()
			n.disk.stopIn = 1 + e.r.IntN(12)
			e.tell("%s will stop at operation %d of its disk", n.name, n.disk.stopIn)
			n.disk.mu.Unlock()
		})
	}
	if c.disks || n.disk.full {
		may(1, func() { e.fill(n, !n.disk.full) })
	}
	if c.chain || e.chain.stalled || n.cut {
		may(1, func() {
			e.chain.stalled = !e.chain.stalled
			e.tell("the chain stalls: %v", e.chain.stalled)
		})
		may(1, func() {
			n.cut = !n.cut
			e.tell("%s is cut from the chain: %v", n.name, n.cut)
		})
	}
	if len(e.chain.late) > 0 {
		may(6, e.late)
	}
	if c.clocks {
		may(1, func() {
			n.skew = time.Duration(e.r.IntN(7200)-3600) * time.Second / time.Duration(1+e.r.IntN(60))
			e.tell("the clock of %s jumps: %v from the truth", n.name, n.skew)
		})
		may(1, func() { e.rest(time.Duration(1+e.r.IntN(120)) * time.Minute) })
	}
	if c.generations {
		may(1, e.reprice)
	}
	if c.restores {
		may(1, func() {
			if h.alive() && !h.copied && h.ledger.Health() == nil {
				e.tell("a backup of %s is made", h.name)
				h.back()
			}
		})
		may(1, func() {
			if h.backup != nil && !h.copied && !h.dead {
				e.rollBack(h)
			}
		})
	}
}

func (e *economy) fill(h *node, full bool) {
	h.disk.mu.Lock()
	h.disk.full = full
	h.disk.mu.Unlock()
	e.tell("the disk of %s is full: %v", h.name, full)
}

func (e *economy) restart(n *node) {
	if !n.dead {
		n.kill(false)
	}
	e.tell("%s starts", n.name)
	e.counts["starts"]++
	e.startNode(n)
}

// mend sees to machines that have stopped, and to stores that have failed.
func (e *economy) mend() {
	for _, n := range e.nodes {
		n.disk.mu.Lock()
		stopped := n.disk.stopped
		n.disk.mu.Unlock()
		switch {
		case n.dead:
		case stopped:
			e.counts["stops in a write"]++
			e.tell("%s has stopped", n.name)
			n.kill(true)
		case n.stuck():
			if why := n.boot.Error(); !n.excused(n.boot) {
				e.broken("%s cannot start: %s", n.name, why)
			}
			e.tell("%s did not start: %v", n.name, n.boot)
			n.kill(false)
		}
	}
	for _, h := range e.houses {
		var rollback *ledger.RollbackError
		switch {
		case !h.alive():
		case errors.Is(h.ledger.Health(), ledger.ErrStore) && !h.disk.full:
			e.tell("%s is started again, since its store has failed: %v", h.name, h.ledger.Health())
			e.restart(h.node)
		case errors.As(h.ledger.Health(), &rollback):
			e.unmasked(h, rollback)
		}
	}
}

func (h *node) excused(err error) bool {
	return h.disk.full || errors.Is(err, errDead) || errors.Is(err, errFull) || errors.Is(err, ledger.ErrTerms) || errors.Is(err, ton.ErrUnreachable)
}

// reprice changes what tokens cost: a new generation of contracts.
func (e *economy) reprice() {
	if e.registryNow().ParamsVersion > 3 {
		return
	}
	price := coin.Nano(10 + e.r.IntN(20))
	fee := price - coin.Nano(e.r.IntN(5))
	e.tell("the founder changes the price to %d, of which workers get %d", price, fee)
	e.counts["generations"]++
	e.founder.says(e.root, coin.TON, &contract.ChangePrice{QueryID: 1, Price: price, Fee: fee}, nil)
}

// late brings a message from outside that was held up, if the wallet still takes it.
func (e *economy) late() {
	i := e.r.IntN(len(e.chain.late))
	x := e.chain.late[i]
	if e.r.IntN(4) > 0 { // else it comes again
		e.chain.late = append(e.chain.late[:i], e.chain.late[i+1:]...)
	}
	if e.r.IntN(4) == 0 {
		e.tell("a message from %s is lost", x.from)
		return
	}
	err := e.chain.external(x.cell)
	e.tell("a late message from %s: %v", x.from, err)
}

// rollBack puts yesterday's disk in: the ledger's, the wallet's, or both.
func (e *economy) rollBack(h *house) {
	e.counts["old disks"]++
	h.kill(false)
	h.copied, h.newest, h.backup.until = true, h.disk.copy(), h.life
	what := e.r.IntN(3)
	if what != 1 {
		h.disk.restore(h.backup.files)
	}
	if what != 0 {
		e.must(os.RemoveAll(h.dir))
		e.must(os.CopyFS(h.dir, os.DirFS(h.backup.wallet)))
	}
	h.old, h.diverged = what != 1, what != 1
	e.tell("%s gets the disk of step %d back (%s)", h.name, h.backup.step, []string{"ledger", "wallet", "both"}[what])
	h.start()
}

// unmasked: the proxy has noticed that it works with an old disk. Its operator
// puts the newest one back; if both have worked since, there is no way back.
func (e *economy) unmasked(h *house, why *ledger.RollbackError) {
	if h.lies {
		return // it has charged somebody for what its own ledger does not know
	}
	if !h.diverged {
		e.broken("%s believes that its disk is old: %v", h.name, why)
		return
	}
	if h.ruined {
		return
	}
	e.counts["old disks found"]++
	e.tell("%s has found out: %s", h.name, why.Proof)
	if !h.old {
		h.ruined = true
		e.tell("%s cannot go on", h.name)
		return
	}
	h.kill(false)
	h.disk.restore(h.newest)
	h.old = false
	h.start()
}

// mustKnow: when a proxy takes work with an old disk, the chain must not have
// shown a note that the disk does not know before the first one of this process.
func (e *economy) mustKnow(h *house, p *page) {
	for _, id := range e.book.notes[p.contracts.Proxy.Address.StringRaw()] {
		s := e.book.shots[id]
		if s.life == h.life {
			return
		}
		if s.step > h.backup.step && s.life <= h.backup.until && id.number > h.backup.last {
			e.broken("%s takes work with the disk of step %d, although the chain has note %d of step %d", h.name, h.backup.step, id.number, s.step)
			return
		}
	}
}
