package main

import (
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/wallet"
)

// An order that replaces all of a registry is not sent if somebody else has
// changed it while the owner looked at the question: it would take that change back.
func TestRegistryChangedMeanwhile(t *testing.T) {
	b := newBank(t, wallet.Testnet)
	person(t)
	key, _ := b.purse("owner.key")
	bad := strings.Repeat("ab", 32)
	b.must("network", "init", "--key", key, "--worker-image", bad, "--yes")
	full := []string{"network", "upgrade", "full", "--struct-version", "5", "--key", key}
	other := &meanwhile{func() { b.must("network", "image", "remove", bad, "--worker", "--key", key, "--yes") }, strings.NewReader("y\n")}
	code, out, errOut := b.run(other, full...)
	if code != exitRefused || !strings.Contains(errOut, "has changed since") {
		t.Errorf("exit %d, %s, %s; want a refusal", code, out, errOut)
	}
	if shown := b.must("network", "show", "--json"); strings.Contains(strings.ToLower(shown), bad) {
		t.Error("an image that was withdrawn meanwhile is allowed again")
	}
	if code, out, errOut := b.run(strings.NewReader("y\n"), full...); code != exitOK {
		t.Errorf("asked again: exit %d, %s, %s", code, out, errOut)
	}
}
