package ratls_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/snp"
	"github.com/opencocoon/cocoon/ratls"
)

func snpAuthority(t *testing.T) *insecure.SNPAuthority {
	t.Helper()
	a, err := insecure.NewSNPAuthority(insecure.SNPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ours(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 12345, n} }

// The three extensions of current.md 6.1: critical, first, in this order, with
// the raw bytes; of the certificates, the chip's alone.
func TestCertificateOfASNPGuest(t *testing.T) {
	id, err := ratls.NewIdentity(t.Context(), snpAuthority(t).Machine("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf := id.Certificate().Leaf
	var order []string
	for _, e := range leaf.Extensions {
		order = append(order, e.Id.String())
	}
	want := []string{ours(100).String(), ours(101).String(), ours(102).String(), "2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.14", "2.5.29.17"}
	if strings.Join(order, " ") != strings.Join(want, " ") {
		t.Errorf("extensions %v, want %v", order, want)
	}
	data := attest.ReportData(leaf.PublicKey.(ed25519.PublicKey))
	for i, size := range []int{64, snp.ReportSize} {
		if e := leaf.Extensions[i]; !e.Critical || len(e.Value) != size {
			t.Errorf("extension %v: critical %v, %d bytes, want %d", e.Id, e.Critical, len(e.Value), size)
		}
	}
	if !bytes.Equal(leaf.Extensions[0].Value, data[:]) {
		t.Error("the report data is not that of the key")
	}
	block, rest := pem.Decode(leaf.Extensions[2].Value)
	if !leaf.Extensions[2].Critical || block == nil || len(rest) > 0 {
		t.Errorf("the chip's certificate is %q", leaf.Extensions[2].Value)
	}
	shown, err := ratls.ParseCertificate(leaf.Raw)
	if err != nil || shown.Evidence.Kind != attest.KindSEVSNP {
		t.Fatalf("%+v, %v", shown, err)
	}
	if want := append(bytes.Clone(leaf.Extensions[1].Value), leaf.Extensions[2].Value...); !bytes.Equal(shown.Evidence.Raw, want) {
		t.Error("evidence is not report and certificate")
	}
}

// One change at a time away from a certificate of a SEV-SNP guest.
func TestSNPCertificateRefuses(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := snpAuthority(t).Machine("x").Quote(t.Context(), attest.ReportData(public))
	if err != nil {
		t.Fatal(err)
	}
	data := attest.ReportData(public)
	good := []pkix.Extension{
		{Id: ours(100), Critical: true, Value: data[:]},
		{Id: ours(101), Critical: true, Value: raw[:snp.ReportSize]},
		{Id: ours(102), Critical: true, Value: raw[snp.ReportSize:]},
	}
	for _, c := range []struct {
		name   string
		change func([]pkix.Extension) []pkix.Extension
		want   string // in the error; empty: accepted
	}{
		{"as it should be", func(e []pkix.Extension) []pkix.Extension { return e }, ""},
		{"in another order", func(e []pkix.Extension) []pkix.Extension { return []pkix.Extension{e[2], e[0], e[1]} }, ""},
		{"without report data", func(e []pkix.Extension) []pkix.Extension { return e[1:] }, "a part of the SEV-SNP evidence is missing"},
		{"without the report", func(e []pkix.Extension) []pkix.Extension { return []pkix.Extension{e[0], e[2]} }, "a part of the SEV-SNP evidence is missing"},
		{"without the chip's certificate", func(e []pkix.Extension) []pkix.Extension { return e[:2] }, "a part of the SEV-SNP evidence is missing"},
		{"report data of another key", func(e []pkix.Extension) []pkix.Extension { e[0].Value = make([]byte, 64); return e }, "not that of the certificate's key"},
		{"report data that is empty", func(e []pkix.Extension) []pkix.Extension { e[0].Value = nil; return e }, "not that of the certificate's key"},
		{"report that is short", func(e []pkix.Extension) []pkix.Extension { e[1].Value = e[1].Value[1:]; return e }, "report of 1183 bytes"},
		{"report that is long", func(e []pkix.Extension) []pkix.Extension { e[1].Value = append(e[1].Value, 0); return e }, "report of 1185 bytes"},
		{"report that is empty", func(e []pkix.Extension) []pkix.Extension { e[1].Value = nil; return e }, "report of 0 bytes"},
		{"two reports", func(e []pkix.Extension) []pkix.Extension { return append(e, e[1]) }, "occurs twice"},
		{"a quote besides", func(e []pkix.Extension) []pkix.Extension {
			return append(e, pkix.Extension{Id: ours(1), Value: []byte{4}})
		}, "two vendors"},
		{"an extension that nobody knows", func(e []pkix.Extension) []pkix.Extension {
			return append(e, pkix.Extension{Id: ours(103), Critical: true})
		}, "unknown critical extension"},
	} {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
		for _, e := range c.change([]pkix.Extension{good[0], good[1], good[2]}) {
			e.Value = bytes.Clone(e.Value)
			template.ExtraExtensions = append(template.ExtraExtensions, e)
		}
		if c.name == "two reports" { // which crypto/x509 writes, and would not read
			template.ExtraExtensions[3].Value = append(template.ExtraExtensions[3].Value, 0)
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ratls.ParseCertificate(der)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// Guests of both vendors meet, and each judges the other.
func TestVendorsMeet(t *testing.T) {
	intel, amd := authority(t), snpAuthority(t)
	policy := func(image attest.Hash, kernel bool) *attest.Policy {
		return &attest.Policy{
			Images: func(h attest.Hash) bool { return h == image },
			Verifiers: map[attest.Kind]attest.Verifier{
				attest.KindTDX: intel.Verifier(),
				attest.KindSEVSNP: &snp.Verifier{TestRoots: amd.Roots(), TestCollateral: amd, Policy: snp.Policy{
					Minimum: amd.Minimum(), KernelMeasured: func(evidence.Hash) bool { return kernel },
				}},
			},
		}
	}
	for _, c := range []struct {
		name    string
		machine *insecure.SNPMachine
		policy  *attest.Policy
		check   string // that refuses; empty: none
	}{
		{"wanted", amd.Machine("x"), policy(insecure.SNPImageHash("x"), true), ""},
		{"another image", amd.Machine("y"), policy(insecure.SNPImageHash("x"), true), evidence.CheckImage},
		{"an image that may boot anything", amd.Machine("x"), policy(insecure.SNPImageHash("x"), false), snp.CheckKernel},
		{"debug", &insecure.SNPMachine{}, policy(insecure.SNPImageHash("x"), true), evidence.CheckDebug},
		{"no verifier", amd.Machine("x"), &attest.Policy{AnyImage: true, Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: intel.Verifier()}}, attest.CheckEvidence},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "debug" {
				c.machine = amd.Machine("x")
				c.machine.Debug = true
			}
			id, err := ratls.NewIdentity(t.Context(), c.machine, nil)
			if err != nil {
				t.Fatal(err)
			}
			shown, err := ratls.ParseCertificate(id.Certificate().Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			v, err := c.policy.Judge(t.Context(), shown.Evidence, shown.Key, time.Now())
			if c.check == "" {
				if err != nil || v.Kind != attest.KindSEVSNP || v.Level != attest.LevelSimulated || v.Platform == "" || v.Measurements() != nil {
					t.Errorf("%v, kind %s, level %s, platform %q", err, v.Kind, v.Level.Name(), v.Platform)
				}
			} else if failed, _ := v.Failed(); err == nil || failed.Name != c.check {
				t.Errorf("refused by %+v, want %s", failed, c.check)
			}
		})
	}
	// Over a connection: an SNP guest dials a TDX guest.
	l := listen(t, node(t, intel.Machine("proxy"), policy(insecure.SNPImageHash("worker"), true)))
	came := accepted(l)
	conn, err := ratls.Dial(t.Context(), l.Addr().String(), node(t, amd.Machine("worker"), policy(insecure.ImageHash("proxy"), true)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer := <-came
	defer peer.Close()
	if mine, theirs := conn.Peer.Verdict.Kind, peer.Peer.Verdict.Kind; mine != attest.KindTDX || theirs != attest.KindSEVSNP {
		t.Errorf("the dialer sees %s, the listener %s", mine, theirs)
	}
}
