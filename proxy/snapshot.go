package proxy

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/stats"
)

// Snapshot is the state of the proxy, as /jsonstats has it: the names of
// roles.md section 4.11 and current.md section 7.8, then ours.
type Snapshot struct {
	Status     StatusInfo     `json:"status"`
	Stats      StatsInfo      `json:"stats"`
	Wallet     WalletInfo     `json:"wallet"`
	Local      LocalInfo      `json:"localconfig"`
	Contract   ContractInfo   `json:"smartcontract"`
	Old        []OldInstance  `json:"old_instances"`
	Root       *contract.Root `json:"root_contract_config"`
	Workers    []WorkerInfo   `json:"workers"`
	Connected  []WorkerConn   `json:"worker_connections"`
	Clients    []ClientInfo   `json:"clients"`
	Models     []ModelInfo    `json:"models"`
	Running    int            `json:"running_queries"`
	Waiting    int            `json:"waiting_queries"`
	HeldBytes  int64          `json:"held_bytes"`
	WireBytes  int            `json:"wire_bytes"`
	ClientConn int            `json:"client_connections"`
	// Chain is how the chain is seen, Money how money moves on it; nil without one.
	Chain *contract.View `json:"chain,omitempty"`
	Money *Settlement    `json:"settlement,omitempty"`
}

// StatusInfo says whether the proxy works.
type StatusInfo struct {
	WalletBalance   int64  `json:"wallet_balance"`
	SyncedAt        int64  `json:"ton_last_synced_at"`
	Enabled         bool   `json:"enabled"`
	ActualImageHash bool   `json:"actual_image_hash"`
	Closing         string `json:"closing,omitempty"`
}

// StatsInfo are the counters, each [total, 1s, 10s, 1m, 10m, 1h, 1d].
type StatsInfo struct {
	Queries  stats.Values `json:"queries"`
	Success  stats.Values `json:"success"`
	Failed   stats.Values `json:"failed"`
	Rejected stats.Values `json:"rejected"`
	Retried  stats.Values `json:"retried"`
	// Hedged counts second workers that were asked because the first was late.
	Hedged     stats.Values `json:"hedged"`
	BytesIn    stats.Values `json:"bytes_received"`
	BytesOut   stats.Values `json:"bytes_sent"`
	Time       stats.Values `json:"time"`
	WorkerTime stats.Values `json:"worker_time"`
	Total      stats.Values `json:"total_adjusted_tokens_used"`
	Prompt     stats.Values `json:"prompt_adjusted_tokens_used"`
	Cached     stats.Values `json:"cached_adjusted_tokens_used"`
	Completion stats.Values `json:"completion_adjusted_tokens_used"`
	Reasoning  stats.Values `json:"reasoning_adjusted_tokens_used"`
}

// WalletInfo is the node wallet. Its balance is -2 while it is not known; without a chain there is none.
type WalletInfo struct {
	Address string `json:"address"`
	Balance int64  `json:"balance"`
	Seqno   uint32 `json:"seqno"`
	Pending int    `json:"pending_transactions_cnt"`
	Active  int    `json:"active_transactions_cnt"`
	// Needs is how much must be sent there before it can send; Trouble is why it does not.
	Needs   int64  `json:"needs,omitempty"`
	Trouble string `json:"trouble,omitempty"`
}

// LocalInfo is the configuration that peers depend on.
type LocalInfo struct {
	RootAddress  string `json:"root_address"`
	OwnerAddress string `json:"owner_address"`
	CheckImages  bool   `json:"check_image_hashes"`
	PublicKey    string `json:"public_key"`
	// Keys is how many keys encrypted requests may use now.
	Keys int `json:"encryption_keys"`
	// KeysKept is how the secrets of this node lie on disk, for people.
	KeysKept string `json:"keys_kept,omitempty"`
}

// ContractInfo is the proxy's contract.
type ContractInfo struct {
	Address          string `json:"address"`
	ParamsVersion    uint32 `json:"params_version"`
	Balance          int64  `json:"balance"`
	ReadyForWithdraw int64  `json:"ready_for_withdraw"`
	Deposits         int64  `json:"deposits"`
}

