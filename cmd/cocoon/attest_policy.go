package main

import (
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
	"github.com/opencocoon/cocoon/attest/snp"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/node"
)

// rulesFlags are what a person may ask of evidence that is authentic.
func rulesFlags(f *pflag.FlagSet, r *attest.Rules, s *node.SNP) {
	f.TextVar(&r.Require, "require", attest.LevelRefused, "lowest `level` that is good enough: none, fake, simulated, relayed, unknown-tcb, attested, image, gpu, weights")
	f.BoolVar(&r.AllowUnknownTCB, "allow-unknown-tcb", false, "accept a platform whose state is unknown for want of collateral")
	f.StringSliceVar(&r.Statuses, "tcb-status", nil, "vendor's `word` for a platform that is good enough besides UpToDate; may be repeated")
	f.StringSliceVar(&r.Advisories, "advisory", nil, "`id` of a known weakness that such a platform may have, * for any; may be repeated")
	f.StringSliceVar(&r.Registers, "register", nil, "`name=hex` of a register that must have this value; of several for one name, one of them")
	f.StringSliceVar(&r.Platforms, "platform", nil, "`id` of a machine that is accepted, and no other; may be repeated")
	f.StringSliceVar(&r.DenyPlatforms, "deny-platform", nil, "`id` of a machine that is refused; may be repeated")
	f.StringArrayVar(&s.Minimum, "snp-minimum", nil, "least `firmware` of an AMD product, such as Milan:snp=24,microcode=219; may be repeated (default what SB-3019 asks for)")
	f.StringSliceVar(&s.Images, "snp-image", nil, "`hash` of a SEV-SNP image whose measurement covers kernel, initrd and command line; may be repeated (default none)")
	f.BoolVar(&s.AllowVLEK, "snp-allow-vlek", false, "accept SEV-SNP reports that are signed by a cloud provider's key")
}

// policy is what the options want. Nobody is asked about platforms unless they
// say whom.
func (o *verifyOptions) policy(p *problems) *attest.Policy {
	snpPolicy, unreadable := o.SNP.Policy(o.AllowUnknownTCB)
	for _, problem := range append(o.Problems(), unreadable...) {
		p.add("%s", problem)
	}
	intel := &tdx.Verifier{MinEvaluationNumber: o.minEvaluation}
	amd := &snp.Verifier{Policy: snpPolicy}
	gpus := &nvidia.Verifier{AllowUnknown: o.AllowUnknownTCB, MultiGPU: o.gpuLinked}
	o.sources(intel, amd, gpus, p)
	o.testRoots(intel, amd, p)
	policy := &attest.Policy{
		Rules: o.Rules, AnyImage: o.anyImage, AllowFake: o.allowFake, AnyKey: o.key == "",
		Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: intel, attest.KindSEVSNP: amd, attest.KindNVIDIA: gpus},
	}
	wanted := map[attest.Hash]bool{}
	for _, text := range o.images {
		h, err := attest.ParseHash(text)
		if err != nil {
			p.add("image: %v", err)
		}
		wanted[h] = true
	}
	if len(wanted) > 0 {
		policy.Images = func(h attest.Hash) bool { return wanted[h] }
	}
	return policy
}

// sources says where collateral comes from.
func (o *verifyOptions) sources(intel *tdx.Verifier, amd *snp.Verifier, gpus *nvidia.Verifier, p *problems) {
	switch info, err := os.Stat(o.collateral); {
	case o.collateral == "":
		return
	case o.collateral == "vendor":
		intel.Collateral, amd.Collateral, gpus.Collateral = tdx.PCS("", nil), snp.KDS("", nil), &nvidia.Service{}
	case strings.HasPrefix(o.collateral, "https://"):
		intel.Collateral, amd.Collateral = tdx.PCS(o.collateral, nil), snp.KDS(o.collateral, nil)
	case err != nil || !info.IsDir():
		p.add("collateral %q: want a directory, the word vendor, or an https address", o.collateral)
	default:
		intel.Collateral, amd.Collateral, gpus.Collateral = tdx.Dir(o.collateral), snp.Dir(o.collateral), nvidia.Dir(o.collateral)
		intel.TestCollateral, amd.TestCollateral = intel.Collateral, amd.Collateral
	}
}

// testRoots believes the authority of a devnet besides, of whichever vendor.
func (o *verifyOptions) testRoots(intel *tdx.Verifier, amd *snp.Verifier, p *problems) {
	if o.testRoot == "" {
		return
	}
	var err error
	if intel.TestRoots, err = insecure.LoadRoots(o.testRoot); err == nil {
		amd.TestRoots, err = insecure.LoadSNPRoots(o.testRoot)
	}
	if err != nil {
		p.add("insecure_test_root: %v", err)
	}
}
