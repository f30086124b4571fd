package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/stats"
)

// Handler serves /stats, /jsonstats, /metrics and, with the control token, the actions.
func (p *Proxy) Handler() http.Handler {
	return stats.Handler(stats.Config{
		Page: p.page, JSON: func() any { return p.Snapshot() }, Metrics: stats.NewRegistry(p.metrics),
		Token: p.cfg.ControlToken,
		Actions: append([]stats.Action{
			{Path: "/request/disable", Title: "take no new work; what runs goes on", Do: p.actDisable},
			{Path: "/request/enable", Title: "take work again", Do: p.actEnable},
			{Path: "/request/drain", Title: "take no new work and wait until nothing runs", Do: p.actDrain},
		}, p.moneyActions()...),
	})
}

// SetEnabled lets the proxy take new work, or stops it. Running requests and connections go on.
func (p *Proxy) SetEnabled(enabled bool) {
	if p.disabled.Swap(!enabled) == enabled {
		p.log.Info("control", "enabled", enabled)
	}
}

func (p *Proxy) actDisable(context.Context, url.Values) (string, error) {
	p.SetEnabled(false)
	return "disabled; " + p.runningText(), nil
}

func (p *Proxy) actEnable(context.Context, url.Values) (string, error) {
	p.SetEnabled(true)
	return "enabled", nil
}

// actDrain answers when nothing runs any more, or with what still does when the drain limit is over.
func (p *Proxy) actDrain(ctx context.Context, _ url.Values) (string, error) {
	p.SetEnabled(false)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.DrainLimit)
	defer cancel()
	idle := make(chan struct{})
	p.mu.Lock()
	if p.running == 0 {
		close(idle)
	} else {
		p.idle = append(p.idle, idle)
	}
	p.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	return "disabled; " + p.runningText(), nil
}

func (p *Proxy) runningText() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strconv.Itoa(p.running) + " requests run"
}

func (p *Proxy) page() *stats.Page {
	s := p.Snapshot()
	state := stats.Badge{Level: stats.OK, Text: "serving"}
	switch {
	case !s.Status.Enabled:
		state = stats.Badge{Level: stats.Warn, Text: s.Status.Closing}
	case s.Chain.Away():
		state = stats.Badge{Level: stats.Warn, Text: s.Chain.Text()}
	case len(s.Connected) == 0:
		state = stats.Badge{Level: stats.Warn, Text: "no workers"}
	}
	return &stats.Page{
		Title: "cocoon proxy", State: state,
		Facts: append([]stats.Fact{
			{Name: "contract", Value: s.Contract.Address}, {Name: "owner", Value: s.Local.OwnerAddress},
			{Name: "registry version", Value: s.Root.Version}, {Name: "price per token, nanoTON", Value: int64(s.Root.PricePerToken)},
			{Name: "worker fee per token, nanoTON", Value: int64(s.Root.WorkerFeePerToken)}, {Name: "images are checked", Value: s.Local.CheckImages},
			{Name: "running", Value: s.Running}, {Name: "waiting", Value: s.Waiting}, {Name: "client connections", Value: s.ClientConn},
			{Name: "encryption keys", Value: s.Local.Keys},
		}, moneyFacts(s)...),
		Tables: []stats.Table{
			stats.Rates("Requests",
				stats.RateRow{Name: "given to a worker", Values: s.Stats.Queries}, stats.RateRow{Name: "answered", Values: s.Stats.Success},
				stats.RateRow{Name: "failed", Values: s.Stats.Failed}, stats.RateRow{Name: "refused", Values: s.Stats.Rejected},
				stats.RateRow{Name: "moved to another worker", Values: s.Stats.Retried},
				stats.RateRow{Name: "given to a second one too", Values: s.Stats.Hedged},
				stats.RateRow{Name: "bytes in", Values: s.Stats.BytesIn}, stats.RateRow{Name: "bytes out", Values: s.Stats.BytesOut},
				stats.RateRow{Name: "adjusted tokens", Values: s.Stats.Total}),
			workerTable(s.Connected), accountTable(s),
		},
	}
}

func workerTable(conns []WorkerConn) stats.Table {
	t := stats.Table{Title: "Workers", Empty: "none connected",
		Columns: []string{"model", "owner", "from", "state", "price, thousandths", "running", "per s, 10 min", "proof"}}
	for _, w := range conns {
		state, proof := stats.Badge{Level: stats.OK, Text: "serving"}, stats.Badge{Level: stats.OK, Text: w.Verdict}
		if !w.Enabled {
			state = stats.Badge{Level: stats.Warn, Text: "disabled"}
		} else if w.Failures > 0 {
			state = stats.Badge{Level: stats.Bad, Text: strconv.Itoa(w.Failures) + " failures in a row"}
		}
		if w.Insecure {
			proof.Level = stats.Bad
		}
		t.Rows = append(t.Rows, []any{w.Model, w.OwnerAddress, w.Remote, state, w.Coefficient, fmt.Sprintf("%d of %d", w.Running, w.Limit), w.Queries, proof})
	}
	return t
}

