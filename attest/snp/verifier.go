package snp

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Names of checks that only SEV-SNP has, in the order in which they are made,
// among those of package evidence.
const (
	CheckVersion      = "report version"      // one whose layout we know
	CheckAlgorithm    = "signature algorithm" // ECDSA P-384 with SHA-384
	CheckSigner       = "signing key"         // of a kind that the policy accepts, and used
	CheckCertificate  = "certificate"         // of the signing key: there, complete, for that kind of key
	CheckProduct      = "product"             // certificate, root and processor agree
	CheckLeaf         = "key validity"        // the signing key's certificate is valid now
	CheckIntermediate = "intermediate validity"
	CheckRoot         = "root validity"
	CheckChip         = "chip id"         // the report's is the certificate's
	CheckKeyTCB       = "key tcb"         // the key was derived for the TCB that is reported
	CheckOrder        = "tcb order"       // reported ≤ committed ≤ current
	CheckLaunchTCB    = "launch tcb"      // the guest was launched on firmware in order
	CheckAgent        = "migration agent" // there is none
	CheckSMT          = "smt"
	CheckSocket       = "single socket"
	CheckCXL          = "cxl"
	CheckGuestPolicy  = "guest policy" // its other bits
	CheckPlatformInfo = "platform info"
	CheckVMPL         = "vmpl"
	CheckIDKey        = "id key"
	CheckAuthorKey    = "author key"
	CheckHostData     = "host data"
	CheckKernel       = "kernel hashes" // kernel, initrd and command line are part of the measurement
)

// Verifier judges SEV-SNP evidence. It implements evidence.Verifier. Its
// fields must stay as they are while it is used.
type Verifier struct {
	Policy Policy
	// Roots are the certificates that a chain may end at. Nil means AMD's.
	Roots []*x509.Certificate
	// Collateral answers what AMD publishes: revocation lists, and certificates
	// that a peer did not send. Nil means that nobody is asked.
	Collateral Collateral
	// TestRoots and TestCollateral are of simulated machines, which anyone can
	// make. Insecure: only for a network on one desk.
	TestRoots      []*x509.Certificate
	TestCollateral Collateral
}

var _ evidence.Verifier = (*Verifier)(nil)

// judgement is one piece of evidence being judged.
type judgement struct {
	*evidence.Finding
	policy *Policy
	now    time.Time
	report *Report

	leaf    *x509.Certificate // nil until found
	said    *Endorsement      // by leaf; nil if it cannot be read
	product Product           // by leaf, or else by the processor; may be empty
	src     Collateral        // of the root that vouches

	chain   *Chain    // nil unless one leads to a root
	listEnd time.Time // when the list ends that does not name the chain
	revoked error     // what asking for that list said
}

// Verify makes all the checks that can be made, as evidence.Verifier wants.
func (v *Verifier) Verify(ctx context.Context, raw []byte, now time.Time) *evidence.Finding {
	f := &evidence.Finding{Kind: evidence.SEVSNP, Status: evidence.Unknown}
	size := len(raw)
	if !f.Checks.Add(evidence.CheckSize, size >= ReportSize && size <= MaxEvidence, fmt.Sprintf("%d bytes", size), fmt.Sprintf("%d to %d", ReportSize, MaxEvidence)) {
		return f
	}
	e, err := Parse(raw)
	if !f.Checks.Passed(evidence.CheckFormat, err, "a report and certificates in PEM") {
		return f
	}
	j := &judgement{Finding: f, policy: &v.Policy, now: now, report: e.Report}
	j.facts()
	j.checkReport()
	v.find(ctx, j, e)
	j.checkReserved()
	j.checkProduct()
	v.anchor(ctx, j, e)
	j.checkValidity()
	j.checkRevocation()
	j.checkSignature()
	j.checkChip()
	j.checkTCB()
	j.checkGuest()
	j.checkKeys()
	j.checkKernel()
	return f
}

// facts fills in what the report states.
func (j *judgement) facts() {
	r := j.report
	j.ReportData, j.Image = r.ReportData, evidence.HashOf(r.Measurement[:])
	add := func(name string, value []byte) {
		j.Registers = append(j.Registers, evidence.Register{Name: name, Value: value})
	}
	add("measurement", r.Measurement[:])
	add("policy", bigEndian(uint64(r.Policy), 8))
	add("vmpl", bigEndian(uint64(r.VMPL), 4))
	add("guest_svn", bigEndian(uint64(r.GuestSVN), 4))
	add("family_id", r.FamilyID[:])
	add("image_id", r.ImageID[:])
	add("id_key_digest", r.IDKeyDigest[:])
	add("author_key_digest", r.AuthorKeyDigest[:])
	add("host_data", r.HostData[:])
	add("report_id", r.ReportID[:])
	add("report_id_ma", r.ReportIDMA[:])
	add("platform_info", bigEndian(uint64(r.PlatformInfo), 8))
	add("key_info", bigEndian(uint64(r.KeyInfo), 4))
	add("current_tcb", r.CurrentTCB[:])
	add("committed_tcb", r.CommittedTCB[:])
	add("reported_tcb", r.ReportedTCB[:])
	add("launch_tcb", r.LaunchTCB[:])
	add("chip_id", r.ChipID[:])
}

// bigEndian is a number as one reads it.
func bigEndian(v uint64, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[size-1-i] = byte(v >> (8 * i))
	}
	return b
}

// checkReport asks what the report says of its own form.
func (j *judgement) checkReport() {
	r := j.report
	j.Checks.Add(CheckVersion, r.Version >= 2 && r.Version <= 5, fmt.Sprint(r.Version), "2 to 5")
	j.Checks.Add(CheckAlgorithm, r.SignatureAlgorithm == 1, fmt.Sprint(r.SignatureAlgorithm), "1, ECDSA P-384 with SHA-384")
	signer, masked := r.KeyInfo.Signer(), r.KeyInfo.Masked()
	ok := signer == VCEK && !masked || signer == VLEK && j.policy.AllowVLEK
	j.Checks.Add(CheckSigner, ok, word(masked, signer.String()+", the chip's key is masked", signer.String()), word(j.policy.AllowVLEK, "VCEK or VLEK", "VCEK"))
}

// word is a choice of words.
func word(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}

// short is enough of a long value to tell it from another.
func short(b []byte) string { return fmt.Sprintf("%x…", b[:8]) }
