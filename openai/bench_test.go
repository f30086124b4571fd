package openai

import (
	"net/http"
	"strings"
	"testing"
)

func BenchmarkParseOptions(b *testing.B) {
	h := http.Header{"Content-Type": {"application/json"}}
	for name, body := range map[string]string{
		"small": `{"model":"m","stream":true,"max_tokens":100,"messages":[{"role":"user","content":"hello"}]}`,
		"100kB": `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("hello \\n", 14_000) + `"}]}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := ParseOptions(h, []byte(body)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSplitter(b *testing.B) {
	event := []byte(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":"token "}}]}` + "\n\n")
	s, n := NewSplitter(SSE, 0), 0
	b.SetBytes(int64(len(event)))
	b.ReportAllocs()
	for b.Loop() {
		s.Feed(event, func(Piece) { n++ })
	}
}
