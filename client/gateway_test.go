package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// gateway starts a client and serves its handler on loopback.
func (n *network) gateway(cfg Config) (*Client, string) {
	n.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	cfg.Listener = l
	return n.startReady(cfg), "http://" + l.Addr().String()
}

func do(t testing.TB, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res, read(t, res)
}

func TestGatewayAnswers(t *testing.T) {
	p := &scriptedProxy{version: 4}
	_, url := newNetwork(t, p).gateway(p.net.config())
	for _, path := range []string{pathChat, pathCompletions, pathTranscriptions, pathChat + "?api-version=1"} {
		res, body := do(t, "POST", url+path, chatBody, "Content-Type", "application/json")
		if res.StatusCode != 200 || body != smallAnswer || res.ContentLength != int64(len(smallAnswer)) || !strings.HasPrefix(res.Header.Get("X-Request-Id"), "req_") {
			t.Errorf("%s: %d, %d bytes, %v, %s", path, res.StatusCode, res.ContentLength, res.Header, body)
		}
	}
	// What an SDK reads of it.
	_, body := do(t, "POST", url+pathChat, chatBody)
	var answer struct {
		Choices []struct {
			Message struct{ Role, Content string }
		}
		Usage openai.Usage
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Choices[0].Message.Content != "hi" || answer.Usage.TotalTokens != 5 {
		t.Errorf("%+v, %v", answer, err)
	}
}

func TestGatewayTranscription(t *testing.T) {
	p := &scriptedProxy{version: 4}
	_, url := newNetwork(t, p).gateway(p.net.config())
	form := func(parts ...string) string {
		text := ""
		for i := 0; i < len(parts); i += 2 {
			text += "--B\r\nContent-Disposition: form-data; name=\"" + parts[i] + "\"; filename=\"f\"\r\n\r\n" + parts[i+1] + "\r\n"
		}
		return text + "--B--\r\n"
	}
	audio := "RIFF\x00\r\n\xff--B"
	res, body := do(t, "POST", url+pathTranscriptions, form("file", audio, "timeout", "9", "model", "m"), "Content-Type", "multipart/form-data; boundary=B")
	if res.StatusCode != 200 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	var r tl.HTTPRequest
	if err := tl.Unmarshal(p.seen()[0].Query, &r); err != nil || r.URL != pathTranscriptions || string(r.Payload) != form("file", audio, "model", "m") {
		t.Errorf("forwarded %s %q, %v", r.URL, r.Payload, err)
	}
	if r.Headers[0].Value != "multipart/form-data; boundary=B" {
		t.Errorf("forwarded headers %v", r.Headers)
	}
}

// Each chunk must arrive before the next is made.
func TestGatewayStreams(t *testing.T) {
	next := make(chan bool)
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		go func() {
			s.head(q.RequestID, response200("text/event-stream; charset=utf-8"))
			for i := range 5 {
				<-next
				s.part(q.RequestID, fmt.Sprintf("data: {\"n\":%d}\n\n", i))
			}
			<-next
			s.last(q.RequestID, "data: [DONE]\n\n")
		}()
	}}
	_, url := newNetwork(t, p).gateway(p.net.config())
	res, err := http.Post(url+pathChat, "application/json", strings.NewReader(streamBody))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for i := range 6 {
		next <- true
		want := fmt.Sprintf("data: {\"n\":%d}\n", i)
		if i == 5 {
			want = "data: [DONE]\n"
		}
		for _, want := range []string{want, "\n"} {
			if line, err := lines.ReadString('\n'); line != want {
				t.Fatalf("line %q, %v; want %q", line, err, want)
			}
		}
	}
	if _, err := lines.ReadByte(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// The table of design.md: bad input gets an error object with the right
// status, at once, and every one of them has CORS headers and a request id.
func TestGatewayBadInput(t *testing.T) {
	p := &scriptedProxy{version: 4}
	n := newNetwork(t, p)
	cfg := n.config()
	cfg.MaxBody = 10_000
	_, url := n.gateway(cfg)
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", pathChat, `{"model":`, 400, openai.CodeInvalidJSON},
		{"POST", pathChat, ``, 400, openai.CodeInvalidJSON},
		{"POST", pathChat, `[]`, 400, openai.CodeInvalidType},
		{"POST", pathChat, `{}`, 400, openai.CodeMissing},
		{"POST", pathChat, strings.Repeat("[", 9000), 400, openai.CodeInvalidJSON},
		{"POST", pathChat, `{"model":"m","timeout":"soon"}`, 400, openai.CodeInvalidType},
		{"POST", pathChat, `{"model":"m","max_tokens":-1}`, 400, openai.CodeInvalidValue},
		{"POST", pathChat, strings.Repeat("x", 10_001), 413, openai.CodeTooLarge},
		{"GET", pathChat, ``, 405, openai.CodeMethod},
		{"HEAD", pathChat, ``, 405, ""},
		{"DELETE", pathModels, ``, 405, openai.CodeMethod},
		{"GET", "/v1/models/unknown/model", ``, 404, openai.CodeModelNotFound},
		{"POST", "/v1/embeddings", `{}`, 404, ""},
		{"GET", "/v2", ``, 404, ""},
		{"GET", "/favicon.ico", ``, 404, ""},
		{"POST", "/v1/chat/completions/", `{}`, 404, ""},
		{"GET", "/request/charge", ``, 404, "not_found"},
	} {
		res, body := do(t, c.method, url+c.path, c.body, "Origin", "http://localhost:3000")
		if res.StatusCode != c.status {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, res.StatusCode, c.status)
		}
		if c.method != "HEAD" {
			if code, _ := apiError(t, body); code != c.code {
				t.Errorf("%s %s: code %q, want %q", c.method, c.path, code, c.code)
			}
		}
		if res.Header.Get("Access-Control-Allow-Origin") != "http://localhost:3000" || res.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: headers %v", c.method, c.path, res.Header)
		}
		if c.status == 405 && res.Header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow header", c.method, c.path)
		}
	}
	if len(p.seen()) != 0 {
		t.Error("bad input reached the proxy")
	}
}

