package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/ratls"
)

// door is an open port.
type door struct {
	*Router
	stand atomic.Pointer[stand]
	bind  string
	inner net.Listener

	mu     sync.Mutex      // guards the rest
	peers  *ratls.Listener // of a reverse port that serves
	closed bool

	accepted, out, in, fullAll, fullSource atomic.Int64
	refused                                [reasons]atomic.Int64
}

// stand is where a door stands: what of the settings concerns it. It is not
// changed but replaced, so that all its parts are of the same settings.
type stand struct {
	Port
	rule *rule
	plan *plan
}

// stand is what the i-th port of the plan is to do.
func (l *plan) stand(i int) *stand {
	return &stand{l.ports[i], l.rules[l.ports[i].Policy], l}
}

// reason is why a connection did not come about.
type reason int

const (
	becauseRequest   reason = iota // SOCKS5, or too slow to ask
	becauseDial                    // the destination is not there
	becauseHandshake               // proof of work, TLS, time
	becausePolicy                  // judged, and not let in
	becauseRecord                  // no record can be written about this peer
	reasons
)

var reasonNames = [reasons]string{"request", "dial", "handshake", "policy", "record"}

// open opens a port; it serves nobody yet.
func (r *Router) open(at *stand) (*door, error) {
	host := "127.0.0.1"
	if at.Type == typeReverse {
		host = at.plan.bind
	}
	inner, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(at.Port.Port)))
	if err != nil {
		return nil, fmt.Errorf("router: %s port: %w", at.Type, err)
	}
	d := &door{Router: r, bind: at.plan.bind}
	d.inner = &limited{inner, d.enter}
	d.stand.Store(at)
	return d, nil
}

// take takes the door that fits a port out of doors.
func take(doors []*door, port Port, bind string) (*door, []*door) {
	i := slices.IndexFunc(doors, func(d *door) bool {
		have := d.stand.Load().Port
		return have.Port == port.Port && have.Type == port.Type && (port.Type != typeReverse || d.bind == bind)
	})
	if i < 0 {
		return nil, doors
	}
	return doors[i], slices.Concat(doors[:i], doors[i+1:])
}

// Addr is where the port is open.
func (d *door) Addr() net.Addr { return d.inner.Addr() }

func (d *door) close() error {
	d.mu.Lock()
	d.closed = true
	peers := d.peers
	d.mu.Unlock()
	if peers != nil {
		return peers.Close()
	}
	return d.inner.Close()
}

// enter counts a connection that came, if there is room for it. Programs on
// this machine all come from one address, so only the whole counts for them.
func (d *door) enter(from net.Addr) (leave func(), ok bool) {
	at, source := d.stand.Load(), sourceOf(from)
	limits := at.plan.limits
	mostFrom := limits.PerSource
	if at.Type != typeReverse {
		mostFrom = limits.Connections
	}
	switch d.crowd.enter(source, limits.Connections, mostFrom) {
	case "all":
		d.fullAll.Add(1)
		return nil, false
	case "source":
		d.fullSource.Add(1)
		return nil, false
	}
	d.accepted.Add(1)
	return func() { d.crowd.leave(source) }, true
}

// serve serves whoever comes, until the port is closed.
func (d *door) serve() {
	if d.stand.Load().Type == typeReverse {
		d.servePeers()
		return
	}
	const shortest, longest = 5 * time.Millisecond, time.Second
	for pause := shortest; ; {
		nc, err := d.inner.Accept()
		switch {
		case err == nil:
			pause = shortest
			d.wg.Go(func() { d.serveProgram(nc.(*counted)) })
		case errors.Is(err, net.ErrClosed):
			return
		default: // short of descriptors, or reset early
			d.log.Warn("accept failed", "port", d.Addr(), "err", err, "pause", pause)
			select {
			case <-d.accepting.Done():
				return
			case <-time.After(pause):
				pause = min(2*pause, longest)
			}
		}
	}
}

func (d *door) servePeers() {
	peers := d.negotiate()
	if peers == nil {
		return
	}
	for {
		conn, err := peers.Accept()
		if err != nil {
			return
		}
		d.wg.Go(func() { d.servePeer(conn.(*ratls.Conn)) })
	}
}

// negotiate begins to judge peers; nil if the port was closed before.
func (d *door) negotiate() *ratls.Listener {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.peers, _ = ratls.Serve(d.inner, d.listening) // it wants an identity, which every router has
	return d.peers
}

// listening is how a peer is judged that comes now.
func (d *door) listening() *ratls.Config {
	at := d.stand.Load()
	return &ratls.Config{
		Identity: d.identity, Policy: at.rule.attest, Difficulty: free(*at.Difficulty),
		HandshakeTimeout: at.plan.limits.Handshake, MaxHalfOpen: at.plan.limits.Handshakes, Now: d.now, Log: d.log,
	}
}

// free is how package ratls writes a difficulty: its zero is the default.
func free(bits int) int {
	if bits == 0 {
		return -1
	}
	return bits
}

// refuse notes that a connection did not come about.
func (d *door) refuse(why reason, who any, err error) {
	if d.accepting.Err() != nil {
		return
	}
	d.refused[why].Add(1)
	d.log.Info("connection refused", "port", d.Addr(), "type", d.stand.Load().Type, "peer", who, "because", reasonNames[why], "err", err)
}

// interruptible runs f, whose reads and writes on nc end with ctx.
func interruptible(ctx context.Context, nc net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err := f()
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}
