package ratls

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"testing"
)

// The ALPN name, and how many quotes are made at a time.
const (
	SessionProtocol  = sessionProtocol
	MaxSessionQuotes = maxSessionQuotes
)

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
	in, err := readRecord(r, keeps{true, true})
	if err != nil {
		return nil, nil, err
	}
	return in.evidence, in.gpu, nil
}

// ReadRawRecord reads one as it is.
func ReadRawRecord(r io.Reader) ([]byte, error) {
	var seen bytes.Buffer
	_, err := readRecord(io.TeeReader(r, &seen), keeps{})
	return seen.Bytes(), err
}

// Forge signs a changed copy of a certificate with its own key. Version 0 is
// X.509 v1, with extensions all the same.
func Forge(t testing.TB, cert *tls.Certificate, version int, change func([]pkix.Extension) []pkix.Extension) *tls.Certificate {
	t.Helper()
	var x asn1Certificate
	if _, err := asn1.Unmarshal(cert.Certificate[0], &x); err != nil {
		t.Fatal(err)
	}
	x.TBS.Raw, x.TBS.Version, x.TBS.Extensions = nil, version, change(x.TBS.Extensions)
	raw, err := asn1.Marshal(x.TBS)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := cert.PrivateKey.(ed25519.PrivateKey).Sign(nil, raw, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	x.TBS.Raw, x.Signature = raw, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	der, err := asn1.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: cert.PrivateKey}
}

// QuoteOf is the content of a certificate's quote extension.
func QuoteOf(t testing.TB, cert *tls.Certificate) []byte {
	t.Helper()
	c, err := parseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return c.evidence.Raw
}

// Extensions of ours.
var (
	OIDQuote     = oidQuote
	OIDSNPReport = oidSNPReport
	OIDExtKey    = oidExtKeyUsage
	OIDKeyUsage  = oidKeyUsage
	OIDClient    = oidClientAuth
	OIDServer    = oidServerAuth
)

// WithoutSessions makes both ends of this process forget how to prove
// sessions, until the test ends.
func WithoutSessions(t testing.TB) {
	before := protocols
	protocols = nil
	t.Cleanup(func() { protocols = before })
}
