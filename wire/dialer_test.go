package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// target is a listener made of pipes, which can be told to fail.
type target struct {
	mu      sync.Mutex
	fail    error
	handler Handler
	conns   []*Conn
	dials   []time.Time
}

func (s *target) dial(context.Context) (net.Conn, any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials = append(s.dials, time.Now())
	if s.fail != nil {
		return nil, nil, s.fail
	}
	near, far := net.Pipe()
	go func() {
		c, err := Server(context.Background(), far, s.handler, Config{})
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		c.Start()
	}()
	return near, "target", nil
}

func (s *target) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *target) dialed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.dials)
}

func (s *target) last() *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[len(s.conns)-1]
}

// diary keeps the states a Dialer reports.
type diary struct {
	mu     sync.Mutex
	states []State
}

func (d *diary) note(st State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.states = append(d.states, st)
}

// of returns what was noted so far of one phase, or of all if it is negative.
func (d *diary) of(phase Phase) (states []State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, st := range d.states {
		if phase < 0 || st.Phase == phase {
			states = append(states, st)
		}
	}
	return states
}

func TestDialerKeepsAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		answering := newInbox()
		answering.onQuery = func(_ *Conn, q *Query) { q.Answer(blob(3)) }
		s := &target{handler: answering}
		h := newInbox()
		var states diary
		d := &Dialer{
			Target: "t", Dial: s.dial, Handler: h,
			Setup: func(c *Conn) { c.Data = "mine" },
			OnUp: func(ctx context.Context, c *Conn) error {
				_, err := c.Ask(ctx, blob(1))
				return err
			},
			OnState: states.note,
		}
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		synctest.Wait()
		c := d.Conn()
		if c == nil || c.Data != "mine" || c.Peer() != "target" {
			t.Fatalf("connection %v", c)
		}

		time.Sleep(time.Minute)
		s.last().Close(nil)
		synctest.Wait()
		if d.Conn() != nil {
			t.Error("a lost connection is still offered")
		}
		wantErr(t, <-h.closed, ErrPeerClosed)
		if last := states.of(-1)[2]; last.Phase != Waiting || last.Retry > 100*time.Millisecond || last.Failures != 1 || !errors.Is(last.Err, ErrPeerClosed) {
			t.Errorf("after the first loss: %+v", last)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if d.Conn() == nil || d.Conn() == c {
			t.Fatal("not connected again")
		}

		d.Conn().Send(blob(9)) // delivered though Run is about to end
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(answering.packets) != 1 || d.Conn() != nil {
			t.Errorf("%d packets, connection %v after the end", len(answering.packets), d.Conn())
		}
		var phases []string
		for _, st := range states.of(-1) {
			phases = append(phases, st.Phase.String())
		}
		if got := fmt.Sprint(phases); got != "[connecting up waiting connecting up]" {
			t.Errorf("states %v", got)
		}
		s.last().Wait()
	})
}

func TestDialerBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		refused := errors.New("refused")
		s := &target{fail: refused, handler: newInbox()}
		var states diary
		d := &Dialer{Dial: s.dial, Handler: newInbox(), OnState: states.note}
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		bound, waits := 100*time.Millisecond, states.of(Waiting)
		for i, w := range waits {
			if w.Failures != i+1 || w.Retry > bound || w.Retry <= 0 || !errors.Is(w.Err, refused) {
				t.Errorf("wait %d: %+v, want at most %v", i, w, bound)
			}
			bound = min(2*bound, 10*time.Second)
		}
		// 10 minutes of waits of 5 s on average, spread over the whole range.
		if len(waits) < 70 || len(waits) > 240 {
			t.Errorf("%d attempts in 10 minutes", len(waits))
		}
		s.set(nil)
		time.Sleep(11 * time.Second)
		if d.Conn() == nil {
			t.Error("not connected once the target came back")
		}
		cancel()
		<-ended
		s.last().Wait()
	})
}

// A target that accepts and drops at once is no reason to dial in a loop.
func TestDialerDoesNotHammer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		h := newInbox()
		h.onQuery = func(c *Conn, q *Query) {
			q.Fail(CodeNotReady, "not now")
			c.CloseAfterFlush(nil)
		}
		s := &target{handler: h}
		var states diary
		d := &Dialer{
			Dial: s.dial, Handler: &fuzzHandler{}, OnState: states.note,
			OnUp: func(ctx context.Context, c *Conn) error { _, err := c.Ask(ctx, blob(1)); return err },
		}
		go func() {
			for range h.closed {
			}
		}()
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := s.dialed(); n > 240 || n < 60 {
			t.Errorf("%d connections in 10 minutes", n)
		}
		var refused *QueryError
		if !errors.As(states.of(Waiting)[0].Err, &refused) || refused.Code != CodeNotReady {
			t.Errorf("reason %v, want the peer's refusal", states.of(Waiting)[0].Err)
		}
		cancel()
		<-ended
		time.Sleep(time.Minute)
		close(h.closed)
	})
}

// A handshake that takes too long is given up, and the connection with it.
func TestHandshakeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &target{handler: newInbox()}
		h := newInbox()
		d := &Dialer{
			Dial: s.dial, Handler: h, HandshakeTimeout: 7 * time.Second,
			OnUp: func(ctx context.Context, c *Conn) error { <-ctx.Done(); return ctx.Err() },
		}
		start := time.Now()
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		wantErr(t, <-h.closed, context.DeadlineExceeded)
		if took := time.Since(start); took != 7*time.Second {
			t.Errorf("handshake ended after %v, limit 7 s", took)
		}
		cancel()
		<-ended
		synctest.Wait()
	})
}

// OnUp learns at once that its connection is lost.
func TestHandshakeEndsWithConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &target{handler: newInbox()}
		told := make(chan time.Time, 10)
		d := &Dialer{
			Dial: s.dial, Handler: newInbox(),
			OnUp: func(ctx context.Context, c *Conn) error { <-ctx.Done(); told <- time.Now(); return c.Err() },
		}
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		synctest.Wait()
		start := time.Now()
		s.last().Close(nil)
		if at := <-told; at != start {
			t.Errorf("told after %v", at.Sub(start))
		}
		cancel()
		<-ended
	})
}

func TestDialerNeedsItsFields(t *testing.T) {
	if err := (&Dialer{Handler: newInbox()}).Run(t.Context()); err == nil {
		t.Error("ran without Dial")
	}
}
