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
	fmt.Fprintln(tw, "load\tat\trequests/s\tp50 ms\tp90\tp99\tmax\tfirst chunk p50\tp99\tchunk relay p50\tp99\t")
	for _, c := range r.Cases {
		row(tw, c.Name, "network", c.Network)
		if c.Engine != nil {
			row(tw, "", "engine", c.Engine)
		}
		if c.Ratio != nil {
			fmt.Fprintf(tw, "\tratio\t%.3f\t+%.2f\t\t\t\t%s\n", c.Ratio.RequestsPerSecond, c.Ratio.AddedP50, added(c))
		}
	}
	fmt.Fprintln(tw)
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

// writeCosts writes one line per process: idle memory, then for each load CPU
// per 1,000 requests.
func (r *Report) writeCosts(w io.Writer) {
	names := slices.SortedFunc(maps.Keys(r.Idle), cmp.Compare)
	if len(names) == 0 {
		fmt.Fprintln(w, "CPU and memory per role: n/a (needs a split devnet on Linux)")
		return
	}
	fmt.Fprint(w, "process\tidle MiB")
	for _, c := range r.Cases {
		fmt.Fprintf(w, "\tCPU s/1,000: %s", strings.ToLower(c.Name))
	}
	fmt.Fprintln(w)
	sums := make([]float64, len(r.Cases))
	for _, name := range names {
		fmt.Fprintf(w, "%s\t%.1f", name, float64(r.Idle[name])/(1<<20))
		for i, c := range r.Cases {
			sums[i] += c.CPU[name]
			fmt.Fprintf(w, "\t%.3f", c.CPU[name])
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "all\t")
	for _, s := range sums {
		fmt.Fprintf(w, "\t%.3f", s)
	}
	fmt.Fprintln(w)
}
