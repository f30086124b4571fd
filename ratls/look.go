package ratls

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/wire"
)

// Shown is what a certificate shows. Only its own signature has been checked.
type Shown struct {
	Key                 ed25519.PublicKey
	NotBefore, NotAfter time.Time
	Evidence            attest.Evidence
}

// ParseCertificate reads a certificate of the network in DER, to look at it
// outside a handshake. It fails if the certificate is malformed or not signed
// by its own key.
func ParseCertificate(der []byte) (*Shown, error) {
	c, err := parseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Shown{Key: c.key, NotBefore: c.notBefore, NotAfter: c.notAfter, Evidence: c.evidence}, nil
}

// Look connects to a listener as [Dial] does, takes its certificate and hangs
// up. Whom to believe is left to the caller: the handshake proves that the
// peer holds the certificate's key and nothing more.
func Look(ctx context.Context, address string, cfg *Config) (*Shown, error) {
	cfg = cfg.withDefaults()
	if cfg.Identity == nil {
		return nil, fmt.Errorf("ratls: look at %s: %w", address, errNoIdentity)
	}
	ctx, cancel := cfg.within(ctx)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("ratls: %w", why(ctx, err))
	}
	defer nc.Close()
	shown, err := lookTLS(ctx, nc, cfg)
	if err != nil {
		return nil, fmt.Errorf("ratls: look at %s: %w", address, why(ctx, err))
	}
	return shown, nil
}

func lookTLS(ctx context.Context, nc net.Conn, cfg *Config) (shown *Shown, err error) {
	if err := wire.Solve(ctx, nc, cfg.MaxDifficulty); err != nil {
		return nil, err
	}
	settings := cfg.tlsConfig(ctx, nil, oidServerAuth)
	settings.VerifyConnection = func(state tls.ConnectionState) error {
		if n := len(state.PeerCertificates); n != 1 {
			return fmt.Errorf("peer shows %d certificates, want 1", n)
		}
		if shown, err = ParseCertificate(state.PeerCertificates[0].Raw); err != nil {
			return err
		}
		if proven, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey); !ok || !proven.Equal(shown.Key) {
			return errors.New("certificate: key is not the one that the handshake proved")
		}
		return nil
	}
	if err := tls.Client(nc, settings).HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return shown, nil
}
