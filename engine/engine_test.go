package engine

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/engine/enginetest"
)

func TestBase(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"127.0.0.1:8000", "http://127.0.0.1:8000"},
		{"http://127.0.0.1:8000/", "http://127.0.0.1:8000"},
		{"http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"},
		{"https://gpu.lan/models/a/v1/", "https://gpu.lan/models/a"},
		{"http://[::1]:8000/x/", "http://[::1]:8000/x"},
	} {
		if got, err := Base(c.in); err != nil || got != c.want {
			t.Errorf("Base(%q) = %q, %v, want %q", c.in, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "ftp://x", "http://", "http://h:8000?x=1", "http://h/#y", "http://h:port"} {
		if got, err := Base(bad); err == nil {
			t.Errorf("Base(%q) = %q, want a refusal", bad, got)
		}
	}
	if _, err := Base("ftp://user:hunter2@h"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("refusal %v shows the password", err)
	}
}

// serveModels answers /v1/models under prefix with body and the other paths
// with an empty object.
func serveModels(t *testing.T, prefix, server, body string, others ...string) string {
	mux := http.NewServeMux()
	mux.HandleFunc(prefix+"/v1/models", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", server)
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(body))
	})
	for _, path := range others {
		mux.HandleFunc(prefix+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte("{}"))
		})
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL + prefix
}

func TestProbeKinds(t *testing.T) {
	owned := func(by string) string {
		return `{"object":"list","data":[{"id":"m","object":"model","owned_by":"` + by + `"}]}`
	}
	for _, c := range []struct {
		name, prefix, server, body string
		others                     []string
		want                       string
	}{
		{name: "vllm", server: "uvicorn", body: owned("vllm"), want: VLLM},
		{name: "sglang", server: "uvicorn", body: owned("sglang"), want: SGLang},
		{name: "llama.cpp by header", server: "llama.cpp", body: owned("x"), want: LlamaCPP},
		{name: "llama.cpp by owner", body: owned("llamacpp"), want: LlamaCPP},
		{name: "ollama", body: owned("library"), want: Ollama},
		{name: "lmstudio", body: owned("organization_owner"), want: LMStudio},
		{name: "builtin", server: "cocoon-engine", body: owned("x"), want: Builtin},
		{name: "ollama without models", body: `{"object":"list","data":[]}`, others: []string{"/api/version"}, want: Ollama},
		{name: "sglang renamed", body: owned("me"), others: []string{"/get_model_info"}, want: SGLang},
		{name: "prefix", prefix: "/gpu/7", body: owned("me"), others: []string{"/version"}, want: VLLM},
		{name: "somebody", body: owned("me"), want: OpenAI},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := serveModels(t, c.prefix, c.server, c.body, c.others...)
			info, err := Probe(t.Context(), base+"/v1", nil)
			if err != nil || info.Kind != c.want || info.BaseURL != base {
				t.Fatalf("Probe = %+v, %v, want kind %s at %s", info, err, c.want, base)
			}
		})
	}
}

func TestProbeRefusals(t *testing.T) {
	for name, script := range map[string]http.HandlerFunc{
		"html":     func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		"null":     func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("null")) },
		"no data":  func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) },
		"404":      http.NotFound,
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"data":[` + strings.Repeat(" ", maxModelList) + `]}`))
		},
	} {
		s := httptest.NewServer(script)
		if info, err := Probe(t.Context(), s.URL, nil); err == nil {
			t.Errorf("%s: Probe = %+v, want a refusal", name, info)
		}
		s.Close()
		if _, err := Probe(t.Context(), s.URL, nil); err == nil {
			t.Errorf("%s: Probe of a closed port succeeds", name)
		}
	}
}

func TestCheckEndsWithContext(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-hang }))
	defer s.Close()
	defer close(hang)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Check(ctx, s.URL, Client(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Check = %v, want cancellation", err)
	}
}

func TestCheckSeesDown(t *testing.T) {
	s := enginetest.New(t, enginetest.Fast())
	client := Client(1)
	defer client.CloseIdleConnections()
	if err := Check(t.Context(), s.URL, client); err != nil {
		t.Errorf("healthy engine: %v", err)
	}
	s.SetDown(true)
	if err := Check(t.Context(), s.URL, client); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("loading engine: %v, want 503", err)
	}
}

func TestErrorsHideThePassword(t *testing.T) {
	s := enginetest.New(t, enginetest.Fast())
	s.SetDown(true)
	base := strings.Replace(s.URL, "http://", "http://user:hunter2@", 1)
	for _, address := range []string{base, "http://user:hunter2@127.0.0.1:1", "http://user:hunter2@\x7f"} {
		if err := Check(t.Context(), address, Client(1)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %v, want one without the password", err)
		}
	}
}

func TestDetectPrefersOrder(t *testing.T) {
	first, second := enginetest.New(t, enginetest.Fast()), enginetest.New(t, enginetest.Fast())
	second.SetModel("second")
	host := func(s *enginetest.Server) string { return strings.TrimPrefix(s.URL, "http://") }
	info, err := detect(t.Context(), []string{"127.0.0.1:1", host(first), host(second)})
	if err != nil || info.BaseURL != first.URL || info.Models[0] != enginetest.Model {
		t.Errorf("detect = %+v, %v, want %s", info, err, first.URL)
	}
	if _, err := detect(t.Context(), []string{"127.0.0.1:1"}); !errors.Is(err, ErrNoneFound) {
		t.Errorf("detect of nothing: %v", err)
	}
}
