package router_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/router"
)

// A service that answers only when the question has ended.
func TestHalfClose(t *testing.T) {
	socks, address := pair(t, func(nc *net.TCPConn) {
		question, err := io.ReadAll(nc)
		if err == nil {
			fmt.Fprintf(nc, "%d bytes", len(question))
			nc.CloseWrite()
		}
	})
	nc, err := via(t, socks, address)
	if err != nil {
		t.Fatal(err)
	}
	nc.Write(make([]byte, 100_000))
	nc.CloseWrite()
	if answer, err := io.ReadAll(nc); err != nil || string(answer) != "100000 bytes" {
		t.Errorf("answer %q, %v", answer, err)
	}
}

// The other way round: the service has said all and still listens.
func TestHalfCloseByTheService(t *testing.T) {
	got := make(chan string, 1)
	socks, address := pair(t, func(nc *net.TCPConn) {
		io.WriteString(nc, "banner")
		nc.CloseWrite()
		b, _ := io.ReadAll(nc)
		got <- string(b)
	})
	nc, err := via(t, socks, address)
	if err != nil {
		t.Fatal(err)
	}
	if banner, err := io.ReadAll(nc); err != nil || string(banner) != "banner" {
		t.Errorf("banner %q, %v", banner, err)
	}
	io.WriteString(nc, "after that")
	nc.CloseWrite()
	if s := wait(t, got); s != "after that" {
		t.Errorf("the service heard %q", s)
	}
}

// A side that breaks off is seen as such by the other: an answer that was cut
// short must not look whole.
func TestBreakingOffIsNotAnEnd(t *testing.T) {
	socks, address := pair(t, func(nc *net.TCPConn) {
		io.WriteString(nc, "half an ans")
		io.ReadFull(nc, make([]byte, 1)) // until the program has it
		nc.SetLinger(0)
	})
	nc, err := via(t, socks, address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readN(nc, 11); err != nil {
		t.Fatal(err)
	}
	nc.Write([]byte{1})
	if n, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes, %v, want a reset", n, err)
	}
}

// 100 MB to a service that does not read stop after what the sockets hold,
// and none of it in the routers' memory. Then the service reads, and all comes.
func TestStreamInBoundedMemory(t *testing.T) {
	const size = 100 << 20
	read, done := make(chan struct{}), make(chan int64, 1)
	socks, address := pair(t, func(nc *net.TCPConn) {
		<-read
		n, _ := io.Copy(io.Discard, nc)
		done <- n
	})
	nc, err := via(t, socks, address)
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	failed := make(chan error, 1)
	go func() {
		piece := make([]byte, 64<<10)
		rand.Read(piece)
		for sent.Load() < size {
			n, err := nc.Write(piece)
			sent.Add(int64(n))
			if err != nil {
				failed <- err
				return
			}
		}
		failed <- nc.CloseWrite()
	}()
	before := heap()
	for last := int64(-1); last != sent.Load(); time.Sleep(200 * time.Millisecond) {
		last = sent.Load()
	}
	if stuck := sent.Load(); stuck == 0 || stuck > size/2 {
		t.Errorf("%d MB were taken of a stream that nobody reads", stuck>>20)
	}
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("the routers hold %d MB", grown>>20)
	}
	close(read)
	if err := wait(t, failed); err != nil {
		t.Error(err)
	}
	if n := wait(t, done); n != size {
		t.Errorf("%d bytes came, want %d", n, size)
	}
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("afterwards the routers hold %d MB", grown>>20)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What a program sends before it hears anything is kept for the peer.
func TestEarlyBytes(t *testing.T) {
	a := authority(t)
	in := start(t, settings(t, "-R 0:"+service(t, echo)+"@tdx:"+image("client")), a.Machine("server"))
	out := start(t, settings(t, "-F 0:"+in.addr(0)+"@tdx:"+image("server")), a.Machine("client"))
	if err := talk(dial(t, out.addr(0))); err != nil {
		t.Error(err)
	}
}

