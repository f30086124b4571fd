package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/worker"
)

// whyReport is what a worker knows about its work.
type whyReport struct {
	Enabled    bool       `json:"enabled"`
	NotBecause []string   `json:"not_enabled_because"`
	Proxies    []whyProxy `json:"proxies"`
}

type whyProxy struct {
	Address   string          `json:"address"`
	Connected bool            `json:"connected"`
	Error     string          `json:"error,omitempty"`
	Owes      string          `json:"owes,omitempty"`
	Why       *worker.Reasons `json:"why,omitempty"`
}

func workerWhyVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "why", Short: "why a running worker gets work, or none", Args: cobra.NoArgs,
		Long: "Every proxy is asked now and then, and tells from its latest requests: who got them, at what price, and at which price this\n" +
			"worker would have. Proxies of other makes do not tell.",
		Example: "  cocoon worker why\n  cocoon worker why --url http://127.0.0.1:12000 --json",
	}
	base := cmd.Flags().StringP("url", "u", "http://127.0.0.1:12000", "base `URL` of the running worker")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var s struct {
			Status  *worker.Status `json:"status"`
			Proxies []whyProxy     `json:"proxies"`
		}
		a := &api{base: strings.TrimSuffix(*base, "/")}
		if err := a.get(cmd.Context(), "/jsonstats", &s); err != nil {
			return err
		}
		if s.Status == nil {
			return fmt.Errorf("%s does not answer as a worker; name its address with --url", *base)
		}
		r := &whyReport{Enabled: s.Status.Enabled, NotBecause: s.Status.NotBecause, Proxies: s.Proxies}
		if *asJSON {
			return writeJSON(cmd.OutOrStdout(), r)
		}
		return writeWhy(cmd.OutOrStdout(), r)
	}
	return cmd
}

func writeWhy(out io.Writer, r *whyReport) error {
	if !r.Enabled {
		fmt.Fprintf(out, "this worker takes no requests: %s\n", strings.Join(r.NotBecause, ", "))
	}
	if len(r.Proxies) == 0 {
		_, err := fmt.Fprintln(out, "no proxy: the registry names none that it could work for")
		return err
	}
	for _, p := range r.Proxies {
		text := ""
		switch {
		case !p.Connected:
			text = "not connected: " + p.Error
		case p.Owes != "":
			text = "gets no more work: " + p.Owes
		case p.Why == nil:
			text = "does not tell why"
		default:
			text = p.Why.Text
		}
		if _, err := fmt.Fprintf(out, "%s  %s\n", p.Address, text); err != nil {
			return err
		}
	}
	return nil
}
