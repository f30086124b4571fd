package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// Subject is a network to measure, beside the engine behind it.
type Subject struct {
	// URL is the network's OpenAI base URL, Engine that of the engine alone;
	// without Engine there is nothing to compare with.
	URL, Engine string
	// Model and EngineModel are the names to ask either for.
	Model, EngineModel string
	// APIKey goes to the network only.
	APIKey string
	// Processes are the network's, for CPU and memory. May be empty. The
	// function is called again for each run, as a process may be restarted.
	Processes func() []Process
}

// Case is one row of the table: the same load at the network and straight at
// the engine.
type Case struct {
	Name    string             `json:"name"`
	Load    CaseLoad           `json:"load"`
	Network *Result            `json:"network"`
	Engine  *Result            `json:"engine,omitempty"`
	Ratio   *Ratio             `json:"ratio,omitempty"`
	CPU     map[string]float64 `json:"cpu_seconds_per_1000_requests,omitempty"`
	RSS     map[string]int64   `json:"rss_bytes,omitempty"`
}

// CaseLoad repeats the load in the report.
type CaseLoad struct {
	Connections int     `json:"connections"`
	Rate        float64 `json:"rate_per_second,omitempty"`
	Stream      bool    `json:"stream"`
	Chunks      int     `json:"chunks,omitempty"`
	EveryMS     float64 `json:"chunk_every_ms,omitempty"`
}

// Ratio compares the network with the engine alone.
type Ratio struct {
	RequestsPerSecond float64 `json:"requests_per_second"`
	AddedP50          float64 `json:"added_p50_ms"`
	AddedFirstP50     float64 `json:"added_first_chunk_p50_ms,omitempty"`
}

// Report is everything that was measured.
type Report struct {
	At       time.Time        `json:"at"`
	System   string           `json:"system"`
	CPUs     int              `json:"cpus"`
	URL      string           `json:"url"`
	Engine   string           `json:"engine,omitempty"`
	Idle     map[string]int64 `json:"idle_rss_bytes,omitempty"`
	Cases    []Case           `json:"cases"`
	Problems []string         `json:"problems,omitempty"`
}

// NewReport begins a report on s with the memory that its processes hold now,
// before any load.
func NewReport(s Subject, now time.Time) *Report {
	r := &Report{At: now.UTC(), System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), URL: s.URL, Engine: s.Engine}
	for name, c := range Costs(s.processes()) {
		if r.Idle == nil {
			r.Idle = map[string]int64{}
		}
		r.Idle[name] = c.RSS
	}
	return r
}

func (s Subject) processes() []Process {
	if s.Processes == nil {
		return nil
	}
	return s.Processes()
}

// NamedLoad is a load with the words that the table shows for it.
type NamedLoad struct {
	Name string
	Load Load
}

// Standard is the table that `cocoon bench` measures without arguments: one
// caller, thirty, a thousand requests per second, one stream, a thousand.
func Standard(d time.Duration) []NamedLoad {
	warm := d / 5
	return []NamedLoad{
		{"1 connection", Load{Connections: 1, Duration: d, WarmUp: warm}},
		{"30 connections", Load{Connections: 30, Duration: d, WarmUp: warm}},
		{"1,000 requests/s", Load{Connections: 128, Rate: 1000, Duration: d, WarmUp: warm}},
		{"1 stream", Load{Connections: 1, Stream: true, Chunks: 20, Duration: d, WarmUp: warm}},
		{"1 stream, a chunk every 50 ms", Load{Connections: 1, Stream: true, Chunks: 20, Every: 50 * time.Millisecond, Duration: d}},
		{"1,000 streams, 20 chunks/s each", Load{Connections: 1000, Stream: true, Chunks: 40, Every: 50 * time.Millisecond, Duration: d, WarmUp: max(warm, time.Second)}},
	}
}

// Measure runs one load at the network and at the engine, and adds the row.
// An error is that of ctx; loads that fail show in the row and in Problems.
func (r *Report) Measure(ctx context.Context, s Subject, n NamedLoad) error {
	l := n.Load.withDefaults()
	c := Case{Name: n.Name, Load: CaseLoad{l.Connections, l.Rate, l.Stream, l.Chunks, milliseconds(l.Every)}}
	if s.Engine != "" {
		l.URL, l.Model = s.Engine, s.EngineModel
		c.Engine = r.run(ctx, n.Name+", straight at the engine", l)
	}
	ps := s.processes()
	var samples []map[string]Cost
	l.URL, l.Model, l.APIKey = s.URL, s.Model, s.APIKey
	l.Window = func() { samples = append(samples, Costs(ps)) }
	c.Network = r.run(ctx, n.Name, l)
	if err := ctx.Err(); err != nil {
		return err
	}
	c.compare()
	if len(samples) == 2 && c.Network != nil {
		c.addCosts(samples[0], samples[1])
	}
	r.Cases = append(r.Cases, c)
	return nil
}

func (r *Report) run(ctx context.Context, name string, l Load) *Result {
	res, err := l.Run(ctx)
	if err != nil && ctx.Err() == nil {
		r.Problems = append(r.Problems, fmt.Sprintf("%s: %v", name, err))
	}
	if res != nil {
		for kind, count := range res.Errors {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %d × %s", name, count, kind))
		}
	}
	return res
}

func (c *Case) compare() {
	n, e := c.Network, c.Engine
	if n == nil || e == nil || n.Requests == 0 || e.Requests == 0 {
		return
	}
	c.Ratio = &Ratio{RequestsPerSecond: n.RequestsPerSecond / e.RequestsPerSecond, AddedP50: n.Latency.P50 - e.Latency.P50}
	if n.FirstChunk != nil && e.FirstChunk != nil {
		c.Ratio.AddedFirstP50 = n.FirstChunk.P50 - e.FirstChunk.P50
	}
}

// fewTicks is CPU time that is too little, by the grain of its accounting, to
// be divided by requests.
const fewTicks = 50 * time.Millisecond

// addCosts books the CPU used between two samples on the requests counted.
func (c *Case) addCosts(before, after map[string]Cost) {
	c.CPU, c.RSS = map[string]float64{}, map[string]int64{}
	for name, a := range after {
		c.RSS[name] = a.RSS
		b, ok := before[name]
		if used := a.CPU - b.CPU; ok && used >= fewTicks && c.Network.Requests > 0 {
			c.CPU[name] = used.Seconds() * 1000 / float64(c.Network.Requests)
		}
	}
}
