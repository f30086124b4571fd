package worker

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/engine/enginetest"
)

const token = "a-long-enough-token"

func TestPages(t *testing.T) {
	s := start(t, newProxy(t), enginetest.Fast(), func(c *Config) { c.HTTP, c.ControlToken = "127.0.0.1:0", token })
	h := s.connected()
	h.run(query(post(pathChat, chat(`,"user":"secret-name"`))))
	base := "http://" + s.w.HTTPAddr().String()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	call := func(method, path, auth string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if auth != "" {
			r.Header.Set("Authorization", "Bearer "+auth)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(body), "secret") || strings.Contains(string(body), token) {
			t.Errorf("%s shows what it must not", path)
		}
		return resp.StatusCode, string(body)
	}
	status, body := call("GET", "/jsonstats", "")
	var got struct {
		Status struct {
			Enabled bool
			Max     int `json:"max_active_requests"`
		}
		Stats     map[string][7]float64
		LocalConf map[string]any   `json:"localconfig"`
		Root      map[string]any   `json:"root_contract_config"`
		Proxies   []map[string]any `json:"proxies"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
		t.Fatalf("jsonstats %d %v: %s", status, err, body)
	}
	if !got.Status.Enabled || got.Status.Max != 8 || got.Stats["queries"][0] != 1 || got.Stats["success"][0] != 1 ||
		got.Stats["total_adjusted_tokens_used"][0] != 13 || got.LocalConf["model"] != fullModel || got.Root["version"] != 3.0 ||
		len(got.Proxies) != 1 || got.Proxies[0]["sc_address"] != s.workerContract().String() {
		t.Errorf("jsonstats %s", body)
	}
	if status, body := call("GET", "/stats", ""); status != 200 || !strings.Contains(body, "serving") {
		t.Errorf("stats %d", status)
	}
	if status, body := call("GET", "/metrics", ""); status != 200 || !strings.Contains(body, "cocoon_worker_requests_total 1") {
		t.Errorf("metrics %d", status)
	}
	for _, c := range []struct {
		method, path, auth string
		status             int
	}{
		{"GET", "/request/disable", token, 405}, {"POST", "/request/disable", "", 401}, {"POST", "/request/disable", "wrong", 401},
		{"POST", "/request/disable", token, 200}, {"POST", "/request/enable", token, 200}, {"POST", "/request/drain", token, 200},
		{"POST", "/request/change_coefficient?coefficient=1.25", token, 200}, {"POST", "/request/change_coefficient", token, 400},
		{"POST", "/request/change_coefficient?coefficient=-1", token, 409}, {"POST", "/request/change_coefficient?coefficient=NaN", token, 409},
	} {
		if status, body := call(c.method, c.path, c.auth); status != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, status, body, c.status)
		}
	}
	if got := s.w.Snapshot(); got.Local.Coefficient != 1250 || got.Status.Enabled || fmt.Sprint(got.Status.NotBecause) != "[switched off]" {
		t.Errorf("after the actions: %+v %+v", got.Local, got.Status)
	}
}

func TestPagesAddressTaken(t *testing.T) {
	s := start(t, newProxy(t), enginetest.Fast(), func(c *Config) { c.HTTP = "127.0.0.1:0" })
	s.connected()
	cfg := s.w.cfg
	cfg.HTTP = s.w.HTTPAddr().String()
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); err == nil {
		t.Error("Run works on a taken address")
	}
}
