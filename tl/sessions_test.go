package tl

import (
	"bufio"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFramePayloads decodes the payloads seen at, or checked against, the
// reference's framing code.
func TestFramePayloads(t *testing.T) {
	var v struct {
		Frames []struct{ Label, Payload, Frame string }
	}
	readJSON(t, "tcp_frames.json", &v)
	for _, f := range v.Frames {
		payload := unhex(t, f.Payload)
		if frame := unhex(t, f.Frame); string(frame[8:]) != string(payload) {
			t.Errorf("%s: frame and payload differ", f.Label)
		}
		if _, ok := mustRoundTrip(t, payload).(TCPPacketClass); !ok {
			t.Errorf("%s: no tcp.Packet", f.Label)
		}
	}
	if len(v.Frames) == 0 {
		t.Error("no frames")
	}
}

// TestSessions decodes whole recorded sessions down to the HTTP messages
// inside, and wants every byte back.
func TestSessions(t *testing.T) {
	for name, want := range map[string]int{"proxy_clients": 41, "proxy_workers": 45} {
		frames := sessionFrames(t, name)
		if len(frames) != want {
			t.Errorf("%s: %d frames, want %d", name, len(frames), want)
		}
		seen := map[string]int{}
		for _, frame := range frames {
			nested(t, mustRoundTrip(t, frame), seen)
		}
		for _, must := range []string{"http.request", "http.response"} {
			if seen[must] == 0 {
				t.Errorf("%s: no %s found: %v", name, must, seen)
			}
		}
	}
}

// nested follows the boxed objects inside an object.
func nested(t *testing.T, o Object, seen map[string]int) {
	t.Helper()
	seen[o.TLName()]++
	var inner []byte
	switch o := o.(type) {
	case *TCPPacket:
		inner = o.Data
	case *TCPQuery:
		inner = o.Data
	case *TCPQueryAnswer:
		inner = o.Data
	case *ClientRunQueryEx:
		inner = o.Query
	case *ProxyRunQueryEx:
		inner = o.Query
	case *ClientQueryAnswerEx:
		inner = o.Answer
	case *ProxyQueryAnswerEx:
		inner = o.Answer
	default:
		return
	}
	nested(t, mustRoundTrip(t, inner), seen)
}

// sessionFrames returns the payloads of all TL frames in a recording.
func sessionFrames(t testing.TB, name string) (out [][]byte) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "sessions", name+".frames.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) != 7 || words[3] != "TL" {
			continue
		}
		frame := unhex(t, words[6])
		if n := binary.LittleEndian.Uint32(frame); int(n) != len(frame)-8 {
			t.Fatalf("%s: frame %s has %d bytes, want %d", name, words[0], len(frame)-8, n)
		}
		out = append(out, frame[8:])
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
