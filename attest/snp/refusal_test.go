package snp_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/snp"
)

// authority plays AMD; its keys are made once, since RSA's take a while.
var authority = sync.OnceValue(func() *insecure.SNPAuthority { return mustAuthority() })

// stranger is another one.
var stranger = sync.OnceValue(func() *insecure.SNPAuthority { return mustAuthority() })

func mustAuthority() *insecure.SNPAuthority {
	a, err := insecure.NewSNPAuthority(insecure.SNPOptions{})
	if err != nil {
		panic(err)
	}
	return a
}

// issue is the authority with other certificates.
func issue(t testing.TB, o insecure.SNPOptions) *insecure.SNPAuthority {
	t.Helper()
	a, err := authority().With(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func quote(t testing.TB, m *insecure.SNPMachine) []byte {
	t.Helper()
	raw, err := m.Quote(t.Context(), [64]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// strict is a policy that leaves nothing open, for the authority's machines.
func strict(a *insecure.SNPAuthority) snp.Policy {
	return snp.Policy{Minimum: a.Minimum(), KernelMeasured: func(h evidence.Hash) bool { return h == insecure.SNPImageHash("image") }}
}

func simulated(a *insecure.SNPAuthority) *snp.Verifier {
	return &snp.Verifier{Policy: strict(a), TestRoots: a.Roots(), TestCollateral: a}
}

func TestSimulatedMachines(t *testing.T) {
	for _, product := range snp.Products {
		for _, bare := range []bool{false, true} {
			a := issue(t, insecure.SNPOptions{Product: product})
			m := a.Machine("image")
			m.Bare = bare
			f := simulated(a).Verify(t.Context(), quote(t, m), time.Now())
			failed, all := outcome(f)
			if failed != nil || !slices.Equal(all, everyCheck) || !f.Insecure || f.Passing {
				t.Errorf("%s: failed %q of %q, insecure %v, passing %v", product, failed, all, f.Insecure, f.Passing)
			}
			if size := map[snp.Product]int{snp.Turin: 16}[product]; f.Status != snp.StatusMeets || len(f.Platform) != max(size, 128*(1-size/16)) {
				t.Errorf("%s: status %q, platform %q", product, f.Status, f.Platform)
			}
			if f.Image != insecure.SNPImageHash("image") || f.ReportData != [64]byte{1, 2, 3} || f.Expires.IsZero() {
				t.Errorf("%s: %+v", product, f)
			}
		}
	}
}

func TestSimulatedCloud(t *testing.T) {
	a := issue(t, insecure.SNPOptions{VLEK: true})
	v := simulated(a)
	v.Policy.AllowVLEK = true
	f := v.Verify(t.Context(), quote(t, a.Machine("image")), time.Now())
	if failed, _ := outcome(f); failed != nil || f.Platform != "" {
		t.Errorf("failed %q, platform %q", failed, f.Platform)
	}
}

// row changes one thing and names the checks that must fail, all of them.
type row struct {
	name       string
	options    insecure.SNPOptions
	machine    func(*insecure.SNPMachine)
	report     func(*snp.Body)
	raw        func([]byte) []byte
	collateral insecure.SNPCollateral
	verifier   func(*snp.Verifier)
	later      time.Duration
	want       []string
}

// none: the evidence stays acceptable.
var none []string

func tcb(p snp.Parts) snp.TCB { return p.TCB(snp.Genoa) }

var older = tcb(snp.Parts{Bootloader: 10, SNP: 0x18, Microcode: 0xda})
var newer = tcb(snp.Parts{Bootloader: 10, SNP: 0x18, Microcode: 0xdc})

const year = 365 * 24 * time.Hour

// rows of bytes and of what the report says of itself.
var formRows = []row{
	{name: "empty", raw: func([]byte) []byte { return nil }, want: []string{"size"}},
	{name: "truncated report", raw: func(b []byte) []byte { return b[:1183] }, want: []string{"size"}},
	{name: "too large", raw: func(b []byte) []byte { return append(b, bytes.Repeat([]byte("\n"), snp.MaxEvidence)...) }, want: []string{"size"}},
	{name: "trailing byte", raw: func(b []byte) []byte { return append(b, 0) }, want: []string{"format"}},
	{name: "a byte before the certificates", raw: func(b []byte) []byte { return slices.Insert(b, 1184, 'x') }, want: []string{"format"}},
	{name: "truncated certificate", raw: func(b []byte) []byte { return b[:len(b)-40] }, want: []string{"format"}},
	{name: "another kind of block", raw: func(b []byte) []byte {
		return append(b, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte{1}})...)
	}, want: []string{"format"}},
	{name: "headers in a block", raw: func(b []byte) []byte {
		return bytes.Replace(b, []byte("CERTIFICATE-----\n"), []byte("CERTIFICATE-----\nA: b\n\n"), 1)
	}, want: []string{"format"}},
	{name: "junk in a block", raw: func(b []byte) []byte {
		return bytes.Replace(b, []byte("CERTIFICATE-----\n"), []byte("CERTIFICATE-----\n-----BEGIN X-----\n"), 1)
	}, want: []string{"format"}},
	{name: "four certificates", raw: func(b []byte) []byte { return append(b, b[1184:]...) }, want: []string{"format"}},
	{name: "white space between certificates", raw: func(b []byte) []byte { return append(b, " \r\n\t"...) }, want: none},
	{name: "version 1", report: func(b *snp.Body) { b.Version, b.CPU = 1, snp.CPU{} }, want: []string{"report version"}},
	{name: "version 6", report: func(b *snp.Body) { b.Version = 6 }, want: []string{"report version"}},
	{name: "version 2", report: func(b *snp.Body) { b.Version, b.CPU = 2, snp.CPU{} }, want: none},
	{name: "version 2 with a processor", report: func(b *snp.Body) { b.Version = 2 }, want: []string{"reserved"}},
	{name: "version 5 with mitigations", report: func(b *snp.Body) { b.Version, b.LaunchMitigations, b.CurrentMitigations = 5, 1, 3 }, want: none},
	{name: "version 4 with mitigations", report: func(b *snp.Body) { b.Version, b.CurrentMitigations = 4, 1 }, want: []string{"reserved"}},
	{name: "another algorithm", report: func(b *snp.Body) { b.SignatureAlgorithm = 2 }, want: []string{"signature algorithm"}},
	{name: "unsigned", report: func(b *snp.Body) { b.KeyInfo = 7 << 2 }, want: []string{"signing key", "certificate"}},
	{name: "reserved kind of key", report: func(b *snp.Body) { b.KeyInfo = 3 << 2 }, want: []string{"signing key", "certificate"}},
	{name: "chip's key masked", report: func(b *snp.Body) { b.KeyInfo = 2 }, want: []string{"signing key"}},
	{name: "VLEK claimed", report: func(b *snp.Body) { b.KeyInfo = 1 << 2 }, want: []string{"signing key", "certificate"}},
	{name: "key info, bit 5", report: func(b *snp.Body) { b.KeyInfo = 1 << 5 }, want: []string{"reserved"}},
	{name: "reserved 0x4c", report: func(b *snp.Body) { b.Reserved1[3] = 1 }, want: []string{"reserved"}},
	{name: "reserved 0x18b", report: func(b *snp.Body) { b.Reserved2[0] = 1 }, want: []string{"reserved"}},
	{name: "reserved 0x1eb", report: func(b *snp.Body) { b.Reserved3 = 1 }, want: []string{"reserved"}},
	{name: "reserved 0x1ef", report: func(b *snp.Body) { b.Reserved4 = 1 }, want: []string{"reserved"}},
	{name: "reserved 0x208", report: func(b *snp.Body) { b.Reserved5[151] = 1 }, want: []string{"reserved"}},
	{name: "policy, bit 17 clear", report: func(b *snp.Body) { b.Policy &^= 1 << 17 }, want: []string{"reserved"}},
	{name: "policy, bit 26", report: func(b *snp.Body) { b.Policy |= 1 << 26 }, want: []string{"reserved"}},
	{name: "policy, bit 63", report: func(b *snp.Body) { b.Policy |= 1 << 63 }, want: []string{"reserved"}},
	{name: "platform info, bit 6", report: func(b *snp.Body) { b.PlatformInfo |= 1 << 6 }, want: []string{"reserved"}},
	{name: "platform info, bit 8", report: func(b *snp.Body) { b.PlatformInfo |= 1 << 8 }, want: []string{"reserved"}},
	{name: "reserved byte of a TCB", report: func(b *snp.Body) { b.LaunchTCB[3] = 1 }, want: []string{"reserved"}},
	{name: "reserved byte behind the signature", raw: func(b []byte) []byte { b[1183] = 1; return b }, want: []string{"reserved"}},
}

// rows of certificates and of what binds the report to them.
var chainRows = []row{
	{name: "signature, R", raw: func(b []byte) []byte { b[672] ^= 1; return b }, want: []string{"signature"}},
	{name: "signature, S", raw: func(b []byte) []byte { b[744] ^= 1; return b }, want: []string{"signature"}},
	{name: "signature of zeros", raw: func(b []byte) []byte { clear(b[672:1184]); return b }, want: []string{"signature"}},
	{name: "R and S too large", raw: func(b []byte) []byte { b[720], b[792] = 1, 1; return b }, want: []string{"reserved", "signature"}},
	{name: "report data changed after signing", raw: func(b []byte) []byte { b[80] ^= 1; return b }, want: []string{"signature"}},
	{name: "measurement changed after signing", raw: func(b []byte) []byte { b[144] ^= 1; return b }, want: []string{"signature", "kernel hashes"}},
	{name: "processor of another product", report: func(b *snp.Body) { b.CPU = snp.CPU{Family: 0x19, Model: 1} }, want: []string{"product"}},
	{name: "processor of no product", report: func(b *snp.Body) { b.CPU = snp.CPU{Family: 0x17, Model: 0x31} }, want: []string{"product"}},
	{name: "another chip", report: func(b *snp.Body) { b.ChipID[63] ^= 1 }, want: []string{"chip id"}},
	{name: "chip masked by the host", report: func(b *snp.Body) { b.ChipID = [64]byte{} }, want: none},
	{name: "unknown root", verifier: func(v *snp.Verifier) { v.TestRoots = stranger().Roots() }, want: []string{"chain"}},
	{name: "test root not allowed", verifier: func(v *snp.Verifier) { v.TestRoots = nil }, want: []string{"chain"}},
	{name: "no roots", verifier: func(v *snp.Verifier) { v.Roots, v.TestRoots = []*x509.Certificate{}, nil }, want: []string{"chain"}},
	{name: "root of another product", options: insecure.SNPOptions{Root: common("ARK-Milan")}, want: []string{"chain"}},
	{name: "root of no product", options: insecure.SNPOptions{Root: common("ARK-Rome")}, want: []string{"chain"}},
	{name: "intermediate for clouds", options: insecure.SNPOptions{Intermediate: common("SEV-VLEK-Genoa")}, want: []string{"product", "chain"}},
	{name: "intermediate of another product", options: insecure.SNPOptions{Intermediate: common("SEV-Milan")}, want: []string{"product", "chain"}},
	{name: "intermediate that is no authority", options: insecure.SNPOptions{Intermediate: func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }}, want: []string{"chain"}},
	{name: "intermediate signed otherwise", options: insecure.SNPOptions{Intermediate: algorithm(x509.SHA384WithRSA)}, want: []string{"chain"}},
	{name: "key's certificate signed otherwise", options: insecure.SNPOptions{Leaf: algorithm(x509.SHA256WithRSAPSS)}, want: []string{"chain"}},
	{name: "key's certificate expired", options: insecure.SNPOptions{Leaf: until(year)}, later: year + time.Hour, want: []string{"key validity"}},
	{name: "intermediate expired", options: insecure.SNPOptions{Intermediate: until(year)}, later: year + time.Hour, want: []string{"intermediate validity"}},
	{name: "all expired", later: 11 * year, want: []string{"key validity", "intermediate validity", "root validity", "revocation"}},
	{name: "not yet valid", later: -2 * time.Hour, want: []string{"key validity", "intermediate validity", "root validity", "revocation"}},
	{name: "unknown critical extension", options: insecure.SNPOptions{Leaf: extension(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true})}, want: []string{"chain"}},
	{name: "certificate for something else", options: insecure.SNPOptions{Leaf: common("SEV-Genoa")}, want: []string{"certificate", "chain"}},
	{name: "certificate lacks the microcode", options: insecure.SNPOptions{Leaf: drop(3, 8)}, want: []string{"certificate"}},
	{name: "certificate lacks the product", options: insecure.SNPOptions{Leaf: drop(2)}, want: []string{"certificate"}},
	{name: "certificate lacks the chip", options: insecure.SNPOptions{Leaf: drop(4)}, want: []string{"certificate"}},
	{name: "certificate names a short chip", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension(make([]byte, 8), 4))}, want: []string{"certificate"}},
	{name: "certificate names the chip with a tag", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension(append([]byte{4, 64}, make([]byte, 64)...), 4))},
		report: func(b *snp.Body) { b.ChipID = [64]byte{} }, want: none},
	{name: "certificate names the chip with half a tag", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension(append([]byte{4, 63}, make([]byte, 64)...), 4))}, want: []string{"certificate"}},
	{name: "certificate of another chip", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension(make([]byte, 64), 4))}, want: []string{"chip id"}},
	{name: "certificate names a provider too", options: insecure.SNPOptions{Leaf: extension(insecure.SNPExtension([]byte("\x16\x01x"), 5))}, want: []string{"certificate"}},
	{name: "certificate of another product", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension([]byte("\x16\x08Milan-B0"), 2))}, want: []string{"product"}, verifier: knows(snp.Milan)},
	{name: "certificate of an unknown product", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension([]byte("\x16\x04Rome"), 2))}, want: []string{"certificate"}},
	{name: "product that is no text", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension([]byte("\x0c\x05Genoa"), 2))}, want: []string{"certificate"}},
	{name: "product with a stepping", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension([]byte("\x16\x08Genoa-B1"), 2))}, want: none},
	{name: "Siena", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension([]byte("\x16\x05Siena"), 2))}, want: none},
	{name: "extension of AMD's that we do not know", options: insecure.SNPOptions{Leaf: extension(insecure.SNPExtension([]byte{2, 1, 0}, 9))}, want: []string{"certificate"}},
	{name: "reserved component in the certificate", options: insecure.SNPOptions{Leaf: extension(insecure.SNPExtension([]byte{2, 1, 1}, 3, 4))}, want: []string{"certificate"}},
	{name: "component that is no number", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension([]byte{2, 2, 1, 1}, 3, 8))}, want: []string{"certificate"}},
	{name: "Turin's component in Genoa", options: insecure.SNPOptions{Leaf: extension(insecure.SNPExtension([]byte{2, 1, 0}, 3, 9))}, want: []string{"certificate"}},
	{name: "no collateral", verifier: func(v *snp.Verifier) { v.TestCollateral = nil }, want: []string{"revocation"}},
	{name: "collateral silent", verifier: func(v *snp.Verifier) { v.TestCollateral = snp.Answers{} }, want: []string{"revocation"}},
	{name: "collateral silent, unknown allowed", verifier: func(v *snp.Verifier) { v.TestCollateral, v.Policy.AllowUnknown = snp.Answers{}, true }, want: none},
	{name: "intermediate revoked", collateral: insecure.SNPCollateral{Revoke: true}, want: []string{"revocation"}},
	{name: "root revoked", collateral: insecure.SNPCollateral{Alter: func(l *x509.RevocationList) {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: authority().Roots()[0].SerialNumber, RevocationTime: l.ThisUpdate})
	}}, want: []string{"revocation"}},
	{name: "VLEK that names a chip", options: insecure.SNPOptions{VLEK: true, Leaf: extension(insecure.SNPExtension(make([]byte, 64), 4))}, verifier: func(v *snp.Verifier) { v.Policy.AllowVLEK = true }, want: []string{"certificate"}},
	{name: "VLEK without a provider", options: insecure.SNPOptions{VLEK: true, Leaf: drop(5)}, verifier: func(v *snp.Verifier) { v.Policy.AllowVLEK = true }, want: []string{"certificate"}},
	{name: "intermediate revoked, unknown allowed", collateral: insecure.SNPCollateral{Revoke: true}, verifier: allowUnknown, want: []string{"revocation"}},
	{name: "list ended", collateral: insecure.SNPCollateral{NextUpdate: time.Now().Add(year)}, later: year + time.Hour, want: []string{"revocation"}},
	{name: "list of tomorrow", collateral: insecure.SNPCollateral{ThisUpdate: time.Now().Add(24 * time.Hour)}, want: []string{"revocation"}},
	{name: "list of another authority", verifier: func(v *snp.Verifier) { v.TestCollateral = stranger() }, want: []string{"revocation"}},
	{name: "list of changes only", collateral: insecure.SNPCollateral{Alter: func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
	}}, want: []string{"revocation"}},
	{name: "list that is none", verifier: func(v *snp.Verifier) {
		v.TestCollateral = snp.Answers{snp.CRLPath(snp.Genoa, snp.VCEK): []byte("<html>")}
	}, want: []string{"revocation"}},
	{name: "a key of one's own behind the genuine certificates", raw: forge, want: []string{"certificate", "chain"}},
}

