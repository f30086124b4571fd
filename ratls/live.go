package ratls

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/opencocoon/cocoon/attest"
)

// Sessions are the connections that live under a [Config]. What was believed
// when a peer connected may stop to be: its image leaves the registry, its
// platform is struck off, the vendor revokes it, the policy is replaced.
// [Sessions.Revalidate] judges everybody anew; who is refused is drained by its
// role, see [Peer.OnRefused], and cut off after a time of grace.
//
// Its methods are safe for concurrent use.
type Sessions struct {
	opts     SessionsOptions
	replaced atomic.Pointer[attest.Policy]

	mu    sync.Mutex // guards all below; nothing is called under it
	all   map[*life]struct{}
	round uint64 // how often everybody was judged anew, the last time perhaps not yet to the end
}

// SessionsOptions may be zero.
type SessionsOptions struct {
	// Grace is how long a refused peer may finish what it has begun before its
	// connection is closed, whatever the role does. Zero means 45 s, which is
	// beyond the time that roles give running requests.
	Grace time.Duration
	// Sweep is the longest time between two judgements, for lists that change
	// without saying so. Zero means a minute; what is remembered of a peer's
	// evidence makes one cost microseconds.
	Sweep time.Duration
	// Log gets a line for each peer that is no longer believed. Nil discards.
	Log *slog.Logger
}

const (
	defaultGrace = 45 * time.Second
	defaultSweep = time.Minute
	// judgesAtOnce keeps one peer whose collateral is slow to come from
	// delaying the others, judgeTimeout from waiting for it for ever.
	judgesAtOnce = 8
	judgeTimeout = 20 * time.Second
	shortestNap  = time.Second // between two rounds that nobody asked for
)

// NewSessions returns an empty set. Call Run to have it watched.
func NewSessions(o SessionsOptions) *Sessions {
	o.Grace = cmp.Or(o.Grace, defaultGrace)
	o.Sweep = cmp.Or(o.Sweep, defaultSweep)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return &Sessions{opts: o, all: map[*life]struct{}{}}
}

// Len is how many connections live.
func (s *Sessions) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// Replace makes p the policy of every Config with these sessions, for
// handshakes to come. Call Revalidate to apply it to those who are connected.
func (s *Sessions) Replace(p *attest.Policy) {
	c := *p
	if c.Cache == nil {
		c.Cache = attest.NewCache(cachedVerdicts)
	}
	s.replaced.Store(&c)
}

// Run judges everybody anew whenever a list has changed, a verdict expires, or
// the sweep is due, until ctx ends; it returns nothing else. changed returns a
// channel that is closed at the next change; nil means that no list tells.
func (s *Sessions) Run(ctx context.Context, changed func() <-chan struct{}) error {
	if changed == nil {
		changed = func() <-chan struct{} { return nil }
	}
	for {
		next := changed() // before judging: what changes meanwhile counts for the next round
		s.Revalidate(ctx)
		timer := time.NewTimer(s.nap())
		select {
		case <-next:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// nap is the time until the next verdict expires.
func (s *Sessions) nap() time.Duration {
	nap := s.opts.Sweep
	for _, l := range s.lives() {
		nap = min(nap, l.verdict.Load().Expires.Sub(l.cfg.Now()))
	}
	return max(nap, shortestNap)
}

// Revalidate judges every connected peer anew and returns how many of them
// were refused by it. It asks the network only where a verdict has expired.
func (s *Sessions) Revalidate(ctx context.Context) (refused int) {
	s.mu.Lock()
	s.round++
	s.mu.Unlock()
	var n atomic.Int64
	var g errgroup.Group
	g.SetLimit(judgesAtOnce)
	for _, l := range s.lives() {
		g.Go(func() error {
			if l.revalidate(ctx) != nil {
				n.Add(1)
			}
			return nil
		})
	}
	g.Wait()
	return int(n.Load())
}

func (s *Sessions) lives() []*life {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.all))
}

// begun marks the beginning of a negotiation; nil-safe like the Config's field.
func (s *Sessions) begun() uint64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.round
}

