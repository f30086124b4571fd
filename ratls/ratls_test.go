package ratls_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/wire"
)

var sharedAuthority = sync.OnceValues(insecure.NewAuthority)

func authority(t testing.TB) *insecure.Authority {
	t.Helper()
	a, err := sharedAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// trusting believes simulated machines of the shared authority that run one of
// the images.
func trusting(t testing.TB, images ...string) *attest.Policy {
	t.Helper()
	a := authority(t)
	listed := map[attest.Hash]bool{}
	for _, image := range images {
		listed[insecure.ImageHash(image)] = true
	}
	return &attest.Policy{Images: func(h attest.Hash) bool { return listed[h] }, Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: a.Verifier()}}
}

func node(t testing.TB, p attest.Platform, policy *attest.Policy) *ratls.Config {
	t.Helper()
	id, err := ratls.NewIdentity(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &ratls.Config{Identity: id, Policy: policy, Difficulty: 4, Log: quiet(t)}
}

// quiet keeps a listener's log with the test.
func quiet(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func listen(t testing.TB, cfg *ratls.Config) *ratls.Listener {
	t.Helper()
	l, err := ratls.Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// accepted yields what a listener accepts, in the background.
func accepted(l *ratls.Listener) <-chan *ratls.Conn {
	out := make(chan *ratls.Conn, 16)
	go func() {
		defer close(out)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			out <- c.(*ratls.Conn)
		}
	}()
	return out
}

// echo returns every line to whoever was accepted.
func echo(t testing.TB, l *ratls.Listener) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
}

// talk sends a line and expects it back: the proof that both sides accepted.
func talk(t testing.TB, c net.Conn) error {
	t.Helper()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && line != "hello\n" {
		t.Errorf("echo %q", line)
	}
	return err
}

func TestBothSidesJudge(t *testing.T) {
	a := authority(t)
	l := listen(t, node(t, a.Machine("proxy"), trusting(t, "worker")))
	came := accepted(l)
	c, err := ratls.Dial(t.Context(), l.Addr().String(), node(t, a.Machine("worker"), trusting(t, "proxy")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := <-came
	defer s.Close()
	for name, peer := range map[string]*ratls.Peer{"proxy": c.Peer, "worker": s.Peer} {
		v := peer.Verdict
		if !v.Trusted || !v.Insecure || v.Kind != attest.KindTDX || v.ImageHash != insecure.ImageHash(name) {
			t.Errorf("%s: verdict %+v", name, v)
		}
		if want := attest.ReportData(peer.Key); v.ReportData != want {
			t.Errorf("%s: evidence is not for the key of the connection", name)
		}
	}
	if c.RemoteAddr().String() != l.Addr().String() || s.RemoteAddr().String() != c.LocalAddr().String() {
		t.Errorf("addresses: %v, %v", c.RemoteAddr(), s.RemoteAddr())
	}
	tc, ok := c.Conn.(*tls.Conn)
	if !ok {
		t.Fatalf("the connection is a %T, want it to be TLS without a layer of ours", c.Conn)
	}
	state := tc.ConnectionState()
	if state.Version != tls.VersionTLS13 || state.DidResume || state.NegotiatedProtocol != ratls.SessionProtocol || state.ServerName != "" {
		t.Errorf("version %x, resumed %v, protocol %q, name %q", state.Version, state.DidResume, state.NegotiatedProtocol, state.ServerName)
	}
}

// serverName records what a client says in its hello.
func TestHelloNamesNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hello := make(chan *tls.ClientHelloInfo, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		wire.Challenge(context.Background(), nc, 0)
		tls.Server(nc, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			hello <- h
			return nil, errors.New("enough")
		}}).Handshake()
	}()
	ratls.Dial(t.Context(), l.Addr().String(), node(t, insecure.Fake{}, nil))
	h := <-hello
	if h.ServerName != "" || len(h.SupportedProtos) != 1 || h.SupportedProtos[0] != ratls.SessionProtocol {
		t.Errorf("server name %q, protocols %q, want none and ours", h.ServerName, h.SupportedProtos)
	}
	if len(h.SupportedVersions) != 1 || h.SupportedVersions[0] != tls.VersionTLS13 {
		t.Errorf("versions %x, want TLS 1.3 alone", h.SupportedVersions)
	}
	ed25519Offered := false
	for _, s := range h.SignatureSchemes {
		ed25519Offered = ed25519Offered || s == tls.Ed25519
	}
	if !ed25519Offered {
		t.Error("Ed25519 is not offered")
	}
}

