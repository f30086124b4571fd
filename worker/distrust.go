package worker

import (
	"context"
	"time"

	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/wire"
)

// distrustGrace is how long a proxy that is no longer trusted may wait for
// the answers it has asked for. Their prompts are here already.
const distrustGrace = 30 * time.Second

// watch lets the session end in order when its proxy, judged anew, is refused.
func (s *session) watch(c *wire.Conn) {
	if peer, _ := c.Peer().(*ratls.Peer); peer != nil {
		peer.OnRefused(s.distrust)
	}
}

// distrust takes no more requests from this proxy, finishes those that run,
// and closes the connection. It does not wait.
func (s *session) distrust(why error) {
	s.mu.Lock()
	before := s.unwanted
	if before == nil {
		s.unwanted = why
	}
	s.mu.Unlock()
	if before != nil {
		return
	}
	s.w.cfg.Log.Warn("worker: no more work for a proxy that is not trusted", "proxy", s.address, "why", why)
	s.w.mu.Lock()
	s.tell(s.w.idle != 0, s.w.coefficient)
	s.w.mu.Unlock()
	go func() { // ends with the connection at the latest
		s.drained(distrustGrace)
		s.c.CloseAfterFlush(why)
	}()
}

// distrusted is why the proxy is not trusted any more, nil if it is.
func (s *session) distrusted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unwanted
}

// drained waits until no request runs here, at most limit.
func (s *session) drained(limit time.Duration) {
	s.mu.Lock()
	if s.running == 0 {
		s.mu.Unlock()
		return
	}
	quiet := make(chan struct{})
	s.quiet = quiet
	s.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-quiet:
	case <-s.c.Done():
	case <-timer.C:
	}
}

// ended is the very end of a request: its last message has been sent.
func (s *session) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running--; s.running == 0 && s.quiet != nil {
		close(s.quiet)
		s.quiet = nil
	}
}

// leaveDistrusted gives a target up whose image was struck off, after what
// runs there. Another proxy may be drawn meanwhile.
func (w *Worker) leaveDistrusted(ctx context.Context, t *target, c *wire.Conn, why error) {
	w.mu.Lock()
	delete(w.targets, t.address)
	w.mu.Unlock()
	c.Data.(*session).distrust(why)
	w.background.Go(func() {
		select {
		case <-c.Done():
		case <-ctx.Done():
		}
		t.stop()
		<-t.done
	})
}
