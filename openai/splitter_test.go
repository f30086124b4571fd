package openai

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// split feeds body in chunks of size and returns its documents and raw bytes.
func split(f Framing, max int, body string, size int) (docs []string, raw string) {
	s := NewSplitter(f, max)
	emit := func(p Piece) {
		raw += string(p.Raw)
		switch {
		case p.Done:
			docs = append(docs, "DONE")
		case p.JSON != nil:
			docs = append(docs, string(p.JSON))
		}
	}
	for at := 0; at < len(body); at += size {
		s.Feed([]byte(body[at:min(at+size, len(body))]), emit)
	}
	s.Close(emit)
	return docs, raw
}

func TestSplitter(t *testing.T) {
	for _, c := range []struct {
		name    string
		framing Framing
		body    string
		want    string
	}{
		{"sse lf", SSE, "data: {\"a\":1}\n\ndata: {\"a\":2}\n\ndata: [DONE]\n\n", `{"a":1} {"a":2} DONE`},
		{"sse crlf", SSE, "data: {\"a\":1}\r\n\r\ndata:[DONE]\r\n\r\n", `{"a":1} DONE`},
		{"sse cr", SSE, "data: 1\r\rdata: 2\r\r", "1 2"},
		{"sse mixed ends", SSE, "data: 1\n\r\ndata: 2\r\n\n", "1 2"},
		{"sse bom", SSE, "\xef\xbb\xbfdata: 1\n\n", "1"},
		{"sse bom only once", SSE, "data: 1\n\n\xef\xbb\xbfdata: 2\n\n", "1"},
		{"sse comments and fields", SSE, ": ping\n\nevent: x\nid: 3\ndata: {}\nretry: 9\n\n:\n\n", "{}"},
		{"sse multi-line data", SSE, "data: {\"a\":\ndata: 1}\n\n", "{\"a\":\n1}"},
		{"sse no colon, other names", SSE, "data\n\ndatax: 1\n\n data: 2\n\n", ""},
		{"sse empty data", SSE, "data:\n\ndata: \n\n", ""},
		{"sse only one blank is cut", SSE, "data:  1\n\n", "1"},
		{"sse end without blank line", SSE, "data: 1\n\ndata: {\"usage\":0}\n", `1 {"usage":0}`},
		{"sse keep-alive blank lines", SSE, "\n\n\ndata: 1\n\n\n\n", "1"},
		{"ndjson", NDJSON, "{\"a\":1}\n\n{\"a\":2}\r\n{\"a\":3}", `{"a":1} {"a":2} {"a":3}`},
		{"plain one", Plain, " {\"a\":[1,\"}\"]} ", `{"a":[1,"}"]}`},
		{"plain several", Plain, "{\"a\":1}\n{\"b\":\"\\\"}\"}{\"c\":3} [4] \"five\" 6 true", `{"a":1} {"b":"\"}"} {"c":3} [4] "five" 6 true`},
		{"plain text", Plain, "<html>{}</html>", ""},
		{"plain text like a literal", Plain, "this is text", ""},
		{"plain text behind a value", Plain, "{} oops {}", "{}"},
		{"empty", Plain, "", ""},
	} {
		for size := 1; size <= len(c.body)+1; size++ {
			docs, raw := split(c.framing, 0, c.body, size)
			if got := strings.Join(docs, " "); got != c.want {
				t.Errorf("%s, chunks of %d: %q, want %q", c.name, size, got, c.want)
			}
			if raw != c.body {
				t.Errorf("%s, chunks of %d: raw %q", c.name, size, raw)
			}
		}
	}
}