// Both roles refuse alike; the one that dialed learns it from the stream.
func TestRefusals(t *testing.T) {
	a := authority(t)
	stranger, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	debug := a.Machine("x")
	debug.Debug = true
	for _, c := range []struct {
		name   string
		shown  attest.Platform
		policy *attest.Policy
		check  string
	}{
		{"no policy", a.Machine("x"), nil, attest.CheckEvidence},
		{"zero policy", a.Machine("x"), &attest.Policy{}, attest.CheckEvidence},
		{"another image", a.Machine("y"), trusting(t, "x"), evidence.CheckImage},
		{"another authority", stranger.Machine("x"), trusting(t, "x"), evidence.CheckChain},
		{"debug", debug, trusting(t, "x"), evidence.CheckDebug},
		{"fake", insecure.Fake{}, trusting(t, "x"), attest.CheckEvidence},
		{"none", attest.NoPlatform{}, trusting(t, "x"), attest.CheckEvidence},
		{"another's quote", stolen{a.Machine("x")}, trusting(t, "x"), evidence.CheckReportData},
	} {
		t.Run(c.name, func(t *testing.T) {
			any := &attest.Policy{AllowNone: true}
			judging, shown := node(t, a.Machine("judge"), c.policy), node(t, c.shown, any)

			l := listen(t, shown)
			_, err := ratls.Dial(t.Context(), l.Addr().String(), judging)
			var refused *attest.RefusedError
			if !errors.As(err, &refused) || !errors.Is(err, attest.ErrUntrusted) || refused.Check.Name != c.check {
				t.Errorf("dialing: error %v, want a refusal by %q", err, c.check)
			}

			l = listen(t, judging)
			echo(t, l)
			conn, err := ratls.Dial(t.Context(), l.Addr().String(), shown)
			if err == nil {
				defer conn.Close()
				err = talk(t, conn)
			}
			if err == nil {
				t.Error("listening: a peer that should be refused was served")
			}
			if _, n, _ := l.Counts(); n != 0 {
				t.Errorf("listening: %d peers accepted", n)
			}
		})
	}
}

// stolen shows a genuine quote that another machine made for its own key.
type stolen struct{ attest.Platform }

func (s stolen) Quote(ctx context.Context, _ [64]byte) ([]byte, error) {
	return s.Platform.Quote(ctx, [64]byte{42})
}

// The reference's own certificates, version 1 with extensions, in real
// handshakes in both roles.
func TestReferencePeers(t *testing.T) {
	recorded := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		base   string
		policy *attest.Policy
		kind   attest.Kind
	}{
		{"fake_tdx", &attest.Policy{AllowFake: true, AnyImage: true}, attest.KindFakeTDX},
		{"none", &attest.Policy{AllowNone: true}, attest.KindNone},
		{"fake_tdx", &attest.Policy{AllowNone: true}, attest.KindNone},
	} {
		cert, err := tls.LoadX509KeyPair("testdata/"+c.base+"_cert.pem", "testdata/"+c.base+"_key.pem")
		if err != nil {
			t.Fatal(err)
		}
		reference := &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
		us := node(t, insecure.Fake{}, c.policy)
		us.Now = func() time.Time { return recorded }

		l := listen(t, us)
		came := accepted(l)
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if err := wire.Solve(t.Context(), nc, 28); err != nil {
			t.Fatal(err)
		}
		if err := tls.Client(nc, reference).Handshake(); err != nil {
			t.Errorf("%s as client: %v", c.base, err)
			continue
		}
		if s, ok := <-came; !ok || s.Peer.Verdict.Kind != c.kind {
			t.Errorf("%s as client: %+v", c.base, s)
		}

		inner, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer inner.Close()
		go func() {
			nc, err := inner.Accept()
			if err != nil {
				return
			}
			wire.Challenge(context.Background(), nc, 8)
			tls.Server(nc, reference).Handshake()
		}()
		conn, err := ratls.Dial(t.Context(), inner.Addr().String(), us)
		if err != nil {
			t.Errorf("%s as server: %v", c.base, err)
			continue
		}
		conn.Close()
		if conn.Peer.Verdict.Kind != c.kind {
			t.Errorf("%s as server: kind %s, want %s", c.base, conn.Peer.Verdict.Kind, c.kind)
		}
	}
}

