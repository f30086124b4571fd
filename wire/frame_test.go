package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencocoon/cocoon/tl"
)

type frameVector struct {
	Label          string
	Direction      string
	Seqno          uint32
	Payload, Frame string
}

func loadVectors(t testing.TB, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func frameVectors(t testing.TB) []frameVector {
	var v struct{ Frames []frameVector }
	loadVectors(t, "testdata/tcp_frames.json", &v)
	if len(v.Frames) < 12 {
		t.Fatalf("%d vectors", len(v.Frames))
	}
	return v.Frames
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each vector is read as a frame, parsed, and written again to the same bytes;
// the generated types agree on its contents.
func TestFrameVectors(t *testing.T) {
	for _, v := range frameVectors(t) {
		frame, payload := unhex(t, v.Frame), unhex(t, v.Payload)
		f := newFrameReader(bytes.NewReader(frame), maxPayload)
		f.seq = v.Seqno
		got, err := f.next()
		if err != nil || !bytes.Equal(got, payload) {
			t.Errorf("%s: read %x, %v", v.Label, got, err)
			continue
		}
		m, err := parse(got)
		if err != nil {
			t.Errorf("%s: %v", v.Label, err)
			continue
		}
		out := outgoing{kind: m.kind, id: m.id, code: m.code, raw: m.data}
		again, err := out.append(nil, v.Seqno, len(m.data), out.size(len(m.data)))
		if err != nil || !bytes.Equal(again, frame) {
			t.Errorf("%s: wrote %x, %v", v.Label, again, err)
		}
		sameAsGenerated(t, payload, m, nil)
	}
}

// sameAsGenerated holds parse against the decoder of package tl.
func sameAsGenerated(t testing.TB, payload []byte, m message, err error) {
	t.Helper()
	o, tlErr := tl.Decode(payload)
	var want message
	switch o := o.(type) {
	case *tl.TCPPing:
		want = message{kind: idPing, id: o.ID}
	case *tl.TCPPong:
		want = message{kind: idPong, id: o.ID}
	case *tl.TCPConnect:
		want = message{kind: idConnect, id: o.ID}
	case *tl.TCPConnected:
		want = message{kind: idConnected, id: o.ID}
	case *tl.TCPPacket:
		want = message{kind: idPacket, data: o.Data}
	case *tl.TCPQuery:
		want = message{kind: idQuery, id: o.ID, data: o.Data}
	case *tl.TCPQueryAnswer:
		want = message{kind: idQueryAnswer, id: o.ID, data: o.Data}
	case *tl.TCPQueryError:
		want = message{kind: idQueryError, id: o.ID, code: o.Code, data: []byte(o.Message)}
	default:
		if err == nil {
			t.Errorf("parse accepts %x, package tl says %v", payload, tlErr)
		}
		return
	}
	if err != nil {
		t.Errorf("parse refuses %x (%v), package tl reads %v", payload, err, o)
		return
	}
	if m.kind != want.kind || m.id != want.id || m.code != want.code || !bytes.Equal(m.data, want.data) {
		t.Errorf("parse reads %x as %+v, package tl as %+v", payload, m, want)
	}
}

func TestFrameRefusals(t *testing.T) {
	for _, row := range []struct {
		name, in, want string
	}{
		{"length 0", "00000000", "frame of 0 bytes, want 4 to 16777216"},
		{"length 3", "03000000", "frame of 3 bytes"},
		{"length 2^24+1", "01000001", "frame of 16777217 bytes"},
		{"length 2^32-1", "ffffffff", "frame of 4294967295 bytes"},
		{"number 1 first", "0400000001000000", "frame number 1, want 0"},
		{"number -1 first", "04000000ffffffff", "frame number -1, want 0"},
		{"number repeated", "040000000000000001020304" + "0400000000000000", "frame number 0, want 1"},
		{"HTTP", hex.EncodeToString([]byte("GET / HTTP/1.1\r\n\r\n")), "protocol violation"},
		{"end in the length", "0400", "unexpected EOF"},
		{"end after the length", "04000000", "unexpected EOF"},
		{"end in the number", "040000000000", "unexpected EOF"},
		{"end in the payload", "0400000000000000aabb", "unexpected EOF"},
		{"end in a large payload", "0000000100000000aabb", "unexpected EOF"},
	} {
		f := newFrameReader(bytes.NewReader(unhex(t, row.in)), maxPayload)
		var err error
		for err == nil {
			_, err = f.next()
		}
		if !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	f := newFrameReader(strings.NewReader(""), maxPayload)
	if _, err := f.next(); err != io.EOF {
		t.Errorf("end between frames: %v, want EOF", err)
	}
}

// A wrong length is refused before anything else has arrived.
func TestLengthJudgedAtOnce(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go w.Write([]byte{3, 0, 0, 0})
	if _, err := newFrameReader(r, maxPayload).next(); !errors.Is(err, ErrProtocol) {
		t.Errorf("error is %v, want a protocol violation", err)
	}
}

func TestMessageRefusals(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"unknown kind", "efbeadde", "unknown kind 0xdeadbeef"},
		{"ping without id", "7c62e9bb01000000", "ends in its id"},
		{"ping with more", "7c62e9bb4d0000000000000000000000", "4 bytes too many"},
		{"connect with more", "61427ca5080706050403020100000000", "4 bytes too many"},
		{"error without code", "02f6d24c6400000000000000", "ends in its code"},
		{"error without text", "02f6d24c64000000000000005a020000", "ends in its data"},
		{"packet without data", "f8ba179c", "ends in its data"},
		{"packet shorter than it says", "f8ba179c0868656c6c6f0000", "ends in its data"},
		{"packet without padding", "f8ba179c0568656c6c6f", "ends in its data"},
		{"packet with more", "f8ba179c0568656c6c6f000000000000", "4 bytes too many"},
		{"middle form beyond the end", "f8ba179cfeffffff00000000", "ends in its data"},
		{"long form beyond the end", "f8ba179cffffffffffffffff00000000", "ends in its data"},
		{"long form cut", "f8ba179cff000000", "ends in its data"},
	} {
		_, err := parse(unhex(t, row.in))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		sameAsGenerated(t, unhex(t, row.in), message{}, err)
	}
}

// Lengths written longer than needed and dirty padding are no offence.
func TestMessageLeniency(t *testing.T) {
	for _, in := range []string{
		"f8ba179cfe05000068656c6c6faabbcc",         // middle form for five bytes
		"f8ba179cff0500000000000068656c6c6faabbcc", // long form
		"f8ba179c0568656c6c6faabb",                 // padding not zero
	} {
		m, err := parse(unhex(t, in))
		if err != nil || string(m.data) != "hello" {
			t.Errorf("%s: %q, %v", in, m.data, err)
		}
		sameAsGenerated(t, unhex(t, in), m, err)
	}
}

// However the stream is cut, the same payloads come out.
func TestFramesInPieces(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	var want [][]byte
	for i, n := range []int{4, 5, 100, readWindow - 8, readWindow, readWindow + 1, progress, progress + 1, 5 * progress, 12} {
		p := make([]byte, n)
		for j := range p {
			p[j] = byte(random.Uint32())
		}
		want = append(want, p)
		stream = append(stream, framed(uint32(i), p)...)
	}
	for name, cut := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader,
		"halves": iotest.HalfReader, "early EOF": iotest.DataErrReader,
	} {
		f := newFrameReader(cut(bytes.NewReader(stream)), maxPayload)
		for i, w := range want {
			if got, err := f.next(); err != nil || !bytes.Equal(got, w) {
				t.Fatalf("%s: frame %d has %d bytes (%v), want %d", name, i, len(got), err, len(w))
			}
		}
		if _, err := f.next(); err != io.EOF {
			t.Errorf("%s: at the end %v", name, err)
		}
	}
}

