package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/client"
)

func marketVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "market [MODEL]", Short: "the book: per model, workers, prices, speed and load, at every proxy", Args: cobra.MaximumNArgs(1),
		Long: "Prices are factors of the network's, and TON for a million tokens of an answer. First is the time to the first answer, wait how long\n" +
			"a request waits for a free place. Context, can and regions are what workers say; - is unknown. With a MODEL each worker is listed, and the last hour drawn.",
		Example: "  cocoon market\n  cocoon market qwen3:0.6b\n  cocoon market qwen3:0.6b --svg market.svg",
	}
	asJSON := cmd.Flags().Bool("json", false, "print the book as JSON")
	svg := cmd.Flags().String("svg", "", "draw the last hour into this `file`; needs a MODEL")
	connect := apiFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a, err := connect()
		if err != nil {
			return err
		}
		path := "/v1/market"
		if len(args) > 0 {
			path += "/" + url.PathEscape(args[0])
		} else if *svg != "" {
			return usageError{errors.New("svg: name the MODEL to draw")}
		}
		var m client.Market
		if err := a.get(cmd.Context(), path, &m); err != nil {
			return err
		}
		if *svg != "" {
			if err := drawFile(*svg, &m); err != nil {
				return err
			}
		}
		if *asJSON {
			return writeJSON(cmd.OutOrStdout(), m)
		}
		return writeMarket(cmd.OutOrStdout(), &m, len(args) > 0)
	}
	return cmd
}

func drawFile(name string, m *client.Market) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(drawMarket(f, m), f.Close())
}

// writeMarket prints the book as a table; with detail every worker and the past.
func writeMarket(out io.Writer, m *client.Market, detail bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	lines := 0
	fmt.Fprintln(w, "model\tproxy\tworkers\tprice\tTON/M\tfirst\ttok/s\tload\twaiting\twait\tcontext\tcan\tregions")
	for _, p := range m.Proxies {
		for i := range p.Models {
			lines++
			x := &p.Models[i]
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%.4g\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", x.Model, p.Address, x.Workers, priceText(x), x.Completion, secondsText(x.First),
				rateText(x.Token), loadText(x.Running, x.Slots), x.Waiting, waitText(x),
				contextText(x.ContextLength), listText(x.Capabilities), listText(x.Regions))
		}
	}
	if err := w.Flush(); err != nil || !detail {
		if lines == 0 && err == nil {
			_, err = fmt.Fprintln(out, "no model is served now")
		}
		return err
	}
	for _, p := range m.Proxies {
		for i := range p.Models {
			if err := writeModelMarket(out, p.Address, &p.Models[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeModelMarket(out io.Writer, proxy string, x *client.ModelMarket) error {
	fmt.Fprintf(out, "\nworkers at %s, cheapest first\n", proxy)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "worker\tprice\tfirst\ttok/s\tload\tlost\tcontext\tcan\tregion")
	for _, o := range x.Offers {
		name := o.Worker
		if name == "" {
			name = "?"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.1f %%\t%s\t%s\t%s\n", name, factor(o.Coefficient), secondsText(o.First), rateText(o.Token), loadText(o.Running, o.Limit), 100*o.Lost,
			contextText(o.ContextLength), listText(o.Capabilities), cmp.Or(o.Region, "-"))
	}
	if err := w.Flush(); err != nil || len(x.History) < 2 {
		return err
	}
	from := time.Unix(x.History[0].At, 0).UTC()
	fmt.Fprintf(out, "\nsince %s UTC\n", from.Format("15:04"))
	for _, s := range seriesOf(x.History) {
		if _, err := fmt.Fprintf(out, "%-8s %s  %s to %s\n", s.name, sparkline(s.values, chartWidth+20), s.text(s.least()), s.text(s.most())); err != nil {
			return err
		}
	}
	return nil
}

// contextText is a number of tokens; "-" is unknown.
func contextText(tokens int) string {
	if tokens == 0 {
		return "-"
	}
	return strconv.Itoa(tokens)
}

func listText(names []string) string { return cmp.Or(strings.Join(names, ","), "-") }

func priceText(x *client.ModelMarket) string {
	switch {
	case x.Coefficient > 0:
		return factor(x.Coefficient)
	case len(x.Offers) > 0:
		return "from " + factor(x.Offers[0].Coefficient)
	}
	return "-"
}

func factor(thousandths int32) string { return fmt.Sprintf("x%.3g", float64(thousandths)/1000) }

func secondsText(s float64) string {
	if s <= 0 {
		return "-"
	}
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

func rateText(token float64) string {
	if token <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g", 1/token)
}

func loadText(running, slots int32) string {
	if slots <= 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d (%.0f %%)", running, slots, 100*float64(running)/float64(slots))
}

func waitText(x *client.ModelMarket) string {
	if x.Running < x.Slots && x.Waiting == 0 {
		return "none"
	}
	return secondsText(x.Wait)
}
