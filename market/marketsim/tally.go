package marketsim

import (
	"math"
	"slices"
	"time"
)

// failure is why a request failed.
type failure int

const (
	refused failure = iota // nobody was found for it
	broken                 // the worker broke it off, or failed before its first token too often
	timeOut                // its time was over
	failures
)

// tally collects what happens.
type tally struct {
	day           time.Duration
	ttft, total   []float64 // milliseconds, of the answers that came to their end
	ended, inTime int
	failed        [failures]int
	paid, tokens  float64 // coefficient/1000 × tokens, tokens
	surplus       float64
	hedges        int
	hedgesWon     int
	slices        [points]slice
	clientGood    []int
	clientRequest []int
}

// points is into how many parts a day is cut to be drawn.
const points = 120

// slice is what happened in one part of the day.
type slice struct{ came, good, paid, tokens float64 }

// at is the part of the day of a moment; what comes after the end counts to the last one.
func (t *tally) at(now time.Duration) *slice {
	return &t.slices[min(int(points*float64(now)/float64(max(t.day, 1))), points-1)]
}

// pay notes tokens at a price.
func (t *tally) pay(s *sim, tokens float64, price uint32) {
	paid := tokens * float64(price) / 1000
	t.paid += paid
	t.tokens += tokens
	x := t.at(s.now)
	x.paid += paid
	x.tokens += tokens
}

// good notes an answer that came to its end.
func (t *tally) good(f *flight, price uint32, at time.Duration) {
	first, total := f.firstAt-f.job.at, at-f.job.at
	t.ttft = append(t.ttft, float64(first)/1e6)
	t.total = append(t.total, float64(total)/1e6)
	t.ended++
	t.clientRequest[f.job.client]++
	t.at(f.job.at).came++
	if first <= f.job.patience && total <= f.job.deadline {
		t.inTime++
		t.at(f.job.at).good++
		t.clientGood[f.job.client]++
	}
	t.surplus += surplus(f.job, price, first, total)
}

func (t *tally) fail(f *flight, why failure) {
	t.ttft = append(t.ttft, float64(f.job.deadline)/1e6)
	t.total = append(t.total, float64(f.job.deadline)/1e6)
	t.failed[why]++
	t.at(f.job.at).came++
	t.clientRequest[f.job.client]++
}

// surplus is what an answer leaves its caller: what it is worth to him, less
// with every second he waits, minus what he pays. The unit is a token at
// coefficient 1000.
func surplus(j *job, price uint32, first, total time.Duration) float64 {
	size := float64(j.output) + float64(j.prompt)/10
	if first > j.patience || total > j.deadline {
		return -size * float64(price) / 1000
	}
	worth := 1.2 * float64(j.ceiling) / 1000 * (1 - 0.5*float64(first)/float64(j.patience)) * (1 - 0.5*float64(total)/float64(j.deadline))
	return size * (worth - float64(price)/1000)
}

// Figures are what one rule reached in a scenario.
type Figures struct {
	Name string `json:"name"`
	// Goodput is the share of all requests whose first token came within the
	// caller's patience and whose end within the deadline.
	Goodput    float64 `json:"goodput"`
	Surplus    float64 `json:"surplus"` // of all callers, a request
	TTFT50     float64 `json:"ttft_p50_ms"`
	TTFT95     float64 `json:"ttft_p95_ms"`
	TTFT99     float64 `json:"ttft_p99_ms"`
	Total50    float64 `json:"completion_p50_ms"`
	Total95    float64 `json:"completion_p95_ms"`
	Total99    float64 `json:"completion_p99_ms"`
	Cost       float64 `json:"cost_per_mtoken"` // in millions of tokens at coefficient 1000
	Failed     float64 `json:"failed_share"`
	Refused    float64 `json:"refused_share"`
	Broken     float64 `json:"broken_share"`
	Late       float64 `json:"late_share"`
	Gini       float64 `json:"worker_income_gini"` // of honest workers, income for what they can do
	Idle       float64 `json:"idle_workers_share"` // honest ones without any income
	WorstShare float64 `json:"worst_client_goodput"`
	// Hedged is the share of requests that a second worker was asked for, HedgesWon the share that it answered.
	Hedged    float64 `json:"hedged_share,omitempty"`
	HedgesWon float64 `json:"hedges_won_share,omitempty"`
	// Income of each strategy for what the hardware can do, 1 is an honest
	// worker's.
	Income map[string]float64 `json:"income_by_strategy"`
	// Watched is what the watched workers earned, WatchedProfit what is left of it after the cost of
	// what they delivered.
	Watched       float64 `json:"watched_income,omitempty"`
	WatchedProfit float64 `json:"watched_profit,omitempty"`
	// Day is how long the scenario lasts in its own time, in seconds; Series is it in equal parts.
	Day    float64 `json:"day_s"`
	Series []Point `json:"series,omitempty"`
}

