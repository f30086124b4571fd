package tdx

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// hostService plays the host's quoting service on a real socket: it reads one
// request by the protocol, checks it, and answers with what answer makes of
// the report.
func hostService(t *testing.T, answer func(report []byte) []byte) func(context.Context) (connection, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var length [4]byte
				if _, err := io.ReadFull(conn, length[:]); err != nil {
					return
				}
				b := make([]byte, binary.BigEndian.Uint32(length[:]))
				if _, err := io.ReadFull(conn, b); err != nil {
					return
				}
				le := binary.LittleEndian
				if le.Uint16(b) != 1 || le.Uint32(b[4:]) != 0 || int(le.Uint32(b[8:])) != len(b) || le.Uint32(b[16:]) != reportBytes || le.Uint32(b[20:]) != 0 {
					t.Errorf("request %x", b[:24])
				}
				if reply := answer(b[24:]); reply != nil {
					conn.Write(reply)
				} else {
					io.Copy(io.Discard, conn) // never answers
				}
			}()
		}
	}()
	return func(ctx context.Context) (connection, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}
}

// reply is an answer of the service with its length in front.
func reply(major uint16, kind, failure uint32, id, quote []byte) []byte {
	le := binary.LittleEndian
	size := uint32(24 + len(id) + len(quote))
	b := binary.BigEndian.AppendUint32(nil, size)
	b = le.AppendUint16(le.AppendUint16(b, major), 1)
	for _, v := range []uint32{kind, size, failure, uint32(len(id)), uint32(len(quote))} {
		b = le.AppendUint32(b, v)
	}
	return append(append(b, id...), quote...)
}

func fakeReport(data [64]byte) ([]byte, error) {
	return append(bytes.Repeat([]byte{7}, reportBytes-64), data[:]...), nil
}

func TestQuoteByHost(t *testing.T) {
	data := [64]byte{1, 2, 3}
	g := &Guest{report: fakeReport, dial: hostService(t, func(report []byte) []byte {
		return reply(1, 1, 0, []byte("id"), append([]byte("quote of "), report[reportBytes-64:]...))
	})}
	got, err := g.Quote(t.Context(), data)
	if err != nil || !bytes.Equal(got, append([]byte("quote of "), data[:]...)) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestQuoteByHostRefuses(t *testing.T) {
	good := reply(1, 1, 0, nil, []byte("quote"))
	edit := func(at int, v byte) []byte { b := bytes.Clone(good); b[at] = v; return b }
	for _, c := range []struct {
		name  string
		reply []byte
		want  string
	}{
		{"an error", reply(1, 1, 0x12, nil, nil), "error 0x12"},
		{"another version", reply(2, 1, 0, nil, []byte("quote")), "version 2"},
		{"a request", reply(1, 0, 0, nil, []byte("quote")), "type 0"},
		{"no quote", reply(1, 1, 0, nil, nil), "no quote"},
		{"another size", edit(12, 99), "size 99"},
		{"an id that is too long", edit(20, 99), "id needs 99"},
		{"a quote that is too long", edit(24, 99), "quote needs 99"},
		{"a quote that is too short", edit(24, 4), "1 bytes behind"},
		{"an answer that is too long", binary.BigEndian.AppendUint32(nil, 1<<30), "answer of 1073741824 bytes"},
		{"an answer that is too short", binary.BigEndian.AppendUint32(nil, 8), "answer of 8 bytes"},
		{"half an answer", good[:20], "EOF"},
		{"half a length", good[:2], "EOF"},
	} {
		g := &Guest{report: fakeReport, dial: hostService(t, func([]byte) []byte { return c.reply })}
		if _, err := g.Quote(t.Context(), [64]byte{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestQuoteByHostThatIsSilent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := &Guest{report: fakeReport, dial: hostService(t, func([]byte) []byte { cancel(); return nil })}
	if _, err := g.Quote(ctx, [64]byte{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	g.report = func([64]byte) ([]byte, error) { return nil, errors.New("no report") }
	if _, err := g.Quote(t.Context(), [64]byte{}); err == nil || !strings.Contains(err.Error(), "no report") {
		t.Errorf("error %v, want the kernel's", err)
	}
}

func FuzzQGSAnswer(f *testing.F) {
	f.Add(reply(1, 1, 0, []byte("id"), []byte("quote"))[4:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if quote, err := qgsQuote(b); err == nil && !bytes.HasSuffix(b, quote) {
			t.Fatal("a quote that is not the answer's end")
		}
	})
}
