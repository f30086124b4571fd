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
			conn, err = cfg.readPeer(nc)
		}
		return err
	})
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("ratls: dial %s via router %s: %w", address, socks5, err)
	}
	conn.Peer.Addr = net.TCPAddrFromAddrPort(target)
	return nc, conn.Peer, nil
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
			conn, err = cfg.readPeer(nc)
			return err
		})
		return conn, err
	})
}

// readPeer reads the record that a router writes first, and judges it.
func (c *Config) readPeer(nc net.Conn) (*Conn, error) {
	info, err := ReadPeerInfo(nc)
	if err != nil {
		return nil, err
	}
	verdict, err := c.Policy.JudgeRelayed(&info.Relayed, c.Now())
	if err != nil {
		return nil, err
	}
	peer := &Peer{Key: ed25519.PublicKey(info.Key), Verdict: verdict, Addr: net.TCPAddrFromAddrPort(info.Source)}
	return &Conn{nc, peer}, nil
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