// Point is one part of the day.
type Point struct {
	At       float64 `json:"at_s"`     // its middle
	Requests float64 `json:"requests"` // that came, a second
	Goodput  float64 `json:"goodput"`
	Price    float64 `json:"price"` // coefficient paid, on average
}

func (s *sim) figures(name string) Figures {
	t, n := &s.tally, float64(len(s.trace))
	slices.Sort(t.ttft)
	slices.Sort(t.total)
	fails := t.failed[refused] + t.failed[broken] + t.failed[timeOut]
	f := Figures{
		Name: name, Goodput: float64(t.inTime) / n, Surplus: t.surplus / n,
		TTFT50: quantile(t.ttft, 0.5), TTFT95: quantile(t.ttft, 0.95), TTFT99: quantile(t.ttft, 0.99),
		Total50: quantile(t.total, 0.5), Total95: quantile(t.total, 0.95), Total99: quantile(t.total, 0.99),
		Cost: t.paid / max(t.tokens, 1), Failed: float64(fails) / n,
		Refused: float64(t.failed[refused]) / n, Broken: float64(t.failed[broken]) / n, Late: float64(t.failed[timeOut]) / n,
		WorstShare: t.worstClient(),
	}
	f.Hedged, f.HedgesWon = float64(t.hedges)/n, float64(t.hedgesWon)/n
	f.Day = t.day.Seconds()
	f.Series = t.series()
	f.Gini, f.Idle = s.spread()
	f.Income = s.incomes()
	for _, w := range s.fleet {
		if w.watched {
			f.Watched += w.income
			f.WatchedProfit += w.income - w.tokens*float64(w.hw.cost)*runningCost/1000
		}
	}
	return f
}

// runningCost is the part of what hardware must earn that arises only when it works: power.
const runningCost = 0.3

func (t *tally) series() []Point {
	out := make([]Point, points)
	long := t.day.Seconds() / points
	for i, x := range t.slices {
		out[i] = Point{At: (float64(i) + 0.5) * long, Requests: x.came / long, Goodput: x.good / max(x.came, 1), Price: 1000 * x.paid / max(x.tokens, 1)}
	}
	return out
}

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// worstClient is the lowest share of good answers of a client with at least
// twenty requests.
func (t *tally) worstClient() float64 {
	worst := 1.0
	for i, n := range t.clientRequest {
		if n >= 20 {
			worst = min(worst, float64(t.clientGood[i])/float64(n))
		}
	}
	return worst
}

// perCapacity is a worker's income for each token per second that its hardware
// can do.
func (w *worker) perCapacity() float64 {
	hw := kinds[slices.IndexFunc(kinds, func(k hardware) bool { return k.name == w.hw.name })]
	return w.income / hw.capacity()
}

// spread is the Gini coefficient of honest workers' incomes for what they can
// do, and the share of those that earned nothing.
func (s *sim) spread() (gini, idle float64) {
	var income []float64
	for _, w := range s.fleet {
		if w.strategy == Honest {
			income = append(income, w.perCapacity())
		}
	}
	slices.Sort(income)
	sum, weighted, n, none := 0.0, 0.0, float64(len(income)), 0
	for i, v := range income {
		sum += v
		weighted += v * float64(i+1)
		if v == 0 {
			none++
		}
	}
	if sum == 0 {
		return 0, 1
	}
	return 2*weighted/(n*sum) - (n+1)/n, float64(none) / n
}

// incomes compares strategies.
func (s *sim) incomes() map[string]float64 {
	sum, n := map[Strategy]float64{}, map[Strategy]float64{}
	for _, w := range s.fleet {
		sum[w.strategy] += w.perCapacity()
		n[w.strategy]++
	}
	honest := sum[Honest] / max(n[Honest], 1)
	out := map[string]float64{}
	for strategy, total := range sum {
		out[strategy.String()] = math.Round(total/n[strategy]/honest*1000) / 1000
	}
	return out
}
