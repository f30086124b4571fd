package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/wire"
)

const (
	// replaceAfter is how long a proxy may be unreachable while others are
	// free. The reference waits 300 s; nobody should.
	replaceAfter = 30 * time.Second
	// drainLimit bounds how long a retired connection serves what it has begun.
	drainLimit = 2 * time.Minute
	// distrustGrace is the same for a proxy that is no longer trusted: it has
	// the prompts of what it is asked already.
	distrustGrace = 30 * time.Second
	// renewal is how long a verdict may take to be renewed.
	renewal   = time.Minute
	tickEvery = time.Second
)

// target is a proxy that we want to be connected to.
type target struct {
	addr   string
	stop   context.CancelCauseFunc
	dialer *wire.Dialer

	// guarded by Client.mu
	link     *link // while ready
	phase    wire.Phase
	lastErr  error
	notSince time.Time // not ready since then
}

// keepTargets makes the connections follow the registry until ctx ends.
func (c *Client) keepTargets(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		changed := c.cfg.Registry.Changed()
		c.reconcile(ctx, c.cfg.Registry.Root())
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-c.look:
		case <-tick.C:
		}
	}
}

func (c *Client) reconcile(ctx context.Context, root *contract.Root) {
	wanted := c.wanted(root)
	c.mu.Lock()
	defer c.mu.Unlock()
	for addr, t := range c.targets {
		if limit, reason := c.unfit(t, wanted, root); reason != nil {
			c.retire(addr, t, reason, limit)
		}
	}
	for _, i := range rand.Perm(len(wanted)) {
		if len(c.targets) >= c.cfg.Connections {
			return
		}
		if c.targets[wanted[i]] == nil {
			c.connect(ctx, wanted[i])
		}
	}
}

// wanted lists the addresses in question, each once.
func (c *Client) wanted(root *contract.Root) []string {
	if len(c.cfg.Proxies) > 0 {
		return unique(c.cfg.Proxies)
	}
	addrs := make([]string, 0, len(root.Proxies))
	for _, p := range root.Proxies {
		addrs = append(addrs, p.Clients.String())
	}
	return unique(addrs)
}

func unique(addrs []string) []string {
	addrs = slices.Clone(addrs)
	slices.Sort(addrs)
	return slices.Compact(addrs)
}

// unfit says why a target should go, or nil, and how long what was begun there
// may take to end.
func (c *Client) unfit(t *target, wanted []string, root *contract.Root) (time.Duration, error) {
	switch {
	case !slices.Contains(wanted, t.addr):
		return drainLimit, fmt.Errorf("proxy %s has left the registry", t.addr)
	case t.link == nil:
		if len(wanted) > len(c.targets) && c.cfg.Now().Sub(t.notSince) > replaceAfter {
			return drainLimit, fmt.Errorf("proxy %s was not ready for %v, trying another one", t.addr, replaceAfter)
		}
		return 0, nil
	}
	if err := c.mistrust(t.link, root); err != nil {
		return distrustGrace, err
	}
	if root.ParamsVersion > t.link.root.ParamsVersion {
		return drainLimit, fmt.Errorf("contract parameters changed to version %d", root.ParamsVersion)
	}
	return 0, nil
}

// mistrust says why a proxy that is connected is not trusted any more, or nil.
func (c *Client) mistrust(l *link, root *contract.Root) error {
	if why := l.distrusted(); why != nil {
		return why
	}
	// Where verdicts are renewed this one was, unless nobody could.
	if v := l.peer.Judged(); v != nil && !v.Expires.IsZero() && c.cfg.Now().After(v.Expires.Add(renewal)) {
		return fmt.Errorf("verdict about proxy %s has expired", l.addr)
	}
	return c.checkImage(root, l.peer)
}

// distrust lets a connection end whose proxy, judged anew, is refused: it gets
// no more prompts, and what it was asked before may end.
func (c *Client) distrust(l *link, why error) {
	l.mu.Lock()
	l.unwanted = why
	l.mu.Unlock()
	select {
	case c.look <- struct{}{}:
	default:
	}
}

