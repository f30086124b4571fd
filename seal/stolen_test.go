package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/seal"
)

// A certificate's key is in the memory of a process that speaks to strangers,
// and its evidence is public. Who has stolen the key asks for nothing with it:
// evidence made for a certificate does not count in a hand-over.
func TestCertificateDoesNotAsk(t *testing.T) {
	u := newUpgrade(t)
	public, stolen, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := u.ask(t, newImage)
	if r.Evidence, err = u.new.Machine(newImage).Quote(t.Context(), attest.ReportData(public)); err != nil {
		t.Fatal(err)
	}
	r.Key, r.Signature = public, nil
	text, err := json.Marshal(*r)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha512.Sum512(text)
	r.Signature = ed25519.Sign(stolen, append([]byte("cocoon seal hand-over request 1\n"), hash[:]...))
	if _, _, err := u.store.Grant(t.Context(), r, u.policy, u.old.Machine(oldImage), u.now); err == nil || !strings.Contains(err.Error(), "report data") {
		t.Errorf("%v, want a refusal of the report data", err)
	}
}

// A policy that asks nobody which image runs names no successor.
func TestHandOverNeedsImages(t *testing.T) {
	u := newUpgrade(t)
	any := &attest.Policy{Verifiers: u.policy.Verifiers, AnyImage: true}
	r := u.ask(t, "an image of the host's")
	if _, _, err := u.store.Grant(t.Context(), r, any, u.old.Machine(oldImage), u.now); err == nil || !strings.Contains(err.Error(), attestImage) {
		t.Errorf("grant: %v, want a refusal of the image", err)
	}
	g := u.grant(t, u.ask(t, newImage))
	if _, err := seal.Accept(t.Context(), u.path, g, u.new.Sealing(newImage), any, u.now); err == nil || !strings.Contains(err.Error(), attestImage) {
		t.Errorf("accept: %v, want a refusal of the image", err)
	}
}

// A grant is for one store, and its key opens that store's secrets: a host that
// exchanges files gains nothing, and what is there stays.
func TestAcceptAnotherFile(t *testing.T) {
	u, other := newUpgrade(t), newUpgrade(t)
	secret(t, u.store, "wallet")
	secret(t, other.store, "wallet")
	g := u.grant(t, u.ask(t, newImage))
	mine, theirs := read(t, u.path), read(t, other.path)
	exchanged := map[string]any{}
	if err := json.Unmarshal(mine, &exchanged); err != nil {
		t.Fatal(err)
	}
	var foreign map[string]any
	if err := json.Unmarshal(theirs, &foreign); err != nil {
		t.Fatal(err)
	}
	exchanged["secrets"] = foreign["secrets"]
	mixed, err := json.Marshal(exchanged)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"another store": theirs, "another store's secrets": mixed} {
		if err := os.WriteFile(u.path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.Accept(t.Context(), u.path, g, u.new.Sealing(newImage), u.policy, u.now); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if !bytes.Equal(read(t, u.path), content) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
