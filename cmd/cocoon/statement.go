package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/settlement"
)

// statementVerb prints what a client's money did.
func statementVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "statement", Short: "what this client's money did: deposits, charges, refunds, fees", Args: cobra.NoArgs,
		Long: "It reads the client's data directory, whether the client is running or not. Amounts are what moved on the chain; a charge\n" +
			"says for how many adjusted tokens in all it is.",
		Example: "  cocoon client statement --data ./client-data\n  cocoon client statement --data ./client-data --json",
	}
	data := cmd.Flags().String("data", "", "the client's data `directory`")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object per line, amounts in nanoTON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *data == "" {
			return usageError{fmt.Errorf("data: missing: name the client's data directory")}
		}
		if *asJSON {
			return settlement.CopyStatement(cmd.OutOrStdout(), *data)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "time\twhat\tTON\ttokens in all\tproxy contract")
		sums := map[string]coin.Nano{}
		err := settlement.ReadStatement(*data, func(e settlement.Entry) error {
			sums[e.Kind] = sums[e.Kind].Add(e.Amount)
			tokens := ""
			if e.Tokens > 0 {
				tokens = fmt.Sprint(e.Tokens)
			}
			_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", e.At.Format("2006-01-02 15:04:05"), e.Kind, e.Amount, tokens, e.Proxy)
			return err
		})
		if err != nil {
			return err
		}
		for _, kind := range []string{"funded", "opened", "deposit", "charge", "refund", "fee"} {
			fmt.Fprintf(w, "in all\t%s\t%s\t\t\n", kind, sums[kind])
		}
		return w.Flush()
	}
	return cmd
}
