package measure

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// linux is an executable that is a Linux kernel too, with a boot header.
func linux() []byte {
	x := executable().bytes
	// The header of the boot protocol lies where the sections' table ends.
	b := append(bytes.Clone(x[:testHeaders]), x[testHeaders:]...)
	binary.LittleEndian.PutUint32(b[0x202:], setupSignature)
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	b[0x211] = loadedHigh
	binary.LittleEndian.PutUint32(b[0x22c:], 0x7fffffff)
	b[0x236] = above4G
	return b
}

func launch() *Launch {
	return &Launch{
		Firmware: firmware(), Kernel: linux(), Initrd: strings.NewReader("initial RAM disk"),
		Cmdline: "roothash=00 console=hvc0 cocoon_gpu", Events: BootEvents(strings.Repeat("ab", 32), false, false),
	}
}

func expect(t *testing.T, l *Launch) Expected {
	t.Helper()
	e, err := l.Expect()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e Expected) value(name string) Value {
	for _, v := range e {
		if v.Name == name {
			return v
		}
	}
	return Value{}
}

// chain extends the digests of the texts, spelled out: every step is
// SHA-384(register ‖ SHA-384(text)).
func chain(digests ...[48]byte) string {
	var r [48]byte
	for _, d := range digests {
		r = sha512.Sum384(append(append([]byte{}, r[:]...), d[:]...))
	}
	return hex.EncodeToString(r[:])
}

func utf16le(s string) []byte {
	var b []byte
	for _, c := range s + "\x00" {
		b = append(b, byte(c), 0)
	}
	return b
}

func TestExpect(t *testing.T) {
	e := expect(t, launch())
	kernel, _ := Authenticode(linux())
	initrd := sha512.Sum384([]byte("initial RAM disk"))
	for name, want := range map[string]string{
		MRTD:  func() string { f, _ := ParseFirmware(firmware()); return f.MRTD(PageByPage).String() }(),
		RTMR1: chain(kernel, sha512.Sum384([]byte("Calling EFI Application from Boot Option")), sha512.Sum384([]byte{0, 0, 0, 0}), sha512.Sum384([]byte("Exit Boot Services Invocation")), sha512.Sum384([]byte("Exit Boot Services Returned with Success"))),
		RTMR2: chain(sha512.Sum384(utf16le("roothash=00 console=hvc0 cocoon_gpu initrd=initrd")), initrd),
		RTMR3: chain(sha512.Sum384([]byte("cocoon:spec.tree="+strings.Repeat("ab", 32))), sha512.Sum384([]byte("cocoon:tdx_inited"))),
	} {
		if got := e.value(name); !got.Known || got.Value.String() != want {
			t.Errorf("%s is %v %s, want %s", name, got.Known, got.Value, want)
		}
	}
	if first := e.value(RTMR2).Others; len(first) != 1 || first[0].Value.String() != chain(sha512.Sum384(utf16le("initrd=initrd roothash=00 console=hvc0 cocoon_gpu")), initrd) {
		t.Errorf("RTMR2 of later firmware: %v", first)
	}
	for i, name := range Names {
		if e[i].Name != name {
			t.Errorf("register %d is %s, want %s", i, e[i].Name, name)
		}
	}
	if got := strings.Join(e.Unknown(), " "); got != RTMR0 {
		t.Errorf("unknown: %s, want rtmr0 alone: nothing in the files says it", got)
	}
	if h, ok := e.ImageHash(); ok {
		t.Errorf("image hash %s without RTMR0", h)
	}
}

