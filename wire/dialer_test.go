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

func (s *target) last() *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[len(s.conns)-1]
}

func TestDialerKeepsAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		answering := newInbox()
		answering.onQuery = func(_ *Conn, q *Query) { q.Answer(blob(3)) }
		s := &target{handler: answering}
		h := newInbox()
		var states []State
		d := &Dialer{
			Target: "t", Dial: s.dial, Handler: h,
			Setup: func(c *Conn) { c.Data = "mine" },
			OnUp: func(ctx context.Context, c *Conn) error {
				_, err := c.Ask(ctx, blob(1))
				return err
			},
			OnState: func(st State) { states = append(states, st) },
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
		if last := states[len(states)-1]; last.Phase != Waiting || last.Retry > 100*time.Millisecond || last.Failures != 1 || !errors.Is(last.Err, ErrPeerClosed) {
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
		for _, st := range states {
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
		var waits []State
		d := &Dialer{Dial: s.dial, Handler: newInbox(), OnState: func(st State) {
			if st.Phase == Waiting {
				waits = append(waits, st)
			}
		}}
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		bound := 100 * time.Millisecond
		var sum time.Duration
		for i, w := range waits {
			if w.Failures != i+1 || w.Retry > bound || w.Retry <= 0 || !errors.Is(w.Err, refused) {
				t.Errorf("wait %d: %+v, want at most %v", i, w, bound)
			}
			bound = min(2*bound, 10*time.Second)
			sum += w.Retry
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
		var last State
		d := &Dialer{
			Dial: s.dial, Handler: &fuzzHandler{}, OnState: func(st State) { last = st },
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
		if n := len(s.dials); n > 240 {
			t.Errorf("%d connections in 10 minutes", n)
		}
		var refused *QueryError
		if !errors.As(last.Err, &refused) || refused.Code != CodeNotReady {
			t.Errorf("reason %v, want the peer's refusal", last.Err)
		}
		cancel()
		<-ended
		time.Sleep(time.Minute)
		close(h.closed)
	})
}

// OnUp is told when its connection is lost, and does not outlive its limit.
func TestHandshakeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &target{handler: newInbox()}
		var ends []time.Time
		d := &Dialer{
			Dial: s.dial, Handler: newInbox(), HandshakeTimeout: 7 * time.Second, MinDelay: time.Hour, MaxDelay: time.Hour,
			OnUp: func(ctx context.Context, c *Conn) error {
				<-ctx.Done()
				ends = append(ends, time.Now())
				return ctx.Err()
			},
		}
		start := time.Now()
		go d.Run(ctx)
		time.Sleep(8 * time.Second)
		if len(ends) != 1 || ends[0].Sub(start) != 7*time.Second {
			t.Fatalf("handshake ended at %v", ends)
		}
		for len(s.dials) < 2 {
			time.Sleep(time.Minute)
		}
		cancel()
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.conns {
			c.Wait()
		}
	})
}

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
