package ratls_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/ratls"
)

// router plays the reference's: SOCKS5 on one side, attested TLS on the other,
// and a record about the peer before anything else.
type router struct {
	cfg  *ratls.Config
	form ratls.Generation
}

func (r *router) serve(t testing.TB, l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer nc.Close()
			if err := r.forward(t.Context(), nc); err != nil && t.Context().Err() == nil {
				t.Log("router:", err)
			}
		}()
	}
}

func (r *router) forward(ctx context.Context, nc net.Conn) error {
	target, err := readSOCKSRequest(nc)
	if err != nil {
		return err
	}
	out, err := ratls.Dial(ctx, target.String(), r.cfg)
	if err != nil {
		return err // and close without a reply, as it does
	}
	defer out.Close()
	record, err := recordOf(out.Peer, target).Append([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 99}, r.form)
	if err != nil {
		return err
	}
	if _, err := nc.Write(record); err != nil {
		return err
	}
	go io.Copy(out, nc)
	_, err = io.Copy(nc, out)
	return err
}

func readSOCKSRequest(nc net.Conn) (netip.AddrPort, error) {
	var b [10]byte
	if _, err := io.ReadFull(nc, b[:3]); err != nil {
		return netip.AddrPort{}, err
	}
	nc.Write([]byte{5, 0})
	if _, err := io.ReadFull(nc, b[:10]); err != nil {
		return netip.AddrPort{}, err
	}
	if [4]byte(b[:4]) != [4]byte{5, 1, 0, 1} {
		return netip.AddrPort{}, fmt.Errorf("request %x", b)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[8])<<8|uint16(b[9])), nil
}

func recordOf(p *ratls.Peer, destination netip.AddrPort) *ratls.PeerInfo {
	info := &ratls.PeerInfo{Source: netip.MustParseAddrPort("127.0.0.1:1"), Destination: destination}
	info.Kind, info.Key = attest.KindNone, p.Key
	if m := p.Verdict.Measurements(); m != nil {
		info.Kind, info.Measurements = attest.KindTDX, m
	}
	return info
}

func startRouter(t *testing.T, cfg *ratls.Config, form ratls.Generation) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go (&router{cfg, form}).serve(t, l)
	return l.Addr().String()
}

func TestDialVia(t *testing.T) {
	peer, _ := everybody(t, nil) // shows fake evidence
	echo(t, peer)
	bare := listen(t, node(t, attest.NoPlatform{}, &attest.Policy{AllowNone: true}))
	echo(t, bare)
	lenient := &attest.Policy{AllowFake: true, AnyImage: true, AllowNone: true}
	for form, name := range map[ratls.Generation]string{ratls.GenerationBase: "base", ratls.GenerationCurrent: "current"} {
		via := startRouter(t, node(t, attest.NoPlatform{}, lenient), form)
		for _, c := range []struct {
			name   string
			target *ratls.Listener
			policy *attest.Policy
			kind   attest.Kind // empty: refused
		}{
			{"fake, allowed", peer, &attest.Policy{AllowFake: true, AnyImage: true}, attest.KindFakeTDX},
			{"none, allowed", bare, &attest.Policy{AllowNone: true}, attest.KindNone},
			{"fake", peer, &attest.Policy{AnyImage: true}, ""},
			{"none", bare, &attest.Policy{AnyImage: true, AllowFake: true}, ""},
			{"no policy", peer, nil, ""},
		} {
			conn, who, err := ratls.DialVia(t.Context(), via, c.target.Addr().String(), &ratls.Config{Policy: c.policy})
			if (err == nil) != (c.kind != "") {
				t.Errorf("%s record, %s: %v", name, c.name, err)
			}
			if err != nil {
				if !errors.Is(err, attest.ErrUntrusted) {
					t.Errorf("%s record, %s: error %v, want a refusal", name, c.name, err)
				}
				continue
			}
			if who.Verdict.Kind != c.kind || who.Addr.String() != c.target.Addr().String() || len(who.Key) != ed25519.PublicKeySize {
				t.Errorf("%s record, %s: %+v", name, c.name, who)
			}
			if err := talk(t, conn); err != nil {
				t.Errorf("%s record, %s: %v", name, c.name, err)
			}
			conn.Close()
		}
	}
}

