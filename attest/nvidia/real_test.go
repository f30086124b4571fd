package nvidia_test

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/evidence"
	"github.com/opencocoon/cocoon/attest/nvidia"
)

// At the first date NVIDIA's responder had spoken of the H100's certificates,
// at the second of those who sign manifests; each answer holds for a day.
var (
	deviceDay   = time.Date(2025, 8, 21, 12, 0, 0, 0, time.UTC)
	manifestDay = time.Date(2025, 10, 24, 12, 0, 0, 0, time.UTC)
)

func h100(t testing.TB) []byte {
	return encode(t, nvidia.Board{Report: read(t, "h100-report.bin"), Chain: read(t, "h100-chain.pem")})
}

func TestRoots(t *testing.T) {
	for name, c := range map[string]struct{ got, want string }{
		"device":   {fingerprint(nvidia.DeviceRoot().Raw), "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"},
		"manifest": {fingerprint(nvidia.ManifestRoot().Raw), "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1"},
	} {
		if c.got != c.want {
			t.Errorf("%s root is %s, want %s", name, c.got, c.want)
		}
	}
}

func fingerprint(der []byte) string {
	d := sha256.Sum256(der)
	return hex.EncodeToString(d[:])
}

// The verdict on a genuine H100, check by check.
func TestGenuineH100(t *testing.T) {
	nonce, _ := hex.DecodeString("931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb")
	fwid := "f5c384aebb579217a2c66b17ed0f28e6a9b8d639041acd7b4721cec004f7275494ba94bb5cdfdb3055ee051762b1f75d"
	want := []evidence.Check{
		{Name: "size", OK: true, Got: "8962 bytes", Want: "at most 213132"},
		{Name: "format", OK: true, Got: "ok", Want: "a GPU's report and certificates"},
		{Name: "chain", OK: true, Got: "ok", Want: "a chain to NVIDIA's root"},
		{Name: "architecture", OK: true, Got: "GH100", Want: "GH100 or GB100"},
		{Name: "fwid", OK: true, Got: fwid, Want: fwid},
		{Name: "reserved", OK: true, Got: "0 unknown fields []", Want: "0 unknown fields []"},
		{Name: "nvdec", OK: true, Got: "disabled", Want: "enabled or disabled"},
		{Name: "signature", OK: true, Got: "ok", Want: "by the first certificate's key"},
		{Name: "mode", OK: true, Got: "spt", Want: "spt"},
		{Name: "driver version", OK: true, Got: "550.90.07", Want: "at least 550.54.15"},
		{Name: "vbios version", OK: true, Got: "96.00.9F.00.01", Want: "at least 96.00.74.00.1F"},
		{Name: "revocation", OK: true, Got: "none", Want: "none revoked"},
		{Name: "driver manifest", OK: true, Got: "ok", Want: "NV_GPU_DRIVER_GH100_550.90.07 signed by NVIDIA"},
		{Name: "vbios manifest", OK: true, Got: "ok", Want: "NV_GPU_VBIOS_1010_0200_882_96009F0001 signed by NVIDIA"},
		{Name: "manifest signers", OK: false, Got: "HCC RIM L4 Signer: the answer is valid from 2025-10-24T11:32:21Z to 2025-10-25T11:32:21Z", Want: "none revoked"},
		{Name: "measurements", OK: true, Got: "all 33 as in the manifests", Want: "as in the manifests"},
		{Name: "boards", OK: true, Got: "1", Want: "1"},
		{Name: "nonce", OK: true, Got: hex.EncodeToString(nonce), Want: hex.EncodeToString(nonce)},
	}
	v := &nvidia.Verifier{
		Anchors: nvidia.Anchors{Collateral: nvidia.Dir("testdata/collateral")}, Count: 1,
		Minimum: map[string]nvidia.Minimum{"GH100": {Driver: "550.54.15", VBIOS: "96.00.74.00.1F"}},
	}
	f := v.VerifyFor(t.Context(), h100(t), [32]byte(nonce), deviceDay)
	if len(f.Checks) != len(want) {
		t.Errorf("%d checks, want %d", len(f.Checks), len(want))
	}
	for i, c := range f.Checks {
		if i < len(want) && c != want[i] {
			t.Errorf("check %d is\n%+v, want\n%+v", i, c, want[i])
		}
	}
	if !slices.Equal(f.ReportData[:32], nonce) || f.ReportData[32] != 0 {
		t.Errorf("report data is %x, want the nonce and zeros", f.ReportData)
	}
	if got := f.Platforms(); !slices.Equal(got, []string{"41431d480fe5e87274"}) {
		t.Errorf("platforms are %q", got)
	}
	if f.Insecure || f.Passing || f.Kind != evidence.NVIDIA || len(f.Registers) != 70 {
		t.Errorf("insecure %t, passing %t, kind %s, %d registers", f.Insecure, f.Passing, f.Kind, len(f.Registers))
	}

	// Two months later the other half of the answers holds, with the verifier
	// that remembers the first.
	f = v.Verify(t.Context(), h100(t), manifestDay)
	if got := failed(f); !slices.Equal(got, []string{"revocation"}) {
		t.Errorf("at %s failed %v, want revocation alone", manifestDay, got)
	}
	// When the signer of a manifest is too old, so is the manifest.
	f = v.Verify(t.Context(), h100(t), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	if got := failed(f); !slices.Equal(got, []string{"revocation", "vbios manifest", "manifest signers", "measurements"}) {
		t.Errorf("in 2026-03 failed %v", got)
	}
	if f = v.Verify(t.Context(), h100(t), time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)); !slices.Contains(failed(f), "chain") {
		t.Error("believed before its certificates begin")
	}
}

