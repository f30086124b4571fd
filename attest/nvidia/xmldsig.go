package nvidia

import (
	"bytes"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Verify checks the signature over the whole manifest and the signer's chain
// to root. Dates are left to ValidAt.
func (m *Manifest) Verify(root *x509.Certificate) error {
	if err := m.verifySignature(); err != nil {
		return fmt.Errorf("nvidia: manifest %s: %w", m.Version, err)
	}
	if err := verifyChain(m.certs, root); err != nil {
		return fmt.Errorf("nvidia: manifest %s: %w", m.Version, err)
	}
	return nil
}

// ValidAt checks the dates of the signer's chain.
func (m *Manifest) ValidAt(now time.Time) error {
	if err := validAt(m.certs, now); err != nil {
		return fmt.Errorf("nvidia: manifest %s: %w", m.Version, err)
	}
	return nil
}

// verifySignature checks the one form of signature that NVIDIA makes: XML
// Signature, enveloped, one reference to the whole document, Canonical XML
// 1.1, SHA-384, ECDSA P-384. What else the standard allows is refused.
func (m *Manifest) verifySignature() error {
	info, err := m.envelope.only(nsSignature, "SignedInfo")
	if err != nil {
		return err
	}
	reference, err := info.only(nsSignature, "Reference")
	if err != nil {
		return err
	}
	if uri := reference.attr("", "URI"); uri != "" {
		return fmt.Errorf("signature is of %q, want the whole document", uri)
	}
	if err := errors.Join(
		algorithms(info, "CanonicalizationMethod", algC14N11),
		algorithms(info, "SignatureMethod", algECDSA),
		algorithms(reference, "DigestMethod", algSHA384),
	); err != nil {
		return err
	}
	transforms, err := reference.only(nsSignature, "Transforms")
	if err != nil {
		return err
	}
	if err := algorithms(transforms, "Transform", algEnveloped, algC14N11); err != nil {
		return err
	}
	digest := sha512.Sum384(m.root.canonical(m.envelope))
	value, err := reference.only(nsSignature, "DigestValue")
	if err != nil {
		return err
	}
	if want, err := decode64(value); err != nil || !bytes.Equal(digest[:], want) {
		return fmt.Errorf("digest is %x, want %x", digest, want)
	}
	signature, err := m.envelope.only(nsSignature, "SignatureValue")
	if err != nil {
		return err
	}
	raw, err := decode64(signature)
	if err != nil {
		return err
	}
	return verifyRaw(m.certs[0], info.canonical(nil), raw)
}

// algorithms checks that the children of that name are all children of their
// kind, and name just these algorithms, without parameters.
func algorithms(e *element, name string, want ...string) error {
	list := e.find(nsSignature, name)
	if len(list) != len(want) {
		return fmt.Errorf("%d elements %s, want %d", len(list), name, len(want))
	}
	for i, a := range list {
		if a.attr("", "Algorithm") != want[i] || len(a.elements()) > 0 {
			return fmt.Errorf("%s is %q, want %q without parameters", name, a.attr("", "Algorithm"), want[i])
		}
	}
	return nil
}
