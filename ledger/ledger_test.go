package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// signer counts and records instead of signing.
type signer struct {
	mu    sync.Mutex
	calls int
}

func (s *signer) sign(p Promise) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return fmt.Appendf(nil, "%d %s %d", p.Side, p.Account, p.Tokens), nil
}

// book is a ledger without a chain, which forgets.
func book(t *testing.T, paid, stake int64) (*Ledger, *signer) {
	t.Helper()
	return bookWith(t, Config{}, paid, stake)
}

func bookWith(t *testing.T, cfg Config, paid, stake int64) (*Ledger, *signer) {
	t.Helper()
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{}
	if err := m.Begin(Terms{Params: 1, Price: 2, Credit: Deposit{Paid: paid, Stake: stake}, Sign: s.sign}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.OpenClient("c"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.OpenWorker("w"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Check(); err != nil {
			t.Error(err)
		}
	})
	return m, s
}

func reserve(t *testing.T, m *Ledger, need int64) *Hold {
	t.Helper()
	h, err := m.Reserve("c", need)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestReserveSettleRelease(t *testing.T) {
	m, _ := book(t, 1000, 100)
	a, b := reserve(t, m, 60), reserve(t, m, 40)
	var short *BalanceError
	if _, err := m.Reserve("c", 1); !errors.As(err, &short) || short.Available != 0 || short.Need != 1 {
		t.Errorf("a third reservation: %v, want 0 available, 1 needed", err)
	}
	if _, err := m.Reserve("c", 0); err != nil {
		t.Errorf("a free request is refused: %v", err)
	}
	if booked, err := m.Settle(a, "w", 25); booked != 25 || err != nil {
		t.Errorf("booked %d, %v, want 25", booked, err)
	}
	if err := m.Release(b); err != nil {
		t.Error(err)
	}
	if c := m.Clients()[0]; c.Available() != 75 || c.Used.Max != 25 || c.Running != 1 {
		t.Errorf("%+v, available %d, want 75", c, c.Available())
	}
	for _, again := range []error{m.Release(a), m.Release(b)} {
		if !errors.Is(again, ErrSpent) {
			t.Errorf("a spent hold: %v", again)
		}
	}
	if _, err := m.Settle(a, "w", 1); !errors.Is(err, ErrSpent) {
		t.Errorf("settling twice: %v", err)
	}
}

// The last column is what is booked: never more than the client can pay.
func TestSettleBeyondTheHold(t *testing.T) {
	for _, x := range []struct{ limit, other, hold, used, want int64 }{
		{100, 0, 10, 10, 10},
		{100, 0, 10, 11, 11},
		{100, 0, 10, 100, 100},
		{100, 0, 10, 101, 100},
		{100, 60, 10, 1000, 40},
		{100, 90, 10, math.MaxInt64, 10},
		{100, 0, 10, 0, 0},
	} {
		m, _ := book(t, x.limit, x.limit)
		other := reserve(t, m, x.other)
		h := reserve(t, m, x.hold)
		if got, err := m.Settle(h, "w", x.used); got != x.want || err != nil {
			t.Errorf("%+v: booked %d, %v", x, got, err)
		}
		if err := m.Release(other); err != nil {
			t.Error(err)
		}
	}
}

// A hold grows as far as the client can pay, and never shrinks.
func TestExtend(t *testing.T) {
	m, _ := book(t, 100, 100)
	h, other := reserve(t, m, 10), reserve(t, m, 30)
	for _, x := range []struct{ need, reserved, lacks int64 }{{5, 40, 0}, {10, 40, 0}, {70, 100, 0}, {71, 100, 1}, {math.MaxInt64, 100, 1}, {-1, 100, 0}} {
		err := m.Extend(h, x.need)
		var short *BalanceError
		if got := m.Clients()[0]; got.Reserved != x.reserved || errors.As(err, &short) != (x.lacks > 0) || err != nil && short == nil {
			t.Errorf("extended to %d: %v, %d are reserved, want %d", x.need, err, got.Reserved, x.reserved)
		}
	}
	if booked, err := m.Settle(h, "w", 80); booked != 70 || err != nil {
		t.Errorf("booked %d, %v; want 70", booked, err)
	}
	if err := m.Extend(h, 1); !errors.Is(err, ErrSpent) {
		t.Errorf("extended after its end: %v", err)
	}
	if err := m.Release(other); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	m, _ := book(t, 100, 100)
	if _, err := m.Reserve("c", -1); !errors.Is(err, ErrAmount) {
		t.Errorf("negative reservation: %v", err)
	}
	if _, err := m.Reserve("x", 1); !errors.Is(err, ErrAccount) {
		t.Errorf("unknown client: %v", err)
	}
	h := reserve(t, m, 10)
	if _, err := m.Settle(h, "x", 1); !errors.Is(err, ErrAccount) {
		t.Errorf("unknown worker: %v", err)
	}
	if _, err := m.Settle(h, "w", -1); !errors.Is(err, ErrAmount) {
		t.Errorf("negative use: %v", err)
	}
	if _, err := m.Settle(h, "w", 1); err != nil {
		t.Errorf("the hold did not survive the refusals: %v", err)
	}
	if _, err := m.ClientStatus("x"); !errors.Is(err, ErrAccount) {
		t.Errorf("status of an unknown client: %v", err)
	}
	if _, err := m.WorkerStatus("x"); !errors.Is(err, ErrAccount) {
		t.Errorf("status of an unknown worker: %v", err)
	}
}

func TestNeed(t *testing.T) {
	for _, x := range []struct {
		maxTokens   int64
		bytes       int
		coefficient int64
		want        int64
	}{
		{1000, 0, 1000, 1000}, {1000, 500, 4000, 6000}, {0, 0, 4000, 0}, {10, 10, 0, 0},
		{math.MaxInt64, math.MaxInt32, 1 << 32, math.MaxInt64},
	} {
		if got, err := Need(x.maxTokens, x.bytes, x.coefficient); got != x.want || err != nil {
			t.Errorf("Need(%d, %d, %d) = %d, %v, want %d", x.maxTokens, x.bytes, x.coefficient, got, err, x.want)
		}
	}
	if _, err := Need(-1, 10, 1000); !errors.Is(err, ErrAmount) {
		t.Errorf("max_tokens -1: %v", err)
	}
}

// What is booked is in the store; only what was committed to the chain is signed.
func TestLevels(t *testing.T) {
	m, s := book(t, 1000, 1000)
	status := func(payment string, db, top int64) {
		t.Helper()
		got, err := m.WorkerStatus("w")
		if err != nil || string(got.Payment) != payment || got.DB != db || got.Max != top {
			t.Errorf("status %s %d %d, %v, want %s %d %d", got.Payment, got.DB, got.Max, err, payment, db, top)
		}
	}
	status("1 w 0", 0, 0)
	if _, err := m.Settle(reserve(t, m, 5), "w", 5); err != nil {
		t.Fatal(err)
	}
	status("1 w 0", 5, 5)
	m.Commit()
	status("1 w 5", 5, 5)
	m.Commit()
	for range 100 {
		status("1 w 5", 5, 5)
	}
	if s.calls != 2 {
		t.Errorf("signed %d times, want 2: once for each amount", s.calls)
	}
	if got, err := m.ClientStatus("c"); err != nil || string(got.Payment) != "0 c 5" {
		t.Errorf("client's payment %s, %v", got.Payment, err)
	}
}

// A stake is how far use may run ahead of what was charged, so charging makes room.
func TestChargingMakesRoom(t *testing.T) {
	m, _ := book(t, 250, 100)
	total := int64(0)
	for range 5 {
		c := m.Clients()[0]
		n := min(100, c.Available())
		h := reserve(t, m, n)
		if booked, err := m.Settle(h, "w", n); err != nil || booked != n {
			t.Fatalf("booked %d of %d, %v", booked, n, err)
		}
		total += n
		m.Commit()
	}
	if total != 250 {
		t.Errorf("used %d in all, want the 250 paid in", total)
	}
}

func TestOverclaim(t *testing.T) {
	w := Worker{Earned: Levels{Max: 30, DB: 20, Chain: 10}}
	for _, x := range []struct {
		c    Claim
		want bool
	}{
		{Claim{}, false}, {Claim{30, 20, 10}, false}, {Claim{1000, 20, 10}, false},
		{Claim{30, 21, 10}, true}, {Claim{30, 20, 11}, true},
	} {
		if got := w.Overclaim(x.c); got != x.want {
			t.Errorf("Overclaim(%+v) = %v", x.c, got)
		}
	}
}

func TestNewTermsVoidTheOld(t *testing.T) {
	m, _ := book(t, 100, 100)
	h := reserve(t, m, 10)
	if err := m.Begin(Terms{Params: 2, Price: 3}); err != nil {
		t.Fatal(err)
	}
	if err := m.Release(h); !errors.Is(err, ErrSpent) {
		t.Errorf("an old hold: %v", err)
	}
	if len(m.Clients()) != 0 || len(m.Workers()) != 0 {
		t.Error("old accounts are still there")
	}
}

// Strangers cannot fill the book, and nobody who used something is dropped.
func TestAccountsAreBounded(t *testing.T) {
	m, _ := bookWith(t, Config{Limit: 10}, 100, 100)
	if _, err := m.Settle(reserve(t, m, 1), "w", 1); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if _, err := m.OpenClient(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if _, err := m.OpenWorker(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.Clients()); n > 11 {
		t.Errorf("%d accounts, want at most 10 unused ones", n)
	}
	used := slices.ContainsFunc(m.Clients(), func(c Client) bool { return c.Wallet == "c" }) &&
		slices.ContainsFunc(m.Workers(), func(w Worker) bool { return w.Owner == "w" })
	if !used {
		t.Error("a used account was dropped")
	}
	for i := range 20 {
		c := fmt.Sprint("busy", i)
		if _, err := m.OpenClient(c); err != nil {
			if !errors.Is(err, ErrFull) || i < 9 {
				t.Errorf("account %d: %v", i, err)
			}
			return
		}
		if _, err := m.Reserve(c, 1); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("the book never filled up")
}

func TestChainless(t *testing.T) {
	if got := Chainless(2); got != (Deposit{500_000_000_000_000, 500_000_000}) {
		t.Errorf("%+v", got)
	}
	if got := Chainless(0); got != (Deposit{1e12, 1e12}) {
		t.Errorf("%+v", got)
	}
}

func TestRunCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := book(t, 100, 100)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		if _, err := m.Settle(reserve(t, m, 5), "w", 5); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		if w := m.Workers()[0]; w.Earned != (Levels{5, 5, 5}) {
			t.Errorf("after a tick %+v", w.Earned)
		}
		if _, err := m.Settle(reserve(t, m, 2), "w", 2); err != nil {
			t.Fatal(err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if w := m.Workers()[0]; w.Earned != (Levels{7, 7, 7}) {
			t.Errorf("at the end %+v", w.Earned)
		}
	})
}

// Many at once, at random, under one seed: at every moment the book balances.
func TestRandomUse(t *testing.T) {
	const seed = 20261121
	m, _ := book(t, 100_000, 5_000)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(g)))
			var held []*Hold
			for range 2000 {
				client, worker := fmt.Sprint("c", r.IntN(5)), fmt.Sprint("w", r.IntN(5))
				m.OpenClient(client)
				m.OpenWorker(worker)
				switch k := r.IntN(10); {
				case k < 4:
					if h, err := m.Reserve(client, r.Int64N(400)); err == nil {
						held = append(held, h)
					}
				case k < 8 && len(held) > 0:
					i := r.IntN(len(held))
					if r.IntN(4) == 0 {
						m.Release(held[i])
					} else {
						m.Settle(held[i], worker, r.Int64N(600))
					}
					if r.IntN(10) > 0 { // else try to end it again later
						held[i] = held[len(held)-1]
						held = held[:len(held)-1]
					}
				case k == 8:
					m.Commit()
				default:
					m.ClientStatus(client)
					if err := m.Check(); err != nil {
						t.Errorf("seed %d: %v", seed, err)
						return
					}
				}
			}
			for _, h := range held {
				m.Release(h)
			}
		})
	}
	wg.Wait()
	for _, c := range m.Clients() {
		if c.Reserved != 0 || c.Running != 0 {
			t.Errorf("seed %d: %+v, want nothing reserved", seed, c)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	m, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	s := &signer{}
	m.Begin(Terms{Price: 2, Credit: Deposit{math.MaxInt64, math.MaxInt64}, Sign: s.sign})
	m.OpenClient("c")
	m.OpenWorker("w")
	b.ReportAllocs()
	for b.Loop() {
		h, err := m.Reserve("c", 100)
		if err != nil {
			b.Fatal(err)
		}
		m.Settle(h, "w", 50)
		m.ClientStatus("c")
		m.WorkerStatus("w")
	}
}
