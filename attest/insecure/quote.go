package insecure

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// What the simulated platform reports and its collateral asks for.
const (
	moduleVersion = 1
	moduleSVN     = 7
	tdxSVN        = 3
	cpuSVN        = 2
	pceSVN        = 11
	qeSVN         = 8
	qeProduct     = 2
)

var qeVendor = [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// quotingEnclave is the report of one like Intel's.
func quotingEnclave() tdx.Enclave {
	e := tdx.Enclave{MRSigner: qeSigner, ISVProdID: qeProduct, ISVSVN: qeSVN}
	e.Attributes[0] = 0x11 // initialised, may use the provisioning key
	for i := range e.CPUSVN {
		e.CPUSVN[i] = cpuSVN
	}
	return e
}

// sign signs a draft as a quoting enclave does: a fresh attestation key signs
// header and body, the enclave's report names that key, and the platform's
// PCK key signs the report. The layout is drawn in package tdx.
func (m *Machine) sign(d *Draft) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := point(key)
	if err != nil {
		return nil, err
	}
	parts := []any{d.Header}
	switch {
	case m.TD15:
		parts = append(parts, uint16(3), uint32(648), d.Body, d.Body15)
	case m.Version5:
		parts = append(parts, uint16(2), uint32(584), d.Body)
	default:
		parts = append(parts, d.Body)
	}
	quote, err := encode(nil, parts...)
	if err != nil {
		return nil, err
	}
	signature, err := sign(key, quote)
	if err != nil {
		return nil, err
	}
	certification, err := m.certification(public, d.Enclave)
	if err != nil {
		return nil, err
	}
	section := container(append(signature, public...), 6, certification)
	return append(binary.LittleEndian.AppendUint32(quote, uint32(len(section))), section...), nil
}

// certification is the enclave's report on an attestation key, signed by the
// PCK key, with the certificates that lead to the root.
func (m *Machine) certification(public []byte, e tdx.Enclave) ([]byte, error) {
	a, ca := m.authority, m.authority.platform
	pck, err := a.onProcessor(m.Processor)
	if m.ProcessorCA {
		pck, ca = a.single, a.processor
	}
	if err != nil {
		return nil, err
	}
	auth := make([]byte, 32)
	rand.Read(auth)
	bound := sha256.Sum256(append(append([]byte(nil), public...), auth...))
	for i := range bound { // on top of what a draft may have put there
		e.ReportData[i] ^= bound[i]
	}

	report, err := encode(nil, e)
	if err != nil {
		return nil, err
	}
	signature, err := sign(pck.key, report)
	if err != nil {
		return nil, err
	}
	out := append(report, signature...)
	out = append(binary.LittleEndian.AppendUint16(out, uint16(len(auth))), auth...)
	return container(out, 5, append(a.chain(pck, ca, a.root), 0)), nil
}

func encode(b []byte, parts ...any) (_ []byte, err error) {
	for _, p := range parts {
		if b, err = binary.Append(b, binary.LittleEndian, p); err != nil {
			return nil, fmt.Errorf("insecure: encode %T: %w", p, err)
		}
	}
	return b, nil
}

// container appends certification data: type, size, content.
func container(b []byte, kind uint16, content []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	return append(b, content...)
}

// sign gives r and s, 32 bytes each, over SHA-256 of message.
func sign(key *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

// point is the public key as X and Y, 32 bytes each.
func point(key *ecdsa.PrivateKey) ([]byte, error) {
	b, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	return b[1:], nil
}
