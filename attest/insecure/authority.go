package insecure

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// organization is in every certificate, for whoever looks at one.
const organization = "Cocoon devnet test authority, NOT Intel"

// Authority is a vendor of simulated machines: its own root, the chain below
// it, and the collateral they sign. Anyone who holds its files can make
// machines that its root vouches for. It is safe for concurrent use.
type Authority struct {
	root, platform, pck, signer signatory
	published                   atomic.Pointer[tdx.Answers]
}

// signatory is a certificate and its key.
type signatory struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes keys, certificates for ten years, and collateral that
// finds its machines up to date.
func NewAuthority() (*Authority, error) {
	now := time.Now()
	a := &Authority{}
	for i, s := range a.signatories() {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		s.key = key
		if err := a.certifyAs(i, s, now); err != nil {
			return nil, fmt.Errorf("insecure: certificate of %s: %w", names[i], err)
		}
	}
	return a, a.Publish(Collateral{})
}

// names are Intel's, which the verifier insists on; the organisation is ours.
var names = [4]string{"Intel SGX Root CA", "Intel SGX PCK Platform CA", "Intel SGX PCK Certificate", "Intel SGX TCB Signing"}

func (a *Authority) signatories() [4]*signatory {
	return [4]*signatory{&a.root, &a.platform, &a.pck, &a.signer}
}

// certifyAs signs the i-th certificate: the root by itself, the PCK
// certificate by the platform CA, the others by the root.
func (a *Authority) certifyAs(i int, s *signatory, now time.Time) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: names[i], Organization: []string{organization}},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		IsCA:                  i < 2,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		SignatureAlgorithm:    x509.ECDSAWithSHA256,
		SubjectKeyId:          []byte{byte(i + 1)},
		CRLDistributionPoints: []string{rootCRLURL},
	}
	if t.IsCA {
		t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	parent, key := a.root.cert, a.root.key
	switch s {
	case &a.root:
		parent = t
	case &a.pck:
		parent, key = a.platform.cert, a.platform.key
		sgx, err := sgxExtension()
		if err != nil {
			return err
		}
		t.ExtraExtensions = []pkix.Extension{sgx}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &s.key.PublicKey, key)
	if err != nil {
		return err
	}
	s.cert, err = x509.ParseCertificate(der)
	return err
}

// Roots is the pool for a policy's TestRoots.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root.cert)
	return pool
}

// Verifier believes the authority's machines and collateral, beside Intel's.
func (a *Authority) Verifier() *tdx.Verifier {
	return &tdx.Verifier{TestRoots: a.Roots(), TestCollateral: a}
}

// RootPEM is the root's certificate, which may be handed around.
func (a *Authority) RootPEM() []byte { return a.chain(a.root) }

// chain is the certificates as PEM, one after the other.
func (a *Authority) chain(of ...signatory) []byte {
	var out []byte
	for _, s := range of {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})...)
	}
	return out
}

// Get implements tdx.Collateral with what was published last.
func (a *Authority) Get(ctx context.Context, url string) (map[string][]string, []byte, error) {
	return a.published.Load().Get(ctx, url)
}

// sgxOID is the prefix of what Intel writes into PCK certificates.
func sgxOID(tail ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}, tail...)
}

// sgxExtension describes the simulated platform as Intel's certificates do:
// PPID, TCB with sixteen components, PCESVN and CPUSVN, PCEID, FMSPC, type.
func sgxExtension() (pkix.Extension, error) {
	type field struct {
		ID    asn1.ObjectIdentifier
		Value any
	}
	var tcb []field
	for i := 1; i <= 16; i++ {
		tcb = append(tcb, field{sgxOID(2, i), cpuSVN})
	}
	tcb = append(tcb, field{sgxOID(2, 17), pceSVN}, field{sgxOID(2, 18), bytes.Repeat([]byte{cpuSVN}, 16)})
	value, err := asn1.Marshal([]field{
		{sgxOID(1), make([]byte, 16)},
		{sgxOID(2), tcb},
		{sgxOID(3), []byte{0, 0}},
		{sgxOID(4), fmspc[:]},
		{sgxOID(5), asn1.Enumerated(1)},
	})
	return pkix.Extension{Id: sgxOID(), Value: value}, err
}
