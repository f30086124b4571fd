package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

// Dialer keeps one connection to one target: it dials, makes the opening
// exchange, lets OnUp do the handshake, and begins again after a loss. Set
// the fields, then call Run once.
type Dialer struct {
	// Target names the target in logs and errors.
	Target string
	// Dial connects, with whatever must precede frames, and says who answered.
	Dial func(ctx context.Context) (nc net.Conn, peer any, err error)
	// Handler gets what the target sends.
	Handler Handler
	// Config is that of each connection; its Peer comes from Dial.
	Config Config
	// Setup, if not nil, sets Data of a connection that is about to start.
	Setup func(*Conn)
	// OnUp, if not nil, makes the role's handshake on a started connection;
	// it may ask. The connection counts as up once it returns nil; an error
	// closes it. Its context ends with the connection.
	OnUp func(context.Context, *Conn) error
	// OnState, if not nil, learns of every change, on the goroutine of Run.
	OnState func(State)
	// DialTimeout bounds Dial and the opening exchange together, default
	// 60 s (proof of work and attestation are in it). HandshakeTimeout bounds
	// OnUp, default 60 s.
	DialTimeout, HandshakeTimeout time.Duration
	// MinDelay and MaxDelay bound the wait before the next attempt: random,
	// up to MinDelay doubled with each failure, at most MaxDelay. Default
	// 0.1 s and 10 s.
	MinDelay, MaxDelay time.Duration
	// Log gets losses and failures. Nil discards.
	Log *slog.Logger

	conn atomic.Pointer[Conn]
}

// Phase is what a Dialer is doing.
type Phase int

// The phases follow each other: Connecting, perhaps Up, Waiting, Connecting…
const (
	Connecting Phase = iota
	Up
	Waiting
)

func (p Phase) String() string { return [...]string{"connecting", "up", "waiting"}[p] }

// State is one change in the life of a Dialer.
type State struct {
	Phase    Phase
	Conn     *Conn         // when Up
	Err      error         // when Waiting: why the last attempt or connection ended
	Retry    time.Duration // when Waiting: time to the next attempt
	Failures int           // attempts since the last connection that lasted
}

// Conn is the connection that is up now, or nil.
func (d *Dialer) Conn() *Conn { return d.conn.Load() }

// Run works until ctx ends and then returns nil. By that time its connection
// has been closed, after delivering what was queued if the peer takes it.
func (d *Dialer) Run(ctx context.Context) error {
	if d.Dial == nil || d.Handler == nil {
		return errors.New("wire: dialer needs Dial and Handler")
	}
	d.setDefaults()
	for failures := 0; ; {
		d.report(State{Phase: Connecting, Failures: failures})
		lasted, err := d.session(ctx, failures)
		if ctx.Err() != nil {
			return nil
		}
		if lasted >= d.MaxDelay { // shorter ones are no reason to hurry back
			failures = 0
		}
		failures++
		state := State{Phase: Waiting, Err: err, Retry: d.delay(failures), Failures: failures}
		d.Log.Warn("not connected", "target", d.Target, "reason", err, "retry", state.Retry)
		d.report(state)
		if !sleep(ctx, state.Retry) {
			return nil
		}
	}
}

func (d *Dialer) setDefaults() {
	setDefault(&d.DialTimeout, time.Minute)
	setDefault(&d.HandshakeTimeout, time.Minute)
	setDefault(&d.MinDelay, 100*time.Millisecond)
	setDefault(&d.MaxDelay, 10*time.Second)
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
}

// session is one connection from dialing to its end, and how long it was up.
func (d *Dialer) session(ctx context.Context, failures int) (time.Duration, error) {
	c, err := d.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Wait()
	stop := context.AfterFunc(ctx, func() { c.CloseAfterFlush(context.Cause(ctx)) })
	defer stop()
	if err := d.handshake(ctx, c); err != nil {
		c.Close(err)
		return 0, err
	}
	up := time.Now()
	d.conn.Store(c)
	defer d.conn.Store(nil)
	d.report(State{Phase: Up, Conn: c, Failures: failures})
	<-c.Done()
	return time.Since(up), c.Err()
}

func (d *Dialer) connect(ctx context.Context) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.DialTimeout)
	defer cancel()
	nc, peer, err := d.Dial(ctx)
	if err != nil {
		return nil, err
	}
	cfg := d.Config
	cfg.Peer = peer
	c, err := Client(ctx, nc, d.Handler, cfg)
	if err != nil {
		return nil, err
	}
	if d.Setup != nil {
		d.Setup(c)
	}
	c.Start()
	return c, nil
}

func (d *Dialer) handshake(ctx context.Context, c *Conn) error {
	if d.OnUp == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.HandshakeTimeout)
	defer cancel()
	go func() { // whatever OnUp waits for ends with the connection
		select {
		case <-c.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := d.OnUp(ctx, c); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return nil
}

func (d *Dialer) report(s State) {
	if d.OnState != nil {
		d.OnState(s)
	}
}

// delay is drawn from the whole range below the bound, so that many dialers
// that lost the same target do not come back together.
func (d *Dialer) delay(failures int) time.Duration {
	bound := d.MaxDelay
	if shift := failures - 1; shift < 16 {
		bound = min(bound, d.MinDelay<<shift)
	}
	return rand.N(bound) + 1
}

// sleep reports whether it was not interrupted.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
