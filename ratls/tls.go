package ratls

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

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
		SessionTicketsDisabled: true, // trust is not resumed: each connection proves itself
		NextProtos:             protocols,
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
	if state.NegotiatedProtocol == sessionProtocol {
		verdict, err := c.policy().JudgeCertificate(ctx, cert.evidence, cert.key, now)
		return cert.key, verdict, err // prove has the rest
	}
	verdict, err := c.policy().JudgeConnection(ctx, cert.evidence, cert.key, nil, now)
	return cert.key, verdict, err
}

// anew judges the peer of a connection that lives. Validity and purpose of its
// certificate concern handshakes and were judged there.
func (c *Config) anew(tc *tls.Conn, peer *Peer) judgement {
	return func(ctx context.Context, old *attest.Verdict, now time.Time) (*attest.Verdict, error) {
		cert, err := parseCertificate(tc.ConnectionState().PeerCertificates[0].Raw)
		if err != nil {
			return old, err
		}
		return c.policy().Rejudge(ctx, old, cert.evidence, cert.key, peer.session, now)
	}
}
