package ratls

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/opencocoon/cocoon/wire"
)

// Dial connects to a listener at address, host:port: TCP, proof of work, TLS
// 1.3, verdict. An error that wraps attest.ErrUntrusted will not go away by
// trying again.
func Dial(ctx context.Context, address string, cfg *Config) (*Conn, error) {
	cfg = cfg.withDefaults()
	if cfg.Identity == nil {
		return nil, fmt.Errorf("ratls: dial %s: %w", address, errNoIdentity)
	}
	ctx, cancel := cfg.within(ctx)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("ratls: %w", why(ctx, err))
	}
	conn, err := dialTLS(ctx, nc, cfg)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("ratls: dial %s: %w", address, why(ctx, err))
	}
	return conn, nil
}

func dialTLS(ctx context.Context, nc net.Conn, cfg *Config) (*Conn, error) {
	if err := wire.Solve(ctx, nc, cfg.MaxDifficulty); err != nil {
		return nil, err
	}
	begun, peer := cfg.Sessions.begun(), &Peer{Addr: nc.RemoteAddr()}
	settings := cfg.tlsConfig(ctx, peer, oidServerAuth)
	tc := tls.Client(nc, settings)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if err := cfg.prove(ctx, tc, &settings.Certificates[0], peer, dialer); err != nil {
		return nil, err
	}
	return cfg.keep(ctx, &Conn{tc, peer}, begun, cfg.anew(tc, peer))
}

// why names what ended ctx, if it has ended: the error of the call that it
// interrupted says less.
func why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