func TestGatewayGarbage(t *testing.T) {
	p := &scriptedProxy{version: 4}
	_, url := newNetwork(t, p).gateway(p.net.config())
	for _, garbage := range []string{"\x16\x03\x01\x02\x00\x01", "GET\r\n\r\n", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 12345678901234567890\r\n\r\n",
		"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "GET / HTTP/1.1\r\n" + strings.Repeat("a: b\r\n", 50_000)} {
		nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(nc, garbage)
		nc.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(nc)
		nc.Close()
		if len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.1 4")) {
			t.Errorf("%.30q gets %.60q", garbage, answer)
		}
	}
	if res, _ := do(t, "POST", url+pathChat, chatBody); res.StatusCode != 200 {
		t.Errorf("after the garbage: status %d", res.StatusCode)
	}
}

func TestGatewayModels(t *testing.T) {
	p := &scriptedProxy{version: 4, models: []string{"b", "Qwen/Qwen3-8B", "a"}}
	_, url := newNetwork(t, p).gateway(p.net.config())
	before := time.Now().Unix()
	res, body := do(t, "GET", url+pathModels+"?limit=9", "")
	var list openai.ModelList
	if err := json.Unmarshal([]byte(body), &list); err != nil || res.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v %s", err, body)
	}
	if list.Object != "list" || len(list.Data) != 3 || list.Data[0].ID != "Qwen/Qwen3-8B" || list.Data[2].ID != "b" {
		t.Fatalf("list %s", body)
	}
	m := list.Data[0]
	if m.Object != "model" || m.OwnedBy == "" || m.Created < before-10 || m.Created > time.Now().Unix() || len(m.Workers) != 2 || m.Workers[0] != (openai.ModelWorker{Coefficient: 1000, RunningRequests: 2, MaxRunningRequests: 30}) {
		t.Errorf("model %+v", m)
	}
	for _, path := range []string{"/Qwen/Qwen3-8B", "/Qwen%2FQwen3-8B"} {
		_, one := do(t, "GET", url+pathModels+path, "")
		var got openai.Model
		if json.Unmarshal([]byte(one), &got); got.ID != m.ID || got.Created != m.Created {
			t.Errorf("%s: %s", path, one)
		}
	}
	if res, _ := do(t, "HEAD", url+pathModels, ""); res.StatusCode != 200 {
		t.Errorf("HEAD: %d", res.StatusCode)
	}
}

