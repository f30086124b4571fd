package marketsim

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteTable prints the comparison for people at a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, x := range r.tables() {
		fmt.Fprintf(t, "%s\n", x.title)
		fmt.Fprintf(t, "%s\t\n", strings.Join(x.head, "\t"))
		for _, row := range x.rows {
			fmt.Fprintf(t, "%s\t\n", strings.Join(row, "\t"))
		}
		fmt.Fprintln(t)
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// WriteMarkdown prints the same for documents.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	for _, x := range r.tables() {
		fmt.Fprintf(&b, "### %s\n\n| %s |\n|---|%s\n", x.title, strings.Join(x.head, " | "), strings.Repeat("--:|", len(x.head)-1))
		for _, row := range x.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type table struct {
	title string
	head  []string
	rows  [][]string
}

func (r *Report) tables() []table {
	list := []table{policies(r.Scenario.String(), r.Policies)}
	for _, x := range r.Sweep {
		list = append(list, policies(fmt.Sprintf("Load %.0f %%", 100*x.Load), x.Policies))
	}
	if len(r.Ablations) > 0 {
		list = append(list, r.ablationTable())
	}
	if len(r.Strategies) > 0 {
		list = append(list, r.strategyTable())
	}
	if r.Shock != nil {
		list = append(list, r.shockTable())
	}
	return list
}

func (sc Scenario) String() string {
	return fmt.Sprintf("%d workers, %d requests, %d models, load %.0f %%, seed %d", sc.Workers, sc.Requests, sc.Models, 100*sc.Load, sc.Seed)
}

// find is the figures of a rule; nil if it did not run.
func find(list []Figures, name string) *Figures {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// ofBest is a surplus as a share of the clairvoyant's.
func ofBest(list []Figures, f *Figures) string {
	best := find(list, "clairvoyant")
	if best == nil || best.Surplus <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*f.Surplus/best.Surplus)
}

func policies(title string, list []Figures) table {
	t := table{title: title, head: []string{"policy", "goodput", "surplus of clairvoyant's", "first token p50 ms", "p95", "p99", "whole answer p50 s", "p95", "p99", "cost/Mtoken", "failed", "worst client", "income gini", "idle"}}
	for i := range list {
		f := &list[i]
		t.rows = append(t.rows, []string{f.Name, fmt.Sprintf("%.2f %%", 100*f.Goodput), ofBest(list, f),
			fmt.Sprintf("%.0f", f.TTFT50), fmt.Sprintf("%.0f", f.TTFT95), fmt.Sprintf("%.0f", f.TTFT99),
			fmt.Sprintf("%.1f", f.Total50/1000), fmt.Sprintf("%.1f", f.Total95/1000), fmt.Sprintf("%.1f", f.Total99/1000),
			fmt.Sprintf("%.3f", f.Cost), fmt.Sprintf("%.2f %%", 100*f.Failed), fmt.Sprintf("%.1f %%", 100*f.WorstShare),
			fmt.Sprintf("%.2f", f.Gini), fmt.Sprintf("%.1f %%", 100*f.Idle)})
	}
	return t
}

func (r *Report) ablationTable() table {
	t := table{title: "What each fact buys", head: []string{"ours", "goodput", "surplus of all facts'", "first token p50 ms", "p99", "whole answer p99 s", "cost/Mtoken", "failed", "asked twice"}}
	all := find(r.Policies, "ours")
	rows := r.Ablations
	if all != nil {
		rows = append([]Figures{*all}, rows...)
		rows[0].Name = "all facts"
	}
	for _, f := range rows {
		share := "–"
		if all != nil {
			share = fmt.Sprintf("%.1f %%", 100*f.Surplus/all.Surplus)
		}
		t.rows = append(t.rows, []string{f.Name, fmt.Sprintf("%.2f %%", 100*f.Goodput), share, fmt.Sprintf("%.0f", f.TTFT50), fmt.Sprintf("%.0f", f.TTFT99),
			fmt.Sprintf("%.1f", f.Total99/1000), fmt.Sprintf("%.3f", f.Cost), fmt.Sprintf("%.2f %%", 100*f.Failed), fmt.Sprintf("%.2f %%", 100*f.Hedged)})
	}
	return t
}

func (r *Report) strategyTable() table {
	t := table{title: fmt.Sprintf("What a strategy earns, for what honesty would (mean of %d seeds)", seedsOfStrategies),
		head: []string{"strategy", "rule", "prices", "income", "highest of the seeds", "left after the cost of the work"}}
	for _, p := range r.Strategies {
		prices := "fixed"
		if p.Following {
			prices = "follow demand"
		}
		t.rows = append(t.rows, []string{p.Strategy, p.Rule, prices, fmt.Sprintf("%.3f", p.Income), fmt.Sprintf("%.3f", p.Most), fmt.Sprintf("%.3f", p.Gain)})
	}
	return t
}

func (r *Report) shockTable() table {
	t := table{title: "Prices that follow demand: " + r.Shock.Scenario.String(), head: []string{"demand", "price settles at", "within 10 % after", "turns"}}
	for _, x := range r.Shock.Phases {
		t.rows = append(t.rows, []string{fmt.Sprintf("× %g", x.Demand), fmt.Sprintf("%.0f", x.Price), fmt.Sprintf("%.0f s", x.Settled), fmt.Sprint(x.Turns)})
	}
	return t
}
