package keys

import (
	"context"
	"errors"
	"net"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

const (
	// maxFrame has room for every key there can be.
	maxFrame = 64 << 10
	// maxQueued is what one caller may keep waiting.
	maxQueued = 256 << 10
)

// accept takes callers until ctx ends. An error means that it cannot go on.
func (m *Manager) accept(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { m.cfg.Listener.Close() })
	defer stop()
	for {
		nc, err := m.cfg.Listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			m.cfg.Log.Warn("key manager: accept failed", "reason", err)
			sleep(ctx, retryAfter/50)
			continue
		}
		m.background.Go(func() { m.greet(ctx, nc) })
	}
}

// caller is one connection. It implements wire.Handler.
type caller struct {
	m    *Manager
	peer *ratls.Peer
	conn *wire.Conn
}

func (m *Manager) greet(ctx context.Context, nc net.Conn) {
	c := &caller{m: m, peer: &ratls.Peer{}}
	if rc, ok := nc.(*ratls.Conn); ok {
		c.peer = rc.Peer
	}
	if !m.enter(c) {
		nc.Close()
		return
	}
	cfg := m.cfg.Wire
	cfg.Peer = c.peer
	conn, err := wire.Server(ctx, nc, c, cfg)
	if err != nil {
		m.leave(c)
		return
	}
	m.mu.Lock()
	c.conn = conn
	_, still := m.callers[c]
	m.mu.Unlock()
	if !still { // it is just ending
		conn.Close(nil)
		m.background.Go(conn.Wait)
		return
	}
	conn.Start()
	m.background.Go(conn.Wait)
}

func (m *Manager) enter(c *caller) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.callers == nil || len(m.callers) >= m.cfg.MaxConnections {
		return false
	}
	m.callers[c] = struct{}{}
	return true
}

func (m *Manager) leave(c *caller) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.callers, c)
}

// disconnect ends every connection; nobody can enter any more.
func (m *Manager) disconnect() {
	m.mu.Lock()
	var conns []*wire.Conn
	for c := range m.callers {
		if c.conn != nil {
			conns = append(conns, c.conn)
		}
	}
	m.callers = nil
	m.mu.Unlock()
	for _, c := range conns {
		c.CloseAfterFlush(errStopping)
	}
}

var errStopping = errors.New("key manager is stopping")

// Packet ignores: nothing is said here but questions.
func (c *caller) Packet(*wire.Conn, []byte) {}

// Closed implements wire.Handler.
func (c *caller) Closed(_ *wire.Conn, err error) {
	c.m.leave(c)
	c.m.cfg.Log.Debug("key manager: caller left", "reason", err)
}

// Query answers who may ask, and refuses everybody else in the network's words.
func (c *caller) Query(_ *wire.Conn, q *wire.Query) {
	var who Caller
	var fn tl.Object
	switch tl.PeekID(q.Data) {
	case (*tl.KeyManagerGetProxyPrivateKeys)(nil).TLID():
		who, fn = Proxy, &tl.KeyManagerGetProxyPrivateKeys{}
	case (*tl.KeyManagerGetWorkerPrivateKeys)(nil).TLID():
		who, fn = Worker, &tl.KeyManagerGetWorkerPrivateKeys{}
	default:
		c.refuse(q, wire.CodeFailure, "unknown query")
		return
	}
	if err := tl.Unmarshal(q.Data, fn); err != nil {
		c.refuse(q, wire.CodeFailure, "malformed query")
		return
	}
	if !c.m.admits(who, c.peer.Verdict) {
		c.refuse(q, wire.CodeError, "the registry does not list this image among those of "+who.String())
		return
	}
	keys := c.m.keysFor(who)
	q.Answer(keys) // it is encoded then
	for i := range keys.Keys {
		clear(keys.Keys[i].PrivateKey[:])
	}
	c.m.served.Add(1)
}

func (c *caller) refuse(q *wire.Query, code int32, why string) {
	c.m.refused.Add(1)
	c.m.cfg.Log.Warn("key manager: caller refused", "remote", c.conn.RemoteAddr(), "code", code, "reason", why)
	q.Fail(code, why)
}

// Caller is in which role somebody asks.
type Caller int

// The two roles.
const (
	Proxy Caller = iota
	Worker
)

func (c Caller) String() string { return [...]string{"proxies", "workers"}[c] }

// admits asks the registry as it is now, at every query: an image that was struck
// from the list gets no more keys over a connection that it has.
func (m *Manager) admits(who Caller, v *attest.Verdict) bool {
	root := m.cfg.Registry.Root()
	if !m.cfg.CheckImages && root.IsTest {
		return true
	}
	if v == nil || !v.Trusted || contract.Stale(m.cfg.Registry, m.cfg.Now()) != nil {
		return false
	}
	if who == Worker {
		return root.AllowsWorkerImage(v.ImageHash)
	}
	return root.AllowsProxyImage(v.ImageHash)
}

// keysFor is what a caller needs: proxies the keys that apps encrypt for, and
// workers none, unless they are to be treated as the reference treats them.
func (m *Manager) keysFor(who Caller) *tl.KeyManagerPrivateKeys {
	list := &tl.KeyManagerPrivateKeys{}
	if who == Worker && !m.cfg.ServeWorkers {
		return list
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now().Unix()
	for _, e := range m.keys {
		if e.kind == TypeV1 && e.expires > now {
			list.Keys = append(list.Keys, tl.KeyManagerPrivateKey{ValidUntilUtime: int32(min(e.expires, 1<<31-1)), PrivateKey: tl.Int256(e.seed)})
		}
	}
	return list
}