// life is one connection among the sessions.
type life struct {
	cfg     *Config
	conn    *Conn
	judge   judgement
	verdict atomic.Pointer[attest.Verdict]

	judging sync.Mutex // one judgement at a time; taken before mu

	mu      sync.Mutex // guards all below
	refused error
	drain   func(error)
	cut     *time.Timer
	ended   bool
}

// judgement judges a connected peer anew.
type judgement func(ctx context.Context, old *attest.Verdict, now time.Time) (*attest.Verdict, error)

// keep adds a connection to the sessions. Should lists have changed since its
// negotiation began, it may have been judged by the old ones and is judged again.
func (c *Config) keep(ctx context.Context, conn *Conn, begun uint64, judge judgement) (*Conn, error) {
	s := c.Sessions
	if s == nil {
		return conn, nil
	}
	l := &life{cfg: c, conn: conn, judge: judge}
	l.verdict.Store(conn.Peer.Verdict)
	conn.Peer.life = l
	s.mu.Lock()
	s.all[l] = struct{}{}
	stale := s.round != begun
	s.mu.Unlock()
	if stale {
		err := l.revalidate(ctx)
		if err == nil { // which it also is if time ran out and nobody has judged
			err = context.Cause(ctx)
		}
		if err != nil {
			l.end()
			return nil, err
		}
	}
	return conn, nil
}

// revalidate returns why the peer is refused, if it has just been.
func (l *life) revalidate(ctx context.Context) error {
	l.judging.Lock()
	defer l.judging.Unlock()
	if l.over() {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	v, err := l.judge(limited, l.verdict.Load(), l.cfg.Now())
	if ctx.Err() != nil { // we are leaving: that says nothing about the peer
		return nil
	}
	l.verdict.Store(v)
	if err != nil {
		l.refuse(err)
	}
	return err
}

func (l *life) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended || l.refused != nil
}

func (l *life) refuse(why error) {
	s := l.cfg.Sessions
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return
	}
	l.refused = fmt.Errorf("peer is no longer trusted: %w", why)
	l.cut = time.AfterFunc(s.opts.Grace, func() { l.conn.Close() })
	drain := l.drain
	l.mu.Unlock()
	s.opts.Log.Warn("peer is no longer trusted", "remote", l.conn.RemoteAddr(), "err", why, "grace", s.opts.Grace)
	if drain != nil {
		drain(l.refused)
	}
}

// end takes the connection out; nil-safe, and may be called again.
func (l *life) end() {
	if l == nil {
		return
	}
	s := l.cfg.Sessions
	s.mu.Lock()
	delete(s.all, l)
	s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.cut != nil {
		l.cut.Stop()
	}
}

// abandon takes a connection out whose negotiation failed after all; nil-safe.
func (c *Conn) abandon() {
	if c != nil {
		c.Peer.life.end()
	}
}

// Judged is the newest verdict about the peer: Verdict, or what was found
// since if the connection is one of [Sessions]. It may be one that refuses.
func (p *Peer) Judged() *attest.Verdict {
	if p.life == nil {
		return p.Verdict
	}
	return p.life.verdict.Load()
}

// OnRefused names what to do when the peer is no longer trusted: give it no
// new work, let it finish what runs, then close. The connection is cut anyway
// when the sessions' grace is over. drain is called once, at once if it has
// happened already, and must not block. Without [Config.Sessions] it never is.
func (p *Peer) OnRefused(drain func(reason error)) {
	l := p.life
	if l == nil {
		return
	}
	l.mu.Lock()
	l.drain = drain
	refused := l.refused
	l.mu.Unlock()
	if refused != nil {
		drain(refused)
	}
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.Peer.life.end()
	return c.Conn.Close()
}