// The sequence number is 32 bits that wrap; long-lived connections get there.
func TestFrameNumberWraps(t *testing.T) {
	f := newFrameReader(bytes.NewReader(append(framed(1<<32-1, make([]byte, 4)), framed(0, make([]byte, 4))...)), maxPayload)
	f.seq = 1<<32 - 1
	for range 2 {
		if _, err := f.next(); err != nil {
			t.Error(err)
		}
	}
}

// countingReader yields zeros and knows how many it has yielded.
type countingReader struct{ n, limit int }

func (r *countingReader) Read(b []byte) (int, error) {
	b = b[:min(len(b), 1000, r.limit-r.n)]
	if len(b) == 0 {
		return 0, io.EOF
	}
	clear(b)
	r.n += len(b)
	return len(b), nil
}

// An announced length reserves nothing; what is reserved stays in
// proportion to what has come, and is given back.
func TestMemoryFollowsArrival(t *testing.T) {
	header := framed(0, nil)
	copy(header, []byte{0, 0, 0, 1}) // 2^24
	body := &countingReader{limit: 3 << 20}
	f := newFrameReader(io.MultiReader(bytes.NewReader(header), body), maxPayload)
	held, steps := 0, 0
	f.hold = func(n int) error {
		if body.n < readWindow-headerSize || n > 4*(body.n+headerSize) {
			t.Errorf("%d bytes held after %d arrived", n, body.n)
		}
		held = n
		steps++
		return nil
	}
	if _, err := f.next(); err != io.ErrUnexpectedEOF {
		t.Errorf("error is %v", err)
	}
	if held != 0 || steps < 5 {
		t.Errorf("%d bytes held at the end, %d steps", held, steps)
	}
}

func FuzzMessage(f *testing.F) {
	for _, v := range frameVectors(f) {
		f.Add(unhex(f, v.Payload))
	}
	f.Add(unhex(f, "f8ba179cff0500000000000068656c6c6faabbcc"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) < minPayload {
			return // never gets past the frame
		}
		m, err := parse(payload)
		sameAsGenerated(t, payload, m, err)
		if err != nil {
			return
		}
		out := outgoing{kind: m.kind, id: m.id, code: m.code, raw: m.data}
		frame, err := out.append(nil, 0, len(m.data), out.size(len(m.data)))
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(frame[headerSize:])
		if err != nil || again.id != m.id || again.code != m.code || !bytes.Equal(again.data, m.data) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}
