package nvidia

import (
	"bytes"
	"crypto"
	_ "crypto/sha512" // what NVIDIA's responder hashes with
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// clockSkew is how far in the future an answer may have been made.
const clockSkew = 5 * time.Minute

// errRevoked means that an issuer took a certificate back.
var errRevoked = errors.New("revoked")

// span is when something holds.
type span struct{ from, to time.Time }

// at refuses answers that do not say when they end.
func (s span) at(now time.Time) error {
	if now.Add(clockSkew).Before(s.from) || !now.Before(s.to) {
		return fmt.Errorf("the answer is valid from %s to %s", s.from.UTC().Format(time.RFC3339), s.to.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkRevocation reads an answer about cert, an OCSP response (RFC 6960) or a
// revocation list (RFC 5280), both in DER, and says when it holds.
func checkRevocation(cert, issuer *x509.Certificate, answer []byte) (span, error) {
	list, err := x509.ParseRevocationList(answer)
	if err != nil {
		return checkResponse(cert, issuer, answer)
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return span{}, fmt.Errorf("revocation list: %w", err)
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
		return span{}, fmt.Errorf("revocation list of %q, want %q", list.Issuer, issuer.Subject)
	}
	for _, e := range list.Extensions {
		if e.Critical { // a list of part of the certificates, say
			return span{}, fmt.Errorf("revocation list with critical extension %s", e.Id)
		}
	}
	if slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(cert.SerialNumber) == 0 }) {
		return span{}, fmt.Errorf("%w, the issuer's list says", errRevoked)
	}
	return span{list.ThisUpdate, list.NextUpdate}, nil
}

func checkResponse(cert, issuer *x509.Certificate, answer []byte) (span, error) {
	r, err := ocsp.ParseResponseForCert(answer, cert, issuer)
	if err != nil {
		return span{}, err
	}
	if r.NextUpdate.IsZero() {
		return span{}, errors.New("an OCSP response that does not say when it ends")
	}
	s := span{r.ThisUpdate, r.NextUpdate}
	if by := r.Certificate; by != nil && !by.Equal(issuer) {
		if err := checkResponder(by, issuer); err != nil {
			return span{}, err
		}
		s.to = earlier(s.to, by.NotAfter)
		if by.NotBefore.After(s.from) {
			s.from = by.NotBefore
		}
	}
	switch r.Status {
	case ocsp.Good:
		return s, nil
	case ocsp.Revoked:
		return span{}, fmt.Errorf("%w on %s for reason %d, the issuer's responder says", errRevoked, day(r.RevokedAt), r.RevocationReason)
	}
	return span{}, errors.New("the issuer's responder does not know it")
}

// checkResponder makes sure that the certificate in a response, which the
// library has checked to be signed by the issuer, is a responder's: any GPU
// below that issuer could answer for itself otherwise.
func checkResponder(responder, issuer *x509.Certificate) error {
	switch {
	case !bytes.Equal(responder.RawIssuer, issuer.RawSubject):
		return fmt.Errorf("responder is below %q, want %q", responder.Issuer, issuer.Subject)
	case !slices.Contains(responder.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return fmt.Errorf("%q may not answer for its issuer", responder.Subject.CommonName)
	case len(responder.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("responder with critical extension %s", responder.UnhandledCriticalExtensions[0])
	}
	return nil
}

// statusRequest asks a responder about cert.
func statusRequest(cert, issuer *x509.Certificate) ([]byte, error) {
	return ocsp.CreateRequest(cert, issuer, &ocsp.RequestOptions{Hash: crypto.SHA384})
}

// lifeOfAnswer reads, unverified, from when to when an answer holds; zero
// times if it does not say.
func lifeOfAnswer(answer []byte) (from, to time.Time) {
	if list, err := x509.ParseRevocationList(answer); err == nil {
		return list.ThisUpdate, list.NextUpdate
	}
	if r, err := ocsp.ParseResponse(answer, nil); err == nil {
		return r.ThisUpdate, r.NextUpdate
	}
	return from, to
}
