// Package ratls makes TLS connections whose certificates prove which code
// holds the key.
//
// Start with [NewIdentity], the certificate of this process, and then [Dial]
// and [Listen]. Both prove and both judge: proof of work, mutual TLS 1.3,
// and a verdict of package attest about the peer before the caller gets the
// connection. A node that stands behind a router of the reference, which does
// all this for it, uses [DialVia] and [ListenBehindRouter] instead.
//
// In TLS 1.3 the dialer is done before the listener has judged it. A refused
// dialer sees Dial succeed and the stream end; read the peer's first byte
// before believing to be accepted.
//
// A quote carries no clock, and a certificate only the dates that the holder of
// its key has chosen. Peers of ours therefore prove themselves anew for each
// connection, see session.go; others cannot, and are believed by their
// certificate unless the policy has RequireFresh. Certificates of honest peers
// live shortly. An [Identity] renews itself and connections that exist go
// on. A peer is judged when it connects and, if its Config has [Sessions],
// again whenever something changes. What is said over a connection, roles and
// money are none of this package's business.
//
// Specification: wire.md 3, current.md 6.
package ratls

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/wire"
)

// Config is how to prove oneself and whom to believe. It must not change
// while it is in use; one Config may serve many connections.
type Config struct {
	// Identity is shown to the peer. Required; not used behind a router.
	Identity *Identity
	// Policy decides whom to believe. Nil is the zero Policy, which believes
	// nobody.
	Policy *attest.Policy
	// GPU makes evidence of this machine's GPUs, for peers that want evidence
	// made for the connection. Nil: there are none to show.
	GPU GPU
	// Sessions, if not nil, keeps the connections, to judge them anew.
	Sessions *Sessions
	// Difficulty is the proof of work that a listener demands, 1 to 64 leading
	// zero bits. Zero means 20, about a million hashes; below zero it is free.
	Difficulty int
	// MaxDifficulty is the most that a dialer works for. Zero means 28; below
	// zero it does no work, for listeners that ask for none.
	MaxDifficulty int
	// HandshakeTimeout is for everything from TCP to the verdict, and for
	// waiting to be accepted. Zero means 20 s.
	HandshakeTimeout time.Duration
	// MaxHalfOpen is how many connections a listener negotiates at a time. One
	// more closes the oldest of the host that has most. Zero means 256.
	MaxHalfOpen int
	// Now dates certificates and verdicts. Nil means time.Now.
	Now func() time.Time
	// Log gets one line for each connection that failed at a listener. Nil
	// discards.
	Log *slog.Logger
}

var (
	errNoIdentity = errors.New("no identity to show: set Config.Identity")
	errCrowded    = errors.New("too many connections in negotiation: closed as the oldest")
	errSlow       = errors.New("negotiation took too long")
)

const (
	defaultTimeout  = 20 * time.Second
	defaultHalfOpen = 256
	cachedVerdicts  = 1024
)

// withDefaults returns a copy in which nothing is zero but the identity.
func (c *Config) withDefaults() *Config {
	d := *c
	d.Difficulty = cmp.Or(d.Difficulty, wire.DefaultDifficulty)
	d.MaxDifficulty = max(cmp.Or(d.MaxDifficulty, wire.DefaultMaxDifficulty), 0)
	d.HandshakeTimeout = cmp.Or(d.HandshakeTimeout, defaultTimeout)
	d.MaxHalfOpen = max(cmp.Or(d.MaxHalfOpen, defaultHalfOpen), 1)
	d.Policy = cmp.Or(d.Policy, &attest.Policy{})
	d.Log = cmp.Or(d.Log, slog.New(slog.DiscardHandler))
	if d.Now == nil {
		d.Now = time.Now
	}
	return &d
}

// policy is the one in force.
func (c *Config) policy() *attest.Policy {
	if c.Sessions != nil {
		if p := c.Sessions.replaced.Load(); p != nil {
			return p
		}
	}
	return c.Policy
}

// within limits ctx to the time for a negotiation.
func (c *Config) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.HandshakeTimeout, errSlow)
}

// Peer is who is at the other end, and why we believe it.
type Peer struct {
	Key     ed25519.PublicKey // of the certificate; new with every certificate
	Verdict *attest.Verdict   // trusted, or there would be no connection; see Judged for later ones
	Addr    net.Addr          // as seen from here or, behind a router, by the router

	session *attest.Session // what it proved for the connection; nil if it does not know how
	life    *life           // nil without Sessions
}

// Conn is a connection to a judged peer. The embedded net.Conn is a *tls.Conn
// or, behind a router, a *net.TCPConn.
type Conn struct {
	net.Conn
	Peer *Peer
}

// RemoteAddr is the peer's own address, also behind a router.
func (c *Conn) RemoteAddr() net.Addr { return c.Peer.Addr }
