package router_test

import (
	"io"
	"net"
	"testing"

	"github.com/opencocoon/cocoon/attest"
)

// Throughput through two routers beside that of plain TCP, in one run, and
// what a new connection costs.
func BenchmarkThroughput(b *testing.B) {
	sink := func(nc *net.TCPConn) { io.Copy(io.Discard, nc); nc.CloseWrite() }
	stream := func(b *testing.B, open func() *net.TCPConn) {
		nc := open()
		piece := make([]byte, 256<<10)
		b.SetBytes(int64(len(piece)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := nc.Write(piece); err != nil {
				b.Fatal(err)
			}
		}
		nc.CloseWrite()
		io.Copy(io.Discard, nc)
	}
	b.Run("plain", func(b *testing.B) {
		address := service(b, sink)
		stream(b, func() *net.TCPConn { return dial(b, address) })
	})
	b.Run("routers", func(b *testing.B) {
		socks, address := pair(b, sink)
		stream(b, func() *net.TCPConn {
			nc, err := via(b, socks, address)
			if err != nil {
				b.Fatal(err)
			}
			return nc
		})
	})
}

// A connection from SOCKS5 to the first echoed byte, without the proof of work, with
// evidence that both sides remember.
func BenchmarkConnect(b *testing.B) {
	a := authority(b)
	free := settings(b, "-R 0:"+service(b, echo)+"@tdx:"+image("client"))
	free.Ports[0].Difficulty = new(0)
	in := start(b, free, a.Machine("server"))
	out := start(b, settings(b, "-S 0@tdx:"+image("server")), attest.Platform(a.Machine("client")))
	b.ReportAllocs()
	for b.Loop() {
		nc, err := via(b, out.addr(0), in.addr(0))
		if err == nil {
			err = talk(nc)
		}
		if err != nil {
			b.Fatal(err)
		}
		nc.Close()
	}
}
