package node

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/snp"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/seal"
)

// Who can seal a node's keys.
const (
	SealSGX       = "sgx"                // the sealing service of a TDX guest's host
	SealSNP       = "snp"                // AMD's firmware
	SealAuto      = "auto"               // one of these, by the guest that this is
	SealSimulated = "insecure_simulated" // a devnet's vendor
)

// Sealing says how the secrets in a node's data directory lie on disk.
type Sealing struct {
	// Seal is who seals them: sgx, snp, auto or insecure_simulated. Empty leaves
	// them in plain files.
	Seal string `json:"seal,omitempty"`
	// SealService is the address of the sealing service, as seal.Dial takes it;
	// empty means vsock:2:12345.
	SealService string `json:"seal_service,omitempty"`
	// SealEnclaves are the sealing enclaves to believe, by MRENCLAVE.
	SealEnclaves []string `json:"seal_enclaves,omitempty"`
	// SealMinSVN is the lowest security version of such an enclave.
	SealMinSVN int `json:"seal_min_svn,omitempty"`
	// SealImages are images that may take part in a hand-over beside those that
	// the registry lists for this role: of a key manager, the one before it or
	// after it; of a client, all.
	SealImages []string `json:"seal_images,omitempty"`
}

// check finds what is wrong. keeps says that the role has secrets to keep.
func (s *Sealing) check(p *Problems, c *Common, keeps bool) {
	if s.Seal == "" {
		if s.SealService != "" || len(s.SealEnclaves) > 0 || s.SealMinSVN != 0 || len(s.SealImages) > 0 {
			p.Add("seal_service, seal_enclaves, seal_min_svn and seal_images: they mean something with seal")
		}
		return
	}
	switch s.Seal {
	case SealAuto, SealSNP:
	case SealSGX:
		if len(s.SealEnclaves) == 0 {
			p.Add("seal_enclaves: missing: with seal %s, name the sealing enclaves to believe by their MRENCLAVE; an empty list believes none", SealSGX)
		}
	case SealSimulated:
		if c.SimulatedImage == "" {
			p.Add("seal %s: needs insecure_simulated_tdx and insecure_simulated_image", SealSimulated)
		}
	default:
		p.Add("seal %q: want %s, %s, %s or %s", s.Seal, SealSGX, SealSNP, SealAuto, SealSimulated)
	}
	if c.SimulatedImage != "" && s.Seal != SealSimulated {
		p.Add("seal %s: this machine is simulated, want %s", s.Seal, SealSimulated)
	}
	if !keeps {
		p.Add("seal: there is nothing to seal without data and, at a worker, ton_config")
	}
	if err := seal.CheckService(s.SealService); err != nil {
		p.Add("seal_service: %v", err)
	}
	if s.SealMinSVN < 0 || s.SealMinSVN > 65535 {
		p.Add("seal_min_svn %d: want 0 to 65535", s.SealMinSVN)
	}
	if _, err := hashes(s.SealEnclaves); err != nil {
		p.Add("seal_enclaves: %v", err)
	}
	if _, err := hashes(s.SealImages); err != nil {
		p.Add("seal_images: %v", err)
	}
}

func hashes(texts []string) (list []attest.Hash, err error) {
	for _, text := range texts {
		h, err := attest.ParseHash(text)
		if err != nil {
			return nil, err
		}
		list = append(list, h)
	}
	return list, nil
}

// sealer is who seals here, and what shows others who this is.
type sealer struct {
	seal.Source
	platform attest.Platform
	image    string // hash, empty if it is not known
}

// sealer finds out who seals.
func (c *Common) sealer(ctx context.Context) (*sealer, error) {
	if c.Seal == SealSimulated {
		authority, err := insecure.Load(c.SimulatedTDX)
		if err != nil {
			return nil, err
		}
		image := insecure.ImageHash(c.SimulatedImage).String()
		return &sealer{seal.Named(authority.Sealing(c.SimulatedImage), image), authority.Machine(c.SimulatedImage), image}, nil
	}
	platform, err := c.guest()
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", c.Seal, err)
	}
	source, err := c.source(platform.Kind())
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", c.Seal, err)
	}
	image := imageOf(ctx, platform)
	return &sealer{seal.Named(source, image), platform, image}, nil
}

// source is who gives keys to a guest of this kind.
func (c *Common) source(kind attest.Kind) (seal.Source, error) {
	switch {
	case kind == attest.KindSEVSNP && c.Seal != SealSGX:
		return &seal.SNP{}, nil
	case kind == attest.KindTDX && c.Seal != SealSNP:
		enclaves, err := hashes(c.SealEnclaves)
		if err != nil {
			return nil, err
		}
		if len(enclaves) == 0 {
			return nil, fmt.Errorf("this is a TDX guest, and seal_enclaves names no sealing enclave to believe")
		}
		verifiers, err := c.genuine().verifiers()
		if err != nil {
			return nil, err
		}
		s := &seal.SGX{Dial: seal.Dial(c.service()), Report: tdx.DeviceReport, Verifier: verifiers[attest.KindTDX].(*tdx.Verifier),
			AllowUnknownTCB: c.AllowUnknownTCB, MinSVN: uint16(c.SealMinSVN)}
		for _, h := range enclaves {
			s.Wanted = append(s.Wanted, h)
		}
		return s, nil
	}
	return nil, fmt.Errorf("this guest shows %s evidence, which is of another vendor", kind)
}

func (c *Common) service() string {
	if c.SealService == "" {
		return seal.DefaultService
	}
	return c.SealService
}

// genuine believes no machine that anybody can make up: what real hardware has
// sealed must not go to one.
func (a Attestation) genuine() *Attestation {
	a.SimulatedTDX, a.SimulatedImage, a.Fake, a.NoAttestation = "", "", false, false
	return &a
}

// imageOf is the hash of the image that runs here, in hexadecimal. It is for
// people, so nothing is verified; empty if it cannot be read.
func imageOf(ctx context.Context, platform attest.Platform) string {
	public, _, _ := ed25519.GenerateKey(nil) // crypto/rand does not fail
	raw, err := platform.Quote(ctx, attest.ReportData(public))
	if err != nil {
		return ""
	}
	p := &attest.Policy{AnyImage: true, Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: &tdx.Verifier{}, attest.KindSEVSNP: &snp.Verifier{}}}
	v, _ := p.Judge(ctx, attest.Evidence{Kind: platform.Kind(), Raw: raw}, public, time.Now()) // it is refused for want of collateral
	if v == nil || v.ImageHash == (attest.Hash{}) {
		return ""
	}
	return v.ImageHash.String()
}
