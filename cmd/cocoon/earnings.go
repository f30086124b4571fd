package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/settlement"
)

// earningsVerb prints what a worker has earned.
func earningsVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "earnings", Short: "what this worker has earned: in all, per model and day", Args: cobra.NoArgs,
		Long: "It reads the worker's data directory, or asks a running worker. Earned is the worker's own count; of it, what proxies have\n" +
			"signed can be cashed, and what is paid has reached the owner. Days are UTC.",
		Example: "  cocoon worker earnings --data ./worker-data\n  cocoon worker earnings --url http://127.0.0.1:12000 --json",
	}
	data := cmd.Flags().String("data", "", "the worker's data `directory`")
	url := cmd.Flags().String("url", "", "base `URL` of a running worker instead, such as http://127.0.0.1:12000")
	asJSON := cmd.Flags().Bool("json", false, "print the report as JSON, amounts in nanoTON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if (*data == "") == (*url == "") {
			return usageError{errors.New("data or url: want exactly one of them")}
		}
		report, err := earningsOf(cmd.Context(), *data, *url)
		if err != nil {
			return err
		}
		if *asJSON {
			return writeJSON(cmd.OutOrStdout(), report)
		}
		return writeEarnings(cmd.OutOrStdout(), report, time.Now())
	}
	return cmd
}

func earningsOf(ctx context.Context, data, url string) (*settlement.EarningsReport, error) {
	if data != "" {
		return settlement.ReadEarnings(data)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	a := &api{base: strings.TrimSuffix(url, "/")}
	resp, err := a.do(ctx, http.MethodGet, "/jsonstats", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var s struct {
		Settlement *struct{ Earnings settlement.EarningsReport }
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&s); err != nil {
		return nil, fmt.Errorf("%s: the answer is not a worker's: %w", url, err)
	}
	if s.Settlement == nil {
		return nil, fmt.Errorf("%s keeps no earnings: start the worker with --data", url)
	}
	return &s.Settlement.Earnings, nil
}

const (
	chartDays  = 14
	chartWidth = 40
)

func writeEarnings(out io.Writer, r *settlement.EarningsReport, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "earned\t%s\npaid\t%s\npending\t%s\n  of it signed\t%s\n", r.Earned.Text(), r.Paid.Text(), r.Pending.Text(), max(0, r.Signed-r.Paid).Text())
	if len(r.Days) == 0 {
		fmt.Fprintln(w, "\nno answer yet")
		return w.Flush()
	}
	fmt.Fprintln(w, "\nmodel\tanswers\ttokens\tTON")
	var models []string
	sums := map[string]*settlement.EarnedDay{}
	for _, d := range r.Days {
		s := sums[d.Model]
		if s == nil {
			s = &settlement.EarnedDay{}
			sums[d.Model] = s
			models = append(models, d.Model)
		}
		s.Requests, s.Tokens, s.Earned = s.Requests+d.Requests, s.Tokens+d.Tokens, s.Earned.Add(d.Earned)
	}
	for _, m := range models {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", m, sums[m].Requests, sums[m].Tokens, sums[m].Earned)
	}
	fmt.Fprintln(w, "\nday\tTON\t")
	chart(w, r.Days, now)
	return w.Flush()
}

// chart draws the last days, the best of them in full width.
func chart(w io.Writer, days []settlement.EarnedDay, now time.Time) {
	by := map[string]coin.Nano{}
	for _, d := range days {
		by[d.Day] = by[d.Day].Add(d.Earned)
	}
	var best coin.Nano
	names := make([]string, chartDays)
	for i := range names {
		names[i] = now.UTC().AddDate(0, 0, i+1-chartDays).Format("2006-01-02")
		best = max(best, by[names[i]])
	}
	for _, day := range names {
		bar := 0
		if best > 0 {
			bar = int((float64(by[day])/float64(best))*chartWidth + 0.5)
		}
		if bar == 0 && by[day] > 0 {
			bar = 1
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", day, by[day], strings.Repeat("█", bar))
	}
}