// rows of firmware, guest policy and the rest of what is stated.
var guestRows = []row{
	{name: "reported TCB is not the key's", report: func(b *snp.Body) { b.ReportedTCB = older }, want: []string{"key tcb", "tcb"}},
	{name: "certificate of an older TCB", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension([]byte{2, 2, 0, 0xda}, 3, 8))}, want: []string{"key tcb"}},
	{name: "rolled back: old firmware with its own key", options: insecure.SNPOptions{Leaf: swap(insecure.SNPExtension([]byte{2, 2, 0, 0xda}, 3, 8))},
		report: func(b *snp.Body) {
			b.ReportedTCB, b.CommittedTCB, b.CurrentTCB, b.LaunchTCB = older, older, older, older
		}, want: []string{"tcb", "launch tcb"}},
	{name: "launched on older firmware", report: func(b *snp.Body) { b.LaunchTCB = older }, want: []string{"launch tcb"}},
	{name: "committed below reported", report: func(b *snp.Body) { b.CommittedTCB = older }, want: []string{"tcb order"}},
	{name: "current below committed", report: func(b *snp.Body) { b.CurrentTCB = older }, want: []string{"tcb order"}},
	{name: "committed firmware newer than current", report: func(b *snp.Body) { b.CommittedVersion.Build++ }, want: []string{"tcb order"}},
	{name: "newer firmware, not yet committed", report: func(b *snp.Body) { b.CurrentTCB, b.CurrentVersion.Minor = newer, 56 }, want: none},
	{name: "one component below the minimum", verifier: least(func(p *snp.Parts) { p.TEE = 1 }), want: []string{"tcb", "launch tcb"}},
	{name: "product without a minimum", verifier: func(v *snp.Verifier) { v.Policy.Minimum = nil }, want: []string{"tcb", "launch tcb"}},
	{name: "product without a minimum, unknown allowed", verifier: func(v *snp.Verifier) { v.Policy.Minimum, v.Policy.AllowUnknown = nil, true }, want: none},
	{name: "below the minimum, unknown allowed", verifier: func(v *snp.Verifier) { least(func(p *snp.Parts) { p.SNP = 255 })(v); allowUnknown(v) }, want: []string{"tcb", "launch tcb"}},
	{name: "debugging", machine: func(m *insecure.SNPMachine) { m.Debug = true }, want: []string{"debug"}},
	{name: "migration", machine: func(m *insecure.SNPMachine) { m.Migratable = true }, want: []string{"migration"}},
	{name: "a migration agent", report: func(b *snp.Body) { b.ReportIDMA[0] = 0 }, want: []string{"migration agent"}},
	{name: "threads share cores", verifier: forbid(snp.PolicySMT), want: []string{"smt"}},
	{name: "several sockets", verifier: require(snp.PolicySingleSocket), want: []string{"single socket"}},
	{name: "memory behind CXL", report: func(b *snp.Body) { b.Policy |= snp.PolicyCXL }, verifier: forbid(snp.PolicyCXL), want: []string{"cxl"}},
	{name: "AES-128", verifier: require(snp.PolicyAES256), want: []string{"guest policy"}},
	{name: "ciphertext in sight", verifier: require(snp.PolicyCiphertextHiding), want: []string{"guest policy"}},
	{name: "page swaps forbidden", report: func(b *snp.Body) { b.Policy |= snp.PolicyNoPageSwap }, verifier: forbid(snp.PolicyNoPageSwap), want: []string{"guest policy"}},
	{name: "no alias check", report: func(b *snp.Body) { b.PlatformInfo &^= snp.PlatformAliasCheck },
		verifier: func(v *snp.Verifier) { v.Policy.RequirePlatform = snp.PlatformAliasCheck }, want: []string{"platform info"}},
	{name: "devices trusted", report: func(b *snp.Body) { b.PlatformInfo |= snp.PlatformTIO },
		verifier: func(v *snp.Verifier) { v.Policy.ForbidPlatform = snp.PlatformTIO }, want: []string{"platform info"}},
	{name: "VMPL 1", report: func(b *snp.Body) { b.VMPL = 1 }, want: []string{"vmpl"}},
	{name: "VMPL 0 where 1 is wanted", verifier: func(v *snp.Verifier) { v.Policy.VMPL = 1 }, want: []string{"vmpl"}},
	{name: "no id block", verifier: func(v *snp.Verifier) { v.Policy.IDKeys = [][48]byte{{1}} }, want: []string{"id key"}},
	{name: "id block of another", report: func(b *snp.Body) { b.IDKeyDigest[0] = 2 }, verifier: func(v *snp.Verifier) { v.Policy.IDKeys = [][48]byte{{1}} }, want: []string{"id key"}},
	{name: "id block of ours", report: func(b *snp.Body) { b.IDKeyDigest[0] = 1 }, verifier: func(v *snp.Verifier) { v.Policy.IDKeys = [][48]byte{{2}, {1}} }, want: none},
	{name: "author key of another", report: func(b *snp.Body) { b.AuthorKeyDigest[0], b.KeyInfo = 2, 1 },
		verifier: func(v *snp.Verifier) { v.Policy.AuthorKeys = [][48]byte{{1}} }, want: []string{"author key"}},
	{name: "author key that the key info denies", report: func(b *snp.Body) { b.AuthorKeyDigest[0] = 1 }, want: []string{"author key"}},
	{name: "author key announced and missing", report: func(b *snp.Body) { b.KeyInfo = 1 }, want: []string{"author key"}},
	{name: "other host data", verifier: func(v *snp.Verifier) { v.Policy.HostData = &[32]byte{1} }, want: []string{"host data"}},
	{name: "another image", machine: func(m *insecure.SNPMachine) { m.Alter = func(b *snp.Body) { b.Measurement[0] ^= 1 } }, want: []string{"kernel hashes"}},
	{name: "nobody vouches for the kernel", verifier: func(v *snp.Verifier) { v.Policy.KernelMeasured = nil }, want: []string{"kernel hashes"}},
	{name: "any kernel", verifier: func(v *snp.Verifier) { v.Policy.KernelMeasured, v.Policy.InsecureAnyKernel = nil, true }, want: none},
	{name: "a cloud provider's key", options: insecure.SNPOptions{VLEK: true}, want: []string{"signing key"}},
	{name: "everything is checked by an empty policy", verifier: func(v *snp.Verifier) { v.Policy = snp.Policy{} }, want: []string{"tcb", "launch tcb", "kernel hashes"}},
}

