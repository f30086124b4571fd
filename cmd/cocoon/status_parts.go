package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/devnet"
)

// figures are the parts of the roles' /jsonstats that a report is made of; a
// counter's first number is its total, the fourth the rate over a minute.
type figures struct {
	Status struct {
		Enabled    bool
		NotBecause []string `json:"not_enabled_because"`
		Active     int      `json:"active_requests"`
		Running    int      `json:"running_queries"`
		// Of a key manager: how many keys apps can encrypt for, and what is wrong.
		Usable  *int `json:"usable_keys"`
		Trouble string
	}
	Stats struct {
		Queries, Failed [7]float64
		// Proxies and workers count in total, a client by class.
		Total      [7]float64 `json:"total_adjusted_tokens_used"`
		Prompt     [7]float64 `json:"prompt_tokens_used"`
		Cached     [7]float64 `json:"cached_tokens_used"`
		Completion [7]float64 `json:"completion_tokens_used"`
		Reasoning  [7]float64 `json:"reasoning_tokens_used"`
	}
	Running int `json:"running_queries"`
	Root    struct {
		PricePerToken     int64 `json:"price_per_token"`
		WorkerFeePerToken int64 `json:"worker_fee_per_token"`
	} `json:"root_contract_config"`
	Localconf, Localconfig struct {
		Root string `json:"root_address"`
		Kept string `json:"keys_kept"`
	}
	Contract struct{ Address string } `json:"smartcontract"`
	// Money is there if a proxy settles on a chain; Old are its contracts of
	// earlier generations.
	Money json.RawMessage `json:"settlement"`
	Old   []struct {
		Contract string `json:"sc_address"`
	} `json:"old_instances"`

	// Chain is how the node sees the chain.
	Chain *contract.View

	// A client's connections, and a worker's.
	ProxyConnections []connection `json:"proxy_connections"`
	Proxies          []connection
	// A proxy's connections and accounts.
	WorkerConnections []struct {
		Owner    string `json:"owner_address"`
		Image    string `json:"worker_hash"`
		Level    string `json:"verdict"`
		Remote   string
		Enabled  bool
		Insecure bool
	} `json:"worker_connections"`
	Clients, Workers []account
}

// connection is one to a proxy, as a client or a worker tells of it.
type connection struct {
	Address   string
	Ready     bool `json:"is_ready"`
	Connected bool
	Phase     string
	Error     string
	Verdict   struct {
		Verdict, Level string
		Insecure       bool
		Measurements   struct {
			Image string `json:"image_hash"`
		}
	}
	ProxyContract string `json:"proxy_sc_address"`
	// Contract is this node's own at that proxy.
	Contract string `json:"sc_address"`
}

// account is one of a proxy's.
type account struct {
	Owner           string `json:"owner_address"`
	Contract        string `json:"sc_address"`
	ToCharge        int64  `json:"tokens_to_charge"`
	Available       int64  `json:"available_tokens"`
	Unpaid          int64  `json:"unpayed_tokens"`
	Used            int64  `json:"used_tokens"`
	Earned          int64  `json:"earned_tokens"`
	Closing, Closed bool
}

// role says whose figures these are.
func (f *figures) role(base string) (string, error) {
	switch {
	case f.Contract.Address != "":
		return devnet.RoleProxy, nil
	case f.Localconf.Root != "":
		return devnet.RoleClient, nil
	case f.Localconfig.Root != "":
		return devnet.RoleWorker, nil
	case f.Status.Usable != nil:
		return devnet.RoleKeys, nil
	}
	return "", fmt.Errorf("%s/jsonstats is not that of a client, proxy, worker or key manager", base)
}

func (f *figures) running() int { return f.Running + f.Status.Active + f.Status.Running }

func (f *figures) tokens() float64 {
	s := &f.Stats
	return s.Total[0] + s.Prompt[0] + s.Cached[0] + s.Completion[0] + s.Reasoning[0]
}

