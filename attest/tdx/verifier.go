package tdx

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// Names of checks that only TDX has, in the order in which they are made
// together with those of package evidence.
const (
	CheckHeader          = "header"             // made by Intel's quoting enclave, says the quote
	CheckCA              = "ca certificate"     // by the root
	CheckPCK             = "pck certificate"    // by the CA, and says which processor it is
	CheckValidity        = "validity"           // of the chain, now
	CheckReport          = "enclave report"     // signed by the PCK certificate's key
	CheckKey             = "attestation key"    // named by the enclave's report
	CheckEnclave         = "quoting enclave"    // the vendor's own
	CheckModule          = "tdx module"         // the vendor's own
	CheckSeam            = "seam attributes"    // the module is no debug module
	CheckXFAM            = "xfam"               // bits that every guest has, and none that we do not know
	CheckServiceTD       = "service td"         // none has a hold on the guest
	CheckTCBInfo         = "tcb info"           // signed by the vendor, valid now
	CheckQEIdentity      = "qe identity"        // so too
	CheckRootCRL         = "root crl"           // so too
	CheckPCKCRL          = "pck crl"            // so too
	CheckEvaluation      = "evaluation number " // and of what: not older than it has to be
	CheckPlatformTCB     = "platform tcb"       // has a level that is not revoked
	CheckModuleIdentity  = "module identity"    // the module is one that the vendor describes
	CheckModuleTCB       = "module tcb"         // has a level that is not revoked
	CheckEnclaveIdentity = "enclave identity"   // the quoting enclave is the one that the vendor describes
	CheckEnclaveTCB      = "enclave tcb"        // has a level that is not revoked
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
	RegisterMRSignerSeam  = "mrsignerseam"
	RegisterTCBSVN        = "tcb_svn"
	RegisterTDAttributes  = "td_attributes" // as a number, most significant byte first
	RegisterXFAM          = "xfam"          // so too
	RegisterSeam          = "seam_attributes"
	RegisterTCBSVN2       = "tcb_svn2"    // TD 1.5 only
	RegisterMRServiceTD   = "mrservicetd" // so too
	RegisterFMSPC         = "fmspc"       // model of processors
	RegisterRootKey       = "root_key"    // key id of the root that the chain ends at
)

// Verifier judges TDX quotes; it implements evidence.Verifier. The zero
// Verifier knows Intel's root and asks nobody about platforms.
type Verifier struct {
	// Roots are the certificates that a chain may end at. Nil means Intel's.
	Roots *x509.CertPool
	// Collateral answers what the vendor publishes about platforms. Nil means
	// that nobody is asked, and the state of a platform is unknown.
	Collateral Collateral
	// MinEvaluationNumber is the oldest knowledge that collateral may have:
	// Intel's TCB evaluation data number. Zero accepts all that is current.
	MinEvaluationNumber int
	// TestRoots and TestCollateral are those of simulated machines, which
	// anyone can make. Insecure: only for a network on one desk.
	TestRoots      *x509.CertPool
	TestCollateral Collateral
}

// maxQuote is the most that a certificate may carry, in bytes.
const maxQuote = 32768

// Verify implements evidence.Verifier.
func (v *Verifier) Verify(ctx context.Context, raw []byte, now time.Time) *evidence.Finding {
	f := &evidence.Finding{Kind: evidence.TDX, Status: Unknown, Reason: "no collateral configured"}
	if !f.Checks.Add(evidence.CheckSize, len(raw) <= maxQuote, fmt.Sprintf("%d bytes", len(raw)), fmt.Sprintf("at most %d", maxQuote)) {
		return f
	}
	q, err := Parse(raw)
	if !f.Checks.Passed(evidence.CheckFormat, err, "a TDX quote") {
		return f
	}
	f.ReportData, f.Image, f.Registers = q.Body.ReportData, q.Body.ImageHash(), q.registers()
	f.Checks.Add(CheckHeader, q.Header.QEVendor == intelQEVendor,
		fmt.Sprintf("version %d, vendor %x…", q.Header.Version, q.Header.QEVendor[:4]), fmt.Sprintf("vendor %x…, Intel", intelQEVendor[:4]))
	i := &inquiry{Finding: f, quote: q, now: now}
	sound := v.certificates(i)
	if i.chain.pck != nil {
		sound = i.signatures() && sound
	}
	i.attributes()
	if sound && i.src != nil { // addresses asked for come from the chain, which must be genuine
		i.ask(ctx, v.MinEvaluationNumber)
	}
	return f
}

// certificates judges the chain from the root down, and chooses the source of
// collateral that belongs to the root.
func (v *Verifier) certificates(i *inquiry) bool {
	var err error
	if i.chain, err = readChain(i.quote.chain); err == nil {
		err = v.anchor(i)
	}
	ok := i.Checks.Passed(evidence.CheckChain, err, yes(i.Insecure, "three certificates up to the test root", "three certificates up to a root that is trusted"))
	if i.chain.pck == nil {
		return false
	}
	c := &i.chain
	ok = i.Checks.Passed(CheckCA, issued(c.ca, c.root, namePlatform, nameProcessor), "issued by the root") && ok
	err = issued(c.pck, c.ca, namePCK)
	if err == nil {
		i.pck, err = readPCK(c.pck)
	}
	ok = i.Checks.Passed(CheckPCK, err, "issued by the CA, with the processor's facts") && ok
	err = validAt(i.now, c.certificates()...)
	i.Expires = firstEnd(c.certificates()...)
	ok = i.Checks.Add(CheckValidity, err == nil, yes(err == nil, "until "+stamp(i.Expires), fmt.Sprint(err)), "all certificates valid at "+stamp(i.now)) && ok
	i.name()
	return ok
}