// WorkerInfo is the account of a worker's owner.
type WorkerInfo struct {
	OwnerAddress string `json:"owner_address"`
	Contract     string `json:"sc_address"`
	Earned       int64  `json:"earned_tokens"`
	Unpaid       int64  `json:"unpayed_tokens"`
	PayingNow    bool   `json:"paying_now"`
	Running      int    `json:"running_queries"`
}

// WorkerConn is one connection of a worker. The rates are per second over ten minutes.
type WorkerConn struct {
	OwnerAddress string  `json:"owner_address"`
	Model        string  `json:"model"`
	Hash         string  `json:"worker_hash"`
	Coefficient  uint32  `json:"coefficient"`
	Running      int     `json:"running_queries"`
	Limit        int     `json:"max_active_requests"`
	Queries      float64 `json:"queries_10m"`
	Time         float64 `json:"queries_time_10m"`
	WorkerTime   float64 `json:"worker_queries_time_10m"`
	Success      float64 `json:"queries_success_10m"`
	Enabled      bool    `json:"enabled"`
	Failures     int     `json:"failures_in_a_row"`
	Verdict      string  `json:"verdict"`
	Insecure     bool    `json:"insecure"`
	Remote       string  `json:"remote"`
	Version      int32   `json:"proto_version"`
	Description  string  `json:"machine_description"`
}

// ClientInfo is the account of a client's wallet.
type ClientInfo struct {
	OwnerAddress string `json:"owner_address"`
	Contract     string `json:"sc_address"`
	Used         int64  `json:"used_tokens"`
	ToCharge     int64  `json:"tokens_to_charge"`
	Available    int64  `json:"available_tokens"`
	Reserved     int64  `json:"reserved_tokens"`
	Running      int    `json:"running_queries"`
	Closing      bool   `json:"closing"`
	Closed       bool   `json:"closed"`
}

// ModelInfo is what the market knows about a model.
type ModelInfo struct {
	Name    string `json:"name"`
	Workers int    `json:"workers"`
	Waiting int    `json:"waiting"`
}

// Snapshot describes this moment. It takes time in proportion to what there is
// to tell: every account's address is derived.
func (p *Proxy) Snapshot() Snapshot {
	s, running, paying := p.summary()
	t := p.terms.Load()
	clients, workers := p.book.Everyone()
	s.Workers, s.Clients = p.workerAccounts(t, workers, running, paying), p.clientAccounts(t, clients)
	return s
}

// summary is a snapshot without the accounts, with the running requests by
// worker's owner and the owners who are being paid.
func (p *Proxy) summary() (s Snapshot, running map[string]int, paying map[string]bool) {
	t := p.terms.Load()
	why, takes := p.takesWork()
	clients, workers := p.connections()
	money := p.settlement()
	s = Snapshot{
		Status:   StatusInfo{WalletBalance: money.Wallet.Balance, Enabled: takes, ActualImageHash: true, Closing: why},
		Stats:    p.stats.info(),
		Wallet:   money.Wallet,
		Local:    LocalInfo{p.text(p.root), p.cfg.OwnerAddress, t.check, hex.EncodeToString(p.public()), p.keyCount(), p.cfg.KeysKept},
		Contract: ContractInfo{p.text(t.proxy), t.ParamsVersion, int64(money.Account), int64(money.Ready), int64(money.Deposits)},
		Old:      append([]OldInstance{}, money.Old...),
		Root:     t.Root,
		Chain:    p.view(), HeldBytes: p.held.Load(), WireBytes: p.cfg.Wire.Budget.Used(), ClientConn: len(clients),
	}
	if p.cfg.Settler != nil {
		s.Money = &money
	}
	if !money.Synced.IsZero() {
		s.Status.SyncedAt = money.Synced.Unix()
	}
	running = map[string]int{}
	s.Connected = p.workerConns(workers, running)
	s.Models = []ModelInfo{}
	for _, m := range p.market.Models() {
		s.Models = append(s.Models, ModelInfo{m.Name, len(m.Offers), m.Waiting})
		s.Waiting += m.Waiting
	}
	p.mu.Lock()
	s.Running = p.running - s.Waiting
	p.mu.Unlock()
	return s, running, money.Paying
}

