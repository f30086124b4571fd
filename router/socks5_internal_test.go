package router

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/opencocoon/cocoon/attest"
)

// dialog is a program that has said everything in advance.
type dialog struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (d *dialog) Read(b []byte) (int, error)  { return d.in.Read(b) }
func (d *dialog) Write(b []byte) (int, error) { return d.out.Write(b) }

func ask(t testing.TB, said string, users func(string) bool) (*dialog, request, error) {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(said, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	d := &dialog{in: bytes.NewReader(b)}
	q, err := readRequest(d, users)
	return d, q, err
}

func onlyMine(name string) bool { return name == "mine" }

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		name, said string
		users      func(string) bool
		address    string
		user       string
		heard      string
		left       int // bytes that belong to the peer
	}{
		{"IPv4", "050100 05010001 0a000001 1f90", nil, "10.0.0.1:8080", "", "0500", 0},
		{"IPv6", "050100 05010004 fd000000000000000000000000000001 1f90", nil, "[fd00::1]:8080", "", "0500", 0},
		{"name", "050100 05010003 09" + hex.EncodeToString([]byte("localhost")) + "1f90", nil, "localhost:8080", "", "0500", 0},
		{"several methods", "0503020100 05010001 0a000001 1f90", nil, "10.0.0.1:8080", "", "0500", 0},
		{"early bytes", "050100 05010001 0a000001 1f90 0102030405", nil, "10.0.0.1:8080", "", "0500", 5},
		{"user", "05020002 01 04 6d696e65 00 05010001 0a000001 1f90 ff", onlyMine, "10.0.0.1:8080", "mine", "0502 0100", 1},
		{"user not offered", "050100 05010001 0a000001 1f90", onlyMine, "10.0.0.1:8080", "", "0500", 0},
		{"user not wanted", "05020002 05010001 0a000001 1f90", nil, "10.0.0.1:8080", "", "0500", 0},
		{"reserved byte", "050100 0501ff01 0a000001 1f90", nil, "10.0.0.1:8080", "", "0500", 0},
	} {
		d, q, err := ask(t, c.said, c.users)
		if err != nil || q.address != c.address || q.user != c.user || d.in.Len() != c.left {
			t.Errorf("%s: %+v, %v, %d left, want %s, %q, %d", c.name, q, err, d.in.Len(), c.address, c.user, c.left)
		}
		if heard := hex.EncodeToString(d.out.Bytes()); heard != strings.ReplaceAll(c.heard, " ", "") {
			t.Errorf("%s: answered %s, want %s", c.name, heard, c.heard)
		}
	}
}

func TestRequestRefusals(t *testing.T) {
	greeted := "050100 "
	for _, c := range []struct {
		name, said string
		users      func(string) bool
		want       string
		code       int // of the reply; 0 for none
		heard      string
	}{
		{"nothing", "", nil, "greeting: EOF", 0, ""},
		{"SOCKS4", "0401", nil, "greeting of version 4", 0, ""},
		{"HTTP", hex.EncodeToString([]byte("GET / HTTP/1.1")), nil, "greeting of version 71", 0, ""},
		{"methods cut short", "0502 00", nil, "greeting: unexpected EOF", 0, ""},
		{"no methods", "0500", nil, "methods  offered", 0, "05ff"},
		{"only GSSAPI", "050101", nil, "methods 01 offered", 0, "05ff"},
		{"only a user name where none is wanted", "050102", nil, "methods 02 offered", 0, "05ff"},
		{"user of another version", "050102 02046d696e6500", onlyMine, "user name of version 2", 0, "0502"},
		{"user cut short", "050102 01046d69", onlyMine, "user name: unexpected EOF", 0, "0502"},
		{"password cut short", "050102 01046d696e6502aa", onlyMine, "password: unexpected EOF", 0, "0502"},
		{"unknown user", "050102 0103616e7900", onlyMine, `"any" is no policy`, 0, "05020101"},
		{"empty user", "050102 010000", onlyMine, `"" is no policy`, 0, "05020101"},
		{"request of another version", greeted + "04010001 0a000001 1f90", nil, "request of version 4", 0, "0500"},
		{"bind", greeted + "05020001 0a000001 1f90", nil, "command 2", 7, "0500"},
		{"UDP", greeted + "05030001 0a000001 1f90", nil, "command 3", 7, "0500"},
		{"address type", greeted + "05010002 0a000001 1f90", nil, "address type 2", 8, "0500"},
		{"port 0", greeted + "05010001 0a000001 0000", nil, "port 0", 1, "0500"},
		{"empty name", greeted + "05010003 00 1f90", nil, `host name ""`, 1, "0500"},
		{"name with a line end", greeted + "05010003 03610a62 1f90", nil, "host name", 1, "0500"},
		{"name with a zero", greeted + "05010003 02 6100 1f90", nil, "host name", 1, "0500"},
		{"address cut short", greeted + "05010001 0a0000", nil, "address: unexpected EOF", 0, "0500"},
		{"name cut short", greeted + "05010003 0961", nil, "host name: unexpected EOF", 0, "0500"},
		{"port missing", greeted + "05010001 0a000001", nil, "port: EOF", 0, "0500"},
	} {
		d, _, err := ask(t, c.said, c.users)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		var asked *socksError
		if code := 0; errors.As(err, &asked) {
			code = int(asked.code)
			if code != c.code {
				t.Errorf("%s: code %d, want %d", c.name, code, c.code)
			}
		} else if c.code != 0 {
			t.Errorf("%s: no code, want %d", c.name, c.code)
		}
		if heard := hex.EncodeToString(d.out.Bytes()); heard != c.heard {
			t.Errorf("%s: answered %s, want %s", c.name, heard, c.heard)
		}
	}
}

