package tl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// corpus is every encoding of the vectors, frames of the sessions included,
// and a full message of every type.
func corpus(t testing.TB) (out [][]byte) {
	t.Helper()
	var v encodings
	readJSON(t, "tl_encodings.json", &v)
	for _, m := range v.Messages {
		out = append(out, unhex(t, m.Hex))
	}
	var current struct{ Messages []struct{ Hex string } }
	readJSON(t, "current/tl_messages.json", &current)
	for _, m := range current.Messages {
		out = append(out, unhex(t, m.Hex))
	}
	for _, name := range []string{"proxy_clients", "proxy_workers"} {
		out = append(out, sessionFrames(t, name)...)
	}
	for _, o := range everyType(t) {
		out = append(out, Marshal(o))
	}
	return out
}

// request is a message with most kinds of fields, for breaking.
func request() *ClientRunQueryEx {
	return &ClientRunQueryEx{
		ModelName: "m", Query: []byte("secret prompt"), Timeout: 1, Flags: 3, EnableDebug: true,
	}
}

// word replaces four bytes of an encoded object.
func word(o Object, at int, v uint32) []byte {
	b := Marshal(o)
	binary.LittleEndian.PutUint32(b[at:], v)
	return b
}

func TestRefusals(t *testing.T) {
	query := SizeBytes(len("m")) + 4       // where query begins
	flags := len(Marshal(request())) - 40  // flags, enable_debug, public_key end the message
	headers := len("\x00\x00\x00\x00") * 4 // id and three empty strings
	part := &ProxyQueryAnswerPartEx{Flags: 1}
	response := &HTTPRequest{Headers: make([]HTTPHeader, 2)}
	payment := &ClientPaymentStatus{}
	for _, test := range []struct {
		name   string
		b      []byte
		object string
		field  string
		offset int
		text   string
	}{
		{"empty", nil, "", "", 0, "needs 4 bytes, 0 are left"},
		{"half an id", []byte{1, 2}, "", "", 0, "needs 4 bytes, 2 are left"},
		{"unknown id", []byte{0xef, 0xbe, 0xad, 0xde}, "", "", 0, "unknown constructor 0xdeadbeef"},
		{"id only", Marshal(request())[:4], "client.runQueryEx", "model_name", 4, "needs 4 bytes, 0 are left"},
		{"trailing word", append(Marshal(request()), 0, 0, 0, 0), "client.runQueryEx", "", flags + 40, "4 bytes too many"},
		{"trailing byte", append(Marshal(&TCPPing{}), 0), "tcp.ping", "", 12, "1 bytes too many"},
		{"string beyond the end", word(request(), query, 0xfffffffe), "client.runQueryEx", "query", query, "needs 16777215 bytes"},
		{"string of 2^56", word(request(), query, 0xffffffff), "client.runQueryEx", "query", query, "needs"},
		{"padding missing", append(Marshal(&TCPPacket{})[:4], 1, 'x', 0), "tcp.packet", "data", 4, "needs 4 bytes, 3 are left"},
		{"padding missing behind a long header", []byte("\xf8\xba\x17\x9c\xfe\x01\x00\x00x\x00\x00"), "tcp.packet", "data", 4, "needs 1 bytes and padding"},
		{"header of eight cut", []byte("\xf8\xba\x17\x9c\xff\x01\x00\x00"), "tcp.packet", "data", 4, "needs 8 bytes, 4 are left"},
		{"flags with bit 31", word(request(), flags, 1<<31|3), "client.runQueryEx", "flags", flags, "bit 31"},
		{"Bool of another value", word(request(), flags+4, 0x50505050), "client.runQueryEx", "enable_debug", flags + 4, "neither boolTrue nor boolFalse"},
		{"optional field announced, not there", word(&ClientQueryAnswerEx{}, 40, 1), "client.queryAnswerEx", "final_info.flags", 44, "needs 4 bytes"},
		{"optional field there, not announced", word(request(), flags, 0), "client.runQueryEx", "", flags + 4, "36 bytes too many"},
		{"flags bit 31 inside", word(part, 44, 1<<31), "proxy.queryAnswerPartEx", "final_info.flags", 44, "bit 31"},
		{"vector count too large", word(response, headers, 4), "http.request", "headers", headers, "claims 4 elements, the bytes left hold at most 2"},
		{"vector count of 2^32-1", word(response, headers, 1<<32-1), "http.request", "headers", headers, "claims 4294967295 elements"},
		{"element broken", word(response, headers+12, 0xfffffffe), "http.request", "headers[1].name", headers + 12, "needs"},
		{"boxed field of another type", word(payment, 4, 0xbbe9627c), "client.paymentStatus", "signed_payment", 4, "no constructor of proxy.SignedPayment"},
		{"boxed field broken inside", word(payment, 4, 0x02998182)[:8], "client.paymentStatus", "signed_payment.data", 8, "needs 4 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, err := Decode(test.b)
			var e *Error
			if !errors.As(err, &e) || o != nil {
				t.Fatalf("Decode = %v, %v, want an *Error", o, err)
			}
			if e.Object != test.object || e.Field != test.field || e.Offset != test.offset {
				t.Errorf("error at %q %q byte %d, want %q %q byte %d",
					e.Object, e.Field, e.Offset, test.object, test.field, test.offset)
			}
			if !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %q, want it to say %q", err, test.text)
			}
			if strings.Contains(err.Error(), "PPPP") || strings.Contains(err.Error(), "50505050") {
				t.Errorf("error %q quotes the message", err)
			}
		})
	}
}

