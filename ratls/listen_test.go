package ratls_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/ratls"
)

// everybody is a listener without wishes, and a dialer that it suits.
func everybody(t testing.TB, change func(*ratls.Config)) (*ratls.Listener, *ratls.Config) {
	t.Helper()
	cfg := node(t, insecure.Fake{}, &attest.Policy{AllowNone: true})
	if change != nil {
		change(cfg)
	}
	return listen(t, cfg), node(t, attest.NoPlatform{}, &attest.Policy{AllowFake: true, AnyImage: true})
}

func dialRaw(t testing.TB, l *ratls.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A thousand peers that connect and say nothing cost a bounded number of
// negotiations, and an honest peer still gets in.
func TestThousandHalfOpen(t *testing.T) {
	if testing.Short() {
		t.Skip("opens two thousand descriptors")
	}
	before := runtime.NumGoroutine()
	const limit = 64
	l, client := everybody(t, func(c *ratls.Config) { c.MaxHalfOpen, c.Log = limit, nil })
	echo(t, l)
	var idle []net.Conn
	for range 1000 {
		idle = append(idle, dialRaw(t, l))
		if n, _, _ := l.Counts(); n > limit {
			t.Fatalf("%d in negotiation, limit %d", n, limit)
		}
	}
	c, err := ratls.Dial(t.Context(), l.Addr().String(), client)
	if err != nil {
		t.Fatalf("an honest peer: %v", err)
	}
	if err := talk(t, c); err != nil {
		t.Errorf("an honest peer: %v", err)
	}
	// All but the newest were pushed out: their streams end.
	for i, nc := range idle[:1000-limit] {
		nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadAll(nc); isTimeout(err) {
			t.Fatalf("connection %d of 1000 is still open", i)
		}
	}
	c.Close()
	l.Close()
	settled(t, before)
}

// A flood from one host pushes itself out and nobody else.
func TestFloodFromOneHost(t *testing.T) {
	const limit = 8
	l, _ := everybody(t, func(c *ratls.Config) { c.MaxHalfOpen, c.Log = limit, nil })
	honest := dialRaw(t, l)
	if _, err := io.ReadFull(honest, make([]byte, 24)); err != nil { // its challenge: it is being served
		t.Fatal(err)
	}
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	var flood []net.Conn
	for range 4 * limit {
		nc, err := other.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Skipf("no second address on loopback: %v", err)
		}
		defer nc.Close()
		flood = append(flood, nc)
	}
	for i, nc := range flood[:3*limit] {
		nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadAll(nc); isTimeout(err) {
			t.Fatalf("connection %d of the flood is still open", i)
		}
	}
	honest.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := honest.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("the honest peer was pushed out: %v", err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Whatever arrives at the port, the next peer is served.
func TestGarbageAtThePort(t *testing.T) {
	var log lockedBuffer
	l, client := everybody(t, func(c *ratls.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	echo(t, l)
	before := runtime.NumGoroutine()
	for name, b := range map[string]string{
		"nothing":     "",
		"one byte":    "x",
		"HTTP":        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"a hello":     "\x16\x03\x01\x00\x05hello",
		"eleven":      "\x19\x73\x82\x01\x00\x00\x00\x00\x00\x00\x00",
		"wrong nonce": "\x19\x73\x82\x01\xff\xff\xff\xff\xff\xff\xff\xff",
		"a lot":       strings.Repeat("z", 1<<16),
	} {
		nc := dialRaw(t, l)
		io.WriteString(nc, b)
		nc.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, nc) // until the listener has closed it
		c, err := ratls.Dial(t.Context(), l.Addr().String(), client)
		if err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
		if err := talk(t, c); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
		c.Close()
	}
	settled(t, before)
	if _, _, failed := l.Counts(); failed != 7 {
		t.Errorf("%d failures counted, want 7", failed)
	}
	if n := strings.Count(log.String(), `msg="peer refused" remote=127.0.0.1`); n != 7 {
		t.Errorf("%d failures logged with peer and reason, want 7:\n%s", n, log.String())
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// Peers that dawdle are let go, at every step.
func TestSlowPeersEnd(t *testing.T) {
	l, client := everybody(t, func(c *ratls.Config) { c.HandshakeTimeout = 100 * time.Millisecond })
	silent := dialRaw(t, l)
	started := dialRaw(t, l)
	io.WriteString(started, "\x19\x73")
	for name, nc := range map[string]net.Conn{"silent": silent, "half a response": started} {
		nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadAll(nc); isTimeout(err) {
			t.Errorf("%s: still connected", name)
		}
	}
	// Nobody accepts here: a peer that is through does not wait for ever either.
	c, err := ratls.Dial(t.Context(), l.Addr().String(), client)
	if err == nil {
		err = talk(t, c)
		c.Close()
	}
	if err == nil || isTimeout(err) {
		t.Errorf("error %v, want the end of the stream", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	l, client := everybody(t, nil)
	half := dialRaw(t, l)
	unaccepted := make(chan error, 1)
	go func() {
		c, err := ratls.Dial(t.Context(), l.Addr().String(), client)
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		unaccepted <- err
	}()
	for n := 0; n < 2; n, _, _ = l.Counts() {
		time.Sleep(time.Millisecond)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
	if err := <-unaccepted; err == nil {
		t.Error("a peer that nobody accepted went on")
	}
	half.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(half); isTimeout(err) {
		t.Error("a half-open connection went on")
	}
	settled(t, before)
}

// Accepted connections outlive their listener.
func TestCloseLeavesConnections(t *testing.T) {
	l, client := everybody(t, nil)
	came := accepted(l)
	c, err := ratls.Dial(t.Context(), l.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := <-came
	defer s.Close()
	l.Close()
	go io.Copy(s, s)
	if err := talk(t, c); err != nil {
		t.Error(err)
	}
}

func TestListenFails(t *testing.T) {
	l, _ := everybody(t, nil)
	cfg := node(t, insecure.Fake{}, nil)
	if _, err := ratls.Listen(l.Addr().String(), cfg); err == nil {
		t.Error("listening twice at one address succeeded")
	}
}

func TestDialIsCancelled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	leaving := errors.New("leaving")
	go func() {
		if c, err := l.Accept(); err == nil {
			defer c.Close()
			cancel(leaving)
			io.Copy(io.Discard, c)
		}
	}()
	if _, err := ratls.Dial(ctx, l.Addr().String(), node(t, insecure.Fake{}, nil)); !errors.Is(err, leaving) {
		t.Errorf("error %v, want the cause of the cancellation", err)
	}
}
