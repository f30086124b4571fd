package marketsim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/market"
)

// Scenario is a made-up day. Zero fields get the values of [Defaults].
type Scenario struct {
	Seed     uint64 `json:"seed"`
	Workers  int    `json:"workers"`
	Requests int    `json:"requests"`
	Models   int    `json:"models"`
	Clients  int    `json:"clients"`
	// Load is the work that is asked for, over what honest workers can do.
	Load float64 `json:"load"`
	// Failing is the share of workers that fail once in the day: half of them
	// die, half hang. Cheating is the share that follows each strategy of
	// [Strategies].
	Failing  float64 `json:"failing"`
	Cheating float64 `json:"cheating"`
	// Watched is how many honest workers [Deviate] looks at, and Deviance what
	// they do.
	Watched  int      `json:"watched,omitempty"`
	Deviance Strategy `json:"deviance,omitempty"`
	// Talks is the share of requests that go on with a conversation, whose beginning
	// the worker of the last turn may still have in memory.
	Talks float64 `json:"talks"`
	// Hedging lets our rule ask a second worker when the first token is late.
	Hedging bool `json:"hedging"`
	// Pricing lets honest workers follow demand with their prices.
	Pricing bool `json:"pricing"`
	// Shocks lets demand double after a quarter of the day, fall back at the half and halve for the
	// last quarter.
	Shocks bool `json:"shocks"`
	// Without are the facts that our rule does not use.
	Without market.Facts `json:"without,omitempty"`
	// Bursts is how much stronger a burst is than the average, at least 1.
	Bursts float64 `json:"bursts"`
}

// Defaults is a day that a network of some size might have.
var Defaults = Scenario{Seed: 1, Workers: 200, Requests: 100_000, Models: 8, Clients: 400, Load: 0.8, Failing: 0.1, Cheating: 0.02, Bursts: 1.25, Talks: 0.3}

func (sc Scenario) filled() Scenario {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&sc.Workers, Defaults.Workers)
	def(&sc.Requests, Defaults.Requests)
	def(&sc.Models, Defaults.Models)
	def(&sc.Clients, Defaults.Clients)
	if sc.Load == 0 {
		sc.Load = Defaults.Load
	}
	if sc.Bursts == 0 {
		sc.Bursts = Defaults.Bursts
	}
	sc.Models = min(sc.Models, sc.Workers)
	return sc
}

// Bounds of a scenario.
const (
	MaxWorkers  = 10_000
	MaxRequests = 1_000_000
)

// Check says what is out of bounds.
func (sc *Scenario) Check() error {
	share := func(v float64) bool { return v >= 0 && v <= 1 }
	switch {
	case sc.Workers < 1 || sc.Workers > MaxWorkers:
		return fmt.Errorf("%d workers, want 1 to %d", sc.Workers, MaxWorkers)
	case sc.Requests < 1 || sc.Requests > MaxRequests:
		return fmt.Errorf("%d requests, want 1 to %d", sc.Requests, MaxRequests)
	case sc.Models < 1 || sc.Clients < 1:
		return fmt.Errorf("%d models and %d clients, want at least 1", sc.Models, sc.Clients)
	case !(sc.Load > 0 && sc.Load <= 10):
		return fmt.Errorf("load %v, want more than 0 and at most 10", sc.Load)
	case !share(sc.Failing) || !share(sc.Talks) || !(sc.Cheating >= 0 && sc.Cheating <= 0.2):
		return fmt.Errorf("failing %v, cheating %v, talks %v: want shares, and at most 0.2 of each kind of cheat", sc.Failing, sc.Cheating, sc.Talks)
	}
	return nil
}

// job is one request of the trace: what a client will send, and what an answer
// to it takes.
type job struct {
	at             time.Duration
	model, client  int
	talk           int           // conversation; 0 is none
	known          int           // tokens of the prompt that its last turn had already
	longest        int           // tokens of the answer that the client allows; 0 is any number
	prompt, output int           // tokens; the output is known to nobody in advance
	ceiling        uint32        // the dearest coefficient accepted, and what a token is worth to the caller
	patience       time.Duration // to the first token; later is no use
	deadline       time.Duration // to the end
}

