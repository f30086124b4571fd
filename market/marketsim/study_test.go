package marketsim

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A whole study of a tiny day has every part, and every way to show it works.
func TestStudy(t *testing.T) {
	var mu sync.Mutex
	told := 0.0
	study := Study{Scenario: Scenario{Seed: 1, Workers: 10, Requests: 300, Models: 2, Clients: 20, Load: 0.8, Failing: 0.1, Cheating: 0.1}, Full: true,
		Progress: func(done float64) {
			mu.Lock()
			defer mu.Unlock()
			told = max(told, done)
		}}
	r, err := study.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range r.Policies {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, Rules) {
		t.Errorf("policies %v, want %v", names, Rules)
	}
	if told <= 0 || told > 1 {
		t.Errorf("progress came to %v, want more than 0 and at most 1", told)
	}
	if len(r.Sweep) != len(Loads) || len(r.Ablations) != len(Ablations)+2 || len(r.Strategies) != 3*len(Strategies)+2*len(Prices) || len(r.Shock.Phases) != 4 {
		t.Errorf("%d loads, %d ablations, %d strategies", len(r.Sweep), len(r.Ablations), len(r.Strategies))
	}
	var table, markdown strings.Builder
	if err := errors.Join(r.WriteTable(&table), r.WriteMarkdown(&markdown)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{table.String(), markdown.String()} {
		for _, want := range append(slices.Clone(Rules), "without speed", "over-claimer", "Load 120 %", "× 0.5") {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in\n%s", want, text)
			}
		}
	}
	charts := r.Charts()
	if len(charts) != 4 {
		t.Errorf("%d charts, want 4", len(charts))
	}
	for name, svg := range charts {
		if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("%s holds what is no number", name)
		}
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

// The JSON has the names that scripts rely on.
func TestNames(t *testing.T) {
	study := Study{Scenario: Scenario{Seed: 1, Workers: 5, Requests: 50, Load: 0.5}, Rules: []string{"ours", "random"}}
	r, err := study.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Policies []map[string]any }
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Policies) != 2 {
		t.Fatalf("%d policies, want 2", len(got.Policies))
	}
	for _, name := range []string{"name", "goodput", "ttft_p50_ms", "ttft_p99_ms", "cost_per_mtoken", "failed_share", "worker_income_gini"} {
		if _, ok := got.Policies[0][name]; !ok {
			t.Errorf("%q is missing in %s", name, data)
		}
	}
}

func TestTurns(t *testing.T) {
	for _, x := range []struct {
		prices []float64
		want   int
	}{
		{[]float64{1000}, 0}, {[]float64{1000, 1000, 1000}, 0}, {[]float64{1000, 1100, 1200}, 0}, {[]float64{1000, 1100, 1020, 1100}, 2},
		{[]float64{1000, 1020, 980, 1020}, 0}, {[]float64{1200, 1100, 1000, 1200}, 1}, {[]float64{1000, 2000, 1500, 1480, 1500}, 1},
	} {
		var phase []Point
		for i, price := range x.prices {
			phase = append(phase, Point{At: float64(i), Price: price})
		}
		if got := turns(phase, 50); got != x.want {
			t.Errorf("turns of %v = %d, want %d", x.prices, got, x.want)
		}
	}
}