// A router whose own policy refuses closes without a word of SOCKS.
func TestDialViaRefusedByRouter(t *testing.T) {
	peer, _ := everybody(t, nil)
	via := startRouter(t, node(t, attest.NoPlatform{}, trusting(t, "x")), ratls.GenerationBase)
	_, _, err := ratls.DialVia(t.Context(), via, peer.Addr().String(), &ratls.Config{Policy: &attest.Policy{AllowNone: true}})
	if err == nil || !strings.Contains(err.Error(), "did not reach the peer or refused it") {
		t.Errorf("error %v", err)
	}
}

func TestDialViaRefuses(t *testing.T) {
	greeted := []byte{5, 0}
	connected := append(bytes.Clone(greeted), 5, 0, 0, 1, 127, 0, 0, 1, 0, 1)
	lenient := &ratls.Config{Policy: &attest.Policy{AllowNone: true}, HandshakeTimeout: 300 * time.Millisecond}
	for _, c := range []struct {
		name    string
		address string
		says    []byte // by a router that then waits
		want    string
	}{
		{"no router's voice", "127.0.0.1:1", nil, "took too long"},
		{"not SOCKS5", "127.0.0.1:1", []byte("HTTP/1.1 400"), "greeting answered 4854"},
		{"asks for a password", "127.0.0.1:1", []byte{5, 2}, "greeting answered 0502"},
		{"refuses", "127.0.0.1:1", append(bytes.Clone(greeted), 5, 5, 0, 1), "reply begins 0505"},
		{"replies with a name", "127.0.0.1:1", append(bytes.Clone(greeted), 5, 0, 0, 3, 1, 'x', 0, 1), "address type 3"},
		{"no record", "127.0.0.1:1", connected, "took too long"},
		{"half a record", "127.0.0.1:1", append(bytes.Clone(connected), 8, 0, 0, 0, 1, 0), "took too long"},
		{"frames instead of a record", "127.0.0.1:1", append(bytes.Clone(connected), 0xff, 0xff, 0xff, 0), "does the router write records?"},
		{"an address without port", "127.0.0.1", nil, "missing port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				if nc, err := l.Accept(); err == nil {
					nc.Write(c.says)
					io.Copy(io.Discard, nc)
					nc.Close()
				}
			}()
			_, _, err = ratls.DialVia(t.Context(), l.Addr().String(), c.address, lenient)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// What is said on these connections is believed, so they stay on this machine.
func TestRoutersAreLocal(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:9", "example.org:9", "127.0.0.1"} {
		if l, err := ratls.ListenBehindRouter(address, &ratls.Config{}); err == nil {
			l.Close()
			t.Errorf("listening behind a router at %s", address)
		}
		if _, _, err := ratls.DialVia(t.Context(), address, "127.0.0.1:1", &ratls.Config{}); err == nil {
			t.Errorf("dialing via a router at %s", address)
		}
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:0"} {
		l, err := ratls.ListenBehindRouter(address, &ratls.Config{})
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		l.Close()
	}
}

