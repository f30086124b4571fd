package insecure

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/attest/snp"
)

// SNPAuthority plays AMD as Authority plays Intel: a root of its own, the
// intermediate and the chip's key below it, and the revocation list. Anyone who
// holds its files can make machines that its root vouches for. It is safe for
// concurrent use.
type SNPAuthority struct {
	product                  snp.Product
	signer                   snp.Signer
	root, intermediate, leaf snpSignatory
	published                atomic.Pointer[snp.Answers]
}

type snpSignatory struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// snpTCB is the firmware of the simulated platform.
var snpTCB = snp.Parts{Bootloader: 10, SNP: 0x18, Microcode: 0xdb}

// snpOrganization is in every certificate, for whoever looks at one.
const snpOrganization = "Cocoon devnet test authority, NOT AMD"

// SNPOptions say what an authority writes into its certificates. The zero
// value is right for a devnet.
type SNPOptions struct {
	Product snp.Product // default Genoa
	VLEK    bool        // play a cloud provider's chips
	// Each may change a certificate before it is signed, to show that such are
	// refused.
	Root, Intermediate, Leaf func(*x509.Certificate)
}

// NewSNPAuthority makes keys, certificates for ten years, and a revocation
// list that names none of them.
func NewSNPAuthority(o SNPOptions) (*SNPAuthority, error) {
	a := &SNPAuthority{}
	for _, s := range []*snpSignatory{&a.root, &a.intermediate} {
		key, err := rsa.GenerateKey(rand.Reader, 2048) // AMD's have 4096 bits, which takes seconds
		if err != nil {
			return nil, err
		}
		s.key = key
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a.leaf.key = key
	return a.With(o)
}

// With makes an authority with the same keys and other certificates.
func (a *SNPAuthority) With(o SNPOptions) (*SNPAuthority, error) {
	b := &SNPAuthority{product: o.Product, root: snpSignatory{key: a.root.key}, intermediate: snpSignatory{key: a.intermediate.key}, leaf: snpSignatory{key: a.leaf.key}}
	if b.product == "" {
		b.product = snp.Genoa
	}
	middle, last := "SEV-"+string(b.product), "SEV-VCEK"
	if o.VLEK {
		b.signer, middle, last = snp.VLEK, "SEV-VLEK-"+string(b.product), "SEV-VLEK"
	}
	if err := b.certify(&b.root, &b.root, "ARK-"+string(b.product), 1, o.Root); err != nil {
		return nil, err
	}
	if err := b.certify(&b.intermediate, &b.root, middle, 2, o.Intermediate); err != nil {
		return nil, err
	}
	if err := b.certify(&b.leaf, &b.intermediate, last, 0, o.Leaf); err != nil {
		return nil, err
	}
	return b, b.Publish(SNPCollateral{})
}

// certify signs one certificate. The names are AMD's, by which the verifier
// tells products apart; the organisation is ours.
func (a *SNPAuthority) certify(s, by *snpSignatory, name string, serial int64, alter func(*x509.Certificate)) error {
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber:          big.NewInt(serial),
		Subject:               pkix.Name{CommonName: name, Organization: []string{snpOrganization}},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		IsCA:                  s != &a.leaf,
		BasicConstraintsValid: s != &a.leaf,
		SignatureAlgorithm:    x509.SHA384WithRSAPSS,
	}
	if t.IsCA {
		t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	} else {
		t.ExtraExtensions = a.endorsement()
	}
	if alter != nil {
		alter(t)
	}
	parent := by.cert
	if s == by {
		parent = t
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, s.key.Public(), by.key)
	if err != nil {
		return fmt.Errorf("insecure: certificate of %s: %w", name, err)
	}
	s.cert, err = x509.ParseCertificate(der)
	return err
}

// sign is a whole report.
func (a *SNPAuthority) sign(body snp.Body) ([]byte, error) {
	report, err := binary.Append(nil, binary.LittleEndian, &body)
	if err != nil {
		return nil, err
	}
	digest := sha512.Sum384(report)
	r, s, err := ecdsa.Sign(rand.Reader, a.leaf.key.(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		return nil, err
	}
	var signature snp.Signature
	r.FillBytes(signature.R[:])
	s.FillBytes(signature.S[:])
	slices.Reverse(signature.R[:])
	slices.Reverse(signature.S[:])
	return binary.Append(report, binary.LittleEndian, &signature)
}

// Roots are for a verifier's TestRoots.
func (a *SNPAuthority) Roots() []*x509.Certificate { return []*x509.Certificate{a.root.cert} }

// Minimum is what a verifier's policy may ask of the simulated platform.
func (a *SNPAuthority) Minimum() map[snp.Product]snp.Parts {
	return map[snp.Product]snp.Parts{a.product: snpTCB}
}

func (a *SNPAuthority) chain(of ...snpSignatory) (out []byte) {
	for _, s := range of {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw})...)
	}
	return out
}