// Proxies of the first release only know the legacy question; a model that has
// lost its last worker is not offered.
func TestModelsOfALegacyProxy(t *testing.T) {
	p := &scriptedProxy{version: 0, onAsk: func(_ *session, q *wire.Query, fn tl.Object) bool {
		switch fn.(type) {
		case *tl.ClientGetWorkerTypesV2:
			q.Fail(0, "Lost promise")
		case *tl.ClientGetWorkerTypes:
			q.Answer(&tl.ClientWorkerTypes{Types: []tl.ClientWorkerType{{Name: "old", ActiveWorkers: 2, CoefficientMin: 900}, {Name: "gone"}}})
		default:
			return false
		}
		return true
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	models, err := c.Models(t.Context())
	if err != nil || len(models) != 1 || models[0].ID != "old" || models[0].Workers[0].Coefficient != 900 {
		t.Errorf("%+v, %v", models, err)
	}
}

func TestGatewayCORS(t *testing.T) {
	for _, c := range []struct {
		allow   []string
		origin  string
		status  int
		allowed string
	}{
		{nil, "", 200, ""},
		{nil, "http://localhost:3000", 200, "http://localhost:3000"},
		{nil, "https://app.localhost", 200, "https://app.localhost"},
		{nil, "http://127.0.0.1:8080", 200, "http://127.0.0.1:8080"},
		{nil, "http://[::1]:8080", 200, "http://[::1]:8080"},
		{nil, "https://evil.example", 403, ""},
		{nil, "http://localhost.evil.example", 403, ""},
		{nil, "null", 403, ""},
		{nil, "http://user@evil.example:80", 403, ""},
		{[]string{"*"}, "https://any.example", 200, "*"},
		{[]string{"https://chat.example/"}, "https://chat.example", 200, "https://chat.example"},
		{[]string{"https://chat.example"}, "http://chat.example", 403, ""},
		{[]string{"https://chat.example"}, "http://localhost", 403, ""},
	} {
		p := &scriptedProxy{version: 4}
		n := newNetwork(t, p)
		cfg := n.config()
		cfg.AllowOrigins = c.allow
		g := n.startReady(cfg).Handler()
		for _, method := range []string{"OPTIONS", "POST"} {
			r := httptest.NewRequest(method, pathChat, strings.NewReader(chatBody))
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			want := c.status
			if want == 200 && method == "OPTIONS" {
				want = 204
			}
			if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != want || got != c.allowed {
				t.Errorf("allow %v, %s from %q: %d and origin %q, want %d and %q", c.allow, method, c.origin, w.Code, got, want, c.allowed)
			}
			if w.Code == 403 && len(p.seen()) > 0 {
				t.Error("a refused page spent money")
			}
		}
	}
}

func TestGatewayAPIKeys(t *testing.T) {
	p := &scriptedProxy{version: 4}
	n := newNetwork(t, p)
	cfg := n.config()
	cfg.APIKeys = []string{"sk-one", "sk-two"}
	_, url := n.gateway(cfg)
	for header, want := range map[string]int{"": 401, "Bearer": 401, "Bearer sk-on": 401, "Bearer sk-one": 200, "bearer sk-two": 200, "Basic sk-one": 401} {
		res, body := do(t, "POST", url+pathChat, chatBody, "Authorization", header)
		if res.StatusCode != want {
			t.Errorf("Authorization %q: %d, want %d", header, res.StatusCode, want)
		}
		if want == 401 {
			if code, _ := apiError(t, body); code != openai.CodeInvalidAPIKey {
				t.Errorf("code %s", code)
			}
			if strings.Contains(body, "sk-on") {
				t.Errorf("the answer repeats the key: %s", body)
			}
		}
	}
	for path, want := range map[string]int{pathModels: 401, pathAttestation: 401, pathDebug: 401, "/stats": 200, "/jsonstats": 200, "/metrics": 200} {
		if res, _ := do(t, "GET", url+path, ""); res.StatusCode != want {
			t.Errorf("%s without a key: %d, want %d", path, res.StatusCode, want)
		}
	}
}

func TestGatewayStats(t *testing.T) {
	p := &scriptedProxy{version: 4}
	_, url := newNetwork(t, p).gateway(p.net.config())
	do(t, "POST", url+pathChat, chatBody)
	_, body := do(t, "GET", url+"/jsonstats", "")
	var s Snapshot
	if err := json.Unmarshal([]byte(body), &s); err != nil || s.Stats.Success[0] != 1 || !s.Connections[0].Ready || s.Accounts[0].PublicKey == "" {
		t.Errorf("%v %s", err, body)
	}
	if _, page := do(t, "GET", url+"/stats", ""); !strings.Contains(page, p.addr) {
		t.Errorf("page without the proxy: %s", page)
	}
	if _, metrics := do(t, "GET", url+"/metrics", ""); !strings.Contains(metrics, `cocoon_client_answers_total{outcome="success"} 1`) {
		t.Errorf("metrics: %.500s", metrics)
	}
}

// A caller who hangs up cancels the request.
func TestGatewayCallerLeaves(t *testing.T) {
	for _, body := range []string{chatBody, streamBody} {
		p := &scriptedProxy{version: 4, features: []string{"cancel"}, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
			s.head(q.RequestID, response200("text/event-stream"))
		}}
		_, url := newNetwork(t, p).gateway(p.net.config())
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "POST", url+pathChat, strings.NewReader(body))
		go func() {
			if res, err := http.DefaultClient.Do(r); err == nil {
				defer res.Body.Close()
				<-ctx.Done()
			}
		}()
		await(t, "the request", func() bool { return len(p.seen()) == 1 })
		cancel()
		<-p.cancels
	}
}

