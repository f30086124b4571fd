package devnet

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/node"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
)

// The table "bad input and trouble": what a caller gets, over the whole
// network, as far as it needs no chain.

func TestBadRequests(t *testing.T) {
	n := startNet(t, enginetest.Fast(), Config{})
	big := `{"model":"fake/model","messages":[{"role":"user","content":"` + strings.Repeat("x", 16<<20) + `"}]}`
	for _, c := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"malformed JSON", "POST", "/v1/chat/completions", `{"model":`, 400},
		{"not an object", "POST", "/v1/chat/completions", `[]`, 400},
		{"empty", "POST", "/v1/chat/completions", ``, 400},
		{"no model", "POST", "/v1/chat/completions", `{"messages":[]}`, 400},
		{"no messages", "POST", "/v1/chat/completions", `{"model":"fake/model"}`, 400},
		{"wrong type", "POST", "/v1/chat/completions", `{"model":"fake/model","messages":[],"max_tokens":"many"}`, 400},
		{"negative limit", "POST", "/v1/chat/completions", `{"model":"fake/model","messages":[],"max_tokens":-1}`, 400},
		{"unknown model", "POST", "/v1/chat/completions", `{"model":"nobody/nothing","messages":[]}`, 404},
		{"unknown model by name", "GET", "/v1/models/nobody/nothing", ``, 404},
		{"unknown route", "POST", "/v1/nonsense", `{}`, 404},
		{"unknown path", "GET", "/nonsense", ``, 404},
		{"wrong method", "GET", "/v1/chat/completions", ``, 405},
		{"wrong method for models", "POST", "/v1/models", `{}`, 405},
		{"too large", "POST", "/v1/chat/completions", big, 413},
	} {
		a, err := n.do(t.Context(), c.method, c.path, c.body)
		if err != nil || a.Status != c.status {
			t.Errorf("%s: %d %.300s, %v; want %d", c.name, a.Status, a.Body, err, c.status)
			continue
		}
		if a.errorCode() == "" && !strings.Contains(a.Body, `"error"`) {
			t.Errorf("%s: no OpenAI error object: %.300s", c.name, a.Body)
		}
	}
	n.mustWork()
}

func TestPriceAboveCeiling(t *testing.T) {
	n := startNet(t, enginetest.Fast(), Config{})
	a := n.chat(`,"max_coefficient":500`)
	if a.Status != 409 || !strings.Contains(a.Body, "1000") {
		t.Errorf("got %d %s, want 409 naming the cheapest coefficient, 1000", a.Status, a.Body)
	}
}

func TestWorkerDiesBeforeTheFirstByte(t *testing.T) {
	var once sync.Once
	n := startNet(t, nil, Config{Workers: 2})
	n.engine.SetScript(func(w http.ResponseWriter, q *enginetest.Request) {
		first := false
		once.Do(func() { first = true })
		if first {
			enginetest.HangHead()(w, q)
			return
		}
		enginetest.Fast()(w, q)
	})
	doors := n.cables["proxy-1 workers"]
	doors.mark()
	got := make(chan answer, 1)
	go func() { got <- n.chat("") }()
	q := n.request()
	doors.cutBusiest()
	if a := <-got; a.Status != 200 {
		t.Errorf("the caller noticed: %d %s", a.Status, a.Body)
	}
	n.await("the end of the dead worker's request", q.Cancelled)
	if n.engine.Count() != 2 {
		t.Errorf("the engine was asked %d times, want 2", n.engine.Count())
	}
	n.mustWork()
}

func TestWorkerDiesInMidStream(t *testing.T) {
	n := startNet(t, enginetest.HangAfter(3), Config{Workers: 2})
	doors := n.cables["proxy-1 workers"]
	doors.mark()
	s := n.stream("")
	s.take(3)
	before, _ := n.booked("proxy-1")
	doors.cutBusiest()
	s.mustEndInError()
	if used := n.bookedAfter("proxy-1"); used <= before {
		t.Errorf("%d tokens are booked, want what was delivered", used)
	}
	n.engine.SetScript(enginetest.Fast())
	n.mustWork()
}

