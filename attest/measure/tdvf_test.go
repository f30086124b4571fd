package measure

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
)

// firmware makes a small image with the same kinds of sections as OVMF's:
// variables, code, and memory that is not in the image.
func firmware() []byte {
	image := make([]byte, 0x4000)
	for i := range image {
		image[i] = byte(i*7 + i>>8)
	}
	sections := []Section{
		{0x1000, 0x2000, 0xffffd000, 0x2000, sectionBFV, measured},
		{0, 0x1000, 0xffffc000, 0x1000, sectionCFV, 0},
		{0, 0, 0x810000, 0x3000, sectionTemp, 0},
		{0, 0, 0x809000, 0x2000, sectionHOB, 0},
		{0, 0, 0x900000, 0x1000, sectionTemp, addedLater},
	}
	descriptor := []byte("TDVF")
	for _, v := range []uint32{uint32(16 + 32*len(sections)), 1, uint32(len(sections))} {
		descriptor = binary.LittleEndian.AppendUint32(descriptor, v)
	}
	for _, s := range sections {
		descriptor, _ = binary.Append(descriptor, binary.LittleEndian, s)
	}
	marker := guid(0xe9eaf9f3, 0x168e, 0x44d5, [8]byte{0xa8, 0xeb, 0x7f, 0x4d, 0x87, 0x38, 0xf6, 0xae})
	copy(image[descriptorAt-16:], append(marker[:], descriptor...)) // td-shim looks for the marker, QEMU does not

	table := append([]byte("something else"), entryEnd(14, [16]byte{1})...)
	table = binary.LittleEndian.AppendUint32(table, uint32(len(image)-descriptorAt))
	table = append(table, entryEnd(4, metadataGUID)...)
	table = append(table, entryEnd(len(table), footerGUID)...)
	copy(image[len(image)-32-len(table):], table)
	return image
}

const descriptorAt = 0x3800

// entryEnd ends an entry of a table after its data.
func entryEnd(data int, name [16]byte) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, uint16(data+18)), name[:]...)
}

// The golden values are those of td-shim's own tool (td_shim_tee_info_hash.py)
// for the same image; it knows the first order only.
func TestMRTD(t *testing.T) {
	f, err := ParseFirmware(firmware())
	if err != nil {
		t.Fatal(err)
	}
	for order, want := range map[PageOrder]string{
		PageByPage:       "4d0957e55cc68c737f3ef2b257170a8fed8d0cf35aee2b54e7e050cea24a422d73ea62ab223ba2614758cf77eba4b485",
		SectionBySection: "d051efa77af6e0ad6371fde09017636872ae656587326cf21c1b42a269fa95303f28f1097266b0f4b44a4e9d42e5d6c7",
	} {
		if got := f.MRTD(order).String(); got != want {
			t.Errorf("MRTD in order %d is %s, want %s", order, got, want)
		}
	}
}

// Debian's firmware of two releases, of which the second is a revision away
// from what the network's images use. The values of the first order are those
// of td-shim's tool too. No quote of a machine started with these was at hand.
func TestMRTDOfDebian(t *testing.T) {
	known := map[string][2]string{
		"7b456907dd0786d415999e801a1ac4637b8ed4d7cf5378cfc6edbe5e574dd773": { // 2022.11-6+deb12u2
			"4c7206f0f483c524f12c366c711e9049030a8d47c471ee5aa9c4999a08de4057fb887fed0744d5631a212967fb231c47",
			"acccbcc870a381adab0d3919d90a7f268ac3b0364771f202ed4bb4e892d045b33db3b32e6924cba830a724eed443f7e1",
		},
		"14954040cc754ade0c625ac3470ea46d4c14318b5b1396de4ef77090203d76db": { // 2025.02-8+deb13u1
			"bdc6fb145880f06f30c8b346b8dce2a99d9351b56892df22f80fcf6574caa9f9c31df8e8576d53b4d0cd1c3f28910e11",
			"456f07902150d008bb913c3e1e84e9297f735a6c83cd2a957a1f0a8bbedb06df188e3837ae48d32c73d473d097dc0db2",
		},
	}
	image, err := os.ReadFile("/usr/share/ovmf/OVMF.fd")
	if err != nil {
		t.Skip("Debian's ovmf is not installed")
	}
	sum := sha256.Sum256(image)
	want, ok := known[hex.EncodeToString(sum[:])]
	if !ok {
		t.Skip("this release of Debian's ovmf has no golden value")
	}
	f, err := ParseFirmware(image)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.MRTD(PageByPage).String(); got != want[0] {
		t.Errorf("MRTD is %s, want %s", got, want[0])
	}
	if got := f.MRTD(SectionBySection).String(); got != want[1] {
		t.Errorf("MRTD by sections is %s, want %s", got, want[1])
	}
}