// The golden value of RTMR3 is what sha384sum and xxd make of the events.
func TestBootEvents(t *testing.T) {
	tree := strings.Repeat("ab", 32)
	for _, c := range []struct {
		debug, older bool
		want         string
	}{
		{false, false, "cocoon:spec.tree=" + tree + "|cocoon:tdx_inited"},
		{false, true, "cocoon:spec.tree=" + tree + "|cocoon:tdx_inited"},
		{true, false, "cocoon:cocoon_debug|cocoon:spec.tree=" + tree + "|cocoon:tdx_inited"},
		{true, true, "cocoon:spec.tree=" + tree + "|cocoon:cocoon_debug|cocoon:tdx_inited"},
	} {
		if got := strings.Join(BootEvents(tree, c.debug, c.older), "|"); got != c.want {
			t.Errorf("BootEvents(%v, %v) = %s, want %s", c.debug, c.older, got, c.want)
		}
	}
	r, err := TextEvents(BootEvents(tree, false, false)...)
	if want := "b0bc01fc10876c7a5bd51a50396bd2389ace06854cd402d44fe0310376b5cf030fbf4468ec92eef19ef8b047a0c4ed40"; err != nil || r.String() != want {
		t.Errorf("RTMR3 is %s, %v, want %s", r, err, want)
	}
	if r, err := TextEvents(); err != nil || r != (Register{}) {
		t.Errorf("no events leave %s, %v, want zeros", r, err)
	}
	if _, err := TextEvents("two\nlines"); err == nil {
		t.Error("an event of two lines was taken: the guest refuses it")
	}
}

