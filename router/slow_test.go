package router_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/router"
)

// impatient are limits that a silent peer meets soon.
var impatient = router.Limits{Handshake: 100 * time.Millisecond, Dial: 100 * time.Millisecond, Idle: 100 * time.Millisecond}

// Whoever falls silent is let go by a deadline, at each stage.
func TestSilenceAtAReversePort(t *testing.T) {
	for _, c := range []struct {
		name string
		upTo func(*testing.T, net.Conn)
	}{
		{"before the proof of work", func(*testing.T, net.Conn) {}},
		{"in the middle of it", func(t *testing.T, nc net.Conn) { readN(nc, 24); nc.Write([]byte{0x19, 0x73}) }},
		{"before TLS", func(t *testing.T, nc net.Conn) { solveAsDeployed(t, nc, 4) }},
		{"in the middle of its first words", func(t *testing.T, nc net.Conn) { solveAsDeployed(t, nc, 4); nc.Write([]byte{22, 3, 1, 2, 0, 1}) }},
		{"before showing a certificate", func(t *testing.T, nc net.Conn) {
			solveAsDeployed(t, nc, 4)
			c := tls.Client(&mute{Conn: nc, after: 1}, deployedTLS(t))
			c.SetDeadline(time.Now().Add(50 * time.Millisecond))
			c.Handshake()
		}},
		{"once connected", func(t *testing.T, nc net.Conn) {
			solveAsDeployed(t, nc, 4)
			if err := tls.Client(nc, deployedTLS(t)).Handshake(); err != nil {
				t.Error(err)
			}
		}},
	} {
		s := settings(t, "-R 0:"+service(t, echo)+"@any")
		s.Limits = impatient
		r := start(t, s, insecure.Fake{}, func(c *router.Config) { c.Now = then })
		nc := dial(t, r.addr(0))
		c.upTo(t, nc)
		if err := ends(nc); err != nil {
			t.Errorf("%s: %v, want the end", c.name, err)
		}
	}
}

// ends reads until the router lets go, and fails if only our own patience did.
func ends(nc net.Conn) error {
	nc.SetDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, nc)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// mute swallows all writes after the first few.
type mute struct {
	net.Conn
	after int
}

func (m *mute) Write(b []byte) (int, error) {
	if m.after--; m.after < 0 {
		return len(b), nil
	}
	return m.Conn.Write(b)
}

func TestSilenceOfAProgram(t *testing.T) {
	for _, sent := range []string{"", "\x05", "\x05\x01\x00", "\x05\x01\x00\x05\x01\x00", "\x05\x01\x00\x05\x01\x00\x03\x20abc"} {
		s := settings(t, "-S 0@any")
		s.Limits = impatient
		r := start(t, s, insecure.Fake{})
		nc := dial(t, r.addr(0))
		io.WriteString(nc, sent)
		if err := ends(nc); err != nil {
			t.Errorf("after %q: %v, want the end", sent, err)
		}
	}
}

// A destination that falls silent is told to the program as one that is not
// there or, once it has been reached, as a failure.
func TestSilenceOfADestination(t *testing.T) {
	hang := func(nc net.Conn) { io.Copy(io.Discard, nc) }
	for _, c := range []struct {
		name   string
		answer func(*net.TCPConn)
		code   string
	}{
		{"before the challenge", func(nc *net.TCPConn) { hang(nc) }, "reply code 1"},
		{"in the middle of it", func(nc *net.TCPConn) { nc.Write([]byte{0x91, 0x12}); hang(nc) }, "reply code 1"},
		{"after the proof of work", func(nc *net.TCPConn) {
			nc.Write(append([]byte{0x91, 0x12, 0x8e, 0x41, 4, 0, 0, 0}, make([]byte, 16)...))
			hang(nc)
		}, "reply code 1"},
		{"it asks for more than we do", func(nc *net.TCPConn) {
			nc.Write(append([]byte{0x91, 0x12, 0x8e, 0x41, 29, 0, 0, 0}, make([]byte, 16)...))
			hang(nc)
		}, "reply code 1"},
		{"it is another service", func(nc *net.TCPConn) { io.WriteString(nc, strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 2)) }, "reply code 1"},
	} {
		s := settings(t, "-S 0@any")
		s.Limits = impatient
		s.Idle = patience
		r := start(t, s, insecure.Fake{})
		if _, err := via(t, r.addr(0), service(t, c.answer)); text(err) != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
	}
	s := settings(t, "-S 0@any")
	r := start(t, s, insecure.Fake{})
	if _, err := via(t, r.addr(0), "127.0.0.1:"+freePort(t)); text(err) != "reply code 5" {
		t.Errorf("nobody listens: %v, want reply code 5", err)
	}
}

// A service that takes no more stops the peer, and is given up.
func TestServiceThatDoesNotRead(t *testing.T) {
	released := make(chan struct{})
	s := settings(t, "-R 0:"+service(t, func(nc *net.TCPConn) { <-released })+"@any")
	s.Idle = 200 * time.Millisecond
	r := start(t, s, insecure.Fake{})
	defer close(released)
	conn := callQuietly(t, r.addr(0))
	piece := make([]byte, 64<<10)
	for {
		if _, err := conn.Write(piece); err != nil {
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("%v, want a reset", err)
			}
			break
		}
	}
	until(t, "it counts as idle", func() bool {
		return figure(r, "cocoon_router_ended_total", "because", "cocoon_router_ended_total{because=idle} 1") == "cocoon_router_ended_total{because=idle} 1"
	})
}

// callQuietly connects and says nothing.
func callQuietly(t *testing.T, address string) *ratls.Conn {
	t.Helper()
	conn, err := ratls.Dial(t.Context(), address, &ratls.Config{Identity: identity(t, insecure.Fake{}), Policy: anybody()})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// The service behind a reverse port is not there: the peer sees it end.
func TestServiceThatIsNotThere(t *testing.T) {
	r := start(t, settings(t, "-R 0:127.0.0.1:"+freePort(t)+"@any"), insecure.Fake{})
	if err := ends(callQuietly(t, r.addr(0))); err != nil {
		t.Error(err)
	}
	until(t, "it is counted", func() bool {
		return figure(r, "cocoon_router_refused_total", "because", "cocoon_router_refused_total{because=dial} 1") == "cocoon_router_refused_total{because=dial} 1"
	})
}

// More that negotiate than there is room for push out the oldest of the host
// that has most, and an honest peer gets in.
func TestFloodOfHandshakes(t *testing.T) {
	s := settings(t, "-R 0:"+service(t, echo)+"@any")
	s.Handshakes = 4
	r := start(t, s, insecure.Fake{})
	var silent []net.Conn
	for range 8 {
		silent = append(silent, dial(t, r.addr(0)))
	}
	for _, nc := range silent[:4] {
		if err := ends(nc); err != nil {
			t.Errorf("an old one: %v, want the end", err)
		}
	}
	if err := knock(t, r.addr(0), insecure.Fake{}); err != nil {
		t.Error(err)
	}
}
