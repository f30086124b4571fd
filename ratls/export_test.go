package ratls

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"io"
)

// SessionProtocol is the ALPN name.
const SessionProtocol = sessionProtocol

// Proof is what evidence must carry on a connection, for tests that lie.
type Proof struct {
	Exporter [32]byte
	Key      ed25519.PublicKey
	Listener bool
	GPU      []byte
}

// ProofOf is the proof that the holder of key has to give.
func ProofOf(tc *tls.Conn, key ed25519.PublicKey, listens bool) (Proof, error) {
	state := tc.ConnectionState()
	e, err := exporterOf(&state)
	return Proof{e, key, listens, nil}, err
}

// ReportData is for the processor's evidence.
func (p Proof) ReportData() [64]byte {
	s := dialer
	if p.Listener {
		s = listener
	}
	return exporter(p.Exporter).reportData(p.Key, s, sha256.Sum256(p.GPU))
}

// Nonce is for the GPUs.
func (p Proof) Nonce() [32]byte { return exporter(p.Exporter).nonce(p.Key) }

// Record encodes a record.
func Record(evidence, gpu []byte) []byte {
	var b bytes.Buffer
	if err := (&record{wants: true, evidence: evidence, gpu: gpu}).write(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// ReadRecord reads one.
func ReadRecord(r io.Reader) (evidence, gpu []byte, err error) {
	in, err := readRecord(r, true)
	if err != nil {
		return nil, nil, err
	}
	return in.evidence, in.gpu, nil
}

// ReadRawRecord reads one as it is.
func ReadRawRecord(r io.Reader) ([]byte, error) {
	var seen bytes.Buffer
	_, err := readRecord(io.TeeReader(r, &seen), false)
	return seen.Bytes(), err
}
