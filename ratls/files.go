package ratls

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/opencocoon/cocoon/attest"
)

// Endings of the two files of an identity, after their common base.
const (
	certificateEnding = "_cert.pem"
	keyEnding         = "_key.pem"
)

// IdentityFiles is an identity that somebody else makes and renews: the
// network's images keep one in <base>_cert.pem and <base>_key.pem (wire.md
// 3.3). Run must not be called on its Identity; call Reread now and then.
type IdentityFiles struct {
	Identity *Identity
	base     string
}

// ReadIdentity reads <base>_cert.pem and <base>_key.pem.
func ReadIdentity(base string) (*IdentityFiles, error) {
	f := &IdentityFiles{base: base, Identity: &Identity{}}
	_, err := f.Reread()
	return f, err
}

// Reread takes the files' certificate for the handshakes to come, and tells
// whether it is another than before. On error the one before stays.
func (f *IdentityFiles) Reread() (changed bool, err error) {
	cert, shown, err := readPair(f.base)
	if err != nil {
		return false, fmt.Errorf("ratls: identity: %w", err)
	}
	old := f.Identity.current.Load()
	if old != nil && bytes.Equal(old.Certificate[0], cert.Certificate[0]) {
		return false, nil
	}
	if old == nil {
		f.Identity.platform = fromFiles(shown.Evidence.Kind)
	}
	f.Identity.current.Store(cert)
	return true, nil
}

// readPair reads both files. Between the renewals of the two they do not fit
// each other, which is an error like any other: the next look finds a pair.
func readPair(base string) (*tls.Certificate, *Shown, error) {
	certPEM, err := os.ReadFile(base + certificateEnding)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := os.ReadFile(base + keyEnding)
	if err != nil {
		return nil, nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("%s%s: %w", base, certificateEnding, err)
	}
	if _, rest := pem.Decode(certPEM); len(cert.Certificate) != 1 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, fmt.Errorf("%s%s: want one certificate and nothing else", base, certificateEnding)
	}
	if _, ok := cert.PrivateKey.(ed25519.PrivateKey); !ok {
		return nil, nil, fmt.Errorf("%s%s: want an Ed25519 key", base, keyEnding)
	}
	shown, err := ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, nil, fmt.Errorf("%s%s: %w", base, certificateEnding, err)
	}
	return &cert, shown, nil
}

// fromFiles is the platform of an identity that is read and never made.
type fromFiles attest.Kind

func (k fromFiles) Kind() attest.Kind { return attest.Kind(k) }

func (fromFiles) Quote(context.Context, [64]byte) ([]byte, error) {
	return nil, errors.New("the certificate is a file that another program renews")
}

// protocols are those beyond TLS that an identity is able to speak. One from
// files can make no evidence for a connection.
func (id *Identity) protocols() []string {
	if _, read := id.platform.(fromFiles); read {
		return nil
	}
	return []string{sessionProtocol}
}
