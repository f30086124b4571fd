package worker

import (
	"net"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// One small request at a time over a pipe, engine and scripted proxy
// included: an upper bound of what the worker itself costs.
func BenchmarkRequest(b *testing.B) {
	s := start(b, newProxy(b), enginetest.Fast(), nil)
	h := s.connected()
	q := query(post(pathChat, chat("")))
	b.ReportAllocs()
	for b.Loop() {
		if a := h.run(q); a.status != 200 {
			b.Fatalf("status %d %s", a.status, a.text)
		}
	}
}

// The worker with an engine that costs nothing: a loopback socket that
// answers each request with the same bytes.
func BenchmarkRequestBareEngine(b *testing.B) {
	answer := "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 110\r\n\r\n" +
		`{"choices":[{"index":0,"message":{"content":"Hello."}}],"usage":{"prompt_tokens":11,"completion_tokens":2}}   `
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for buf := make([]byte, 16<<10); ; {
					if _, err := c.Read(buf); err != nil {
						return
					}
					c.Write([]byte(answer))
				}
			}()
		}
	}()
	s := start(b, newProxy(b), enginetest.Fast(), func(c *Config) { c.Engine = l.Addr().String() })
	h := s.connected()
	q := query(post(pathChat, chat("")))
	b.ReportAllocs()
	for b.Loop() {
		if a := h.run(q); a.status != 200 {
			b.Fatalf("status %d %s", a.status, a.text)
		}
	}
}

func BenchmarkReadRequest(b *testing.B) {
	raw := tl.Marshal(post(pathChat, chat(`,"stream":true,"max_tokens":100,"temperature":0.5`), "accept", "*/*", "user-agent", "bench"))
	b.ReportAllocs()
	for b.Loop() {
		var in tl.HTTPRequest
		if err := tl.Unmarshal(raw, &in); err != nil {
			b.Fatal(err)
		}
		if _, bad := readRequest(&in, enginetest.Model, false); bad != nil {
			b.Fatal(bad)
		}
	}
}

// One chunk of a stream, as engines write it when usage was asked for.
func BenchmarkMeterChunk(b *testing.B) {
	m := newMeter(price{1000, ledger.Plain, 20}, &request{stream: true}, openai.SSE, false)
	chunk := []byte(`data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1700000000,"model":"fake/model",` +
		`"choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n")
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		if out := m.feed(chunk); !strings.HasPrefix(string(out[:6]), "data:") {
			b.Fatal("lost")
		}
	}
}
