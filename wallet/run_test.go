package wallet

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// live is a funded driver that reads the chain over the network.
func live(t testing.TB, change ...func(*Config)) (*localnet.Chain, *ton.Client, *Driver) {
	t.Helper()
	chain, client := served(t)
	cfg := Config{Dir: t.TempDir(), Key: testKey(1), Owner: stranger(1), Chain: client, MaxHour: coin.Max, MaxQueue: 1 << 20, Log: testLog(t)}
	for _, f := range change {
		f(&cfg)
	}
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return chain, client, d
}

// run runs the driver; the function returned stops it and waits.
func run(t testing.TB, d *Driver) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// Many callers, one wallet, a chain over the network, and a stop in between.
func TestRun(t *testing.T) {
	chain, client, d := live(t)
	fund(t, chain, d.Address(), 100*coin.TON)
	stop := run(t, d)
	defer func() { stop() }()
	ctx := testContext(t)
	ask := func(from, to int) {
		var all sync.WaitGroup
		for i := from; i < to; i++ {
			all.Go(func() {
				h, err := d.Enqueue(ctx, letter(byte(i), uint64(i), coin.TON))
				if err != nil {
					t.Error(err)
					return
				}
				if o, err := h.Wait(ctx); err != nil || !o.Sent {
					t.Errorf("message %d: %+v, %v", i, o, err)
				}
			})
		}
		all.Wait()
	}
	ask(0, 20)
	stop()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(d.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	d, stop = again, run(t, again)
	ask(20, 30)
	for i := range 30 {
		a, err := client.Account(ctx, stranger(byte(i)))
		if err != nil || a.Balance != coin.TON {
			t.Errorf("receiver %d has %s, %v; want 1", i, a.Balance, err)
		}
	}
	stop()
	if s := again.Status(); s.Queued != 0 || s.Stuck != "" || len(s.Strangers) != 0 {
		t.Errorf("status = %+v", s)
	}
}

// The outcome's hash leads to the receiver's transaction.
func TestFollowArrival(t *testing.T) {
	chain, client, d := live(t)
	fund(t, chain, d.Address(), 10*coin.TON)
	defer run(t, d)()
	ctx := testContext(t)
	h, err := d.Enqueue(ctx, letter(1, 1, coin.TON))
	if err != nil {
		t.Fatal(err)
	}
	o, err := h.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.Account(ctx, stranger(1))
	if err != nil {
		t.Fatal(err)
	}
	txs, err := client.Transactions(ctx, a.Address, a.Last, ton.TxID{}, 10)
	if err != nil || len(txs) != 1 || Hash(txs[0].In.Hash) != o.Out || txs[0].In.LT != o.OutLT {
		t.Errorf("the receiver's transactions %+v, %v; want one with message %s", txs, err, o.Out)
	}
}

// A driver without a chain and without money says so, and goes on by itself.
func TestStatusSaysWhy(t *testing.T) {
	chain, _, d := live(t)
	ctx := testContext(t)
	if s := d.Status(); s.Known || s.Stuck != "" {
		t.Errorf("before the first look: %+v", s)
	}
	h, err := d.Enqueue(ctx, letter(1, 1, coin.TON))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.step(ctx); !errors.Is(err, ErrPoor) {
		t.Fatalf("step: %v", err)
	} else {
		d.note(err)
	}
	s := d.Status()
	if !s.Known || s.Queued != 1 || s.Needs < 3*coin.TON || !strings.Contains(s.Stuck, "send "+s.Needs.Text()+" to "+s.Address) || s.LastError == "" {
		t.Errorf("status = %+v, want to say how much to send where", s)
	}
	fund(t, chain, d.Address(), s.Needs)
	defer run(t, d)()
	if o, err := h.Wait(ctx); err != nil || !o.Sent {
		t.Errorf("outcome = %+v, %v", o, err)
	}
}

// What is deployed is the given code, for this owner and key.
func TestDeploysWithGivenCode(t *testing.T) {
	chain, client, d := live(t, func(c *Config) { c.Code = contract.OurCodes().Wallet })
	fund(t, chain, d.Address(), 10*coin.TON)
	defer run(t, d)()
	ctx := testContext(t)
	h, err := d.Enqueue(ctx, letter(1, 1, coin.TON))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	a, err := client.Account(ctx, d.Address())
	if err != nil {
		t.Fatal(err)
	}
	w, err := contract.ParseWalletState(a.Data)
	if err != nil || w.Seqno != 1 || !w.Owner.Equals(stranger(1)) || a.Code.HashKey() != contract.OurCodes().Wallet.HashKey() {
		t.Errorf("deployed %+v, %v", w, err)
	}
	owner, err := client.RunMethod(ctx, d.Address(), "get_owner_address")
	if err != nil || len(owner) != 1 {
		t.Fatalf("get_owner_address: %v, %v", owner, err)
	}
	if got, err := owner[0].(*cell.Slice).LoadAddr(); err != nil || !got.Equals(stranger(1)) {
		t.Errorf("the contract says its owner is %s, %v", got, err)
	}
}

func TestRunTwiceAndLeavesNothing(t *testing.T) {
	_, _, d := live(t)
	before := runtime.NumGoroutine()
	stop := run(t, d)
	for deadline := time.Now().Add(10 * time.Second); !d.Status().Known; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the driver never looked at the chain")
		}
	}
	if err := d.Run(testContext(t)); err == nil {
		t.Error("Run twice at the same time")
	}
	stop()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// BenchmarkDriver is messages from Enqueue to their outcome, with a chain over
// the network that seals at once: what is left is the driver's own pace.
func BenchmarkDriver(b *testing.B) {
	chain, _, d := live(b)
	fund(b, chain, d.Address(), coin.Nano(b.N)*coin.TON/10+100*coin.TON)
	defer run(b, d)()
	ctx := context.Background()
	b.ResetTimer()
	var last *Handle
	for i := range b.N {
		h, err := d.Enqueue(ctx, letter(byte(i), uint64(i), coin.TON/100))
		if err != nil {
			b.Fatal(err)
		}
		last = h
	}
	if _, err := last.Wait(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

func BenchmarkEnqueue(b *testing.B) {
	for _, callers := range []int{1, 16} {
		b.Run(fmt.Sprintf("callers-%d", callers), func(b *testing.B) {
			_, _, d := live(b)
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := d.Enqueue(context.Background(), letter(1, randomID(), 1)); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