// Peers that speak TLS, but not ours.
func TestForeignTLS(t *testing.T) {
	a := authority(t)
	l := listen(t, node(t, a.Machine("x"), &attest.Policy{AllowNone: true}))
	echo(t, l)
	good, err := tls.LoadX509KeyPair("testdata/none_cert.pem", "testdata/none_key.pem")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := ratls.NewIdentity(t.Context(), attest.NoPlatform{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	twice := *fresh.Certificate()
	twice.Certificate = append(twice.Certificate, twice.Certificate[0])
	for name, cfg := range map[string]*tls.Config{
		"no certificate":       {},
		"an older version":     {Certificates: []tls.Certificate{*fresh.Certificate()}, MaxVersion: tls.VersionTLS12},
		"two certificates":     {Certificates: []tls.Certificate{twice}},
		"expired certificate":  {Certificates: []tls.Certificate{good}}, // of the recording
		"certificate of a web": {Certificates: []tls.Certificate{webCertificate(t)}},
	} {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if err := wire.Solve(t.Context(), nc, 28); err != nil {
			t.Fatal(err)
		}
		cfg.InsecureSkipVerify = true
		if name == "expired certificate" && time.Now().Before(time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)) {
			continue // not yet
		}
		if err := talk(t, tls.Client(nc, cfg)); err == nil {
			t.Errorf("%s: served", name)
		}
	}
}

// webCertificate is an ECDSA certificate as servers on the web have.
func webCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := a.Save(dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(dir + "/" + insecure.AuthorityFile)
	if err != nil {
		t.Fatal(err)
	}
	cert, rest := pem.Decode(b)
	key, _ := pem.Decode(rest)
	pair, err := tls.X509KeyPair(pem.EncodeToMemory(cert), pem.EncodeToMemory(key))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestDialFailsCleanly(t *testing.T) {
	cfg := node(t, insecure.Fake{}, &attest.Policy{AllowFake: true, AnyImage: true})
	cfg.HandshakeTimeout = 200 * time.Millisecond
	for name, serve := range map[string]func(net.Conn){
		"closes at once":           func(c net.Conn) {},
		"says nothing":             func(c net.Conn) { io.Copy(io.Discard, c) },
		"speaks HTTP":              func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		"asks for too much work":   func(c net.Conn) { wire.Challenge(context.Background(), c, 40) },
		"closes after the work":    func(c net.Conn) { wire.Challenge(context.Background(), c, 0) },
		"goes silent after work":   func(c net.Conn) { wire.Challenge(context.Background(), c, 0); io.Copy(io.Discard, c) },
		"garbage instead of TLS":   func(c net.Conn) { wire.Challenge(context.Background(), c, 0); c.Write(bytes.Repeat([]byte{7}, 4096)) },
		"a challenge byte by hand": func(c net.Conn) { c.Write([]byte{0x91}); io.Copy(io.Discard, c) },
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err == nil {
					serve(c)
					c.Close()
				}
			}()
			if c, err := ratls.Dial(t.Context(), l.Addr().String(), cfg); err == nil {
				c.Close()
				t.Error("connected")
			} else if !strings.HasPrefix(err.Error(), "ratls: dial 127.0.0.1") {
				t.Errorf("error %q does not say whom", err)
			}
		})
	}
}

func TestIdentityIsRequired(t *testing.T) {
	if _, err := ratls.Dial(t.Context(), "127.0.0.1:1", &ratls.Config{}); err == nil || !strings.Contains(err.Error(), "identity") {
		t.Errorf("dial: %v", err)
	}
	if _, err := ratls.Listen("127.0.0.1:0", &ratls.Config{}); err == nil || !strings.Contains(err.Error(), "identity") {
		t.Errorf("listen: %v", err)
	}
}

// Renewing changes what new handshakes show and leaves connections alone.
func TestRenewalKeepsConnections(t *testing.T) {
	a := authority(t)
	server := node(t, a.Machine("x"), &attest.Policy{AllowNone: true})
	client := node(t, attest.NoPlatform{}, trusting(t, "x"))
	l := listen(t, server)
	echo(t, l)
	before, err := ratls.Dial(t.Context(), l.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if err := talk(t, before); err != nil {
		t.Fatal(err)
	}
	if err := server.Identity.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := ratls.Dial(t.Context(), l.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	for name, c := range map[string]net.Conn{"before": before, "after": after} {
		if err := talk(t, c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if before.Peer.Key.Equal(after.Peer.Key) {
		t.Error("the key is the same after renewal")
	}
}

func TestCertificateExpires(t *testing.T) {
	server := node(t, insecure.Fake{}, &attest.Policy{AllowNone: true})
	l := listen(t, server)
	echo(t, l)
	client := node(t, attest.NoPlatform{}, &attest.Policy{AllowFake: true, AnyImage: true})
	for ahead, ok := range map[time.Duration]bool{-10 * time.Minute: true, -11 * time.Minute: false, 0: true, 23 * time.Hour: true, 25 * time.Hour: false} {
		client.Now = func() time.Time { return time.Now().Add(ahead) }
		c, err := ratls.Dial(t.Context(), l.Addr().String(), client)
		if (err == nil) != ok {
			t.Errorf("%v from now: %v, want accepted %v", ahead, err, ok)
		}
		if err == nil {
			c.Close()
		}
	}
}

// settled waits until goroutines are back to what they were.
func settled(t *testing.T, before int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// BenchmarkIdle reports the memory of a connection on which nothing happens,
// both ends and their TLS together.
func BenchmarkIdle(b *testing.B) {
	a := authority(b)
	server, client := node(b, a.Machine("x"), trusting(b, "x")), node(b, a.Machine("x"), trusting(b, "x"))
	client.Policy.Cache = attest.NewCache(16)
	server.Difficulty = -1
	l := listen(b, server)
	came := accepted(l)
	var keep []net.Conn
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		c, err := ratls.Dial(b.Context(), l.Addr().String(), client)
		if err != nil {
			b.Fatal(err)
		}
		keep = append(keep, c, <-came)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapInuse+after.StackInuse)-int64(before.HeapInuse+before.StackInuse))/float64(len(keep)), "bytes/end")
	for _, c := range keep {
		c.Close()
	}
}