func TestProxyDies(t *testing.T) {
	n := startNet(t, enginetest.HangAfter(3), Config{Proxies: 2})
	var streams []*stream
	for range 4 { // on both proxies, however they are shared out
		s := n.stream("")
		s.take(3)
		streams = append(streams, s)
	}
	n.engine.SetScript(enginetest.Fast())
	n.cables["proxy-1 clients"].unplug()
	n.cables["proxy-1 workers"].unplug()
	for range 20 { // the other proxy serves, and no call fails meanwhile
		if a := n.chat(""); a.Status != 200 {
			t.Fatalf("with one proxy left: %d %s", a.Status, a.Body)
		}
	}
	n.cables["proxy-2 clients"].unplug()
	n.cables["proxy-2 workers"].unplug()
	for _, s := range streams {
		s.mustEndInError()
	}
	if a := n.chat(`,"timeout":1`); a.Status < 500 || a.errorCode() == "" {
		t.Errorf("without any proxy: %d %s, want a 5xx with an error object", a.Status, a.Body)
	}
	for _, c := range n.cables {
		c.plug()
	}
	n.mustWork()
}

func TestCallerLeaves(t *testing.T) {
	n := startNet(t, enginetest.HangAfter(3), Config{})
	s := n.stream("")
	s.take(3)
	q := n.request()
	s.cancel()
	n.await("cancelling at the engine", q.Cancelled)
	if used := n.bookedAfter("proxy-1"); used <= 0 {
		t.Errorf("%d tokens are booked, want what was delivered", used)
	}
	// And before the first byte: nothing was delivered, nothing is paid.
	before := n.bookedAfter("proxy-1")
	n.engine.SetScript(enginetest.HangHead())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = n.do(ctx, "POST", "/v1/chat/completions", question+"}") // it is cancelled
	}()
	q = n.request()
	cancel()
	n.await("cancelling at the engine", q.Cancelled)
	<-done
	if used := n.bookedAfter("proxy-1"); used != before {
		t.Errorf("%d tokens were booked for a request without an answer", used-before)
	}
}

func TestNoWorker(t *testing.T) {
	n := startNet(t, enginetest.Fast(), Config{queueWait: node.Duration(500 * time.Millisecond)})
	n.cables["proxy-1 workers"].unplug()
	n.eventually("the proxy noticing", func() bool {
		var s proxyStats
		n.stats("proxy-1", &s)
		return len(s.WorkerConnections) == 0
	})
	a := n.chat("")
	if a.Status != 503 || a.Header.Get("Retry-After") == "" || a.errorCode() == "" {
		t.Errorf("got %d %v %s, want 503 with Retry-After", a.Status, a.Header, a.Body)
	}
	// A request that waits is served when a worker comes.
	got := make(chan answer, 1)
	go func() { got <- n.chat("") }()
	n.cables["proxy-1 workers"].plug()
	if a := <-got; a.Status != 200 && a.Status != 503 {
		t.Errorf("while a worker comes back: %d %s", a.Status, a.Body)
	}
	n.mustWork()
}

