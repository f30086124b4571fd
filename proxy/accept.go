package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/wire"
)

// How long a peer may take for the opening exchange, and for the handshake
// after it. A client may have to wait for the chain in between.
const (
	openLimit            = 20 * time.Second
	workerHandshakeLimit = 2 * time.Minute
	clientHandshakeLimit = 6 * time.Minute
)

// accept greets everybody who comes through a door, until ctx ends. One that
// does not finish the opening exchange delays nobody.
func (p *Proxy) accept(ctx context.Context, door net.Listener, connected func() int, greet func(context.Context, net.Conn) error) error {
	stop := context.AfterFunc(ctx, func() { door.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	var opening atomic.Int64
	for {
		nc, err := door.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				continue
			}
			return fmt.Errorf("accept at %s: %w", door.Addr(), err)
		}
		if connected()+int(opening.Load()) >= p.cfg.MaxConnections {
			p.log.Warn("connection refused: too many", "remote", nc.RemoteAddr(), "limit", p.cfg.MaxConnections)
			nc.Close()
			continue
		}
		opening.Add(1)
		wg.Go(func() {
			defer opening.Add(-1)
			open, cancel := context.WithTimeout(ctx, openLimit)
			defer cancel()
			if err := greet(open, nc); err != nil && ctx.Err() == nil {
				p.log.Info("connection refused", "remote", nc.RemoteAddr(), "error", err)
			}
		})
	}
}

func (p *Proxy) clientCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.clients)
}

func (p *Proxy) workerCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.workers)
}

// peerOf is who dialled, as far as attestation says; nil if nothing does.
func peerOf(nc net.Conn) *ratls.Peer {
	if c, ok := nc.(*ratls.Conn); ok {
		return c.Peer
	}
	return nil
}

// imageHash is the attested image; all zero, which no list admits, without proof.
func imageHash(peer *ratls.Peer) [32]byte {
	if peer == nil || peer.Verdict == nil {
		return [32]byte{}
	}
	return peer.Verdict.ImageHash
}

// table holds a connection's requests by the id they have there.
type table struct {
	mu     sync.Mutex // guards the rest; nothing is called under it
	byID   map[[32]byte]*request
	closed bool
}

// add fails when the id is taken or the connection has ended.
func (t *table) add(id [32]byte, r *request) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, taken := t.byID[id]; taken || t.closed {
		return false
	}
	if t.byID == nil {
		t.byID = map[[32]byte]*request{}
	}
	t.byID[id] = r
	return true
}

func (t *table) find(id [32]byte) *request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

func (t *table) remove(id [32]byte) (left int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, id)
	return len(t.byID)
}

func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

func (t *table) all() []*request {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*request, 0, len(t.byID))
	for _, r := range t.byID {
		list = append(list, r)
	}
	return list
}

// close lets nothing more in and returns what is there.
func (t *table) close() []*request {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	return t.all()
}

// handshakeTimer ends a connection that never gets ready: answering pings alone
// must not hold a place.
func handshakeTimer(c *wire.Conn, limit time.Duration) *time.Timer {
	return time.AfterFunc(limit, func() { c.Close(fmt.Errorf("handshake not finished within %s", limit)) })
}
