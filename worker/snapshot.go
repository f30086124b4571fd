package worker

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/stats"
)

// Snapshot is the worker at one moment: the network's /jsonstats with what it
// leaves out (active requests, limits, the engine's health). Money and tokens
// are whole numbers; addresses are texts.
type Snapshot struct {
	Status  Status         `json:"status"`
	Stats   Stats          `json:"stats"`
	Local   Local          `json:"localconfig"`
	Root    *contract.Root `json:"root_contract_config"`
	Engine  Engine         `json:"engine"`
	Proxies []ProxyStatus  `json:"proxies"`
	// Chain is how the chain is seen; nil without one.
	Chain *contract.View `json:"chain,omitempty"`
	// Settlement is the money, if somebody keeps it.
	Settlement any `json:"settlement,omitempty"`
}

// Status says whether the worker serves.
type Status struct {
	Enabled     bool     `json:"enabled"`
	NotBecause  []string `json:"not_enabled_because"` // empty if enabled
	ActualModel bool     `json:"actual_model"`        // false if the registry should list the model and does not
	Active      int      `json:"active_requests"`
	MaxActive   int      `json:"max_active_requests"`
}

// Stats are counters: total and rates, as [stats.Values].
type Stats struct {
	Queries    stats.Values `json:"queries"`
	Success    stats.Values `json:"success"`
	Failed     stats.Values `json:"failed"`
	Received   stats.Values `json:"bytes_received"`
	Sent       stats.Values `json:"bytes_sent"`
	Time       stats.Values `json:"time"` // seconds
	Total      stats.Values `json:"total_adjusted_tokens_used"`
	Prompt     stats.Values `json:"prompt_adjusted_tokens_used"`
	Cached     stats.Values `json:"cached_adjusted_tokens_used"`
	Completion stats.Values `json:"completion_adjusted_tokens_used"`
	Reasoning  stats.Values `json:"reasoning_adjusted_tokens_used"`
	// Estimated counts answers whose engine told no usage, Odd those whose
	// usage cannot be right, Cut those that broke off in the middle.
	Estimated stats.Values `json:"estimated_answers"`
	Odd       stats.Values `json:"odd_usage_answers"`
	Cut       stats.Values `json:"cut_answers"`
}

// Local is the configuration in force.
type Local struct {
	RootAddress  string `json:"root_address"`
	OwnerAddress string `json:"owner_address"`
	Model        string `json:"model"`
	Coefficient  int32  `json:"coefficient"`
	Auto         bool   `json:"price_follows_demand"`
	CheckImages  bool   `json:"check_image_hashes"`
	Connections  int    `json:"proxy_connections"`
	// KeysKept is how the secrets of this node lie on disk, for people.
	KeysKept string `json:"keys_kept,omitempty"`
}

// Engine is what answers here.
type Engine struct {
	URL     string `json:"url"`
	Healthy bool   `json:"healthy"`
	Error   string `json:"error,omitempty"` // of the last probe
	// Context in tokens, Capabilities and Region are what proxies are told; empty is unknown.
	Context      int      `json:"context_length,omitempty"`
	Capabilities []string `json:"capabilities,omitempty"`
	Region       string   `json:"region,omitempty"`
}

// ProxyStatus is a proxy the worker works for, or tries to.
type ProxyStatus struct {
	Address       string `json:"address"`
	Connected     bool   `json:"connected"`
	Error         string `json:"error,omitempty"` // why the last connection or attempt ended
	ProxyContract string `json:"proxy_sc_address,omitempty"`
	ProxyKey      string `json:"proxy_public_key,omitempty"` // upper-case hex
	Contract      string `json:"sc_address,omitempty"`
	Level         string `json:"attestation_level,omitempty"`
	// Verdict is how the proxy was judged.
	Verdict         *attest.Verdict `json:"verdict,omitempty"`
	ProtocolVersion int32           `json:"protocol_version"`
	Signed          int64           `json:"earned_tokens_committed_to_blockchain"`
	Stored          int64           `json:"earned_tokens_committed_to_proxy_db"`
	Counted         int64           `json:"earned_tokens_max_known"`
	Running         int             `json:"running_request"`
	// Since is the connection's age in seconds.
	Since float64 `json:"connected_seconds"`
	// Owes says why the proxy gets no more work.
	Owes string `json:"owes,omitempty"`
	// Why is what the proxy said about the work it gives or does not, nil if it
	// does not tell.
	Why *Reasons `json:"why,omitempty"`
}