func TestRefusals(t *testing.T) {
	for _, c := range slices.Concat(formRows, chainRows, guestRows) {
		t.Run(c.name, func(t *testing.T) {
			a := authority()
			if !reflect.ValueOf(c.options).IsZero() || !reflect.ValueOf(c.collateral).IsZero() {
				a = issue(t, c.options)
				if err := a.Publish(c.collateral); err != nil {
					t.Fatal(err)
				}
			}
			m := a.Machine("image")
			m.Alter = c.report
			if c.machine != nil {
				c.machine(m)
			}
			raw := quote(t, m)
			if c.raw != nil {
				raw = c.raw(raw)
			}
			v := simulated(a)
			if c.verifier != nil {
				c.verifier(v)
			}
			f := v.Verify(t.Context(), raw, time.Now().Add(c.later))
			if failed, _ := outcome(f); !slices.Equal(failed, c.want) {
				t.Errorf("failed %q, want %q: %+v", failed, c.want, f.Checks)
			}
		})
	}
}

// AMD certified Genoa's intermediate anew; a peer that still sends the old one,
// now revoked, is as genuine as before.
func TestIntermediateReplaced(t *testing.T) {
	old := authority()
	replaced := issue(t, insecure.SNPOptions{Intermediate: func(c *x509.Certificate) { c.SerialNumber = big.NewInt(9) }})
	e, err := snp.Parse(quote(t, old.Machine("image")))
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := snp.Parse(quote(t, replaced.Machine("image")))
	if err != nil {
		t.Fatal(err)
	}
	revokes := issue(t, insecure.SNPOptions{})
	if err := revokes.Publish(insecure.SNPCollateral{Revoke: true}); err != nil {
		t.Fatal(err)
	}
	raw := quote(t, old.Machine("image"))[:snp.ReportSize]
	v := simulated(old)
	v.TestCollateral = revokes
	for _, c := range []struct {
		name  string
		certs []*x509.Certificate
		want  []string
	}{
		{"old alone", []*x509.Certificate{e.Certificates[0], e.Certificates[1]}, []string{"revocation"}},
		{"new alone", []*x509.Certificate{e.Certificates[0], fresh.Certificates[1]}, nil},
		{"old, new", []*x509.Certificate{e.Certificates[0], e.Certificates[1], fresh.Certificates[1]}, nil},
		{"new, old", []*x509.Certificate{e.Certificates[0], fresh.Certificates[1], e.Certificates[1]}, nil},
	} {
		v.TestRoots = append(old.Roots(), replaced.Roots()...)
		v.TestRoots = append(v.TestRoots, revokes.Roots()...)
		if failed, _ := outcome(v.Verify(t.Context(), snp.Join(raw, c.certs...), time.Now())); !slices.Equal(failed, c.want) {
			t.Errorf("%s: failed %q, want %q", c.name, failed, c.want)
		}
	}
}

