package router

import (
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/stats"
)

// Metrics describes the moment, for [stats.NewRegistry]. Nothing in it names a
// peer, a program or what they say.
func (r *Router) Metrics() []stats.Metric {
	r.mu.Lock()
	doors := r.doors
	r.mu.Unlock()
	live := map[*door]int{}
	for _, l := range r.links.all() {
		live[l.door]++
	}
	m := tables{}
	for _, d := range doors {
		d.describe(m, live[d])
	}
	for why, n := range causeNames {
		m.add("cocoon_router_ended_total", "connections that ended, by why", false, []string{"because"}, []string{n}, r.links.ended[why].Load())
	}
	m.add("cocoon_router_reloads_total", "times that settings were read anew", false, []string{"outcome"}, []string{"failed"}, r.reloadsFailed.Load())
	m.add("cocoon_router_reloads_total", "", false, nil, []string{"done"}, r.reloads.Load()-r.reloadsFailed.Load())
	m.add("cocoon_router_rejudged_total", "peers that were judged once more", false, nil, nil, r.rejudged.Load())
	expires := int64(0)
	if leaf := r.identity.Certificate().Leaf; leaf != nil {
		expires = int64(leaf.NotAfter.Sub(r.now()) / time.Second)
	}
	m.add("cocoon_router_certificate_expires_seconds", "until the own certificate ends", true, nil, nil, expires)
	return m.all()
}

func (d *door) describe(m tables, live int) {
	at := d.stand.Load()
	port := []string{strconv.Itoa(int(addrPort(d.Addr()).Port())), at.Type}
	names := []string{"port", "type"}
	more := func(label, value string) ([]string, []string) {
		return append(names[:2:2], label), append(port[:2:2], value)
	}
	var negotiating int
	failed := d.refused[becauseHandshake].Load()
	d.mu.Lock()
	if d.peers != nil {
		n, _, f := d.peers.Counts()
		negotiating, failed = n, failed+f
	}
	d.mu.Unlock()
	m.add("cocoon_router_connections", "connections that live", true, names, port, int64(live))
	m.add("cocoon_router_negotiating", "peers that are being judged", true, names, port, int64(negotiating))
	m.add("cocoon_router_accepted_total", "connections that came and found room", false, names, port, d.accepted.Load())
	for _, full := range []struct {
		limit string
		n     int64
	}{{"all", d.fullAll.Load()}, {"source", d.fullSource.Load()}} {
		labels, values := more("limit", full.limit)
		m.add("cocoon_router_full_total", "connections that found none", false, labels, values, full.n)
	}
	for why, name := range reasonNames {
		n := d.refused[why].Load()
		if reason(why) == becauseHandshake {
			n = failed
		}
		labels, values := more("because", name)
		m.add("cocoon_router_refused_total", "connections that did not come about; at reverse ports handshake includes peers that the judge refused",
			false, labels, values, n)
	}
	for way, n := range map[string]int64{"out": d.out.Load(), "in": d.in.Load()} {
		labels, values := more("direction", way)
		m.add("cocoon_router_bytes_total", "carried to peers (out) and from them", false, labels, values, n)
	}
}

// tables are metrics by name, while samples are collected.
type tables map[string]*stats.Metric

func (t tables) add(name, help string, gauge bool, labels, values []string, n int64) {
	if t[name] == nil {
		t[name] = &stats.Metric{Name: name, Help: help, Gauge: gauge, Labels: labels}
	}
	t[name].Samples = append(t[name].Samples, stats.Sample{Labels: values, Value: float64(n)})
}

func (t tables) all() []stats.Metric {
	out := make([]stats.Metric, 0, len(t))
	for _, m := range t {
		out = append(out, *m)
	}
	return out
}
