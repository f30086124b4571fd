package nvidia

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

type party struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newParty(t *testing.T, name string, by *party, change func(c *x509.Certificate)) *party {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &party{key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return p
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	issuer := newParty(t, "issuer", nil, authority)
	stranger := newParty(t, "issuer", nil, authority) // of the same name
	gpu := newParty(t, "gpu", issuer, authority)
	responder := newParty(t, "responder", issuer, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} })
	old := newParty(t, "old responder", issuer, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.NotAfter = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}, time.Now().Add(-time.Minute)
	})
	response := func(by *party, change func(r *ocsp.Response)) []byte {
		r := ocsp.Response{Status: ocsp.Good, SerialNumber: gpu.cert.SerialNumber, IssuerHash: crypto.SHA384, ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Minute)}
		if by != issuer {
			r.Certificate = by.cert
		}
		if change != nil {
			change(&r)
		}
		der, err := ocsp.CreateResponse(issuer.cert, by.cert, r, by.key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	list := func(by *party, change func(l *x509.RevocationList)) []byte {
		l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Minute)}
		if change != nil {
			change(l)
		}
		der, err := x509.CreateRevocationList(rand.Reader, l, by.cert, by.key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	entry := []x509.RevocationListEntry{{SerialNumber: gpu.cert.SerialNumber, RevocationTime: time.Now()}}
	for _, c := range []struct {
		name   string
		answer []byte
		good   bool
	}{
		{"the issuer's response", response(issuer, nil), true},
		{"the responder's response", response(responder, nil), true},
		{"the issuer's list", list(issuer, nil), true},
		{"nothing", nil, false},
		{"an error", ocsp.TryLaterErrorResponse, false},
		{"a response by a stranger", response(stranger, nil), false},
		{"the GPU's own response", response(gpu, nil), false},
		{"a responder that ended", response(old, nil), false},
		{"about another certificate", response(responder, func(r *ocsp.Response) { r.SerialNumber = big.NewInt(1) }), false},
		{"revoked", response(responder, func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, time.Now() }), false},
		{"on hold", response(responder, func(r *ocsp.Response) {
			r.Status, r.RevokedAt, r.RevocationReason = ocsp.Revoked, time.Now(), ocsp.CertificateHold
		}), false},
		{"unknown", response(responder, func(r *ocsp.Response) { r.Status = ocsp.Unknown }), false},
		{"an old response", response(responder, func(r *ocsp.Response) { r.NextUpdate = time.Now().Add(-time.Second) }), false},
		{"a response without an end", response(responder, func(r *ocsp.Response) { r.NextUpdate = time.Time{} }), false},
		{"a response of tomorrow", response(responder, func(r *ocsp.Response) {
			r.ThisUpdate, r.NextUpdate = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		}), false},
		{"on the list", list(issuer, func(l *x509.RevocationList) { l.RevokedCertificateEntries = entry }), false},
		{"a stranger's list", list(stranger, nil), false},
		{"the GPU's list", list(gpu, nil), false},
		{"an old list", list(issuer, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(-time.Second) }), false},
		{"a list of some", list(issuer, func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}}
		}), false},
	} {
		s, err := checkRevocation(gpu.cert, issuer.cert, c.answer)
		if err == nil {
			err = s.at(time.Now())
		}
		if (err == nil) != c.good {
			t.Errorf("%s: %v, want good %t", c.name, err, c.good)
		}
	}
	// What is changed is refused, or was only the encoding around what is
	// signed.
	whole := response(responder, nil)
	want, err := checkRevocation(gpu.cert, issuer.cert, whole)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 5 {
		changed := append([]byte{}, whole...)
		changed[at] ^= 0x11
		if s, err := checkRevocation(gpu.cert, issuer.cert, changed); err == nil && s != want {
			t.Errorf("byte %d of a response changed: accepted from %s to %s", at, s.from, s.to)
		}
	}
}
