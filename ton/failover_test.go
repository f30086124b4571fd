package ton_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// pair is a chain behind two cables, and a client that knows both.
func pair(t *testing.T) (*localnet.Chain, [2]*cable, *ton.Client) {
	c := newChain(t)
	cables, n := wires(t, serve(t, c))
	return c, cables, dial(t, n, func(cfg *ton.Config) { cfg.Timeout = time.Second })
}

func wires(t *testing.T, s *localnet.Server) ([2]*cable, *ton.Network) {
	cables := [2]*cable{newCable(t, s.Addr()), newCable(t, s.Addr())}
	n := through(t, cables[0], s)
	n.Servers = append(n.Servers, through(t, cables[1], s).Servers...)
	return cables, n
}

// trouble is what can happen to a cable.
var trouble = map[string]func(*cable){
	"cut":     func(c *cable) { c.set(false, true) },
	"blocked": func(c *cable) { c.set(true, false) },
}

// The client goes over to the other server and back, whichever fails.
func TestFailOver(t *testing.T) {
	for name, strike := range trouble {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, cables, client := pair(t)
			for i := range 4 {
				down := cables[i%2]
				strike(down)
				fund(t, c, stranger(1), "1")
				head := c.Last().SeqNo
				if has, err := client.Account(t.Context(), stranger(1)); err != nil || has.At.Seqno < head {
					t.Fatalf("turn %d: account = %+v, %v; want as of block %d\n%v", i, has, err, head, client.Servers())
				}
				down.set(false, false)
				connected(t, client, 2)
			}
		})
	}
}

// connected waits until so many servers are connected.
func connected(t *testing.T, client *ton.Client, want int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(30 * time.Second)
	for {
		up := 0
		for _, s := range client.Servers() {
			if strings.HasSuffix(s, "connected") || strings.HasSuffix(s, "resting after failures") {
				up++
			}
		}
		if up == want {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("servers: %v; want %d connected", client.Servers(), want)
		}
	}
}

// With both gone every call fails, in time and with the right error; when one
// is back all is well.
func TestAllGone(t *testing.T) {
	for name, strike := range trouble {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, cables, client := pair(t)
			account := c.FaucetAddress()
			last, err := client.Account(t.Context(), account)
			if err != nil {
				t.Fatal(err)
			}
			message := transfer(t, c, stranger(1), "1")
			strike(cables[0])
			strike(cables[1])
			calls := map[string]func(context.Context) error{
				"Head":    func(ctx context.Context) error { _, err := client.Head(ctx); return err },
				"Account": func(ctx context.Context) error { _, err := client.Account(ctx, account); return err },
				"Transactions": func(ctx context.Context) error {
					_, err := client.Transactions(ctx, account, last.Last, ton.TxID{LT: 1}, 9)
					return err
				},
				"Send":      func(ctx context.Context) error { return client.Send(ctx, message) },
				"RunMethod": func(ctx context.Context) error { _, err := client.RunMethod(ctx, account, "seqno"); return err },
				"Params":    func(ctx context.Context) error { _, err := client.Params(ctx); return err },
			}
			for call, f := range calls {
				if call == "Transactions" && last.Last.LT == 0 {
					continue // the faucet has had none: nothing is asked
				}
				if err := f(context.Background()); !errors.Is(err, ton.ErrUnreachable) {
					t.Errorf("%s: %v, want ErrUnreachable", call, err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := f(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, ton.ErrUnreachable) {
					t.Errorf("%s, cancelled: %v", call, err)
				}
			}
			cables[1].set(false, false)
			connected(t, client, 1)
			if _, err := client.Head(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A server that restarts is found again without anybody's help.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	s := serve(t, c)
	client := dial(t, network(t, s))
	for range 3 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		next, err := localnet.Listen(c, s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { next.Close() })
		s = next
		connected(t, client, 1)
		if _, err := client.Account(t.Context(), c.FaucetAddress()); err != nil {
			t.Fatal(err)
		}
	}
}

// Many at once, while servers come and go: blocks never go back, answers are
// right or an error, and nothing is left in the end.
func TestConcurrentUse(t *testing.T) {
	c := newChain(t)
	cables, n := wires(t, serve(t, c))
	before := runtime.NumGoroutine()
	client := dial(t, n)
	ctx, stop := context.WithCancel(t.Context())
	var calls, good atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			seen := ton.Block{}
			for ctx.Err() == nil {
				calls.Add(1)
				has, err := client.Account(ctx, c.FaucetAddress())
				if err != nil {
					continue
				}
				good.Add(1)
				if has.At.Seqno < seen.Seqno || has.Status != ton.Active && has.Last.LT != 0 {
					t.Errorf("block %d after %d, %v", has.At.Seqno, seen.Seqno, has.Status)
				}
				seen = has.At
				select {
				case <-client.Changed(seen):
				case <-ctx.Done():
				}
			}
		})
	}
	for i := range 10 {
		cables[i%2].set(false, true)
		for j := range 10 {
			fund(t, c, stranger(1), fmt.Sprintf("0.%d", 1+j))
		}
		cables[i%2].set(false, false)
		connected(t, client, 2)
	}
	stop()
	wg.Wait()
	if good.Load() == 0 {
		t.Errorf("none of %d calls had an answer", calls.Load())
	}
	client.Close()
	quiet(t, before)
}

// The limit holds over all servers, and who cannot wait is told.
func TestRate(t *testing.T) {
	c := newChain(t)
	n := network(t, serve(t, c), serve(t, c))
	client := dial(t, n, func(cfg *ton.Config) { cfg.Rate, cfg.Burst, cfg.Deadline = 0.5, 6, time.Second })
	for i := range 50 {
		_, err := client.Account(t.Context(), c.FaucetAddress())
		if err == nil {
			continue
		}
		if !errors.Is(err, ton.ErrUnreachable) || !strings.Contains(err.Error(), "our own limit") {
			t.Errorf("over the limit: %v", err)
		}
		if i > 4 {
			t.Errorf("%d reads went through, want no more than a burst of 6 queries allows", i)
		}
		if strings.Contains(fmt.Sprint(client.Servers()), "unreachable") {
			t.Errorf("our limit was held against the servers: %v", client.Servers())
		}
		return
	}
	t.Error("50 reads went through")
}
