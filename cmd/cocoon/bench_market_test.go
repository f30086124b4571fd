package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The simulator's JSON is what scripts rely on, and equal seeds print equal policies.
func TestBenchMarket(t *testing.T) {
	args := strings.Fields("bench market --json --seed 7 --workers 10 --requests 300 --models 2")
	policies := func() string {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), args, strings.NewReader(""), &out, &errOut); code != exitOK || errOut.Len() > 0 {
			t.Fatalf("exit %d, stderr %q", code, &errOut)
		}
		var got struct {
			Policies []struct {
				Name    string  `json:"name"`
				Goodput float64 `json:"goodput"`
				P99     float64 `json:"ttft_p99_ms"`
				Cost    float64 `json:"cost_per_mtoken"`
			} `json:"policies"`
			Took float64 `json:"took_s"`
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		for _, p := range got.Policies {
			if p.Goodput <= 0 || p.Goodput > 1 || p.P99 <= 0 || p.Cost <= 0 {
				t.Errorf("%+v", p)
			}
		}
		if len(got.Policies) != 7 || got.Policies[0].Name != "ours" || got.Took <= 0 {
			t.Errorf("%+v", got)
		}
		text, _ := json.Marshal(got.Policies)
		return string(text)
	}
	if first := policies(); first != policies() {
		t.Error("two runs of one seed differ")
	}
}

func TestBenchMarketFiles(t *testing.T) {
	dir := t.TempDir()
	args := []string{"bench", "market", "--workers", "10", "--requests", "200", "--rules", "ours,clairvoyant", "--full", "--charts", filepath.Join(dir, "charts"), "--markdown", filepath.Join(dir, "figures.md")}
	var out, errOut bytes.Buffer
	if code := run(t.Context(), args, strings.NewReader(""), &out, &errOut); code != exitOK {
		t.Fatalf("exit %d, stderr %q", code, &errOut)
	}
	for _, name := range []string{"figures.md", "charts/prices.svg", "charts/surplus.svg"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(out.String(), "clairvoyant") || !strings.Contains(out.String(), "took ") {
		t.Errorf("printed %q", &out)
	}
}
