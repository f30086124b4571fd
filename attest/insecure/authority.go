package insecure

import (
	"bytes"
	"context"
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
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// organization is in every certificate, for whoever looks at one.
const organization = "Cocoon devnet test authority, NOT Intel"

// rootCRL is where Intel's list is; there is none of ours.
const rootCRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"

// Authority is a vendor of simulated machines: its own root, the chain below
// it, and the collateral they sign. Anyone who holds its files can make
// machines that its root vouches for. It is safe for concurrent use.
type Authority struct {
	root, platform, pck, signer signatory
	processor, single           signatory // the CA for machines with one processor, and such a machine
	published                   atomic.Pointer[tdx.Answers]

	mu       sync.Mutex // guards machines
	machines map[string]signatory
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
	a := &Authority{machines: map[string]signatory{}}
	for i, s := range a.signatories() {
		if err := a.make(i, s, now); err != nil {
			return nil, fmt.Errorf("insecure: certificate of %s: %w", names[i], err)
		}
	}
	return a, a.Publish(Collateral{})
}

// make gives the i-th signatory key and certificate.
func (a *Authority) make(i int, s *signatory, now time.Time) (err error) {
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	return a.certifyAs(i, s, now)
}

// names are Intel's, which the verifier insists on; the organisation is ours.
var names = [6]string{
	"Intel SGX Root CA", "Intel SGX PCK Platform CA", "Intel SGX PCK Certificate", "Intel SGX TCB Signing",
	"Intel SGX PCK Processor CA", "Intel SGX PCK Certificate",
}

func (a *Authority) signatories() [6]*signatory {
	return [6]*signatory{&a.root, &a.platform, &a.pck, &a.signer, &a.processor, &a.single}
}

// certifyAs signs the i-th certificate: the root by itself, the PCK
// certificates by their CAs, the others by the root.
func (a *Authority) certifyAs(i int, s *signatory, now time.Time) error {
	switch s {
	case &a.root:
		return a.certify(s, names[i], nil, now)
	case &a.pck:
		return a.certify(s, names[i], &a.platform, now, processorID("first"))
	case &a.single:
		return a.certify(s, names[i], &a.processor, now, processorID("single"))
	}
	return a.certify(s, names[i], &a.root, now)
}

// processorID invents the number that a processor of this name has for ever.
func processorID(name string) [16]byte {
	sum := sha256.Sum256([]byte("simulated processor " + name))
	return [16]byte(sum[:])
}

// onProcessor is the certificate of a processor of this name; empty is the
// authority's first. All share a key, which nobody can tell.
func (a *Authority) onProcessor(name string) (signatory, error) {
	if name == "" {
		return a.pck, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.machines[name]; ok {
		return s, nil
	}
	s := signatory{key: a.pck.key}
	err := a.certify(&s, names[2], &a.platform, a.issued().Add(time.Hour), processorID(name))
	if err == nil {
		a.machines[name] = s
	}
	return s, err
}

// certify signs a certificate, the root's by itself. A processor's describes
// it.
func (a *Authority) certify(s *signatory, name string, by *signatory, now time.Time, processor ...[16]byte) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{organization}},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		IsCA:                  len(processor) == 0 && name != names[3],
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		SignatureAlgorithm:    x509.ECDSAWithSHA256,
		SubjectKeyId:          serial.Bytes(),
		CRLDistributionPoints: []string{rootCRL},
	}
	if t.IsCA {
		t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	parent, key := t, s.key
	if by != nil {
		parent, key = by.cert, by.key
	}
	for _, ppid := range processor {
		sgx, err := sgxExtension(ppid)
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
func (a *Authority) Get(ctx context.Context, part tdx.Part) (tdx.Statement, error) {
	return a.published.Load().Get(ctx, part)
}

// sgxOID is the prefix of what Intel writes into PCK certificates.
func sgxOID(tail ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}, tail...)
}

// sgxExtension describes the simulated platform as Intel's certificates do:
// PPID, TCB with sixteen components, PCESVN and CPUSVN, PCEID, FMSPC, type.
func sgxExtension(ppid [16]byte) (pkix.Extension, error) {
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
		{sgxOID(1), ppid[:]},
		{sgxOID(2), tcb},
		{sgxOID(3), []byte{0, 0}},
		{sgxOID(4), fmspc[:]},
		{sgxOID(5), asn1.Enumerated(1)},
	})
	return pkix.Extension{Id: sgxOID(), Value: value}, err
}