func TestEngineMisbehaves(t *testing.T) {
	n := startNet(t, enginetest.Fast(), Config{})
	t.Run("hangs", func(t *testing.T) {
		n.engine.SetScript(enginetest.HangHead())
		if a := n.chat(`,"timeout":1`); a.Status != 504 || a.errorCode() == "" {
			t.Errorf("got %d %s, want 504", a.Status, a.Body)
		}
	})
	t.Run("hangs in mid-stream", func(t *testing.T) {
		n.engine.SetScript(enginetest.HangAfter(2))
		s := n.stream(`,"timeout":2`)
		s.take(2)
		s.mustEndInError()
	})
	t.Run("dies in mid-stream", func(t *testing.T) {
		n.engine.SetScript(enginetest.DieAfter(2))
		s := n.stream("")
		s.take(2)
		s.mustEndInError()
	})
	t.Run("HTML", func(t *testing.T) {
		n.engine.SetScript(enginetest.HTML(200))
		if a := n.chat(""); a.Status != 502 || a.errorCode() == "" || strings.Contains(a.Body, "<html") {
			t.Errorf("got %d %s, want 502 with an error object", a.Status, a.Body)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		n.engine.SetScript(enginetest.Garbage())
		// The worker cannot know before the end that this is no JSON, and does
		// not hold an answer back until then: what came is passed on as it is.
		if a := n.chat(""); a.Status != 502 && !strings.HasPrefix(a.Body, `{"choices"`) {
			t.Errorf("got %d %.300s, want what the engine said or 502", a.Status, a.Body)
		}
	})
	t.Run("its own error", func(t *testing.T) {
		n.engine.SetScript(enginetest.Refusal(400, "context too long"))
		if a := n.chat(""); a.Status != 400 || !strings.Contains(a.Body, "context too long") {
			t.Errorf("got %d %s, want the engine's 400", a.Status, a.Body)
		}
	})
	t.Run("lies", func(t *testing.T) {
		before := n.bookedAfter("proxy-1")
		n.engine.SetScript(enginetest.Liar(3, `{"prompt_tokens":-5,"completion_tokens":9223372036854775807,"total_tokens":1}`))
		if a := n.chat(""); a.Status != 200 {
			t.Errorf("got %d %s, want the answer", a.Status, a.Body)
		}
		if used := n.bookedAfter("proxy-1") - before; used <= 0 || used > 1_000_000 {
			t.Errorf("%d tokens were booked for 3 chunks", used)
		}
	})
	t.Run("silent about usage", func(t *testing.T) {
		before := n.bookedAfter("proxy-1")
		n.engine.SetScript(enginetest.Silent(3))
		if a := n.chat(""); a.Status != 200 || !strings.Contains(a.Body, `"usage"`) {
			t.Errorf("got %d %s, want an answer with an estimate", a.Status, a.Body)
		}
		if used := n.bookedAfter("proxy-1") - before; used <= 0 {
			t.Error("an answer was free because its engine said nothing")
		}
	})
	n.engine.SetScript(enginetest.Fast())
	n.mustWork()
}

// addresses are all open ports of the network.
func (n *testNet) addresses() (all []string) {
	for _, node := range n.net.Info().Nodes {
		for _, a := range []string{strings.TrimPrefix(node.HTTP, "http://"), node.Workers, node.Clients, node.Liteserver} {
			if a != "" {
				all = append(all, a)
			}
		}
	}
	return all
}

func TestGarbageOnEveryPort(t *testing.T) {
	n := startNet(t, enginetest.Fast(), Config{})
	random := make([]byte, 64<<10)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(random)
	garbage := [][]byte{
		nil, {0}, random[:12], random, bytes.Repeat([]byte{0xff}, 4096), bytes.Repeat([]byte{0}, 4096),
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), []byte("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n{"),
		[]byte("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
		append([]byte("GET /"), bytes.Repeat([]byte("a"), 2<<20)...), []byte("SSH-2.0-x\r\n"), {0x16, 3, 1, 0, 200, 1, 0, 0, 196},
	}
	var wg sync.WaitGroup
	for _, address := range n.addresses() {
		for _, g := range garbage {
			wg.Go(func() { throw(address, g) })
		}
		wg.Go(func() { tlsTo(address) })
	}
	wg.Wait()
	n.mustWork()
}

// throw sends bytes and reads whatever comes, for a short while.
func throw(address string, garbage []byte) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = nc.Write(garbage) // it may be refused half-way
	_, _ = io.Copy(io.Discard, io.LimitReader(nc, 1<<20))
}

func tlsTo(address string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	if nc, err := d.DialContext(ctx, "tcp", address); err == nil {
		nc.Close()
	}
}

