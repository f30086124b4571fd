package marketsim

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Report is what a study has found, or a part of it.
type Report struct {
	Scenario Scenario  `json:"scenario"`
	Policies []Figures `json:"policies"`
	// Sweep is the same at other loads.
	Sweep []AtLoad `json:"sweep,omitempty"`
	// Strategies says what each brings under some rules.
	Strategies []Payoff `json:"strategies,omitempty"`
	// Ablations are our rule without each of its facts, and with what it can do besides.
	Ablations []Figures `json:"ablations,omitempty"`
	// Shock is a day on which demand doubles and halves, with fixed prices and with prices that follow.
	Shock *ShockStudy `json:"shock,omitempty"`
}

// AtLoad is every rule at one load.
type AtLoad struct {
	Load     float64   `json:"load"`
	Policies []Figures `json:"policies"`
}

// Payoff is what a strategy earns for what honesty would.
type Payoff struct {
	Strategy string `json:"strategy"`
	Rule     string `json:"rule"`
	// Following says that the workers' prices follow demand.
	Following bool `json:"following"`
	// Income and Gain (what is left after the cost of the work) are averages over some seeds, Most is the highest income among them.
	Income float64 `json:"income"`
	Gain   float64 `json:"gain"`
	Most   float64 `json:"most"`

	honest  *[seedsOfStrategies]Figures
	deviant [seedsOfStrategies]Figures
}

// ShockStudy is a day with shocks.
type ShockStudy struct {
	Scenario Scenario   `json:"scenario"`
	Fixed    Figures    `json:"fixed"`
	Follow   Figures    `json:"following"`
	Phases   []Settling `json:"phases"`
}

// Loads are those of the sweep.
var Loads = []float64{0.5, 0.8, 0.95, 1.2}

// Study runs scenarios side by side, as many at once as there are processors. Progress, if not
// nil, is told now and then which share is done.
type Study struct {
	Scenario Scenario
	Rules    []string // nil: all
	// Full adds sweep, strategies, ablations and shocks to the comparison of the rules.
	Full bool
	// Progress may be called by several goroutines at once.
	Progress func(done float64)
}

// Run does all of it.
func (y *Study) Run(ctx context.Context) (*Report, error) {
	if y.Rules == nil {
		y.Rules = Rules
	}
	r := &Report{Scenario: y.Scenario.filled(), Policies: make([]Figures, len(y.Rules))}
	b := &batch{progress: y.Progress}
	for i, rule := range y.Rules {
		b.run(&r.Policies[i], r.Scenario, rule)
	}
	if y.Full {
		y.sweep(b, r)
		y.strategies(b, r)
		y.ablations(b, r)
		y.shock(b, r)
	}
	slices.SortStableFunc(b.jobs, func(x, y task) int { return y.requests - x.requests }) // the longest first, so that the last ones are short
	if err := b.all(ctx); err != nil {
		return nil, err
	}
	if r.Shock != nil {
		r.Shock.Phases = r.Shock.Follow.Shocks()
	}
	for i := range r.Strategies {
		r.Strategies[i].average()
	}
	return r, nil
}

func (y *Study) sweep(b *batch, r *Report) {
	r.Sweep = make([]AtLoad, len(Loads))
	for i, load := range Loads {
		sc := r.Scenario
		sc.Load = load
		r.Sweep[i] = AtLoad{load, make([]Figures, len(y.Rules))}
		for k, rule := range y.Rules {
			b.run(&r.Sweep[i].Policies[k], sc, rule)
		}
	}
}

// seedsOfStrategies is over how many days a strategy is tried: one alone says little, since
// what twenty workers earn depends on which they are.
const seedsOfStrategies = 4

// requestsOfStrategies bounds the days of strategies, of which there are many.
const requestsOfStrategies = 40_000