func TestErrUnknown(t *testing.T) {
	if _, err := Decode([]byte("PPPPPPPP")); !errors.Is(err, ErrUnknown) {
		t.Errorf("foreign id: %v, want ErrUnknown", err)
	}
	if _, err := Decode(Marshal(request())[:20]); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("cut message: %v, want an error that is not ErrUnknown", err)
	}
}

func TestTruncated(t *testing.T) {
	for _, b := range corpus(t) {
		for n := range len(b) {
			o, err := Decode(b[:n:n])
			var e *Error
			if !errors.As(err, &e) || o != nil {
				t.Fatalf("first %d bytes of %x: %v, %v, want an *Error", n, b, o, err)
			}
			if e.Offset > n || n >= 4 && (e.Object == "" || e.Field == "") {
				t.Fatalf("first %d bytes of %x: error names nothing: %v", n, b, err)
			}
		}
	}
}

func TestUnmarshal(t *testing.T) {
	b := Marshal(request())
	var got ClientRunQueryEx
	if err := Unmarshal(b, &got); err != nil || got.ModelName != "m" {
		t.Errorf("Unmarshal = %v, model %q", err, got.ModelName)
	}
	for _, test := range []struct {
		name string
		b    []byte
		into Object
		want string
	}{
		{"another kind", b, &TCPPing{}, "tl: tcp.ping at byte 0: constructor is 0xf54cb74b, want 0xbbe9627c"},
		{"too short for an id", b[:3], &TCPPing{}, "tl: tcp.ping at byte 0: needs 4 bytes, 3 are left"},
		{"cut", b[:5], &got, "tl: client.runQueryEx.model_name at byte 4: needs 4 bytes, 1 are left"},
		{"trailing", append(Marshal(&TCPPing{}), 1), &TCPPing{}, "tl: tcp.ping at byte 12: 1 bytes too many behind the object"},
	} {
		if err := Unmarshal(test.b, test.into); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// TestLenient keeps what every peer accepts: long string headers, dirty
// padding, unknown flag bits.
func TestLenient(t *testing.T) {
	for _, s := range []string{
		"\xf8\xba\x17\x9c\x01x\x00\x00",
		"\xf8\xba\x17\x9c\x01x\x07\x07",
		"\xf8\xba\x17\x9c\xfe\x01\x00\x00x\x00\x00\x00",
		"\xf8\xba\x17\x9c\xff\x01\x00\x00\x00\x00\x00\x00x\x00\x00\x00",
	} {
		o, err := Decode([]byte(s))
		if p, ok := o.(*TCPPacket); !ok || string(p.Data) != "x" {
			t.Errorf("Decode(%x) = %v, %v, want a packet of x", s, o, err)
		}
	}
	m := request()
	m.Flags |= FlagExtensions | 1<<17
	if got := mustRoundTrip(t, Marshal(m)).(*ClientRunQueryEx); got.Flags != m.Flags {
		t.Errorf("flags come back as %#x, want %#x", got.Flags, m.Flags)
	}
}

func TestFlagsDecideWhatIsWritten(t *testing.T) {
	m := &ClientQueryFinalInfo{WorkerDebug: "{}", ProxyEndTime: 2}
	for flags, size := range map[uint32]int{0: 48, 1: 56, 2: 80, 3: 88} {
		m.Flags = flags
		if got := len(Marshal(m)); got != size || m.SizeTL() != size {
			t.Errorf("flags %d: %d bytes, SizeTL() = %d, want %d", flags, got, m.SizeTL(), size)
		}
	}
	// A reused object must not keep what the new bytes leave out.
	m.Flags = 0
	reused := &ClientQueryFinalInfo{WorkerDebug: "old", ProxyEndTime: 1}
	if err := Unmarshal(Marshal(m), reused); err != nil || reused.WorkerDebug != "" || reused.ProxyEndTime != 0 {
		t.Errorf("reused object holds %q, %v, error %v", reused.WorkerDebug, reused.ProxyEndTime, err)
	}
}

func TestNilPaymentIsEmpty(t *testing.T) {
	m := &ClientPaymentStatus{DbTokens: 1}
	got, ok := mustRoundTrip(t, Marshal(m)).(*ClientPaymentStatus)
	if _, empty := got.SignedPayment.(*ProxySignedPaymentEmpty); !ok || !empty || m.SizeTL() != 24 {
		t.Errorf("nil payment comes back as %T, size %d", got.SignedPayment, m.SizeTL())
	}
}

func TestOwnership(t *testing.T) {
	b := Marshal(request())
	o, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	m := o.(*ClientRunQueryEx)
	_ = append(m.Query, "overrun"...)
	if m.MaxTokens != 0 || !bytes.Equal(b, Marshal(request())) {
		t.Error("appending to a bytes field wrote into the input")
	}
	for i := range b {
		b[i] = 0xee
	}
	if m.ModelName != "m" || m.Query[0] != 0xee {
		t.Errorf("after overwriting the input: name %q, query %x, want a copied name and shared bytes", m.ModelName, m.Query)
	}
}

func TestStringKeepsSecrets(t *testing.T) {
	m := &ProxyRunQueryEx{Query: []byte("secret"), PrivateKey: Int256{42}}
	if got := fmt.Sprintf("%v %+v %s", m, m, m); got != "proxy.runQueryEx proxy.runQueryEx proxy.runQueryEx" {
		t.Errorf("prints as %q", got)
	}
}

// TestMemoryIsBounded feeds the messages that grow most in memory.
func TestMemoryIsBounded(t *testing.T) {
	const n = 1 << 18
	for _, o := range []Object{
		&CocoonFeatures{Names: make([]string, n)},
		&HTTPRequest{Headers: make([]HTTPHeader, n)},
		&ClientWorkerTypesV2{Types: make([]ClientWorkerTypeV2, n)},
		&RootConfigPseudo{RegisteredProxies: make([]RootConfigRegisteredProxy, n)},
	} {
		b := Marshal(o)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Decode(b); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 6*uint64(len(b)) {
			t.Errorf("%s of %d bytes took %d bytes of memory", o.TLName(), len(b), grown)
		}
	}
}

func TestPeekID(t *testing.T) {
	for _, test := range []struct {
		b    []byte
		want uint32
	}{{nil, 0}, {[]byte{1, 2, 3}, 0}, {[]byte{1, 2, 3, 4}, 0x04030201}, {Marshal(request()), 0xf54cb74b}} {
		if got := PeekID(test.b); got != test.want {
			t.Errorf("PeekID(%x) = %#x, want %#x", test.b, got, test.want)
		}
	}
}
