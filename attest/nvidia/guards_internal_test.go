package nvidia

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"
)

// link is a certificate with its key.
type link struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func makeLink(t *testing.T, by *link, name string, curve elliptic.Curve, change func(*x509.Certificate)) *link {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SignatureAlgorithm: x509.ECDSAWithSHA384,
	}
	change(c)
	if by == nil {
		by = &link{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &link{cert, key}
}

// One thing at a time that no chain of NVIDIA's is.
func TestVerifyChain(t *testing.T) {
	p384 := elliptic.P384()
	same := func(*x509.Certificate) {}
	end := func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }
	root := makeLink(t, nil, "root", p384, same)
	ca := makeLink(t, root, "ca", p384, same)
	renamed, rekeyed := *ca, *ca
	other := makeLink(t, root, "other", p384, same)
	renamed.cert = &x509.Certificate{}
	*renamed.cert = *ca.cert
	renamed.cert.RawSubject, renamed.cert.Subject = other.cert.RawSubject, other.cert.Subject
	rekeyed.cert = &x509.Certificate{}
	*rekeyed.cert = *ca.cert
	rekeyed.cert.SubjectKeyId = []byte{1}
	mute := makeLink(t, root, "mute", p384, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })
	short := makeLink(t, root, "short", p384, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	below := makeLink(t, short, "below", p384, same)
	critical := func(c *x509.Certificate) {
		end(c)
		c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	}
	chain := func(links ...*link) (certs []*x509.Certificate) {
		for _, l := range links {
			certs = append(certs, l.cert)
		}
		return certs
	}
	for _, c := range []struct {
		name  string
		chain []*x509.Certificate
		want  string // in the error; empty: none
	}{
		{"as it should be", chain(makeLink(t, ca, "end", p384, end), ca, root), ""},
		{"another root", chain(makeLink(t, ca, "end", p384, end), ca, makeLink(t, nil, "root", p384, same)), "trusted root"},
		{"a key on P-256", chain(makeLink(t, ca, "end", elliptic.P256(), end), ca, root), "P-384"},
		{"signed with SHA-256", chain(makeLink(t, ca, "end", p384, func(c *x509.Certificate) { end(c); c.SignatureAlgorithm = x509.ECDSAWithSHA256 }), ca, root), "SHA-384"},
		{"an unknown critical extension", chain(makeLink(t, ca, "end", p384, critical), ca, root), "critical extension"},
		{"issuer of another name", chain(makeLink(t, &renamed, "end", p384, end), ca, root), "issuer is"},
		{"issuer with another key id", chain(makeLink(t, &rekeyed, "end", p384, end), ca, root), "issuer's key"},
		{"issuer that signs no certificates", chain(makeLink(t, mute, "end", p384, end), mute, root), "may not sign certificates"},
		{"issuer too far above", chain(makeLink(t, below, "end", p384, end), below, short, root), "may stand above"},
		{"issuer just above", chain(makeLink(t, short, "end", p384, end), short, root), ""},
		{"first certificate of an authority", chain(makeLink(t, ca, "end", p384, same), ca, root), "may not sign data"},
		{"first certificate that signs nothing", chain(makeLink(t, ca, "end", p384, func(c *x509.Certificate) { end(c); c.KeyUsage = x509.KeyUsageKeyAgreement }), ca, root), "may not sign data"},
		{"another issuer of the same name", chain(makeLink(t, makeLink(t, root, "ca", p384, func(c *x509.Certificate) { c.SubjectKeyId = ca.cert.SubjectKeyId }), "end", p384, end), ca, root), "verification"},
	} {
		err := verifyChain(c.chain, root.cert)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}

func TestCheckChip(t *testing.T) {
	named := func(name string) *x509.Certificate { return &x509.Certificate{Subject: pkix.Name{CommonName: name}} }
	for _, c := range []struct {
		model, authority string
		ok               bool
	}{
		{"GH100 A01 GSP BROM", "NVIDIA GH100 Identity", true},
		{"GH100 A01 GSP BROM", "NVIDIA GB100 Identity", false},
		{"GB100 A01 GSP BROM", "NVIDIA GH100 Identity", false},
		{"GH1000 A01 GSP BROM", "NVIDIA GH100 Identity", false},
	} {
		d := &Device{Chip: "GH100", Model: c.model, certs: []*x509.Certificate{named(""), named(c.model), named(""), named(c.authority)}}
		if err := d.checkChip(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A measurement that a manifest expects is in the report, and in one manifest
// alone.
func TestCompare(t *testing.T) {
	a, b := [digestSize]byte{1}, [digestSize]byte{2}
	expects := func(index int, values ...[digestSize]byte) *Manifest {
		return &Manifest{Expected: map[int][][digestSize]byte{index: values}}
	}
	p := &Report{Measurements: [][digestSize]byte{a, b}}
	for _, c := range []struct {
		name      string
		manifests []*Manifest
		ok        bool
	}{
		{"both as expected", []*Manifest{expects(0, a), expects(1, b)}, true},
		{"one of two", []*Manifest{expects(0, b, a)}, true},
		{"another", []*Manifest{expects(0, b)}, false},
		{"behind the last", []*Manifest{expects(2, a)}, false},
		{"in both manifests", []*Manifest{expects(0, a), expects(0, a)}, false},
	} {
		if got, ok := compare(p, c.manifests...); ok != c.ok {
			t.Errorf("%s: %s, %v", c.name, got, ok)
		}
	}
}

// What a manifest must say before anybody looks at its signature.
func TestParseManifestRefuses(t *testing.T) {
	const good = `<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:h="http://www.w3.org/2001/04/xmlenc#sha384">` +
		`<Meta colloquialVersion="1" product="GH100" edition="GPU"/><Payload><Resource type="Measurement" index="3" active="True" alternatives="1" size="48" h:Hash0="HASH"/></Payload>` +
		`<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><KeyInfo><X509Data/></KeyInfo></Signature></SoftwareIdentity>`
	text := strings.Replace(good, "HASH", strings.Repeat("ab", 48), 1)
	resource := text[strings.Index(text, "<Resource"):strings.Index(text, "</Payload>")]
	for name, c := range map[string]struct{ text, want string }{
		"certificates are asked for last": {text, "chain of 0 certificates"},
		"another namespace":               {strings.Replace(text, "2015/schema.xsd", "2014/schema.xsd", 1), "want <SoftwareIdentity>"},
		"a measurement twice":             {strings.Replace(text, resource, resource+resource, 1), "twice"},
		"a measurement that is too far":   {strings.Replace(text, `index="3"`, `index="64"`, 1), "named wrongly"},
		"none that counts":                {strings.Replace(text, `"True"`, `"False"`, 1), "no measurement counts"},
		"perhaps active":                  {strings.Replace(text, `"True"`, `"true"`, 1), "is active"},
		"something else":                  {strings.Replace(text, `"Measurement"`, `"File"`, 1), "want measurements"},
		"two payloads":                    {strings.Replace(text, "</Payload>", "</Payload><Payload/>", 1), "2 elements"},
		"another size":                    {strings.Replace(text, `"48"`, `"32"`, 1), "of size"},
		"an alternative less":             {strings.Replace(text, `alternatives="1"`, `alternatives="2"`, 1), "alternative 1"},
	} {
		if _, err := ParseManifest([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
}
