package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogramIsExactToItsBuckets(t *testing.T) {
	var h Histogram
	rng := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(math.Exp(rng.Float64() * 30))
		all = append(all, d)
		h.Record(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[min(max(int(q*float64(len(all))+0.5), 1), len(all))-1]
		if got := h.Quantile(q); math.Abs(float64(got-want)) > float64(want)/64+1 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := h.Latency(); got.Count != 20_000 || got.Max != milliseconds(all[len(all)-1]) {
		t.Errorf("latency is %+v, want 20000 values up to %v", got, all[len(all)-1])
	}
}

func TestHistogramEdges(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Latency() != (Latency{}) {
		t.Error("an empty histogram has values")
	}
	for _, d := range []time.Duration{-1, 0, 1, 63, 64, 127, 128, math.MaxInt64} {
		h.Record(d)
		i := bucket(uint64(max(d, 0)))
		if bucket(uint64(middle(i))) != i {
			t.Errorf("%v falls into bucket %d whose middle %v does not", d, i, middle(i))
		}
	}
	if h.Quantile(1) != middle(bucket(math.MaxInt64)) {
		t.Errorf("the maximum is %v", h.Quantile(1))
	}
}

func startEngine(t *testing.T) string {
	t.Helper()
	base, stop, err := new(Engine).Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return base
}

func TestEngineSpeaksToOrdinaryClients(t *testing.T) {
	base := startEngine(t)
	for _, c := range []struct{ body, want string }{
		{`{"model":"x","stream":false}`, `"content":"Hello."`},
		{`{"model":"x","stream" : true, "max_tokens": 3}`, `"completion_tokens":3,`},
		{`{"model":"x","stream":true,"max_tokens":2,"messages":[{"content":"one chunk every 1ms"}]}`, "data: [DONE]\n\n"},
	} {
		resp, err := http.Post(base+"/v1/chat/completions", "application/json", struct{ io.Reader }{strings.NewReader(c.body)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(got), c.want) {
			t.Errorf("%s: %d %q, %v; want %s", c.body, resp.StatusCode, got, err, c.want)
		}
		for line := range strings.Lines(string(got)) {
			if doc := strings.TrimPrefix(strings.TrimSpace(line), "data: "); doc != "" && doc != "[DONE]" && !json.Valid([]byte(doc)) {
				t.Errorf("not JSON: %s", doc)
			}
		}
	}
	resp, err := http.Get(base + "/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); !strings.Contains(string(b), EngineModel) {
		t.Errorf("models: %s", b)
	}
}

func TestClosedLoopCountsWhatItSent(t *testing.T) {
	res, err := Load{URL: startEngine(t) + "/v1", Model: EngineModel, Connections: 4, Requests: 200, Duration: time.Minute}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if res.Requests != 200 || res.Errors != nil || res.Latency.Count != 200 || res.RequestsPerSecond <= 0 || res.FirstChunk != nil {
		t.Errorf("got %+v, want 200 plain requests", res)
	}
}

func TestStreamsAreTimedPerChunk(t *testing.T) {
	windows := 0
	res, err := Load{
		URL: startEngine(t), Model: EngineModel, Connections: 3, Requests: 9, Duration: time.Minute,
		Stream: true, Chunks: 5, Every: time.Millisecond, Window: func() { windows++ },
	}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if res.Requests != 9 || res.Relay == nil || res.Relay.Count != 45 || res.Lowest != 5 || res.FirstChunk.Count != 9 {
		t.Errorf("got %+v (relay %+v), want 9 streams of 5 chunks", res, res.Relay)
	}
	if res.FirstChunk.Max > res.Latency.Max {
		t.Errorf("the first chunk came after the last: %+v, %+v", res.FirstChunk, res.Latency)
	}
	if windows != 2 {
		t.Errorf("the window was sampled %d times, want at its begin and end", windows)
	}
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	res, err := Load{URL: startEngine(t), Model: EngineModel, Connections: 8, Rate: 500, Requests: 100, Duration: time.Minute}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// 100 requests, 2 ms apart: they cannot be over in less than 198 ms.
	if res.Requests != 100 || res.Seconds < 0.198 {
		t.Errorf("%d requests in %v s, want 100 in no less than 0.198", res.Requests, res.Seconds)
	}
}

// serveText answers each connection's first request with text and closes.
func serveText(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			r := reader{src: nc}
			if head, err := r.head(); err == nil {
				f, _ := framingOf(head, 0)
				_ = r.body(f, func([]byte) {})
				_, _ = io.WriteString(nc, text)
			}
			nc.Close()
		}
	}()
	return "http://" + l.Addr().String()
}

