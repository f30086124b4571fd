package nvidia

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseReport(t *testing.T) {
	r, err := ParseReport(sample(t, "h100-report.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Driver != "550.90.07" || r.VBIOS != "96.00.9F.00.01" || r.Project != "1010" || r.ProjectSKU != "0200" || r.ChipSKU != "882" || r.Chip != "" {
		t.Errorf("report names %q %q %q %q %q %q", r.Driver, r.VBIOS, r.Project, r.ProjectSKU, r.ChipSKU, r.Chip)
	}
	if len(r.Measurements) != 64 || !r.NVDECDisabled || r.Mode != SinglePassthrough || len(r.Fields) != 14 {
		t.Errorf("%d measurements, decoder off %t, mode %s, %d fields", len(r.Measurements), r.NVDECDisabled, r.Mode, len(r.Fields))
	}
	boards, err := Decode(sample(t, "gb100x8.evidence"))
	if err != nil {
		t.Fatal(err)
	}
	if r, err = ParseReport(boards[3].Report); err != nil {
		t.Fatal(err)
	}
	if r.Chip != "GB100" || r.Mode != MultiPassthrough || !r.NVDECDisabled {
		t.Errorf("chip %q, mode %s, decoder off %t", r.Chip, r.Mode, r.NVDECDisabled)
	}
	d, err := ParseChain(boards[3].Chain)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.DriverManifest(d.Chip), "NV_GPU_CC_DRIVER_GB100_590.48.01"; got != want {
		t.Errorf("driver manifest is %s, want %s", got, want)
	}
	if got, want := r.VBIOSManifest(), "NV_GPU_VBIOS_G525_0220_886_9700D90035"; got != want {
		t.Errorf("VBIOS manifest is %s, want %s", got, want)
	}
}

// rewrite changes the opaque fields of the genuine report, whose signature is
// then wrong; parsing does not look at it.
func rewrite(t *testing.T, change func(fields []byte) []byte) []byte {
	raw := sample(t, "h100-report.bin")
	at, end := 45+3520+32, len(raw)-signatureSize
	fields := change(slices.Clone(raw[at+2 : end]))
	return slices.Concat(raw[:at], []byte{byte(len(fields)), byte(len(fields) >> 8)}, fields, raw[end:])
}

func TestParseReportRefuses(t *testing.T) {
	set := func(at int, b ...byte) []byte {
		raw := sample(t, "h100-report.bin")
		copy(raw[at:], b)
		return raw
	}
	field := func(b ...byte) []byte {
		return rewrite(t, func(f []byte) []byte { return append(f, b...) })
	}
	for name, raw := range map[string][]byte{
		"empty":                    nil,
		"too long":                 append(sample(t, "h100-report.bin"), make([]byte, maxReport)...),
		"trailing byte":            append(sample(t, "h100-report.bin"), 0),
		"SPDM 1.2":                 set(0, 0x12),
		"another request":          set(1, 0xe1),
		"no signature asked":       set(2, 0),
		"some blocks asked":        set(3, 1),
		"another slot":             set(36, 1),
		"an error":                 set(38, 0x7f),
		"no blocks":                set(41, 0),
		"a block less":             set(41, 63),
		"a block more":             set(41, 65),
		"all blocks":               set(41, 255),
		"record too long":          set(42, 0xff, 0xff, 0xff),
		"record too short":         set(42, 0, 0, 0),
		"first block is second":    set(45, 2),
		"no DMTF block":            set(46, 2),
		"block's size":             set(47, 50),
		"raw measurement":          set(49, 0x81),
		"measurement of 32 bytes":  set(50, 32),
		"fields too long":          set(45+3520+32, 0xff, 0xff),
		"fields too short":         set(45+3520+32, 0, 0),
		"a field's header cut":     field(1, 0, 1),
		"a field's value cut":      field(1, 0, 2, 0, 9),
		"a field twice":            field(3, 0, 1, 0, '5'),
		"list of switches cut":     field(22, 0, 7, 0, 1, 2, 3, 4, 5, 6, 7),
		"switches in single mode":  field(34, 0, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
		"a mode that is not known": field(36, 0, 1, 0, 3),
		"chip with a slash":        field(35, 0, 3, 0, 'G', '/', 'B'),
		"chip that hides":          field(35, 0, 2, 0, '.', '.'),
		"VBIOS of seven bytes":     rewrite(t, func(f []byte) []byte { return append([]byte{6, 0, 7, 0}, f[5:]...) }),
		"VBIOS with more":          rewrite(t, func(f []byte) []byte { f[11] = 1; return f }),
		"driver without text":      rewrite(t, func(f []byte) []byte { return bytes.Replace(f, []byte("550.90.07\x00"), make([]byte, 10), 1) }),
	} {
		if r, err := ParseReport(raw); err == nil {
			t.Errorf("%s: parsed as %+v", name, r.Driver)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		got, least string
		base       int
		want       bool
	}{
		{"550.90.07", "550.54.15", 10, true}, {"550.90.07", "550.90.07", 10, true}, {"550.9", "550.54", 10, false}, {"535.1", "550", 10, false},
		{"550.54", "550.54.1", 10, false}, {"96.00.9F.00.01", "96.00.74.00.1F", 16, true}, {"96.00.0A.00.01", "96.00.74", 16, false},
		{"x", "550", 10, false}, {"550", "", 10, false}, {"9F", "50", 10, false},
	} {
		if got := notOlder(c.got, c.least, c.base); got != c.want {
			t.Errorf("notOlder(%q, %q) = %t, want %t", c.got, c.least, got, c.want)
		}
	}
}

// Examples of canonical form, after those of W3C Canonical XML 1.0, section 3,
// as far as this subset goes.
func TestCanonical(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty elements, white space in tags", `<a ><b   x = "1"  /></a  >`, `<a><b x="1"></b></a>`},
		{"order: namespaces, then attributes by namespace", `<e xmlns:b="http://b" b:z="1" y="2" x="3" xmlns:a="http://z" xmlns="http://d" a:a="4"/>`,
			`<e xmlns="http://d" xmlns:a="http://z" xmlns:b="http://b" x="3" y="2" b:z="1" a:a="4"></e>`},
		{"superfluous declarations", `<a xmlns="u" xmlns:p="v"><b xmlns="u"><c xmlns:p="w"/></b></a>`, `<a xmlns="u" xmlns:p="v"><b><c xmlns:p="w"></c></b></a>`},
		{"characters", `<a b='"&lt;&amp;&#9;&#10;&#13;>' >&lt;&gt;&amp;&#13;"'</a>`, `<a b="&quot;&lt;&amp;&#x9;&#xA;&#xD;>">&lt;&gt;&amp;&#xD;"'</a>`},
		{"CDATA", `<a><![CDATA[<&]]></a>`, `<a>&lt;&amp;</a>`},
		{"line ends", "<a>\r\nb\r</a>", "<a>\nb\n</a>"},
		{"declaration", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a/>\n", "<a></a>"},
	} {
		e, err := parseXML([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := string(e.canonical(nil)); got != c.want {
			t.Errorf("%s: canonical form is\n%s, want\n%s", c.name, got, c.want)
		}
	}
	// Part of a document shows the namespaces around it, and leaves out what is
	// skipped.
	e, err := parseXML([]byte(`<a xmlns="u" xmlns:p="v" xmlns:q="x"><p:b xmlns:p="w" i="1"><c/><d/></p:b></a>`))
	if err != nil {
		t.Fatal(err)
	}
	b := e.elements()[0]
	if got, want := string(b.canonical(b.elements()[0])), `<p:b xmlns="u" xmlns:p="w" xmlns:q="x" i="1"><d></d></p:b>`; got != want {
		t.Errorf("part of a document is\n%s, want\n%s", got, want)
	}
}

func TestParseXMLRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "text": "a", "open": "<a>", "crossed": "<a><b></a></b>", "closed twice": "<a/></a>", "two": "<a/><b/>",
		"prefix": "<p:a/>", "attribute's prefix": `<a p:b=""/>`, "same attribute by two prefixes": `<a xmlns:p="u" xmlns:q="u" p:b="" q:b=""/>`,
		"too many declarations": "<a" + declarations(maxDeclared+1) + "/>",
		"declared twice":        `<a xmlns:p="u" xmlns:p="v"/>`, "declared away": `<a xmlns="u"><b xmlns=""/></a>`, "xml attribute": `<a xml:lang="x"/>`,
		"entity": "<a>&x;</a>", "document type": `<!DOCTYPE a><a/>`, "comment": "<a><!-- --></a>", "instruction": "<a><?b?></a>", "text after": "<a/>b",
		"deep": strings.Repeat("<a>", maxDepth+1) + strings.Repeat("</a>", maxDepth+1), "many": "<a>" + strings.Repeat("<b/>", maxNodes) + "</a>",
		"large": "<a>" + strings.Repeat(" ", maxDocument) + "</a>", "Latin-1": "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a/>",
	} {
		if _, err := parseXML([]byte(text)); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

// declarations are those of n prefixes.
func declarations(n int) (text string) {
	for i := range n {
		text += fmt.Sprintf(` xmlns:p%d="u"`, i)
	}
	return text
}

func TestParseXMLDeclarations(t *testing.T) {
	if _, err := parseXML([]byte("<a" + declarations(maxDeclared) + "/>")); err != nil {
		t.Error(err)
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add(sample(f, "h100-report.bin"))
	f.Add(sample(f, "nvswitch-report.bin"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ParseReport(raw)
		if err != nil {
			return
		}
		if len(r.signed())+signatureSize != len(raw) || strings.ContainsAny(r.DriverManifest("GH100")+r.VBIOSManifest(), "/\\ ?#%") {
			t.Errorf("parsed as %s, %s", r.Driver, r.VBIOS)
		}
	})
}

func FuzzParseChain(f *testing.F) {
	f.Add(sample(f, "h100-chain.pem"))
	boards, err := Decode(sample(f, "gb100x8.evidence"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(boards[0].Chain)
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseChain(text)
		if err == nil && len(d.certs) != deviceChain {
			t.Errorf("%d certificates", len(d.certs))
		}
		if err == nil {
			verifyChain(d.certs, DeviceRoot())
			d.checkChip()
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(sample(f, "gb100x8.evidence"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		boards, err := Decode(raw)
		if err != nil {
			return
		}
		again, err := Encode(boards)
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("encoded again it differs: %v", err)
		}
	})
}

func FuzzImport(f *testing.F) {
	f.Add(sample(f, "h100x4-ppcie.json"))
	f.Fuzz(func(t *testing.T, raw []byte) { Import(raw) })
}

func FuzzParseManifest(f *testing.F) {
	f.Add(sample(f, "collateral/NV_GPU_VBIOS_1010_0200_882_96009F0001.swidtag"))
	f.Add([]byte(`<a xmlns:b="c" b:d="&lt;">e</a>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m, err := ParseManifest(raw); err == nil {
			m.Verify(ManifestRoot())
		}
		// The canonical form is its own canonical form.
		e, err := parseXML(raw)
		if err != nil {
			return
		}
		once := e.canonical(nil)
		e, err = parseXML(once)
		if err != nil {
			t.Fatalf("canonical form does not parse: %v\n%s", err, once)
		}
		if twice := e.canonical(nil); !bytes.Equal(once, twice) {
			t.Errorf("canonical form\n%s becomes\n%s", once, twice)
		}
	})
}

func FuzzRevocation(f *testing.F) {
	d, err := ParseChain(sample(f, "h100-chain.pem"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample(f, "collateral/"+statusFile(d.certs[1])))
	f.Fuzz(func(t *testing.T, raw []byte) {
		lifeOfAnswer(raw)
		s, err := checkRevocation(d.certs[1], d.certs[2], raw)
		if err == nil {
			s.at(time.Now())
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add(sample(f, "nras-token.json"), sample(f, "nras-keys.json"))
	f.Fuzz(func(t *testing.T, token, keys []byte) {
		set, err := parseKeys(keys)
		if err != nil {
			set = keySet{}
		}
		b, err := parseBundle(token)
		if err != nil {
			return
		}
		if w, _, err := b.open(set); err == nil {
			b.checkDigests(w)
		}
	})
}