// state says in a few words whether a node can do its work.
func (f *figures) state(role string) string {
	if role == devnet.RoleKeys {
		return f.keysState()
	}
	count, what := 0, "proxies ready"
	switch role {
	case devnet.RoleProxy:
		what = "workers ready"
		for _, c := range f.WorkerConnections {
			if c.Enabled {
				count++
			}
		}
	default:
		for _, c := range slices.Concat(f.ProxyConnections, f.Proxies) {
			if c.Ready || c.Connected {
				count++
			}
		}
		if role == devnet.RoleWorker {
			what = "proxies connected"
		}
	}
	if count == 1 {
		what = strings.NewReplacer("proxies", "proxy", "workers", "worker").Replace(what)
	}
	state := fmt.Sprintf("%d %s", count, what)
	if role != devnet.RoleClient && !f.Status.Enabled {
		state = "not serving"
		if len(f.Status.NotBecause) > 0 {
			state += ": " + strings.Join(f.Status.NotBecause, ", ")
		}
	}
	return state
}

func (f *figures) keysState() string {
	switch usable := f.Status.Usable; {
	case f.Status.Trouble != "":
		return "trouble: see its page"
	case usable == nil || *usable == 0:
		return "no key is registered"
	case *usable == 1:
		return "1 key registered"
	default:
		return fmt.Sprintf("%d keys registered", *usable)
	}
}

// peerStatus is a connection of a node, and what is known about its other end.
type peerStatus struct {
	Node    string `json:"node"`
	Role    string `json:"peer_role"`
	Peer    string `json:"peer,omitempty"` // its name, where it has one
	Address string `json:"address"`
	State   string `json:"state"`
	// Verdict is trusted, refused, or none: not connected, so not judged.
	Verdict  string `json:"verdict"`
	Level    string `json:"level,omitempty"`
	Insecure bool   `json:"insecure"`
	Image    string `json:"image_hash,omitempty"`
	Error    string `json:"error,omitempty"`
}

// peersOf lists the connections that a node told of. Clients are not among a
// proxy's: they need not prove who they are.
func (r *statusReport) peersOf(n *nodeStatus) (peers []peerStatus) {
	for _, c := range slices.Concat(n.figures.ProxyConnections, n.figures.Proxies) {
		if c.Address == "" {
			continue // a client's account
		}
		p := peerStatus{
			Node: n.Name, Role: devnet.RoleProxy, Peer: r.named(func(i *devnet.NodeInfo) bool { return c.Address == i.Clients || c.Address == i.Workers }),
			Address: c.Address, State: "connected", Error: c.Error,
			Verdict: c.Verdict.Verdict, Level: c.Verdict.Level, Insecure: c.Verdict.Insecure, Image: c.Verdict.Measurements.Image,
		}
		if !c.Ready && !c.Connected {
			p.State, p.Verdict = "not connected", "none"
		}
		if strings.Contains(c.Error, "evidence refused") {
			p.Verdict = "refused"
		}
		peers = append(peers, p)
	}
	for _, c := range n.figures.WorkerConnections {
		state := "serving"
		if !c.Enabled {
			state = "not serving"
		}
		peers = append(peers, peerStatus{
			Node: n.Name, Role: devnet.RoleWorker, Peer: r.owned(c.Owner), Address: c.Remote, State: state,
			Verdict: "trusted", Level: c.Level, Insecure: c.Insecure, Image: strings.ToLower(c.Image),
		})
	}
	return peers
}

