package snp_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/snp"
)

// A peer's intermediate with a key larger than AMD's is not even tried: that
// would cost more than making it.
func TestLargeIntermediate(t *testing.T) {
	a := authority()
	e, err := snp.Parse(quote(t, a.Machine("image")))
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	issuer := *a.Roots()[0]
	issuer.PublicKey = &key.PublicKey
	modulus := new(big.Int).SetBit(big.NewInt(1), 8191, 1)
	der, err := x509.CreateCertificate(rand.Reader, e.Certificates[1], &issuer, &rsa.PublicKey{N: modulus, E: 1<<31 - 1}, key)
	if err != nil {
		t.Fatal(err)
	}
	large, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	raw := quote(t, a.Machine("image"))[:snp.ReportSize]
	v := simulated(a)
	v.TestCollateral = nil
	for _, c := range v.Verify(t.Context(), snp.Join(raw, e.Certificates[0], large), sampleDate).Checks {
		if c.Name == evidence.CheckChain && c.OK {
			t.Error("accepted")
		}
	}
	if _, err := snp.VerifyChains(e.Certificates[0], []*x509.Certificate{large}, a.Roots()); err == nil || !strings.Contains(err.Error(), "key of 8192 bits") {
		t.Errorf("%v, want a refusal of the key's size", err)
	}
	if _, err := snp.VerifyChains(e.Certificates[0], []*x509.Certificate{large, e.Certificates[1]}, a.Roots()); err != nil {
		t.Errorf("with the genuine one beside it: %v", err)
	}
}

// A finding ends with the list on which it rests.
func TestFindingEndsWithItsList(t *testing.T) {
	a := issue(t, insecure.SNPOptions{})
	soon := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	if err := a.Publish(insecure.SNPCollateral{NextUpdate: soon}); err != nil {
		t.Fatal(err)
	}
	f := simulated(a).Verify(t.Context(), quote(t, a.Machine("image")), time.Now())
	if failed, bad := f.Checks.Failed(); bad || !f.Expires.Equal(soon) {
		t.Errorf("failed %+v, expires %s, want %s", failed, f.Expires, soon)
	}
}
