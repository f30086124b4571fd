package marketsim

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"
)

// small is a day that takes a fraction of a second.
var small = Scenario{Seed: 1, Workers: 50, Requests: 10_000, Models: 2, Clients: 100, Load: 0.8, Failing: 0.1, Cheating: 0.02, Talks: 0.3}

func run(t *testing.T, sc Scenario, rule string) Figures {
	t.Helper()
	f, err := Run(t.Context(), sc, rule, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// At 80 % load ours is nearly as good as the rule that knows the future, and
// its slowest requests begin much sooner than the reference's.
func TestNearTheClairvoyant(t *testing.T) {
	ours, best, reference := run(t, small, "ours"), run(t, small, "clairvoyant"), run(t, small, "reference")
	if ours.Goodput < 0.95*best.Goodput || ours.Surplus < 0.95*best.Surplus {
		t.Errorf("goodput %.4f and surplus %.1f, want 95 %% of %.4f and %.1f", ours.Goodput, ours.Surplus, best.Goodput, best.Surplus)
	}
	if 3*ours.TTFT99 > reference.TTFT99 {
		t.Errorf("p99 of time to first token %.0f ms, want a third of the reference's %.0f", ours.TTFT99, reference.TTFT99)
	}
	if ours.Failed > reference.Failed {
		t.Errorf("%.4f failed, of the reference's %.4f", ours.Failed, reference.Failed)
	}
}

// No worker earns more by cheating.
func TestHonestyPays(t *testing.T) {
	sc := small
	sc.Failing, sc.Cheating, sc.Watched = 0, 0, 12
	const seeds = 3 // what ten workers earn depends on which they are
	var honest [seeds]Figures
	for seed := range honest {
		sc.Seed = uint64(seed)
		honest[seed] = run(t, sc, "ours")
	}
	for _, strategy := range Strategies {
		income, gain, n := 0.0, 0.0, 1 // one seed will do for those far from it
		if sc.Deviance = strategy; strategy == OverClaimer {
			n = seeds
		}
		for seed, h := range honest[:n] {
			sc.Seed = uint64(seed)
			f := run(t, sc, "ours")
			income, gain = income+f.Watched/h.Watched/float64(n), gain+f.WatchedProfit/h.WatchedProfit/float64(n)
		}
		if income > 1.02 || gain > 1.02 {
			t.Errorf("%s: income %.3f and gain %.3f of an honest worker's", strategy, income, gain)
		}
	}
}

// The test above can fail: where load alone counts, whoever asks more earns more.
func TestHonestyDoesNotPayEverywhere(t *testing.T) {
	sc := small
	sc.Failing, sc.Cheating, sc.Watched = 0, 0, 12
	if income, _, err := Deviate(t.Context(), sc, "least-loaded", Dearer30); err != nil || income < 1.02 {
		t.Errorf("a dear one earns %.3f under a rule that looks at load alone, %v", income, err)
	}
}

// Equal seeds give equal figures, others give others.
func TestSeedDecides(t *testing.T) {
	sc := small
	sc.Requests, sc.Hedging, sc.Pricing = 1000, true, true
	text := func(seed uint64, rule string) string {
		sc.Seed = seed
		b, err := json.Marshal(run(t, sc, rule))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, rule := range Rules {
		first := text(1, rule)
		if first != text(1, rule) {
			t.Errorf("%s: two runs of one seed differ", rule)
		}
		if first == text(2, rule) {
			t.Errorf("%s: two seeds give the same", rule)
		}
	}
}

// Every request ends once, in every rule, and no worker keeps a place.
func TestEveryRequestEnds(t *testing.T) {
	for _, load := range []float64{0.5, 1.5} {
		for _, rule := range Rules {
			sc := small
			sc.Requests, sc.Load, sc.Hedging, sc.Failing = 1500, load, true, 0.5
			sc = sc.filled()
			s, err := prepare(sc, rule)
			if err != nil {
				t.Fatal(err)
			}
			s.run()
			ended := s.tally.failed[refused] + s.tally.failed[broken] + s.tally.failed[timeOut] + s.tally.ended
			if ended != sc.Requests || s.running != 0 {
				t.Errorf("%s at %v: %d ended and %d still run, of %d", rule, load, ended, s.running, sc.Requests)
			}
			for _, w := range s.fleet {
				if w.running != 0 || len(w.streams) != 0 {
					t.Errorf("%s at %v: worker %d still has %d requests and %d streams", rule, load, w.id, w.running, len(w.streams))
				}
			}
		}
	}
}

// Prices settle within minutes after demand doubles and after it halves, and
// then stay. Nobody knows the right price, so each phase is measured by its own end.
func TestPricesSettle(t *testing.T) {
	sc := Scenario{Seed: 1, Workers: 12, Requests: 30_000, Models: 1, Clients: 100, Load: 0.6, Talks: 0.3, Pricing: true, Shocks: true}
	f := run(t, sc, "ours")
	if f.Day < 40*60 {
		t.Fatalf("the day has %.0f s, too few for minutes to show", f.Day)
	}
	shocks := f.Shocks()
	for _, x := range shocks {
		if x.Settled > 6*60 || x.Turns > 2 {
			t.Errorf("demand × %v: settled at %.0f after %.0f s with %d turns, want 6 minutes and 2 turns at most", x.Demand, x.Price, x.Settled, x.Turns)
		}
	}
	if calm, doubled := shocks[0].Price, shocks[1].Price; doubled < 1.2*calm {
		t.Errorf("the price went from %.0f to %.0f when demand doubled", calm, doubled)
	}
	if back := shocks[2].Price; math.Abs(back/shocks[0].Price-1) > 0.1 {
		t.Errorf("the price came back to %.0f, from %.0f", back, shocks[0].Price)
	}
}

// What a decision looks at is worth it: speed and memory of conversations bring callers something.
func TestFactsAreWorthIt(t *testing.T) {
	all := run(t, small, "ours")
	for _, x := range Ablations {
		if x.Name != "speed" && x.Name != "affinity" { // the others are worth too little on so small a day
			continue
		}
		sc := small
		sc.Without = x.Without
		if without := run(t, sc, "ours"); without.Surplus > 0.998*all.Surplus {
			t.Errorf("without %s the surplus is %.1f, with it %.1f", x.Name, without.Surplus, all.Surplus)
		}
	}
}

func TestBadScenarios(t *testing.T) {
	for _, sc := range []Scenario{{Workers: -1}, {Workers: MaxWorkers + 1}, {Requests: -1}, {Requests: MaxRequests + 1}, {Load: -1}, {Load: math.NaN()}, {Failing: 2}, {Cheating: 0.5}, {Talks: -1}, {Clients: -1}} {
		if _, err := Run(t.Context(), sc, "ours", nil); err == nil {
			t.Errorf("%+v was accepted", sc)
		}
	}
	if _, err := Run(t.Context(), small, "nonsense", nil); err == nil {
		t.Error("an unknown rule was accepted")
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, small, "ours", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run gave %v", err)
	}
}
