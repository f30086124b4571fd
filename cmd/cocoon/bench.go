package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/bench"
	"github.com/opencocoon/cocoon/devnet"
)

// benchOptions are the flags of `cocoon bench`.
type benchOptions struct {
	data, engineURL, model string
	duration               time.Duration
	requests               int64
	connections            int
	rate                   float64
	stream                 bool
	chunks                 int
	every                  time.Duration
	json, idle             bool
	custom                 bool // one load of the caller's instead of the table
}

func benchVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench", Short: "measure load and overhead beside the engine alone", Args: cobra.NoArgs,
		Long: "Without --url or --data it starts a split devnet of its own with an engine that answers at once, measures the standard\n" +
			"table, and stops it. Every load also goes straight at the engine, so that ratios hold on a noisy machine.\n" +
			"With any of --connections, --rate, --requests, --stream, --chunks it measures that one load instead of the table.",
		Example: "  cocoon bench\n" +
			"  cocoon bench --connections 30 --duration 10s --json\n" +
			"  cocoon bench --stream --connections 100 --chunks 50 --every 20ms",
	}
	cmd.AddCommand(benchMarketVerb())
	var o benchOptions
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "measure the running devnet of this `directory`")
	f.StringVar(&o.engineURL, "engine", "", "engine `URL` to compare with, for --url (default none)")
	f.StringVarP(&o.model, "model", "m", "", "`model` to ask (default the first one served)")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "how long each load is counted, after a warm-up of a fifth")
	f.Int64Var(&o.requests, "requests", 0, "end a load after so many requests (default by time only)")
	f.IntVar(&o.connections, "connections", 1, "parallel connections")
	f.Float64Var(&o.rate, "rate", 0, "requests per second to begin, however long they take (default as fast as answers come)")
	f.BoolVar(&o.stream, "stream", false, "streamed answers")
	f.IntVar(&o.chunks, "chunks", 20, "chunks of a streamed answer")
	f.DurationVar(&o.every, "every", 0, "time between chunks")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.idle, "idle", false, "only report the memory of each role without load")
	connect := apiFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range []string{"connections", "rate", "requests", "stream", "chunks", "every"} {
			o.custom = o.custom || f.Changed(name)
		}
		if err := o.check(f.Changed("url")); err != nil {
			return err
		}
		a, err := connect()
		if err != nil {
			return err
		}
		subject, stop, err := o.subject(cmd, a, f.Changed("url"))
		if err != nil {
			return err
		}
		report, err := o.measure(cmd.Context(), subject, func(text string) {
			if !o.json {
				fmt.Fprintln(cmd.OutOrStdout(), text)
			}
		})
		if err = errors.Join(err, stop()); err != nil {
			return err
		}
		return o.print(cmd, report)
	}
	return cmd
}

func (o *benchOptions) check(byURL bool) error {
	var p problems
	if o.duration <= 0 {
		p.add("duration %v: want more than 0", o.duration)
	}
	if o.connections < 1 || o.connections > 100_000 {
		p.add("connections %d: want 1 to 100000", o.connections)
	}
	if o.rate < 0 || o.requests < 0 || o.chunks < 0 || o.every < 0 {
		p.add("rate, requests, chunks and every cannot be negative")
	}
	if byURL && o.data != "" {
		p.add("url and data exclude each other")
	}
	return p.err()
}

// subject finds or starts what is to be measured.
func (o *benchOptions) subject(cmd *cobra.Command, a *api, byURL bool) (s bench.Subject, stop func() error, err error) {
	stop = func() error { return nil }
	switch {
	case byURL:
		s = bench.Subject{URL: a.base, Engine: o.engineURL, APIKey: a.key}
	case o.data != "":
		if s, err = devnetSubject(o.data); err != nil {
			return s, nil, err
		}
	default:
		if s, stop, err = o.ownDevnet(cmd); err != nil {
			return s, nil, err
		}
	}
	s.Model = o.model
	if s.Model == "" {
		network := api{base: s.URL, key: s.APIKey}
		if s.Model, err = firstModel(cmd.Context(), &network); err != nil {
			return s, nil, errors.Join(err, stop())
		}
	}
	s.EngineModel = s.Model
	return s, stop, nil
}

// devnetSubject reads what a devnet says about itself.
func devnetSubject(dir string) (bench.Subject, error) {
	info, err := devnet.ReadInfo(dir)
	if err != nil {
		return bench.Subject{}, err
	}
	return bench.Subject{URL: strings.TrimSuffix(info.BaseURL, "/v1"), Engine: info.Engine.URL, Processes: func() []bench.Process { return processesOf(dir) }}, nil
}

// processesOf reads them anew each time: a restarted process has another PID.
func processesOf(dir string) []bench.Process {
	info, err := devnet.ReadInfo(dir)
	if err != nil {
		return nil
	}
	var ps []bench.Process
	for _, p := range info.Processes {
		if p.Role != devnet.RoleEngine {
			ps = append(ps, bench.Process{Role: p.Role, Name: p.Name, PID: p.PID})
		}
	}
	return ps
}

// ownDevnet starts a split devnet with an engine made for measuring.
func (o *benchOptions) ownDevnet(cmd *cobra.Command) (bench.Subject, func() error, error) {
	dir, err := os.MkdirTemp("", "cocoon-bench-")
	if err != nil {
		return bench.Subject{}, nil, err
	}
	config := devnet.Config{Data: dir, Listen: "127.0.0.1:0", Engine: devnet.EngineBench, Split: true, Workers: 1, Proxies: 1}
	if !o.json {
		config.Progress = func(text string) { fmt.Fprintln(cmd.OutOrStdout(), text) }
	}
	network, err := devnet.Start(cmd.Context(), config)
	if err != nil {
		return bench.Subject{}, nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop := func() error { return errors.Join(network.Stop(), os.RemoveAll(dir)) }
	s, err := devnetSubject(dir)
	if err != nil {
		return s, nil, errors.Join(err, stop())
	}
	return s, stop, nil
}

func (o *benchOptions) measure(ctx context.Context, s bench.Subject, progress func(string)) (*bench.Report, error) {
	report := bench.NewReport(s, time.Now())
	loads := bench.Standard(o.duration)
	switch {
	case o.idle:
		loads = nil
	case o.custom:
		loads = []bench.NamedLoad{{Name: "load", Load: bench.Load{
			Connections: o.connections, Rate: o.rate, Duration: o.duration, Requests: o.requests,
			WarmUp: o.duration / 5, Stream: o.stream, Chunks: o.chunks, Every: o.every,
		}}}
		if o.requests > 0 {
			loads[0].Load.WarmUp = 0
		}
	}
	for _, l := range loads {
		progress("measuring: " + l.Name)
		if err := report.Measure(ctx, s, l); err != nil {
			return nil, err
		}
	}
	return report, nil
}

func (o *benchOptions) print(cmd *cobra.Command, report *bench.Report) error {
	if o.json {
		return writeJSON(cmd.OutOrStdout(), report)
	}
	fmt.Fprintln(cmd.OutOrStdout())
	return report.WriteTable(cmd.OutOrStdout())
}
