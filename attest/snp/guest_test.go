package snp

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/google/go-sev-guest/abi"
)

// kernel plays the report interface of a guest: writing inblob raises the
// generation; outblob and auxblob are what the test says.
type kernel struct {
	provider     string
	report, auxs []byte
	files        map[string][]byte
	fail         error
	removed      int
}

func (k *kernel) MkdirTemp(dir, _ string) (string, error) {
	k.files = map[string][]byte{"generation": []byte("0\n"), "provider": []byte(k.provider + "\n"), "auxblob": k.auxs}
	return path.Join(dir, "entry1"), k.fail
}

func (k *kernel) ReadFile(name string) ([]byte, error) {
	b, ok := k.files[path.Base(name)]
	if !ok {
		return nil, os.ErrNotExist
	}
	return b, nil
}

func (k *kernel) WriteFile(name string, b []byte) error {
	k.files[path.Base(name)] = b
	k.files["generation"] = []byte("1\n")
	k.files["outblob"] = k.report
	return nil
}

func (k *kernel) RemoveAll(string) error                { k.removed++; return nil }
func (k *kernel) ReadDir(string) ([]os.DirEntry, error) { return nil, nil }

func file(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// table is a host's certificate table as go-sev-guest writes it.
func table(entries ...abi.CertTableEntry) []byte {
	return (&abi.CertTable{Entries: entries}).Marshal()
}

func entry(guid string, body []byte) abi.CertTableEntry {
	name, err := hex.DecodeString(strings.ReplaceAll(guid, "-", ""))
	if err != nil {
		panic(err)
	}
	return abi.CertTableEntry{GUID: [16]byte(name), RawCert: body}
}

func TestGuestQuote(t *testing.T) {
	report, vcek := file(t, "testdata/genoa-report.bin"), file(t, "testdata/genoa-vcek.der")
	stale := file(t, "testdata/milan-vcek.der")
	ask, ark := embedded[Genoa][1], embedded[Genoa][0]
	r, err := ParseReport(report)
	if err != nil {
		t.Fatal(err)
	}
	kds := Answers{VCEKPath(Genoa, r.ChipID, r.ReportedTCB.Parts(Genoa)): vcek}
	for _, c := range []struct {
		name string
		aux  []byte
		src  Collateral
		want int // certificates
	}{
		{"host gives all", table(entry(abi.ArkGUID, ark.Raw), entry(abi.VcekGUID, vcek), entry(abi.AskGUID, ask.Raw)), nil, 3},
		{"host gives the key's alone", table(entry(abi.VcekGUID, vcek)), nil, 1},
		{"host gives root and key's", table(entry(abi.VcekGUID, vcek), entry(abi.ArkGUID, ark.Raw)), nil, 1},
		{"zeros behind the table", append(table(entry(abi.VcekGUID, vcek)), make([]byte, 4096)...), nil, 1},
		{"host gives nothing", nil, kds, 1},
		{"host gives an empty table", make([]byte, 4096), kds, 1},
		{"host gives another chip's", table(entry(abi.VcekGUID, stale)), kds, 1},
		{"host gives rubbish", table(entry(abi.VcekGUID, []byte("rubbish"))), kds, 1},
		{"host gives a table that ends nowhere", bytes.Repeat([]byte{1}, 100), kds, 1},
	} {
		k := &kernel{provider: "sev_guest", report: report, auxs: c.aux}
		raw, err := (&Guest{k, c.src}).Quote(t.Context(), [64]byte{1})
		if err != nil || k.removed != 1 {
			t.Errorf("%s: %v, %d entries removed", c.name, err, k.removed)
			continue
		}
		e, err := Parse(raw)
		if err != nil || len(e.Certificates) != c.want || !bytes.Equal(e.Certificates[0].Raw, vcek) || !bytes.Equal(raw[:ReportSize], report) {
			t.Errorf("%s: %v, %d certificates, want %d", c.name, err, len(e.Certificates), c.want)
		}
		if inblob := k.files["inblob"]; len(inblob) != 64 || inblob[0] != 1 {
			t.Errorf("%s: the kernel was given %x", c.name, inblob)
		}
	}
}

func TestGuestOfACloud(t *testing.T) {
	report, vlek := file(t, "testdata/milan-cloud-report.bin"), file(t, "testdata/milan-cloud-vlek.der")
	k := &kernel{provider: "sev_guest", report: report, auxs: table(entry(abi.VlekGUID, vlek), entry(abi.AskGUID, embedded[Milan][2].Raw))}
	raw, err := (&Guest{k, nil}).Quote(t.Context(), [64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := Parse(raw); err != nil || len(e.Certificates) != 2 || !bytes.Equal(e.Certificates[0].Raw, vlek) {
		t.Errorf("%v, %d certificates, want the VLEK's and the ASVK's", err, len(e.Certificates))
	}
}

func TestGuestRefuses(t *testing.T) {
	report := file(t, "testdata/genoa-report.bin")
	ended, end := context.WithCancel(t.Context())
	end()
	far := make([]byte, 48)
	guid, _ := hex.DecodeString(guidVCEK)
	copy(far, guid)
	binary.LittleEndian.PutUint32(far[16:], 0xffffffff)
	binary.LittleEndian.PutUint32(far[20:], 0xffffffff)
	for _, c := range []struct {
		name string
		ctx  context.Context
		k    *kernel
		want string
	}{
		{"another vendor's guest", t.Context(), &kernel{provider: "tdx_guest", report: report}, `provider is "tdx_guest"`},
		{"a kernel that fails", t.Context(), &kernel{provider: "sev_guest", fail: errors.New("busy")}, "busy"},
		{"a caller that left", ended, &kernel{provider: "sev_guest", report: report}, "canceled"},
		{"a short report", t.Context(), &kernel{provider: "sev_guest", report: report[:1000]}, "1000 bytes"},
		{"no certificate anywhere", t.Context(), &kernel{provider: "sev_guest", report: report}, "no certificate from the host"},
		{"a certificate outside the table", t.Context(), &kernel{provider: "sev_guest", report: report, auxs: far}, "4294967295 bytes"},
	} {
		if _, err := (&Guest{c.k, nil}).Quote(c.ctx, [64]byte{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestNoGuestHere(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/config/tsm/report"); err == nil {
		t.Skip("this machine is a guest")
	}
	if _, err := NewGuest(nil); !errors.Is(err, ErrNotGuest) {
		t.Errorf("error %v, want ErrNotGuest", err)
	}
}
