package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/openai"
)

func modelsVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "models", Short: "list what the network serves, with price and load", Args: cobra.NoArgs,
		Long:    "List what the network serves, with price and load. An offer is a worker at a proxy: one that works for two proxies makes two.",
		Example: "  cocoon models\n  cocoon models --json",
	}
	asJSON := cmd.Flags().Bool("json", false, "print the list as the API gives it")
	connect := apiFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := connect()
		if err != nil {
			return err
		}
		if *asJSON {
			var raw json.RawMessage
			if err := a.get(cmd.Context(), "/v1/models", &raw); err != nil {
				return err
			}
			return writeJSON(cmd.OutOrStdout(), raw)
		}
		models, err := a.models(cmd.Context())
		if err != nil {
			return err
		}
		return writeModels(cmd, models)
	}
	return cmd
}

func writeModels(cmd *cobra.Command, models []openai.Model) error {
	if len(models) == 0 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "no model is served now")
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "model\toffers\tcheapest\trunning\tcapacity\tcontext\tcan\tregions")
	for _, m := range models {
		price, running, capacity := "-", 0, 0
		for i, worker := range m.Workers {
			if i == 0 { // cheapest first
				price = fmt.Sprintf("x%.3g", float64(worker.Coefficient)/1000)
			}
			running += int(worker.RunningRequests)
			capacity += int(worker.MaxRunningRequests)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%s\t%s\t%s\n", m.ID, len(m.Workers), price, running, capacity,
			contextText(m.ContextLength), listText(m.Capabilities), listText(m.Regions))
	}
	return w.Flush()
}
