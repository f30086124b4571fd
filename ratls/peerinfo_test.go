package ratls

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencocoon/cocoon/attest"
)

type recordVectors struct {
	Records []struct {
		Label     string
		Record    string
		Framed    string
		Length    int
		ImageHash string `json:"remote_image_hash"`
		Fields    struct{ Source, Destination string }
	}
}

type currentVectors struct {
	PublicKey string `json:"public_key"`
	Cases     []struct {
		Name, Report, Frame string
		Kind                int
		ImageHash           string `json:"image_hash"`
	}
}

func TestBaseRecords(t *testing.T) {
	var v recordVectors
	readJSON(t, "peer_info.json", &v)
	if len(v.Records) == 0 {
		t.Fatal("no records")
	}
	for _, c := range v.Records {
		framed := unhex(t, c.Framed)
		p, err := ReadPeerInfo(iotest.OneByteReader(bytes.NewReader(framed)))
		if err != nil {
			t.Errorf("%s: %v", c.Label, err)
			continue
		}
		if c.ImageHash != "" && p.ImageHash.String() != c.ImageHash {
			t.Errorf("%s: image hash %s, want %s", c.Label, p.ImageHash, c.ImageHash)
		}
		if p.Source.String() != c.Fields.Source || p.Destination.String() != c.Fields.Destination {
			t.Errorf("%s: from %s to %s", c.Label, p.Source, p.Destination)
		}
		if again, err := p.Append(nil, GenerationBase); err != nil || !bytes.Equal(again, framed) {
			t.Errorf("%s: written again as %x, %v", c.Label, again, err)
		}
	}
}

func TestCurrentRecords(t *testing.T) {
	var v currentVectors
	readJSON(t, "peer_record.json", &v)
	if len(v.Cases) == 0 {
		t.Fatal("no records")
	}
	for _, c := range v.Cases {
		frame := unhex(t, c.Frame)
		p, err := ReadPeerInfo(bytes.NewReader(frame))
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		kind := map[int]attest.Kind{0: attest.KindTDX, 1: attest.KindSEVSNP}[c.Kind]
		if p.Kind != kind || p.ImageHash.String() != c.ImageHash || !bytes.Equal(p.Key, unhex(t, v.PublicKey)) {
			t.Errorf("%s: kind %s, image hash %s, key %x", c.Name, p.Kind, p.ImageHash, p.Key)
		}
		if again, err := p.Append(nil, GenerationCurrent); err != nil || !bytes.Equal(again, frame) {
			t.Errorf("%s: written again as %x, %v", c.Name, again, err)
		}
	}
}

func TestCapturedFakeRecord(t *testing.T) {
	p, err := ReadPeerInfo(bytes.NewReader(unhex(t, string(readFile(t, "captured_fake_record.hex")))))
	if err != nil {
		t.Fatal(err)
	}
	v, err := (&attest.Policy{AllowFake: true, AnyImage: true}).JudgeRelayed(&p.Relayed, recorded)
	if err != nil || v.Kind != attest.KindFakeTDX {
		t.Errorf("%v, kind %s, want fake TDX bound to its key", err, v.Kind)
	}
}

func somebody() *PeerInfo {
	return &PeerInfo{
		Relayed:     attest.Relayed{Kind: attest.KindNone, Key: bytes.Repeat([]byte{7}, ed25519.PublicKeySize)},
		Source:      netip.MustParseAddrPort("203.0.113.7:40000"),
		Destination: netip.MustParseAddrPort("[2001:db8::1]:443"),
	}
}