// Lengths of prompts and answers in tokens: log-normal, so that most are short
// and a few very long, as public traces of chat services have them.
const (
	promptMedian, promptSpread, promptMost = 350, 1.1, 16_000
	outputMedian, outputSpread, outputMost = 180, 0.9, 4_000
	prefill                                = 40 // tokens of a prompt that cost as much as one of an answer
)

// work of a job, in tokens of an answer.
func (j *job) work() float64 { return j.untilFirst() + float64(j.output) }

func (j *job) untilFirst() float64 { return float64(j.prompt)/prefill + 1 }

// makeTrace draws the requests so that their work is Load of the capacity, in
// tokens per second, of each model.
func (sc *Scenario) makeTrace(capacity []float64) []job {
	chance := rand.New(rand.NewPCG(sc.Seed, 1))
	models, clients := shares(len(capacity), capacity), zipf(sc.Clients, 1.1)
	jobs := make([]job, sc.Requests)
	work, last := 0.0, map[int]*job{} // of each client
	for i := range jobs {
		j := &jobs[i]
		j.model, j.client = models.draw(chance), clients.draw(chance)
		j.prompt = lengthOf(chance, promptMedian, promptSpread, promptMost)
		j.output = lengthOf(chance, outputMedian, outputSpread, outputMost)
		j.ceiling = uint32(1300 + chance.IntN(2000)) // some want it cheap, some pay for it
		j.patience = time.Duration(5+chance.IntN(20)) * time.Second
		j.deadline = 120 * time.Second
		if chance.IntN(2) == 0 { // half of them say how much they can use
			j.longest = j.output + chance.IntN(3*j.output)
		}
		j.goOn(last[j.client], i+1, chance.Float64() < sc.Talks)
		last[j.client] = j
		work += j.work()
	}
	total := 0.0
	for _, c := range capacity {
		total += c
	}
	day := work / (total * sc.Load) // seconds
	for i, at := range sc.arrivals(chance, len(jobs)) {
		jobs[i].at = time.Duration(at * day * float64(time.Second))
	}
	return jobs
}

// goOn makes a request the next turn of a conversation, or the first of one.
func (j *job) goOn(last *job, name int, same bool) {
	if j.talk = name; !same || last == nil {
		return
	}
	said := last.prompt + last.output
	if said+j.prompt > promptMost {
		return
	}
	j.talk, j.model, j.known, j.prompt = last.talk, last.model, said, said+j.prompt
}

func lengthOf(chance *rand.Rand, median, spread float64, most int) int {
	return min(1+int(median*math.Exp(spread*chance.NormFloat64())), most)
}

// arrivals are n ordered moments in a day of length 1: a wave with its peak in
// the afternoon, and bursts on top of it.
func (sc *Scenario) arrivals(chance *rand.Rand, n int) []float64 {
	const slices_ = 240
	weight := make([]float64, slices_)
	burst := 0
	for i := range weight {
		weight[i] = 1 + 0.1*math.Sin(2*math.Pi*(float64(i)/slices_-0.3))
		if burst == 0 && chance.IntN(40) == 0 {
			burst = 1 + chance.IntN(3)
		}
		if sc.Shocks {
			weight[i] = phases[len(phases)*i/slices_]
		} else if burst > 0 {
			weight[i] *= sc.Bursts
			burst--
		}
	}
	when := newShares(weight)
	out := make([]float64, n)
	for i := range out {
		out[i] = (float64(when.draw(chance)) + chance.Float64()) / slices_
	}
	slices.Sort(out)
	return out
}

// sharesOf is a distribution to draw places from.
type sharesOf []float64 // cumulated

func newShares(weight []float64) sharesOf {
	out, sum := make(sharesOf, len(weight)), 0.0
	for i, w := range weight {
		sum += w
		out[i] = sum
	}
	return out
}

func shares(n int, weight []float64) sharesOf { return newShares(weight[:n]) }

// zipf has few that are often drawn and many that seldom are.
func zipf(n int, power float64) sharesOf {
	weight := make([]float64, n)
	for i := range weight {
		weight[i] = 1 / math.Pow(float64(i+1), power)
	}
	return newShares(weight)
}

func (s sharesOf) draw(chance *rand.Rand) int {
	i, _ := slices.BinarySearch(s, chance.Float64()*s[len(s)-1])
	return min(i, len(s)-1)
}
