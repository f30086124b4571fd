package client

import (
	"cmp"
	"encoding/hex"
	"net/http"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/stats"
)

// Snapshot describes the client now.
func (c *Client) Snapshot() Snapshot {
	root, n := c.cfg.Registry.Root(), c.counts
	_, keyless := c.networkKey()
	s := Snapshot{
		Status: StatusInfo{Enabled: !c.closed.Load(), Running: c.active.Load(), MemoryUsed: c.memory.used.Load(), MemoryLimit: c.memory.limit},
		Stats: StatsInfo{
			Queries: n.queries.Values(), Success: n.success.Values(), Failed: n.failed.Values(), Cancelled: n.cancelled.Values(),
			Retried: n.retried.Values(), Resumed: n.resumed.Values(), LateParts: n.late.Values(), Inflated: n.inflated.Values(), BytesReceived: n.bytesReceived.Values(), BytesSent: n.bytesSent.Values(),
			Time: n.time.Values(), ProxyTime: n.proxyTime.Values(), WorkerTime: n.workerTime.Values(),
			PromptTokens: n.tokens[0].Values(), CachedTokens: n.tokens[1].Values(),
			CompletionTokens: n.tokens[2].Values(), ReasoningTokens: n.tokens[3].Values(),
		},
		Chain: contract.ViewOf(c.cfg.Registry),
		Local: LocalInfo{RootAddress: c.root.String(), OwnerAddress: c.wallet.String(), CheckImages: c.cfg.CheckImages || !root.IsTest, Encryption: c.cfg.Encryption, KeysKept: c.cfg.KeysKept},
		Root: RootInfo{
			Version: root.Version, ParamsVersion: root.ParamsVersion, StructVersion: root.StructVersion, IsTest: root.IsTest,
			PricePerToken: uint64(root.PricePerToken), WorkerFeePerToken: uint64(root.WorkerFeePerToken), Proxies: len(root.Proxies), CanEncrypt: keyless == nil,
		},
		Connections: []ConnectionInfo{}, Accounts: []AccountInfo{}, Spending: c.spending(),
	}
	if c.cfg.Settlement != nil {
		s.Settlement = c.cfg.Settlement()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Status.Ready = len(c.ready)
	for _, t := range c.targets {
		s.Connections = append(s.Connections, t.info())
	}
	for _, a := range c.accounts {
		s.Accounts = append(s.Accounts, a.info())
	}
	slices.SortFunc(s.Connections, func(a, b ConnectionInfo) int { return cmp.Compare(a.Address, b.Address) })
	slices.SortFunc(s.Accounts, func(a, b AccountInfo) int { return cmp.Compare(a.Contract, b.Contract) })
	return s
}

// info describes a target. The caller holds Client.mu.
func (t *target) info() ConnectionInfo {
	info := ConnectionInfo{Address: t.addr, Ready: t.link != nil, Phase: t.phase.String()}
	if t.lastErr != nil {
		info.Error = t.lastErr.Error()
	}
	if l := t.link; l != nil {
		info.Contract, info.Version, info.CanCancel = l.proxy.String(), l.version, l.canCancel
		info.Running, info.Attestation, info.Verdict = l.outstanding.Load(), l.level(), l.peer.Judged()
		info.Since = l.upSince.Unix()
	}
	return info
}

func (a *account) info() AccountInfo {
	a.mu.Lock()
	defer a.mu.Unlock()
	return AccountInfo{Contract: a.contract.String(), PublicKey: hex.EncodeToString(a.key), Signed: a.signed, Stored: a.db, Counted: a.max, Fell: a.fell,
		Own: a.tally.Count(a.name)}
}

// adminHandler serves the pages about the client itself.
func (c *Client) adminHandler() http.Handler {
	return stats.Handler(stats.Config{
		Page:    c.page,
		JSON:    func() any { return c.Snapshot() },
		Metrics: stats.NewRegistry(c.metrics),
		Token:   c.cfg.ControlToken,
		Actions: c.cfg.Actions,
	})
}

func (c *Client) page() *stats.Page {
	s := c.Snapshot()
	state := stats.Badge{Level: stats.OK, Text: "serving"}
	if s.Status.Ready == 0 {
		state = stats.Badge{Level: stats.Bad, Text: "no proxy is connected"}
	} else if s.Chain.Away() {
		state = stats.Badge{Level: stats.Warn, Text: s.Chain.Text()}
	}
	connections := stats.Table{Title: "Proxies", Empty: "the registry lists no proxy",
		Columns: []string{"address", "state", "attestation", "protocol", "running", "connected", "reason"}}
	for _, p := range s.Connections {
		badge := stats.Badge{Level: stats.Warn, Text: p.Phase}
		since, proof := any(""), stats.Badge{Level: stats.OK, Text: p.Attestation}
		if p.Verdict == nil || p.Verdict.Insecure {
			proof.Level = stats.Bad
		}
		if p.Ready {
			badge, since = stats.Badge{Level: stats.OK, Text: "ready"}, time.Unix(p.Since, 0)
		}
		connections.Rows = append(connections.Rows, []any{p.Address, badge, proof, p.Version, p.Running, since, p.Error})
	}
	accounts := stats.Table{Title: "Accounts (adjusted tokens)", Empty: "none yet",
		Columns: []string{"client contract", "own count", "in doubt", "proxy's count", "stored", "signed"}}
	for _, a := range s.Accounts {
		accounts.Rows = append(accounts.Rows, []any{a.Contract, a.Own.Used, a.Own.Doubt, a.Counted, a.Stored, a.Signed})
	}
	return &stats.Page{
		Title: "cocoon client", State: state,
		Facts: []stats.Fact{
			{Name: "wallet", Value: s.Local.OwnerAddress}, {Name: "registry", Value: s.Local.RootAddress}, {Name: "registry version", Value: s.Root.Version},
			{Name: "price per token, nanoTON", Value: s.Root.PricePerToken}, {Name: "proxy images checked", Value: s.Local.CheckImages}, {Name: "running", Value: s.Status.Running},
		},
		Tables: []stats.Table{connections, accounts, stats.Rates("Requests",
			stats.RateRow{Name: "queries", Values: s.Stats.Queries}, stats.RateRow{Name: "success", Values: s.Stats.Success},
			stats.RateRow{Name: "failed", Values: s.Stats.Failed}, stats.RateRow{Name: "cancelled", Values: s.Stats.Cancelled},
			stats.RateRow{Name: "sent to another proxy", Values: s.Stats.Retried}, stats.RateRow{Name: "streams resumed", Values: s.Stats.Resumed}, stats.RateRow{Name: "bytes received", Values: s.Stats.BytesReceived},
			stats.RateRow{Name: "bytes sent", Values: s.Stats.BytesSent}, stats.RateRow{Name: "seconds", Values: s.Stats.Time},
			stats.RateRow{Name: "prompt tokens, adjusted", Values: s.Stats.PromptTokens}, stats.RateRow{Name: "completion tokens, adjusted", Values: s.Stats.CompletionTokens},
		)},
	}
}

func (c *Client) metrics() []stats.Metric {
	n := c.counts
	outcome := func(name string, counter *stats.Counter) stats.Sample {
		return stats.Sample{Labels: []string{name}, Value: float64(counter.Total())}
	}
	ready, _ := c.readyLinks()
	var chain []stats.Metric
	if v := contract.ViewOf(c.cfg.Registry); v != nil {
		chain = stats.ChainMetrics("client", v.AwaySince, v.Seen, c.cfg.Now())
	}
	return append(chain, []stats.Metric{
		stats.CounterMetric("cocoon_client_queries_total", "Inference requests accepted.", float64(n.queries.Total())),
		{Name: "cocoon_client_answers_total", Help: "Inference requests by outcome.", Labels: []string{"outcome"},
			Samples: []stats.Sample{outcome("success", n.success), outcome("failed", n.failed), outcome("cancelled", n.cancelled)}},
		stats.CounterMetric("cocoon_client_retries_total", "Requests sent to another proxy.", float64(n.retried.Total())),
		stats.CounterMetric("cocoon_client_resumes_total", "Streams that another worker went on with.", float64(n.resumed.Total())),
		stats.CounterMetric("cocoon_client_late_parts_total", "Answer parts that nobody waited for any more.", float64(n.late.Total())),
		stats.CounterMetric("cocoon_client_inflated_reports_total", "Reports of usage beyond what the answer can cost.", float64(n.inflated.Total())),
		stats.CounterMetric("cocoon_client_received_bytes_total", "Request bodies.", float64(n.bytesReceived.Total())),
		stats.CounterMetric("cocoon_client_sent_bytes_total", "Answer bodies.", float64(n.bytesSent.Total())),
		stats.CounterMetric("cocoon_client_answer_seconds_total", "Time from request to the end of its answer, summed.", n.time.Total().Seconds()),
		{Name: "cocoon_client_adjusted_tokens_total", Help: "Adjusted tokens of finished answers, as proxies counted them.", Labels: []string{"class"},
			Samples: []stats.Sample{outcome("prompt", n.tokens[0]), outcome("cached", n.tokens[1]), outcome("completion", n.tokens[2]), outcome("reasoning", n.tokens[3])}},
		stats.GaugeMetric("cocoon_client_running_queries", "Requests being answered.", float64(c.active.Load())),
		stats.GaugeMetric("cocoon_client_ready_proxies", "Proxies connected and authorised.", float64(len(ready))),
		stats.GaugeMetric("cocoon_client_held_bytes", "Memory held for requests and answers.", float64(c.memory.used.Load())),
	}...)
}
