package snp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/attest/evidence"
)

// image builds the last page of an OVMF image that asks for the given areas.
func image(reset, hashes uint32, areas ...[3]uint32) []byte {
	b := make([]byte, pageSize)
	list := append([]byte("ASEV"), make([]byte, 12)...)
	binary.LittleEndian.PutUint32(list[4:], uint32(16+12*len(areas)))
	binary.LittleEndian.PutUint32(list[8:], 1)
	binary.LittleEndian.PutUint32(list[12:], uint32(len(areas)))
	for _, a := range areas {
		for _, v := range a {
			list = binary.LittleEndian.AppendUint32(list, v)
		}
	}
	const before = 1024
	copy(b[pageSize-before:], list)
	var table []byte
	entry := func(name string, content ...byte) {
		table = binary.LittleEndian.AppendUint16(append(table, content...), uint16(len(content)+18))
		table = append(table, guid(name)...)
	}
	word := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	entry("e47a6535-984a-4798-865e-4685a7bf8ec2", word(7)...) // somebody else's
	entry("dc886566-984a-4798-a75e-5585a7bf67cc", word(before)...)
	entry("7255371f-3a3b-4b04-927b-1da6efa8d454", append(word(hashes), word(0x400)...)...)
	entry("00f771de-1a7e-4fcb-890e-68c77e2fb44e", word(reset)...)
	table = binary.LittleEndian.AppendUint16(table, uint16(len(table)+18))
	table = append(table, guid("96b582de-1fb2-45f7-baea-a366c55a082d")...)
	copy(b[pageSize-32-len(table):], table)
	return b
}

// amdSev is what OVMF's build for measured boot says of itself, ovmfX64 the
// usual build (edk2-stable202405).
func amdSev() []byte {
	return image(0x80b004, 0x810c00, [3]uint32{0x800000, 0x9000, 1}, [3]uint32{0x80a000, 0x3000, 1}, [3]uint32{0x80d000, 0x1000, 2}, [3]uint32{0x80e000, 0x1000, 3},
		[3]uint32{0x80f000, 0x1000, 4}, [3]uint32{0x810000, 0x1000, 0x10}, [3]uint32{0x811000, 0xf000, 1})
}

func ovmfX64() []byte {
	return image(0x80b004, 0, [3]uint32{0x800000, 0x9000, 1}, [3]uint32{0x80a000, 0x3000, 1}, [3]uint32{0x80d000, 0x1000, 2}, [3]uint32{0x80e000, 0x1000, 3},
		[3]uint32{0x80f000, 0x1000, 4}, [3]uint32{0x810000, 0x10000, 1})
}

// The measurements are published ones, from the tests of virtee/sev-snp-measure
// 0.0.13, which virtee/sev's tests share. They begin with the digest of a
// firmware's own pages, which is published too, so that the firmware is not
// needed here, but for what it says of itself.
func TestPublishedMeasurements(t *testing.T) {
	const pages = "086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74"
	processor := QEMUProcessors["EPYC"]
	console := HashKernel(nil, nil, "console=ttyS0 loglevel=7")
	for _, c := range []struct {
		name   string
		launch Launch
		want   string
	}{
		{"no command line, features 0x21", Launch{VCPUs: 1, CPU: processor, Features: 0x21, Kernel: HashKernel(nil, nil, "")}, "329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198"},
		{"no command line", Launch{VCPUs: 1, CPU: processor, Kernel: HashKernel(nil, nil, "")}, "ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5"},
		{"a command line, features 0x21", Launch{VCPUs: 1, CPU: processor, Features: 0x21, Kernel: console}, "803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977"},
		{"a command line", Launch{VCPUs: 1, CPU: processor, Features: 1, Kernel: console}, "6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa"},
		{"no kernel, features 0x21", Launch{VCPUs: 1, CPU: processor, Features: 0x21}, "e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b"},
		{"no kernel", Launch{VCPUs: 1, CPU: processor}, "19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d"},
		{"four processors, features 0x21", Launch{VCPUs: 4, CPU: processor, Features: 0x21, Kernel: HashKernel(nil, nil, "")}, "4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942"},
		{"four processors", Launch{VCPUs: 4, CPU: processor, Kernel: HashKernel(nil, nil, "")}, "5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5"},
	} {
		f, err := parseFirmware(amdSev())
		if err != nil {
			t.Fatal(err)
		}
		seed, _ := hex.DecodeString(pages)
		m, err := c.launch.continued(digest(seed), f)
		if err != nil || hex.EncodeToString(m[:]) != c.want {
			t.Errorf("%s: %x, %v, want %s", c.name, m, err, c.want)
		}
	}
}

