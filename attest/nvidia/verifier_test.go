package nvidia_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
)

// A guest whose GPUs are in order passes everything, asked by the same code
// that judges real ones.
func TestSimulatedGuest(t *testing.T) {
	a := newGPUAuthority(t)
	nonce := nonceOf("test")
	blob := ask(t, a.Guest(insecure.GPU{Name: "0"}, insecure.GPU{Name: "1"}), nonce)
	f := (&nvidia.Verifier{Test: a.Anchors(), Count: 2}).VerifyFor(t.Context(), blob, nonce, time.Now())
	if c, bad := f.Checks.Failed(); bad {
		t.Fatalf("%s: %s, want %s", c.Name, c.Got, c.Want)
	}
	if f.Status != nvidia.UpToDate || !f.Insecure || len(f.Platforms()) != 2 || f.Expires.IsZero() || f.Passing {
		t.Errorf("status %q, insecure %t, platforms %v, expires %s, passing %t", f.Status, f.Insecure, f.Platforms(), f.Expires, f.Passing)
	}
	// Nobody believes it by accident.
	f = (&nvidia.Verifier{Anchors: nvidia.Anchors{Collateral: a}, AllowUnknown: true}).Verify(t.Context(), blob, time.Now())
	if !slices.Contains(failed(f), "chain") || f.Insecure {
		t.Errorf("without a test root failed %v", failed(f))
	}
}

// refusal is a guest or a policy with one thing wrong.
type refusal struct {
	name    string
	gpus    []insecure.GPU
	publish insecure.GPUCollateral
	blob    func(t *testing.T, blob []byte) []byte
	judge   func(v *nvidia.Verifier)
	when    time.Duration // after now
	want    string        // the first check that fails
	all     []string      // and the others; nil: none
}

func board0(t *testing.T, blob []byte, change func(b *nvidia.Board)) []byte {
	boards := decode(t, blob)
	boards[0] = nvidia.Board{Report: slices.Clone(boards[0].Report), Chain: slices.Clone(boards[0].Chain)}
	change(&boards[0])
	return encode(t, boards...)
}

// certificates takes a chain apart.
func certificates(t *testing.T, chain []byte) (list []string) {
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		list = append(list, string(pem.EncodeToMemory(block)))
	}
	return list
}

func field(f nvidia.Field, value ...byte) map[nvidia.Field][]byte {
	return map[nvidia.Field][]byte{f: value}
}

func replace(old, with string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, with, 1) }
}

const years = 365 * 24 * time.Hour

var afterManifests = []string{"driver manifest", "vbios manifest", "measurements"}