// connect starts a target. The caller holds mu.
func (c *Client) connect(ctx context.Context, addr string) {
	ctx, stop := context.WithCancelCause(ctx)
	t := &target{addr: addr, stop: stop, notSince: c.cfg.Now()}
	t.dialer = &wire.Dialer{
		Target:  "proxy " + addr,
		Dial:    func(ctx context.Context) (net.Conn, any, error) { return c.dialJudged(ctx, addr) },
		Handler: handler{},
		Config:  wire.Config{Budget: c.wire, MaxQueued: maxQueued, Log: c.cfg.Log},
		Setup: func(conn *wire.Conn) {
			l := newLink(c, addr, conn)
			conn.Data = l
			l.peer.OnRefused(func(why error) { c.distrust(l, why) })
		},
		OnUp:             func(ctx context.Context, conn *wire.Conn) error { return conn.Data.(*link).handshake(ctx) },
		OnState:          func(s wire.State) { c.changed(ctx, t, s) },
		HandshakeTimeout: handshakeLimit(c.cfg.Registrar),
		Log:              c.cfg.Log,
	}
	c.targets[addr] = t
	c.wg.Go(func() {
		defer stop(nil)
		t.dialer.Run(ctx) // fails only without Dial and Handler
		c.forgetTarget(t)
	})
}

func (c *Client) dialJudged(ctx context.Context, addr string) (net.Conn, any, error) {
	nc, peer, err := c.cfg.Dial(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	err = contract.Stale(c.cfg.Registry, c.cfg.Now())
	if err == nil {
		err = c.checkImage(c.cfg.Registry.Root(), peer)
	}
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, peer, nil
}

// checkImage fails closed: outside test networks nobody can switch it off.
func (c *Client) checkImage(root *contract.Root, peer *ratls.Peer) error {
	if !c.cfg.CheckImages && root.IsTest {
		return nil
	}
	if peer == nil || peer.Verdict == nil {
		return fmt.Errorf("proxy has no verdict, want an image of the registry")
	}
	if !root.AllowsProxyImage(peer.Verdict.ImageHash) {
		return fmt.Errorf("proxy runs image %s, which the registry does not list", peer.Verdict.ImageHash)
	}
	return nil
}

// changed follows the dialer.
func (c *Client) changed(ctx context.Context, t *target, s wire.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.phase = s.Phase
	switch s.Phase {
	case wire.Up:
		l := s.Conn.Data.(*link)
		if l.isClosed() || c.targets[t.addr] != t { // lost again, or retired meanwhile
			return
		}
		t.link, t.lastErr = l, nil
		c.ready = append(slices.Clone(c.ready), l)
		close(c.more)
		c.more = make(chan struct{})
		c.cfg.Log.Info("connected to proxy", "proxy", t.addr, "version", l.version, "attestation", l.level())
		c.wg.Go(func() { l.maintain(ctx) })
	case wire.Waiting:
		t.lastErr = s.Err
	}
}

// lost takes a connection that has ended out of use.
func (c *Client) lost(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unready(l)
	for _, t := range c.targets {
		if t.link == l {
			t.link, t.notSince = nil, c.cfg.Now()
		}
	}
}

func (c *Client) unready(l *link) {
	c.ready = slices.DeleteFunc(slices.Clone(c.ready), func(other *link) bool { return other == l })
}

// retire ends a target after what it has begun. The caller holds mu.
func (c *Client) retire(addr string, t *target, reason error, limit time.Duration) {
	c.cfg.Log.Info("leaving proxy", "proxy", addr, "reason", reason)
	delete(c.targets, addr)
	if t.link == nil {
		t.stop(reason)
		return
	}
	c.unready(t.link)
	c.retired[t] = struct{}{}
	l := t.link
	c.wg.Go(func() {
		l.drained(limit)
		t.stop(reason)
	})
}

func (c *Client) forgetTarget(t *target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.retired, t)
}

// whyNotReady is the latest reason of each target, for people.
func (c *Client) whyNotReady() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.targets) == 0 {
		return "; the registry lists no proxy"
	}
	text := ""
	for addr, t := range c.targets {
		if t.lastErr != nil {
			text += fmt.Sprintf("; proxy %s: %v", addr, t.lastErr)
		}
	}
	return text
}
