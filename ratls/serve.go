package ratls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/opencocoon/cocoon/attest"
)

// Serve accepts from inner what [Listen] accepts from an address of its own,
// and asks config for each connection, so that policy and identity can change
// while the address stays open. config must be safe for concurrent use.
// MaxHalfOpen, HandshakeTimeout and Log are those of its first answer, and
// verified quotes are remembered only if the policy has a cache. Close closes
// inner.
func Serve(inner net.Listener, config func() *Config) (*Listener, error) {
	first := config().withDefaults()
	if first.Identity == nil {
		return nil, fmt.Errorf("ratls: serve %s: %w", inner.Addr(), errNoIdentity)
	}
	return serveOn(inner, first, func(ctx context.Context, nc net.Conn) (*Conn, error) {
		return config().withDefaults().negotiateTLS(ctx, nc)
	}), nil
}

// Client does on nc, a connection to a listener, what [Dial] does after it has
// dialed. On error close nc.
func Client(ctx context.Context, nc net.Conn, cfg *Config) (*Conn, error) {
	cfg = cfg.withDefaults()
	if cfg.Identity == nil {
		return nil, fmt.Errorf("ratls: %w", errNoIdentity)
	}
	ctx, cancel := cfg.within(ctx)
	defer cancel()
	conn, err := dialTLS(ctx, nc, cfg)
	if err != nil {
		return nil, fmt.Errorf("ratls: %w", why(ctx, err))
	}
	return conn, nil
}

// Judge judges the peer once more, by another policy or at another time, from
// what it has shown. The validity of the certificate is no longer asked: it was
// for the handshake. Not for connections behind a router.
func (c *Conn) Judge(ctx context.Context, policy *attest.Policy, now time.Time) (*attest.Verdict, error) {
	tc, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil, errors.New("ratls: judge: no certificate: the router has it")
	}
	cert, err := parseCertificate(tc.ConnectionState().PeerCertificates[0].Raw)
	if err != nil {
		return nil, fmt.Errorf("ratls: judge: %w", err)
	}
	return policy.Rejudge(ctx, c.Peer.Judged(), cert.evidence, cert.key, c.Peer.session, now)
}
