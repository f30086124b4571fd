package ratls_test

import (
	"crypto/ed25519"
	"errors"
	"net"
	"testing"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/ratls"
)

// Look shows what a listener shows, also to somebody who would not believe it.
func TestLook(t *testing.T) {
	server := node(t, authority(t).Machine("proxy"), &attest.Policy{AllowNone: true, AnyImage: true})
	l, err := ratls.Listen("127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	shown, err := ratls.Look(t.Context(), l.Addr().String(), node(t, attest.NoPlatform{}, nil))
	if err != nil {
		t.Fatal(err)
	}
	key := server.Identity.Certificate().PrivateKey.(ed25519.PrivateKey).Public().(ed25519.PublicKey)
	if !shown.Key.Equal(key) || shown.Evidence.Kind != attest.KindTDX || !shown.NotBefore.Before(shown.NotAfter) {
		t.Errorf("got key %x with evidence of kind %s, want %x with a quote", shown.Key, shown.Evidence.Kind, key)
	}
}

func TestLookFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	var op *net.OpError
	if _, err := ratls.Look(t.Context(), l.Addr().String(), node(t, attest.NoPlatform{}, nil)); !errors.As(err, &op) {
		t.Errorf("nobody there: got %v, want the dial's error", err)
	}
	if _, err := ratls.Look(t.Context(), l.Addr().String(), &ratls.Config{}); err == nil {
		t.Error("without an identity: no error")
	}
	if _, err := ratls.ParseCertificate([]byte{0x30, 0}); err == nil {
		t.Error("an empty certificate: no error")
	}
}
