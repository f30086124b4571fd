package router_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/router"
)

// patience bounds every wait; the machine may be busy.
const patience = time.Minute

var sharedAuthority = sync.OnceValues(insecure.NewAuthority)

func authority(t testing.TB) *insecure.Authority {
	t.Helper()
	a, err := sharedAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func image(name string) string { return insecure.ImageHash(name).String() }

// trust believes machines of the test authority as if they were real.
func trust(t testing.TB) attest.Policy { return trustIn(authority(t)) }

func identity(t testing.TB, p attest.Platform) *ratls.Identity {
	t.Helper()
	id, err := ratls.NewIdentity(context.Background(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// settings are what the given options say: -S -F -R -P, and -s for all ports.
func settings(t testing.TB, options ...string) router.Settings {
	t.Helper()
	s := router.Settings{BindAddress: "127.0.0.1"}
	record := false
	for _, o := range options {
		flag, spec, _ := strings.Cut(o, " ")
		var err error
		switch flag {
		case "-s":
			record = true
		case "-P":
			err = s.AddPolicy(spec)
		case "-S":
			err = s.AddSOCKS5(spec, record)
		case "-F":
			err = s.AddForward(spec, record)
		case "-R":
			err = s.AddReverse(spec, record)
		}
		if err != nil {
			t.Fatalf("%s: %v", o, err)
		}
	}
	for i := range s.Ports {
		s.Ports[i].Difficulty = new(4)
	}
	return s
}

// running is a router that runs.
type running struct {
	*router.Router
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB, s router.Settings, p attest.Platform, change ...func(*router.Config)) *running {
	t.Helper()
	cfg := router.Config{Settings: s, Trust: trust(t), Identity: identity(t, p), Log: quiet(t)}
	for _, c := range change {
		c(&cfg)
	}
	r, err := router.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	run := &running{r, stop, make(chan error, 1)}
	go func() { run.done <- r.Run(ctx) }()
	t.Cleanup(func() { run.end(t) })
	return run
}

// end stops the router, if it has not ended, and wants it to end well.
func (r *running) end(t testing.TB) {
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
		r.done <- nil
	case <-time.After(patience):
		t.Error("Run does not return")
	}
}

// addr is where the i-th port is open.
func (r *running) addr(i int) string { return r.Addresses()[i].Addr.String() }

// quiet keeps a log with the test.
func quiet(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// service is a plain TCP service; it serves each connection with f.
func service(t testing.TB, f func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			nc.SetDeadline(time.Now().Add(patience))
			wg.Go(func() { defer nc.Close(); f(nc.(*net.TCPConn)) })
		}
	})
	return l.Addr().String()
}

func echo(nc *net.TCPConn) {
	io.Copy(nc, nc)
	nc.CloseWrite()
}

// via dials address through a router's SOCKS5 port as the deployed runner
// does: one method, an IPv4 address, a reply of twelve bytes in all.
func via(t testing.TB, socks, address string) (*net.TCPConn, error) {
	t.Helper()
	nc, to := dial(t, socks), mustAddr(address)
	nc.Write([]byte{5, 1, 0})
	nc.Write(binary.BigEndian.AppendUint16(append([]byte{5, 1, 0, 1}, to.Addr().AsSlice()...), to.Port()))
	answer, err := readN(nc, 12)
	switch {
	case err != nil:
		return nil, err
	case answer[3] != 0:
		return nil, fmt.Errorf("reply code %d", answer[3])
	case !bytes.Equal(answer[:10], []byte{5, 0, 5, 0, 0, 1, 127, 0, 0, 1}):
		return nil, fmt.Errorf("reply %x", answer)
	}
	return nc, nil
}

func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { nc.Close() })
	return nc.(*net.TCPConn)
}

// talk sends a line and wants it back.
func talk(nc net.Conn) error {
	if _, err := io.WriteString(nc, "hello\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(nc, 6)).ReadString('\n')
	if err == nil && line != "hello\n" {
		return fmt.Errorf("echo %q", line)
	}
	return err
}

// pair is a router in front of a service and one whose SOCKS5 port leads to it.
func pair(t testing.TB, f func(*net.TCPConn)) (socks, address string) {
	t.Helper()
	a := authority(t)
	in := start(t, settings(t, "-R 0:"+service(t, f)+"@tdx:"+image("client")), a.Machine("server"))
	out := start(t, settings(t, "-S 0@tdx:"+image("server")), a.Machine("client"))
	return out.addr(0), in.addr(0)
}

func TestEcho(t *testing.T) {
	socks, address := pair(t, echo)
	nc, err := via(t, socks, address)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := talk(nc); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHTTP(t *testing.T) {
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go web.Serve(l)
	defer web.Close()
	a := authority(t)
	in := start(t, settings(t, "-R 0:"+l.Addr().String()+"@tdx:"+image("client")), a.Machine("server"))
	out := start(t, settings(t, "-S 0@tdx:"+image("server")), a.Machine("client"))
	proxy, _ := url.Parse("socks5://" + out.addr(0))
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}, Timeout: patience}
	defer client.CloseIdleConnections()
	for range 3 {
		resp, err := client.Post("http://"+in.addr(0)+"/", "text/plain", strings.NewReader("a question"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(b) != "a question" {
			t.Errorf("answer %q, %v", b, err)
		}
	}
}

// refusalLog sends the reason of each refusal.
func refusalLog(to chan<- string) *slog.Logger { return slog.New(refusalHandler(to)) }

type refusalHandler chan<- string

func (h refusalHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h refusalHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h refusalHandler) WithGroup(string) slog.Handler            { return h }
func (h refusalHandler) Handle(_ context.Context, r slog.Record) error {
	if !strings.HasSuffix(r.Message, "refused") {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			select {
			case h <- a.Value.String():
			default:
			}
		}
		return true
	})
	return nil
}

// wait is what comes over c.
func wait[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Error("nothing came")
	}
	return v
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func readN(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

func mustAddr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// syncBuffer is a log that several write.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.b.Bytes())
}

func (s *syncBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// trustIn believes the machines of one authority.
func trustIn(a *insecure.Authority) attest.Policy {
	return attest.Policy{
		Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: &tdx.Verifier{TestRoots: a.Roots(), TestCollateral: a}},
		Cache:     attest.NewCache(100),
	}
}

// figure is the sample of a metric whose label has the value in want, as text.
func figure(r *running, name, label, want string) string {
	got := "none"
	for _, m := range r.Metrics() {
		for _, s := range m.Samples {
			if i := slices.Index(m.Labels, label); m.Name == name && i >= 0 {
				text := fmt.Sprintf("%s{%s=%s} %v", name, label, s.Labels[i], s.Value)
				if got == "none" || text == want {
					got = text
				}
			}
		}
	}
	return got
}

func anybody() *attest.Policy { return &attest.Policy{AllowNone: true, AnyImage: true} }
