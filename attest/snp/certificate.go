package snp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// Endorsement is what a VCEK's or VLEK's certificate says besides its key
// (57230, chapter 3).
type Endorsement struct {
	Signer  Signer
	Name    string  // the product as AMD wrote it, perhaps with a stepping
	Product Product // that product
	TCB     Parts   // which the key was derived for
	HWID    []byte  // the chip, 64 bytes or on Turin 8; nil in a VLEK
	CSP     string  // the cloud provider; empty in a VCEK
}

// amdOID is the branch of AMD's extensions, 1.3.6.1.4.1.3704.1.
var amdOID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}

// ParseEndorsement reads the certificate of a signing key. Nothing in it has been
// verified; the chain is checked apart.
func ParseEndorsement(c *x509.Certificate) (*Endorsement, error) {
	e := &Endorsement{}
	switch c.Subject.CommonName {
	case "SEV-VCEK":
		e.Signer = VCEK
	case "SEV-VLEK":
		e.Signer = VLEK
	default:
		return nil, fmt.Errorf("snp: certificate is for %.40q, want SEV-VCEK or SEV-VLEK", c.Subject.CommonName)
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P384() {
		return nil, fmt.Errorf("snp: key is %T, want ECDSA P-384", c.PublicKey)
	}
	found := map[string]bool{}
	for _, ext := range c.Extensions {
		tail, ours := under(ext.Id, amdOID)
		if !ours {
			continue
		}
		if err := e.read(tail, ext.Value); err != nil {
			return nil, fmt.Errorf("snp: extension %s: %w", tail, err)
		}
		found[tail.String()] = true
	}
	if err := e.complete(found); err != nil {
		return nil, err
	}
	return e, nil
}

func under(id, branch asn1.ObjectIdentifier) (asn1.ObjectIdentifier, bool) {
	if len(id) <= len(branch) || !id[:len(branch)].Equal(branch) {
		return nil, false
	}
	return id[len(branch):], true
}

// read takes one extension, named by what follows AMD's branch.
func (e *Endorsement) read(id asn1.ObjectIdentifier, value []byte) (err error) {
	switch {
	case id.Equal(asn1.ObjectIdentifier{1}):
		_, err = smallInt(value) // the version of this structure, which has had one form so far
	case id.Equal(asn1.ObjectIdentifier{2}):
		if e.Name, err = ia5(value); err == nil {
			e.Product, err = productNamed(e.Name)
		}
	case id.Equal(asn1.ObjectIdentifier{4}):
		e.HWID, err = octets(value)
	case id.Equal(asn1.ObjectIdentifier{5}):
		e.CSP, err = ia5(value)
	case len(id) == 2 && id[0] == 3:
		err = e.readTCB(id[1], value)
	default:
		err = errors.New("not known")
	}
	return err
}

// readTCB takes one component of the TCB.
func (e *Endorsement) readTCB(component int, value []byte) error {
	n, err := smallInt(value)
	if err != nil {
		return err
	}
	part := map[int]*uint8{1: &e.TCB.Bootloader, 2: &e.TCB.TEE, 3: &e.TCB.SNP, 8: &e.TCB.Microcode, 9: &e.TCB.FMC}[component]
	switch {
	case part != nil:
		*part = n
	case component < 4 || component > 7:
		return errors.New("not known")
	case n != 0:
		return fmt.Errorf("reserved component is %d, want 0", n)
	}
	return nil
}

// complete refuses a certificate that leaves something open.
func (e *Endorsement) complete(found map[string]bool) error {
	for _, id := range []string{"1", "2", "3.1", "3.2", "3.3", "3.8"} {
		if !found[id] {
			return fmt.Errorf("snp: certificate lacks AMD's extension %s", id)
		}
	}
	switch size := len(e.HWID); {
	case found["3.9"] != (e.Product == Turin):
		return fmt.Errorf("snp: certificate of %s, with FMC component: %v", e.Product, found["3.9"])
	case e.Signer == VLEK && (found["4"] || e.CSP == ""):
		return errors.New("snp: VLEK's certificate names a chip, or no provider")
	case e.Signer == VCEK && found["5"]:
		return errors.New("snp: VCEK's certificate names a cloud provider")
	case e.Signer == VCEK && size != 64 && !(e.Product == Turin && size == 8):
		return fmt.Errorf("snp: VCEK's certificate names a chip by %d bytes", size)
	}
	return nil
}

func smallInt(der []byte) (uint8, error) {
	var n int
	rest, err := asn1.Unmarshal(der, &n)
	if err != nil || len(rest) > 0 || n < 0 || n > 255 {
		return 0, errors.New("not a number from 0 to 255")
	}
	return uint8(n), nil
}

func ia5(der []byte) (s string, err error) {
	if len(der) == 0 || der[0] != asn1.TagIA5String {
		return "", errors.New("not an IA5 string")
	}
	if rest, err := asn1.UnmarshalWithParams(der, &s, "ia5"); err != nil || len(rest) > 0 {
		return "", errors.New("not an IA5 string")
	}
	return s, nil
}

// octets reads a chip's name: AMD writes it without a tag; a form with one has
// been seen too.
func octets(value []byte) ([]byte, error) {
	if len(value) == 64 || len(value) == 8 {
		return value, nil
	}
	var b []byte
	if rest, err := asn1.Unmarshal(value, &b); err != nil || len(rest) > 0 {
		return nil, errors.New("not the name of a chip")
	}
	return b, nil
}
