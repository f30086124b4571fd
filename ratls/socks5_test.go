package ratls

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"
)

// script is a SOCKS5 server that says the same to everybody.
type script struct {
	io.Reader
	got bytes.Buffer
}

func (s *script) Write(b []byte) (int, error) { return s.got.Write(b) }

func TestSOCKSRequest(t *testing.T) {
	for target, want := range map[string]string{
		"10.1.2.3:11001":       "\x05\x01\x00" + "\x05\x01\x00\x01\x0a\x01\x02\x03\x2a\xf9",
		"[2001:db8::1]:11001":  "\x05\x01\x00" + "\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x2a\xf9",
		"[::ffff:1.2.3.4]:256": "\x05\x01\x00" + "\x05\x01\x00\x01\x01\x02\x03\x04\x01\x00",
	} {
		to, err := resolve(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		for _, reply := range []string{"\x05\x00\x00\x01abcd\x00\x01", "\x05\x00\x00\x04abcdefghijklmnop\x00\x01"} {
			s := &script{Reader: strings.NewReader("\x05\x00" + reply + "rest")}
			if err := socksConnect(s, to); err != nil || s.got.String() != want {
				t.Errorf("%s: sent %q, %v, want %q", target, s.got.String(), err, want)
			}
			if rest, _ := io.ReadAll(s.Reader); string(rest) != "rest" {
				t.Errorf("%s: left %q, want what follows the reply", target, rest)
			}
		}
	}
}

func TestResolve(t *testing.T) {
	to, err := resolve(t.Context(), "localhost:80")
	if err != nil || to != netip.MustParseAddrPort("127.0.0.1:80") {
		t.Errorf("localhost:80 is %v, %v, want its IPv4 address", to, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for _, bad := range []string{"", "1.2.3.4", "1.2.3.4:", "1.2.3.4:99999", "[::1", "localhost:no-such-service"} {
		if to, err := resolve(ended, bad); err == nil {
			t.Errorf("%q is %v", bad, to)
		}
	}
}

func FuzzSOCKS5(f *testing.F) {
	f.Add([]byte("\x05\x00\x05\x00\x00\x01abcd\x00\x01"))
	f.Add([]byte("\x05\x00\x05\x00\x00\x04abcdefghijklmnop\x00\x01rest"))
	f.Add([]byte("\x05\xff"))
	f.Add([]byte("\x05\x00\x05\x01\x00\x03"))
	to := netip.MustParseAddrPort("127.0.0.1:1")
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		if err := socksConnect(&script{Reader: r}, to); err != nil {
			return
		}
		// A reply that counts as success is one of two sizes, never more.
		if used := len(b) - r.Len(); used != 12 && used != 24 {
			t.Fatalf("took %d bytes of %x", used, b)
		}
	})
}
