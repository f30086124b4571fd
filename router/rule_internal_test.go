package router

import (
	"testing"

	"github.com/opencocoon/cocoon/attest"
)

// What all policies share says who verifies, and nothing of whom to let in:
// that a router shows fake evidence itself opens no port of type tdx or tee.
func TestRuleTakesOnlyVerifiers(t *testing.T) {
	lax := attest.Policy{AllowFake: true, AllowNone: true, AnyImage: true, AnyKey: true, Images: func(attest.Hash) bool { return true }, Rules: attest.Rules{AllowUnknownTCB: true}}
	for _, name := range []string{typeTDX, typeTEE} {
		var p Problems
		r := Policy{Name: name, Type: name, Images: []attest.Hash{{1}}}.rule(lax, &Settings{}, &p)
		if len(p) > 0 {
			t.Fatal(p)
		}
		got := r.attest
		if got.AllowFake || got.AllowNone || got.AnyKey || got.AllowUnknownTCB || got.Images != nil && got.Images(attest.Hash{2}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
