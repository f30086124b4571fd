package insecure_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/snp"
)

func newSNPAuthority(t *testing.T) *insecure.SNPAuthority {
	t.Helper()
	a, err := insecure.NewSNPAuthority(insecure.SNPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func judgeSNP(t *testing.T, m *insecure.SNPMachine, roots []*x509.Certificate, src snp.Collateral) *evidence.Finding {
	t.Helper()
	raw, err := m.Quote(t.Context(), [64]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	v := &snp.Verifier{TestRoots: roots, TestCollateral: src, Policy: snp.Policy{
		Minimum:        map[snp.Product]snp.Parts{snp.Genoa: {SNP: 1}},
		KernelMeasured: func(h evidence.Hash) bool { return h == insecure.SNPImageHash("x") },
	}}
	return v.Verify(t.Context(), raw, time.Now())
}

// A verifier that names nothing of ours believes nothing of ours, however
// careless its policy.
func TestNobodyBelievesSNPByAccident(t *testing.T) {
	raw, err := newSNPAuthority(t).Machine("x").Quote(t.Context(), [64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	v := &snp.Verifier{Policy: snp.Policy{AllowUnknown: true, InsecureAnyKernel: true, AllowVLEK: true}}
	f := v.Verify(t.Context(), raw, time.Now())
	if failed, ok := f.Checks.Failed(); !ok || failed.Name != evidence.CheckChain {
		t.Errorf("failed check %+v, want that of the chain", failed)
	}
}

func TestSNPCertificatesSayWhatTheyAre(t *testing.T) {
	if root := newSNPAuthority(t).Roots()[0]; !strings.Contains(root.Subject.String(), "NOT AMD") {
		t.Errorf("root's subject is %s, want it to say that it is not AMD's", root.Subject)
	}
}

func TestSNPSaveAndLoad(t *testing.T) {
	a, dir := newSNPAuthority(t), t.TempDir()
	if err := a.Save(dir); err != nil {
		t.Fatal(err)
	}
	loaded, err := insecure.LoadSNP(dir)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := insecure.LoadSNPRoots(filepath.Join(dir, insecure.SNPRootFile))
	if err != nil {
		t.Fatal(err)
	}
	// One process makes machines from the files, another judges with the public
	// ones alone, even a machine that sends no certificate.
	public := snp.Dir(filepath.Join(dir, insecure.CollateralDir))
	bare := loaded.Machine("x")
	bare.Bare = true
	for name, m := range map[string]*insecure.SNPMachine{"original": a.Machine("x"), "loaded": loaded.Machine("x"), "bare": bare} {
		f := judgeSNP(t, m, roots, public)
		if failed, ok := f.Checks.Failed(); ok || !f.Insecure {
			t.Errorf("%s: %+v, insecure %v", name, failed, f.Insecure)
		}
	}
	info, err := os.Stat(filepath.Join(dir, insecure.SNPAuthorityFile))
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%v, or %s is not the owner's alone", err, insecure.SNPAuthorityFile)
	}
	text, err := os.ReadFile(filepath.Join(dir, insecure.SNPRootFile))
	if err != nil || strings.Contains(string(text), "PRIVATE KEY") {
		t.Errorf("%v, or a private key in %s", err, insecure.SNPRootFile)
	}
}

func TestSNPLoadRefuses(t *testing.T) {
	good := t.TempDir()
	if err := newSNPAuthority(t).Save(good); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(good, insecure.SNPAuthorityFile))
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile(filepath.Join(good, insecure.SNPRootFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"empty":               "",
		"junk":                "junk",
		"first half":          string(whole[:len(whole)/2]),
		"without keys":        string(root),
		"keys only":           strings.ReplaceAll(string(whole), "CERTIFICATE", "SOMETHING"),
		"certificates as key": strings.Repeat(string(root), 6),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, insecure.SNPAuthorityFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := insecure.LoadSNP(dir); err == nil {
			t.Errorf("%s: loaded", name)
		}
		if _, err := insecure.LoadSNPRoots(filepath.Join(dir, insecure.SNPAuthorityFile)); err == nil && name != "without keys" {
			t.Errorf("%s: loaded as a root", name)
		}
	}
	if _, err := insecure.LoadSNP(t.TempDir()); err == nil {
		t.Error("an empty directory: loaded")
	}
}
