package tdx

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Names of checks that only TDX has.
const (
	CheckEnclave = "quoting enclave" // the vendor's own
	CheckModule  = "tdx module"      // the vendor's own
)

// Names of registers.
const (
	RegisterMRTD          = "mrtd"
	RegisterMRConfigID    = "mrconfigid"
	RegisterMROwner       = "mrowner"
	RegisterMROwnerConfig = "mrownerconfig"
	RegisterRTMR0         = "rtmr0"
	RegisterRTMR1         = "rtmr1"
	RegisterRTMR2         = "rtmr2"
	RegisterRTMR3         = "rtmr3"
	RegisterMRSeam        = "mrseam"
	RegisterTCBSVN        = "tcb_svn"
	RegisterTDAttributes  = "td_attributes" // as a number, most significant byte first
	RegisterXFAM          = "xfam"          // so too
	RegisterRootKey       = "root_key"      // key id of the root that the chain ends at
)

// Verifier judges TDX quotes; it implements evidence.Verifier. The zero
// Verifier knows Intel's root and asks nobody about platforms.
type Verifier struct {
	// Roots are the certificates that a chain may end at. Nil means Intel's.
	Roots *x509.CertPool
	// Collateral answers what the vendor publishes about platforms. Nil means
	// that nobody is asked, and the state of a platform is unknown.
	Collateral Collateral
	// TestRoots and TestCollateral are those of simulated machines, which
	// anyone can make. Insecure: only for a network on one desk.
	TestRoots      *x509.CertPool
	TestCollateral Collateral
}

// Verify implements evidence.Verifier.
func (v *Verifier) Verify(ctx context.Context, raw []byte, now time.Time) *evidence.Finding {
	f := &evidence.Finding{Kind: evidence.TDX, Status: evidence.Unknown, Reason: "nobody was asked"}
	q, err := Parse(raw)
	if !f.Checks.Passed(evidence.CheckFormat, err, "a TDX quote") {
		return f
	}
	f.ReportData, f.Image, f.Registers = q.Body.ReportData, q.Body.ImageHash(), q.registers()
	roots, collateral, err := v.anchor(f, q, now)
	if !f.Checks.Passed(evidence.CheckChain, err, "up to a root that is trusted, and valid") {
		return f
	}
	f.Checks.Passed(evidence.CheckSignature, q.VerifySignature(roots, now), "by the key that the chain certifies")
	f.Checks.Passed(CheckEnclave, q.VerifyEnclave(), "the vendor's own")
	f.Checks.Add(CheckModule, q.Body.IntelModule(), yes(q.Body.IntelModule(), "ok", "signed by another or in debug mode"), "the vendor's own")
	f.Checks.Add(evidence.CheckDebug, !q.Body.Debug(), fmt.Sprintf("%#x", q.Body.TDAttributes&0xff), "0x0: the host cannot look inside")
	f.Checks.Add(evidence.CheckMigration, !q.Body.Migratable(), yes(q.Body.Migratable(), "the host can move the guest elsewhere", "off"), "off")
	if collateral != nil {
		q.judgeTCB(ctx, f, collateral, roots, now)
	}
	return f
}

// anchor finds the root that a quote's chain ends at: a trusted one, or else a
// test root if there is any.
func (v *Verifier) anchor(f *evidence.Finding, q *Quote, now time.Time) (*x509.CertPool, Collateral, error) {
	roots, collateral := v.Roots, v.Collateral
	if roots == nil {
		roots = IntelRoots()
	}
	err := q.VerifySignature(roots, now)
	if err != nil && v.TestRoots != nil && q.VerifySignature(v.TestRoots, now) == nil {
		roots, collateral, err = v.TestRoots, v.TestCollateral, nil
		f.Insecure = true
	}
	return roots, collateral, err
}

// judgeTCB tells three outcomes apart: in order, known to be bad, unknown.
func (q *Quote) judgeTCB(ctx context.Context, f *evidence.Finding, src Collateral, roots *x509.CertPool, now time.Time) {
	tcb, err := q.VerifyTCB(ctx, src, roots, now)
	f.Status, f.Advisories = tcb.Status, tcb.Advisories
	var unavailable *UnavailableError
	switch {
	case errors.As(err, &unavailable):
		f.Reason, f.Passing = err.Error(), true
	case err != nil && tcb.Status == UpToDate || tcb.Status == Unknown:
		f.Checks.Passed(evidence.CheckCollateral, err, "signed, valid, and revoking nothing")
	default:
		f.Expires = tcb.NextUpdate
	}
}

// ImageHash is SHA-256 over the eight registers and 64 zeros in place of the
// report data, 448 bytes in all.
func (b *Body) ImageHash() evidence.Hash {
	in := make([]byte, 0, 448)
	for _, r := range b.measured() {
		in = append(in, r.Value...)
	}
	return sha256.Sum256(in[:448])
}

func (b *Body) measured() []evidence.Register {
	return []evidence.Register{
		{Name: RegisterMRTD, Value: b.MRTD[:]}, {Name: RegisterMRConfigID, Value: b.MRConfigID[:]},
		{Name: RegisterMROwner, Value: b.MROwner[:]}, {Name: RegisterMROwnerConfig, Value: b.MROwnerConfig[:]},
		{Name: RegisterRTMR0, Value: b.RTMR[0][:]}, {Name: RegisterRTMR1, Value: b.RTMR[1][:]},
		{Name: RegisterRTMR2, Value: b.RTMR[2][:]}, {Name: RegisterRTMR3, Value: b.RTMR[3][:]},
	}
}

func (q *Quote) registers() []evidence.Register {
	b := q.Body // a copy: the registers outlive the quote's bytes
	out := append(b.measured(),
		evidence.Register{Name: RegisterMRSeam, Value: b.MRSeam[:]},
		evidence.Register{Name: RegisterTCBSVN, Value: b.TCBSVN[:]},
		evidence.Register{Name: RegisterTDAttributes, Value: binary.BigEndian.AppendUint64(nil, b.TDAttributes)},
		evidence.Register{Name: RegisterXFAM, Value: binary.BigEndian.AppendUint64(nil, b.XFAM)})
	if key, err := q.RootKey(); err == nil {
		out = append(out, evidence.Register{Name: RegisterRootKey, Value: key[:]})
	}
	return out
}

func yes(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}