// With nothing to ask, what a report proves by itself is judged, and the rest
// is unknown.
func TestGenuineH100AskingNobody(t *testing.T) {
	for allow, want := range map[bool][]string{
		true:  nil,
		false: {"revocation", "driver manifest", "vbios manifest", "measurements"},
	} {
		f := (&nvidia.Verifier{AllowUnknown: allow}).Verify(t.Context(), h100(t), deviceDay)
		if got := failed(f); !slices.Equal(got, want) {
			t.Errorf("AllowUnknown %t: failed %v, want %v", allow, got, want)
		}
		if f.Status != evidence.Unknown {
			t.Errorf("status is %q, want unknown", f.Status)
		}
	}
}

// Firmware of 2023 does not name itself in reports: nothing then ties a report
// to the firmware that NVIDIA's certificates vouch for.
func TestEarlyH100(t *testing.T) {
	blob := encode(t, nvidia.Board{Report: read(t, "h100-early-report.hex"), Chain: read(t, "h100-early-chain.pem")})
	f := (&nvidia.Verifier{AllowUnknown: true}).Verify(t.Context(), blob, deviceDay)
	if got := failed(f); !slices.Equal(got, []string{"fwid"}) {
		t.Errorf("failed %v, want fwid alone", got)
	}
	if got := check(t, f, "fwid").Got; got != "not in the report" {
		t.Errorf("fwid is %q", got)
	}
	if got := check(t, f, "chain"); !got.OK {
		t.Errorf("chain: %s", got.Got)
	}
}

func TestEightGB100(t *testing.T) {
	t.Parallel()
	blob := read(t, "gb100x8.evidence")
	v := &nvidia.Verifier{AllowUnknown: true, MultiGPU: true, Count: 8}
	f := v.Verify(t.Context(), blob, deviceDay)
	if got := failed(f); got != nil {
		t.Errorf("failed %v, want none", got)
	}
	if got := check(t, f, "debug").Got; got != "flags 80" {
		t.Errorf("operational flags are %q", got)
	}
	if n := len(f.Platforms()); n != 8 {
		t.Errorf("%d platforms, want 8", n)
	}
	if got := f.Parts[7].Platform; got == f.Parts[0].Platform || !strings.HasPrefix(got, "41") {
		t.Errorf("GPU 7 is %s", got)
	}
	one := encode(t, decode(t, blob)[:1]...)
	for name, c := range map[string]struct {
		v    *nvidia.Verifier
		blob []byte
		want string
	}{
		"a mode that was not asked for":  {&nvidia.Verifier{AllowUnknown: true}, blob, "mode"},
		"one GPU is missing":             {&nvidia.Verifier{AllowUnknown: true, MultiGPU: true, Count: 8}, encode(t, decode(t, blob)[1:]...), "boards"},
		"one GPU counts twice":           {v, encode(t, append(decode(t, blob)[:7], decode(t, one)...)...), "boards"},
		"one GPU was asked with another": {&nvidia.Verifier{AllowUnknown: true, MultiGPU: true, Count: 2}, encode(t, append(decode(t, one), decode(t, h100(t))...)...), "nonce"},
	} {
		if got := failed(c.v.Verify(t.Context(), c.blob, deviceDay)); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: failed %v, want %s", name, got, c.want)
		}
	}
}

// GPUs that speak over switches in the clear are refused: whoever owns the
// switch reads along.
func TestProtectedPCIe(t *testing.T) {
	boards, err := nvidia.Import(read(t, "h100x4-ppcie.json"))
	if err != nil {
		t.Fatal(err)
	}
	f := (&nvidia.Verifier{AllowUnknown: true, MultiGPU: true, Count: 4}).Verify(t.Context(), encode(t, boards...), deviceDay)
	if got := failed(f); !slices.Equal(got, []string{"mode"}) {
		t.Errorf("failed %v, want mode alone", got)
	}
	blob := encode(t, nvidia.Board{Report: read(t, "nvswitch-report.bin"), Chain: read(t, "h100-chain.pem")})
	f = (&nvidia.Verifier{AllowUnknown: true}).Verify(t.Context(), blob, deviceDay)
	if got := check(t, f, "format"); got.OK || got.Got != nvidia.ErrSwitch.Error() {
		t.Errorf("an NVSwitch's report: %+v", got)
	}
}