func refusals(t *testing.T, other *insecure.GPUAuthority, nonce [32]byte) []refusal {
	one := func(g insecure.GPU) []insecure.GPU { return []insecure.GPU{g} }
	flip := func(at int) func(*testing.T, []byte) []byte {
		return func(t *testing.T, blob []byte) []byte {
			return board0(t, blob, func(b *nvidia.Board) { b.Report[(at+len(b.Report))%len(b.Report)] ^= 1 })
		}
	}
	swap := func(at int) func(*testing.T, []byte) []byte { // another authority's certificate of that place
		return func(t *testing.T, blob []byte) []byte {
			theirs := certificates(t, decode(t, ask(t, other.Guest(), nonce))[0].Chain)
			return board0(t, blob, func(b *nvidia.Board) {
				ours := certificates(t, b.Chain)
				ours[at] = theirs[at]
				b.Chain = []byte(strings.Join(ours, ""))
			})
		}
	}
	unmeasured := [48]byte{1}
	return []refusal{
		// The evidence as a whole.
		{name: "empty", blob: func(*testing.T, []byte) []byte { return nil }, want: "format"},
		{name: "too large", blob: func(_ *testing.T, b []byte) []byte { return append(b, make([]byte, nvidia.MaxEvidence)...) }, want: "size"},
		{name: "one byte more", blob: func(_ *testing.T, b []byte) []byte { return append(b, 0) }, want: "format"},
		{name: "one byte less", blob: func(_ *testing.T, b []byte) []byte { return b[:len(b)-1] }, want: "format"},
		{name: "another version", blob: func(_ *testing.T, b []byte) []byte { b[10]++; return b }, want: "format"},
		{name: "one GPU too few", judge: func(v *nvidia.Verifier) { v.Count = 2 }, want: "boards"},
		{name: "one GPU twice", gpus: []insecure.GPU{{Name: "a"}, {Name: "a"}}, judge: func(v *nvidia.Verifier) { v.Count = 2 }, want: "boards"},
		{name: "second GPU unsigned", gpus: []insecure.GPU{{Name: "a"}, {Name: "b"}}, judge: func(v *nvidia.Verifier) { v.Count = 2 }, blob: func(t *testing.T, b []byte) []byte {
			b[len(b)-len(decode(t, b)[1].Chain)-5] ^= 1
			return b
		}, want: "signature"},

		// Freshness, and whose evidence it is.
		{name: "asked with another nonce", want: "nonce"},

		// Each section of the report.
		{name: "nonce changed", blob: flip(4), want: "signature", all: []string{"nonce"}},
		{name: "request changed", blob: flip(0), want: "format"},
		{name: "response changed", blob: flip(38), want: "format"},
		{name: "measurement changed", blob: flip(45 + 7), want: "signature"},
		{name: "GPU's nonce changed", blob: flip(45 + 3520), want: "signature"},
		{name: "signature changed", blob: flip(-1), want: "signature"},
		{name: "signature of another report", blob: func(t *testing.T, blob []byte) []byte {
			return board0(t, blob, func(b *nvidia.Board) { copy(b.Report[len(b.Report)-96:], make([]byte, 96)) })
		}, want: "signature"},

		// Each certificate.
		{name: "first certificate of another", blob: swap(0), want: "chain", all: []string{"signature"}},
		{name: "factory certificate of another", blob: swap(1), want: "chain"},
		{name: "provisioner of another", blob: swap(2), want: "chain"},
		{name: "identity authority of another", blob: swap(3), want: "chain"},
		{name: "root of another", blob: swap(4), want: "chain"},
		{name: "another vendor's GPU", blob: func(t *testing.T, _ []byte) []byte { return ask(t, other.Guest(), nonce) }, want: "chain"},
		{name: "a certificate less", blob: func(t *testing.T, blob []byte) []byte {
			return board0(t, blob, func(b *nvidia.Board) { b.Chain = []byte(strings.Join(certificates(t, b.Chain)[:4], "")) })
		}, want: "format"},
		{name: "something behind the certificates", blob: func(t *testing.T, blob []byte) []byte {
			return board0(t, blob, func(b *nvidia.Board) { b.Chain = append(b.Chain, "-----BEGIN CERTIFICATE-----"...) })
		}, want: "format"},
		{name: "first certificate expired", gpus: one(insecure.GPU{Certificate: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }}), want: "chain"},
		{name: "first certificate from the future", gpus: one(insecure.GPU{Certificate: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }}), want: "chain"},
		{name: "first certificate an authority", gpus: one(insecure.GPU{Certificate: func(c *x509.Certificate) { c.IsCA = true }}), want: "chain"},
		{name: "first certificate may not sign", gpus: one(insecure.GPU{Certificate: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }}), want: "chain"},
		{name: "all certificates expired", when: 11 * years, want: "chain"},
		{name: "a factory certificate taken back", publish: insecure.GPUCollateral{Revoked: []string{"BROM"}}, want: "revocation"},
		{name: "a provisioner taken back", publish: insecure.GPUCollateral{Revoked: []string{"Provisioner"}}, want: "revocation"},
		{name: "an identity authority taken back", publish: insecure.GPUCollateral{Revoked: []string{"GH100 Identity"}}, want: "revocation"},
		{name: "unknown to the responder", publish: insecure.GPUCollateral{Unknown: []string{"BROM"}}, want: "revocation"},
		{name: "revocation status expired", publish: insecure.GPUCollateral{Until: time.Now().Add(-time.Minute)}, want: "revocation", all: []string{"manifest signers"}},

		// What the report states.
		{name: "a chip nobody asked for", judge: func(v *nvidia.Verifier) { v.Chips = []string{"GB100"} }, want: "architecture"},
		{name: "report of another chip", gpus: one(insecure.GPU{Fields: field(nvidia.FieldChip, []byte("GB100")...)}), want: "architecture"},
		{name: "certificate of another chip", gpus: one(insecure.GPU{Certificate: func(c *x509.Certificate) { c.Subject.CommonName = "GB100 A01 GSP FMC LF" }}), want: "format"},
		{name: "other firmware than certified", gpus: one(insecure.GPU{Firmware: []byte("genuine")}), want: "fwid"},
		{name: "firmware not named", gpus: one(insecure.GPU{Fields: map[nvidia.Field][]byte{nvidia.FieldFWID: nil}}), want: "fwid"},
		{name: "debug mode", gpus: one(insecure.GPU{Debug: true}), want: "debug"},
		{name: "unknown field", gpus: one(insecure.GPU{Fields: field(99, 1)}), want: "reserved"},
		{name: "newer kind of fields", gpus: one(insecure.GPU{Fields: field(nvidia.FieldOpaqueVersion, 2)}), want: "format"},
		{name: "decoder neither on nor off", gpus: one(insecure.GPU{Fields: field(nvidia.FieldNVDEC, 0)}), want: "format"},
		{name: "no driver", gpus: one(insecure.GPU{Fields: map[nvidia.Field][]byte{nvidia.FieldDriver: nil}}), want: "format"},
		{name: "driver that is a path", gpus: one(insecure.GPU{Fields: field(nvidia.FieldDriver, []byte("../../x")...)}), want: "format"},
		{name: "links in the clear", gpus: one(insecure.GPU{Fields: field(nvidia.FieldProtectedPCIe, 0xaa)}), want: "mode"},
		{name: "several GPUs, not asked for", gpus: one(insecure.GPU{Fields: field(nvidia.FieldFeature, 1)}), want: "mode"},
		{name: "modes that contradict", gpus: one(insecure.GPU{Fields: field(nvidia.FieldFeature, 2)}), want: "format"},
		{name: "old driver", judge: func(v *nvidia.Verifier) {
			v.Minimum = map[string]nvidia.Minimum{"GH100": {Driver: "570.0.2"}}
		}, want: "driver version"},
		{name: "old VBIOS", judge: func(v *nvidia.Verifier) {
			v.Minimum = map[string]nvidia.Minimum{"GH100": {VBIOS: "96.00.00.00.0A"}}
		}, want: "vbios version"},
		{name: "driver struck off", judge: func(v *nvidia.Verifier) { v.Struck = []string{"570.0.1"} }, want: "driver version"},
		{name: "downgraded driver", gpus: one(insecure.GPU{Driver: "535.1"}), judge: func(v *nvidia.Verifier) {
			v.Minimum = map[string]nvidia.Minimum{"GH100": {Driver: "550"}}
		}, want: "driver version"},

		// The manifests.
		{name: "a driver nobody published", publish: insecure.GPUCollateral{Missing: "DRIVER"}, want: "driver manifest", all: []string{"measurements"}},
		{name: "a VBIOS nobody published", publish: insecure.GPUCollateral{Missing: "VBIOS"}, want: "vbios manifest", all: []string{"measurements"}},
		{name: "manifest changed after signing", publish: insecure.GPUCollateral{Signed: replace(`active="True"`, `active="False"`)}, want: "driver manifest", all: afterManifests[1:]},
		{name: "manifest without a signature", publish: insecure.GPUCollateral{Signed: replace("<ds:Signature ", "<ds:Other ")}, want: "driver manifest", all: afterManifests[1:]},
		{name: "manifest of another version", publish: insecure.GPUCollateral{Document: replace(`colloquialVersion="`, `colloquialVersion="1`)}, want: "driver manifest", all: afterManifests[1:]},
		{name: "manifest of another chip", publish: insecure.GPUCollateral{Document: replace(`product="GH100"`, `product="GB100"`)}, want: "driver manifest", all: afterManifests[1:]},
		{name: "manifest of a switch", publish: insecure.GPUCollateral{Document: replace(`edition="GPU"`, `edition="SWITCH"`)}, want: "driver manifest", all: afterManifests[1:]},
		{name: "manifest's signer taken back", publish: insecure.GPUCollateral{Revoked: []string{"HCC"}}, want: "manifest signers"},
		{name: "manifest under another root", judge: func(v *nvidia.Verifier) {
			v.Test = &nvidia.Anchors{Device: v.Test.Device, Manifest: other.Anchors().Manifest, Collateral: v.Test.Collateral}
		}, want: "driver manifest", all: afterManifests[1:]},
		{name: "both manifests of one measurement", publish: insecure.GPUCollateral{Document: replace(`index="2"`, `index="1"`)}, want: "measurements"},
		{name: "a measurement out of reach", gpus: one(insecure.GPU{Measurements: map[int][48]byte{0: unmeasured}}), want: "measurements"},
		{name: "a measurement of the VBIOS", gpus: one(insecure.GPU{Measurements: map[int][48]byte{63: unmeasured}}), want: "measurements"},
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	a, other := newGPUAuthority(t), newGPUAuthority(t)
	nonce := nonceOf("this connection")
	// Most are put to one verifier, which remembers the good and must not be
	// misled by it.
	knowing := &nvidia.Verifier{Test: a.Anchors(), Count: 1}
	usual := ask(t, a.Guest(), nonce)
	for _, r := range refusals(t, other, nonce) {
		asked := nonce
		if r.name == "asked with another nonce" {
			asked = nonceOf("another connection")
		}
		a.Publish(r.publish)
		blob := slices.Clone(usual)
		if r.gpus != nil || asked != nonce {
			blob = ask(t, a.Guest(r.gpus...), asked)
		}
		if r.blob != nil {
			blob = r.blob(t, blob)
		}
		v := knowing
		if r.judge != nil {
			v = &nvidia.Verifier{Test: a.Anchors(), Count: 1}
			r.judge(v)
		}
		f := v.VerifyFor(t.Context(), blob, nonce, time.Now().Add(r.when))
		if got, want := failed(f), append([]string{r.want}, r.all...); !slices.Equal(got, want) {
			t.Errorf("%s: failed %v, want %v", r.name, got, want)
			for _, c := range f.Checks {
				if !c.OK {
					t.Logf("  %s: %s, want %s", c.Name, c.Got, c.Want)
				}
			}
		}
		if f.Status != evidence.Unknown && len(f.Parts) > 0 && f.Parts[0].Status != nvidia.UpToDate {
			t.Errorf("%s: status is %q", r.name, f.Status)
		}
	}
}

