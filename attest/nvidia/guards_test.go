package nvidia_test

import (
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/nvidia"
)

// Forms of signature that the standard allows and NVIDIA never makes are
// refused, though they are signed.
func TestOneFormOfSignature(t *testing.T) {
	g, err := insecure.NewGPUAuthority()
	if err != nil {
		t.Fatal(err)
	}
	const transform = `<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"></ds:Transform>`
	for _, c := range []struct{ name, old, new, want string }{
		{"as it should be", "", "", ""},
		{"of a part", `URI=""`, `URI="#x"`, "want the whole document"},
		{"canonical form", `CanonicalizationMethod Algorithm="http://www.w3.org/2006/12/xml-c14n11"`, `CanonicalizationMethod Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"`, "CanonicalizationMethod is"},
		{"algorithm", "ecdsa-sha384", "ecdsa-sha512", "SignatureMethod is"},
		{"digest", "xmldsig-more#sha384", "xmlenc#sha512", "DigestMethod is"},
		{"a transform less", transform, "", "1 elements Transform"},
		{"a transform more", transform, transform + transform, "3 elements Transform"},
		{"a transform with parameters", transform, strings.Replace(transform, "></", "><ds:XPath></ds:XPath></", 1), "without parameters"},
		{"no reference", "ds:Reference", "ds:Elsewhere", "0 elements Reference"},
	} {
		change := func(info string) string {
			changed := strings.ReplaceAll(info, c.old, c.new)
			if c.old != "" && changed == info {
				t.Errorf("%s: the test changes nothing", c.name)
			}
			return changed
		}
		if c.old == "" {
			change = nil
		}
		g.Publish(insecure.GPUCollateral{SignedInfo: change})
		document, err := g.Manifest(t.Context(), "NV_GPU_DRIVER_GH100_550.1")
		if err != nil {
			t.Fatal(err)
		}
		m, err := nvidia.ParseManifest(document)
		if err != nil {
			t.Fatal(err)
		}
		err = m.Verify(g.Anchors().Manifest)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}

// One simulated GPU among genuine ones makes the whole simulated, wherever it
// stands; and a test root that says nothing of manifests is none.
func TestSimulatedAmongGenuine(t *testing.T) {
	real, err := insecure.NewGPUAuthority()
	if err != nil {
		t.Fatal(err)
	}
	test, err := insecure.NewGPUAuthority()
	if err != nil {
		t.Fatal(err)
	}
	var boards []nvidia.Board
	for i, by := range []*insecure.GPUAuthority{real, test} {
		raw, err := by.Guest(insecure.GPU{Name: string(rune('a' + i))}).Evidence(t.Context(), [32]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		one, err := nvidia.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		boards = append(boards, one...)
	}
	v := &nvidia.Verifier{Anchors: *real.Anchors(), Test: test.Anchors()}
	for name, c := range map[string]struct {
		boards   []nvidia.Board
		insecure bool
	}{
		"genuine": {boards[:1], false}, "simulated": {boards[1:], true},
		"simulated last": {boards, true}, "simulated first": {[]nvidia.Board{boards[1], boards[0]}, true},
	} {
		raw, err := nvidia.Encode(c.boards)
		if err != nil {
			t.Fatal(err)
		}
		f := v.Verify(t.Context(), raw, time.Now())
		if failed, bad := f.Checks.Failed(); bad || f.Insecure != c.insecure {
			t.Errorf("%s: %+v, insecure %v", name, failed, f.Insecure)
		}
	}
	half := *test.Anchors()
	half.Manifest = nil
	raw, err := nvidia.Encode(boards[1:])
	if err != nil {
		t.Fatal(err)
	}
	if _, bad := (&nvidia.Verifier{Anchors: *real.Anchors(), Test: &half}).Verify(t.Context(), raw, time.Now()).Checks.Failed(); !bad {
		t.Error("believed under half a test root")
	}
}
