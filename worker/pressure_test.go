package worker

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// gated is a proxy that stops reading until its gate opens.
type gated struct {
	*proxyConn
	gate    chan struct{}
	blocked chan struct{}
}

func (g *gated) Packet(c *wire.Conn, data []byte) {
	select {
	case g.blocked <- struct{}{}:
	default:
	}
	<-g.gate
	g.proxyConn.Packet(c, data)
}

// gate makes the dialed proxy a gated one.
func (p *proxy) gate() (*gated, func(context.Context, string) (net.Conn, *ratls.Peer, error)) {
	g := &gated{&proxyConn{p: p, packets: make(chan tl.Object, 1<<17), closed: make(chan error, 1), ready: make(chan struct{})},
		make(chan struct{}), make(chan struct{}, 1)}
	return g, func(context.Context, string) (net.Conn, *ratls.Peer, error) {
		here, there := net.Pipe()
		go func() {
			if c, err := wire.Server(context.Background(), there, g, p.cfg); err == nil {
				g.c = c
				c.Start()
			}
		}()
		return here, nil, nil
	}
}

// waitHealthy waits for the engine's first good probe.
func (s *stand) waitHealthy() {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); !s.w.Snapshot().Status.Enabled; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("worker is never ready")
		}
	}
}

// A proxy that reads slowly slows its answers down; it does not fill memory,
// and what it gets in the end is complete.
func TestSlowProxy(t *testing.T) {
	p := newProxy(t)
	g, dial := p.gate()
	// Far more than may wait to be written.
	s := start(t, p, enginetest.Stream{Chunks: 30_000}.Answer, func(c *Config) {
		c.Dial = dial
		c.Wire.MaxQueued = 1 << 20
	})
	<-g.ready
	q := query(post(pathChat, chat(`,"stream":true`)))
	g.send(q)
	<-g.blocked
	for !running("wire.(*Conn).Room") { // the answer waits for the proxy
		if h := g.closed; len(h) > 0 {
			t.Fatalf("connection closed: %v", <-h)
		}
		time.Sleep(time.Millisecond)
	}
	close(g.gate)
	a := g.collect(q.RequestID)
	if n := strings.Count(a.body(), `"content":"tok`); n != 30_000 || !strings.HasSuffix(a.body(), "[DONE]\n\n") {
		t.Errorf("%d chunks of 30000 arrived", n)
	}
	if a.info.TokensUsed.CompletionTokensUsed != 30_000 {
		t.Errorf("tokens %+v", a.info.TokensUsed)
	}
	s.stop()
}

// One that stops reading for good loses its connection, and the engine stops.
func TestDeafProxy(t *testing.T) {
	p := newProxy(t)
	g, dial := p.gate()
	s := start(t, p, enginetest.Huge(1<<30), func(c *Config) {
		c.Dial = dial
		c.Wire.Stall = 50 * time.Millisecond
	})
	<-g.ready
	s.waitHealthy()
	g.send(query(post(pathChat, chat(`,"stream":true`))))
	r := s.next()
	<-g.blocked
	<-r.Cancelled
	if got := s.failure(); !strings.Contains(got, "too slow") {
		t.Errorf("closed because %s", got)
	}
	close(g.gate)
}

// Progress grows, is no more frequent than once a second, and never exceeds
// the final figure.
func TestProgress(t *testing.T) {
	var clock atomic.Int64
	s := start(t, newProxy(t), enginetest.Chunks(50, 0), func(c *Config) {
		c.Now = func() time.Time { return time.UnixMilli(clock.Add(100)) } // each look costs a tenth of a second
	})
	a := s.connected().run(query(post(pathChat, chat(`,"stream":true`))))
	if len(a.progress) == 0 {
		t.Fatal("no progress")
	}
	last := int64(0)
	for _, x := range a.progress {
		if x.TotalTokensUsed < last {
			t.Errorf("progress %v shrinks", a.progress)
		}
		last = x.TotalTokensUsed
	}
	j := &job{s: &session{}}
	j.s.progress.Store(true)
	at := time.Unix(1000, 0)
	for i, c := range []struct {
		after time.Duration
		due   bool
	}{{0, true}, {time.Millisecond, false}, {999 * time.Millisecond, false}, {time.Second, true}, {1500 * time.Millisecond, false}} {
		if got := j.progressDue(at.Add(c.after)); got != c.due {
			t.Errorf("step %d: due %t, want %t", i, got, c.due)
		}
	}
}

// targets runs the part of a worker that keeps connections, without engine,
// in a bubble of fake time.
func targets(t *testing.T, p *proxy, change func(*Config)) *Worker {
	cfg := Config{Engine: "127.0.0.1:1", Model: fullModel, OwnerAddress: account(3), RootAddress: account(1),
		Registry: contract.NewMemory(p.root), Dial: p.dial}
	if change != nil {
		change(&cfg)
	}
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.keepTargets(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		w.background.Wait()
	})
	return w
}

func TestPaymentsArePolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProxy(t)
		p.signed, p.db, p.most = 10, 20, 30
		p.polled = tl.WorkerPaymentStatus{SignedPayment: p.payment(15), DbTokens: 25, MaxTokens: 35}
		w := targets(t, p, nil)
		h := <-p.conns
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if got := w.Snapshot().Proxies[0]; got.Signed != 15 || got.Stored != 25 || got.Counted != 35 {
			t.Errorf("after a poll: %+v", got)
		}
		p.mu.Lock()
		p.noPoll = true // a refusal is forgiven
		p.mu.Unlock()
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if h.c.Err() != nil {
			t.Errorf("a refused poll ends the connection: %v", h.c.Err())
		}
		p.mu.Lock()
		p.noPoll = false
		p.polled.MaxTokens = 34
		p.mu.Unlock()
		select {
		case <-h.closed:
		case <-time.After(time.Minute):
			t.Fatal("a counter that shrinks is accepted")
		}
		synctest.Wait()
		if got := w.Snapshot().Proxies[0].Error; got != "" && !strings.Contains(got, "counted 34 tokens") {
			t.Errorf("closed because %s", got)
		}
	})
}

// A proxy that cannot be reached is given up after five minutes, and another
// is drawn.
func TestUnreachableProxyIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProxy(t)
		addProxies(p.root, "127.0.0.1:11002")
		var reachable atomic.Value
		reachable.Store("nobody")
		w := targets(t, p, func(c *Config) {
			c.Dial = func(ctx context.Context, to string) (net.Conn, *ratls.Peer, error) {
				if to != reachable.Load() {
					return nil, nil, errors.New("unreachable")
				}
				return p.dial(ctx, to)
			}
		})
		synctest.Wait()
		first := w.Snapshot().Proxies[0].Address
		for _, x := range p.root.Proxies {
			if a := x.Workers.String(); a != first {
				reachable.Store(a)
			}
		}
		time.Sleep(290 * time.Second)
		if got := w.Snapshot().Proxies[0].Address; got != first {
			t.Fatalf("gave %s up before five minutes", first)
		}
		select {
		case <-p.conns: // drawn sooner or later
		case <-time.After(10 * time.Hour):
			t.Fatal("the other proxy is never drawn")
		}
		synctest.Wait()
		if got := w.Snapshot().Proxies[0]; got.Address == first || !got.Connected {
			t.Errorf("connected to %s, want the other", got.Address)
		}
	})
}
