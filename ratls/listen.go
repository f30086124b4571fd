package ratls

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/wire"
)

// Listener accepts peers that were judged and believed. Negotiations run
// beside each other; one that fails, stalls or floods ends alone and is logged.
type Listener struct {
	inner     net.Listener
	cfg       *Config
	negotiate func(context.Context, net.Conn) (*Conn, error)
	ready     chan *Conn

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex // guards halfOpen
	halfOpen list.List  // of negotiation, oldest first

	accepted, failed atomic.Int64
}

// Listen accepts at address, host:port: proof of work, TLS 1.3, verdict. It
// remembers verified quotes by itself if the policy has no cache.
func Listen(address string, cfg *Config) (*Listener, error) {
	cfg = cfg.withDefaults()
	if cfg.Identity == nil {
		return nil, fmt.Errorf("ratls: listen %s: %w", address, errNoIdentity)
	}
	cfg.rememberQuotes()
	return listen(address, cfg, cfg.negotiateTLS)
}

func (c *Config) negotiateTLS(ctx context.Context, nc net.Conn) (*Conn, error) {
	if err := wire.Challenge(ctx, nc, c.Difficulty); err != nil {
		return nil, err
	}
	begun, peer := c.Sessions.begun(), &Peer{Addr: nc.RemoteAddr()}
	settings := c.tlsConfig(ctx, peer, oidClientAuth)
	tc := tls.Server(nc, settings)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if err := c.prove(ctx, tc, &settings.Certificates[0], peer, listener); err != nil {
		return nil, err
	}
	return c.keep(ctx, &Conn{tc, peer}, begun, c.anew(tc, peer))
}

func listen(address string, cfg *Config, negotiate func(context.Context, net.Conn) (*Conn, error)) (*Listener, error) {
	inner, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("ratls: %w", err)
	}
	return serveOn(inner, cfg, negotiate), nil
}

func serveOn(inner net.Listener, cfg *Config, negotiate func(context.Context, net.Conn) (*Conn, error)) *Listener {
	l := &Listener{inner: inner, cfg: cfg, negotiate: negotiate, ready: make(chan *Conn)}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.wg.Go(l.acceptLoop)
	return l
}

// Accept returns the next peer, always a *Conn, or net.ErrClosed after Close.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.ready:
		return conn, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Addr is where it listens.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Close stops accepting, ends what is being negotiated and waits for it.
// Connections that were accepted go on.
func (l *Listener) Close() error {
	l.stop()
	err := l.inner.Close()
	l.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Counts tells how many connections are in negotiation, and how many were
// accepted and failed since the start.
func (l *Listener) Counts() (halfOpen int, accepted, failed int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.halfOpen.Len(), l.accepted.Load(), l.failed.Load()
}

// acceptLoop survives what an accept can fail with while the listener is open:
// connections that were reset early, and a process short of descriptors.
func (l *Listener) acceptLoop() {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for l.ctx.Err() == nil {
		nc, err := l.inner.Accept()
		if err == nil {
			l.begin(nc)
			pause = shortest
			continue
		}
		if l.ctx.Err() == nil {
			l.cfg.Log.Warn("accept failed", "err", err, "pause", pause)
		}
		select {
		case <-l.ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, longest)
		}
	}
}

// negotiation is a place among the half open.
type negotiation struct {
	host   netip.Prefix // whom it counts for
	cancel context.CancelCauseFunc
}

// begin negotiates with a new connection. With too many at it one has to go:
// the oldest of the host that has most. An honest peer takes a fraction of a
// second, so whoever floods us pushes himself out.
func (l *Listener) begin(nc net.Conn) {
	ctx, cancel := context.WithCancelCause(l.ctx)
	l.mu.Lock()
	for l.halfOpen.Len() >= l.cfg.MaxHalfOpen {
		l.halfOpen.Remove(l.mostCrowding()).(negotiation).cancel(errCrowded)
	}
	place := l.halfOpen.PushBack(negotiation{hostOf(nc.RemoteAddr()), cancel})
	l.mu.Unlock()

	l.wg.Go(func() {
		defer cancel(nil)
		defer l.leave(place)
		l.serve(ctx, nc)
	})
}

func (l *Listener) mostCrowding() *list.Element {
	var worst *list.Element
	have, most := map[netip.Prefix]int{}, 0
	for e := l.halfOpen.Back(); e != nil; e = e.Prev() { // the oldest of a host is counted last
		host := e.Value.(negotiation).host
		if have[host]++; have[host] >= most {
			worst, most = e, have[host]
		}
	}
	return worst
}

// hostOf is the address, of IPv6 the network: its owner has all of it.
func hostOf(a net.Addr) netip.Prefix {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := ap.Addr().Unmap().WithZone("")
	p, _ := ip.Prefix(min(ip.BitLen(), 64))
	return p
}

func (l *Listener) leave(place *list.Element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.halfOpen.Remove(place) // does nothing if it was pushed out
}

// serve negotiates and hands the peer over, or closes nc.
func (l *Listener) serve(ctx context.Context, nc net.Conn) {
	ctx, cancel := l.cfg.within(ctx)
	defer cancel()
	conn, err := l.negotiate(ctx, nc)
	if err == nil {
		select {
		case l.ready <- conn:
			l.accepted.Add(1)
			return
		case <-ctx.Done():
			err = ctx.Err()
			conn.Peer.life.end()
		}
	}
	if l.ctx.Err() == nil {
		l.failed.Add(1)
		l.cfg.Log.Info("peer refused", "remote", nc.RemoteAddr(), "err", why(ctx, err))
	}
	nc.Close()
}
