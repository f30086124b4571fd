package devnet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/engine/enginetest"
)

// testNet is a devnet in this process with an engine under a script, and
// cables at every door.
type testNet struct {
	t      *testing.T
	net    *Network
	engine *enginetest.Server
	cables map[string]*cable // by "proxy-1 workers"
	log    *lockedBuffer
	http   *http.Client
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// patience bounds every wait of these tests; nothing is expected to take so
// long on a machine that is not busy with something else.
const testPatience = 60 * time.Second

// startNet starts a network and checks in the end that nothing of it is left.
func startNet(t *testing.T, script enginetest.Script, c Config) *testNet {
	t.Helper()
	before := runtime.NumGoroutine()
	n := &testNet{t: t, engine: enginetest.New(nil, script), cables: map[string]*cable{}, log: &lockedBuffer{}}
	n.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: testPatience}
	c.Listen, c.Engine, c.Data = "127.0.0.1:0", n.engine.URL, t.TempDir()
	c.Log = slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.door = func(name, address string) string {
		n.cables[name] = newCable(t, address)
		return n.cables[name].address()
	}
	// Cleanups run last to first: stop the network, then the cables, then count.
	t.Cleanup(func() { checkGoroutines(t, before) })
	t.Cleanup(n.engine.Close)
	var err error
	if n.net, err = Start(t.Context(), c); err != nil {
		t.Fatalf("start: %v\n%s", err, n.log)
	}
	t.Cleanup(func() {
		n.http.CloseIdleConnections()
		if err := n.net.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", n.log)
		}
	})
	return n
}

// checkGoroutines waits until there are no more goroutines than before.
func checkGoroutines(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(testPatience); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Errorf("%d goroutines are left, %d were there before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
			return
		}
	}
}

// answer is what a caller got.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// errorCode is the code of the OpenAI error object in the body, "" if none.
func (a answer) errorCode() string {
	var body struct {
		Error struct{ Message, Type, Code string }
	}
	if json.Unmarshal([]byte(a.Body), &body) != nil || body.Error.Message == "" || body.Error.Type == "" {
		return ""
	}
	return body.Error.Code
}

func (n *testNet) do(ctx context.Context, method, path, body string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(n.net.Info().BaseURL, "/v1")+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

const question = `{"model":"fake/model","messages":[{"role":"user","content":"hello"}],"max_tokens":16`

// chat asks once without streaming; more is put into the body.
func (n *testNet) chat(more string) answer {
	n.t.Helper()
	a, err := n.do(n.t.Context(), "POST", "/v1/chat/completions", question+more+"}")
	if err != nil {
		n.t.Errorf("chat: %v", err)
	}
	return a
}

// mustWork fails the test unless the network answers as if nothing had
// happened. Parts may have to reconnect first, so it tries for a while.
func (n *testNet) mustWork() {
	n.t.Helper()
	var a answer
	for end := time.Now().Add(testPatience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if a = n.chat(""); a.Status == 200 {
			return
		}
	}
	n.t.Errorf("the network does not recover: %d %s", a.Status, a.Body)
}

// stream is a streamed answer being read.
type stream struct {
	t      *testing.T
	resp   *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

func (n *testNet) stream(more string) *stream {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), testPatience)
	req, err := http.NewRequestWithContext(ctx, "POST", n.net.Info().BaseURL+"/chat/completions", strings.NewReader(question+`,"stream":true`+more+"}"))
	if err != nil {
		n.t.Fatal(err)
	}
	resp, err := n.http.Do(req)
	if err != nil {
		cancel()
		n.t.Fatalf("stream: %v", err)
	}
	n.t.Cleanup(func() { cancel(); resp.Body.Close() })
	return &stream{n.t, resp, bufio.NewScanner(resp.Body), cancel}
}

// next is the next event's data, "" at the end.
func (s *stream) next() string {
	for s.lines.Scan() {
		if data, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			return data
		}
	}
	return ""
}

// take reads n events and fails if there are fewer.
func (s *stream) take(n int) {
	s.t.Helper()
	for i := range n {
		if data := s.next(); data == "" || strings.Contains(data, `"error"`) {
			s.t.Fatalf("event %d of the stream is %q", i, data)
		}
	}
}

// rest is everything that is left.
func (s *stream) rest() (events []string) {
	for data := s.next(); data != ""; data = s.next() {
		events = append(events, data)
	}
	return events
}

// mustEndInError fails unless the stream ends, and with an error event.
func (s *stream) mustEndInError() {
	s.t.Helper()
	events := s.rest()
	if err := s.lines.Err(); err != nil {
		s.t.Errorf("the stream broke off: %v", err)
	}
	for _, e := range events {
		if (answer{Body: e}).errorCode() != "" {
			return
		}
	}
	s.t.Errorf("the stream ended without an error event: %q", events)
}

// request waits for the next request that reaches the engine.
func (n *testNet) request() *enginetest.Request {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), testPatience)
	defer cancel()
	q, err := n.engine.Next(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	return q
}

// await waits for an event.
func (n *testNet) await(what string, event <-chan struct{}) {
	n.t.Helper()
	select {
	case <-event:
	case <-time.After(testPatience):
		n.t.Fatalf("%s did not happen", what)
	}
}

// eventually waits until a state is reached that has no event.
func (n *testNet) eventually(what string, reached func() bool) {
	n.t.Helper()
	for end := time.Now().Add(testPatience); !reached(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("%s did not happen", what)
		}
	}
}

// stats reads a node's /jsonstats.
func (n *testNet) stats(name string, v any) {
	n.t.Helper()
	for _, node := range n.net.Info().Nodes {
		if node.Name == name {
			if err := getJSON(n.t.Context(), n.http, node.HTTP+"/jsonstats", v); err != nil {
				n.t.Fatal(err)
			}
			return
		}
	}
	n.t.Fatalf("no node is called %s", name)
}

// proxyStats are the figures of a proxy that these tests look at.
type proxyStats struct {
	Clients []struct {
		Used     int64 `json:"used_tokens"`
		Reserved int64 `json:"reserved_tokens"`
		Running  int64 `json:"running_queries"`
	}
	Workers []struct {
		Earned int64 `json:"earned_tokens"`
	} `json:"worker_accounts"`
	WorkerConnections []struct {
		Enabled bool
		Running int64 `json:"running_queries"`
	} `json:"worker_connections"`
}

// booked is what all clients of a proxy have used so far, and whether nothing
// is in flight any more.
func (n *testNet) booked(proxy string) (used int64, settled bool) {
	n.t.Helper()
	var s proxyStats
	n.stats(proxy, &s)
	settled = true
	for _, c := range s.Clients {
		used += c.Used
		settled = settled && c.Reserved == 0 && c.Running == 0
	}
	return used, settled
}

// bookedAfter waits until everything is settled and returns the sum.
func (n *testNet) bookedAfter(proxy string) (used int64) {
	n.t.Helper()
	n.eventually("settling at "+proxy, func() bool {
		var settled bool
		used, settled = n.booked(proxy)
		return settled
	})
	return used
}

func (n *testNet) String() string { return fmt.Sprint(n.net.Info().Nodes) }
