package snp_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/snp"
)

// sampleDate lies within the lives of all certificates in testdata.
var sampleDate = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func certificate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(sample(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// genuine is evidence from testdata: a report and the certificate of its key.
func genuine(t testing.TB, name, key string) []byte {
	t.Helper()
	return snp.Join(sample(t, name+"-report.bin"), certificate(t, name+"-"+key+".der"))
}

// outcome is the names of the checks that failed, and of all.
func outcome(f *evidence.Finding) (failed, all []string) {
	for _, c := range f.Checks {
		all = append(all, c.Name)
		if !c.OK {
			failed = append(failed, c.Name)
		}
	}
	return failed, all
}

// everyCheck is what is asked of evidence that can be taken apart and whose
// chain leads to a root.
var everyCheck = []string{
	"size", "format", "report version", "signature algorithm", "signing key", "certificate", "reserved", "product",
	"chain", "key validity", "intermediate validity", "root validity", "revocation", "signature", "chip id",
	"key tcb", "tcb order", "tcb", "launch tcb", "debug", "migration", "migration agent", "smt", "single socket", "cxl",
	"guest policy", "platform info", "vmpl", "id key", "author key", "host data", "kernel hashes",
}

// Genuine reports, judged offline under AMD's roots. There is no revocation
// list of that day, so only AllowUnknown can accept; what each of the machines
// really does wrong is named.
func TestGenuineReports(t *testing.T) {
	lenient := snp.Policy{AllowUnknown: true, AllowVLEK: true, InsecureAnyKernel: true}
	for _, c := range []struct {
		name, key string
		policy    snp.Policy
		failed    []string
		status    string
		platform  string
	}{
		{"milan", "vcek", lenient, nil, "unknown", "c38427a30d4c7af9"},
		{"milan", "vcek", snp.Policy{}, []string{"revocation", "tcb", "launch tcb", "kernel hashes"}, "unknown", "c38427a30d4c7af9"},
		{"milan", "vcek", with(lenient, func(p *snp.Policy) { p.Minimum = snp.SB3019 }), []string{"tcb", "launch tcb"}, "below minimum", "c38427a30d4c7af9"},
		{"milan-debug", "vcek", lenient, []string{"debug"}, "unknown", "3ac3fe21e13fb099"},
		{"milan-cloud", "vlek", lenient, []string{"vmpl"}, "unknown", ""},
		{"milan-cloud", "vlek", with(lenient, func(p *snp.Policy) { p.VMPL, p.Minimum = 1, snp.SB3019 }), nil, "meets minimum", ""},
		{"milan-cloud", "vlek", with(lenient, func(p *snp.Policy) { p.VMPL, p.AllowVLEK = 1, false }), []string{"signing key"}, "unknown", ""},
		{"genoa", "vcek", lenient, nil, "unknown", "0506ffba875e939c"},
		{"genoa", "vcek", with(lenient, func(p *snp.Policy) { p.Minimum = snp.SB3019 }), nil, "meets minimum", "0506ffba875e939c"},
	} {
		f := (&snp.Verifier{Policy: c.policy}).Verify(t.Context(), genuine(t, c.name, c.key), sampleDate)
		failed, all := outcome(f)
		if !slices.Equal(failed, c.failed) || !slices.Equal(all, everyCheck) {
			t.Errorf("%s: failed %q of %q, want %q", c.name, failed, all, c.failed)
		}
		if f.Status != c.status || !strings.HasPrefix(f.Platform, c.platform) || (c.platform == "") != (f.Platform == "") || f.Insecure {
			t.Errorf("%s: status %q, platform %q, insecure %v", c.name, f.Status, f.Platform, f.Insecure)
		}
		raw := sample(t, c.name+"-report.bin")
		if !bytes.Equal(f.ReportData[:], raw[80:144]) || f.Image != evidence.HashOf(raw[144:192]) {
			t.Errorf("%s: report data %x, image %s", c.name, f.ReportData, f.Image)
		}
		if leaf := certificate(t, c.name+"-"+c.key+".der"); !f.Expires.Equal(leaf.NotAfter) {
			t.Errorf("%s: expires %s, want with its certificate at %s", c.name, f.Expires, leaf.NotAfter)
		}
	}
}

func with(p snp.Policy, change func(*snp.Policy)) snp.Policy {
	change(&p)
	return p
}

// A genuine Turin certificate: other layout, other components, a short name.
func TestGenuineTurinCertificate(t *testing.T) {
	leaf := certificate(t, "turin-vcek.der")
	said, err := snp.ParseEndorsement(leaf)
	if err != nil {
		t.Fatal(err)
	}
	if said.Product != snp.Turin || said.TCB != (snp.Parts{Microcode: 9}) || len(said.HWID) != 8 {
		t.Errorf("%+v", said)
	}
	chains, err := snp.VerifyChains(leaf, []*x509.Certificate{intermediate(t, "turin.pem")}, snp.AMDRoots())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := chains[0].Product(); p != snp.Turin || err != nil {
		t.Errorf("product %q, %v", p, err)
	}
}

// intermediate is the ASK of an embedded file.
func intermediate(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("roots", file))
	if err != nil {
		t.Fatal(err)
	}
	e, err := snp.Parse(append(make([]byte, snp.ReportSize), b...))
	if err != nil {
		t.Fatal(err)
	}
	return e.Certificates[1]
}

// One flipped bit anywhere in what is signed, or in the signature, is refused.
func TestFlippedBits(t *testing.T) {
	good := genuine(t, "genoa", "vcek")
	verifier := &snp.Verifier{Policy: snp.Policy{AllowUnknown: true, InsecureAnyKernel: true}}
	for _, at := range []int{0, 4, 8, 16, 32, 48, 52, 56, 64, 72, 76, 80, 143, 144, 191, 192, 224, 272, 320, 352, 384, 392, 395, 416, 480, 488, 492, 496, 504, 512, 520, 671, 672, 719, 720, 744, 791, 792, 816, 1183} {
		raw := bytes.Clone(good)
		raw[at] ^= 0x10
		f := verifier.Verify(t.Context(), raw, sampleDate)
		failed, _ := outcome(f)
		// Behind R and S, nothing is signed: only the question about reserved bytes sees it.
		want := evidence.CheckSignature
		if at >= 816 {
			want = evidence.CheckReserved
		}
		if !slices.Contains(failed, want) {
			t.Errorf("byte %#x: failed %q, want %q among them", at, failed, want)
		}
	}
}

// The network's name for a report that says nothing (current.md 6.2).
func TestUnmeasured(t *testing.T) {
	if h := snp.Unmeasured.String(); !strings.HasPrefix(h, "b5fdab78") || !strings.HasSuffix(h, "49fa") {
		t.Errorf("image hash of nothing is %s, want b5fdab78…49fa", h)
	}
}

func TestGenuineOutsideItsTime(t *testing.T) {
	raw := genuine(t, "genoa", "vcek")
	verifier := &snp.Verifier{Policy: snp.Policy{AllowUnknown: true, InsecureAnyKernel: true}}
	for when, want := range map[string][]string{
		"2025-01-01": {"key validity"},
		"2032-02-01": {"key validity"},
		"2022-02-01": {"key validity", "intermediate validity"},
		"2020-01-01": {"key validity", "intermediate validity", "root validity"},
		"2050-01-01": {"key validity", "intermediate validity", "root validity"},
	} {
		at, err := time.Parse(time.DateOnly, when)
		if err != nil {
			t.Fatal(err)
		}
		if failed, _ := outcome(verifier.Verify(t.Context(), raw, at)); !slices.Equal(failed, want) {
			t.Errorf("%s: failed %q, want %q", when, failed, want)
		}
	}
}

// Without the peer's certificate, the one that a source has for the chip and
// the reported TCB serves, for reports of version 2 too, which name no product.
func TestCertificateFromSource(t *testing.T) {
	for _, name := range []string{"milan", "genoa"} {
		raw, leaf := sample(t, name+"-report.bin"), sample(t, name+"-vcek.der")
		r, err := snp.ParseReport(raw)
		if err != nil {
			t.Fatal(err)
		}
		product := snp.Product(strings.ToUpper(name[:1]) + name[1:])
		src := snp.Answers{snp.VCEKPath(product, r.ChipID, r.ReportedTCB.Parts(product)): leaf}
		v := &snp.Verifier{Policy: snp.Policy{AllowUnknown: true, InsecureAnyKernel: true}, Collateral: src}
		f := v.Verify(t.Context(), raw, sampleDate)
		if failed, ok := f.Checks.Failed(); ok {
			t.Errorf("%s: %+v", name, failed)
		}
		v.Collateral = nil
		f = v.Verify(context.Background(), raw, sampleDate)
		if failed, _ := outcome(f); !slices.Contains(failed, snp.CheckCertificate) || !f.Passing {
			t.Errorf("%s without source and certificate: failed %q, passing %v", name, failed, f.Passing)
		}
	}
}