// Every byte that is measured counts, no other does.
func TestMRTDCoversTheCodeAlone(t *testing.T) {
	f, _ := ParseFirmware(firmware())
	want := f.MRTD(PageByPage)
	for at, counts := range map[int]bool{0x1000: true, 0x2fff: true, 0xfff: false, 0: false, 0x3000: false, 0x2345: true} {
		image := firmware()
		image[at] ^= 0x80
		f, err := ParseFirmware(image)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.MRTD(PageByPage); (got != want) != counts {
			t.Errorf("byte %#x changes MRTD: %v, want %v", at, got != want, counts)
		}
	}
}

// One thing is wrong at a time.
func TestParseFirmwareRefuses(t *testing.T) {
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	section := func(i, field int, v uint32) func([]byte) []byte { return put32(descriptorAt+16+32*i+field, v) }
	end := len(firmware()) - 32
	for _, c := range []struct {
		name, want string
		spoil      func([]byte) []byte
	}{
		{"empty", "no TDX metadata", func([]byte) []byte { return nil }},
		{"too short", "no TDX metadata", func(b []byte) []byte { return b[len(b)-49:] }},
		{"too long", "want at most", func([]byte) []byte { return make([]byte, maxFirmware+1) }},
		{"cut at the end", "no TDX metadata", func(b []byte) []byte { return b[:len(b)-1] }},
		{"footer's name", "no table at its end", func(b []byte) []byte { b[end-1]++; return b }},
		{"footer's length beyond the image", "no table at its end", func(b []byte) []byte { b[end-17] = 0xff; return b }},
		{"table of the footer alone", "no TDX metadata", func(b []byte) []byte { b[end-18], b[end-17] = 18, 0; return b }},
		{"entry without length", "malformed table", func(b []byte) []byte { b[end-36], b[end-35] = 0, 0; return b }},
		{"entry longer than the table", "malformed table", func(b []byte) []byte { b[end-35] = 1; return b }},
		{"entry without value", "too short", func(b []byte) []byte { b[end-36] = 18; return b }},
		{"entry of another name", "no TDX metadata", func(b []byte) []byte { b[end-19]++; return b }},
		{"descriptor before the image", "before the end", put32(end-40, 0x4001)},
		{"descriptor behind the image", "before the end", put32(end-40, 15)},
		{"signature", "no TDVF descriptor", put32(descriptorAt, 0)},
		{"length", "16 + 32 each", put32(descriptorAt+4, 16)},
		{"version", "version 2", put32(descriptorAt+8, 2)},
		{"number of sections", "16 + 32 each", put32(descriptorAt+12, 4)},
		{"very many sections", "65 sections", put32(descriptorAt+12, 65)},
		{"offset", "of the image, which has", section(0, 0, 0x3000)},
		{"offset that wraps", "of the image, which has", section(0, 0, 0xfffff000)},
		{"raw size above memory size", "for 8192 of memory", section(0, 4, 0x2001)},
		{"raw size below memory size", "up to the hypervisor", section(0, 4, 0x1fff)},
		{"measured without content", "up to the hypervisor", section(2, 28, measured)},
		{"address within a page", "want whole pages", section(0, 8, 0xffffd001)},
		{"address beyond all machines", "want whole pages", section(0, 12, 0x80000000)},
		{"size within a page", "want whole pages", section(2, 16, 0x3001)},
		{"size of terabytes", "want whole pages", section(2, 20, 0x400)},
		{"type", "type 4", section(0, 24, 4)},
		{"attribute", "attributes 0x4", section(0, 28, 4)},
		{"both attributes", "attributes 0x3", section(0, 28, 3)},
		{"memory of all together", "sections take", func(b []byte) []byte {
			return section(3, 16, maxGuestMemory)(section(2, 16, maxGuestMemory)(b))
		}},
	} {
		_, err := ParseFirmware(c.spoil(firmware()))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(c.want, "no TDX") && !errors.Is(err, ErrNoTDVF) {
			t.Errorf("%s: %v is not ErrNoTDVF", c.name, err)
		}
	}
}

func FuzzFirmware(f *testing.F) {
	f.Add(firmware())
	f.Add(firmware()[0x3700:])
	f.Fuzz(func(t *testing.T, image []byte) {
		fw, err := ParseFirmware(image)
		if err != nil {
			return
		}
		var total uint64
		for _, s := range fw.Sections {
			total += s.Size
		}
		if total <= 1<<20 { // more is slow, and no other code
			fw.MRTD(PageByPage)
			fw.MRTD(SectionBySection)
		}
	})
}