func TestFailuresAreCountedByKind(t *testing.T) {
	for _, c := range []struct{ name, answer, kind string }{
		{"busy", "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}", "status 429"},
		{"nothing", "", "connection closed"},
		{"cut head", "HTTP/1.1 200 OK\r\nCont", "connection closed"},
		{"cut body", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort", "connection closed"},
		{"cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort", "connection closed"},
		{"no number", "HTTP/1.1 OK 200\r\n\r\n", "malformed answer"},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\n", "malformed answer"},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "malformed answer"},
		{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed answer"},
		{"endless head", strings.Repeat("a", 100<<10), "malformed answer"},
		{"no [DONE]", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n", "stream without [DONE]"},
	} {
		res, err := Load{URL: serveText(t, c.answer), Model: "m", Requests: 1, Duration: time.Minute, Stream: true}.Run(t.Context())
		if !errors.Is(err, ErrNothing) || res == nil || len(res.Errors) != 1 || res.Errors[c.kind] != 1 && !strings.HasPrefix(c.kind, "connection") {
			t.Errorf("%s: got %+v, %v; want one %q", c.name, res, err, c.kind)
		}
	}
}

func TestAnswerThatEndsWithTheConnection(t *testing.T) {
	url := serveText(t, "HTTP/1.1 200 OK\r\n\r\n{}")
	res, err := Load{URL: url, Model: "m", Requests: 3, Duration: time.Minute}.Run(t.Context())
	if err != nil || res.Requests != 3 {
		t.Errorf("got %+v, %v; want 3 requests on 3 connections", res, err)
	}
}

func TestHangingServerAndCancel(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	url := "http://" + l.Addr().String()
	res, err := Load{URL: url, Model: "m", Requests: 1, Timeout: 20 * time.Millisecond}.Run(t.Context())
	if !errors.Is(err, ErrNothing) || res.Errors["timeout"] != 1 {
		t.Errorf("got %+v, %v; want one timeout", res, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := (Load{URL: url, Model: "m", Connections: 4}).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled load ended with %v", err)
	}
}

func TestBadURLs(t *testing.T) {
	for _, u := range []string{"", "127.0.0.1:10000", "ftp://x", "http://", "://"} {
		if _, err := (Load{URL: u, Model: "m"}).Run(t.Context()); err == nil {
			t.Errorf("%q was accepted", u)
		}
	}
}

func TestReportComparesAndPrints(t *testing.T) {
	base := startEngine(t)
	me := []Process{{Role: "client", Name: "client-1", PID: os.Getpid()}, {Role: "proxy", Name: "gone", PID: 1 << 30}}
	s := Subject{URL: base, Engine: base, Model: EngineModel, EngineModel: EngineModel, Processes: func() []Process { return me }}
	r := NewReport(s, time.Unix(0, 0))
	for _, n := range Standard(50 * time.Millisecond) {
		n.Load.Connections, n.Load.Requests, n.Load.Duration, n.Load.WarmUp = min(n.Load.Connections, 3), 6, time.Minute, 0
		n.Load.Every /= 50
		if err := r.Measure(t.Context(), s, n); err != nil {
			t.Fatal(err)
		}
	}
	if r.Problems != nil || len(r.Cases) != 6 {
		t.Fatalf("%d cases, problems %q", len(r.Cases), r.Problems)
	}
	for _, c := range r.Cases {
		if c.Ratio == nil || c.Ratio.RequestsPerSecond <= 0 {
			t.Errorf("%s: no ratio", c.Name)
		}
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	wants := []string{"1 stream, a chunk every 50 ms", "engine", "ratio"}
	if runtime.GOOS == "linux" {
		wants = append(wants, "client-1")
	}
	for _, want := range wants {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &table)
		}
	}
	if b, err := json.Marshal(r); err != nil || !strings.Contains(string(b), `"requests_per_second"`) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestReportNamesWhatFailed(t *testing.T) {
	s := Subject{URL: serveText(t, "HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), Model: "m"}
	r := NewReport(s, time.Unix(0, 0))
	if err := r.Measure(t.Context(), s, NamedLoad{"alone", Load{Requests: 2, Duration: time.Minute}}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(r.Problems); !strings.Contains(got, "alone: 2 × status 503") {
		t.Errorf("problems are %s", got)
	}
}

// The price of the load generator and the fake engine together, per request.
func BenchmarkLoadAndEngine(b *testing.B) {
	base, stop, err := new(Engine).Listen(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	if _, err := (Load{URL: base, Model: EngineModel, Connections: 8, Requests: int64(b.N), Duration: time.Hour}).Run(b.Context()); err != nil {
		b.Fatal(err)
	}
}
