package ratls_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/ratls"
)

func pemFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadIdentity(t *testing.T) {
	for name, kind := range map[string]attest.Kind{"fake_tdx": attest.KindFakeTDX, "none": attest.KindNone} {
		f, err := ratls.ReadIdentity("testdata/" + name)
		if err != nil || f.Identity.Kind() != kind {
			t.Errorf("%s: %v, kind %s, want %s", name, err, f.Identity.Kind(), kind)
		}
	}
}

func TestReadIdentityRefusals(t *testing.T) {
	cert, key := pemFile(t, "fake_tdx_cert.pem"), pemFile(t, "fake_tdx_key.pem")
	weak, weakKey := ecdsaPair(t)
	for _, c := range []struct{ name, cert, key, want string }{
		{"certificate missing", "", key, "no such file"},
		{"key missing", cert, "", "no such file"},
		{"no certificate", "nothing", key, "certificate"},
		{"no key", cert, "nothing", "key"},
		{"key of another", cert, pemFile(t, "none_key.pem"), "does not match"},
		{"two certificates", cert + pemFile(t, "none_cert.pem"), key, "want one certificate"},
		{"something after it", cert + "more", key, "want one certificate"},
		{"ECDSA", weak, weakKey, "want an Ed25519 key"},
	} {
		dir := t.TempDir()
		for end, text := range map[string]string{"_cert.pem": c.cert, "_key.pem": c.key} {
			if text != "" {
				if err := os.WriteFile(filepath.Join(dir, "x"+end), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, err := ratls.ReadIdentity(filepath.Join(dir, "x"))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), strings.Split(key, "\n")[1]) {
			t.Errorf("%s: the error shows the key", c.name)
		}
	}
}

func ecdsaPair(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// An identity from files cannot prove itself for a connection, so it says
// that it does not know how, and peers of ours take it for one of the others.
func TestIdentityFilesTalkToOurs(t *testing.T) {
	f, err := ratls.ReadIdentity("testdata/fake_tdx")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	policy := &attest.Policy{AllowFake: true, AnyImage: true}
	now := func() time.Time { return at }
	id, err := ratls.NewIdentity(t.Context(), insecure.Fake{}, &ratls.IdentityOptions{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ours := &ratls.Config{Identity: id, Policy: policy, Difficulty: 4, Now: now, Log: quiet(t)}
	files := &ratls.Config{Identity: f.Identity, Policy: policy, Difficulty: 4, Now: now, Log: quiet(t)}
	for name, pair := range map[string][2]*ratls.Config{"files dial": {files, ours}, "files listen": {ours, files}} {
		l := listen(t, pair[1])
		echo(t, l)
		c, err := ratls.Dial(t.Context(), l.Addr().String(), pair[0])
		if err == nil {
			err = talk(t, c)
			c.Close()
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
