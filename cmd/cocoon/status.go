package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/devnet"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/ton"
)

// statusReport is what `cocoon status --json` prints. Amounts are nanoTON as
// decimal texts.
type statusReport struct {
	BaseURL     string             `json:"base_url"`
	Model       string             `json:"model,omitempty"`
	FullModel   string             `json:"full_model,omitempty"`
	Attestation string             `json:"attestation,omitempty"`
	Engine      *devnet.EngineInfo `json:"engine,omitempty"`
	// Chain is what stands behind the contracts: "local" for a devnet's, "away"
	// if that does not answer, else "unknown", as a node's pages do not tell.
	Chain     string                 `json:"chain"`
	Roles     map[string]*roleStatus `json:"roles"`
	Peers     []peerStatus           `json:"peers"`
	Contracts []contractStatus       `json:"contracts"`
	// Sheet says where all the money of a devnet is.
	Sheet     *settlement.Sheet `json:"balance_sheet,omitempty"`
	Processes []devnet.Process  `json:"processes,omitempty"`
	Nodes     []*nodeStatus     `json:"nodes"`

	devnet    *devnet.Info // nil for one node
	chainAway error        // why a devnet's chain could not be read
}

// roleStatus adds up the nodes of a role.
type roleStatus struct {
	Nodes    int     `json:"nodes"`
	Answer   int     `json:"nodes_that_answer"`
	Requests float64 `json:"requests"`
	Failed   float64 `json:"failed"`
	Running  int     `json:"running"`
	Tokens   float64 `json:"adjusted_tokens"`
}

// nodeStatus is one node and what its /jsonstats says.
type nodeStatus struct {
	Role  string `json:"role"`
	Name  string `json:"name"`
	HTTP  string `json:"http"`
	OK    bool   `json:"ok"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`
	// KeysKept is how its secrets lie on disk; empty if none does.
	KeysKept string `json:"keys_kept,omitempty"`
	// Chain is how it sees the chain; nil without one.
	Chain *contract.View  `json:"chain,omitempty"`
	Stats json.RawMessage `json:"stats,omitempty"`

	figures figures
	info    devnet.NodeInfo
}

func statusVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "how a running node, or every node of a devnet, is doing", Args: cobra.NoArgs,
		Long: "Without --data it asks the node at --url, which may be a client, a proxy or a worker. It shows what each node does, to\n" +
			"which peers it is connected and what they have proven, and the contracts of its accounts.",
		Example: "  cocoon status\n  cocoon status --url http://127.0.0.1:11000\n  cocoon status --data ./net --json",
	}
	data := cmd.Flags().String("data", "", "look at all nodes of the devnet of this `directory`")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	connect := apiFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := connect()
		if err != nil {
			return err
		}
		if *data != "" && cmd.Flags().Changed("url") {
			return usageError{fmt.Errorf("url and data exclude each other")}
		}
		report, err := newStatus(a, *data)
		if err != nil {
			return err
		}
		if err := report.ask(cmd.Context(), a, *data); err != nil {
			return err
		}
		if *asJSON {
			return writeJSON(cmd.OutOrStdout(), report)
		}
		return report.write(cmd.OutOrStdout())
	}
	return cmd
}

// newStatus names the nodes to ask: those of the devnet in dir, or one.
func newStatus(a *api, dir string) (*statusReport, error) {
	r := &statusReport{BaseURL: a.base, Chain: "unknown", Roles: map[string]*roleStatus{}, Peers: []peerStatus{}, Contracts: []contractStatus{}}
	if dir == "" {
		r.Nodes = []*nodeStatus{{HTTP: a.base}}
		return r, nil
	}
	info, err := devnet.ReadInfo(dir)
	if err != nil {
		return nil, err
	}
	r.BaseURL, r.Model, r.FullModel, r.Attestation = info.BaseURL, info.Model, info.FullModel, info.Attestation
	r.Engine, r.Processes, r.devnet = &info.Engine, info.Processes, info
	for _, n := range info.Nodes {
		if n.HTTP != "" { // a chain has no pages
			r.Nodes = append(r.Nodes, &nodeStatus{Role: n.Role, Name: n.Name, HTTP: n.HTTP, info: n})
		}
	}
	return r, nil
}

// ask asks all nodes at once and puts the answers together. The API key goes
// to the address it was given for alone.
func (r *statusReport) ask(ctx context.Context, a *api, dir string) error {
	errs := make([]error, len(r.Nodes))
	var wg sync.WaitGroup
	for i, n := range r.Nodes {
		wg.Go(func() {
			at := api{base: n.HTTP}
			if n.HTTP == a.base {
				at.key = a.key
			}
			errs[i] = n.ask(ctx, &at)
		})
	}
	wg.Wait()
	answers := 0
	for _, err := range errs {
		if err == nil {
			answers++
		}
	}
	switch {
	case answers == 0 && dir == "":
		return errs[0]
	case answers == 0:
		return fmt.Errorf("no node of the devnet in %s answers; it has died: start it again with `cocoon devnet --data %s`", dir, dir)
	}
	r.sum()
	r.restarts()
	if r.devnet == nil {
		return nil
	}
	err := r.readChain(ctx, r.devnet)
	if errors.Is(err, ton.ErrUnreachable) || errors.Is(err, ton.ErrStale) {
		r.Chain, r.chainAway = "away", err
		return nil
	}
	return err
}

// restarts tells of processes that died and came back.
func (r *statusReport) restarts() {
	for _, p := range r.Processes {
		for _, n := range r.Nodes {
			if n.Name == p.Name && p.Restarts > 0 {
				n.State += fmt.Sprintf(" (restarted %d×)", p.Restarts)
			}
		}
	}
}

func (n *nodeStatus) ask(ctx context.Context, at *api) error {
	err := at.get(ctx, "/jsonstats", &n.Stats)
	if err == nil {
		err = json.Unmarshal(n.Stats, &n.figures)
	}
	if err == nil && n.Role == "" {
		n.Role, err = n.figures.role(at.base)
		n.Name = n.Role
	}
	if err != nil {
		n.State, n.Error, n.Stats = "down", err.Error(), nil
		return err
	}
	n.Chain = n.figures.Chain
	n.OK, n.State = true, n.figures.state(n.Role)
	n.KeysKept = n.figures.Localconf.Kept + n.figures.Localconfig.Kept // one is empty
	return nil
}

// sum fills what is told of all nodes together.
func (r *statusReport) sum() {
	for _, n := range r.Nodes {
		if len(r.Nodes) == 1 && n.Role == devnet.RoleClient {
			r.BaseURL = n.HTTP + "/v1"
		}
		role := r.Roles[n.Role]
		if role == nil {
			role = &roleStatus{}
			r.Roles[n.Role] = role
		}
		role.Nodes++
		if n.OK {
			role.Answer++
		}
		role.Requests += n.figures.Stats.Queries[0]
		role.Failed += n.figures.Stats.Failed[0]
		role.Running += n.figures.running()
		role.Tokens += n.figures.tokens()
		r.Peers = append(r.Peers, r.peersOf(n)...)
	}
	r.Contracts = r.contracts()
}