func TestListenBehindRouter(t *testing.T) {
	key := ed25519.PublicKey(bytes.Repeat([]byte{1}, ed25519.PublicKeySize))
	info := func(root [48]byte) *ratls.PeerInfo {
		p := &ratls.PeerInfo{Source: netip.MustParseAddrPort("203.0.113.7:40000"), Destination: netip.MustParseAddrPort("127.0.0.1:11101")}
		p.Kind, p.Key, p.Measurements = attest.KindTDX, key, &attest.Measurements{RootKey: root}
		p.Measurements.MRTD[0], p.Measurements.ReportData = 1, attest.ReportData(key)
		return p
	}
	good := info(tdx.IntelRootKey)
	image := good.Measurements.ImageHash()
	l, err := ratls.ListenBehindRouter("127.0.0.1:0", &ratls.Config{
		Policy:           &attest.Policy{Images: func(h attest.Hash) bool { return h == image }},
		HandshakeTimeout: 200 * time.Millisecond,
		Log:              quiet(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	came := accepted(l)
	for _, form := range []ratls.Generation{ratls.GenerationBase, ratls.GenerationCurrent} {
		b, err := good.Append(nil, form)
		if err != nil {
			t.Fatal(err)
		}
		nc := dialRaw(t, l)
		nc.Write(append(b, "hello\n"...)) // in one segment: what follows must survive
		s := <-came
		go io.Copy(s, s)
		line := make([]byte, 6)
		if _, err := io.ReadFull(nc, line); err != nil || string(line) != "hello\n" {
			t.Errorf("form %d: %q, %v", form, line, err)
		}
		if s.RemoteAddr().String() != "203.0.113.7:40000" || s.Peer.Verdict.ImageHash != image || !s.Peer.Key.Equal(key) {
			t.Errorf("form %d: peer %+v", form, s.Peer)
		}
	}
	other, err := info([48]byte{1}).Append(nil, ratls.GenerationBase)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"another root": other, "nothing": nil, "garbage": []byte("garbage garbage"), "half": other[:100]} {
		nc := dialRaw(t, l)
		nc.Write(b)
		nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadAll(nc); isTimeout(err) {
			t.Errorf("%s: still connected", name)
		}
	}
	if _, n, failed := l.Counts(); n != 2 || failed != 4 {
		t.Errorf("%d accepted and %d failed, want 2 and 4", n, failed)
	}
}

// What a router says is believed, so it is on this machine.
func TestRouterElsewhere(t *testing.T) {
	for _, socks5 := range []string{"192.0.2.1:1080", "router.example:1080", "[2001:db8::1]:1080", "1080"} {
		if _, _, err := ratls.DialVia(t.Context(), socks5, "192.0.2.2:1", &ratls.Config{}); err == nil || !strings.Contains(err.Error(), "loopback") && !strings.Contains(err.Error(), "missing port") {
			t.Errorf("%s: %v, want a refusal of the address", socks5, err)
		}
	}
}

// A negotiation behind a router that ends in the last moment leaves nothing
// among the sessions.
func TestRouterNegotiationEndsLate(t *testing.T) {
	peer, _ := everybody(t, nil)
	echo(t, peer)
	sessions := ratls.NewSessions(ratls.SessionsOptions{})
	lenient := &attest.Policy{AllowFake: true, AnyImage: true, AllowNone: true}
	via := startRouter(t, node(t, attest.NoPlatform{}, lenient), ratls.GenerationBase)
	ctx, cancel := context.WithCancel(t.Context())
	late := &attest.Policy{AllowFake: true, Images: func(attest.Hash) bool { cancel(); return true }}
	if conn, _, err := ratls.DialVia(ctx, via, peer.Addr().String(), &ratls.Config{Policy: late, Sessions: sessions}); err == nil {
		conn.Close()
		t.Error("dialed, though the caller had left")
	}
	if n := sessions.Len(); n != 0 {
		t.Errorf("%d sessions after a dial that failed", n)
	}

	var l *ratls.Listener
	closed := make(chan error, 1)
	late.Images = func(attest.Hash) bool {
		go func() { closed <- l.Close() }()
		for { // until it has stopped
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return true
			}
			nc.Close()
		}
	}
	l, err := ratls.ListenBehindRouter("127.0.0.1:0", &ratls.Config{Policy: late, Sessions: sessions})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	info := &ratls.PeerInfo{Source: netip.MustParseAddrPort("127.0.0.1:1"), Destination: netip.MustParseAddrPort("127.0.0.1:2")}
	key, _, _ := ed25519.GenerateKey(nil)
	info.Kind, info.Key, info.Measurements = attest.KindTDX, key, &attest.Measurements{ReportData: attest.ReportData(key)}
	record, err := info.Append(nil, ratls.GenerationBase)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write(record); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil || sessions.Len() != 0 {
		t.Errorf("%v, %d sessions after a listener's end", err, sessions.Len())
	}
}
