package main

import (
	"context"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/stats"
)

// A step by hand reaches the node with token and proxy, and its refusals are read.
func TestControlSteps(t *testing.T) {
	const proxy = "EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ"
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := ""
	node := httptest.NewServer(stats.Handler(stats.Config{Token: "0123456789abcdef", Actions: []stats.Action{
		{Path: "/request/topup", Params: []string{"proxy"}, Do: func(_ context.Context, args url.Values) (string, error) {
			asked = args.Get("proxy")
			return "request sent", nil
		}},
		{Path: "/request/charge", Params: []string{"proxy"}, Do: func(context.Context, url.Values) (string, error) {
			return "", &stats.RefusedError{Reason: "nothing to charge"}
		}},
	}}))
	defer node.Close()
	for _, x := range []struct {
		args      string
		code      int
		out, fail string
	}{
		{"client topup " + proxy + " --url " + node.URL + " --control-token-file " + token, 0, "request sent", ""},
		{"client charge " + proxy + " --url " + node.URL + " --control-token-file " + token, 1, "", "nothing to charge"},
		{"worker payout " + proxy + " --url " + node.URL + " --control-token-file " + token, 1, "", "unknown path"},
		{"client topup nobody --url " + node.URL + " --control-token-file " + token, 2, "", "address"},
		{"client close " + proxy, 2, "", "control-token-file"},
	} {
		var out, fail strings.Builder
		code := run(t.Context(), strings.Fields(x.args), strings.NewReader(""), &out, &fail)
		if code != x.code || !strings.Contains(out.String(), x.out) || !strings.Contains(fail.String(), x.fail) {
			t.Errorf("%s: %d, %q, %q, want %d, %q, %q", x.args, code, out.String(), fail.String(), x.code, x.out, x.fail)
		}
	}
	if asked != proxy {
		t.Errorf("asked for %q", asked)
	}
}