// A caller who takes nothing ends with the stall limit, and frees everything.
func TestGatewayStalledCaller(t *testing.T) {
	p := &scriptedProxy{version: 4, features: []string{"cancel"}, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		s.head(q.RequestID, response200("text/event-stream"))
		go func() {
			for s.conn.Room(context.Background()) == nil && len(s.p.cancels) == 0 {
				s.part(q.RequestID, "data: "+strings.Repeat("x", 100_000)+"\n\n")
			}
		}()
	}}
	n := newNetwork(t, p)
	cfg := n.config()
	cfg.Stall = 200 * time.Millisecond
	c, url := n.gateway(cfg)
	nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", pathChat, len(streamBody), streamBody)
	<-p.cancels
	await(t, "memory given back", func() bool { s := c.Snapshot().Status; return s.MemoryUsed == 0 && s.Running == 0 })
}

// A caller who sends half a request is told, and dropped.
func TestGatewayStalledUpload(t *testing.T) {
	p := &scriptedProxy{version: 4}
	n := newNetwork(t, p)
	cfg := n.config()
	cfg.Stall = 50 * time.Millisecond
	_, url := n.gateway(cfg)
	nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", pathChat)
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil || res.StatusCode != 408 {
		t.Fatalf("%v %v, want 408", res, err)
	}
	apiError(t, read(t, res))
}

// Keep-alive connections survive a long answer: no deadline is left behind.
func TestGatewayKeepAliveAfterAStream(t *testing.T) {
	p := &scriptedProxy{version: 4}
	n := newNetwork(t, p)
	cfg := n.config()
	cfg.Stall = 100 * time.Millisecond
	_, url := n.gateway(cfg)
	for range 3 {
		if res, body := do(t, "POST", url+pathChat, chatBody); res.StatusCode != 200 || body != smallAnswer {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		if res, _ := do(t, "GET", url+"/jsonstats", ""); res.StatusCode != 200 {
			t.Fatalf("jsonstats: %d", res.StatusCode)
		}
		time.Sleep(2 * cfg.Stall)
	}
}

// Told to stop, the client finishes what runs and refuses what is new.
func TestGracefulStop(t *testing.T) {
	release := make(chan bool)
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		go func() { <-release; s.whole(q.RequestID, 200, smallAnswer) }()
	}}
	n := newNetwork(t, p)
	cfg := n.config()
	cfg.Grace = 10 * time.Second
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	running := make(chan string)
	go func() { _, body := chat(t, c, chatBody); running <- body }()
	await(t, "the request", func() bool { return len(p.seen()) == 1 })
	stop()
	await(t, "the end of new requests", func() bool { return c.closed.Load() })
	if res, _ := chat(t, c, chatBody); res.StatusCode != 503 {
		t.Errorf("a new request gets %d, want 503", res.StatusCode)
	}
	close(release)
	if body := <-running; body != smallAnswer {
		t.Errorf("the running request gets %s", body)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := c.Run(t.Context()); err == nil {
		t.Error("Run can be called twice")
	}
	n.closeAll()
}

func TestListenFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := newNetwork(t).config()
	cfg.Listen = l.Addr().String()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "gateway") {
		t.Errorf("Run: %v, want why it cannot listen", err)
	}
}