// Everything that goes into a launch changes what it measures as.
func TestMeasureTellsLaunchesApart(t *testing.T) {
	base := func() *Launch {
		return &Launch{Firmware: amdSev(), VCPUs: 2, CPU: QEMUProcessors["EPYC-Milan"], Kernel: HashKernel([]byte("kernel"), []byte("initrd"), "quiet")}
	}
	seen := map[evidence.Hash]string{}
	for name, change := range map[string]func(*Launch){
		"nothing":        func(*Launch) {},
		"firmware":       func(l *Launch) { l.Firmware[0] = 1 },
		"larger":         func(l *Launch) { l.Firmware = append(make([]byte, pageSize), l.Firmware...) },
		"processors":     func(l *Launch) { l.VCPUs = 3 },
		"processor":      func(l *Launch) { l.CPU = QEMUProcessors["EPYC-Genoa"] },
		"features":       func(l *Launch) { l.Features = 0x21 },
		"kernel":         func(l *Launch) { l.Kernel.Kernel[0]++ },
		"initrd":         func(l *Launch) { l.Kernel.Initrd[0]++ },
		"command line":   func(l *Launch) { l.Kernel = HashKernel([]byte("kernel"), []byte("initrd"), "debug") },
		"without hashes": func(l *Launch) { l.Kernel = nil },
	} {
		l := base()
		change(l)
		h, err := l.Image()
		if err != nil {
			t.Fatal(err)
		}
		if other := seen[h]; other != "" {
			t.Errorf("%s measures like %s", name, other)
		}
		seen[h] = name
	}
	a, _ := base().Measure()
	if b, _ := base().Measure(); a != b || evidence.HashOf(a[:]) != mustImage(t, base()) {
		t.Error("the same launch measures twice differently")
	}
}

func mustImage(t *testing.T, l *Launch) evidence.Hash {
	t.Helper()
	h, err := l.Image()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestMeasureRefuses(t *testing.T) {
	cut := func(change func([]byte)) []byte { b := amdSev(); change(b); return b }
	footer := pageSize - 32 - 18
	list := pageSize - 1024
	put := func(at int, v uint32) []byte {
		return cut(func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) })
	}
	for _, c := range []struct {
		name     string
		firmware []byte
		change   func(*Launch)
		want     string
	}{
		{"no firmware", nil, nil, "0 bytes"},
		{"half a page", amdSev()[:2048], nil, "2048 bytes"},
		{"zeros", make([]byte, pageSize), nil, "no OVMF image"},
		{"another table", cut(func(b []byte) { b[footer+2] ^= 1 }), nil, "no OVMF image"},
		{"table larger than the image", cut(func(b []byte) { binary.LittleEndian.PutUint16(b[footer:], 0xffff) }), nil, "no OVMF image"},
		{"table smaller than its entry", cut(func(b []byte) { binary.LittleEndian.PutUint16(b[footer:], 17) }), nil, "no OVMF image"},
		{"entry without a size", cut(func(b []byte) { binary.LittleEndian.PutUint16(b[footer-18:], 0) }), nil, "cannot be read"},
		{"no areas", image(1, 1), nil, "nothing about SEV-SNP"},
		{"too many areas", put(list+12, 1000), nil, "cannot be read"},
		{"areas beyond the end", image(1, 1, slices.Repeat([][3]uint32{{0, 0, 1}}, 65)...), nil, "cannot be read"},
		{"another version", put(list+8, 2), nil, "cannot be read"},
		{"not a list", put(list, 0), nil, "cannot be read"},
		{"half a page of memory", put(list+20, 0x800), nil, "whole pages"},
		{"an endless area", put(list+20, 0xfffff000), nil, "whole pages"},
		{"an unknown kind", put(list+24, 9), nil, "unknown kind 9"},
		{"hashes outside their area", image(1, 0x900000, [3]uint32{0x810000, 0x1000, 0x10}), nil, "keeps kernel hashes"},
		{"hashes across the area's end", image(1, 0x810ff0, [3]uint32{0x810000, 0x1000, 0x10}), nil, "keeps kernel hashes"},
		{"firmware without hashes", ovmfX64(), nil, "cannot be measured"},
		{"no processors", amdSev(), func(l *Launch) { l.VCPUs = 0 }, "0 processors"},
		{"no start for the others", image(0, 0x810c00, [3]uint32{0x810000, 0x1000, 0x10}), func(l *Launch) { l.VCPUs = 2 }, "2 processors"},
	} {
		l := &Launch{Firmware: c.firmware, VCPUs: 1, CPU: QEMUProcessors["EPYC"], Kernel: HashKernel(nil, nil, "")}
		if c.change != nil {
			c.change(l)
		}
		if _, err := l.Image(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func FuzzFirmware(f *testing.F) {
	f.Add(amdSev())
	f.Add(ovmfX64())
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseFirmware(b)
		if err == nil && (len(got.sections) == 0 || len(got.sections) > maxSections) {
			t.Errorf("%d areas", len(got.sections))
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add(append(append(bytes.Repeat([]byte{1}, 16), 24, 0, 0, 0, 1, 0, 0, 0), make([]byte, 25)...), false)
	f.Fuzz(func(t *testing.T, b []byte, vlek bool) {
		signer := VCEK
		if vlek {
			signer = VLEK
		}
		if certs, err := parseTable(b, signer); err != nil && certs != nil {
			t.Error("certificates besides an error")
		}
	})
}
