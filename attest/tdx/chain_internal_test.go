package tdx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// authority is a root, or what one has issued.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate as Intel's are, changed in one way; by nil is
// itself.
func issue(t *testing.T, by *authority, name string, change func(*x509.Certificate), curve elliptic.Curve) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SignatureAlgorithm: x509.ECDSAWithSHA256,
	}
	change(c)
	if by == nil {
		by = &authority{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func same(*x509.Certificate) {}

// One thing at a time that Intel's certificates never are.
func TestIssued(t *testing.T) {
	p256 := elliptic.P256()
	root := issue(t, nil, nameRoot, same, p256)
	stranger := issue(t, nil, nameRoot, same, p256)
	renamed := issue(t, nil, "Intel SGX Root CA ", same, p256)
	leaf := issue(t, root, namePCK, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }, p256)
	older := *issue(t, root, namePlatform, same, p256).cert
	older.Version = 1
	for _, c := range []struct {
		name         string
		cert, parent *x509.Certificate
		want         string // in the error; empty: none
	}{
		{"as it should be", issue(t, root, namePlatform, same, p256).cert, root.cert, ""},
		{"the other name", issue(t, root, nameProcessor, same, p256).cert, root.cert, ""},
		{"another name", issue(t, root, nameSigner, same, p256).cert, root.cert, "subject is"},
		{"version 1", &older, root.cert, "version 1"},
		{"signed with SHA-384", issue(t, root, namePlatform, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA384 }, p256).cert, root.cert, "signed with"},
		{"key on P-384", issue(t, root, namePlatform, same, elliptic.P384()).cert, root.cert, "P-256"},
		{"unknown critical extension", issue(t, root, namePlatform, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, p256).cert, root.cert, "critical extension"},
		{"issuer of another name", issue(t, renamed, namePlatform, same, p256).cert, root.cert, "issuer is"},
		{"issuer of the same name", issue(t, stranger, namePlatform, same, p256).cert, root.cert, "verification"},
		{"issued by a leaf", issue(t, leaf, namePlatform, same, p256).cert, leaf.cert, "parent"},
	} {
		err := issued(c.cert, c.parent, namePlatform, nameProcessor)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}

func TestTrusted(t *testing.T) {
	root, stranger := issue(t, nil, nameRoot, same, elliptic.P256()), issue(t, nil, nameRoot, same, elliptic.P256())
	other := issue(t, nil, "Intel SGX Other CA", same, elliptic.P256())
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	pool.AddCert(other.cert)
	for name, c := range map[string]struct {
		cert *x509.Certificate
		ok   bool
	}{
		"trusted": {root.cert, true}, "of the same name": {stranger.cert, false}, "in the pool, of another name": {other.cert, false},
		"issued by the root under its name": {issue(t, root, nameRoot, same, elliptic.P256()).cert, false},
	} {
		if err := trusted(c.cert, pool); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// field is one of Intel's extension, in DER.
type field struct {
	ID    asn1.ObjectIdentifier
	Value any
}

func at(tail ...int) asn1.ObjectIdentifier { return append(slices.Clip(oidSGX), tail...) }

// One thing at a time that the extension of a PCK certificate never is.
func TestReadPCK(t *testing.T) {
	good := func() (all, tcb []field) {
		for i := 1; i <= 17; i++ {
			tcb = append(tcb, field{at(2, i), i})
		}
		return []field{{at(1), make([]byte, 16)}, {at(2), nil}, {at(3), []byte{7, 8}}, {at(4), []byte{1, 2, 3, 4, 5, 6}}, {at(5), 0}}, tcb
	}
	for _, c := range []struct {
		name   string
		change func(all, tcb *[]field)
		behind []byte // the extension
		want   string // in the error; empty: none
	}{
		{"as it should be", func(_, _ *[]field) {}, nil, ""},
		{"something behind it", func(_, _ *[]field) {}, []byte{5, 0}, "too many"},
		{"a fact twice", func(all, _ *[]field) { *all = append(*all, (*all)[3]) }, nil, "twice"},
		{"a component twice", func(_, tcb *[]field) { *tcb = append(*tcb, (*tcb)[0]) }, nil, "twice"},
		{"another branch", func(all, _ *[]field) { (*all)[4].ID = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 2, 5} }, nil, "below"},
		{"a component of another branch", func(_, tcb *[]field) { (*tcb)[0].ID = at(3, 1) }, nil, "below"},
		{"a fact that is deeper", func(all, _ *[]field) { (*all)[3].ID = at(4, 1) }, nil, "below"},
		{"short PPID", func(all, _ *[]field) { (*all)[0].Value = make([]byte, 15) }, nil, "16 bytes"},
		{"long FMSPC", func(all, _ *[]field) { (*all)[3].Value = make([]byte, 7) }, nil, "6 bytes"},
		{"PCEID that is a number", func(all, _ *[]field) { (*all)[2].Value = 77 }, nil, "2 bytes"},
		{"no PCEID", func(all, _ *[]field) { *all = slices.Delete(*all, 2, 3) }, nil, "2 bytes"},
		{"component that is too large", func(_, tcb *[]field) { (*tcb)[3].Value = 256 }, nil, "component 4"},
		{"component below zero", func(_, tcb *[]field) { (*tcb)[15].Value = -1 }, nil, "component 16"},
		{"no component", func(_, tcb *[]field) { *tcb = (*tcb)[1:] }, nil, "component 1"},
		{"PCESVN that is too large", func(_, tcb *[]field) { (*tcb)[16].Value = 65536 }, nil, "PCESVN"},
	} {
		all, tcb := good()
		c.change(&all, &tcb)
		all[1].Value = tcb
		der, err := asn1.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		f, err := readPCK(&x509.Certificate{Extensions: []pkix.Extension{{Id: oidSGX, Value: append(der, c.behind...)}}})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
		if err == nil && (f.PCESVN != 17 || f.CPUSVN[15] != 16 || f.FMSPC != [6]byte{1, 2, 3, 4, 5, 6} || f.PCEID != [2]byte{7, 8}) {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
	if _, err := readPCK(&x509.Certificate{}); err == nil {
		t.Error("a certificate without the extension was read")
	}
}

// Who may sign collateral: Intel's signer below the root that the quote ends
// at, while its certificate is valid.
func TestOpenJSONSigner(t *testing.T) {
	p256, now := elliptic.P256(), time.Now()
	leaf := func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }
	root, stranger := issue(t, nil, nameRoot, same, p256), issue(t, nil, nameRoot, same, p256)
	good := issue(t, root, nameSigner, leaf, p256)
	old := issue(t, root, nameSigner, func(c *x509.Certificate) { leaf(c); c.NotAfter = now.Add(time.Minute) }, p256)
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	for _, c := range []struct {
		name   string
		signer *authority
		chain  []*authority
		now    time.Time
		want   string
	}{
		{"as it should be", good, []*authority{good, root}, now, ""},
		{"another key", root, []*authority{good, root}, now, "not signed"},
		{"the root itself", root, []*authority{root, root}, now, "subject is"},
		{"a CA for processors", issue(t, root, nameProcessor, same, p256), nil, now, "subject is"},
		{"a signer below another root", issue(t, stranger, nameSigner, leaf, p256), []*authority{nil, stranger}, now, "not trusted"},
		{"a signer of another root's", issue(t, stranger, nameSigner, leaf, p256), nil, now, "verification"},
		{"an expired signer", old, nil, now.Add(2 * time.Minute), "expired"},
		{"a signer of tomorrow", issue(t, root, nameSigner, func(c *x509.Certificate) { leaf(c); c.NotBefore = now.Add(time.Minute) }, p256), nil, now, "not yet valid"},
	} {
		if c.chain == nil {
			c.chain = []*authority{nil, root}
		}
		if c.chain[0] == nil {
			c.chain[0] = c.signer
		}
		raw := fmt.Appendf(nil, `{"id":"TDX","version":3,"issueDate":%q,"nextUpdate":%q}`, stamp(now.Add(-time.Minute)), stamp(now.Add(time.Hour)))
		digest := sha256.Sum256(raw)
		r, s, err := ecdsa.Sign(rand.Reader, c.signer.key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		var text []byte
		for _, a := range c.chain {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})...)
		}
		statement := Statement{Body: fmt.Appendf(nil, `{"tcbInfo":%s,"signature":"%064x%064x"}`, raw, r, s), Chain: text}
		var info tcbInfoDocument
		_, err = openJSON(statement, "tcbInfo", "TDX", 3, &info, &info.documentHead, pool, c.now)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}
