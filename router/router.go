// Package router gives any TCP service attested TLS: proof of work, mutual
// RA-TLS and a verdict about the peer, while the programs on either side speak
// plain TCP on loopback.
//
// A router has ports. At a socks5 or forward port a program on this machine
// asks for a destination, and gets through if the peer there is let in by the
// port's policy. At a reverse port peers come from outside, and those let in
// reach a plain service. A port may begin the local connection with a
// peer-info record, from which the program learns who its peer is.
//
// Start with [Settings], which read the flags and configuration files of the
// reference's router, and [New]. Who is believed is decided by packages attest
// and ratls; this one adds the lists that only a router has, limits, and
// the care for connections that last: they are judged anew when a policy changes or a
// verdict ends, and cut if they are no longer let in.
//
// Specification: wire.md 3, roles.md 7.1, current.md 6.2 and 6.3.
package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/ratls"
)

// Config is what a router is made of.
type Config struct {
	Settings Settings
	// Trust holds what all policies share: verifiers and cache. What else it
	// says does not count.
	Trust attest.Policy
	// Identity is shown to peers. Required.
	Identity *ratls.Identity
	// Now dates verdicts. Nil means time.Now.
	Now func() time.Time
	// Log gets a line for every peer that was refused or cut. Nil discards.
	Log *slog.Logger
}

// Router carries connections between programs here and attested peers.
type Router struct {
	identity *ratls.Identity
	trust    attest.Policy
	now      func() time.Time
	log      *slog.Logger

	plan   atomic.Pointer[plan]
	crowd  crowd
	places chan struct{} // for negotiations that we begin
	links  links

	mu      sync.Mutex // guards the two, and one reload at a time
	doors   []*door
	running bool

	accepting, working context.Context // end with Run's context, and after the drain
	cease              context.CancelFunc
	cut                context.CancelCauseFunc
	wg                 sync.WaitGroup

	reloads, reloadsFailed, rejudged atomic.Int64
}

// New checks settings and opens all ports, or none. Call Run.
func New(cfg Config) (*Router, error) {
	if cfg.Identity == nil {
		return nil, errors.New("router: no identity to show: set Config.Identity")
	}
	r := &Router{identity: cfg.Identity, trust: cfg.Trust, now: cfg.Now, log: cfg.Log}
	if r.now == nil {
		r.now = time.Now
	}
	r.log = cmp.Or(r.log, slog.New(slog.DiscardHandler))
	plan, err := cfg.Settings.plan(r.trust)
	if err != nil {
		return nil, err
	}
	r.accepting, r.cease = context.WithCancel(context.Background())
	r.working, r.cut = context.WithCancelCause(context.Background())
	r.places = make(chan struct{}, plan.limits.Handshakes)
	r.plan.Store(plan)
	if r.doors, err = r.openAll(plan); err != nil {
		return nil, err
	}
	r.tell(plan)
	return r, nil
}

// tell writes down what the settings leave open.
func (r *Router) tell(l *plan) {
	for _, d := range r.doors {
		at := d.stand.Load()
		r.log.Info("port open", "port", d.Addr(), "type", at.Type, "policy", at.Policy, "policy_type", at.rule.Type)
	}
	for name, rule := range l.rules {
		switch {
		case formOf(rule.Type) != formEither && rule.attest.AllowFake:
			r.log.Warn("INSECURE: this policy believes evidence that proves nothing", "policy", name)
		case formOf(rule.Type) != formEither && rule.empty:
			r.log.Warn("INSECURE: an empty list of this policy lets in whatever runs in its family", "policy", name)
		}
	}
}

// Close closes the ports of a router that was never run.
func (r *Router) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return closeAll(r.doors)
}

// recheck is how often verdicts are looked at whose time may be over.
const recheck = 30 * time.Second

// Run carries connections until ctx ends. Then it accepts nothing more, ends
// what is being negotiated, gives connections the drain time to end by
// themselves, cuts the rest, and returns nil when all it started has ended.
func (r *Router) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running = true
	for _, d := range r.doors {
		r.wg.Go(d.serve)
	}
	r.mu.Unlock()
	ticker := time.NewTicker(recheck)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			r.renewVerdicts()
		case <-ctx.Done():
		}
	}
	return r.finish()
}

func (r *Router) finish() error {
	r.cease()
	r.mu.Lock()
	err := closeAll(r.doors)
	r.mu.Unlock()
	if n := r.links.count(); n > 0 {
		r.log.Info("waiting for connections to end", "connections", n, "at most", r.plan.Load().limits.Drain)
	}
	r.links.drained(r.plan.Load().limits.Drain)
	r.cut(errStopped)
	r.wg.Wait()
	return err
}

// Address is where a port is open.
type Address struct {
	Port
	Addr net.Addr
}

// Addresses are the open ports in the order of the settings.
func (r *Router) Addresses() []Address {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Address, len(r.doors))
	for i, d := range r.doors {
		out[i] = Address{d.stand.Load().Port, d.Addr()}
	}
	return out
}

// Reload takes other settings while connections go on: those that the new
// policies let in stay, the others are cut before it returns. On error
// everything is as it was. Limits that are fixed when a router starts stay. It
// may be called while Run runs.
func (r *Router) Reload(s Settings) error {
	r.reloads.Add(1)
	if err := r.exchange(s); err != nil {
		r.reloadsFailed.Add(1)
		return err
	}
	r.judgeAll(r.links.all())
	return nil
}

func (r *Router) exchange(s Settings) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := s.plan(r.trust)
	if err != nil {
		return err
	}
	if r.accepting.Err() != nil {
		return errStopped
	}
	doors, opened, gone, err := r.rearrange(next)
	if err != nil {
		return err
	}
	next.later = true
	r.plan.Store(next)
	for i, d := range doors {
		d.stand.Store(next.stand(i))
	}
	r.doors = doors
	if r.running {
		for _, d := range opened {
			r.wg.Go(d.serve)
		}
	}
	r.tell(next)
	if err := closeAll(gone); err != nil { // nothing that comes there is served any more
		r.log.Warn("port not closed in order", "err", err)
	}
	return nil
}

// rearrange keeps the doors that stay, and opens those that are new. A door
// whose port is to be of another kind makes way, even if what follows fails.
func (r *Router) rearrange(next *plan) (doors, opened, gone []*door, err error) {
	left := r.doors
	for i, port := range next.ports {
		var d *door
		if d, left = take(left, port, next.bind); d == nil {
			for _, old := range left {
				if n := old.stand.Load().Port.Port; n != 0 && n == port.Port {
					_ = old.close() // if it fails so does the next
				}
			}
			if d, err = r.open(next.stand(i)); err != nil {
				return nil, nil, nil, errors.Join(err, closeAll(opened))
			}
			opened = append(opened, d)
		}
		doors = append(doors, d)
	}
	return doors, opened, left, nil
}

func (r *Router) openAll(l *plan) (doors []*door, err error) {
	for i := range l.ports {
		d, err := r.open(l.stand(i))
		if err != nil {
			return nil, errors.Join(err, closeAll(doors))
		}
		doors = append(doors, d)
	}
	return doors, nil
}

func closeAll(doors []*door) error {
	var errs []error
	for _, d := range doors {
		if err := d.close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("router: %w", err))
		}
	}
	return errors.Join(errs...)
}