func (c *counters) info() StatsInfo {
	return StatsInfo{
		Queries: c.queries.Values(), Success: c.success.Values(), Failed: c.failed.Values(), Rejected: c.rejected.Values(), Retried: c.retried.Values(), Hedged: c.hedged.Values(),
		BytesIn: c.bytesIn.Values(), BytesOut: c.bytesOut.Values(), Time: c.time.Values(), WorkerTime: c.workerTime.Values(),
		Total: c.total.Values(), Prompt: c.prompt.Values(), Cached: c.cached.Values(), Completion: c.completion.Values(), Reasoning: c.reasoning.Values(),
	}
}

// workerConns lists those that are ready and adds their running requests by account.
func (p *Proxy) workerConns(workers []*worker, running map[string]int) []WorkerConn {
	const tenMinutes = 4 // in stats.Values
	list := []WorkerConn{}
	for _, w := range workers {
		if !w.ready.Load() {
			continue
		}
		o := p.market.Info(w.offer)
		running[w.account] += o.Running
		info := WorkerConn{
			OwnerAddress: w.text, Model: w.params.Model, Coefficient: o.Coefficient, Running: o.Running, Limit: o.Limit,
			Queries: w.stats.queries.Values()[tenMinutes], Time: w.stats.time.Values()[tenMinutes],
			WorkerTime: w.stats.workerTime.Values()[tenMinutes], Success: w.stats.success.Values()[tenMinutes],
			Enabled: o.Enabled, Failures: o.Failures, Remote: w.conn.RemoteAddr().String(), Version: w.version, Description: "{}",
			Hash: fmt.Sprintf("%X", imageHash(w.peer)), Verdict: "not attested", Insecure: true,
		}
		if w.params.MachineDescriptionJson != "" {
			info.Description = w.params.MachineDescriptionJson
		}
		if w.peer != nil && w.peer.Verdict != nil {
			v := w.peer.Judged()
			info.Verdict, info.Insecure = v.Level.String(), v.Insecure
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b WorkerConn) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Remote, b.Remote))
	})
	return list
}

func (p *Proxy) workerAccounts(t *terms, workers []ledger.Worker, running map[string]int, paying map[string]bool) []WorkerInfo {
	list := []WorkerInfo{}
	for _, w := range workers {
		info := WorkerInfo{Earned: w.Earned.Max, Unpaid: w.Earned.Max - w.Paid, Running: running[w.Owner], PayingNow: paying[w.Owner]}
		if owner, err := contract.ParseAddress(w.Owner); err == nil {
			info.OwnerAddress = p.text(owner)
			if a, err := t.WorkerAddress(owner, t.proxy, p.public()); err == nil {
				info.Contract = p.text(a)
			}
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b WorkerInfo) int { return cmp.Compare(a.OwnerAddress, b.OwnerAddress) })
	return list
}

func (p *Proxy) clientAccounts(t *terms, clients []ledger.Client) []ClientInfo {
	list := []ClientInfo{}
	for _, c := range clients {
		info := ClientInfo{Used: c.Used.Max, ToCharge: c.Used.Max - c.Charged, Available: c.Available(), Reserved: c.Reserved, Running: c.Running,
			Closing: c.State == ledger.Closing, Closed: c.State == ledger.Closed}
		if wallet, err := contract.ParseAddress(c.Wallet); err == nil {
			info.OwnerAddress = p.text(wallet)
			if a, err := t.ClientAddress(wallet, t.proxy, p.public()); err == nil {
				info.Contract = p.text(a)
			}
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b ClientInfo) int { return cmp.Compare(a.OwnerAddress, b.OwnerAddress) })
	return list
}
