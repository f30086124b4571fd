package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Cases) > 0 {
		fmt.Fprintln(tw, "load\tat\trequests/s\tp50 ms\tp90\tp99\tmax\tfirst chunk p50\tp99\tchunk relay p50\tp99\t")
	}
	for _, c := range r.Cases {
		row(tw, c.Name, "network", c.Network)
		if c.Engine != nil {
			row(tw, "", "engine", c.Engine)
		}
		if c.Ratio != nil {
			fmt.Fprintf(tw, "\tratio\t%.3f\t+%.2f\t\t\t\t%s\n", c.Ratio.RequestsPerSecond, c.Ratio.AddedP50, added(c))
		}
	}
	if len(r.Cases) > 0 {
		fmt.Fprintln(tw)
	}
	r.writeCosts(tw)
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintln(w, "problem:", p)
	}
	return nil
}

func added(c Case) string {
	if c.Network.FirstChunk == nil {
		return ""
	}
	return fmt.Sprintf("%+.2f", c.Ratio.AddedFirstP50)
}

func row(w io.Writer, name, at string, res *Result) {
	if res == nil {
		fmt.Fprintf(w, "%s\t%s\tfailed\n", name, at)
		return
	}
	l := res.Latency
	fmt.Fprintf(w, "%s\t%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f", name, at, res.RequestsPerSecond, l.P50, l.P90, l.P99, l.Max)
	for _, extra := range []*Latency{res.FirstChunk, res.Relay} {
		if extra != nil {
			fmt.Fprintf(w, "\t%.2f\t%.2f", extra.P50, extra.P99)
		}
	}
	fmt.Fprintln(w)
}

// writeCosts writes memory without load, then for each load the CPU that
// each process used per 1,000 requests.
func (r *Report) writeCosts(w io.Writer) {
	names := slices.SortedFunc(maps.Keys(r.Idle), cmp.Compare)
	if len(names) == 0 {
		fmt.Fprintln(w, "CPU and memory per role: n/a (needs a split devnet on Linux)")
		return
	}
	fmt.Fprintf(w, "\t\t%s\tall\n", strings.Join(names, "\t"))
	fmt.Fprint(w, "memory without load\tMiB")
	var all float64
	for _, name := range names {
		fmt.Fprintf(w, "\t%.1f", float64(r.Idle[name])/(1<<20))
		all += float64(r.Idle[name]) / (1 << 20)
	}
	fmt.Fprintf(w, "\t%.1f\n", all)
	for _, c := range r.Cases {
		fmt.Fprintf(w, "%s\tCPU s/1,000", c.Name)
		if len(c.CPU) < len(names) {
			fmt.Fprintln(w, "\tn/a: too few requests to tell")
			continue
		}
		all = 0
		for _, name := range names {
			fmt.Fprintf(w, "\t%.3f", c.CPU[name])
			all += c.CPU[name]
		}
		fmt.Fprintf(w, "\t%.3f\n", all)
	}
}
