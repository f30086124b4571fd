package proxy

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"net"
	"sync"
	"testing"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// benchPeer is a worker that answers at once, or a client that waits for ends.
type benchPeer struct{ ends chan tl.Int256 }

func (p *benchPeer) Query(_ *wire.Conn, q *wire.Query) { q.Fail(0, "") }
func (p *benchPeer) Closed(*wire.Conn, error)          {}
func (p *benchPeer) Packet(c *wire.Conn, data []byte) {
	switch tl.PeekID(data) {
	case (*tl.ProxyRunQueryEx)(nil).TLID():
		var q tl.ProxyRunQueryEx
		if tl.Unmarshal(data, &q) != nil {
			return
		}
		c.Send(&tl.ProxyQueryAnswerEx{RequestID: q.RequestID, Answer: benchHead})
		c.Send(&tl.ProxyQueryAnswerPartEx{RequestID: q.RequestID, Answer: []byte(`{"ok":true}`)})
		c.Send(&tl.ProxyQueryAnswerPartEx{RequestID: q.RequestID, Flags: 1, FinalInfo: final(10)})
	case (*tl.ProxyClientRequestPayment)(nil).TLID():
		p.ends <- tl.Int256(data[4:36])
	}
}

var benchHead = response(200, "", "content-type", "application/json", "transfer-encoding", "chunked", "server", "bench", "date", "Sat, 21 Nov 2026 00:00:00 GMT")

// BenchmarkRequests measures small requests over TCP on loopback, with the
// client's and the worker's ends in the same process: three parties in all.
func BenchmarkRequests(b *testing.B) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	workers, clients := listen(), listen()
	p, err := New(Config{WorkersListener: workers, ClientsListener: clients, Registry: contract.NewMemory(testRoot(b)),
		Key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)), OwnerAddress: ownerText, RootAddress: rootText})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	dial := func(l net.Listener, h wire.Handler, hello ...tl.Object) *wire.Conn {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		c, err := wire.Client(ctx, nc, h, wire.Config{})
		if err != nil {
			b.Fatal(err)
		}
		c.Start()
		for _, fn := range hello {
			if _, err := c.Ask(ctx, fn); err != nil {
				b.Fatal(err)
			}
		}
		return c
	}
	hello := workerHello()
	hello.Params.MaxActiveRequests = 1000
	dial(workers, &benchPeer{}, hello, &tl.WorkerCompareBalanceWithProxy{}, &tl.WorkerProxyHandshakeComplete{})
	cp := &benchPeer{ends: make(chan tl.Int256, 1000)}
	c := dial(clients, cp, clientHello(), &tl.ClientAuthorizeWithProxyShort{})
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	window := make(chan struct{}, 30)
	wg.Go(func() {
		for range b.N {
			<-cp.ends
			<-window
		}
	})
	for i := range b.N {
		window <- struct{}{}
		if err := c.Send(question(i)); err != nil {
			b.Fatal(err)
		}
	}
	wg.Wait()
	b.StopTimer()
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
