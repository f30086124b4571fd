package client

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkGateway is a small request through the gateway's HTTP server, with
// a caller that costs as little as possible and a proxy in the same process.
func BenchmarkGateway(b *testing.B) {
	p := &scriptedProxy{version: 4}
	_, url := newNetwork(b, p).gateway(p.net.config())
	request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", pathChat, len(chatBody), chatBody)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			b.Error(err)
			return
		}
		defer nc.Close()
		in := bufio.NewReader(nc)
		for pb.Next() {
			io.WriteString(nc, request)
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != 200 {
				b.Errorf("%v %v", res, err)
				return
			}
			io.Copy(io.Discard, res.Body)
		}
	})
}

// BenchmarkTransport is the library alone.
func BenchmarkTransport(b *testing.B) {
	p := &scriptedProxy{version: 4}
	c := newNetwork(b, p).startReady(p.net.config())
	b.ReportAllocs()
	for b.Loop() {
		r, _ := http.NewRequest("POST", "http://x"+pathChat, strings.NewReader(chatBody))
		res, err := c.Transport().RoundTrip(r)
		if err != nil || res.StatusCode != 200 {
			b.Fatalf("%v %v", res, err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
}
