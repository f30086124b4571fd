package ratls

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/opencocoon/cocoon/attest"
)

// tlsConfig is the network's profile: TLS 1.3, one self-signed certificate from
// either side, no names, no resumption. The library's own verification
// is off because there is no authority to verify against; judge takes its
// place, in VerifyConnection, which no handshake can skip.
func (c *Config) tlsConfig(ctx context.Context, peer *Peer, usage asn1.ObjectIdentifier) *tls.Config {
	show := c.Identity.Certificate()
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{*show},
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return show, nil },
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		Time:                   c.Now,
		VerifyConnection: func(state tls.ConnectionState) (err error) {
			peer.Key, peer.Verdict, err = c.judge(ctx, state, usage)
			return err
		},
	}
}

// judge decides about the peer of a handshake.
func (c *Config) judge(ctx context.Context, state tls.ConnectionState, usage asn1.ObjectIdentifier) (ed25519.PublicKey, *attest.Verdict, error) {
	if n := len(state.PeerCertificates); n != 1 {
		return nil, nil, fmt.Errorf("peer shows %d certificates, want 1", n)
	}
	shown := state.PeerCertificates[0]
	cert, err := parseCertificate(shown.Raw)
	if err != nil {
		return nil, nil, err
	}
	// The handshake proved the key that crypto/x509 read. Ours must be the same.
	if proven, ok := shown.PublicKey.(ed25519.PublicKey); !ok || !proven.Equal(cert.key) {
		return nil, nil, errors.New("certificate: key is not the one that the handshake proved")
	}
	now := c.Now()
	if err := cert.usableFor(usage, now); err != nil {
		return nil, nil, err
	}
	verdict, err := c.Policy.Judge(ctx, cert.evidence, cert.key, now)
	return cert.key, verdict, err
}