// Every kind in every form that has a place for it comes back as it went.
func TestRecordRoundTrip(t *testing.T) {
	tdx := func() *PeerInfo {
		p := somebody()
		p.Kind, p.Measurements, p.ReportData = attest.KindTDX, &attest.Measurements{}, [64]byte{5}
		p.Measurements.RTMR[3][47], p.Measurements.ReportData, p.Measurements.RootKey[0] = 9, p.ReportData, 1
		p.ImageHash = p.Measurements.ImageHash()
		return p
	}
	single := func(kind attest.Kind, n int) *PeerInfo {
		p := somebody()
		p.Kind, p.Measurement, p.ReportData = kind, bytes.Repeat([]byte{3}, n), [64]byte{5}
		p.ImageHash = attest.HashOf(p.Measurement)
		return p
	}
	for _, c := range []struct {
		name string
		p    *PeerInfo
		form Generation
	}{
		{"none, base", somebody(), GenerationBase},
		{"TDX, base", tdx(), GenerationBase},
		{"SGX, base", single(attest.KindSGX, 32), GenerationBase},
		{"TDX, current", tdx(), GenerationCurrent},
		{"SEV-SNP, current", single(attest.KindSEVSNP, 48), GenerationCurrent},
	} {
		b, err := c.p.Append([]byte("before"), c.form)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got, err := ReadPeerInfo(bytes.NewReader(b[len("before"):]))
		if err != nil || !reflect.DeepEqual(got, c.p) {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.p)
		}
	}
	if _, err := single(attest.KindSGX, 32).Append(nil, GenerationCurrent); err == nil {
		t.Error("SGX written in the current form, which has no place for it")
	}
	if _, err := single(attest.KindSEVSNP, 48).Append(nil, GenerationBase); err == nil {
		t.Error("SEV-SNP written in the base form, which has no place for it")
	}
}

func TestReadPeerInfoRefuses(t *testing.T) {
	good, err := somebody().Append(nil, GenerationBase)
	if err != nil {
		t.Fatal(err)
	}
	withShortKey := somebody()
	withShortKey.Key = withShortKey.Key[:31]
	short, err := withShortKey.Append(nil, GenerationBase)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	address := func(text string, port uint32) []byte {
		b := good[:4+4+48+36]
		b = append(bytes.Clone(b), byte(len(text)))
		b = append(b, text...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		b = binary.LittleEndian.AppendUint32(b, port)
		b = append(b, good[len(good)-16:]...) // the destination
		binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
		return b
	}
	if _, err := ReadPeerInfo(bytes.NewReader(address("127.0.0.1", 1))); err != nil {
		t.Fatalf("the helper makes bad records: %v", err)
	}
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"nothing", nil, "EOF"},
		{"half a length", good[:2], "EOF"},
		{"half a record", good[:60], "EOF"},
		{"an empty record", make([]byte, 4), "needs 4 bytes"},
		{"longer than the limit", binary.LittleEndian.AppendUint32(nil, MaxPeerInfo+1), "want at most 16536"},
		{"a TLS record instead", []byte{22, 3, 1, 2, 0, 1}, "does the router write records?"},
		{"generation 3", change(func(b []byte) []byte { b[4] = 3; return b }), "begins with 3"},
		{"trailing bytes", change(func(b []byte) []byte { b[0] += 4; return append(b, 0, 0, 0, 0) }), "4 bytes too many"},
		{"a short key", short, "key of 31 bytes"},
		{"variant 2", []byte{8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0}, "variant is 2"},
		{"current form, variant 2", []byte{8, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0}, "variant is 2"},
		{"registers cut off", append([]byte{108, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 100)...), "registers"},
		{"a host name as address", address("localhost", 1), "source is \"localhost\""},
		{"no address", address("", 1), "source is \"\""},
		{"port 65536", address("127.0.0.1", 65536), "port 65536"},
		{"port -1", address("127.0.0.1", 1<<32-1), "port -1"},
	} {
		if _, err := ReadPeerInfo(bytes.NewReader(c.b)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestReadPeerInfoLeavesTheRest(t *testing.T) {
	b, err := somebody().Append(nil, GenerationCurrent)
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(append(b, "frames"...))
	if _, err := ReadPeerInfo(r); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "frames" {
		t.Errorf("left %q", rest)
	}
}

func FuzzPeerInfo(f *testing.F) {
	var base recordVectors
	readJSON(f, "peer_info.json", &base)
	for _, c := range base.Records {
		f.Add(unhex(f, c.Record))
	}
	var current currentVectors
	readJSON(f, "peer_record.json", &current)
	for _, c := range current.Cases {
		f.Add(unhex(f, c.Frame)[4:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePeerInfo(b)
		if err != nil {
			return
		}
		form := GenerationBase
		if len(b) > 0 && b[0] == recordCurrent {
			form = GenerationCurrent
		}
		again, err := p.Append(nil, form)
		if err != nil {
			t.Fatal(err)
		}
		q, err := ReadPeerInfo(bytes.NewReader(again))
		if err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("%+v comes back as %+v, %v", p, q, err)
		}
		(&attest.Policy{AllowFake: true, AllowNone: true, AnyImage: true}).JudgeRelayed(&p.Relayed, recorded)
	})
}
