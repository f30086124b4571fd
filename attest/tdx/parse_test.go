package tdx_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/attest/tdx"
)

// sampleDate lies in the life of the sample quote's certificates.
var sampleDate = day(2025, 12, 1)

func sample(t testing.TB) []byte { return load(t, "quote.dat") }

func parse(t testing.TB, raw []byte) *tdx.Quote {
	t.Helper()
	q, err := tdx.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestParseSample(t *testing.T) {
	q := parse(t, sample(t))
	if q.Header.Version != 4 || q.Enclave.ISVSVN != 6 {
		t.Errorf("version %d, enclave's SVN %d, want 4 and 6", q.Header.Version, q.Enclave.ISVSVN)
	}
	if got := fmt.Sprintf("%x", q.Header.QEVendor); got != "939a7233f79c4ca9940a0db3957f0607" {
		t.Errorf("vendor %s", got)
	}
	if q.Body.TDAttributes != 1<<28 || q.Body.XFAM != 0x602e7 || q.Body.Debug() || q.Body.Migratable() {
		t.Errorf("attributes %#x, XFAM %#x, debug %v", q.Body.TDAttributes, q.Body.XFAM, q.Body.Debug())
	}
}

// version5 rewrites a version 4 quote with a body of the given type. Only the
// layout is right: nothing signed it.
func version5(v4 []byte, kind uint16, size uint32) []byte {
	b := binary.LittleEndian.AppendUint16(nil, 5)
	b = append(b, v4[2:48]...)
	b = binary.LittleEndian.AppendUint16(b, kind)
	b = binary.LittleEndian.AppendUint32(b, size)
	body := make([]byte, size)
	copy(body, v4[48:632])
	return append(append(b, body...), v4[632:]...)
}

func TestParseVersion5(t *testing.T) {
	v4 := sample(t)
	want := parse(t, v4)
	for kind, size := range map[uint16]uint32{2: 584, 3: 648} {
		q := parse(t, version5(v4, kind, size))
		if q.Body != want.Body || q.Enclave != want.Enclave {
			t.Errorf("body type %d: fields differ from version 4", kind)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := sample(t)
	change := func(f func([]byte) []byte) []byte { return f(bytes.Clone(good)) }
	put16 := func(at int, v uint16) []byte {
		return change(func(b []byte) []byte { binary.LittleEndian.PutUint16(b[at:], v); return b })
	}
	put32 := func(at int, v uint32) []byte {
		return change(func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b })
	}
	const section = 636 // of the signature data
	authLength := section + 134 + 384 + 64
	chain := authLength + 2 + 32
	for _, c := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"nothing", nil, "header needs 48 bytes, 0 are left"},
		{"a header's first half", good[:24], "header needs 48"},
		{"no body", good[:48], "body needs 584"},
		{"no signature", good[:632], "length of signature data needs 4"},
		{"half a signature section", good[:2000], "signature data needs 4304"},
		{"version 3", put16(0, 3), "version is 3"},
		{"version 6", put16(0, 6), "version is 6"},
		{"key type 3", put16(2, 3), "attestation key type is 3"},
		{"an SGX quote", put32(4, 0), "TEE type is 0x0"},
		{"version 5 with an SGX body", version5(good, 1, 384), "body of type 1 has 384 bytes"},
		{"version 5 with a short body", version5(good, 2, 583), "body of type 2 has 583 bytes"},
		{"version 5 with type 3 and the size of 2", version5(good, 3, 584), "body of type 3 has 584 bytes"},
		{"signature section too long", put32(632, 5000), "signature data needs 5000"},
		{"signature section of 4 GiB", put32(632, 1<<32-1), "signature data needs 4294967295"},
		{"signature section too short", put32(632, 4303), "size 4170, want type 6 and the 4169 bytes left"},
		{"signature section of none", change(func(b []byte) []byte { clear(b[632:]); return b }), "signature and key needs 128"},
		{"signature section without certificates", change(func(b []byte) []byte { clear(b[632:]); b[632] = 130; return b }), "size of certification data needs 4"},
		{"certification data of type 5", put16(section+128, 5), "certification data has type 5"},
		{"certification data too short", put32(section+130, 100), "size 100"},
		{"authentication data beyond the end", put16(authLength, 0xffff), "authentication data needs 65535"},
		{"certificates of type 6", put16(chain, 6), "certificates has type 6"},
		{"certificates of another size", put32(chain+2, 3), "certificates has type 5 and size 3"},
		{"bytes behind the padding", append(bytes.Clone(good), 0, 7), "behind the signature data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := tdx.Parse(c.raw)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestDebugIsEveryBitOfItsGroup(t *testing.T) {
	for bit := range 64 {
		b := tdx.Body{TDAttributes: 1 << bit}
		if got, want := b.Debug(), bit < 8; got != want {
			t.Errorf("attribute bit %d: debug %v, want %v", bit, got, want)
		}
	}
}

func FuzzQuote(f *testing.F) {
	good := sample(f)
	f.Add(good)
	f.Add(version5(good, 3, 648))
	f.Add(good[:1020])
	f.Add([]byte{})
	f.Add(load(f, "quote-v5.dat"))
	v, want := &tdx.Verifier{}, parse(f, good).Body
	f.Fuzz(func(t *testing.T, raw []byte) {
		finding := v.Verify(t.Context(), raw, sampleDate)
		if _, failed := finding.Checks.Failed(); failed {
			return
		}
		// ECDSA signatures and PEM text have several spellings; what was
		// signed has one.
		if q := parse(t, raw); q.Body != want {
			t.Fatalf("a body that Intel never signed verifies")
		}
	})
}
