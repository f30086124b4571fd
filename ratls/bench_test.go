//go:build unix

package ratls_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/wire"
)

// network is collateral behind a cache, as nodes have it; it counts what
// goes to the vendor.
type network struct {
	*insecure.Authority
	asked atomic.Int64
}

func (n *network) Get(ctx context.Context, part tdx.Part) (tdx.Statement, error) {
	n.asked.Add(1)
	return n.Authority.Get(ctx, part)
}

func (n *network) policy(images ...string) *attest.Policy {
	listed := map[attest.Hash]bool{}
	for _, image := range images {
		listed[insecure.ImageHash(image)] = true
	}
	return &attest.Policy{
		Images:    func(h attest.Hash) bool { return listed[h] },
		Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: &tdx.Verifier{TestRoots: n.Roots(), TestCollateral: tdx.Cached(n, "", nil)}},
		Cache:     attest.NewCache(1000),
	}
}

// A warm connection asks nobody, also about the evidence that was made for it.
func TestWarmConnectionAsksNobody(t *testing.T) {
	n := &network{Authority: authority(t)}
	l := listen(t, node(t, n.Machine("proxy"), n.policy("worker")))
	echo(t, l)
	worker := node(t, n.Machine("worker"), n.policy("proxy"))
	cold := int64(0)
	for i := range 4 {
		c, err := ratls.Dial(t.Context(), l.Addr().String(), worker)
		if err != nil {
			t.Fatal(err)
		}
		if err := talk(t, c); err != nil {
			t.Fatal(err)
		}
		c.Close()
		switch asked := n.asked.Load(); {
		case asked == 0:
			t.Fatal("nobody was asked about the first connection")
		case i == 0:
			cold = asked
		case asked != cold:
			t.Errorf("connection %d asked the vendor %d times", i+1, asked-cold)
		}
	}
}

// cpu is what this process has used, on all cores.
func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkHandshake is everything from TCP to the first byte back, both ends
// in one process, without proof of work. Cold forgets verdicts before each
// connection; collateral, and that the vendor has signed it, is known always.
func BenchmarkHandshake(b *testing.B) {
	for _, cold := range []bool{true, false} {
		for _, session := range []bool{false, true} {
			b.Run(fmt.Sprintf("cold=%v/session=%v", cold, session), func(b *testing.B) {
				if !session {
					ratls.WithoutSessions(b)
				}
				n := &network{Authority: authority(b)}
				server, client := node(b, n.Machine("proxy"), n.policy("worker")), node(b, n.Machine("worker"), n.policy("proxy"))
				server.Difficulty = -1
				l := listen(b, server)
				echo(b, l)
				b.ReportAllocs()
				used := cpu()
				for b.Loop() {
					if cold {
						*server.Policy.Cache, *client.Policy.Cache = *attest.NewCache(1000), *attest.NewCache(1000)
					}
					c, err := ratls.Dial(b.Context(), l.Addr().String(), client)
					if err == nil {
						err = talk(b, c)
						c.Close()
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
				b.ReportMetric(float64((cpu()-used).Microseconds())/1000/float64(b.N), "cpu-ms/op")
			})
		}
	}
}

// flood is what a crowd of bad peers does in BenchmarkFlood, one after the
// other: each stops, or is refused, at another stage.
func flood(address string, turn int, bad []*ratls.Config) {
	nc, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(2 * time.Second))
	switch turn % 4 {
	case 0: // says nothing for a while
		time.Sleep(time.Second)
		return
	case 1: // a lie instead of work
		nc.Write(make([]byte, 12))
		io.Copy(io.Discard, nc)
		return
	}
	if wire.Solve(context.Background(), nc, 28) != nil {
		return
	}
	if turn%4 == 2 { // garbage for TLS
		nc.Write(make([]byte, 512))
		io.Copy(io.Discard, nc)
		return
	}
	// A machine of nobody, and a genuine one whose key was stolen, in turn.
	peer := crook{shown: bad[turn/4%len(bad)].Identity.Certificate(), protos: []string{ratls.SessionProtocol}}
	peer.play = peer.show(func(ratls.Proof) []byte { return ratls.Record(make([]byte, 4000), nil) })
	tc := tls.Client(nc, peer.settings())
	if tc.Handshake() == nil && peer.play(tc, false) == nil {
		io.Copy(io.Discard, tc)
	}
}

const floodEnv, floodRate = "RATLS_TEST_FLOOD", 1000

// TestFlooder is the other process of BenchmarkFlood: it floods an address at
// the rate until its input ends. By itself it does nothing.
func TestFlooder(t *testing.T) {
	address, dir := os.Getenv(floodEnv), os.Getenv(floodEnv+"_DIR")
	if address == "" {
		t.Skip("only for BenchmarkFlood")
	}
	a, err := insecure.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	bad := []*ratls.Config{node(t, stranger.Machine("worker"), nil), node(t, a.Machine("worker"), nil)}
	ended := make(chan struct{})
	go func() { io.Copy(io.Discard, os.Stdin); close(ended) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var n atomic.Int64
	var wg sync.WaitGroup
	for turn := 0; ; {
		select {
		case <-ended:
			wg.Wait()
			return
		case <-tick.C:
		}
		for range floodRate / 100 {
			turn++
			if n.Load() > 4*floodRate { // this machine cannot keep up
				continue
			}
			n.Add(1)
			wg.Go(func() { defer n.Add(-1); flood(address, turn, bad) })
		}
	}
}

// BenchmarkFlood is the connection of an honest peer while another process
// makes bad ones, a thousand a second if the machine can: what they cost the
// listener's process (with the honest dialers in it) in time and memory. Proof
// of work is as good as free here; at its usual difficulty a flood like this
// needs some hundred cores.
func BenchmarkFlood(b *testing.B) {
	dir, a := b.TempDir(), authority(b)
	if err := a.Save(dir); err != nil {
		b.Fatal(err)
	}
	n := &network{Authority: a}
	server, client := node(b, n.Machine("proxy"), n.policy("worker")), node(b, n.Machine("worker"), n.policy("proxy"))
	server.Difficulty, server.Log = 1, nil
	l := listen(b, server)
	echo(b, l)
	cmd := exec.Command(os.Args[0], "-test.run=^TestFlooder$")
	cmd.Env = append(os.Environ(), floodEnv+"="+l.Addr().String(), floodEnv+"_DIR="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	for _, _, failed := l.Counts(); failed == 0; _, _, failed = l.Counts() {
		time.Sleep(time.Millisecond) // until the flood is here
	}
	var took []time.Duration
	var crowd int
	var heap uint64
	_, _, before := l.Counts()
	used, start := cpu(), time.Now()
	for b.Loop() {
		begin := time.Now()
		c, err := ratls.Dial(b.Context(), l.Addr().String(), client)
		if err == nil {
			err = talk(b, c)
			c.Close()
		}
		if err != nil {
			b.Fatalf("an honest peer: %v", err)
		}
		took = append(took, time.Since(begin))
		halfOpen, _, _ := l.Counts()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		crowd, heap = max(crowd, halfOpen), max(heap, m.HeapInuse)
	}
	seconds := time.Since(start).Seconds()
	_, _, after := l.Counts()
	slices.Sort(took)
	b.ReportMetric(float64(after-before)/seconds, "bad/s")
	b.ReportMetric((cpu()-used).Seconds()/seconds, "cores")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "worst-ms")
	b.ReportMetric(float64(crowd), "half-open")
	b.ReportMetric(float64(heap)/(1<<20), "heap-MiB")
}
