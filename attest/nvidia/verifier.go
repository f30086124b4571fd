package nvidia

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Names of checks that only GPUs have.
const (
	CheckBoards          = "boards"           // as many GPUs as wanted, no two the same
	CheckNonce           = "nonce"            // is the asker's, in all of them
	CheckArchitecture    = "architecture"     // certificates and report are of the same known chip
	CheckFWID            = "fwid"             // the firmware that signed is the one that the certificate names
	CheckMode            = "mode"             // how the GPU shares confidential memory
	CheckDriverVersion   = "driver version"   //
	CheckVBIOSVersion    = "vbios version"    //
	CheckNVDEC           = "nvdec"            // whether the decoder's measurement counts
	CheckDriverManifest  = "driver manifest"  // signed by NVIDIA, valid now, of this version and chip
	CheckVBIOSManifest   = "vbios manifest"   //
	CheckManifestRevoked = "manifest signers" // none of them is on a list
	CheckMeasurements    = "measurements"     // are what the manifests say
)

// UpToDate is the status of GPUs whose measurements are those that NVIDIA
// published, with nothing revoked: what TDX calls so too.
const UpToDate = "UpToDate"

// Anchors are what a judgement rests on.
type Anchors struct {
	Device, Manifest *x509.Certificate // roots
	Collateral       Collateral        // nil: manifests and revocation are unknown
}

// Minimum is the oldest driver and firmware that are accepted; empty: any.
type Minimum struct{ Driver, VBIOS string }

// Verifier judges the evidence of GPUs. The zero value trusts NVIDIA's roots
// and refuses everything, since it has no collateral to know what to expect.
// It must not be copied or changed once it is used.
type Verifier struct {
	// Anchors are NVIDIA's where they are nil.
	Anchors
	// Test is whom to believe besides, with findings that are Insecure.
	Test *Anchors
	// Count is how many GPUs there must be; 0 is any number.
	Count int
	// MultiGPU admits GPUs that share memory over encrypted links. Links in
	// the clear (protected PCIe) are refused: nobody here judges the switches.
	MultiGPU bool
	// Chips are the kinds of chip that are accepted, by their names in
	// certificates; nil is GH100 (H100, H200, H20) and GB100 (B200).
	Chips []string
	// Minimum is by chip. Without one, every version passes for which NVIDIA's
	// signer is still valid: two years or so of old drivers and firmware.
	Minimum map[string]Minimum
	// Struck are versions of driver or VBIOS that are refused.
	Struck []string
	// AllowUnknown lets GPUs pass for which no manifest or no revocation status
	// is to be had; their status is Unknown, for a policy to look at. Whatever
	// is had must be right.
	AllowUnknown bool

	memo memo
}

var _ evidence.Verifier = (*Verifier)(nil)

// Verify implements evidence.Verifier. Any nonce will do: the finding's report
// data is the nonce and 32 zeros, for a policy to compare. See [Verifier.VerifyFor].
func (v *Verifier) Verify(ctx context.Context, blob []byte, now time.Time) *evidence.Finding {
	return v.verify(ctx, blob, nil, now)
}

// VerifyFor judges evidence that was asked for with nonce.
func (v *Verifier) VerifyFor(ctx context.Context, blob []byte, nonce [32]byte, now time.Time) *evidence.Finding {
	return v.verify(ctx, blob, &nonce, now)
}

func (v *Verifier) verify(ctx context.Context, blob []byte, nonce *[32]byte, now time.Time) *evidence.Finding {
	f := &evidence.Finding{Kind: evidence.NVIDIA, Status: evidence.Unknown}
	if !f.Checks.Add(evidence.CheckSize, len(blob) <= MaxEvidence, fmt.Sprintf("%d bytes", len(blob)), fmt.Sprintf("at most %d", MaxEvidence)) {
		return f
	}
	boards, err := Decode(blob)
	if err != nil {
		f.Checks.Passed(evidence.CheckFormat, err, "GPU evidence")
		return f
	}
	var parts []*judgement
	for _, b := range boards {
		j := &judgement{v: v, ctx: ctx, now: now, Finding: &evidence.Finding{Kind: evidence.NVIDIA, Status: evidence.Unknown}}
		j.judge(b)
		parts = append(parts, j)
		f.Parts = append(f.Parts, j.Finding)
	}
	sum(f)
	v.checkBoards(f, parts)
	checkNonce(f, parts, nonce)
	return f
}

// sum makes the checks of all parts one list: a question is answered well if
// it is for each.
func sum(f *evidence.Finding) {
	var names []string
	answers := map[string]evidence.Check{}
	matches := true
	for i, part := range f.Parts {
		for _, c := range part.Checks {
			old, ok := answers[c.Name]
			if !ok {
				names = append(names, c.Name)
			}
			if len(f.Parts) > 1 && !c.OK {
				c.Got = fmt.Sprintf("GPU %d: %s", i, c.Got)
			}
			if !ok || old.OK && !c.OK {
				answers[c.Name] = c
			}
		}
		matches = matches && part.Status == UpToDate
		f.Expires = earlier(f.Expires, part.Expires)
		f.Insecure, f.Passing = f.Insecure || part.Insecure, f.Passing || part.Passing
	}
	for _, name := range names {
		f.Checks = append(f.Checks, answers[name])
	}
	f.Registers = f.Parts[0].Registers
	if len(f.Parts) > 1 {
		f.Registers = nil // each part has its own
	}
	if matches {
		f.Status = UpToDate
	}
}

// checkBoards counts the GPUs. One board cannot stand for two, whatever it is
// asked, since its identity is in its certificates.
func (v *Verifier) checkBoards(f *evidence.Finding, parts []*judgement) {
	seen := map[string]int{}
	for i, j := range parts {
		if j.device == nil {
			return // the format says why
		}
		if first, twice := seen[j.Platform]; twice {
			f.Checks.Add(CheckBoards, false, fmt.Sprintf("GPU %d and GPU %d are the same %s", first, i, j.Platform), "no GPU twice")
			return
		}
		seen[j.Platform] = i
	}
	want := "any number"
	if v.Count > 0 {
		want = strconv.Itoa(v.Count)
	}
	f.Checks.Add(CheckBoards, v.Count == 0 || v.Count == len(parts), strconv.Itoa(len(parts)), want)
}

// checkNonce compares the nonce of all GPUs with the one that is wanted, or
// with each other.
func checkNonce(f *evidence.Finding, parts []*judgement, nonce *[32]byte) {
	wanted := "the same in all"
	if nonce != nil {
		wanted = hex.EncodeToString(nonce[:])
	}
	for i, j := range parts {
		if j.report == nil {
			return // the format says why
		}
		if nonce == nil {
			nonce = &j.report.Nonce
		}
		if j.report.Nonce != *nonce {
			f.Checks.Add(CheckNonce, false, fmt.Sprintf("GPU %d: %x", i, j.report.Nonce), wanted)
			return
		}
		copy(j.ReportData[:], j.report.Nonce[:])
	}
	f.ReportData = f.Parts[0].ReportData
	f.Checks.Add(CheckNonce, true, hex.EncodeToString(nonce[:]), wanted)
}
