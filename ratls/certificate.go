package ratls

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	"github.com/opencocoon/cocoon/attest"
)

var (
	oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112}

	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}

	oidServerAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	oidClientAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}
)

const (
	maxCertificate = 64 << 10 // a quote of 32 KiB and room for the rest
	maxExtensions  = 64       // the reference writes seven; each is compared with all before it
	// backdate makes up for verifiers whose clocks are slow; the reference's
	// tolerate nothing. skew is what we tolerate in certificates that were not
	// back-dated, which are those of the reference.
	backdate = 5 * time.Minute
	skew     = 5 * time.Minute
)

// newCertificate signs a certificate for key that carries evidence.
func newCertificate(key ed25519.PrivateKey, e attest.Evidence, notBefore, notAfter time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	public := key.Public().(ed25519.PublicKey)
	ours, err := evidenceExtensions(e, public)
	if err != nil {
		return nil, err
	}
	usual, err := usualExtensions(public)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:    serial,
		Subject:         pkix.Name{Organization: []string{"Cocoon"}, CommonName: "localhost"},
		NotBefore:       notBefore,
		NotAfter:        notAfter,
		ExtraExtensions: append(ours, usual...),
	}
	return x509.CreateCertificate(rand.Reader, t, t, public, key)
}

// usualExtensions are those behind the evidence, in the reference's order,
// which crypto/x509 would put in front of it. Names mean nothing here, but the
// reference's clients look for the DNS name "127.0.0.1" whatever they dialed.
func usualExtensions(key ed25519.PublicKey) (out []pkix.Extension, err error) {
	id := sha1.Sum(key)
	const dnsName, address = 2, 7 // RFC 5280, GeneralName
	for _, e := range []struct {
		id       asn1.ObjectIdentifier
		critical bool
		value    any
	}{
		{oidBasicConstraints, true, struct{}{}},
		{oidKeyUsage, true, asn1.BitString{Bytes: []byte{0x80}, BitLength: 1}}, // digital signature
		{oidExtKeyUsage, true, []asn1.ObjectIdentifier{oidServerAuth, oidClientAuth}},
		{oidSubjectKeyID, false, id[:]},
		{oidSubjectAltName, false, []asn1.RawValue{
			{Class: asn1.ClassContextSpecific, Tag: dnsName, Bytes: []byte("localhost")},
			{Class: asn1.ClassContextSpecific, Tag: dnsName, Bytes: []byte("127.0.0.1")},
			{Class: asn1.ClassContextSpecific, Tag: address, Bytes: net.IPv6loopback},
		}},
	} {
		value, err := asn1.Marshal(e.value)
		if err != nil {
			return nil, err
		}
		out = append(out, pkix.Extension{Id: e.id, Critical: e.critical, Value: value})
	}
	return out, nil
}

// certificate is what we read of a peer's.
type certificate struct {
	key                 ed25519.PublicKey
	notBefore, notAfter time.Time
	evidence            attest.Evidence
	restricted          bool // to usages
	usages              []asn1.ObjectIdentifier
}