// Nodes of ours behind two routers of ours, told by records who the other is.
func TestNodesBehindRouters(t *testing.T) {
	for _, names := range []struct{ fake, form string }{{"fake_tdx", "base"}, {"fake_tee", "current"}} {
		policy := &attest.Policy{AllowFake: true, AnyImage: true}
		l, err := ratls.ListenBehindRouter("127.0.0.1:0", &ratls.Config{Policy: policy, Log: quiet(t)})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err == nil {
				io.Copy(c, c)
				c.Close()
			}
		}()
		server, client := identity(t, insecure.Fake{}), identity(t, insecure.Fake{})
		in := start(t, settings(t, "-s", "-R 0:"+l.Addr().String()+"@"+names.fake), attest.NoPlatform{}, func(c *router.Config) { c.Identity = server })
		out := start(t, settings(t, "-s", "-S 0@"+names.fake), attest.NoPlatform{}, func(c *router.Config) { c.Identity = client })
		nc, peer, err := ratls.DialVia(t.Context(), out.addr(0), in.addr(0), &ratls.Config{Policy: policy})
		if err != nil {
			t.Fatalf("%s: %v", names.form, err)
		}
		if err := talk(nc); err != nil {
			t.Errorf("%s: %v", names.form, err)
		}
		nc.Close()
		shown, err := ratls.ParseCertificate(server.Certificate().Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if !peer.Key.Equal(shown.Key) {
			t.Errorf("%s: the record names another key", names.form)
		}
	}
}

func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl here")
	}
	socks, address := pair(t, func(nc *net.TCPConn) {
		b := make([]byte, 4096)
		n, _ := nc.Read(b)
		if !strings.HasPrefix(string(b[:n]), "GET /attested ") {
			return
		}
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nattested")
		nc.CloseWrite()
	})
	for _, how := range []string{"--socks5", "--socks5-hostname"} {
		url := "http://" + strings.Replace(address, "127.0.0.1", "localhost", 1) + "/attested"
		out, err := exec.CommandContext(t.Context(), curl, "-sS", "--max-time", "60", how, socks, url).CombinedOutput()
		if err != nil || string(out) != "attested" {
			t.Errorf("curl %s: %q, %v", how, out, err)
		}
	}
}

// A stop lets connections end by themselves, and takes no new ones.
func TestDrain(t *testing.T) {
	a := authority(t)
	s := settings(t, "-R 0:"+service(t, echo)+"@tdx:"+image("client"))
	s.Drain = patience
	in := start(t, s, a.Machine("server"))
	out := start(t, settings(t, "-S 0@tdx:"+image("server")), a.Machine("client"))
	nc, err := via(t, out.addr(0), in.addr(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := talk(nc); err != nil {
		t.Fatal(err)
	}
	address := in.addr(0)
	in.stop()
	until(t, "the port is closed", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if err := talk(nc); err != nil {
		t.Errorf("while draining: %v", err)
	}
	select {
	case <-in.done:
		t.Error("Run returned with a connection that lives")
	default:
	}
	nc.CloseWrite()
	if _, err := io.ReadAll(nc); err != nil {
		t.Error(err)
	}
	in.end(t)
}

// One that does not end is cut.
func TestDrainEnds(t *testing.T) {
	a := authority(t)
	s := settings(t, "-R 0:"+service(t, echo)+"@tdx:"+image("client"))
	s.Drain = 50 * time.Millisecond
	in := start(t, s, a.Machine("server"))
	out := start(t, settings(t, "-S 0@tdx:"+image("server")), a.Machine("client"))
	nc, err := via(t, out.addr(0), in.addr(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := talk(nc); err != nil {
		t.Fatal(err)
	}
	in.end(t)
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
}

// Secrets and what is said reach no log.
func TestLogsKeepSecrets(t *testing.T) {
	var log syncBuffer
	in := start(t, settings(t, "-R 0:"+service(t, echo)+"@any"), insecure.Fake{}, func(c *router.Config) { c.Log = log.logger() })
	s := settings(t, "-S 0@mine", "-P mine:any", "-P other:fake_tdx")
	s.Ports[0].PolicyFromUser = true
	out := start(t, s, attest.NoPlatform{}, func(c *router.Config) { c.Log = log.logger() })
	for _, user := range []string{"mine", "other", "nobody"} {
		_ = asUser(t, out.addr(0), in.addr(0), user)
	}
	in.end(t)
	out.end(t)
	for _, secret := range []string{"secret", "hello"} { // password, and what the connection carried
		if bytes.Contains(log.bytes(), []byte(secret)) {
			t.Errorf("the log has %q", secret)
		}
	}
	if len(log.bytes()) == 0 {
		t.Error("no log")
	}
}

func until(t testing.TB, what string, reached func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !reached() {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
