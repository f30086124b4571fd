package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/settlement"
)

// pages serves one /jsonstats.
func pages(t *testing.T, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
	t.Cleanup(s.Close)
	return s.URL
}

const lonelyWorker = `{"status":{"enabled":false,"not_enabled_because":["engine_down"],"active_requests":2},
"localconfig":{"root_address":"EQroot"},"proxies":[
 {"address":"192.0.2.1:1","connected":false,"error":"ratls: dial 192.0.2.1:1: tdx evidence refused: image hash is 00, want 11"},
 {"address":"192.0.2.2:1","connected":false,"error":"connection refused"},
 {"address":"192.0.2.3:1","connected":true,"proxy_sc_address":"EQproxy","sc_address":"EQmine",
  "verdict":{"verdict":"trusted","level":"TDX: genuine machine, platform up to date","measurements":{"image_hash":"` + "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff" + `"}}}]}`

func TestStatusOfOneNode(t *testing.T) {
	url := pages(t, lonelyWorker)
	var out, errOut strings.Builder
	if code := run(t.Context(), []string{"status", "--url", url}, strings.NewReader(""), &out, &errOut); code != exitOK {
		t.Fatalf("exit %d: %s", code, &errOut)
	}
	for _, want := range []string{
		"worker  not serving: engine_down  2 ", "\nrefused peers\n", "  worker  to proxy  192.0.2.1:1  not connected\n", "evidence refused: image hash is 00",
		"\npeers that are not connected\n", "\ntrusted peers: TDX: genuine machine, platform up to date\n",
		"192.0.2.3:1  connected  image 001122334455…ddeeff\n", "  root ", "  proxy at 192.0.2.3:1  EQproxy\n", "no chain\n", "EQmine",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}

func TestStatusOfWhatIsNoNode(t *testing.T) {
	dead := filepath.Join(t.TempDir(), "net")
	if err := os.MkdirAll(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	info := `{"base_url":"http://127.0.0.1:1/v1","nodes":[{"role":"client","name":"client-1","http":"http://127.0.0.1:1"}]}`
	if err := os.WriteFile(filepath.Join(dead, "network.json"), []byte(info), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--url", pages(t, `{}`)}, exitFailure, "not that of a client, proxy, worker or key manager"},
		{[]string{"--url", pages(t, `<html>`)}, exitFailure, "is not JSON"},
		{[]string{"--url", "http://127.0.0.1:1"}, exitFailure, "nothing answers at http://127.0.0.1:1"},
		{[]string{"--data", dead}, exitFailure, "no node of the devnet in " + dead + " answers"},
		{[]string{"--data", dead, "--url", "http://127.0.0.1:1"}, exitUsage, "exclude each other"},
	} {
		var out, errOut strings.Builder
		code := run(context.Background(), append([]string{"status"}, c.args...), strings.NewReader(""), &out, &errOut)
		if code != c.code || !strings.Contains(errOut.String(), c.want) || strings.Count(errOut.String(), "\n") != 1 {
			t.Errorf("%q: exit %d, %q; want %d with %q in one line", c.args, code, &errOut, c.code, c.want)
		}
	}
}

func TestTextIsWrapped(t *testing.T) {
	var b strings.Builder
	writeWrapped(&b, "label  ", strings.Repeat("word ", 40))
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[2], "       word") {
		t.Errorf("got %q", lines)
	}
	for _, line := range lines {
		if len(line) > statusWidth {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
}

// What cannot be said while money moves is not said.
func TestSheetOfMovingMoney(t *testing.T) {
	for moving, want := range map[bool]string{true: "money is moving", false: "0.000000005 TON"} {
		var b strings.Builder
		(&statusReport{Sheet: &settlement.Sheet{Unaccounted: 5, Moving: moving}}).writeSheet(&b)
		if lines := strings.Split(strings.TrimSpace(b.String()), "\n"); !strings.Contains(lines[len(lines)-1], want) || strings.Contains(lines[len(lines)-1], "000005") == moving {
			t.Errorf("moving %v: %q, want %q", moving, lines[len(lines)-1], want)
		}
	}
}

// A node that does not see the chain says so, since when, and what goes on.
func TestStatusWithoutTheChain(t *testing.T) {
	for node, want := range map[string]string{
		`"smartcontract":{"address":"EQproxy"},"chain":{"away_since":1700000000,"registry_seen":1699999990,"registry_good_until":1700007190,"serving_within":12500000000}`: "serving within 12.5 TON committed",
		`"localconf":{"root_address":"EQroot"},"chain":{"away_since":1700000000,"registry_good_until":1700007190}`:                                                         "within what is paid in there",
		`"localconfig":{"root_address":"EQroot"},"chain":{"away_since":1700000000,"registry_good_until":1700007190}`:                                                       "within what a proxy may owe",
	} {
		var out, errOut strings.Builder
		if code := run(t.Context(), []string{"status", "--url", pages(t, "{"+node+"}")}, strings.NewReader(""), &out, &errOut); code != exitOK {
			t.Fatalf("exit %d: %s", code, &errOut)
		}
		text := strings.Join(strings.Fields(out.String()), " ")
		for _, want := range []string{"the chain is away since 2023-11-14 22:13:20 UTC", want, "good until 2023-11-15 00:13:10 UTC"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in\n%s", want, &out)
			}
		}
	}
}
