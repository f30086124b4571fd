package ratls

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
)

// recorded lies in the life of the reference's certificates in testdata.
var recorded = time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readJSON(t testing.TB, name string, into any) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, name), into); err != nil {
		t.Fatal(err)
	}
}

func readPEM(t testing.TB, name string) []byte {
	t.Helper()
	block, _ := pem.Decode(readFile(t, name))
	if block == nil {
		t.Fatalf("%s: no PEM", name)
	}
	return block.Bytes
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type certVectors struct {
	Certificates []struct {
		Label, DER string
		PublicKey  string `json:"public_key"`
		Quote      *string
	}
	Matrix []struct {
		Certificate string
		AsServer    string `json:"as_server_certificate_checked_by_reference_client"`
		AsClient    string `json:"as_client_certificate_checked_by_reference_server"`
	} `json:"acceptance_matrix_observed_with_policy_fake_tdx"`
}

// The reference's certificates are of version 1 and carry extensions all the
// same. crypto/x509 sees none of them.
func TestReferenceCertificates(t *testing.T) {
	var v certVectors
	readJSON(t, "certs.json", &v)
	if len(v.Certificates) == 0 {
		t.Fatal("no certificates")
	}
	for _, c := range v.Certificates {
		der := unhex(t, c.DER)
		cert, err := parseCertificate(der)
		if err != nil {
			t.Errorf("%s: %v", c.Label, err)
			continue
		}
		if !bytes.Equal(cert.key, unhex(t, c.PublicKey)) {
			t.Errorf("%s: key %x, want %s", c.Label, cert.key, c.PublicKey)
		}
		if (cert.evidence.Raw != nil) != (c.Quote != nil) || c.Quote != nil && !bytes.Equal(cert.evidence.Raw, unhex(t, *c.Quote)) {
			t.Errorf("%s: evidence %x", c.Label, cert.evidence.Raw)
		}
		if x, err := x509.ParseCertificate(der); err != nil || x.Version != 1 || len(x.Extensions) != 0 {
			t.Errorf("%s: crypto/x509 has learned to read it (%v); parse by hand no more", c.Label, err)
		}
	}
	for _, name := range []string{"fake_tdx_cert.pem", "none_cert.pem", "router_client_cert.pem", "router_proxy_cert.pem"} {
		cert, err := parseCertificate(readPEM(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		kind := attest.KindFakeTDX
		if strings.HasPrefix(name, "none") {
			kind = attest.KindNone
		}
		if got := cert.evidence.Kind; got != kind {
			t.Errorf("%s: evidence of kind %s, want %s", name, got, kind)
		}
		for _, usage := range []asn1.ObjectIdentifier{oidServerAuth, oidClientAuth} {
			if err := cert.usableFor(usage, recorded); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// template is the certificate that fits, before one thing is changed.
func template(key ed25519.PublicKey) *x509.Certificate {
	data := attest.ReportData(key)
	return &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "localhost"},
		NotBefore:             recorded.Add(-time.Hour),
		NotAfter:              recorded.Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost", "127.0.0.1"},
		IPAddresses:           []net.IP{net.IPv6loopback},
		ExtraExtensions: []pkix.Extension{
			{Id: oidQuote, Critical: true, Value: data[:]},
			{Id: oidClaims, Critical: true, Value: key},
		},
	}
}

// How each row of the reference's matrix is made. None changes nothing.
var matrix = map[string]func(*x509.Certificate){
	"as reference (Go-made v3 certificate, DNS localhost + DNS 127.0.0.1 + IP ::1)": func(c *x509.Certificate) {},
	"no DNS SAN 127.0.0.1 (only DNS localhost)":                                     func(c *x509.Certificate) { c.DNSNames = c.DNSNames[:1] },
	"IP SAN 127.0.0.1 instead of DNS SAN":                                           func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = c.DNSNames[:1], []net.IP{{127, 0, 0, 1}} },
	"no SAN at all, CN=127.0.0.1":                                                   func(c *x509.Certificate) { c.DNSNames, c.IPAddresses, c.Subject.CommonName = nil, nil, "127.0.0.1" },
	"no SAN at all, CN=localhost":                                                   func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil },
	"claims extension with garbage":                                                 func(c *x509.Certificate) { c.ExtraExtensions[1].Value = []byte("garbage") },
	"claims extension absent":                                                       func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[:1] },
	"both custom extensions non-critical":                                           func(c *x509.Certificate) { c.ExtraExtensions[0].Critical, c.ExtraExtensions[1].Critical = false, false },
	"expired":                                                                       func(c *x509.Certificate) { c.NotAfter = recorded.Add(-time.Minute) },
	"notBefore in the future":                                                       func(c *x509.Certificate) { c.NotBefore = recorded.Add(10 * time.Minute) },
	"no KeyUsage/EKU/BasicConstraints":                                              func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage, c.BasicConstraintsValid = 0, nil, false },
	"EKU serverAuth only":                                                           func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] },
	"EKU clientAuth only":                                                           func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] },
	"additional unknown critical extension": func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
	},
	"quote not bound to the key":               func(c *x509.Certificate) { c.ExtraExtensions[0].Value[0] ^= 1 },
	"fake quote of 63 bytes":                   func(c *x509.Certificate) { c.ExtraExtensions[0].Value = c.ExtraExtensions[0].Value[:63] },
	"no quote extension, peer policy fake_tdx": func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[1:] },
	"ECDSA P-256 key":                          nil, // made apart, like the next
	"issuer DN differs from subject DN":        nil,
}