// While the decoder is disabled its measurement is not looked at.
func TestDecoder(t *testing.T) {
	t.Parallel()
	a := newGPUAuthority(t)
	for state, want := range map[byte][]string{0x55: nil, 0xaa: {"measurements"}} {
		blob := ask(t, a.Guest(insecure.GPU{Fields: field(nvidia.FieldNVDEC, state), Measurements: map[int][48]byte{35: {}}}), [32]byte{})
		if got := failed((&nvidia.Verifier{Test: a.Anchors()}).Verify(t.Context(), blob, time.Now())); !slices.Equal(got, want) {
			t.Errorf("decoder %#x: failed %v, want %v", state, got, want)
		}
	}
}

// A verifier that has seen a GPU in order still sees what has changed since.
func TestMemoryForgetsNothing(t *testing.T) {
	t.Parallel()
	a := newGPUAuthority(t)
	v := &nvidia.Verifier{Test: a.Anchors()}
	blob := ask(t, a.Guest(), [32]byte{})
	if got := failed(v.Verify(t.Context(), blob, time.Now())); got != nil {
		t.Fatalf("failed %v, want none", got)
	}
	if got := failed(v.Verify(t.Context(), blob, time.Now().Add(11*years))); !slices.Equal(got, []string{"chain"}) {
		t.Errorf("in eleven years failed %v, want chain", got)
	}
	a.Publish(insecure.GPUCollateral{Revoked: []string{"BROM"}})
	if got := failed(v.Verify(t.Context(), blob, time.Now())); !slices.Equal(got, []string{"revocation"}) {
		t.Errorf("after it was taken back failed %v, want revocation", got)
	}
}

// nonceOf is a nonce of a test's own.
func nonceOf(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// BenchmarkVerify judges a fresh report of a GPU that was seen before, with
// its collateral on disk.
func BenchmarkVerify(b *testing.B) {
	blob := h100(b)
	v := &nvidia.Verifier{Anchors: nvidia.Anchors{Collateral: nvidia.Dir("testdata/collateral")}}
	for b.Loop() {
		v.Verify(b.Context(), blob, deviceDay)
	}
}

// BenchmarkVerifyCold judges a GPU that was never seen.
func BenchmarkVerifyCold(b *testing.B) {
	blob := h100(b)
	for b.Loop() {
		v := &nvidia.Verifier{Anchors: nvidia.Anchors{Collateral: nvidia.Dir("testdata/collateral")}}
		v.Verify(b.Context(), blob, deviceDay)
	}
}