// What QEMU writes into a kernel, byte by byte.
func TestPatchKernel(t *testing.T) {
	k := linux()
	p, err := patchKernel(k, 0x12345, DefaultMemory)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int]uint32{
		0x210: 0xb0 | 0x81<<8, 0x218: (0x80000000 - 0x28000 - 1 - 0x12345) &^ 0xfff, 0x21c: 0x12345, 0x224: 0xfe00, 0x228: 0x20000,
	} {
		if got := binary.LittleEndian.Uint32(p[at:]); got != want {
			t.Errorf("%#x: %#x, want %#x", at, got, want)
		}
	}
	if k[0x210] != 0 {
		t.Error("the kernel itself was written to")
	}
	small, err := patchKernel(k, 0x12345, 1<<30)
	if want := uint32(1<<30-0x28000-1-0x12345) &^ 0xfff; err != nil || binary.LittleEndian.Uint32(small[0x218:]) != want {
		t.Errorf("with 1 GiB: %#x, %v, want %#x", binary.LittleEndian.Uint32(small[0x218:]), err, want)
	}
	for want, refuse := range map[string]func() ([]byte, int64, uint64){
		"no Linux boot header":  func() ([]byte, int64, uint64) { return executable().bytes, 1, DefaultMemory },
		"boot protocol":         func() ([]byte, int64, uint64) { b := linux(); b[0x206] = 2; return b, 1, DefaultMemory },
		"too many":              func() ([]byte, int64, uint64) { return linux(), 1 << 31, DefaultMemory },
		"too many for 65536 of": func() ([]byte, int64, uint64) { return linux(), 1, 1 << 16 },
	} {
		if _, err := patchKernel(refuse()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

// The hash of a genuine machine's registers is the one that the network's own
// program computed of the same quote.
func TestImageHashOfAGenuineQuote(t *testing.T) {
	raw, err := os.ReadFile("../tdx/testdata/quote.dat")
	if err != nil {
		t.Fatal(err)
	}
	q, err := tdx.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	b := q.Body
	got := ImageHash([8]Register{b.MRTD, b.MRConfigID, b.MROwner, b.MROwnerConfig, b.RTMR[0], b.RTMR[1], b.RTMR[2], b.RTMR[3]})
	if want := "04b3afd931d28680af91a15b09d672c40ad6b141f7f9089a8d67d595220f7436"; got.String() != want {
		t.Errorf("image hash is %s, want %s", got, want)
	}
}

func TestCompare(t *testing.T) {
	l := launch()
	l.RTMR0 = &Register{1, 2, 3}
	e := expect(t, l)
	var machine [8]Register
	for i, v := range e {
		machine[i] = v.Value
	}
	hash, ok := e.ImageHash()
	if !ok || hash != ImageHash(machine) {
		t.Errorf("image hash is %s, %v, want that of the registers", hash, ok)
	}
	if bad, failed := e.Compare(machine).Failed(); failed {
		t.Errorf("the expected machine fails: %v", bad)
	}
	for i, name := range Names { // one register differs at a time
		m := machine
		m[i][47] ^= 1
		if bad, failed := e.Compare(m).Failed(); !failed || bad.Name != name || bad.Want != e[i].Value.String() {
			t.Errorf("with another %s: %v, want it to be named", name, bad)
		}
	}
	for i, v := range e { // other versions of the same programs are no mismatch
		for _, other := range v.Others {
			m := machine
			m[i] = other.Value
			if bad, failed := e.Compare(m).Failed(); failed {
				t.Errorf("%s when %s: %v", v.Name, other.When, bad)
			}
		}
	}
}

// What the files do not say is never made up.
func TestExpectLeavesUnknown(t *testing.T) {
	e := expect(t, &Launch{})
	if got := strings.Join(e.Unknown(), " "); got != "mrtd rtmr0 rtmr1 rtmr2 rtmr3" {
		t.Errorf("unknown of nothing: %s", got)
	}
	if checks := e.Compare([8]Register{}); len(checks) != 3 {
		t.Errorf("compared %v, want what QEMU leaves zero alone", checks)
	}
	if _, err := json.Marshal(e); err != nil {
		t.Error(err)
	}
}

func TestExpectRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*Launch){
		"no TDX metadata":       func(l *Launch) { l.Firmware = make([]byte, 100) },
		"not an EFI executable": func(l *Launch) { l.Kernel = []byte("kernel") },
		"command line has":      func(l *Launch) { l.Cmdline = "a\n" },
		"at byte 1":             func(l *Launch) { l.Cmdline = "aé" },
		"event:":                func(l *Launch) { l.Events = []string{"\x00"} },
	} {
		l := launch()
		spoil(l)
		if _, err := l.Expect(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

// An initrd without bytes is none: the firmware adds no word for it.
func TestExpectWithoutInitrd(t *testing.T) {
	want := chain(sha512.Sum384(utf16le("quiet")))
	for name, l := range map[string]*Launch{
		"none": {Kernel: linux(), Cmdline: "quiet"}, "empty": {Kernel: linux(), Cmdline: "quiet", Initrd: strings.NewReader("")},
	} {
		if got := expect(t, l).value(RTMR2); got.Value.String() != want || len(got.Others) != 0 {
			t.Errorf("%s: RTMR2 is %s, %v, want %s alone", name, got.Value, got.Others, want)
		}
	}
}

// spec makes a folder with all that a guest treats in its own way. The hash is
// what its script (cocoon-prepare-spec) made of it with Git 2.39 and SHA-256.
func spec(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		".gitignore": "runtime\n", "init": "#!/bin/sh\n", "worker-config.json": `{"a":1}`, "sub/file": "x", "sub-a/f": "y", "sub.b": "z",
		"sub/runtime/ignored": "q", "runtime/runtime.vars": "secret", "spec.meta": "old", "sub/spec.tree": "s",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if name == "init" {
			mode = 0o755
		}
		if err := os.WriteFile(p, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "hollow"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSpecTree(t *testing.T) {
	got, err := SpecTree(spec(t))
	if want := "80ed2caf77abd49252521fb55d4f98ff519616d07baf089fd290bed42d7a4513"; err != nil || got != want {
		t.Errorf("tree is %s, %v, want %s", got, err, want)
	}
}

func TestSpecTreeRefuses(t *testing.T) {
	write := func(name, content string) func(dir string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600) }
	}
	for want, spoil := range map[string]func(dir string) error{
		`pattern "*.log" is not`:  write(".gitignore", "*.log\n"),
		`pattern "/runtime" is`:   write("sub/.gitignore", "# top\n/runtime\n"),
		"attributes may change":   write(".gitattributes", "* text\n"),
		"want files and folders":  func(dir string) error { return os.Symlink("init", filepath.Join(dir, "link")) },
		"a repository inside":     func(dir string) error { return os.Mkdir(filepath.Join(dir, "sub/.git"), 0o755) },
		"10485761 bytes, want at": write("large", strings.Repeat("x", maxSpecFile+1)),
	} {
		dir := spec(t)
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := SpecTree(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	if _, err := SpecTree(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no file in it") {
		t.Errorf("empty folder: %v", err)
	}
}

func TestParseRegister(t *testing.T) {
	text := strings.Repeat("0a", 48)
	if r, err := ParseRegister(text); err != nil || r.String() != text {
		t.Errorf("ParseRegister = %s, %v", r, err)
	}
	for _, bad := range []string{"", text[:94], text + "00", strings.Repeat("g", 96)} {
		if _, err := ParseRegister(bad); err == nil {
			t.Errorf("ParseRegister(%q) was taken", bad)
		}
	}
}
