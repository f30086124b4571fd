package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/stats"
)

// Handler serves /stats, /jsonstats, /metrics and, by POST with the control
// token, /request/enable, /request/disable, /request/drain and
// /request/change_coefficient.
func (w *Worker) Handler() http.Handler {
	return stats.Handler(stats.Config{
		Page: w.page, JSON: func() any { return w.Snapshot() }, Metrics: stats.NewRegistry(w.metrics),
		Token: w.cfg.ControlToken, Actions: append(w.actions(), w.cfg.Actions...),
	})
}

func (w *Worker) actions() []stats.Action {
	return []stats.Action{
		{Path: "/request/enable", Title: "take requests", Do: func(context.Context, url.Values) (string, error) {
			w.Enable()
			return "switched on", nil
		}},
		{Path: "/request/disable", Title: "take no more requests", Do: func(context.Context, url.Values) (string, error) {
			w.Disable()
			return fmt.Sprintf("switched off; %d requests still run", w.slots.active()), nil
		}},
		{Path: "/request/drain", Title: "take no more requests and wait for the last", Do: func(ctx context.Context, _ url.Values) (string, error) {
			if err := w.Drain(ctx); err != nil {
				return "", &stats.RefusedError{Reason: "gave up waiting; requests still run"}
			}
			return "switched off; no request runs", nil
		}},
		{Path: "/request/change_coefficient", Title: "change the price", Params: []string{"coefficient"}, Do: w.changeCoefficient},
	}
}

// changeCoefficient takes the factor as people write it, 1.5 for 1500.
func (w *Worker) changeCoefficient(_ context.Context, args url.Values) (string, error) {
	factor, err := strconv.ParseFloat(args.Get("coefficient"), 64)
	if err != nil || !(factor >= 0 && factor*1000 <= maxCoefficient) {
		return "", &stats.RefusedError{Reason: "coefficient, want a number from 0 to 999999.999"}
	}
	if w.demand != nil {
		return "", &stats.RefusedError{Reason: "the price follows demand; start the worker without price auto to set it by hand"}
	}
	c := int32(factor*1000 + 0.5)
	if err := w.SetCoefficient(c); err != nil {
		return "", &stats.RefusedError{Reason: err.Error()}
	}
	return fmt.Sprintf("coefficient is now %d thousandths", c), nil
}

func (w *Worker) page() *stats.Page {
	s := w.Snapshot()
	p := &stats.Page{Title: "cocoon worker", State: stats.Badge{Level: stats.OK, Text: "serving"}}
	if !s.Status.Enabled {
		p.State = stats.Badge{Level: stats.Bad, Text: w.idleText()}
	} else if s.Chain.Away() {
		p.State = stats.Badge{Level: stats.Warn, Text: s.Chain.Text()}
	}
	p.Facts = []stats.Fact{
		{Name: "model", Value: s.Local.Model}, {Name: "price coefficient (thousandths)", Value: s.Local.Coefficient}, {Name: "price follows demand", Value: s.Local.Auto},
		{Name: "running requests", Value: s.Status.Active}, {Name: "at most", Value: s.Status.MaxActive},
		{Name: "engine", Value: s.Engine.URL}, {Name: "paid to", Value: s.Local.OwnerAddress},
	}
	proxies := stats.Table{Title: "Proxies", Empty: "the registry names no proxy",
		Columns: []string{"address", "state", "attestation", "running", "tokens counted", "stored", "signed"}}
	for _, x := range s.Proxies {
		state := stats.Badge{Level: stats.OK, Text: "connected"}
		if !x.Connected {
			state = stats.Badge{Level: stats.Bad, Text: "not connected: " + x.Error}
		}
		proof := stats.Badge{Level: stats.OK, Text: x.Level}
		if x.Verdict == nil || x.Verdict.Insecure {
			proof.Level = stats.Bad
		}
		proxies.Rows = append(proxies.Rows, []any{x.Address, state, proof, x.Running, x.Counted, x.Stored, x.Signed})
	}
	c := s.Stats
	rates := stats.Rates("Rates", stats.RateRow{Name: "requests", Values: c.Queries}, stats.RateRow{Name: "answered", Values: c.Success},
		stats.RateRow{Name: "failed", Values: c.Failed}, stats.RateRow{Name: "adjusted tokens", Values: c.Total},
		stats.RateRow{Name: "seconds of work", Values: c.Time}, stats.RateRow{Name: "usage estimated", Values: c.Estimated},
		stats.RateRow{Name: "odd usage", Values: c.Odd}, stats.RateRow{Name: "cut off", Values: c.Cut})
	p.Tables = []stats.Table{proxies, rates}
	return p
}

func (w *Worker) idleText() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return "not serving: " + w.idle.String()
}

func (w *Worker) metrics() []stats.Metric {
	s := w.Snapshot()
	enabled, connected := 0.0, 0.0
	if s.Status.Enabled {
		enabled = 1
	}
	for _, p := range s.Proxies {
		if p.Connected {
			connected++
		}
	}
	var chain []stats.Metric
	if s.Chain != nil {
		chain = stats.ChainMetrics("worker", s.Chain.AwaySince, s.Chain.Seen, w.cfg.Now())
	}
	return append(chain, []stats.Metric{
		stats.CounterMetric("cocoon_worker_requests_total", "requests received", s.Stats.Queries[0]),
		stats.CounterMetric("cocoon_worker_failed_requests_total", "requests without a complete answer", s.Stats.Failed[0]),
		stats.CounterMetric("cocoon_worker_adjusted_tokens_total", "adjusted tokens reported to proxies", s.Stats.Total[0]),
		stats.CounterMetric("cocoon_worker_request_seconds_total", "time spent on requests", s.Stats.Time[0]),
		stats.CounterMetric("cocoon_worker_received_bytes_total", "bytes of requests", s.Stats.Received[0]),
		stats.CounterMetric("cocoon_worker_sent_bytes_total", "bytes of answers", s.Stats.Sent[0]),
		stats.CounterMetric("cocoon_worker_estimated_answers_total", "answers whose engine told no usage", s.Stats.Estimated[0]),
		stats.CounterMetric("cocoon_worker_odd_usage_answers_total", "answers whose usage cannot be right", s.Stats.Odd[0]),
		stats.GaugeMetric("cocoon_worker_active_requests", "requests running now", float64(s.Status.Active)),
		stats.GaugeMetric("cocoon_worker_enabled", "1 while requests are taken", enabled),
		stats.GaugeMetric("cocoon_worker_proxies_connected", "proxies connected now", connected),
	}...)
}

// verdict is how far the proxy has proven itself, nil if nobody judged it.
func (s *session) verdict() *attest.Verdict {
	if peer, _ := s.c.Peer().(*ratls.Peer); peer != nil {
		return peer.Judged()
	}
	return nil
}

// listenHTTP opens the pages' address; nil means there are none.
func (w *Worker) listenHTTP() (net.Listener, error) {
	if w.cfg.HTTP == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", w.cfg.HTTP)
	if err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.httpAddr = l.Addr()
	return l, nil
}

// HTTPAddr is where the pages are once Run has opened them, nil before and
// where there are none.
func (w *Worker) HTTPAddr() net.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.httpAddr
}

// serveHTTP serves the pages until ctx ends.
func (w *Worker) serveHTTP(ctx context.Context, l net.Listener) {
	if l == nil {
		return
	}
	server := &http.Server{Handler: w.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 64 << 10, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		w.cfg.Log.Error("worker: pages ended", "reason", err)
	}
}