// ours are the rows where we deliberately differ: names mean nothing to us.
var ours = map[string]string{
	"no DNS SAN 127.0.0.1 (only DNS localhost)": "accept",
	"IP SAN 127.0.0.1 instead of DNS SAN":       "accept",
	"no SAN at all, CN=localhost":               "accept",
}

func madeAs(t *testing.T, label string) []byte {
	t.Helper()
	change, known := matrix[label]
	if !known {
		t.Fatalf("no recipe for %q", label)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := template(public)
	parent, holder, signer := c, crypto.PublicKey(public), crypto.Signer(private)
	switch label {
	case "ECDSA P-256 key":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		holder, signer = &key.PublicKey, key
	case "issuer DN differs from subject DN":
		parent = template(public)
		parent.Subject.CommonName = "another"
	default:
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, holder, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// judgeDER is what judge does once the handshake is through.
func judgeDER(t *testing.T, der []byte, usage asn1.ObjectIdentifier) error {
	t.Helper()
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	cfg := (&Config{Policy: &attest.Policy{AllowFake: true, AnyImage: true}, Now: func() time.Time { return recorded }}).withDefaults()
	_, _, err = cfg.judge(t.Context(), tls.ConnectionState{PeerCertificates: []*x509.Certificate{x}}, usage)
	return err
}

func TestAcceptanceMatrix(t *testing.T) {
	var v certVectors
	readJSON(t, "certs.json", &v)
	if len(v.Matrix) != len(matrix) {
		t.Errorf("%d rows, %d recipes", len(v.Matrix), len(matrix))
	}
	for _, row := range v.Matrix {
		for role, want := range map[string]string{"server": row.AsServer, "client": row.AsClient} {
			if want == "not run" {
				want = row.AsServer // no rule makes a difference between the two there
			}
			if our, differs := ours[row.Certificate]; differs {
				want = our
			}
			usage := oidServerAuth
			if role == "client" {
				usage = oidClientAuth
			}
			got := "accept"
			err := judgeDER(t, madeAs(t, row.Certificate), usage)
			if err != nil {
				got = "reject"
			}
			if got != want {
				t.Errorf("%s, as %s: %s (%v), want %s", row.Certificate, role, got, err, want)
			}
		}
	}
}

func TestParseCertificateRefuses(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(change func(*x509.Certificate)) []byte {
		c := template(public)
		change(c)
		der, err := x509.CreateCertificate(rand.Reader, c, c, public, private)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	good := sign(func(*x509.Certificate) {})
	if _, err := parseCertificate(good); err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	add := func(e ...pkix.Extension) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, e...) }
	}
	var many []pkix.Extension // comparing each with each would take longer than the proof of work
	for i := range 6000 {
		many = append(many, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, i}})
	}
	for _, c := range []struct {
		name string
		der  []byte
		want string
	}{
		{"thousands of extensions", sign(add(many...)), "extensions, want at most"},
		{"nothing", nil, "certificate"},
		{"half", good[:len(good)/2], "certificate"},
		{"trailing bytes", append(bytes.Clone(good), 0), "1 bytes too many"},
		{"another signature", forged, "not signed by its own key"},
		{"too large", make([]byte, maxCertificate+1), "want at most"},
		{"two vendors", sign(add(pkix.Extension{Id: oidSNPReport, Critical: true, Value: []byte{1}})), "two vendors"},
		{"two quotes", sign(add(pkix.Extension{Id: oidQuote, Critical: true, Value: []byte{1}})), "occurs twice"},
		{"key usage without signing", sign(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), "key usage"},
		{"key usage that is none", sign(func(c *x509.Certificate) {
			c.KeyUsage = 0
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidKeyUsage, Value: []byte{1, 2}})
		}), "key usage"},
	} {
		if _, err := parseCertificate(c.der); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// What we write must be what the reference's verifier wants (wire.md 3.3).
func TestOurCertificate(t *testing.T) {
	id, err := NewIdentity(t.Context(), fakePlatform{}, &IdentityOptions{Now: func() time.Time { return recorded }})
	if err != nil {
		t.Fatal(err)
	}
	c := id.Certificate().Leaf
	if c.Version != 3 || !bytes.Equal(c.RawIssuer, c.RawSubject) || c.SerialNumber.Sign() < 0 {
		t.Errorf("version %d, issuer %s, subject %s", c.Version, c.Issuer, c.Subject)
	}
	if !c.NotBefore.Equal(recorded.Add(-5*time.Minute)) || !c.NotAfter.Equal(recorded.Add(24*time.Hour)) {
		t.Errorf("valid %v to %v", c.NotBefore, c.NotAfter)
	}
	names := strings.Join(c.DNSNames, " ")
	if !strings.Contains(names, "127.0.0.1") || !strings.Contains(names, "localhost") {
		t.Errorf("DNS names %q lack 127.0.0.1", names)
	}
	critical := map[string]bool{}
	for _, e := range c.Extensions {
		critical[e.Id.String()] = e.Critical
	}
	for _, oid := range []asn1.ObjectIdentifier{oidQuote, oidClaims} {
		if !critical[oid.String()] {
			t.Errorf("extension %v is absent or not critical", oid)
		}
	}
	if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		t.Error(err)
	}
	read, err := parseCertificate(c.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if want := attest.ReportData(read.key); !bytes.Equal(read.evidence.Raw, want[:]) {
		t.Errorf("evidence %x, want %x", read.evidence.Raw, want)
	}
	bare, err := NewIdentity(t.Context(), attest.NoPlatform{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(bare.Certificate().Leaf.UnhandledCriticalExtensions) != 0 {
		t.Error("a certificate without evidence carries extensions of ours")
	}
}

// fakePlatform is insecure.Fake, which this package must not need.
type fakePlatform struct{}

func (fakePlatform) Kind() attest.Kind { return attest.KindFakeTDX }
func (fakePlatform) Quote(_ context.Context, data [64]byte) ([]byte, error) {
	return data[:], nil
}

func FuzzCertificate(f *testing.F) {
	for _, name := range []string{"fake_tdx_cert.pem", "none_cert.pem", "router_client_cert.pem", "our_cert.pem"} {
		f.Add(readPEM(f, name))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := parseCertificate(der)
		if err != nil {
			return
		}
		if len(c.key) != ed25519.PublicKeySize {
			t.Fatalf("key of %d bytes", len(c.key))
		}
		// Both parsers must agree on the key that the handshake proves.
		if x, err := x509.ParseCertificate(der); err == nil {
			if key, ok := x.PublicKey.(ed25519.PublicKey); !ok || !key.Equal(c.key) {
				t.Fatalf("crypto/x509 reads key %v, we read %x", x.PublicKey, c.key)
			}
		}
		c.usableFor(oidClientAuth, recorded)
	})
}
