package worker

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/tl"
)

// The engine has more doors than the network's three, and callers must not
// find them.
func TestOnlyThreePathsReachTheEngine(t *testing.T) {
	for _, url := range []string{
		"//v1/chat/completions", "/v1//chat/completions", "/v1/chat/completions/", "/v1/chat/completions?a=b", "/v1/chat/completions#x",
		"/v1/chat/completions/../../../metrics", "/v1/chat%2fcompletions", "/v1/chat/completions%00", "/v1/chat/completions\r\nHost: x",
		"http://127.0.0.1:9/v1/chat/completions", "http://x@evil/v1/chat/completions", "/v1/models", "/metrics", "/", "", "*", "evil:443",
		"/V1/chat/completions", "/v1/chat/completions;x", "\\v1\\chat\\completions", "/api/pull", "/v1/load_lora_adapter",
	} {
		if r, bad := readRequest(post(url, chat("")), "fake/model", false); bad == nil {
			t.Errorf("%q reached the engine as %s", url, r.path)
		}
	}
}

// Headers of callers cannot end the head of the engine's request or change
// its framing, whatever bytes they hold.
func TestHeadersStayInsideTheEnginesRequest(t *testing.T) {
	var strays, asked atomic.Int64
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/models" {
			w.Write([]byte(`{"data":[{"id":"fake/model"}]}`))
			return
		}
		asked.Add(1)
		for _, name := range []string{"X-Stray", "Transfer-Encoding", "Connection", "Upgrade", "Cookie", "Authorization", "X-Forwarded-For", "X-Good-But-Named"} {
			if r.Header.Get(name) != "" {
				strays.Add(1)
				t.Errorf("the engine saw %s: %q", name, r.Header.Get(name))
			}
		}
		if r.Header.Get("X-Fine") != "yes" || r.Host == "evil" || len(r.TransferEncoding) != 0 {
			t.Errorf("host %s, transfer encoding %v, header %v", r.Host, r.TransferEncoding, r.Header)
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer engine.Close()
	p := newProxy(t)
	s := start(t, p, enginetest.HangHead(), func(c *Config) { c.Engine = engine.URL })
	h := s.connected()
	in := post(pathChat, chat(""))
	in.Headers = append(in.Headers, []tl.HTTPHeader{
		{Name: "X-Fine", Value: "yes"}, {Name: "X-A\r\nX-Stray", Value: "1"}, {Name: "X-B", Value: "1\r\nX-Stray: 1"}, {Name: "X-C", Value: "1\nX-Stray: 1\n\nGET /metrics HTTP/1.1"},
		{Name: "X-Stray:", Value: "1"}, {Name: " X-Stray", Value: "1"}, {Name: "X-Stray ", Value: "1"}, {Name: "transfer-encoding", Value: "chunked"},
		{Name: "Transfer-Encoding ", Value: "chunked"}, {Name: "content-length", Value: "1"}, {Name: "CONNECTION", Value: "upgrade, x-good-but-named"},
		{Name: "x-good-but-named", Value: "1"}, {Name: "upgrade", Value: "h2c"}, {Name: "host", Value: "evil"}, {Name: "cookie", Value: "a=b"},
		{Name: "authorization", Value: "Bearer x"}, {Name: "X-Forwarded-For", Value: "1.2.3.4"}, {Name: "", Value: "x"}, {Name: "X-\x00", Value: "1"},
	}...)
	h.send(query(in))
	answer, ok := h.next().(*tl.ProxyQueryAnswerEx)
	if !ok {
		t.Fatal("no answer")
	}
	var head tl.HTTPResponse
	if err := tl.Unmarshal(answer.Answer, &head); err != nil || head.StatusCode != 502 || asked.Load() != 1 {
		t.Errorf("%v, status %d, %d requests at the engine: want its redirect turned into an error", err, head.StatusCode, asked.Load())
	}
}
