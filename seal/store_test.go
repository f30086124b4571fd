package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/seal"
)

func authority(t testing.TB) *insecure.Authority {
	t.Helper()
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func open(t testing.TB, path string, source seal.Source) *seal.Store {
	t.Helper()
	s, err := seal.Create(t.Context(), path, source)
	if errors.Is(err, fs.ErrExist) {
		s, err = seal.Open(t.Context(), path, source)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func secret(t testing.TB, s *seal.Store, name string) []byte {
	t.Helper()
	b, err := s.Secret(name, 32)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What was made is there again, under every name its own, and nowhere in the
// file.
func TestStoreKeeps(t *testing.T) {
	a := authority(t)
	path := filepath.Join(t.TempDir(), "sealed.json")
	s := open(t, path, a.Sealing("proxy 1"))
	wallet, identity := secret(t, s, "wallet"), secret(t, s, "identity")
	if bytes.Equal(wallet, identity) {
		t.Error("two names have one secret")
	}
	if err := s.Import("ledger", []byte("an old key, an old key, an old k")); err != nil {
		t.Fatal(err)
	}
	again := open(t, path, a.Sealing("proxy 1"))
	for name, want := range map[string][]byte{"wallet": wallet, "identity": identity, "ledger": []byte("an old key, an old key, an old k")} {
		if got := secret(t, again, name); !bytes.Equal(got, want) {
			t.Errorf("%s is another after opening again", name)
		}
		text, _ := os.ReadFile(path)
		encoded, _ := json.Marshal(want)
		if bytes.Contains(text, want) || bytes.Contains(text, bytes.Trim(encoded, `"`)) {
			t.Errorf("%s lies in the file", name)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestStoreRefuses(t *testing.T) {
	a := authority(t)
	path := filepath.Join(t.TempDir(), "sealed.json")
	s := open(t, path, a.Sealing("proxy 1"))
	secret(t, s, "wallet")
	if _, err := s.Secret("wallet", 16); err == nil {
		t.Error("a secret of 32 bytes came as one of 16")
	}
	if err := s.Import("wallet", []byte("other")); err == nil {
		t.Error("a secret was replaced")
	}
	for name, source := range map[string]seal.Source{"another image": a.Sealing("proxy 2"), "another machine": authority(t).Sealing("proxy 1")} {
		if _, err := seal.Open(t.Context(), path, source); !errors.Is(err, seal.ErrSealed) {
			t.Errorf("%s: %v, want ErrSealed", name, err)
		}
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	json.Unmarshal(good, &file)
	for name, change := range map[string]struct {
		text string
		want string
	}{
		"empty":             {"", "unexpected end"},
		"cut":               {string(good[:len(good)/2]), "unexpected end"},
		"another format":    {strings.Replace(string(good), `"format": 1`, `"format": 2`, 1), "no sealed store of format 1"},
		"another id":        {strings.Replace(string(good), file["id"].(string), strings.Repeat("0", 64), 1), "sealed by another"},
		"other secrets":     {strings.Replace(string(good), `"secrets": "`, `"secrets": "AAAA`, 1), "damaged"},
		"without secrets":   {strings.Replace(string(good), file["secrets"].(string), "", 1), "damaged"},
		"without slots":     {strings.Replace(string(good), `"slots"`, `"others"`, 1), "sealed by another"},
		"more than a store": {strings.Repeat(" ", 1<<20+1), "more than"},
	} {
		if err := os.WriteFile(path, []byte(change.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.Open(t.Context(), path, a.Sealing("proxy 1")); err == nil || !strings.Contains(err.Error(), change.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, change.want)
		}
	}
}

// A secret that could not be written was not given out.
func TestStoreCannotWrite(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "sealed.json"), authority(t).Sealing("proxy 1"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Secret("wallet", 32); err == nil {
		t.Error("a secret that is not on disk was given out")
	}
	if err := s.Import("wallet", make([]byte, 32)); err == nil {
		t.Error("a store without a directory took a secret")
	}
}
