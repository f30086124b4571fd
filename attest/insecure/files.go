package insecure

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// Names of the files that Save writes. RootFile and CollateralDir are all
// that a node needs which only judges; AuthorityFile makes machines.
const (
	AuthorityFile = "authority.pem"
	RootFile      = "root.pem"
	CollateralDir = "collateral"
)

// Save writes the authority to a directory that exists.
func (a *Authority) Save(dir string) error {
	var secret bytes.Buffer
	for _, s := range a.signatories() {
		der, err := x509.MarshalPKCS8PrivateKey(s.key)
		if err != nil {
			return err
		}
		secret.Write(a.chain(*s))
		pem.Encode(&secret, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	if err := os.WriteFile(filepath.Join(dir, AuthorityFile), secret.Bytes(), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, RootFile), a.RootPEM(), 0o644); err != nil {
		return err
	}
	return a.saveCollateral(filepath.Join(dir, CollateralDir))
}

func (a *Authority) saveCollateral(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, single := range []bool{false, true} {
		m := a.Machine("any")
		m.ProcessorCA = single
		raw, err := m.Quote(context.Background(), [64]byte{})
		if err != nil {
			return err
		}
		q, err := tdx.Parse(raw)
		if err != nil {
			return err
		}
		if err := tdx.Save(context.Background(), q, a, dir); err != nil {
			return err
		}
	}
	return nil
}

// signatoriesOnce are those in the files of earlier releases.
const signatoriesOnce = 4

// Load reads what Save wrote, and publishes collateral anew.
func Load(dir string) (*Authority, error) {
	rest, err := os.ReadFile(filepath.Join(dir, AuthorityFile))
	if err != nil {
		return nil, err
	}
	a := &Authority{machines: map[string]signatory{}}
	for i, s := range a.signatories() {
		if len(rest) == 0 && i >= signatoriesOnce {
			err = a.make(i, s, a.issued().Add(time.Hour))
		} else {
			rest, err = s.read(rest)
		}
		if err != nil {
			return nil, fmt.Errorf("insecure: %s in %s: %w", names[i], AuthorityFile, err)
		}
	}
	return a, a.Publish(Collateral{})
}

// read takes one certificate and its key from the front of b.
func (s *signatory) read(b []byte) ([]byte, error) {
	cert, rest := pem.Decode(b)
	key, rest := pem.Decode(rest)
	if cert == nil || key == nil || cert.Type != "CERTIFICATE" || key.Type != "PRIVATE KEY" {
		return nil, errors.New("want a certificate and then its key, in PEM")
	}
	var err error
	if s.cert, err = x509.ParseCertificate(cert.Bytes); err != nil {
		return nil, err
	}
	secret, err := x509.ParsePKCS8PrivateKey(key.Bytes)
	if err != nil {
		return nil, err
	}
	var ok bool
	if s.key, ok = secret.(*ecdsa.PrivateKey); !ok {
		return nil, fmt.Errorf("key is %T, want ECDSA", secret)
	}
	return rest, nil
}

// LoadRoots reads RootFile of a saved authority, for a verifier's TestRoots.
func LoadRoots(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("insecure: %s holds no certificate", file)
	}
	return pool, nil
}
