package insecure

import (
	"context"
	"crypto/sha512"
	"slices"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/snp"
)

// SNPMachine is a simulated SEV-SNP guest that runs an image. Its files, keys
// and memory are in plain sight.
type SNPMachine struct {
	// Debug and Migratable set these bits of its guest policy, for showing that
	// such machines are refused.
	Debug, Migratable bool
	// Alter changes anything in a report before it is signed. May be nil.
	Alter func(*snp.Body)
	// Bare leaves the certificate out, as hosts do that have none at hand.
	Bare bool

	authority *SNPAuthority
	image     string
}

var _ attest.Platform = (*SNPMachine)(nil)

// Machine returns a guest that runs the named image. Equal names give equal
// measurements, under every authority.
func (a *SNPAuthority) Machine(image string) *SNPMachine {
	return &SNPMachine{authority: a, image: image}
}

// Kind returns attest.KindSEVSNP: its reports are to be judged like real ones.
func (m *SNPMachine) Kind() attest.Kind { return attest.KindSEVSNP }

// Quote returns a report that carries reportData, and the certificates that
// lead to the root.
func (m *SNPMachine) Quote(ctx context.Context, reportData [64]byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	body := m.authority.body(m.image)
	body.ReportData = reportData
	if m.Debug {
		body.Policy |= snp.PolicyDebug
	}
	if m.Migratable {
		body.Policy |= snp.PolicyMigrate
	}
	if m.Alter != nil {
		m.Alter(&body)
	}
	report, err := m.authority.sign(body)
	if err != nil || m.Bare {
		return report, err
	}
	return snp.Join(report, m.authority.leaf.cert, m.authority.intermediate.cert), nil
}

// SNPImageHash is the image hash of the simulated SEV-SNP machines that run
// the named image, for a registry to list.
func SNPImageHash(image string) evidence.Hash {
	measured := snpMeasurement(image)
	return evidence.HashOf(measured[:])
}

func snpMeasurement(image string) [48]byte {
	return sha512.Sum384([]byte("simulated SEV-SNP launch of " + image))
}

// body is what the simulated platform reports: as a real one would, with its
// firmware up to date and nothing allowed that is not needed.
func (a *SNPAuthority) body(image string) snp.Body {
	tcb := snpTCB.TCB(a.product)
	b := snp.Body{
		Version: 3, SignatureAlgorithm: 1,
		Policy:           snpPolicy,
		PlatformInfo:     snp.PlatformSMT | snp.PlatformECC | snp.PlatformAliasCheck,
		Measurement:      snpMeasurement(image),
		ReportID:         sha512.Sum512_256([]byte("report id of " + image)),
		ReportIDMA:       [32]byte(slices.Repeat([]byte{0xff}, 32)),
		CPU:              snpCPU[a.product],
		ChipID:           a.chip(),
		CurrentTCB:       tcb,
		CommittedTCB:     tcb,
		ReportedTCB:      tcb,
		LaunchTCB:        tcb,
		CurrentVersion:   snp.Version{Major: 1, Minor: 55, Build: 40},
		CommittedVersion: snp.Version{Major: 1, Minor: 55, Build: 40},
	}
	if a.signer == snp.VLEK {
		b.KeyInfo, b.ChipID = snp.KeyInfo(snp.VLEK)<<2, [64]byte{}
	}
	return b
}

// snpPolicy is the guest policy that QEMU sets by default: threads may share
// cores, and bit 17 must be one.
const snpPolicy = snp.PolicySMT | 1<<17

var snpCPU = map[snp.Product]snp.CPU{
	snp.Milan: {Family: 0x19, Model: 0x01, Stepping: 1},
	snp.Genoa: {Family: 0x19, Model: 0x11, Stepping: 1},
	snp.Turin: {Family: 0x1a, Model: 0x02, Stepping: 1},
}
