package router

import (
	"fmt"
	"slices"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// rule is a policy that is ready to judge.
type rule struct {
	Policy
	attest *attest.Policy
	roots  [][48]byte // that may vouch for a genuine machine
	empty  bool       // an empty list means anything of its family
}

// rule makes a policy ready. base holds what all policies share: roots,
// collateral, the cache. A policy that would let in what nobody named is a
// problem, unless the person has said so in as many words.
func (y Policy) rule(base attest.Policy, s *Settings, p *Problems) *rule {
	path := "policy " + y.Name
	r := &rule{Policy: y, attest: &base, empty: y.EmptyList || s.EmptyList}
	base.Images, base.AnyImage, base.AllowFake, base.AllowNone, base.AnyKey = nil, false, false, false, false
	base.Rules = s.Rules
	if r.roots = slices.Concat(y.RootKeys, s.RootKeys); s.RootKeys == nil {
		r.roots = append(r.roots, tdx.IntelRootKey)
	}
	switch y.Type {
	case typeAny:
		// Whatever such a peer shows does not count, so nobody verifies it.
		base.AllowNone, base.AnyImage, base.Verifiers, base.Rules = true, true, nil, attest.Rules{}
		if y.listed() {
			p.add(path, "type any with a list lets nobody in; say tdx or tee for peers that prove themselves")
		}
	case typeFakeTDX, typeFakeTEE:
		base.AllowFake, base.Verifiers, base.Rules = true, nil, attest.Rules{}
		r.wantImages(!r.namesTDX() && !r.namesSNP())
	case typeTDX, typeTEE:
		if y.Type == typeTDX {
			base.Verifiers = map[attest.Kind]attest.Verifier{attest.KindTDX: base.Verifiers[attest.KindTDX]}
		}
		r.wantImages(!r.imagesSettle())
		if !r.empty && !r.namesTDX() && !r.namesSNP() {
			p.add(path, "it names no image, so it lets nobody in: list image hashes, or say --insecure-empty-list if whatever "+
				"image runs is fine or the program behind this router asks itself")
		}
	default:
		p.add(path, "type %q, want any, fake_tdx or tdx, or of the current release fake_tee or tee", y.Type)
	}
	return r
}

// imagesSettle tells whether everybody whom the policy lets in is on a list
// of image hashes, so that the judge can ask. Otherwise admits asks alone.
func (r *rule) imagesSettle() bool {
	tdxListed := !r.namesTDX() || len(r.Images) > 0
	snpListed := !r.namesSNP() || len(r.SNPImages) > 0
	return !r.empty && tdxListed && snpListed
}

// wantImages tells the judge which image hashes are wanted.
func (r *rule) wantImages(any bool) {
	r.attest.AnyImage = any
	wanted := map[attest.Hash]bool{}
	for _, h := range slices.Concat(r.Images, r.SNPImages) {
		wanted[h] = true
	}
	if !any {
		r.attest.Images = func(h attest.Hash) bool { return wanted[h] }
	}
}

// listed tells whether any list but that of roots is there.
func (y *Policy) listed() bool {
	return len(y.MRTD)+len(y.RTMR)+len(y.Images)+len(y.SNPImages)+len(y.SNPMeasurements) > 0
}

// namesTDX tells whether the lists settle what runs in a TDX guest: the image
// hash does, and MRTD with the four RTMRs. MRTD alone is the firmware.
func (y *Policy) namesTDX() bool {
	return len(y.Images) > 0 || len(y.MRTD) > 0 && len(y.RTMR) > 0
}

// namesSNP is the same of SEV-SNP guests.
func (y *Policy) namesSNP() bool { return len(y.SNPImages) > 0 || len(y.SNPMeasurements) > 0 }

// Names of the checks that a router adds to a verdict's.
const (
	checkFamily      = "family"
	checkImage       = "image hash"
	checkMRTD        = "mrtd"
	checkRTMR        = "rtmr"
	checkRootKey     = "root key"
	checkMeasurement = "measurement"
)

// admits asks of a verdict that the judge trusts what only a router's lists
// ask. The error is an *attest.RefusedError.
func (r *rule) admits(v *attest.Verdict) error {
	switch r.Type {
	case typeAny:
		return nil
	case typeFakeTDX, typeFakeTEE:
		return r.wantAll(v, []attest.Check{{Name: checkFamily, OK: v.Kind == attest.KindFakeTDX, Got: string(v.Kind), Want: "fake evidence"}})
	}
	switch v.Kind {
	case attest.KindTDX:
		return r.admitsTDX(v)
	case attest.KindSEVSNP:
		return r.admitsSNP(v)
	}
	return r.wantAll(v, []attest.Check{{Name: checkFamily, Got: string(v.Kind), Want: "the evidence of a " + r.Type}})
}

func (r *rule) admitsTDX(v *attest.Verdict) error {
	f := factsOf(v)
	return r.wantAll(v, []attest.Check{
		{Name: checkFamily, OK: r.empty || r.namesTDX(), Got: "tdx", Want: "a family with a list"},
		{Name: checkMRTD, OK: len(r.MRTD) == 0 || slices.Contains(r.MRTD, f.mrtd), Got: short(f.mrtd[:]), Want: "one that the policy lists"},
		{Name: checkRTMR, OK: len(r.RTMR) == 0 || slices.Contains(r.RTMR, f.rtmr), Got: shortRTMR(f.rtmr), Want: "four that the policy lists together"},
		{Name: checkImage, OK: len(r.Images) == 0 || slices.Contains(r.Images, v.ImageHash), Got: v.ImageHash.String(), Want: "an image that the policy lists for TDX"},
		{Name: checkRootKey, OK: v.Insecure || slices.Contains(r.roots, f.rootKey), Got: short(f.rootKey[:]), Want: "one that the policy lists"},
	})
}

func (r *rule) admitsSNP(v *attest.Verdict) error {
	f := factsOf(v)
	return r.wantAll(v, []attest.Check{
		{Name: checkFamily, OK: r.Type == typeTEE && (r.empty || r.namesSNP()), Got: "sev-snp", Want: "a family with a list"},
		{Name: checkMeasurement, OK: len(r.SNPMeasurements) == 0 || slices.Contains(r.SNPMeasurements, f.measurement), Got: short(f.measurement[:]), Want: "one that the policy lists"},
		{Name: checkImage, OK: len(r.SNPImages) == 0 || slices.Contains(r.SNPImages, v.ImageHash), Got: v.ImageHash.String(), Want: "an image that the policy lists for SEV-SNP"},
	})
}

func (r *rule) wantAll(v *attest.Verdict, checks []attest.Check) error {
	for _, c := range checks {
		if !c.OK {
			return &attest.RefusedError{Kind: v.Kind, Check: c}
		}
	}
	return nil
}

// short is enough of a long value to tell it from another.
func short(b []byte) string { return fmt.Sprintf("%x…", b[:8]) }

func shortRTMR(r [4][48]byte) (s string) {
	for i := range r {
		s += short(r[i][:])
	}
	return s
}
