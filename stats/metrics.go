package stats

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metric is one Prometheus metric with all its samples. Names begin with
// "cocoon_", end with the unit (_seconds, _bytes, _tokens, _nanoton), and
// with _total if they only grow.
type Metric struct {
	Name, Help string
	// Gauge is true for a value that may fall.
	Gauge bool
	// Labels names the labels; each sample carries as many values.
	Labels  []string
	Samples []Sample
}

// Sample is one value of a [Metric].
type Sample struct {
	Labels []string
	Value  float64
}

// CounterMetric is a metric without labels that only grows.
func CounterMetric(name, help string, value float64) Metric {
	return Metric{Name: name, Help: help, Samples: []Sample{{Value: value}}}
}

// GaugeMetric is a metric without labels that may fall.
func GaugeMetric(name, help string, value float64) Metric {
	return Metric{Name: name, Help: help, Gauge: true, Samples: []Sample{{Value: value}}}
}

// ChainMetrics are how a node ("client", "proxy", "worker") sees the chain; times
// in Unix seconds, awaySince 0 while it is there.
func ChainMetrics(node string, awaySince, registrySeen int64, now time.Time) []Metric {
	away := 0.0
	if awaySince != 0 {
		away = max(1, float64(now.Unix()-awaySince))
	}
	return []Metric{
		GaugeMetric("cocoon_"+node+"_chain_away_seconds", "For how long the chain is away, 0 while it is there.", away),
		GaugeMetric("cocoon_"+node+"_registry_age_seconds", "Age of the block that the registry was last seen in.", float64(now.Unix()-registrySeen)),
	}
}

// NewRegistry returns a registry with the process's own figures and whatever
// snapshot describes at each scrape. The caller may register histograms of
// its own beside them. A nil snapshot adds nothing.
func NewRegistry(snapshot func() []Metric) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if snapshot != nil {
		r.MustRegister(snapshotCollector(snapshot))
	}
	return r
}

// snapshotCollector is unchecked (it describes nothing beforehand), because
// labels and metrics come and go with peers and models.
type snapshotCollector func() []Metric

func (snapshotCollector) Describe(chan<- *prometheus.Desc) {}

func (s snapshotCollector) Collect(out chan<- prometheus.Metric) {
	for _, m := range s() {
		kind := prometheus.CounterValue
		if m.Gauge {
			kind = prometheus.GaugeValue
		}
		desc := prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
		for _, sample := range m.Samples {
			for i, label := range sample.Labels { // others' words: one bad name must not take all metrics along
				sample.Labels[i] = strings.ToValidUTF8(label, "?")
			}
			metric, err := prometheus.NewConstMetric(desc, kind, sample.Value, sample.Labels...)
			if err != nil { // a label count that does not fit: show it where the operator looks
				metric = prometheus.NewInvalidMetric(desc, err)
			}
			out <- metric
		}
	}
}
