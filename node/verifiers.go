package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/snp"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// SNP is what is asked of SEV-SNP guests, whose vendor publishes versions of
// firmware and leaves it to others which of them are good enough.
type SNP struct {
	// Minimum is the least firmware of each product, in lines as
	// snp.ParseMinimum reads them. Empty is what AMD's bulletin SB-3019 asks for.
	Minimum []string `json:"snp_minimum,omitempty"`
	// Images are those whose measurement covers kernel, initrd and command line
	// beside the firmware. Others are refused: their host may boot anything.
	Images []string `json:"snp_image,omitempty"`
	// AllowVLEK accepts reports signed by a cloud provider's key.
	AllowVLEK bool `json:"snp_allow_vlek,omitempty"`
}

// Policy is what a verifier makes of it, and what cannot be read.
func (s *SNP) Policy(allowUnknown bool) (p snp.Policy, problems []string) {
	p = snp.Policy{Minimum: snp.SB3019, AllowUnknown: allowUnknown, AllowVLEK: s.AllowVLEK}
	if len(s.Minimum) > 0 {
		p.Minimum = map[snp.Product]snp.Parts{}
	}
	for _, line := range s.Minimum {
		product, parts, err := snp.ParseMinimum(line)
		if err != nil {
			problems = append(problems, "snp_minimum: "+err.Error())
		}
		p.Minimum[product] = parts
	}
	var images []attest.Hash
	for _, text := range s.Images {
		h, err := attest.ParseHash(text)
		if err != nil {
			problems = append(problems, "snp_image: "+err.Error())
		}
		images = append(images, h)
	}
	p.KernelMeasured = func(h attest.Hash) bool { return slices.Contains(images, h) }
	return p, problems
}

// verifiers are one of each vendor of processors.
func (a *Attestation) verifiers() (map[attest.Kind]attest.Verifier, error) {
	intel, amd := a.collateral()
	policy, _ := a.SNP.Policy(a.AllowUnknownTCB) // whose problems check has told
	forTDX := &tdx.Verifier{Collateral: intel, MinEvaluationNumber: a.MinEvaluation}
	if a.SimulatedTDX != "" {
		roots, err := insecure.LoadRoots(filepath.Join(a.SimulatedTDX, insecure.RootFile))
		if err != nil {
			return nil, err
		}
		forTDX.TestRoots = roots
		forTDX.TestCollateral = tdx.Dir(filepath.Join(a.SimulatedTDX, insecure.CollateralDir))
	}
	return map[attest.Kind]attest.Verifier{
		attest.KindTDX:    forTDX,
		attest.KindSEVSNP: &snp.Verifier{Policy: policy, Collateral: amd},
	}, nil
}

// collateral is where vendors' statements come from: a directory with those of
// both, or their services, kept on disk. An address is that of a caching
// service for Intel's.
func (a *Attestation) collateral() (tdx.Collateral, snp.Collateral) {
	if info, err := os.Stat(a.Collateral); err == nil && info.IsDir() {
		return tdx.Dir(a.Collateral), snp.Dir(a.Collateral)
	}
	address := a.Collateral
	if address != "" && !strings.Contains(address, "://") {
		address = "https://" + address
	}
	return tdx.Cached(tdx.PCS(address, nil), keptIn("intel"), nil), snp.Cached(snp.KDS("", nil), keptIn("amd"), nil)
}

// keptIn is a directory for collateral that survives restarts, empty if there
// can be none.
func keptIn(name string) string {
	base, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	dir := filepath.Join(base, "cocoon", "collateral", name)
	if os.MkdirAll(dir, 0o755) != nil {
		return ""
	}
	return dir
}
