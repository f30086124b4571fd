package ratls

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
)

// Lists changed while a peer negotiated, and its time ran out while it was
// judged by the new ones: it was accepted by nobody, and is no connection.
func TestKeepEndsWithItsNegotiation(t *testing.T) {
	cfg := (&Config{Sessions: NewSessions(SessionsOptions{})}).withDefaults()
	begun := cfg.Sessions.begun()
	cfg.Sessions.Revalidate(t.Context())
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	ctx, cancel := context.WithCancel(t.Context())
	judge := func(context.Context, *attest.Verdict, time.Time) (*attest.Verdict, error) {
		cancel()
		return &attest.Verdict{}, errors.New("struck off")
	}
	conn, err := cfg.keep(ctx, &Conn{ours, &Peer{Verdict: &attest.Verdict{Trusted: true}}}, begun, judge)
	if conn != nil || err == nil || cfg.Sessions.Len() != 0 {
		t.Errorf("connection %v, error %v, %d sessions, want an error and nothing else", conn, err, cfg.Sessions.Len())
	}
}

// tickets counts what a client could resume a session with.
type tickets struct{ put int }

func (c *tickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *tickets) Put(string, *tls.ClientSessionState)        { c.put++ }

// Trust is not resumed: a listener hands out no tickets.
func TestNoTickets(t *testing.T) {
	identity, err := NewIdentity(t.Context(), attest.NoPlatform{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := (&Config{Identity: identity, Policy: &attest.Policy{AllowNone: true}}).withDefaults()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	server := tls.Server(ours, cfg.tlsConfig(t.Context(), &Peer{}, oidClientAuth))
	done := make(chan error, 1)
	go func() {
		_, err := server.Write([]byte{1})
		done <- err
	}()
	settings, kept := cfg.tlsConfig(t.Context(), &Peer{}, oidServerAuth), &tickets{}
	settings.SessionTicketsDisabled, settings.ClientSessionCache, settings.ServerName = false, kept, "name"
	client := tls.Client(theirs, settings)
	if _, err := client.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || kept.put != 0 {
		t.Errorf("%v, %d tickets", err, kept.put)
	}
}

// What is asked of GPUs names connection and key, as what is asked of the
// processor does.
func TestNonce(t *testing.T) {
	a, b := make(ed25519.PublicKey, 32), make(ed25519.PublicKey, 32)
	b[0] = 1
	seen := map[[32]byte]string{}
	for name, nonce := range map[string][32]byte{
		"one": exporter{1}.nonce(a), "another connection": exporter{2}.nonce(a), "another key": exporter{1}.nonce(b),
	} {
		if other, twice := seen[nonce]; twice {
			t.Errorf("%s and %s have the same nonce", name, other)
		}
		seen[nonce] = name
	}
}

// Who owns an address of IPv6 owns its network.
func TestHostOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1/32", "[::ffff:192.0.2.1]:5": "192.0.2.1/32", "[2001:db8::1]:5": "2001:db8::/64", "[2001:db8::ffff:2]:5": "2001:db8::/64",
		"[fe80::1%lo]:5": "fe80::/64",
	} {
		a := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))
		if got := hostOf(a).String(); got != want {
			t.Errorf("%s counts for %s, want %s", address, got, want)
		}
	}
}
