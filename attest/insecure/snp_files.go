package insecure

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencocoon/cocoon/attest/snp"
)

// Names of the files that SNPAuthority.Save writes beside an Authority's; the
// revocation list goes to CollateralDir.
const (
	SNPAuthorityFile = "snp-authority.pem"
	SNPRootFile      = "snp-root.pem"
)

// Save writes the authority to a directory that exists. SNPRootFile and
// CollateralDir are all that a node needs which only judges.
func (a *SNPAuthority) Save(dir string) error {
	var secret bytes.Buffer
	for _, s := range []snpSignatory{a.root, a.intermediate, a.leaf} {
		key, err := x509.MarshalPKCS8PrivateKey(s.key)
		if err != nil {
			return err
		}
		secret.Write(a.chain(s))
		pem.Encode(&secret, &pem.Block{Type: "PRIVATE KEY", Bytes: key})
	}
	if err := os.WriteFile(filepath.Join(dir, SNPAuthorityFile), secret.Bytes(), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, SNPRootFile), a.chain(a.root), 0o644); err != nil {
		return err
	}
	collateral := filepath.Join(dir, CollateralDir)
	if err := os.MkdirAll(collateral, 0o755); err != nil {
		return err
	}
	raw, err := a.Machine("any").Quote(context.Background(), [64]byte{})
	if err != nil {
		return err
	}
	e, err := snp.Parse(raw)
	if err != nil {
		return err
	}
	return e.Save(context.Background(), a, collateral)
}

// LoadSNP reads what SNPAuthority.Save wrote, and publishes collateral anew.
func LoadSNP(dir string) (*SNPAuthority, error) {
	rest, err := os.ReadFile(filepath.Join(dir, SNPAuthorityFile))
	if err != nil {
		return nil, err
	}
	a := &SNPAuthority{}
	for _, s := range []*snpSignatory{&a.root, &a.intermediate, &a.leaf} {
		if rest, err = s.read(rest); err != nil {
			return nil, fmt.Errorf("insecure: %s: %w", SNPAuthorityFile, err)
		}
	}
	said, err := snp.ParseEndorsement(a.leaf.cert)
	if _, p384 := a.leaf.key.(*ecdsa.PrivateKey); err != nil || !p384 {
		return nil, fmt.Errorf("insecure: %s: the third is not a signing key's: %v", SNPAuthorityFile, err)
	}
	a.product, a.signer = said.Product, said.Signer
	return a, a.Publish(SNPCollateral{})
}

// read takes one certificate and its key from the front of b.
func (s *snpSignatory) read(b []byte) ([]byte, error) {
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
	signer, ok := secret.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key is %T, which signs nothing", secret)
	}
	s.key = signer
	return rest, nil
}

// LoadSNPRoots reads SNPRootFile of a saved authority, for a verifier's
// TestRoots.
func LoadSNPRoots(file string) ([]*x509.Certificate, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("insecure: %s does not hold one certificate", file)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("insecure: %s: %w", file, err)
	}
	return []*x509.Certificate{c}, nil
}
