package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/devnet"
)

// statusReport is what `cocoon status --json` prints.
type statusReport struct {
	BaseURL     string             `json:"base_url"`
	Model       string             `json:"model,omitempty"`
	Attestation string             `json:"attestation,omitempty"`
	Engine      *devnet.EngineInfo `json:"engine,omitempty"`
	Contracts   map[string]string  `json:"contracts,omitempty"`
	Processes   []devnet.Process   `json:"processes,omitempty"`
	Nodes       []nodeStatus       `json:"nodes"`
}

// nodeStatus is one node and what its /jsonstats says: usage and counts,
// balances, peers with their verdicts.
type nodeStatus struct {
	Role  string          `json:"role"`
	Name  string          `json:"name"`
	HTTP  string          `json:"http"`
	OK    bool            `json:"ok"`
	Error string          `json:"error,omitempty"`
	Stats json.RawMessage `json:"stats,omitempty"`
}

func statusVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "how a running client, or every node of a devnet, is doing", Args: cobra.NoArgs,
		Example: "  cocoon status\n  cocoon status --data ./net --json",
	}
	data := cmd.Flags().String("data", "", "look at all nodes of the devnet of this `directory`")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	connect := apiFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := connect()
		if err != nil {
			return err
		}
		report := &statusReport{BaseURL: a.base + "/v1", Nodes: []nodeStatus{{Role: devnet.RoleClient, Name: "client", HTTP: a.base}}}
		if *data != "" {
			if report, err = devnetStatus(*data); err != nil {
				return err
			}
		}
		errs := askAll(cmd.Context(), a, report.Nodes)
		if *data == "" && errs[0] != nil {
			return errs[0]
		}
		if *asJSON {
			return writeJSON(cmd.OutOrStdout(), report)
		}
		return report.write(cmd.OutOrStdout())
	}
	return cmd
}

func devnetStatus(dir string) (*statusReport, error) {
	info, err := devnet.ReadInfo(dir)
	if err != nil {
		return nil, err
	}
	r := &statusReport{
		BaseURL: info.BaseURL, Model: info.Model, Attestation: info.Attestation, Engine: &info.Engine,
		Contracts: info.Contracts, Processes: info.Processes,
	}
	for _, n := range info.Nodes {
		r.Nodes = append(r.Nodes, nodeStatus{Role: n.Role, Name: n.Name, HTTP: n.HTTP})
	}
	return r, nil
}

// askAll asks all nodes at once. The API key goes to the client alone: it is
// the only one that has a use for it.
func askAll(ctx context.Context, a *api, nodes []nodeStatus) []error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() {
			n := &nodes[i]
			at := api{base: n.HTTP}
			if n.HTTP == a.base {
				at.key = a.key
			}
			if errs[i] = at.get(ctx, "/jsonstats", &n.Stats); errs[i] != nil {
				n.Error = errs[i].Error()
			}
			n.OK = errs[i] == nil
		})
	}
	wg.Wait()
	return errs
}

// figures are the parts of /jsonstats that all roles have; a counter's first
// number is its total, the fourth the rate over a minute.
type figures struct {
	Stats struct {
		Queries, Failed [7]float64
		// Proxies and workers count in total, a client by class.
		Total      [7]float64 `json:"total_adjusted_tokens_used"`
		Prompt     [7]float64 `json:"prompt_tokens_used"`
		Cached     [7]float64 `json:"cached_tokens_used"`
		Completion [7]float64 `json:"completion_tokens_used"`
		Reasoning  [7]float64 `json:"reasoning_tokens_used"`
	}
	ProxyConnections []struct {
		Ready bool `json:"is_ready"`
	} `json:"proxy_connections"`
	WorkerConnections []struct{ Enabled bool } `json:"worker_connections"`
	Proxies           []struct{ Connected bool }
}

func (r *statusReport) write(w io.Writer) error {
	fmt.Fprintln(w, r.BaseURL)
	if r.Attestation != "" {
		fmt.Fprintf(w, "model %s from %s at %s\nattestation %s\n", r.Model, r.Engine.Kind, r.Engine.URL, r.Attestation)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "node\tstate\trequests\tfailed\tper s\tadjusted tokens\tpages")
	for _, n := range r.Nodes {
		if !n.OK {
			fmt.Fprintf(tw, "%s\t%s\n", n.Name, n.Error)
			continue
		}
		var f figures
		if err := json.Unmarshal(n.Stats, &f); err != nil {
			return fmt.Errorf("%s/jsonstats: %w", n.HTTP, err)
		}
		fmt.Fprintf(tw, "%s\t%s\t%.0f\t%.0f\t%.1f\t%.0f\t%s/stats\n", n.Name, f.state(n.Role),
			f.Stats.Queries[0], f.Stats.Failed[0], f.Stats.Queries[3], f.tokens(), n.HTTP)
	}
	return tw.Flush()
}

func (f *figures) tokens() float64 {
	s := &f.Stats
	return s.Total[0] + s.Prompt[0] + s.Cached[0] + s.Completion[0] + s.Reasoning[0]
}

// state says in a few words whether a node can do its work.
func (f *figures) state(role string) string {
	switch role {
	case devnet.RoleClient:
		ready := 0
		for _, c := range f.ProxyConnections {
			if c.Ready {
				ready++
			}
		}
		return fmt.Sprintf("%d proxies ready", ready)
	case devnet.RoleProxy:
		enabled := 0
		for _, c := range f.WorkerConnections {
			if c.Enabled {
				enabled++
			}
		}
		return fmt.Sprintf("%d workers ready", enabled)
	default:
		connected := 0
		for _, p := range f.Proxies {
			if p.Connected {
				connected++
			}
		}
		return fmt.Sprintf("%d proxies connected", connected)
	}
}
