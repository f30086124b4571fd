package measure

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// image is an EFI executable whose hashed parts are known because it is made
// of them: three sections, the last in the table first in the file, data
// behind them, signatures at the end.
type image struct {
	bytes []byte
	parts [][]byte
}

const (
	testPE      = 0x80
	testHeaders = 0x400
)

func executable() image {
	return executableOf(run{0x600, 0x800}, run{0x800, 0xa00}, run{}, run{0x400, 0x600})
}

// executableOf has its sections in a table of this order.
func executableOf(sections ...run) image {
	b := make([]byte, testHeaders)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[peOffsetAt:], testPE)
	copy(b[testPE:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(b[testPE+4:], 0x8664) // machine: x86-64
	binary.LittleEndian.PutUint16(b[testPE+6:], uint16(len(sections)))
	binary.LittleEndian.PutUint16(b[testPE+20:], 240) // optional header
	binary.LittleEndian.PutUint16(b[testPE+22:], 0x206)
	optional := b[testPE+24:]
	binary.LittleEndian.PutUint16(optional, peMagic64)
	binary.LittleEndian.PutUint32(optional[32:], 0x1000) // alignment in memory
	binary.LittleEndian.PutUint32(optional[36:], 0x200)  // alignment in the file
	binary.LittleEndian.PutUint32(optional[56:], 0x8000) // size of image
	binary.LittleEndian.PutUint32(optional[60:], testHeaders)
	binary.LittleEndian.PutUint32(optional[64:], 0xc5c5c5c5) // checksum
	binary.LittleEndian.PutUint16(optional[68:], 10)         // EFI application
	binary.LittleEndian.PutUint32(optional[108:], 16)        // directories
	binary.LittleEndian.PutUint32(optional[144:], 0xa10)     // signatures: where
	binary.LittleEndian.PutUint32(optional[148:], 0x20)      // and how long
	for i, s := range sections {
		h := b[testPE+24+240+40*i:]
		copy(h, []byte{'.', 'a' + byte(i)})
		binary.LittleEndian.PutUint32(h[8:], uint32(s.to-s.from))
		binary.LittleEndian.PutUint32(h[12:], uint32(0x1000*(i+1)))
		binary.LittleEndian.PutUint32(h[16:], uint32(s.to-s.from))
		binary.LittleEndian.PutUint32(h[20:], uint32(s.from))
	}
	body := bytes.Repeat([]byte("sections and all that"), 100)[:0x600]
	behind, signatures := bytes.Repeat([]byte{'b'}, 16), bytes.Repeat([]byte{'s'}, 0x20)
	parts := [][]byte{b[:testPE+24+64], b[testPE+24+68 : testPE+24+144], b[testPE+24+152:], body, behind}
	return image{bytes.Join([][]byte{b, body, behind, signatures}, nil), parts}
}

func TestAuthenticode(t *testing.T) {
	x := executable()
	got, err := Authenticode(x.bytes)
	if want := Register(sha512.Sum384(bytes.Join(x.parts, nil))); err != nil || got != want {
		t.Errorf("Authenticode = %s, %v, want the digest of the parts %s", got, err, want)
	}
	for _, at := range []int{testPE + 24 + 64, testPE + 24 + 67, testPE + 24 + 144, testPE + 24 + 147, len(x.bytes) - 1, len(x.bytes) - 0x20} {
		y := bytes.Clone(x.bytes)
		y[at] ^= 1
		if after, err := Authenticode(y); err != nil || after != got {
			t.Errorf("byte %#x counts (%v): it is of the checksum or the signatures", at, err)
		}
	}
	for _, at := range []int{0, 2, testPE + 24 + 63, testPE + 24 + 68, testPE + 24 + 152, testHeaders - 1, testHeaders, 0x9ff, 0xa00, 0xa0f} {
		y := bytes.Clone(x.bytes)
		y[at] ^= 1
		if after, err := Authenticode(y); err == nil && after == got {
			t.Errorf("byte %#x does not count", at)
		}
	}
}

// Without a directory of signatures, everything behind the checksum counts.
func TestAuthenticodeWithoutSignatures(t *testing.T) {
	x := executable().bytes
	binary.LittleEndian.PutUint32(x[testPE+24+108:], 4)
	got, err := Authenticode(x)
	want := Register(sha512.Sum384(append(bytes.Clone(x[:testPE+24+64]), x[testPE+24+68:]...)))
	if err != nil || got != want {
		t.Errorf("Authenticode = %s, %v, want %s", got, err, want)
	}
}

// pesign knows no SHA-384, so what is compared is which bytes are hashed. Nor
// does it sort sections, as the format and edk2 want it, so they are in order.
func TestAuthenticodeRunsAreThoseOfPesign(t *testing.T) {
	pesign, err := exec.LookPath("pesign")
	if err != nil {
		t.Skip("pesign is not installed")
	}
	x := executableOf(run{0x400, 0x600}, run{0x600, 0x800}, run{0x800, 0xa00}).bytes
	x = x[:len(x)-0x20] // unsigned: pesign wants signatures to be genuine
	clear(x[testPE+24+144 : testPE+24+152])
	file := filepath.Join(t.TempDir(), "x.efi")
	if err := os.WriteFile(file, x, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(pesign, "-h", "-i", file).CombinedOutput()
	if err != nil {
		t.Skipf("pesign: %v: %s", err, out)
	}
	p, err := parsePE(x)
	if err != nil {
		t.Fatal(err)
	}
	if want := hex.EncodeToString(p.sha256(x)); !strings.Contains(string(out), want) {
		t.Errorf("pesign says %q, want %s", out, want)
	}
}

func TestAuthenticodeRefuses(t *testing.T) {
	put16 := func(at int, v uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[at:], v); return b }
	}
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	optional, table := testPE+24, testPE+24+240
	for _, c := range []struct {
		name, want string
		spoil      func([]byte) []byte
	}{
		{"empty", "not an EFI executable", func([]byte) []byte { return nil }},
		{"DOS signature", "not an EFI executable", put16(0, 0)},
		{"offset beyond the image", "not an EFI executable", put32(peOffsetAt, 0xfffffff0)},
		{"offset at the end", "not an EFI executable", put32(peOffsetAt, 0xa18)},
		{"PE signature", "not an EFI executable", put32(testPE, 0)},
		{"no optional header", "malformed", put16(testPE+20, 0)},
		{"optional header beyond the image", "malformed", put16(testPE+20, 0xffff)},
		{"very many sections", "malformed", put16(testPE+6, 0xffff)},
		{"magic", "of kind 0x107", put16(optional, 0x107)},
		{"headers beyond the image", "headers of", put32(optional+60, 0xfffff)},
		{"headers without sections", "headers of", put32(optional+60, uint32(table))},
		{"short header of the long kind", "want at least 112", func(b []byte) []byte { return put16(testPE+20, 100)(b) }},
		{"header that ends before the signatures", "ends before its directory", put16(testPE+20, 120)},
		{"section beyond the image", "beyond the image", put32(table+20, 0xa20)},
		{"section that wraps", "beyond the image", put32(table+16, 0xffffffff)},
		{"signatures larger than what is left", "signatures of", put32(optional+148, 0x31)},
		{"cut within a section", "beyond the image", func(b []byte) []byte { return b[:0x9ff] }},
		{"cut within the signatures", "signatures of", func(b []byte) []byte { return b[:0xa1f] }},
	} {
		if _, err := Authenticode(c.spoil(executable().bytes)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}

func FuzzAuthenticode(f *testing.F) {
	f.Add(executable().bytes)
	f.Add(linux())
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := Authenticode(b)
		if err != nil {
			return
		}
		if again, err := Authenticode(b); err != nil || again != first {
			t.Fatalf("twice: %s and %s, %v", first, again, err)
		}
		if p, err := patchKernel(b, 1<<20, DefaultMemory); err == nil {
			Authenticode(p)
		}
	})
}
