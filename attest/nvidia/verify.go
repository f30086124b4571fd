package nvidia

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"math/big"
)

// VerifySignature checks that the key of the first certificate signed request
// and response.
func (p *Report) VerifySignature(d *Device) error {
	return verifyRaw(d.certs[0], p.signed(), p.signature)
}

// verifyRaw checks a signature that is r and s, 48 bytes each, over SHA-384.
func verifyRaw(c *x509.Certificate, message, signature []byte) error {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || len(signature) != signatureSize {
		return errors.New("not an ECDSA P-384 signature")
	}
	digest := sha512.Sum384(message)
	r, s := new(big.Int).SetBytes(signature[:signatureSize/2]), new(big.Int).SetBytes(signature[signatureSize/2:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return errors.New("signature is wrong")
	}
	return nil
}