// Whoever got through proof of work and TLS may still send anything.
func TestGarbageBehindTheDoor(t *testing.T) {
	n := startNet(t, enginetest.Fast(), Config{})
	identity, err := ratls.NewIdentity(t.Context(), attest.NoPlatform{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := insecure.LoadRoots(n.net.Info().TestRoot)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &ratls.Config{Identity: identity, Policy: &attest.Policy{AnyImage: true, Rules: attest.Rules{AllowUnknownTCB: true},
		Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: &tdx.Verifier{TestRoots: roots}}}}
	hello := tl.TCPConnect{ID: 7}
	frame := func(size uint32, seqno uint32, payload []byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, size)
		return append(binary.LittleEndian.AppendUint32(b, seqno), payload...)
	}
	first := hello.AppendTL(nil)
	opening := frame(uint32(len(first)), 0, first)
	for name, garbage := range map[string][]byte{
		"nothing":          nil,
		"text":             []byte("GET / HTTP/1.1\r\n\r\n"),
		"a frame of zero":  frame(0, 0, nil),
		"a frame too big":  frame(1<<30, 0, nil),
		"wrong number":     frame(uint32(len(first)), 5, first),
		"twice":            append(bytes.Clone(opening), frame(uint32(len(first)), 1, first)...),
		"unknown object":   append(bytes.Clone(opening), frame(8, 1, []byte("nonsense"))...),
		"half a frame":     append(bytes.Clone(opening), frame(1<<20, 1, first)...),
		"early query":      append(bytes.Clone(opening), frame(uint32(len(first)), 1, (&tl.TCPQuery{ID: 1, Data: first}).AppendTL(nil)[:12])...),
		"packet of zeros":  append(bytes.Clone(opening), frame(12, 1, (&tl.TCPPacket{Data: make([]byte, 4)}).AppendTL(nil))...),
		"packet, then end": append(bytes.Clone(opening), frame(12, 1, (&tl.TCPPacket{Data: []byte{1, 2, 3, 4}}).AppendTL(nil))...),
	} {
		nc, err := ratls.Dial(t.Context(), n.net.Info().Nodes[0].Clients, cfg)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, _ = nc.Write(garbage) // it may be refused half-way
		_ = nc.Conn.(*tls.Conn).CloseWrite()
		_ = nc.SetReadDeadline(time.Now().Add(testPatience))
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection stayed open", name)
		}
		nc.Close()
	}
	// And through the door for workers nobody comes who is not one.
	nc, err := ratls.Dial(t.Context(), n.net.Info().Nodes[0].Workers, cfg)
	if err == nil {
		_ = nc.SetReadDeadline(time.Now().Add(testPatience))
		if _, err = nc.Read(make([]byte, 1)); err == nil {
			t.Error("a worker without attestation was let in")
		}
		nc.Close()
	}
	n.mustWork()
}

func TestThousandHalfOpenConnections(t *testing.T) {
	n := startNet(t, enginetest.Fast(), Config{})
	goroutines := runtime.NumGoroutine()
	var open []net.Conn
	for i := range 1000 {
		addresses := n.addresses()
		nc, err := net.Dial("tcp", addresses[i%len(addresses)])
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		open = append(open, nc)
	}
	n.mustWork()
	for _, nc := range open {
		nc.Close()
	}
	n.eventually("return to where it was", func() bool { return runtime.NumGoroutine() <= goroutines+20 })
	n.mustWork()
}

func TestSlowReaderHurtsNobody(t *testing.T) {
	n := startNet(t, enginetest.Huge(64<<20), Config{})
	nc, err := net.Dial("tcp", strings.TrimPrefix(strings.TrimSuffix(n.net.Info().BaseURL, "/v1"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	body := question + "}"
	fmt.Fprintf(nc, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	q := n.request()
	n.engine.SetScript(enginetest.Fast())
	for range 20 {
		if a := n.chat(""); a.Status != 200 {
			t.Fatalf("beside a slow reader: %d %s", a.Status, a.Body)
		}
	}
	nc.Close()
	n.await("the end of the slow reader's request", q.Ended)
}

// Load leaves nothing behind: neither goroutines nor memory.
func TestNothingIsLeftBehind(t *testing.T) {
	n := startNet(t, enginetest.Fast(), Config{})
	round := func(requests int) {
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for i := range requests / 10 {
					if i%5 == 0 {
						s := n.stream("")
						s.rest()
						s.cancel()
						s.resp.Body.Close()
						continue
					}
					n.chat("")
				}
			})
		}
		wg.Wait()
		n.http.CloseIdleConnections()
	}
	round(200) // pools and caches fill
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	round(1000)
	n.eventually("return of the goroutines", func() bool { return runtime.NumGoroutine() <= goroutines+10 })
	if now := heapInUse(); now > heap+8<<20 {
		t.Errorf("the heap grew from %d to %d bytes over 1000 requests", heap, now)
	}
	if used := n.bookedAfter("proxy-1"); used <= 0 {
		t.Error("nothing was booked")
	}
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
