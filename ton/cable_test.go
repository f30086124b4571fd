package ton_test

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/liteclient"
	"github.com/xssnick/tonutils-go/tl"
	tonapi "github.com/xssnick/tonutils-go/ton"

	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// logger writes to the test's log.
func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// cable is a wire to a server, which a test can cut, or block as a network
// does that loses every packet.
type cable struct {
	listener net.Listener
	to       string
	wg       sync.WaitGroup

	mu    sync.Mutex // guards the rest
	open  *sync.Cond // no longer blocked
	block bool
	down  bool
	ends  []net.Conn
}

func newCable(t testing.TB, to netip.AddrPort) *cable {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, to: to.String()}
	c.open = sync.NewCond(&c.mu)
	c.wg.Go(c.accept)
	t.Cleanup(func() {
		l.Close()
		c.set(false, true)
		c.wg.Wait()
	})
	return c
}

func (c *cable) addr() netip.AddrPort { return c.listener.Addr().(*net.TCPAddr).AddrPort() }

func (c *cable) accept() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp4", c.to)
		if err != nil {
			near.Close()
			continue
		}
		c.mu.Lock()
		if c.down {
			near.Close()
			far.Close()
		}
		c.ends = append(c.ends, near, far)
		c.mu.Unlock()
		c.wg.Go(func() { c.copy(near, far) })
		c.wg.Go(func() { c.copy(far, near) })
	}
}

func (c *cable) copy(dst, src net.Conn) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		c.mu.Lock()
		for c.block {
			c.open.Wait()
		}
		c.mu.Unlock()
		if _, werr := dst.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

// set blocks the cable, or cuts what runs through it and refuses more.
func (c *cable) set(block, down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.block, c.down = block, down
	c.open.Broadcast()
	if down {
		for _, end := range c.ends {
			end.Close()
		}
		c.ends = nil
	}
}

// through is a server's configuration by way of a cable.
func through(t testing.TB, c *cable, s *localnet.Server) *ton.Network {
	n := network(t, s)
	n.Servers[0].Addr = c.addr()
	return n
}

// liar is a liteserver that passes questions on to an honest one and does with
// the answers as a test wants.
type liar struct {
	server *liteclient.Server
	addr   netip.AddrPort
	key    [32]byte
	honest *liteclient.ConnectionPool

	mu  sync.Mutex
	lie func(question, answer tl.Serializable) tl.Serializable // guarded by mu; nil is honest
}

func newLiar(t testing.TB, honest *localnet.Server) *liar {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{server: liteclient.NewServer([]ed25519.PrivateKey{key}), key: [32]byte(public), honest: liteclient.NewConnectionPool()}
	t.Cleanup(l.honest.Stop)
	if err := l.honest.AddConnection(t.Context(), honest.Addr().String(), honest.PublicKey()); err != nil {
		t.Fatal(err)
	}
	l.server.SetQueryHandler(func(ctx context.Context, client *liteclient.ServerClient, id []byte, question tl.Serializable) {
		go client.Answer(id, l.answer(ctx, question))
	})
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.addr = free.Addr().(*net.TCPAddr).AddrPort()
	free.Close()
	done := make(chan struct{})
	go func() { l.server.Listen(l.addr.String()); close(done) }()
	t.Cleanup(func() { l.server.Close(); <-done })
	l.reachable(t)
	return l
}

func (l *liar) reachable(t testing.TB) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(10 * time.Second)
	for {
		conn, err := net.Dial("tcp4", l.addr.String())
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatal(err)
		}
	}
}

func (l *liar) answer(ctx context.Context, question tl.Serializable) tl.Serializable {
	if list, ok := question.([]tl.Serializable); ok {
		question = list[1] // without waiting: what is asked for is there
	}
	l.mu.Lock()
	lie := l.lie
	l.mu.Unlock()
	answer := l.ask(ctx, question)
	if lie != nil {
		return lie(question, answer)
	}
	return answer
}

func (l *liar) ask(ctx context.Context, question tl.Serializable) (answer tl.Serializable) {
	if err := l.honest.QueryLiteserver(ctx, question, &answer); err != nil {
		return tonapi.LSError{Code: 500, Text: err.Error()}
	}
	return answer
}

func (l *liar) tell(lie func(question, answer tl.Serializable) tl.Serializable) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lie = lie
}

// config is the network as the liar would have it.
func (l *liar) config(t testing.TB, honest *localnet.Server) *ton.Network {
	n := network(t, honest)
	n.Servers = []ton.Server{{Addr: l.addr, Key: l.key}}
	return n
}
