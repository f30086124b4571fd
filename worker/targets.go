package worker

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/wire"
)

const (
	// scanTargets is how often targets are looked over, abandonAfter how long
	// one may stay without a connection before another proxy is drawn.
	scanTargets  = 2 * time.Second
	abandonAfter = 300 * time.Second
)

// target is a proxy that the worker keeps a connection to.
type target struct {
	address string
	dialer  *wire.Dialer
	stop    context.CancelFunc
	done    chan struct{} // closed when nothing of it runs any more
	missing time.Time     // since when it is not connected
	lastErr atomic.Value  // error: why not
}

// keepTargets works for as many of the registry's proxies as configured, until
// ctx ends. When prices or contracts change, all connections begin anew.
func (w *Worker) keepTargets(ctx context.Context) {
	defer w.dropTargets(func(*target) bool { return true })
	params := w.cfg.Registry.Root().ParamsVersion
	for {
		changed := w.cfg.Registry.Changed()
		root := w.cfg.Registry.Root()
		w.checkModel(root)
		renewed := root.ParamsVersion != params
		params = root.ParamsVersion
		w.dropTargets(func(t *target) bool { return renewed || w.outdated(t, root) })
		w.dropDistrusted(ctx, root)
		w.fillTargets(ctx, root)
		timer := time.NewTimer(scanTargets)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// outdated says whether a target should be given up: the registry has dropped
// it, or it was away for too long.
func (w *Worker) outdated(t *target, root *contract.Root) bool {
	listed := false
	for _, p := range root.Proxies {
		listed = listed || p.Workers.String() == t.address
	}
	if c := t.dialer.Conn(); c != nil {
		t.missing = time.Time{}
		return !listed
	}
	if t.missing.IsZero() {
		t.missing = time.Now()
	}
	return !listed || time.Since(t.missing) >= abandonAfter
}

func (w *Worker) dropTargets(drop func(*target) bool) {
	var dropped []*target
	w.mu.Lock()
	for address, t := range w.targets {
		if drop(t) {
			delete(w.targets, address)
			dropped = append(dropped, t)
		}
	}
	w.mu.Unlock()
	for _, t := range dropped {
		t.stop()
	}
	for _, t := range dropped {
		<-t.done
	}
}

// dropDistrusted leaves the targets whose image the registry has dropped.
func (w *Worker) dropDistrusted(ctx context.Context, root *contract.Root) {
	w.mu.Lock()
	targets := slices.Collect(maps.Values(w.targets))
	w.mu.Unlock()
	for _, t := range targets {
		if c := t.dialer.Conn(); c != nil {
			if err := w.checkImage(c, root); err != nil {
				w.leaveDistrusted(ctx, t, c, err)
			}
		}
	}
}

// fillTargets draws proxies at random, so that workers spread over them.
func (w *Worker) fillTargets(ctx context.Context, root *contract.Root) {
	for _, i := range rand.Perm(len(root.Proxies)) {
		w.mu.Lock()
		address := root.Proxies[i].Workers.String()
		if len(w.targets) < w.cfg.Connections && w.targets[address] == nil && ctx.Err() == nil {
			w.targets[address] = w.newTarget(ctx, address)
		}
		w.mu.Unlock()
	}
}

func (w *Worker) newTarget(ctx context.Context, address string) *target {
	ctx, stop := context.WithCancel(ctx)
	t := &target{address: address, stop: stop, done: make(chan struct{}), missing: time.Now()}
	t.dialer = &wire.Dialer{
		Target: address, Handler: w, Config: w.cfg.Wire, Log: w.cfg.Log,
		Dial: func(ctx context.Context) (net.Conn, any, error) { return w.dial(ctx, address) },
		Setup: func(c *wire.Conn) {
			s := newSession(w, c, address)
			c.Data = s
			s.watch(c)
		},
		OnUp:    func(ctx context.Context, c *wire.Conn) error { return c.Data.(*session).handshake(ctx) },
		OnState: func(s wire.State) { t.note(s) },
	}
	go func() {
		defer close(t.done)
		defer stop()
		t.dialer.Run(ctx)
	}()
	return t
}

func (t *target) note(s wire.State) {
	if s.Err != nil {
		t.lastErr.Store(s.Err.Error())
	}
}

func (w *Worker) dial(ctx context.Context, address string) (net.Conn, any, error) {
	if w.cfg.Dial != nil {
		nc, peer, err := w.cfg.Dial(ctx, address)
		return nc, peer, err
	}
	if w.cfg.Via != "" {
		nc, peer, err := ratls.DialVia(ctx, w.cfg.Via, address, w.cfg.RATLS)
		return nc, peer, err
	}
	conn, err := ratls.Dial(ctx, address, w.cfg.RATLS)
	if err != nil {
		return nil, nil, err
	}
	return conn, conn.Peer, nil
}