// An event must leave with its last byte, not with the first of the next.
func TestSplitterIsPrompt(t *testing.T) {
	for f, events := range map[Framing][]string{
		SSE:    {"data: 1\n\n", "data: 2\r\n\r\n", "data: 3\r\r", ": c\n\n"},
		NDJSON: {"{}\n", "[]\r\n"},
		Plain:  {"{}", "[1]", "{\"a\":2}\n"},
	} {
		s, n := NewSplitter(f, 0), 0
		for i, event := range events {
			s.Feed([]byte(event), func(p Piece) { n++ })
			if n != i+1 {
				t.Errorf("%s: %d pieces after event %q, want %d", f, n, event, i+1)
			}
		}
	}
}

func TestSplitterLimit(t *testing.T) {
	big := `{"big":"` + strings.Repeat("x", 1000) + `"}`
	for f, body := range map[Framing]string{
		SSE: "data: {}\n\ndata: " + big + "\n\ndata: []\n\n", NDJSON: "{}\n" + big + "\n[]\n", Plain: "{}" + big + "[]",
	} {
		for _, size := range []int{1, 7, 99, 400} {
			s := NewSplitter(f, 500)
			var docs []string
			held := 0
			for at := 0; at < len(body); at += size {
				s.Feed([]byte(body[at:min(at+size, len(body))]), func(p Piece) {
					if p.JSON != nil {
						docs = append(docs, string(p.JSON))
					}
				})
				held = max(held, len(s.buf))
			}
			if fmt.Sprint(docs) != "[{} []]" || held > 500 {
				t.Errorf("%s, chunks of %d: documents %v, %d bytes held; want [{} []] and at most 500", f, size, docs, held)
			}
		}
	}
}

func TestAppendWith(t *testing.T) {
	for _, c := range []struct {
		f          Framing
		body, want string
	}{
		{SSE, "event: m\ndata: {\"a\":1}\r\nid: 7\n\n", "event: m\ndata: NEW\r\nid: 7\n\n"},
		{SSE, "data: {\"a\":\ndata: 1}\n\n", "data: NEW\n\n"},
		{SSE, ": ping\n\n", ": ping\n\n"},
		{NDJSON, " {} \n", " NEW \n"},
		{Plain, "{}\n", "NEW\n"},
	} {
		var got []byte
		s := NewSplitter(c.f, 0)
		emit := func(p Piece) { got = p.AppendWith(got, []byte("NEW")) }
		s.Feed([]byte(c.body), emit)
		s.Close(emit)
		if string(got) != c.want {
			t.Errorf("%q becomes %q, want %q", c.body, got, c.want)
		}
	}
}

// FuzzSplitter checks that no chunking changes what comes out.
func FuzzSplitter(f *testing.F) {
	f.Add(uint8(1), uint8(3), []byte("\xef\xbb\xbfdata: {\"a\":1}\r\n\r\n: c\n\ndata: [DONE]\n\n"))
	f.Add(uint8(2), uint8(1), []byte("{}\n[]\r\n"))
	f.Add(uint8(0), uint8(2), []byte("{\"a\":\"}\\\"\"}[1] 12 true text"))
	f.Fuzz(func(t *testing.T, framing, size uint8, body []byte) {
		fr, n := Framing(framing%3), int(size)+1
		docs, raw := split(fr, 0, string(body), n)
		if raw != string(body) {
			t.Fatalf("raw bytes differ: %q, want %q", raw, body)
		}
		if whole, _ := split(fr, 0, string(body), len(body)+1); fmt.Sprint(docs) != fmt.Sprint(whole) {
			t.Fatalf("documents depend on chunks: %q, whole %q", docs, whole)
		}
		var small []byte
		s := NewSplitter(fr, 16)
		emit := func(p Piece) { small = append(small, p.Raw...) }
		for at := 0; at < len(body); at += n {
			s.Feed(body[at:min(at+n, len(body))], emit)
			if len(s.buf) > 16 {
				t.Fatalf("%d bytes held, limit 16", len(s.buf))
			}
		}
		s.Close(emit)
		if !bytes.Equal(small, body) {
			t.Fatal("raw bytes differ with a small limit")
		}
	})
}
