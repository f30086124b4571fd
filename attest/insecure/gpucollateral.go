package insecure

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest/nvidia"
	"golang.org/x/crypto/ocsp"
)

// GPUCollateral is what a GPU authority says of its GPUs. The zero value
// publishes manifests of what they run and revokes nothing.
type GPUCollateral struct {
	Revoked []string // common names of certificates that were taken back
	Unknown []string // of those that the responder does not know
	// Until is when statuses end; zero: with the roots.
	Until time.Time
	// Document changes a manifest before it is signed, Signed afterwards.
	Document, Signed func(string) string
	// SignedInfo changes what a manifest's signature says about itself, before
	// it is signed.
	SignedInfo func(string) string
	// Missing leaves manifests out whose names contain it; empty: none.
	Missing string
}

// Publish serves other collateral from now on.
func (a *GPUAuthority) Publish(c GPUCollateral) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.published, a.answers = c, nil
}

// answer makes an answer once.
func (a *GPUAuthority) answer(to string, make func(GPUCollateral) ([]byte, error)) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b, ok := a.answers[to]; ok {
		return b, nil
	}
	c := a.published
	if c.Until.IsZero() {
		c.Until = a.device.cert.NotAfter
	}
	b, err := make(c)
	if err != nil {
		return nil, err
	}
	if a.answers == nil {
		a.answers = map[string][]byte{}
	}
	a.answers[to] = b
	return b, nil
}

// Status implements nvidia.Collateral: the issuer itself answers.
func (a *GPUAuthority) Status(_ context.Context, cert, issuer *x509.Certificate) ([]byte, error) {
	return a.answer(fmt.Sprintf("status of %x by %s", cert.SerialNumber, issuer.Subject), func(c GPUCollateral) ([]byte, error) {
		return a.status(c, cert, issuer)
	})
}

func (a *GPUAuthority) status(c GPUCollateral, cert, issuer *x509.Certificate) ([]byte, error) {
	answer := ocsp.Response{
		Status: ocsp.Good, SerialNumber: cert.SerialNumber, IssuerHash: crypto.SHA384,
		ThisUpdate: a.device.cert.NotBefore, NextUpdate: c.Until,
	}
	for _, name := range c.Revoked {
		if strings.Contains(cert.Subject.CommonName, name) {
			answer.Status, answer.RevokedAt, answer.RevocationReason = ocsp.Revoked, a.device.cert.NotBefore, ocsp.KeyCompromise
		}
	}
	for _, name := range c.Unknown {
		if strings.Contains(cert.Subject.CommonName, name) {
			answer.Status = ocsp.Unknown
		}
	}
	for _, s := range a.signatories() {
		if s.cert.Equal(issuer) {
			return ocsp.CreateResponse(issuer, issuer, answer, s.key)
		}
	}
	return nil, fmt.Errorf("%w: %s is not of this authority", nvidia.ErrNotPublished, issuer.Subject)
}

// Keys implements nvidia.Collateral: there is no token service.
func (a *GPUAuthority) Keys(context.Context) ([]byte, error) { return nil, nvidia.ErrNotPublished }

// Chain returns the certificates of both chains, from their roots down.
func (a *GPUAuthority) Chain() (certs []*x509.Certificate) {
	for _, s := range a.signatories() {
		certs = append(certs, s.cert)
	}
	return certs
}
