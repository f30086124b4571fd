package tdx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
)

// The steps from the PCK certificate's key to the guest's registers. Each
// means something only if those before it hold: the PCK key signs the quoting
// enclave's report, the report names the attestation key, that key signs
// header and body, and the enclave is one that signs nothing but what a TDX
// module reported.

// verifyReport checks that the PCK certificate's key signed the report of the
// quoting enclave.
func (q *Quote) verifyReport(pck *ecdsa.PublicKey) error {
	if !verifyP256(pck, q.report, q.reportSignature) {
		return errors.New("not signed by the PCK certificate's key")
	}
	return nil
}

// verifyKey checks that the report names the attestation key: SHA-256 over it
// and the authentication data, and 32 zeros.
func (q *Quote) verifyKey() error {
	want := [64]byte{}
	sum := sha256.Sum256(append(bytes.Clone(q.key), q.authenticationData...))
	copy(want[:], sum[:])
	if q.Enclave.ReportData != want {
		return fmt.Errorf("the enclave's report names %x…, the quote's key is %x…", q.Enclave.ReportData[:8], want[:8])
	}
	return nil
}

// verifySignature checks that the attestation key signed header and body.
func (q *Quote) verifySignature() error {
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, q.key...))
	if err != nil {
		return errors.New("attestation key is no point of P-256")
	}
	if !verifyP256(key, q.signed, q.signature) {
		return errors.New("not signed by the attestation key")
	}
	return nil
}

// verifyEnclave checks that the quote was made by Intel's own quoting
// enclave. A platform's owner may run enclaves of his own that the same PCK
// key certifies, so without this check a valid signature proves only that the
// processor is genuine, and nothing about the guest.
func (q *Quote) verifyEnclave() error {
	const tdQuotingEnclave = 2 // ISVPRODID
	const debug = 1 << 1       // bit of an enclave's attributes
	e := &q.Enclave
	switch {
	case e.MRSigner != intelQESigner:
		return fmt.Errorf("signed by %x…, want %x…, Intel's", e.MRSigner[:8], intelQESigner[:8])
	case e.ISVProdID != tdQuotingEnclave:
		return fmt.Errorf("product %d, want %d", e.ISVProdID, tdQuotingEnclave)
	case e.Attributes[0]&debug != 0:
		return errors.New("in debug mode")
	}
	return nil
}

// verifyP256 checks a signature of r and s, 32 bytes each, over SHA-256 of
// message.
func verifyP256(key *ecdsa.PublicKey, message, signature []byte) bool {
	if len(signature) != 64 {
		return false
	}
	digest := sha256.Sum256(message)
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(key, digest[:], r, s)
}
