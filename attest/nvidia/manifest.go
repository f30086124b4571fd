package nvidia

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	nsTag       = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
	nsSignature = "http://www.w3.org/2000/09/xmldsig#"
	nsSHA384    = "http://www.w3.org/2001/04/xmlenc#sha384"

	algC14N11    = "http://www.w3.org/2006/12/xml-c14n11"
	algEnveloped = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	algECDSA     = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
	algSHA384    = "http://www.w3.org/2001/04/xmldsig-more#sha384"

	manifestChain   = 4
	maxAlternatives = 64
)

// Manifest is a reference integrity manifest (TCG RIM in an ISO 19770-2 tag):
// what NVIDIA expects the measurements of one version of driver or firmware to
// be. Nothing in it has been verified until Verify.
type Manifest struct {
	Version  string                     // of the driver or the firmware
	Product  string                     // chip
	Edition  string                     // "GPU"
	Expected map[int][][digestSize]byte // alternatives for each measurement that counts, from 0
	certs    []*x509.Certificate        // the signer's first
	root     *element
	envelope *element // the signature
}

// ParseManifest reads a signed manifest.
func ParseManifest(document []byte) (*Manifest, error) {
	m, err := parseManifest(document)
	if err != nil {
		return nil, fmt.Errorf("nvidia: manifest: %w", err)
	}
	return m, nil
}

func parseManifest(document []byte) (*Manifest, error) {
	root, err := parseXML(document)
	if err != nil {
		return nil, err
	}
	if root.space != nsTag || root.name != "SoftwareIdentity" {
		return nil, fmt.Errorf("document is <%s>, want <SoftwareIdentity>", root.name)
	}
	m := &Manifest{root: root, Expected: map[int][][digestSize]byte{}}
	if m.envelope, err = root.only(nsSignature, "Signature"); err != nil {
		return nil, err
	}
	meta, err := root.only(nsTag, "Meta")
	if err != nil {
		return nil, err
	}
	m.Version, m.Product, m.Edition = meta.attr("", "colloquialVersion"), meta.attr("", "product"), meta.attr("", "edition")
	payload, err := root.only(nsTag, "Payload")
	if err != nil {
		return nil, err
	}
	if err := m.readPayload(payload); err != nil {
		return nil, err
	}
	return m, m.readCertificates()
}

func (m *Manifest) readPayload(payload *element) error {
	seen := map[int]bool{}
	for _, r := range payload.elements() {
		index, err := strconv.Atoi(r.attr("", "index"))
		if err != nil || index < 0 || index >= maxMeasurements || seen[index] {
			return fmt.Errorf("measurement %q is named wrongly or twice", r.attr("", "index"))
		}
		seen[index] = true
		if r.space != nsTag || r.name != "Resource" || r.attr("", "type") != "Measurement" {
			return fmt.Errorf("<%s> in the payload, want measurements", r.name)
		}
		switch r.attr("", "active") {
		case "False":
			continue
		case "True":
		default:
			return fmt.Errorf("measurement %d is active: %q", index, r.attr("", "active"))
		}
		if m.Expected[index], err = alternatives(r); err != nil {
			return fmt.Errorf("measurement %d: %w", index, err)
		}
	}
	if len(m.Expected) == 0 {
		return errors.New("no measurement counts")
	}
	return nil
}

// alternatives reads the digests that a measurement may have.
func alternatives(r *element) (list [][digestSize]byte, err error) {
	n, err := strconv.Atoi(r.attr("", "alternatives"))
	if err != nil || n < 1 || n > maxAlternatives || r.attr("", "size") != strconv.Itoa(digestSize) {
		return nil, fmt.Errorf("%q alternatives of size %q, want 1 to %d of %d", r.attr("", "alternatives"), r.attr("", "size"), maxAlternatives, digestSize)
	}
	for i := range n {
		digest, err := hex.DecodeString(r.attr(nsSHA384, "Hash"+strconv.Itoa(i)))
		if err != nil || len(digest) != digestSize {
			return nil, fmt.Errorf("alternative %d is %q, want %d bytes in hex", i, r.attr(nsSHA384, "Hash"+strconv.Itoa(i)), digestSize)
		}
		list = append(list, [digestSize]byte(digest))
	}
	return list, nil
}

func (m *Manifest) readCertificates() error {
	info, err := m.envelope.only(nsSignature, "KeyInfo")
	if err != nil {
		return err
	}
	data, err := info.only(nsSignature, "X509Data")
	if err != nil {
		return err
	}
	for i, e := range data.find(nsSignature, "X509Certificate") {
		der, err := decode64(e)
		if err != nil {
			return fmt.Errorf("certificate %d: %w", i, err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("certificate %d: %w", i, err)
		}
		m.certs = append(m.certs, c)
	}
	if len(m.certs) != manifestChain {
		return fmt.Errorf("chain of %d certificates, want %d", len(m.certs), manifestChain)
	}
	return nil
}

func decode64(e *element) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(e.text()), ""))
}
