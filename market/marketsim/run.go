package marketsim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/market"
)

// Rules are the names that [Run] knows, in the order in which tables have them.
var Rules = []string{"ours", "reference", "random", "round-robin", "least-loaded", "two-choices", "clairvoyant"}

func (s *sim) newRule(name string) (rule, error) {
	switch name {
	case "ours":
		return newOurs(s), nil
	case "reference":
		r := newSimple(s, reference)
		r.plain = true
		return r, nil
	case "random":
		return newSimple(s, random), nil
	case "round-robin":
		return newSimple(s, roundRobin), nil
	case "least-loaded":
		return newSimple(s, leastLoaded), nil
	case "two-choices":
		return newSimple(s, twoChoices), nil
	case "clairvoyant":
		r := newSimple(s, clairvoyant)
		r.sorted = true
		return r, nil
	}
	return nil, fmt.Errorf("rule %q is none of %v", name, Rules)
}

// Run lives through a scenario under one rule. Progress, if not nil, is told now and then how many requests have come.
func Run(ctx context.Context, sc Scenario, name string, progress func(came int)) (Figures, error) {
	sc = sc.filled()
	if err := sc.Check(); err != nil {
		return Figures{}, err
	}
	s, err := prepare(sc, name)
	if err != nil {
		return Figures{}, err
	}
	s.plan(0, s.watch(ctx, progress))
	s.run()
	if err := ctx.Err(); err != nil {
		return Figures{}, err
	}
	return s.figures(name), nil
}

// prepare makes everything that a run begins with.
func prepare(sc Scenario, name string) (*sim, error) {
	s := &sim{sc: sc, chance: rand.New(rand.NewPCG(sc.Seed, 4))}
	fleet, capacity := sc.makeFleet(s)
	s.fleet, s.trace = fleet, sc.makeTrace(capacity)
	s.tally.day = s.trace[len(s.trace)-1].at
	s.tally.clientGood, s.tally.clientRequest = make([]int, sc.Clients), make([]int, sc.Clients)
	sc.makeFailures(fleet, s.tally.day)
	var err error
	if s.rule, err = s.newRule(name); err != nil {
		return nil, err
	}
	for _, w := range fleet {
		s.rule.join(w)
		s.planFailure(w)
		if sc.Pricing && w.strategy.prices() {
			s.followDemand(w)
		}
	}
	return s, nil
}

// followDemand lets a worker's price move. It looks at its use at its own moments, as workers in life do.
func (s *sim) followDemand(w *worker) {
	p := market.Pricing{Floor: w.hw.cost * 8 / 10}
	w.pricer = market.NewPricer(p, w.price, s.clock())
	every := w.pricer.Every
	var look func()
	look = func() {
		if price, changed := w.pricer.Next(s.clock()); changed {
			w.price = uint32(float64(price) * w.strategy.factor())
			if w.up {
				s.rule.priced(w)
			}
		}
		s.plan(every, look)
	}
	s.plan(time.Duration(s.chance.Float64()*float64(every)), look)
}

// Deviate says what workers earn with a strategy over what the same workers would earn
// without, all else being equal: 1 is as much. Gain is the same for what is left after the cost of their work. It runs the scenario twice.
func Deviate(ctx context.Context, sc Scenario, name string, strategy Strategy) (income, gain float64, err error) {
	sc = sc.filled()
	sc.Watched = max(sc.Watched, sc.Workers/20, 1)
	sc.Deviance = Honest
	honest, err := Run(ctx, sc, name, nil)
	if err != nil {
		return 0, 0, err
	}
	sc.Deviance = strategy
	deviant, err := Run(ctx, sc, name, nil)
	return deviant.Watched / honest.Watched, deviant.WatchedProfit / honest.WatchedProfit, err
}

// watch ends the run when the caller has gone, and tells of progress.
func (s *sim) watch(ctx context.Context, progress func(int)) func() {
	var look func()
	look = func() {
		if ctx.Err() != nil {
			s.next, s.running, s.events = len(s.trace), 0, nil
			return
		}
		if progress != nil {
			progress(s.next)
		}
		s.plan(time.Second, look)
	}
	return look
}

func modelName(m int) string  { return "model-" + strconv.Itoa(m) }
func workerName(w int) string { return "worker-" + strconv.Itoa(w) }
func clientName(c int) string { return "client-" + strconv.Itoa(c) }
