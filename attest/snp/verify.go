package snp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Chain is the way from a signing key's certificate to a root.
type Chain struct {
	Leaf         *x509.Certificate // VCEK or VLEK
	Intermediate *x509.Certificate // ASK or ASVK
	Root         *x509.Certificate // ARK
}

// VerifyChains finds the ways from leaf over one of the intermediates to one of
// roots and checks their signatures. Whether the three are valid today, and on
// no list, is asked apart: see [Chain.ValidAt] and [Chain.VerifyRevocation].
// There are several ways where AMD certified an intermediate's key twice.
func VerifyChains(leaf *x509.Certificate, over, roots []*x509.Certificate) (chains []*Chain, err error) {
	err = fmt.Errorf("snp: nobody known issued %q of %q", leaf.Subject.CommonName, leaf.Issuer.CommonName)
	for i, between := range over {
		if slices.ContainsFunc(over[:i], between.Equal) {
			continue // sent, and known anyway
		}
		if size := rsaBits(between); size > maxRSA {
			err = fmt.Errorf("snp: %.40q has a key of %d bits, want at most %d", between.Subject.CommonName, size, maxRSA)
			continue
		}
		for _, root := range roots {
			if !bytes.Equal(leaf.RawIssuer, between.RawSubject) || !bytes.Equal(between.RawIssuer, root.RawSubject) {
				continue
			}
			c := &Chain{leaf, between, root}
			if wrong := c.verify(); wrong != nil {
				err = fmt.Errorf("snp: %w", wrong)
				continue
			}
			chains = append(chains, c)
		}
	}
	if len(chains) > 0 {
		return chains, nil
	}
	return nil, err
}

// maxRSA is the size of AMD's keys, in bits. A peer sends intermediates of its
// own making, and what fits into evidence of other sizes takes a core hundreds of
// times as long.
const maxRSA = 4096

func rsaBits(c *x509.Certificate) int {
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok {
		return key.N.BitLen()
	}
	return 0
}

// verify checks the signatures, at the first time when all three are valid:
// an intermediate that was certified anew is younger than what it issued.
func (c *Chain) verify() error {
	root, between := x509.NewCertPool(), x509.NewCertPool()
	root.AddCert(c.Root)
	between.AddCert(c.Intermediate)
	var first time.Time
	for _, cert := range c.Certificates() {
		if cert.NotBefore.After(first) {
			first = cert.NotBefore
		}
	}
	found, err := c.Leaf.Verify(x509.VerifyOptions{Roots: root, Intermediates: between, CurrentTime: first, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return err
	}
	if len(found[0]) != 3 {
		return fmt.Errorf("chain of %d certificates, want 3", len(found[0]))
	}
	return c.form()
}

// form refuses what AMD's hierarchy never has: other signatures than RSA-PSS
// with SHA-384, or an intermediate of the other branch.
func (c *Chain) form() error {
	for _, cert := range c.Certificates() {
		if cert.SignatureAlgorithm != x509.SHA384WithRSAPSS {
			return fmt.Errorf("%s is signed with %s, want RSA-PSS with SHA-384", cert.Subject.CommonName, cert.SignatureAlgorithm)
		}
	}
	product, err := c.Product()
	if err != nil {
		return err
	}
	want := map[string]string{"SEV-VCEK": "SEV-" + string(product), "SEV-VLEK": "SEV-VLEK-" + string(product)}[c.Leaf.Subject.CommonName]
	if got := c.Intermediate.Subject.CommonName; got != want {
		return fmt.Errorf("%s is issued by %q, want %q", c.Leaf.Subject.CommonName, got, want)
	}
	return nil
}

// Certificates are the three, leaf first.
func (c *Chain) Certificates() []*x509.Certificate {
	return []*x509.Certificate{c.Leaf, c.Intermediate, c.Root}
}

// ValidAt tells whether each of the three is valid at now.
func (c *Chain) ValidAt(now time.Time) bool {
	return !slices.ContainsFunc(c.Certificates(), func(cert *x509.Certificate) bool { return !validAt(cert, now) })
}

func validAt(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}

// Product is what the root vouches for, by its name: ARK-Milan and so on.
func (c *Chain) Product() (Product, error) {
	for _, p := range Products {
		if c.Root.Subject.CommonName == "ARK-"+string(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("root is %.40q, of no known product", c.Root.Subject.CommonName)
}

// VerifySignature checks that key signed the report.
func (r *Report) VerifySignature(key *x509.Certificate) error {
	public, ok := key.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return fmt.Errorf("snp: key is %T, want ECDSA", key.PublicKey)
	}
	digest := sha512.Sum384(r.signed)
	if !ecdsa.Verify(public, digest[:], littleEndian(r.Signature.R), littleEndian(r.Signature.S)) {
		return errors.New("snp: signature does not fit report and key")
	}
	return nil
}

func littleEndian(b [72]byte) *big.Int {
	slices.Reverse(b[:])
	return new(big.Int).SetBytes(b[:])
}

// UnavailableError means that collateral could not be fetched: nothing is
// known, neither good nor bad. Retry later.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string { return "collateral unavailable: " + e.Err.Error() }
func (e *UnavailableError) Unwrap() error { return e.Err }

// VerifyRevocation asks src for the list of the chain's root and checks that
// the list is the root's, valid at now, and does not name the intermediate. It
// returns when the list ends. An *UnavailableError says that src did not
// answer.
//
// AMD publishes no list of leaves: one that must not be used any more is below
// the least TCB.
func (c *Chain) VerifyRevocation(ctx context.Context, src Collateral, now time.Time) (ends time.Time, err error) {
	product, err := c.Product()
	if err != nil {
		return ends, err
	}
	signer := VCEK
	if c.Leaf.Subject.CommonName == "SEV-VLEK" {
		signer = VLEK
	}
	path := CRLPath(product, signer)
	body, err := src.Get(ctx, path)
	if err != nil {
		return ends, &UnavailableError{err}
	}
	list, err := c.list(body, now)
	if err != nil {
		forget(src, path)
		return ends, err
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, cert := range []*x509.Certificate{c.Intermediate, c.Root} {
			if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return ends, fmt.Errorf("snp: %s is revoked since %s", cert.Subject.CommonName, stamp(entry.RevocationTime))
			}
		}
	}
	return list.NextUpdate, nil
}

// list reads a revocation list that is the root's, complete, and valid at now.
func (c *Chain) list(body []byte, now time.Time) (*x509.RevocationList, error) {
	list, err := parseCRL(body)
	if err != nil {
		return nil, err
	}
	if err := list.CheckSignatureFrom(c.Root); err != nil {
		return nil, fmt.Errorf("snp: revocation list: %w", err)
	}
	for _, ext := range list.Extensions {
		if ext.Critical { // a list of changes only, or of some certificates only
			return nil, fmt.Errorf("snp: revocation list has the critical extension %s", ext.Id)
		}
	}
	if now.Before(list.ThisUpdate) || !now.Before(list.NextUpdate) {
		return nil, fmt.Errorf("snp: revocation list is valid from %s to %s, not at %s", stamp(list.ThisUpdate), stamp(list.NextUpdate), stamp(now))
	}
	return list, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