// Snapshot looks at the worker now.
func (w *Worker) Snapshot() Snapshot {
	var money any
	if w.cfg.Settlement != nil {
		money = w.cfg.Settlement()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Snapshot{
		Status: Status{Enabled: w.idle == 0, NotBecause: w.idle.names(), ActualModel: w.idle&modelUnlisted == 0,
			Active: w.slots.active(), MaxActive: w.cfg.MaxActive},
		Stats: w.stats.values(),
		Local: Local{RootAddress: w.cfg.RootAddress.String(), OwnerAddress: ownerText(w.cfg.OwnerAddress), Model: w.cfg.Model,
			Coefficient: w.coefficient, Auto: w.demand != nil, CheckImages: w.cfg.CheckImages, Connections: w.cfg.Connections, KeysKept: w.cfg.KeysKept},
		Root: w.cfg.Registry.Root(),
		Engine: Engine{URL: redacted(w.engine), Healthy: w.engineErr == nil && w.idle&engineDown == 0,
			Context: w.facts.Context, Capabilities: w.facts.Can.Names(), Region: w.facts.Region},
		Proxies: []ProxyStatus{}, Chain: contract.ViewOf(w.cfg.Registry), Settlement: money,
	}
	if w.engineErr != nil {
		s.Engine.Error = w.engineErr.Error()
	}
	for _, t := range w.targets {
		s.Proxies = append(s.Proxies, t.status())
	}
	slices.SortFunc(s.Proxies, func(a, b ProxyStatus) int { return strings.Compare(a.Address, b.Address) })
	return s
}

// redacted hides a password in the engine's address.
func redacted(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return u.Redacted()
}

func (c *counters) values() Stats {
	return Stats{
		Queries: c.queries.Values(), Success: c.success.Values(), Failed: c.failed.Values(),
		Received: c.received.Values(), Sent: c.sent.Values(), Time: c.time.Values(),
		Total: c.total.Values(), Prompt: c.prompt.Values(), Cached: c.cached.Values(),
		Completion: c.completion.Values(), Reasoning: c.reasoning.Values(),
		Estimated: c.estimated.Values(), Odd: c.odd.Values(), Cut: c.cut.Values(),
	}
}

// status is called with Worker.mu held.
func (t *target) status() ProxyStatus {
	p := ProxyStatus{Address: t.address}
	if text, ok := t.lastErr.Load().(string); ok {
		p.Error = text
	}
	c := t.dialer.Conn()
	if c == nil {
		return p
	}
	s := c.Data.(*session)
	have := s.account.balance()
	p.Connected, p.Error, p.ProtocolVersion = true, "", s.version
	p.ProxyContract, p.Contract = s.account.proxy.String(), s.account.contract.String()
	p.ProxyKey = fmt.Sprintf("%X", []byte(s.account.key))
	if p.Verdict = s.verdict(); p.Verdict != nil {
		p.Level = p.Verdict.Level.String()
	}
	p.Signed, p.Stored, p.Counted = have.signed, have.db, have.most
	s.mu.Lock()
	p.Running, p.Why = len(s.jobs), s.why
	if s.owes != nil {
		p.Owes = s.owes.Error()
	}
	s.mu.Unlock()
	p.Since = time.Since(s.born).Seconds()
	return p
}
