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
	inTime        int
	failed        [failures]int
	paid, tokens  float64 // coefficient/1000 × tokens, tokens
	surplus       float64
	clientGood    []int
	clientRequest []int
}

// good notes an answer that came to its end.
func (t *tally) good(f *flight, at time.Duration) {
	first, total := f.firstAt-f.job.at, at-f.job.at
	t.ttft = append(t.ttft, float64(first)/1e6)
	t.total = append(t.total, float64(total)/1e6)
	t.clientRequest[f.job.client]++
	if first <= f.job.patience && total <= f.job.deadline {
		t.inTime++
		t.clientGood[f.job.client]++
	}
	t.surplus += surplus(f.job, f.price, first, total)
}

func (t *tally) fail(f *flight, why failure) {
	t.ttft = append(t.ttft, float64(f.job.deadline)/1e6)
	t.total = append(t.total, float64(f.job.deadline)/1e6)
	t.failed[why]++
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
	// Income of each strategy for what the hardware can do, 1 is an honest
	// worker's.
	Income map[string]float64 `json:"income_by_strategy"`
	// Watched is what the watched workers earned.
	Watched float64 `json:"watched_income,omitempty"`
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
	f.Gini, f.Idle = s.spread()
	f.Income = s.incomes()
	for _, w := range s.fleet {
		if w.watched {
			f.Watched += w.income
		}
	}
	return f
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
