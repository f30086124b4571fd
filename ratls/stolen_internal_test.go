package ratls

import (
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
)

// Who has stolen a key writes himself certificates for ever, with its old quote
// and any dates. Only a policy that wants evidence for the connection notices.
func TestStolenKeyDatesItself(t *testing.T) {
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	identity, err := NewIdentity(t.Context(), a.Machine("worker"), nil)
	if err != nil {
		t.Fatal(err)
	}
	shown := identity.Certificate()
	honest, err := parseCertificate(shown.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().AddDate(1, 0, 0)
	if err := honest.usableFor(oidClientAuth, later); err == nil {
		t.Error("the certificate of an honest peer is good for a year")
	}
	der, err := newCertificate(shown.PrivateKey.(ed25519.PrivateKey), honest.evidence, later, later.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := parseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := forged.usableFor(oidClientAuth, later); err != nil {
		t.Fatal(err)
	}
	p := &attest.Policy{AnyImage: true, Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: a.Verifier()}}
	if _, err := p.JudgeConnection(t.Context(), forged.evidence, forged.key, nil, later); err != nil {
		t.Errorf("a policy for peers of the reference: %v", err)
	}
	p.RequireFresh = true
	if _, err := p.JudgeConnection(t.Context(), forged.evidence, forged.key, nil, later); !errors.Is(err, attest.ErrUntrusted) {
		t.Errorf("RequireFresh: %v, want a refusal", err)
	}
}