// asn1Certificate is X.509 with the version ignored: the reference, built with
// an older OpenSSL, writes extensions into certificates of version 1, and
// crypto/x509 reads such a certificate as having none.
type asn1Certificate struct {
	TBS       asn1TBS
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

type asn1TBS struct {
	Raw        asn1.RawContent
	Version    int `asn1:"optional,explicit,default:0,tag:0"`
	Serial     *big.Int
	Algorithm  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	Validity   struct{ NotBefore, NotAfter time.Time }
	Subject    asn1.RawValue
	PublicKey  asn1Key
	IssuerID   asn1.BitString   `asn1:"optional,tag:1"`
	SubjectID  asn1.BitString   `asn1:"optional,tag:2"`
	Extensions []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
}

type asn1Key struct {
	Algorithm pkix.AlgorithmIdentifier
	Bits      asn1.BitString
}

// parseCertificate reads a self-signed Ed25519 certificate and checks its
// signature. Unlike the reference it does not accept one that somebody else
// might have signed.
func parseCertificate(der []byte) (*certificate, error) {
	if len(der) > maxCertificate {
		return nil, fmt.Errorf("certificate of %d bytes, want at most %d", len(der), maxCertificate)
	}
	var x asn1Certificate
	if rest, err := asn1.Unmarshal(der, &x); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	} else if len(rest) > 0 {
		return nil, fmt.Errorf("certificate: %d bytes too many", len(rest))
	}
	c := &certificate{key: x.TBS.PublicKey.Bits.Bytes, notBefore: x.TBS.Validity.NotBefore, notAfter: x.TBS.Validity.NotAfter}
	if err := x.checkSelfSigned(); err != nil {
		return nil, err
	}
	if n := len(x.TBS.Extensions); n > maxExtensions {
		return nil, fmt.Errorf("certificate: %d extensions, want at most %d", n, maxExtensions)
	}
	var found extensions
	for i, e := range x.TBS.Extensions {
		if slices.ContainsFunc(x.TBS.Extensions[:i], func(o pkix.Extension) bool { return o.Id.Equal(e.Id) }) {
			return nil, fmt.Errorf("certificate: extension %v occurs twice", e.Id)
		}
		// Our own count whether critical or not, as they did in the reference's
		// first release.
		if place := found.place(e.Id); place != nil {
			*place = append([]byte{}, e.Value...)
		} else if err := c.extension(e); err != nil {
			return nil, err
		}
	}
	var err error
	c.evidence, err = found.evidence(c.key)
	return c, err
}

func (x *asn1Certificate) checkSelfSigned() error {
	key := x.TBS.PublicKey
	for _, algorithm := range []pkix.AlgorithmIdentifier{key.Algorithm, x.TBS.Algorithm, x.Algorithm} {
		if !algorithm.Algorithm.Equal(oidEd25519) {
			return fmt.Errorf("certificate: algorithm is %v, want Ed25519", algorithm.Algorithm)
		}
	}
	switch {
	case key.Bits.BitLength != 8*ed25519.PublicKeySize:
		return fmt.Errorf("certificate: key of %d bits, want %d", key.Bits.BitLength, 8*ed25519.PublicKeySize)
	case !bytes.Equal(x.TBS.Issuer.FullBytes, x.TBS.Subject.FullBytes):
		return errors.New("certificate: issuer is not the subject, want self-issued")
	case !ed25519.Verify(key.Bits.Bytes, x.TBS.Raw, x.Signature.Bytes):
		return errors.New("certificate: not signed by its own key")
	}
	return nil
}

// extension takes one in that is not ours.
func (c *certificate) extension(e pkix.Extension) error {
	switch id := e.Id; {
	case id.Equal(oidKeyUsage):
		var usage asn1.BitString
		if rest, err := asn1.Unmarshal(e.Value, &usage); err != nil || len(rest) > 0 || usage.At(0) == 0 {
			return errors.New("certificate: key usage without digital signature")
		}
	case id.Equal(oidExtKeyUsage):
		if rest, err := asn1.Unmarshal(e.Value, &c.usages); err != nil || len(rest) > 0 {
			return errors.New("certificate: extended key usage cannot be read")
		}
		c.restricted = true
	case id.Equal(oidClaims), id.Equal(oidBasicConstraints), id.Equal(oidSubjectAltName):
	case e.Critical:
		return fmt.Errorf("certificate: unknown critical extension %v", id)
	}
	return nil
}

// usableFor checks validity and purpose: usage is serverAuth for a peer that
// we dialed, clientAuth for one that dialed us.
func (c *certificate) usableFor(usage asn1.ObjectIdentifier, now time.Time) error {
	switch {
	case now.Add(skew).Before(c.notBefore):
		return fmt.Errorf("certificate: valid from %v, now is %v", stamp(c.notBefore), stamp(now))
	case now.After(c.notAfter):
		return fmt.Errorf("certificate: expired %v, now is %v", stamp(c.notAfter), stamp(now))
	case c.restricted && !slices.ContainsFunc(c.usages, usage.Equal):
		return fmt.Errorf("certificate: extended key usage lacks %v", usage)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