func accountTable(s Snapshot) stats.Table {
	t := stats.Table{Title: "Accounts, adjusted tokens", Empty: "none yet", Columns: []string{"kind", "owner", "contract", "total", "open", "reserved", "available"}}
	for _, c := range s.Clients {
		t.Rows = append(t.Rows, []any{"client", c.OwnerAddress, c.Contract, c.Used, c.ToCharge, c.Reserved, c.Available})
	}
	for _, w := range s.Workers {
		t.Rows = append(t.Rows, []any{"worker", w.OwnerAddress, w.Contract, w.Earned, w.Unpaid, "", ""})
	}
	return t
}

// metrics are what Prometheus scrapes.
func (p *Proxy) metrics() []stats.Metric {
	s, _, _ := p.summary() // a scrape need not wait for a hundred thousand accounts
	seconds := func(d time.Duration) float64 { return d.Seconds() }
	requests := stats.Metric{Name: "cocoon_proxy_requests_total", Help: "Requests by how they ended.", Labels: []string{"result"}, Samples: []stats.Sample{
		{Labels: []string{"success"}, Value: float64(p.stats.success.Total())}, {Labels: []string{"failed"}, Value: float64(p.stats.failed.Total())},
		{Labels: []string{"rejected"}, Value: float64(p.stats.rejected.Total())}}}
	workers := stats.Metric{Name: "cocoon_proxy_workers", Help: "Worker connections by model.", Gauge: true, Labels: []string{"model"}}
	waiting := stats.Metric{Name: "cocoon_proxy_waiting_requests", Help: "Requests that wait for a worker, by model.", Gauge: true, Labels: []string{"model"}}
	for _, m := range s.Models {
		workers.Samples = append(workers.Samples, stats.Sample{Labels: []string{m.Name}, Value: float64(m.Workers)})
		waiting.Samples = append(waiting.Samples, stats.Sample{Labels: []string{m.Name}, Value: float64(m.Waiting)})
	}
	return append([]stats.Metric{
		requests, workers, waiting,
		stats.CounterMetric("cocoon_proxy_retries_total", "Requests moved to another worker.", float64(p.stats.retried.Total())),
		stats.CounterMetric("cocoon_proxy_hedges_total", "Second workers asked because the first answer was late.", float64(p.stats.hedged.Total())),
		stats.CounterMetric("cocoon_proxy_request_seconds_total", "Time from request to last answer.", seconds(p.stats.time.Total())),
		stats.CounterMetric("cocoon_proxy_worker_seconds_total", "The part of it that workers report.", seconds(p.stats.workerTime.Total())),
		stats.CounterMetric("cocoon_proxy_received_bytes_total", "Bytes of questions.", float64(p.stats.bytesIn.Total())),
		stats.CounterMetric("cocoon_proxy_sent_bytes_total", "Bytes of answers.", float64(p.stats.bytesOut.Total())),
		stats.CounterMetric("cocoon_proxy_tokens_total", "Adjusted tokens reported by workers.", float64(p.stats.total.Total())),
		stats.CounterMetric("cocoon_proxy_booked_tokens_total", "Adjusted tokens booked.", float64(p.stats.booked.Total())),
		stats.GaugeMetric("cocoon_proxy_running_requests", "Requests at a worker.", float64(s.Running)),
		stats.GaugeMetric("cocoon_proxy_client_connections", "Connections of clients.", float64(s.ClientConn)),
		stats.GaugeMetric("cocoon_proxy_held_bytes", "Bytes of questions without a first answer.", float64(s.HeldBytes)),
		stats.GaugeMetric("cocoon_proxy_wire_bytes", "Bytes that connections hold.", float64(s.WireBytes)),
	}, append(p.chainMetrics(s), moneyMetrics(s)...)...)
}

// tick serves the queue and tells those who wait where they stand, until ctx
// ends. Offers that rest after failures become free without any other event.
func (p *Proxy) tick(ctx context.Context) {
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := p.health(); err != nil && err.Error() != told {
			told = err.Error()
			p.log.Error("no work is taken", "error", err)
		}
		p.serve(p.market.Match(""))
		clients, _ := p.connections()
		for _, c := range clients {
			if c.features.Load()&featureQueue == 0 {
				continue
			}
			for _, r := range c.requests.all() {
				r.event(func(*later) {
					if r.state == waiting {
						r.tellPosition()
					}
				})
			}
		}
	}
}
