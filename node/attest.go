package node

import (
	"fmt"
	"path/filepath"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/snp"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// Attestation says what this node shows of itself and whom it believes.
// Zero means: real evidence of the guest that it runs in, TDX or SEV-SNP, and
// the vendors' roots alone.
type Attestation struct {
	// Collateral is where vendors' statements about platforms come from: a
	// directory, or the https address of a caching service for Intel's. Empty are
	// the vendors' own services.
	Collateral string `json:"collateral,omitempty"`
	// Rules say what is asked of peers beside an image that is listed.
	attest.Rules
	SNP
	// MinEvaluation is the oldest TCB evaluation data number that Intel's
	// statements may have.
	MinEvaluation int `json:"min_evaluation,omitempty"`
	// GPUCollateral is where NVIDIA's statements about GPUs come from: a directory,
	// "none" to leave them unjudged, or empty for NVIDIA's own services.
	GPUCollateral string `json:"gpu_collateral,omitempty"`
	// GPULinked accepts GPUs that share memory over encrypted links.
	GPULinked bool `json:"gpu_linked,omitempty"`
	// DenyPlatformsFile is a file of machines that are struck off, by their ids
	// as verdicts name them, one a line. It may be changed at any time.
	DenyPlatformsFile string `json:"deny_platforms_file,omitempty"`

	// ProvenMachinesFile is a file that remembers which machines have proved
	// themselves for a connection: it is asked of them from then on. By default
	// proxies and workers keep it with their data, and others forget at their end.
	ProvenMachinesFile string `json:"proven_machines_file,omitempty"`

	// SimulatedTDX is the directory of a simulated vendor whose machines the
	// node believes.
	SimulatedTDX string `json:"insecure_simulated_tdx,omitempty"`
	// SimulatedImage makes the node a machine of that vendor, running the
	// image of this name.
	SimulatedImage string `json:"insecure_simulated_image,omitempty"`
	// Fake shows, and believes, evidence that is a mere hash of the key: the
	// reference network's mode without hardware.
	Fake bool `json:"insecure_fake_tdx,omitempty"`
	// NoAttestation shows none, and believes peers that show none.
	NoAttestation bool `json:"insecure_no_attestation,omitempty"`
}

func (a *Attestation) check(p *Problems) {
	modes := 0
	for _, on := range []bool{a.SimulatedTDX != "", a.Fake, a.NoAttestation} {
		if on {
			modes++
		}
	}
	if modes > 1 {
		p.Add("insecure_simulated_tdx, insecure_fake_tdx and insecure_no_attestation exclude each other")
	}
	_, problems := a.SNP.Policy(false)
	for _, problem := range append(a.Problems(), problems...) {
		p.Add("%s", problem)
	}
	if a.SimulatedTDX == "" && a.SimulatedImage != "" {
		p.Add("insecure_simulated_image: needs insecure_simulated_tdx, the directory of its vendor")
	}
}

// Platform is where evidence of this machine comes from.
func (a *Attestation) Platform() (attest.Platform, error) { return a.platform(true) }

// platform is where this node's own evidence comes from. A client (guest
// false) runs outside a TEE and shows none unless it is told to.
func (a *Attestation) platform(guest bool) (attest.Platform, error) {
	switch {
	case a.SimulatedImage != "":
		authority, err := insecure.Load(a.SimulatedTDX)
		if err != nil {
			return nil, err
		}
		return authority.Machine(a.SimulatedImage), nil
	case a.Fake:
		return insecure.Fake{}, nil
	case a.NoAttestation || !guest:
		return attest.NoPlatform{}, nil
	default:
		return a.guest()
	}
}

// guest is the confidential guest that this process runs in, of whichever
// vendor.
func (a *Attestation) guest() (attest.Platform, error) {
	intel, err := tdx.NewGuest()
	if err == nil {
		return intel, nil
	}
	_, chips := a.collateral() // for certificates that the host does not have
	amd, err2 := snp.NewGuest(chips)
	if err2 == nil {
		return amd, nil
	}
	return nil, fmt.Errorf("%w; %w; run in a TDX or SEV-SNP guest, or name an --insecure-… mode", err, err2)
}

// keepProven names the file of machines that proved themselves, if nobody has.
func (a *Attestation) keepProven(data string) {
	if a.ProvenMachinesFile == "" && data != "" {
		a.ProvenMachinesFile = filepath.Join(data, "proven-machines")
	}
}

// policy is whom this node believes; images says which are wanted, nil any.
func (a *Attestation) policy(images func(attest.Hash) bool) (*attest.Policy, error) {
	p := &attest.Policy{
		Rules:  a.Rules,
		Images: images, AnyImage: images == nil,
		AllowFake: a.Fake, AllowNone: a.NoAttestation, Cache: attest.NewCache(1000),
	}
	var err error
	p.Verifiers, err = a.verifiers()
	return p, err
}
