package tl

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// message is one encoding of tl_encodings.json.
type message struct {
	Label, Constructor, Hex string
	Value                   map[string]any
}

type encodings struct {
	Padding []struct {
		Length int    `json:"length"`
		Size   int    `json:"encoded_length"`
		Prefix string `json:"encoded_prefix"`
		SHA256 string `json:"encoded_sha256"`
	} `json:"bytes_padding"`
	Messages []message
}

func readJSON(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// empty returns a new object of the constructor with that id, or nil.
func empty(id uint32) Object { return decodeBoxed(NewReader(nil), id) }

// mustRoundTrip decodes b and wants the same bytes back.
func mustRoundTrip(t testing.TB, b []byte) Object {
	t.Helper()
	o, err := Decode(b)
	if err != nil {
		t.Fatalf("Decode(%x): %v", b, err)
	}
	if got := Marshal(o); !bytes.Equal(got, b) {
		t.Fatalf("%s encodes to\n%x, want\n%x", o.TLName(), got, b)
	}
	if o.SizeTL() != len(b) {
		t.Fatalf("%s: SizeTL() = %d, want %d", o.TLName(), o.SizeTL(), len(b))
	}
	return o
}

func TestIDs(t *testing.T) {
	var base struct {
		Entries []struct{ Name, ID, Category string }
	}
	var current struct{ Current map[string]string }
	readJSON(t, "tl_ids.json", &base)
	readJSON(t, "current/tl_ids.json", &current)
	const builtins = 12 // in the newer list, which leaves out vector
	if len(base.Entries) != 111 || len(current.Current) != 113 {
		t.Fatalf("vectors hold %d and %d ids, want 111 and 113", len(base.Entries), len(current.Current))
	}
	for _, e := range base.Entries {
		if e.Category != "builtin" {
			wantID(t, e.Name, strings.TrimPrefix(e.ID, "0x"))
		}
	}
	tested := 0
	for name, id := range current.Current {
		if strings.Contains(name, ".") || name == "tokensUsed" {
			wantID(t, name, id)
			tested++
		}
	}
	if tested != len(current.Current)-builtins {
		t.Errorf("tested %d ids of %d", tested, len(current.Current)-builtins)
	}
}

func wantID(t *testing.T, name, id string) {
	t.Helper()
	n, err := strconv.ParseUint(id, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	o := empty(uint32(n))
	switch {
	case o == nil:
		t.Errorf("%s: id %s is unknown", name, id)
	case o.TLName() != name || o.TLID() != uint32(n):
		t.Errorf("id %s belongs to %s %#08x, want %s", id, o.TLName(), o.TLID(), name)
	}
}

func TestBytesPadding(t *testing.T) {
	var v encodings
	readJSON(t, "tl_encodings.json", &v)
	for _, p := range v.Padding {
		content := bytes.Repeat([]byte("x"), p.Length)
		got := AppendBytes(nil, content)
		sum := sha256.Sum256(got)
		if hex.EncodeToString(sum[:]) != p.SHA256 || len(got) != p.Size || SizeBytes(p.Length) != p.Size {
			t.Errorf("%d bytes encode to %d bytes %x…, want %d bytes %s…", p.Length, len(got), got[:8], p.Size, p.Prefix)
		}
		if s := AppendString(nil, string(content)); !bytes.Equal(s, got) {
			t.Errorf("%d bytes: AppendString differs from AppendBytes", p.Length)
		}
		r := NewReader(got)
		if back := r.Bytes("x"); r.Err() != nil || r.Len() != 0 || !bytes.Equal(back, content) {
			t.Errorf("%d bytes: read back %d, %d left, %v", p.Length, len(back), r.Len(), r.Err())
		}
	}
}

func TestEncodings(t *testing.T) {
	var v encodings
	readJSON(t, "tl_encodings.json", &v)
	if len(v.Messages) != 46 {
		t.Fatalf("%d messages, want 46", len(v.Messages))
	}
	for _, m := range v.Messages {
		t.Run(m.Label, func(t *testing.T) {
			b := unhex(t, m.Hex)
			o := mustRoundTrip(t, b)
			if o.TLName() != m.Constructor {
				t.Fatalf("decoded %s, want %s", o.TLName(), m.Constructor)
			}
			built := empty(PeekID(b))
			fill(t, reflect.ValueOf(built).Elem(), m.Value)
			if got := Marshal(built); !bytes.Equal(got, b) {
				t.Errorf("built object encodes to\n%x, want\n%x", got, b)
			}
		})
	}
}

// fill sets the fields of a message from the JSON form of the vectors.
func fill(t *testing.T, v reflect.Value, fields map[string]any) {
	t.Helper()
	for name, value := range fields {
		if name == "@type" {
			continue
		}
		f := v.FieldByNameFunc(func(s string) bool { return strings.EqualFold(s, strings.ReplaceAll(name, "_", "")) })
		if !f.IsValid() {
			t.Fatalf("%s has no field %s", v.Type(), name)
		}
		set(t, f, value)
	}
}

func set(t *testing.T, f reflect.Value, value any) {
	t.Helper()
	switch value := value.(type) {
	case string:
		f.SetString(value)
	case bool:
		f.SetBool(value)
	case json.Number:
		setNumber(t, f, value)
	case []any:
		f.Set(reflect.MakeSlice(f.Type(), len(value), len(value)))
		for i := range value {
			set(t, f.Index(i), value[i])
		}
	case map[string]any:
		setObject(t, f, value)
	default:
		t.Fatalf("no way to set %s from %T", f.Type(), value)
	}
}

func setNumber(t *testing.T, f reflect.Value, n json.Number) {
	t.Helper()
	if f.Kind() == reflect.Float64 {
		x, err := n.Float64()
		if err != nil {
			t.Fatal(err)
		}
		f.SetFloat(x)
		return
	}
	x, err := n.Int64()
	if err != nil {
		t.Fatal(err)
	}
	if f.CanUint() {
		f.SetUint(uint64(x))
		return
	}
	f.SetInt(x)
}

func setObject(t *testing.T, f reflect.Value, value map[string]any) {
	t.Helper()
	if text, ok := value["hex"].(string); ok {
		b := unhex(t, text)
		if f.Kind() == reflect.Array {
			reflect.Copy(f, reflect.ValueOf(b))
		} else {
			f.SetBytes(b)
		}
		return
	}
	if f.Kind() == reflect.Interface {
		o := named(t, value["@type"])
		fill(t, reflect.ValueOf(o).Elem(), value)
		f.Set(reflect.ValueOf(o))
		return
	}
	fill(t, f, value)
}

// named returns a new object by its schema name, for the few classes that
// occur as fields.
func named(t *testing.T, name any) Object {
	t.Helper()
	for _, o := range []Object{
		new(ProxySignedPayment), new(ProxySignedPaymentEmpty), new(RootConfigConfigV5),
		new(ClientProxyConnectionAuthShort), new(ClientProxyConnectionAuthLong),
	} {
		if o.TLName() == name {
			return o
		}
	}
	t.Fatalf("no constructor %v", name)
	return nil
}
