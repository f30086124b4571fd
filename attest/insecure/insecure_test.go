package insecure_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

func newAuthority(t *testing.T) *insecure.Authority {
	t.Helper()
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustQuote(t *testing.T, p attest.Platform, key ed25519.PublicKey) []byte {
	t.Helper()
	q, err := p.Quote(t.Context(), attest.ReportData(key))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// Nothing that this package makes is believed by a policy that names nothing
// of it.
func TestNobodyBelievesByAccident(t *testing.T) {
	a := newAuthority(t)
	key, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	careless := &attest.Policy{AnyImage: true, Rules: attest.Rules{AllowUnknownTCB: true}, Verifiers: by(&tdx.Verifier{}), Images: func(attest.Hash) bool { return true }}
	for name, p := range map[string]attest.Platform{"simulated": a.Machine("x"), "fake": insecure.Fake{}} {
		if v, err := careless.Judge(t.Context(), attest.Quoted(mustQuote(t, p, key)), key, time.Now()); err == nil || v.Trusted {
			t.Errorf("%s: believed without an insecure opt-in", name)
		}
	}
}

func TestCertificatesSayWhatTheyAre(t *testing.T) {
	block, rest := pem.Decode(newAuthority(t).RootPEM())
	if block == nil || len(rest) > 0 {
		t.Fatal("the root is not one PEM block")
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(root.Subject.String(), "NOT Intel") {
		t.Errorf("root's subject is %s, want it to say that it is not Intel's", root.Subject)
	}
}

func TestMachinesAreToldApart(t *testing.T) {
	if insecure.ImageHash("a") == insecure.ImageHash("b") || insecure.ImageHash("a") == attest.Unmeasured {
		t.Error("images share a hash")
	}
	a := newAuthority(t)
	key := ed25519.PublicKey(make([]byte, ed25519.PublicKeySize))
	q, err := tdx.Parse(mustQuote(t, a.Machine("a"), key))
	if err != nil {
		t.Fatal(err)
	}
	if q.Body.ImageHash() != insecure.ImageHash("a") {
		t.Error("a machine's image hash is not that of its image")
	}
}

func TestSaveAndLoad(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	if err := a.Save(dir); err != nil {
		t.Fatal(err)
	}
	loaded, err := insecure.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := insecure.LoadRoots(filepath.Join(dir, insecure.RootFile))
	if err != nil {
		t.Fatal(err)
	}
	// One process makes machines from the files, another judges with the public
	// ones alone.
	key := ed25519.PublicKey(make([]byte, ed25519.PublicKeySize))
	judge := &attest.Policy{AnyImage: true, Verifiers: by(&tdx.Verifier{TestRoots: roots, TestCollateral: tdx.Dir(filepath.Join(dir, insecure.CollateralDir))})}
	for name, machine := range map[string]*insecure.Machine{"original": a.Machine("x"), "loaded": loaded.Machine("x")} {
		if _, err := judge.Judge(t.Context(), attest.Quoted(mustQuote(t, machine, key)), key, time.Now()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, insecure.AuthorityFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%s has mode %v, want it to be the owner's alone", insecure.AuthorityFile, info.Mode())
	}
	public, err := os.ReadFile(filepath.Join(dir, insecure.RootFile))
	if err != nil || strings.Contains(string(public), "PRIVATE KEY") {
		t.Errorf("%v, or a private key in %s", err, insecure.RootFile)
	}
}

func TestLoadRefuses(t *testing.T) {
	a, good := newAuthority(t), t.TempDir()
	if err := a.Save(good); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(good, insecure.AuthorityFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"empty":               "",
		"junk":                "junk",
		"first half":          string(whole[:len(whole)/2]),
		"without keys":        string(a.RootPEM()),
		"keys only":           strings.ReplaceAll(string(whole), "CERTIFICATE", "SOMETHING"),
		"certificates as key": strings.Repeat(string(a.RootPEM()), 8),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, insecure.AuthorityFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := insecure.Load(dir); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
	if _, err := insecure.Load(t.TempDir()); err == nil {
		t.Error("an empty directory: loaded")
	}
	if _, err := insecure.LoadRoots(filepath.Join(good, "missing.pem")); err == nil {
		t.Error("missing roots: loaded")
	}
}

func BenchmarkQuote(b *testing.B) {
	a, err := insecure.NewAuthority()
	if err != nil {
		b.Fatal(err)
	}
	m := a.Machine("x")
	for b.Loop() {
		if _, err := m.Quote(b.Context(), [64]byte{}); err != nil {
			b.Fatal(err)
		}
	}
}

func by(v *tdx.Verifier) map[attest.Kind]attest.Verifier {
	return map[attest.Kind]attest.Verifier{attest.KindTDX: v}
}
