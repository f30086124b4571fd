package router

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/ratls"
)

// link is a connection between a program here and a peer that was let in.
type link struct {
	door   *door
	conn   *ratls.Conn
	rule   *rule // that let the peer in first
	byName bool  // the program chose it

	remote stream

	cut     context.CancelCauseFunc
	ctx     context.Context
	expires atomic.Int64 // when to judge anew, in Unix seconds
}

// links are all of them.
type links struct {
	mu    sync.Mutex // guards the rest
	live  map[*link]bool
	empty chan struct{} // closed when there is none; nil while nobody waits
	ended [causes]atomic.Int64
}

// cause is why a connection that was carried came to its end.
type cause int

const (
	causeEnd    cause = iota // both sides said so
	causeBroken              // one of them broke off
	causeIdle
	causePolicy
	causeStop
	causes
)

var causeNames = [causes]string{"end", "broken", "idle", "policy", "stop"}

func causeOf(err error) cause {
	switch {
	case err == nil:
		return causeEnd
	case errors.Is(err, errIdle):
		return causeIdle
	case errors.Is(err, errStopped):
		return causeStop
	case errors.Is(err, attest.ErrUntrusted), errors.Is(err, errNoPolicy):
		return causePolicy
	}
	return causeBroken
}

var errNoPolicy = errors.New("the policy that let the peer in is no more")

// admit asks the lists about a peer that the judge trusts, and makes a
// connection of it that the settings to come can find. If settings have changed
// since the start, the peer may have been judged by older ones and is judged
// again: it costs little, as its evidence is remembered.
func (d *door) admit(conn *ratls.Conn, rule *rule, byName bool) (*link, error) {
	if err := rule.admits(conn.Peer.Verdict); err != nil {
		return nil, err
	}
	l := &link{door: d, conn: conn, rule: rule, byName: byName, remote: attested{conn.Conn.(*tls.Conn)}}
	l.ctx, l.cut = context.WithCancelCause(d.working)
	l.expires.Store(conn.Peer.Verdict.Expires.Unix())
	d.links.add(l)
	if d.plan.Load().later {
		d.judge(l)
	}
	if err := context.Cause(l.ctx); err != nil {
		d.links.remove(l)
		return nil, err
	}
	return l, nil
}

func (s *links) add(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		s.live = map[*link]bool{}
	}
	s.live[l] = true
}

func (s *links) remove(l *link) {
	l.cut(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.live, l); len(s.live) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

func (s *links) all() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*link, 0, len(s.live))
	for l := range s.live {
		out = append(out, l)
	}
	return out
}

func (s *links) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

// drained waits until there is none, at most for patience.
func (s *links) drained(patience time.Duration) {
	s.mu.Lock()
	if len(s.live) == 0 {
		s.mu.Unlock()
		return
	}
	empty := make(chan struct{})
	s.empty = empty
	s.mu.Unlock()
	select {
	case <-empty:
	case <-time.After(patience):
	}
}

// carry carries a connection to its end.
func (d *door) carry(l *link, local stream, at *stand) {
	err := relay(l.ctx, local, l.remote, at.plan.limits.Idle, &d.out, &d.in)
	d.links.remove(l)
	why := causeOf(err)
	d.links.ended[why].Add(1)
	level := slog.LevelDebug
	if why != causeEnd && why != causeBroken {
		level = slog.LevelInfo
	}
	d.log.Log(context.Background(), level, "connection ended", "port", d.Addr(), "peer", l.conn.RemoteAddr(), "because", causeNames[why], "err", err)
}

// policyNow is the policy that a connection stands under now: the one that
// the program chose, or else its port's, also if another than before. Of
// a port that is gone it is the one that let the peer in. Nil if there is none.
func (l *link) policyNow() *rule {
	plan := l.door.plan.Load()
	if at := l.door.stand.Load(); !l.byName && at.plan == plan {
		return at.rule
	}
	return plan.rules[l.rule.Name]
}

// judge judges a peer anew, and cuts the connection if it is not let in.
func (r *Router) judge(l *link) {
	rule := l.policyNow()
	if rule == nil {
		l.cut(errNoPolicy)
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, r.plan.Load().limits.Handshake)
	defer cancel()
	v, err := l.conn.Judge(ctx, rule.attest, r.now())
	if err == nil {
		err = rule.admits(v)
	}
	r.rejudged.Add(1)
	if err != nil {
		l.cut(err)
		return
	}
	l.expires.Store(v.Expires.Unix())
}

// atATime is how many peers are judged anew beside each other.
const atATime = 8

// judgeAll judges peers anew. It returns when all are judged.
func (r *Router) judgeAll(all []*link) {
	next := make(chan *link)
	var judges sync.WaitGroup
	for range min(atATime, len(all)) {
		judges.Go(func() {
			for l := range next {
				r.judge(l)
			}
		})
	}
	for _, l := range all {
		next <- l
	}
	close(next)
	judges.Wait()
}

// renewVerdicts judges those peers anew whose verdicts have ended.
func (r *Router) renewVerdicts() {
	var due []*link
	now := r.now().Unix()
	for _, l := range r.links.all() {
		if l.expires.Load() <= now {
			due = append(due, l)
		}
	}
	r.judgeAll(due)
}
