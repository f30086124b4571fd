package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/market/marketsim"
)

// marketOptions are the flags of `cocoon bench market`.
type marketOptions struct {
	scenario marketsim.Scenario
	rules    []string
	full     bool
	charts   string
	markdown string
	json     bool
}

// marketReport is what the verb prints as JSON.
type marketReport struct {
	*marketsim.Report
	Took   float64 `json:"took_s"`
	Memory float64 `json:"memory_mib"` // taken from the system, at most
}

func benchMarketVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "market", Short: "simulate rules of selection against each other", Args: cobra.NoArgs,
		Long: "A made-up day with workers that differ, fail and cheat, and clients that come in waves, for each rule in turn: ours, which\n" +
			"is the code that the proxy runs, the reference's, four simple ones, and one that knows the future. Equal seeds give equal figures.\n" +
			"With --full also: other loads, what strategies of workers earn, what each fact of a decision is worth, and prices that follow demand.",
		Example: "  cocoon bench market\n" +
			"  cocoon bench market --workers 10000 --requests 1000000 --seed 7 --json\n" +
			"  cocoon bench market --full --charts docs/market --markdown docs/market/figures.md",
	}
	o := marketOptions{scenario: marketsim.Defaults}
	f, sc := cmd.Flags(), &o.scenario
	f.Uint64Var(&sc.Seed, "seed", sc.Seed, "seed of all chance")
	f.IntVar(&sc.Workers, "workers", sc.Workers, fmt.Sprintf("workers, up to %d", marketsim.MaxWorkers))
	f.IntVar(&sc.Requests, "requests", sc.Requests, fmt.Sprintf("requests, up to %d", marketsim.MaxRequests))
	f.IntVar(&sc.Models, "models", sc.Models, "models, few of them in demand")
	f.IntVar(&sc.Clients, "clients", sc.Clients, "clients, few of them with most requests")
	f.Float64Var(&sc.Load, "load", sc.Load, "work asked for, over what honest workers can do")
	f.Float64Var(&sc.Failing, "failing", sc.Failing, "share of workers that fail once: half die, half hang")
	f.Float64Var(&sc.Cheating, "cheating", sc.Cheating, "share of workers that follows each kind of cheat")
	f.Float64Var(&sc.Talks, "talks", sc.Talks, "share of requests that go on with a conversation")
	f.Float64Var(&sc.Bursts, "bursts", sc.Bursts, "how much stronger a burst is than the average")
	f.BoolVar(&sc.Hedging, "hedging", false, "ours asks a second worker when the first token is late")
	f.BoolVar(&sc.Pricing, "pricing", false, "honest workers follow demand with their prices")
	f.BoolVar(&sc.Shocks, "shocks", false, "demand doubles, falls back and halves")
	f.StringSliceVar(&o.rules, "rules", nil, "`rules` to run, of "+strings.Join(marketsim.Rules, ", ")+" (default all)")
	f.BoolVar(&o.full, "full", false, "study loads, strategies, facts and prices as well")
	f.StringVar(&o.charts, "charts", "", "write charts as SVG into this `directory`; needs --full")
	f.StringVar(&o.markdown, "markdown", "", "write the tables as Markdown into this `file`")
	f.BoolVar(&o.json, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		study := marketsim.Study{Scenario: o.scenario, Rules: o.rules, Full: o.full, Progress: progressOn(cmd.ErrOrStderr())}
		started := time.Now()
		found, err := study.Run(cmd.Context())
		if err != nil {
			return err
		}
		return o.print(cmd.OutOrStdout(), marketReport{found, time.Since(started).Seconds(), systemMemory()})
	}
	return cmd
}

func (o *marketOptions) check() error {
	var p problems
	if err := o.scenario.Check(); err != nil {
		p.add("%v", err)
	}
	for _, rule := range o.rules {
		if !slices.Contains(marketsim.Rules, rule) {
			p.add("rules: %q is none of %s", rule, strings.Join(marketsim.Rules, ", "))
		}
	}
	if o.charts != "" && !o.full {
		p.add("charts: needs --full")
	}
	return p.err()
}

// progressOn tells people who wait for more than two seconds how far it is, then after twice as long each time.
func progressOn(w io.Writer) func(done float64) {
	started := time.Now()
	var next atomic.Int64
	next.Store(int64(2 * time.Second))
	return func(done float64) {
		took, at := int64(time.Since(started)), next.Load()
		if took >= at && next.CompareAndSwap(at, took+max(at, int64(2*time.Second))) {
			fmt.Fprintf(w, "simulating: %.0f %% after %s\n", 100*done, time.Duration(took).Round(time.Second))
		}
	}
}

// systemMemory is what the process has taken from the system, in MiB.
func systemMemory() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.Sys) / (1 << 20)
}

func (o *marketOptions) print(w io.Writer, r marketReport) error {
	if o.charts != "" {
		if err := os.MkdirAll(o.charts, 0o755); err != nil {
			return err
		}
		for name, svg := range r.Charts() {
			if err := os.WriteFile(filepath.Join(o.charts, name), []byte(svg), 0o644); err != nil {
				return err
			}
		}
	}
	if o.markdown != "" {
		var b strings.Builder
		if err := r.WriteMarkdown(&b); err != nil {
			return err
		}
		if err := os.WriteFile(o.markdown, []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	if o.json {
		return writeJSON(w, r)
	}
	if err := r.WriteTable(w); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "took %.1f s and %.0f MiB\n", r.Took, r.Memory)
	return err
}
