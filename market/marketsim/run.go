package marketsim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
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

// Run lives through a scenario under one rule.
func Run(ctx context.Context, sc Scenario, name string) (Figures, error) {
	sc = sc.filled()
	s := &sim{sc: sc, chance: rand.New(rand.NewPCG(sc.Seed, 4))}
	fleet, capacity := sc.makeFleet(s)
	s.fleet, s.trace = fleet, sc.makeTrace(capacity)
	s.tally.day = s.trace[len(s.trace)-1].at
	s.tally.clientGood, s.tally.clientRequest = make([]int, sc.Clients), make([]int, sc.Clients)
	sc.makeFailures(fleet, s.tally.day)
	var err error
	if s.rule, err = s.newRule(name); err != nil {
		return Figures{}, err
	}
	for _, w := range fleet {
		s.rule.join(w)
		s.planFailure(w)
	}
	s.plan(0, s.watch(ctx))
	s.run()
	if err := ctx.Err(); err != nil {
		return Figures{}, err
	}
	return s.figures(name), nil
}

// Deviate compares what the same workers earn with a strategy and without, all
// else being equal: 1 means as much. It runs the scenario twice.
func Deviate(ctx context.Context, sc Scenario, name string, strategy Strategy) (float64, error) {
	sc.Watched = max(sc.Watched, sc.Workers/20)
	sc.Deviance = Honest
	honest, err := Run(ctx, sc, name)
	if err != nil {
		return 0, err
	}
	sc.Deviance = strategy
	deviant, err := Run(ctx, sc, name)
	return deviant.Watched / honest.Watched, err
}

// watch ends the run when the caller has gone.
func (s *sim) watch(ctx context.Context) func() {
	var look func()
	look = func() {
		if ctx.Err() != nil {
			s.next, s.running, s.events = len(s.trace), 0, nil
			return
		}
		s.plan(time.Second, look)
	}
	return look
}

func modelName(m int) string  { return "model-" + strconv.Itoa(m) }
func workerName(w int) string { return "worker-" + strconv.Itoa(w) }
func clientName(c int) string { return "client-" + strconv.Itoa(c) }
