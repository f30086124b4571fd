package tdx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Names of the certificates of a chain. The intermediate's tells which
// revocation list is about the PCK certificate: Intel's platform CA serves
// machines with several processors, its processor CA those with one.
const (
	nameRoot      = "Intel SGX Root CA"
	namePlatform  = "Intel SGX PCK Platform CA"
	nameProcessor = "Intel SGX PCK Processor CA"
	namePCK       = "Intel SGX PCK Certificate"
	nameSigner    = "Intel SGX TCB Signing"
)

// chain is what certifies the quoting enclave's report.
type chain struct {
	pck, ca, root *x509.Certificate
}

// readChain reads the certificates in a quote: PCK, intermediate, root, and at
// most a zero or white space behind them.
func readChain(text []byte) (c chain, err error) {
	certs, err := readPEM(text)
	if err != nil {
		return c, err
	}
	if len(certs) != 3 {
		return c, fmt.Errorf("tdx: chain of %d certificates, want 3", len(certs))
	}
	return chain{certs[0], certs[1], certs[2]}, nil
}

func readPEM(text []byte) (certs []*x509.Certificate, err error) {
	for rest := bytes.TrimRight(text, "\x00\r\n"); len(rest) > 0; {
		block, after := pem.Decode(rest)
		if block == nil || !bytes.HasPrefix(bytes.TrimLeft(rest, "\r\n"), []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, fmt.Errorf("tdx: certificate %d: want PEM of a CERTIFICATE", len(certs)+1)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("tdx: certificate %d: %w", len(certs)+1, err)
		}
		certs, rest = append(certs, cert), after
	}
	return certs, nil
}

// certificates are from the root down, which is the order in which each may be
// believed.
func (c *chain) certificates() []*x509.Certificate {
	return []*x509.Certificate{c.root, c.ca, c.pck}
}

// trusted tells whether the root is one of roots, and signed by itself. When
// it is valid is another question.
func trusted(root *x509.Certificate, roots *x509.CertPool) error {
	if err := issued(root, root, nameRoot); err != nil {
		return err
	}
	if _, err := root.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: root.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("root of %.60q is not trusted: unknown authority", root.Subject.Organization)
	}
	return nil
}

// issued checks that cert is of the form that Intel issues, has one of these
// names, and is signed by its parent.
func issued(cert, parent *x509.Certificate, names ...string) error {
	named := false
	for _, name := range names {
		named = named || cert.Subject.CommonName == name
	}
	key, _ := cert.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !named:
		return fmt.Errorf("subject is %.60q, want %q", cert.Subject.CommonName, names)
	case cert.Version != 3:
		return fmt.Errorf("certificate of version %d, want 3", cert.Version)
	case cert.SignatureAlgorithm != x509.ECDSAWithSHA256:
		return fmt.Errorf("signed with %s, want ECDSA-SHA256", cert.SignatureAlgorithm)
	case key == nil || key.Curve != elliptic.P256():
		return errors.New("key is not ECDSA on P-256")
	case len(cert.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("critical extension %s, which is unknown", cert.UnhandledCriticalExtensions[0])
	case !bytes.Equal(cert.RawIssuer, parent.RawSubject):
		return fmt.Errorf("issuer is %.60q, want %.60q", cert.Issuer.CommonName, parent.Subject.CommonName)
	}
	return signatures.once(func() error { return cert.CheckSignatureFrom(parent) }, []byte("certificate"), cert.Raw, parent.Raw)
}

// validAt says which certificate is not valid at now, nil if all are.
func validAt(now time.Time, certs ...*x509.Certificate) error {
	for _, c := range certs {
		if now.Before(c.NotBefore) {
			return fmt.Errorf("%s not yet valid, from %s", c.Subject.CommonName, stamp(c.NotBefore))
		}
		if now.After(c.NotAfter) {
			return fmt.Errorf("%s expired %s", c.Subject.CommonName, stamp(c.NotAfter))
		}
	}
	return nil
}

// firstEnd is when the first of certs expires.
func firstEnd(certs ...*x509.Certificate) (first time.Time) {
	for _, c := range certs {
		first = earliest(first, c.NotAfter)
	}
	return first
}

// earliest is the earlier of two times; zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
