package wire

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// BenchmarkSend is the cost of queueing one answer part, the message a
// network spends most of its life sending, and of writing it to a socket.
func BenchmarkSend(b *testing.B) {
	for _, n := range []int{200, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			received := make(chan struct{}, 1)
			total := 0
			h := &packetFunc{f: func(data []byte) {
				if total++; total == b.N {
					received <- struct{}{}
				}
			}}
			c, _ := connected(b, loopback, newInbox(), h, Config{})
			part := &tl.ClientQueryAnswerPartEx{Answer: make([]byte, n)}
			b.SetBytes(int64(n))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if err := c.Room(context.Background()); err != nil {
					b.Fatal(err)
				}
				if err := c.Send(part); err != nil {
					b.Fatal(err)
				}
			}
			<-received
		})
	}
}

// BenchmarkPingPong is one small message there and one back: the latency and
// the CPU of a hop without any coalescing.
func BenchmarkPingPong(b *testing.B) {
	back := make(chan struct{}, 1)
	near := &packetFunc{f: func([]byte) { back <- struct{}{} }}
	var server *Conn
	far := &packetFunc{f: func(data []byte) { server.SendRaw(data) }}
	c, s := connected(b, loopback, near, far, Config{})
	server = s
	payload := make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		c.SendRaw(payload)
		<-back
	}
}

// BenchmarkInFlight is the same with thirty messages under way at once.
func BenchmarkInFlight(b *testing.B) {
	const n = 30
	var back [n]chan struct{}
	for i := range back {
		back[i] = make(chan struct{}, 1)
	}
	near := &packetFunc{f: func(data []byte) { back[data[0]] <- struct{}{} }}
	var server *Conn
	far := &packetFunc{f: func(data []byte) { server.SendRaw(data) }}
	c, s := connected(b, loopback, near, far, Config{})
	server = s
	b.ReportAllocs()
	b.ResetTimer()
	start := cpuTime()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			payload := make([]byte, 300)
			payload[0] = byte(i)
			for range b.N / n {
				c.SendRaw(payload)
				<-back[i]
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process has used; the runtime counts it at collections.
func cpuTime() time.Duration {
	runtime.GC()
	s := []metrics.Sample{{Name: "/cpu/classes/user:cpu-seconds"}}
	metrics.Read(s)
	return time.Duration(s[0].Value.Float64() * 1e9)
}

func BenchmarkAsk(b *testing.B) {
	h := newInbox()
	h.onQuery = func(_ *Conn, q *Query) {
		q.Answer(&tl.ClientPaymentStatus{SignedPayment: &tl.ProxySignedPaymentEmpty{}})
	}
	c, _ := connected(b, loopback, newInbox(), h, Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Ask(context.Background(), &tl.ClientUpdatePaymentStatus{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