// contractStatus is a contract of the network. Amounts are empty where they
// have no meaning.
type contractStatus struct {
	Role    string `json:"role"`
	Name    string `json:"name"`
	At      string `json:"at,omitempty"` // the proxy that keeps the account
	Address string `json:"address"`
	// State is that of the proxy's ledger: open, closing or closed; "no chain"
	// for contracts that only a chain gives one.
	State     string `json:"state"`
	Unsettled string `json:"charged_unsettled,omitempty"`
	Available string `json:"available,omitempty"`
	Unpaid    string `json:"earned_unpaid,omitempty"`

	// OnChain is what the chain says of the contract's state. The others are
	// there where they have a meaning: a client's balance and the tokens it was
	// charged for, the tokens a worker was paid for, a proxy's pool and income.
	OnChain  string     `json:"on_chain,omitempty"`
	Balance  *coin.Nano `json:"balance,omitempty"`
	Charged  *uint64    `json:"tokens_charged,omitempty"`
	Paid     *uint64    `json:"tokens_paid,omitempty"`
	Deposits *coin.Nano `json:"deposits,omitempty"`
	Income   *coin.Nano `json:"income,omitempty"`
}

const noChain = "no chain"

func (r *statusReport) contracts() []contractStatus {
	list := []contractStatus{}
	for _, n := range r.Nodes {
		f := &n.figures
		root := f.Localconf.Root + f.Localconfig.Root
		if root != "" && len(list) == 0 {
			list = append(list, contractStatus{Role: "root", Name: "root", Address: root, State: noChain})
		}
		if f.Contract.Address == "" {
			if len(r.Nodes) == 1 { // no proxy is here to tell more
				list = append(list, n.contracts()...)
			}
			continue
		}
		list = append(list, contractStatus{Role: devnet.RoleProxy, Name: n.Name, Address: f.Contract.Address, State: noChain})
		for _, a := range f.Clients {
			list = append(list, contractStatus{
				Role: devnet.RoleClient, Name: r.nameOf(a.Owner, devnet.RoleClient), At: n.Name, Address: a.Contract, State: a.state(),
				Unsettled: nano(a.ToCharge, f.Root.PricePerToken), Available: nano(a.Available, f.Root.PricePerToken),
			})
		}
		for _, a := range f.Workers {
			list = append(list, contractStatus{
				Role: devnet.RoleWorker, Name: r.nameOf(a.Owner, devnet.RoleWorker), At: n.Name, Address: a.Contract, State: a.state(),
				Unpaid: nano(a.Unpaid, f.Root.WorkerFeePerToken),
			})
		}
	}
	return list
}

// contracts are those that a client or a worker knows by itself. A client
// lists its accounts apart from its connections.
func (n *nodeStatus) contracts() (list []contractStatus) {
	for _, c := range slices.Concat(n.figures.ProxyConnections, n.figures.Proxies) {
		if c.ProxyContract != "" {
			list = append(list, contractStatus{Role: devnet.RoleProxy, Name: "proxy at " + c.Address, Address: c.ProxyContract, State: noChain})
		}
		if c.Contract != "" {
			list = append(list, contractStatus{Role: n.Role, Name: n.Role, Address: c.Contract, State: noChain})
		}
	}
	return list
}

func (a *account) state() string {
	switch {
	case a.Closed:
		return "closed"
	case a.Closing:
		return "closing"
	}
	return "open"
}

func nano(tokens, price int64) string { return strconv.FormatInt(tokens*price, 10) }

// named finds a node's name; empty if none fits.
func (r *statusReport) named(fits func(*devnet.NodeInfo) bool) string {
	for _, n := range r.Nodes {
		if fits(&n.info) {
			return n.Name
		}
	}
	return ""
}

// owned names the node that a wallet owns, or whose own it is. One wallet is
// written in several ways: with and without a mark for test networks.
func (r *statusReport) owned(wallet string) string {
	a, err := contract.ParseAddress(wallet)
	if err != nil {
		return ""
	}
	same := func(text string) bool {
		b, err := contract.ParseAddress(text)
		return err == nil && a.StringRaw() == b.StringRaw()
	}
	return r.named(func(i *devnet.NodeInfo) bool { return same(i.Owner) || same(i.Wallet) })
}

func (r *statusReport) nameOf(wallet, otherwise string) string {
	if name := r.owned(wallet); name != "" {
		return name
	}
	return otherwise
}