// A byte changed anywhere in a genuine report or chain is noticed.
func TestEveryByteCounts(t *testing.T) {
	report, chain := read(t, "h100-report.bin"), read(t, "h100-chain.pem")
	v := &nvidia.Verifier{AllowUnknown: true}
	ends := map[string]int{ // where sections end
		"request": 37, "response header": 45, "measurements": 45 + 3520, "gpu nonce": 45 + 3552, "fields": len(report) - 96, "signature": len(report),
	}
	for section, end := range ends {
		for _, at := range []int{end - 1, end - 5} {
			b := slices.Clone(report)
			b[at] ^= 1
			if f := v.Verify(t.Context(), encode(t, nvidia.Board{Report: b, Chain: chain}), deviceDay); len(failed(f)) == 0 {
				t.Errorf("%s: byte %d changed, and believed", section, at)
			}
		}
	}
	for at := 60; at < len(chain); at += 331 {
		b := slices.Clone(chain)
		b[at] ^= 3
		if f := v.Verify(t.Context(), encode(t, nvidia.Board{Report: report, Chain: b}), deviceDay); len(failed(f)) == 0 {
			t.Errorf("certificates: byte %d changed, and believed", at)
		}
	}
	for n := range 64 {
		cut := len(report) * n / 64
		if f := v.Verify(t.Context(), encode(t, nvidia.Board{Report: report[:cut], Chain: chain}), deviceDay); check(t, f, "format").OK {
			t.Errorf("%d of %d bytes of the report are accepted as one", cut, len(report))
		}
	}
}

// A genuine manifest stays one only as long as nobody touches it.
func TestManifestBytes(t *testing.T) {
	document := read(t, "collateral/NV_GPU_DRIVER_GH100_550.90.07.swidtag")
	m, err := nvidia.ParseManifest(document)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(nvidia.ManifestRoot()); err != nil {
		t.Fatal(err)
	}
	if m.Version != "550.90.07" || m.Product != "GH100" || len(m.Expected) != 21 {
		t.Errorf("manifest is of %s %s with %d measurements", m.Product, m.Version, len(m.Expected))
	}
	if err := m.Verify(nvidia.DeviceRoot()); err == nil {
		t.Error("verified under another root")
	}
	text := string(document)
	for name, changed := range map[string]string{
		"a digit of a measurement":     strings.Replace(text, `index="7" active="True" alternatives="1" ns2:Hash0="`, `index="7" active="True" alternatives="1" ns2:Hash0="00`, 1),
		"a measurement made inactive":  strings.Replace(text, `active="True"`, `active="False"`, 1),
		"the version":                  strings.Replace(text, "550.90.07", "550.90.08", 1),
		"a space":                      strings.Replace(text, "\n    <ns0:Payload", "\n     <ns0:Payload", 1),
		"a comment":                    strings.Replace(text, "<ns0:Payload", "<!-- --><ns0:Payload", 1),
		"a document type":              `<!DOCTYPE x [<!ENTITY y "z">]>` + text,
		"an instruction":               `<?php x?>` + text,
		"a second root":                text + "<a/>",
		"the reference":                strings.Replace(text, `URI=""`, `URI="#x"`, 1),
		"the digest algorithm":         strings.Replace(text, "xmldsig-more#sha384", "xmlenc#sha256", 1),
		"the canonical form":           strings.Replace(text, "2006/12/xml-c14n11", "2001/10/xml-exc-c14n#", 1),
		"a transform less":             strings.Replace(text, `<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"/>`, "", 1),
		"the digest":                   strings.Replace(text, "<ds:DigestValue>", "<ds:DigestValue>AAAA", 1),
		"the signature":                strings.Replace(text, "<ds:SignatureValue>", "<ds:SignatureValue>AAAA", 1),
		"no signature":                 text[:strings.Index(text, "<ds:Signature")] + "</SoftwareIdentity>",
		"another signature beside":     strings.Replace(text, "<ds:Signature ", `<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/><ds:Signature `, 1),
		"a prefix bound to another":    strings.Replace(text, `xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384"`, `xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha512"`, 1),
		"a namespace that nobody uses": strings.Replace(text, "<SoftwareIdentity ", `<SoftwareIdentity xmlns:x="y" `, 1),
		"an attribute twice":           strings.Replace(text, `corpus="false"`, `corpus="false" corpus="false"`, 1),
		"a payload inside the signature": strings.Replace(text, "</ds:X509Data></ds:KeyInfo>",
			`</ds:X509Data></ds:KeyInfo><ns0:Payload><ns0:Resource/></ns0:Payload>`, 1) + " ",
	} {
		if changed == text {
			t.Errorf("%s: the test changes nothing", name)
		}
		m, err := nvidia.ParseManifest([]byte(changed))
		if err == nil {
			err = m.Verify(nvidia.ManifestRoot())
		}
		if name == "a payload inside the signature" { // outside what is signed, and not looked at
			if err != nil || len(m.Expected) != 21 {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s changed, and verified", name)
		}
	}
	// Forms that mean the same have the same canonical form.
	same := strings.Replace(text, `corpus="false" name="GH100"`, `name="GH100"   corpus='false'`, 1)
	if m, err = nvidia.ParseManifest([]byte(same)); err != nil || m.Verify(nvidia.ManifestRoot()) != nil {
		t.Error("attributes in another order: refused")
	}
}