func common(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject.CommonName = name }
}

func algorithm(a x509.SignatureAlgorithm) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.SignatureAlgorithm = a }
}

func until(life time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotAfter = time.Now().Add(life) }
}

func extension(e pkix.Extension) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, e) }
}

func drop(tail ...int) func(*x509.Certificate) {
	id := insecure.SNPExtension(nil, tail...).Id
	return func(c *x509.Certificate) {
		c.ExtraExtensions = slices.DeleteFunc(c.ExtraExtensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
	}
}

func swap(e pkix.Extension) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for i, old := range c.ExtraExtensions {
			if old.Id.Equal(e.Id) {
				c.ExtraExtensions[i] = e
			}
		}
	}
}

func allowUnknown(v *snp.Verifier) { v.Policy.AllowUnknown = true }

func require(p snp.GuestPolicy) func(*snp.Verifier) {
	return func(v *snp.Verifier) { v.Policy.Require = p }
}

func forbid(p snp.GuestPolicy) func(*snp.Verifier) {
	return func(v *snp.Verifier) { v.Policy.Forbid = p }
}

func knows(p snp.Product) func(*snp.Verifier) {
	return func(v *snp.Verifier) { v.Policy.Minimum[p] = snp.Parts{} }
}

func least(change func(*snp.Parts)) func(*snp.Verifier) {
	return func(v *snp.Verifier) {
		p := v.Policy.Minimum[snp.Genoa]
		change(&p)
		v.Policy.Minimum = map[snp.Product]snp.Parts{snp.Genoa: p}
	}
}

// forge signs the report with a key of its own, puts that key's self-made
// certificate first, and leaves the genuine ones behind it.
func forge(raw []byte) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		panic(err)
	}
	t := &x509.Certificate{Subject: pkix.Name{CommonName: "SEV-VCEK"}, Issuer: pkix.Name{CommonName: "SEV-Genoa"}, NotBefore: time.Now(), NotAfter: time.Now().Add(year), SerialNumber: big.NewInt(0)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	digest := sha512.Sum384(raw[:672])
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		panic(err)
	}
	r.FillBytes(raw[672:744])
	s.FillBytes(raw[744:816])
	slices.Reverse(raw[672:744])
	slices.Reverse(raw[744:816])
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return slices.Insert(raw, 1184, own...)
}