func TestReplies(t *testing.T) {
	for _, c := range []struct{ bound, want string }{
		{"127.0.0.1:258", "050000017f0000010102"},
		{"[::ffff:10.0.0.1]:1", "050000010a0000010001"},
		{"[fe80::1%eth0]:1", "05000004fe8000000000000000000000000000010001"},
	} {
		if got := hex.EncodeToString(reply(0, netip.MustParseAddrPort(c.bound))); got != c.want {
			t.Errorf("%s: %s, want %s", c.bound, got, c.want)
		}
	}
	if got := hex.EncodeToString(reply(5, netip.AddrPort{})); got != "05050001000000000000" {
		t.Errorf("nowhere: %s", got)
	}
	for _, c := range []struct {
		err  error
		want byte
	}{
		{&socksError{replyNoCommand, ""}, 7},
		{&attest.RefusedError{}, 2},
		{fmt.Errorf("%w: %w", errDial, syscall.ECONNREFUSED), 5},
		{fmt.Errorf("%w: %w", errDial, syscall.ENETUNREACH), 3},
		{fmt.Errorf("%w: %w", errDial, &net.DNSError{}), 4},
		{fmt.Errorf("%w: %w", errDial, context.DeadlineExceeded), 4},
		{fmt.Errorf("negotiation %w", errSlow), 1},
	} {
		if got := codeOf(c.err); got != c.want {
			t.Errorf("%v: code %d, want %d", c.err, got, c.want)
		}
	}
}

func FuzzSOCKS5(f *testing.F) {
	for _, s := range []string{"050100050100010a0000011f90ff", "0502000201046d696e6500050100010a0000011f90", "05010005010003096c6f63616c686f73741f90", "0401"} {
		b, _ := hex.DecodeString(s)
		f.Add(b, true)
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, said []byte, named bool) {
		users := onlyMine
		if !named {
			users = nil
		}
		d := &dialog{in: bytes.NewReader(said)}
		q, err := readRequest(d, users)
		if err != nil {
			return
		}
		if q.user != "" && (q.user != "mine" || !named) {
			t.Errorf("user %q", q.user)
		}
		host, port, err := net.SplitHostPort(q.address)
		if err != nil || host == "" || port == "0" {
			t.Errorf("address %q, %v", q.address, err)
		}
		// What was read is what the request takes, and nothing of the peer's.
		taken := said[:len(said)-d.in.Len()]
		again := &dialog{in: bytes.NewReader(taken)}
		if q2, err := readRequest(again, users); err != nil || q2 != q || again.in.Len() != 0 {
			t.Errorf("%x: %+v, %v, then %+v", taken, q, err, q2)
		}
		if _, err := readRequest(&dialog{in: bytes.NewReader(taken[:len(taken)-1])}, users); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%x less a byte: %v", taken, err)
		}
	})
}
