package ton_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

var errEnough = errors.New("enough")

// book keeps what a watcher is told, as a caller with a database would.
type book struct {
	cursor ton.TxID
	values []coin.Nano
	last   ton.Update
	calls  int
}

func (b *book) enter(u ton.Update) {
	b.cursor, b.last = u.Next, u
	b.calls++
	for _, tx := range u.Transactions {
		b.values = append(b.values, tx.In.Value)
	}
}

// until is a handler that ends the watch when so many have come.
func (b *book) until(count int) func(ton.Update) error {
	return func(u ton.Update) error {
		b.enter(u)
		if len(b.values) >= count {
			return errEnough
		}
		return nil
	}
}

func series(from, to int) (values []coin.Nano) {
	for i := from; i <= to; i++ {
		values = append(values, coin.Nano(i)*coin.TON/1000)
	}
	return values
}

// pay sends 0.001·i to the first stranger.
func pay(t testing.TB, c *localnet.Chain, from, to int) {
	for i := from; i <= to; i++ {
		fund(t, c, stranger(1), fmt.Sprintf("0.%03d", i))
	}
}

func TestWatch(t *testing.T) {
	c, client := local(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w := ton.Watcher{Chain: client, Batch: 5}
	b := new(book)
	pay(t, c, 1, 23)
	// The past in parts, then the present as it happens.
	err := w.Watch(ctx, stranger(1), ton.TxID{}, func(u ton.Update) error {
		b.enter(u)
		if len(u.Transactions) > 5 {
			t.Errorf("%d transactions in one update, want at most 5", len(u.Transactions))
		}
		switch n := len(b.values); {
		case n <= 23 && u.More != (n < 23):
			t.Errorf("after %d of 23: more is %v", n, u.More)
		case n == 23:
			go pay(t, c, 24, 40)
		case n == 40:
			return errEnough
		}
		return nil
	})
	if err != errEnough || !slices.Equal(b.values, series(1, 40)) {
		t.Fatalf("%v: %d values %v", err, len(b.values), b.values)
	}
	if b.last.Account.Last != b.cursor {
		t.Errorf("cursor %v, account's last %v", b.cursor, b.last.Account.Last)
	}
	// After a restart it goes on behind the cursor.
	pay(t, c, 41, 60)
	if err := w.Watch(ctx, stranger(1), b.cursor, b.until(60)); err != errEnough || !slices.Equal(b.values, series(1, 60)) {
		t.Fatalf("after a restart, %v: %v", err, b.values)
	}
}

// A crash between any two updates loses nothing and doubles nothing.
func TestWatchCrashes(t *testing.T) {
	c, client := local(t)
	pay(t, c, 1, 37)
	w := ton.Watcher{Chain: client, Batch: 4}
	b := new(book)
	for runs := 0; len(b.values) < 37; runs++ {
		if runs > 37 {
			t.Fatalf("no progress: %v", b.values)
		}
		err := w.Watch(t.Context(), stranger(1), b.cursor, func(u ton.Update) error {
			b.enter(u)
			return errEnough
		})
		if err != errEnough {
			t.Fatal(err)
		}
	}
	if !slices.Equal(b.values, series(1, 37)) {
		t.Errorf("values = %v", b.values)
	}
}

// An account that does not exist yet is watched like any other.
func TestWatchFromNothing(t *testing.T) {
	c, client := local(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b := new(book)
	err := ton.Watch(ctx, client, stranger(1), ton.TxID{}, func(u ton.Update) error {
		b.enter(u)
		if b.calls == 1 {
			if u.Account.Status != ton.NonExistent || len(u.Transactions) != 0 {
				t.Errorf("first update = %+v", u)
			}
			go pay(t, c, 1, 1)
			return nil
		}
		return errEnough
	})
	if err != errEnough || !slices.Equal(b.values, series(1, 1)) || b.last.Account.Balance == 0 {
		t.Errorf("%v: %v", err, b.values)
	}
}

func TestWatchManyAccounts(t *testing.T) {
	c, client := local(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	w := ton.Watcher{Chain: client}
	const accounts, payments = 20, 3
	var wg sync.WaitGroup
	var ready sync.WaitGroup
	ready.Add(accounts)
	for i := range accounts {
		wg.Go(func() {
			b := new(book)
			err := w.Watch(ctx, stranger(byte(10+i)), ton.TxID{}, func(u ton.Update) error {
				if b.enter(u); b.calls == 1 {
					ready.Done()
				}
				if len(b.values) == payments {
					return errEnough
				}
				return nil
			})
			if err != errEnough {
				t.Errorf("account %d: %v after %v", i, err, b.values)
			}
		})
	}
	ready.Wait()
	for range payments {
		for i := range accounts {
			fund(t, c, stranger(byte(10+i)), "0.1")
		}
	}
	wg.Wait()
}

// The server dies and comes back: the watcher says so, and misses nothing.
func TestWatchThroughOutage(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	s := serve(t, c)
	client := dial(t, network(t, s))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	trouble, back := make(chan error, 100), make(chan struct{}, 100)
	w := ton.Watcher{Chain: client, Idle: 100 * time.Millisecond, Trouble: func(err error) {
		if err == nil {
			back <- struct{}{}
			return
		}
		trouble <- err
	}}
	b, began, done := new(book), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- w.Watch(ctx, stranger(1), ton.TxID{}, func(u ton.Update) error {
			if b.calls == 0 {
				close(began)
			}
			return b.until(9)(u)
		})
	}()
	<-began
	pay(t, c, 1, 4)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-trouble:
		if !errors.Is(err, ton.ErrUnreachable) {
			t.Errorf("trouble = %v, want ErrUnreachable", err)
		}
	case <-ctx.Done():
		t.Fatal("nobody noticed that the server is gone")
	}
	pay(t, c, 5, 9)
	reopened, err := localnet.Listen(c, s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer reopened.Close()
	if err := <-done; err != errEnough || !slices.Equal(b.values, series(1, 9)) {
		t.Errorf("%v: %v", err, b.values)
	}
	if len(back) > 1 {
		t.Errorf("the end of the trouble was told %d times", len(back))
	}
}

func TestWatchStrangeCursor(t *testing.T) {
	c, client := local(t)
	pay(t, c, 1, 3)
	account, err := client.Account(t.Context(), stranger(1))
	if err != nil {
		t.Fatal(err)
	}
	strange := account.Last
	strange.LT--
	err = ton.Watch(t.Context(), client, stranger(1), strange, func(ton.Update) error { return errEnough })
	if !errors.Is(err, ton.ErrCursor) {
		t.Errorf("a cursor from elsewhere: %v, want ErrCursor", err)
	}
}