func (y *Study) strategies(b *batch, r *Report) {
	type key struct {
		rule      string
		following bool
	}
	honest := map[key]*[seedsOfStrategies]Figures{}
	r.Strategies = make([]Payoff, 0, 3*len(Strategies)+2*len(Prices)) // never moved: the runs point into it
	days := func(into *[seedsOfStrategies]Figures, k key, strategy Strategy) {
		sc := r.Scenario
		sc.Failing, sc.Cheating, sc.Pricing, sc.Deviance = 0, 0, k.following, strategy
		sc.Requests, sc.Watched = min(sc.Requests, requestsOfStrategies), max(sc.Workers/10, 1)
		for i := range into {
			sc.Seed = r.Scenario.Seed + uint64(i)
			b.run(&into[i], sc, k.rule)
		}
	}
	add := func(rule string, strategy Strategy, following bool) {
		k := key{rule, following}
		if honest[k] == nil {
			honest[k] = &[seedsOfStrategies]Figures{}
			days(honest[k], k, Honest)
		}
		r.Strategies = append(r.Strategies, Payoff{Strategy: strategy.String(), Rule: rule, Following: following, honest: honest[k]})
		days(&r.Strategies[len(r.Strategies)-1].deviant, k, strategy)
	}
	for _, strategy := range Strategies {
		for _, rule := range []string{"ours", "reference", "least-loaded"} {
			add(rule, strategy, false)
		}
	}
	for _, strategy := range Prices {
		add("ours", strategy, false)
		add("ours", strategy, true)
	}
}

func (p *Payoff) average() {
	for i, d := range p.deviant {
		h := p.honest[i]
		income := d.Watched / h.Watched
		p.Income += income / seedsOfStrategies
		p.Gain += d.WatchedProfit / h.WatchedProfit / seedsOfStrategies
		p.Most = max(p.Most, income)
	}
}

func (y *Study) ablations(b *batch, r *Report) {
	r.Ablations = make([]Figures, len(Ablations)+2)
	for i, x := range Ablations {
		sc := r.Scenario
		sc.Without = x.Without
		b.named(&r.Ablations[i], sc, "ours", "without "+x.Name)
	}
	sc := r.Scenario
	sc.Hedging = true
	b.named(&r.Ablations[len(Ablations)], sc, "ours", "with hedging")
	sc = r.Scenario
	sc.Pricing = true
	b.named(&r.Ablations[len(Ablations)+1], sc, "ours", "with following prices")
}

func (y *Study) shock(b *batch, r *Report) {
	// So few workers for so many requests make a day that is long enough for minutes to show.
	requests := min(r.Scenario.Requests, 100_000)
	sc := Scenario{Seed: r.Scenario.Seed, Workers: max(requests/2500, 1), Requests: requests, Models: 1, Clients: 400, Load: 0.6, Talks: r.Scenario.Talks, Bursts: r.Scenario.Bursts, Shocks: true}
	r.Shock = &ShockStudy{Scenario: sc}
	b.run(&r.Shock.Fixed, sc, "ours")
	sc.Pricing = true
	b.run(&r.Shock.Follow, sc, "ours")
}

// batch is many runs.
type batch struct {
	jobs     []task
	requests int // of all
	done     atomic.Int64
	progress func(float64)
}

// task is one of them.
type task struct {
	requests int
	do       func(ctx context.Context) error
}

// add takes a run of so many requests.
func (b *batch) add(requests int, do func(ctx context.Context, progress func(int)) error) {
	b.requests += requests
	b.jobs = append(b.jobs, task{requests, func(ctx context.Context) error {
		last := 0
		tell := func(came int) {
			done := b.done.Add(int64(came - last))
			if last = came; b.progress != nil {
				b.progress(float64(done) / float64(b.requests))
			}
		}
		return do(ctx, tell)
	}})
}

func (b *batch) run(into *Figures, sc Scenario, rule string) { b.named(into, sc, rule, rule) }

func (b *batch) named(into *Figures, sc Scenario, rule, name string) {
	b.add(sc.filled().Requests, func(ctx context.Context, progress func(int)) error {
		f, err := Run(ctx, sc, rule, progress)
		if f.Name = name; !sc.Shocks {
			f.Series = nil // hours like each other
		}
		*into = f
		return err
	})
}

// all runs them.
func (b *batch) all(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, x := range b.jobs {
		g.Go(func() error { return x.do(ctx) })
	}
	return g.Wait()
}