// anchor finds the root that a chain ends at: a trusted one, or else a test
// root if there is any.
func (v *Verifier) anchor(i *inquiry) error {
	i.src, i.roots = v.Collateral, v.Roots
	if i.roots == nil {
		i.roots = IntelRoots()
	}
	err := trusted(i.chain.root, i.roots)
	if err != nil && v.TestRoots != nil && trusted(i.chain.root, v.TestRoots) == nil {
		i.src, i.roots, i.Insecure, err = v.TestCollateral, v.TestRoots, true, nil
	}
	return err
}

// name adds what the chain states about the machine.
func (i *inquiry) name() {
	if key, err := KeyID(i.chain.root); err == nil {
		i.Registers = append(i.Registers, evidence.Register{Name: RegisterRootKey, Value: key[:]})
	}
	if i.pck == nil {
		return
	}
	i.Registers = append(i.Registers, evidence.Register{Name: RegisterFMSPC, Value: i.pck.FMSPC[:]})
	if i.pck.PPID != [16]byte{} {
		i.Platform = hex.EncodeToString(i.pck.PPID[:])
	}
}

// signatures follows them from the PCK certificate to the registers.
func (i *inquiry) signatures() bool {
	q := i.quote
	key, _ := i.chain.pck.PublicKey.(*ecdsa.PublicKey)
	err := fmt.Errorf("the PCK certificate's key is %T", i.chain.pck.PublicKey)
	if key != nil {
		err = q.verifyReport(key)
	}
	ok := i.Checks.Passed(CheckReport, err, "signed by the PCK certificate's key")
	ok = i.Checks.Passed(CheckKey, q.verifyKey(), "the one that the enclave's report names") && ok
	ok = i.Checks.Passed(evidence.CheckSignature, q.verifySignature(), "by the attestation key") && ok
	return i.Checks.Passed(CheckEnclave, q.verifyEnclave(), "the vendor's own") && ok
}

// attributes are what the registers say about the guest's protection.
func (i *inquiry) attributes() {
	b := &i.quote.Body
	i.Checks.Add(CheckModule, b.MRSignerSeam == [48]byte{}, yes(b.MRSignerSeam == [48]byte{}, "Intel's", fmt.Sprintf("signed by %x…", b.MRSignerSeam[:8])), "Intel's")
	i.Checks.Add(CheckSeam, b.SeamAttributes == 0, fmt.Sprintf("%#x", b.SeamAttributes), "0x0: a production module")
	i.Checks.Add(evidence.CheckDebug, !b.Debug(), fmt.Sprintf("%#x", b.TDAttributes&attributesUnderDebug), "0x0: the host cannot look inside")
	i.Checks.Add(evidence.CheckMigration, !b.Migratable(), yes(b.Migratable(), "the host can move the guest elsewhere", "off"), "off")
	i.Checks.Add(evidence.CheckReserved, b.reservedAttributes() == 0, fmt.Sprintf("%#x of %#x", b.reservedAttributes(), b.TDAttributes), "no attribute that we do not know")
	i.Checks.Add(CheckXFAM, b.validXFAM(), fmt.Sprintf("%#x", b.XFAM), fmt.Sprintf("%#x and none beyond %#x", uint64(xfamAlways), uint64(xfamKnown)))
	if t := i.quote.Body15; t != nil {
		i.Checks.Add(CheckServiceTD, t.MRServiceTD == [48]byte{}, yes(t.MRServiceTD == [48]byte{}, "none", fmt.Sprintf("%x…", t.MRServiceTD[:8])), "none")
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

// registers are everything measured, in copies that outlive the quote's bytes.
func (q *Quote) registers() []evidence.Register {
	b := q.Body
	out := append(b.measured(),
		evidence.Register{Name: RegisterMRSeam, Value: b.MRSeam[:]},
		evidence.Register{Name: RegisterMRSignerSeam, Value: b.MRSignerSeam[:]},
		evidence.Register{Name: RegisterTCBSVN, Value: b.TCBSVN[:]},
		evidence.Register{Name: RegisterTDAttributes, Value: binary.BigEndian.AppendUint64(nil, b.TDAttributes)},
		evidence.Register{Name: RegisterXFAM, Value: binary.BigEndian.AppendUint64(nil, b.XFAM)},
		evidence.Register{Name: RegisterSeam, Value: binary.BigEndian.AppendUint64(nil, b.SeamAttributes)})
	if q.Body15 != nil {
		t := *q.Body15
		out = append(out,
			evidence.Register{Name: RegisterTCBSVN2, Value: t.TCBSVN2[:]},
			evidence.Register{Name: RegisterMRServiceTD, Value: t.MRServiceTD[:]})
	}
	return out
}

func yes(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}
