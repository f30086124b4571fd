package tdx

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzPCK reads Intel's extension of PCK certificates.
func FuzzPCK(f *testing.F) {
	raw, err := os.ReadFile("testdata/quote.dat")
	if err != nil {
		f.Fatal(err)
	}
	q, err := Parse(raw)
	if err != nil {
		f.Fatal(err)
	}
	c, err := readChain(q.chain)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range c.pck.Extensions {
		f.Add(e.Value)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		facts, err := readPCK(&x509.Certificate{Extensions: []pkix.Extension{{Id: oidSGX, Value: value}}})
		if (facts == nil) == (err == nil) {
			t.Fatalf("facts %v, error %v", facts, err)
		}
	})
}

// FuzzCollateral gives the verifier anything in place of one part. Nothing
// that Intel did not sign is ever accepted, and the cache reads it without harm.
func FuzzCollateral(f *testing.F) {
	const dated = "testdata/collateral-2026-02"
	raw, err := os.ReadFile("testdata/quote.dat")
	if err != nil {
		f.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	parts := []Part{TCBInfo([6]byte{0x90, 0xc0, 0x6f}), QEIdentity, RootCRL, PCKCRLPlatform}
	genuine := Answers{}
	for i, part := range parts {
		if genuine[part], err = Dir(filepath.FromSlash(dated)).Get(f.Context(), part); err != nil {
			f.Fatal(err)
		}
		f.Add(i, genuine[part].Body, genuine[part].Chain)
		f.Add(i, []byte(`{"tcbInfo":{},"signature":""}`), []byte{})
	}
	checks := []string{CheckTCBInfo, CheckQEIdentity, CheckRootCRL, CheckPCKCRL}
	f.Fuzz(func(t *testing.T, which int, body, chain []byte) {
		which = int(uint(which) % uint(len(parts)))
		answers := Answers{}
		for part, s := range genuine {
			answers[part] = s
		}
		answers[parts[which]] = Statement{body, chain}
		finding := (&Verifier{Collateral: answers}).Verify(context.Background(), raw, now)
		nextUpdate(body)
		for _, c := range finding.Checks {
			if c.Name == checks[which] && c.OK && finding.Status != UpToDate {
				t.Fatalf("accepted, and the status is %s", finding.Status)
			}
		}
	})
}
