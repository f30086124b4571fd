package router

import (
	"testing"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/tdx"
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

// Where an empty list means anything of its family, a list that is there still
// counts, of each family for its own.
func TestListsCountBesideEmptyOnes(t *testing.T) {
	listed, other := attest.Hash{1}, attest.Hash{2}
	for _, c := range []struct {
		name   string
		policy Policy
		kind   attest.Kind
		image  attest.Hash
		ok     bool
	}{
		{"TDX, listed", Policy{Images: []attest.Hash{listed}}, attest.KindTDX, listed, true},
		{"TDX, another", Policy{Images: []attest.Hash{listed}}, attest.KindTDX, other, false},
		{"TDX, none is listed", Policy{}, attest.KindTDX, other, true},
		{"TDX, listed for SEV-SNP", Policy{Images: []attest.Hash{listed}, SNPImages: []attest.Hash{other}}, attest.KindTDX, other, false},
		{"SEV-SNP, listed", Policy{SNPImages: []attest.Hash{listed}}, attest.KindSEVSNP, listed, true},
		{"SEV-SNP, another", Policy{SNPImages: []attest.Hash{listed}}, attest.KindSEVSNP, other, false},
		{"SEV-SNP, listed for TDX", Policy{Images: []attest.Hash{other}, SNPImages: []attest.Hash{listed}}, attest.KindSEVSNP, other, false},
	} {
		for _, empty := range []bool{true, false} {
			if !empty && len(c.policy.Images)+len(c.policy.SNPImages) == 0 {
				continue
			}
			c.policy.Name, c.policy.Type, c.policy.EmptyList = "p", typeTEE, empty
			var p Problems
			r := c.policy.rule(attest.Policy{}, &Settings{}, &p)
			v := &attest.Verdict{Kind: c.kind, ImageHash: c.image, Registers: []attest.Register{{Name: "root_key", Value: tdx.IntelRootKey[:]}}}
			if err := r.admits(v); (err == nil) != c.ok {
				t.Errorf("%s, empty lists count %v: %v", c.name, empty, err)
			}
		}
	}
}

// A connection stands under the policy that its program chose, also after a
// reload that gives its port another.
func TestPolicyNow(t *testing.T) {
	chosen, ports, gone := &rule{Policy: Policy{Name: "chosen"}}, &rule{Policy: Policy{Name: "port's"}}, &rule{Policy: Policy{Name: "gone"}}
	next := &plan{rules: map[string]*rule{"chosen": chosen, "port's": ports}}
	d := &door{Router: &Router{}}
	d.plan.Store(next)
	d.stand.Store(&stand{rule: ports, plan: next})
	closed := &door{Router: d.Router}
	closed.stand.Store(&stand{rule: gone, plan: &plan{}})
	for _, c := range []struct {
		name string
		link *link
		want *rule
	}{
		{"by name", &link{door: d, rule: &rule{Policy: Policy{Name: "chosen"}}, byName: true}, chosen},
		{"by name, which is gone", &link{door: d, rule: gone, byName: true}, nil},
		{"the port's", &link{door: d, rule: gone}, ports},
		{"of a port that is gone", &link{door: closed, rule: chosen}, chosen},
		{"of a port that is gone, with its policy", &link{door: closed, rule: gone}, nil},
	} {
		if got := c.link.policyNow(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPolicyNamedTwice(t *testing.T) {
	s := Settings{Policies: []Policy{{Name: "p", Type: typeAny}, {Name: "p", Type: typeFakeTDX}}, Ports: []Port{{Type: typeSOCKS5, Policy: "p"}}}
	if err := s.Check(); err == nil {
		t.Error("accepted")
	}
}
