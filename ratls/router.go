package ratls

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/opencocoon/cocoon/attest"
)

// DialVia connects to address, host:port, through the SOCKS5 port of a router
// on this machine. The router does the proof of work and TLS, judges by its own
// policy and reports the peer in a record, which cfg.Policy judges again. The
// router must be told to write records (its option -s).
func DialVia(ctx context.Context, socks5, address string, cfg *Config) (net.Conn, *Peer, error) {
	cfg = cfg.withDefaults()
	ctx, cancel := cfg.within(ctx)
	defer cancel()
	target, err := resolve(ctx, address)
	if err != nil {
		return nil, nil, fmt.Errorf("ratls: dial %s: %w", address, err)
	}
	nc, err := dialLoopback(ctx, socks5)
	if err != nil {
		return nil, nil, fmt.Errorf("ratls: router: %w", err)
	}
	var conn *Conn
	err = interruptible(ctx, nc, func() (err error) {
		if err = socksConnect(nc, target); err == nil {
			conn, err = cfg.readPeer(ctx, nc, target)
		}
		return err
	})
	if err != nil {
		conn.abandon()
		nc.Close()
		return nil, nil, fmt.Errorf("ratls: dial %s via router %s: %w", address, socks5, err)
	}
	return conn, conn.Peer, nil
}

// ListenBehindRouter accepts what a router on this machine forwards: plain
// connections that begin with a peer-info record. The address must be on
// loopback, because whoever connects may claim to be anybody.
func ListenBehindRouter(address string, cfg *Config) (*Listener, error) {
	if err := mustLoopback(address); err != nil {
		return nil, fmt.Errorf("ratls: listen behind a router: %w", err)
	}
	cfg = cfg.withDefaults()
	return listen(address, cfg, func(ctx context.Context, nc net.Conn) (conn *Conn, err error) {
		err = interruptible(ctx, nc, func() error {
			conn, err = cfg.readPeer(ctx, nc, netip.AddrPort{})
			return err
		})
		if err != nil {
			conn.abandon()
		}
		return conn, err
	})
}

// readPeer reads the record that a router writes first, and judges it. Without
// a dialed address the peer's is in the record. What a router does to know that
// evidence is fresh, it does not say.
func (c *Config) readPeer(ctx context.Context, nc net.Conn, dialed netip.AddrPort) (*Conn, error) {
	info, err := ReadPeerInfo(nc)
	if err != nil {
		return nil, err
	}
	begun := c.Sessions.begun()
	judge := func(ctx context.Context, _ *attest.Verdict, now time.Time) (*attest.Verdict, error) {
		v, err := c.policy().JudgeRelayed(&info.Relayed, now)
		if err != nil {
			return v, err
		}
		return c.policy().JudgeSession(ctx, v, nil, now)
	}
	verdict, err := judge(ctx, nil, c.Now())
	if err != nil {
		return nil, err
	}
	if !dialed.IsValid() {
		dialed = info.Source
	}
	peer := &Peer{Key: ed25519.PublicKey(info.Key), Verdict: verdict, Addr: net.TCPAddrFromAddrPort(dialed)}
	return c.keep(ctx, &Conn{nc, peer}, begun, judge)
}

// rememberQuotes gives the policy a cache if it has none, in a copy.
func (c *Config) rememberQuotes() {
	if c.Policy.Cache == nil {
		p := *c.Policy
		p.Cache = attest.NewCache(cachedVerdicts)
		c.Policy = &p
	}
}

func dialLoopback(ctx context.Context, address string) (net.Conn, error) {
	if err := mustLoopback(address); err != nil {
		return nil, err
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

// mustLoopback refuses an address that other machines can reach.
func mustLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("address %s is not on loopback, want 127.0.0.1:port: what is written there is believed", address)
	}
	return nil
}

// interruptible runs f, whose reads and writes on nc end with ctx.
func interruptible(ctx context.Context, nc net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	err := f()
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}
