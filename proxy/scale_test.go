package proxy

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// crowd is a proxy with doors in memory for as many peers as one likes.
type crowd struct {
	tb               testing.TB
	p                *Proxy
	workers, clients *door
	ctx              context.Context
}

func newCrowd(tb testing.TB) *crowd {
	c := &crowd{tb: tb, workers: newDoor(), clients: newDoor()}
	book, err := ledger.New(ledger.Config{Every: time.Hour}) // a note lets each payment be signed anew; a chain takes its time for one
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { book.Close() })
	p, err := New(Config{WorkersListener: c.workers, ClientsListener: c.clients, Registry: contract.NewMemory(testRoot(tb)), Book: book,
		Key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)), OwnerAddress: ownerText, RootAddress: rootText})
	if err != nil {
		tb.Fatal(err)
	}
	c.p = p
	ctx, stop := context.WithCancel(context.Background())
	c.ctx = ctx
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return c
}

func (c *crowd) dial(d *door, h wire.Handler, hello ...tl.Object) *wire.Conn {
	near, far := net.Pipe()
	d.conns <- far
	conn, err := wire.Client(c.ctx, near, h, wire.Config{})
	if err != nil {
		c.tb.Fatal(err)
	}
	conn.Start()
	for _, fn := range hello {
		if _, err := conn.Ask(c.ctx, fn); err != nil {
			c.tb.Fatal(err)
		}
	}
	return conn
}

// join connects n workers of as many owners, which answer at once.
func (c *crowd) join(n int) {
	for i := range n {
		hello := workerHello()
		hello.Params.WorkerOwnerAddress = fmt.Sprintf("0:%064x", i+1)
		hello.Params.Coefficient, hello.Params.MaxActiveRequests = int32(1000+min(i, 400)), 10
		c.dial(c.workers, &benchPeer{}, hello, &tl.WorkerCompareBalanceWithProxy{}, &tl.WorkerProxyHandshakeComplete{})
	}
}

// asker is a client that keeps thirty requests going.
type asker struct {
	conn    *wire.Conn
	ends    chan tl.Int256
	ceiling int32
	asked   int
}

const askedAtOnce = 30

func (c *crowd) asker(ceiling int32) *asker {
	ends := make(chan tl.Int256, askedAtOnce)
	return &asker{conn: c.dial(c.clients, &benchPeer{ends}, clientHello(), &tl.ClientAuthorizeWithProxyShort{}), ends: ends, ceiling: ceiling}
}

// ask asks n questions and waits for their ends.
func (a *asker) ask(tb testing.TB, n int) {
	for i := range n {
		if i >= askedAtOnce {
			<-a.ends
		}
		q := question(a.asked)
		q.MaxCoefficient = a.ceiling
		a.asked++
		if err := a.conn.Send(q); err != nil {
			tb.Fatal(err)
		}
	}
	for range min(n, askedAtOnce) {
		<-a.ends
	}
}

// BenchmarkWorkers measures small requests on a proxy with few and many
// workers, thirty at a time. Of those that are "present" callers can pay for the ten cheapest
// alone: what a request costs must not grow with those who are there. Those that are "asked" share the work, so
// that of ten thousand each message is a write and a wake-up of its own, in memory that no cache holds any more.
// Before, each has had some: its first payment is signed with its first request. All three
// parties are in this process, over pipes.
func BenchmarkWorkers(b *testing.B) {
	const cheapest, dearest = 1009, 4000 // of the ten that crowd.join makes the cheapest, and more than any
	measure := func(b *testing.B, n int, ceiling int32) {
		c := newCrowd(b)
		c.join(n)
		a := c.asker(ceiling)
		a.ask(b, 5*n)
		runtime.GC()
		b.ReportAllocs()
		b.ResetTimer()
		a.ask(b, b.N)
	}
	for _, n := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("present=%d", n), func(b *testing.B) { measure(b, n, cheapest) })
		b.Run(fmt.Sprintf("asked=%d", n), func(b *testing.B) { measure(b, n, dearest) })
	}
}

// TestIdleConnections holds COCOON_IDLE connections of clients and as many of workers without
// work on one proxy, says what they take, and asks one question among them. The figure is for both ends
// of a connection and its pipe, as both are in this process.
func TestIdleConnections(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("COCOON_IDLE"))
	if n == 0 {
		n = 200
	}
	c := newCrowd(t)
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before, began := used(), time.Now()
	for i := range n {
		hello := clientHello()
		hello.Params.ClientOwnerAddress = fmt.Sprintf("0:%064x", i+1)
		c.dial(c.clients, &benchPeer{}, hello, &tl.ClientAuthorizeWithProxyShort{})
	}
	clients := used()
	c.join(n)
	workers := used()
	peer := &benchPeer{ends: make(chan tl.Int256, 1)}
	conn := c.dial(c.clients, peer, clientHello(), &tl.ClientAuthorizeWithProxyShort{})
	if err := conn.Send(question(1)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-peer.ends:
	case <-time.After(time.Minute):
		t.Fatal("no answer among idle connections within a minute")
	}
	each := func(from, to uint64) float64 { return float64(int64(to-from)) / float64(n) / 1024 }
	t.Logf("%d clients and %d workers connected in %s; a client takes %.1f KiB, a worker %.1f KiB, both ends together", n, n, time.Since(began).Round(time.Millisecond), each(before, clients), each(clients, workers))
	if most := 256.0; each(before, clients) > most || each(clients, workers) > most {
		t.Errorf("more than %.0f KiB each", most)
	}
}
