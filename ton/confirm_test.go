package ton_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// postman is a chain whose messages a test can lose or change on their way.
type postman struct {
	*ton.Client
	carry func(*cell.Cell) *cell.Cell // nil loses the message
	sent  atomic.Int64
}

func (p *postman) Send(ctx context.Context, message *cell.Cell) error {
	p.sent.Add(1)
	if message = p.carry(message); message == nil {
		return nil
	}
	return p.Client.Send(ctx, message)
}

func inAnHour(c *localnet.Chain) time.Time { return c.Now().Add(time.Hour) }

func TestSendAndConfirm(t *testing.T) {
	c, client := local(t)
	message, until := transfer(t, c, stranger(1), "3"), inAnHour(c)
	tx, err := ton.SendAndConfirm(t.Context(), client, c.FaucetAddress(), message, until)
	if err != nil || tx.In.Hash != message.HashKey() || len(tx.Out) != 1 || tx.Out[0].Value != 3*coin.TON || !tx.Ran || tx.ExitCode != 0 {
		t.Fatalf("transaction = %+v, %v", tx, err)
	}
	// Again, as after a crash, when others have come after it.
	for range 40 {
		fund(t, c, stranger(2), "0.1")
	}
	for name, later := range map[string]time.Duration{"at once": 0, "hours later": 5 * time.Hour} {
		if _, err := c.Advance(later); err != nil {
			t.Fatal(err)
		}
		again, err := ton.SendAndConfirm(t.Context(), client, c.FaucetAddress(), message, until)
		if err != nil || again.TxID != tx.TxID {
			t.Errorf("the same message again, %s = %+v, %v; want the same transaction", name, again, err)
		}
	}
	if has, err := client.Account(t.Context(), stranger(1)); err != nil || has.Balance != 3*coin.TON {
		t.Errorf("the receiver has %v, %v; want 3 TON, once", has, err)
	}
}

// A chain that makes blocks at its own pace.
func TestConfirmByInterval(t *testing.T) {
	c := newChain(t, func(cfg *localnet.Config) { cfg.Interval = 50 * time.Millisecond })
	s := serve(t, c)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { stop(); <-done }()
	client := dial(t, network(t, s))
	tx, err := ton.SendAndConfirm(t.Context(), client, c.FaucetAddress(), transfer(t, c, stranger(1), "1"), inAnHour(c))
	if err != nil || tx.ExitCode != 0 {
		t.Errorf("transaction = %+v, %v", tx, err)
	}
}

// What the network has forgotten is sent again.
func TestLostMessage(t *testing.T) {
	t.Parallel()
	c, client := local(t)
	p := &postman{Client: client}
	p.carry = func(m *cell.Cell) *cell.Cell {
		if p.sent.Load() == 1 {
			return nil
		}
		return m
	}
	_, err := ton.SendAndConfirm(t.Context(), p, c.FaucetAddress(), transfer(t, c, stranger(1), "1"), inAnHour(c))
	if err != nil || p.sent.Load() != 2 {
		t.Errorf("sent %d times, %v; want twice", p.sent.Load(), err)
	}
}

// Servers may write a message anew before they pass it on; it is still ours.
func TestNormalizedMessage(t *testing.T) {
	c, client := local(t)
	fund(t, c, stranger(1), "1") // the wallet is deployed: no state goes with the next message
	p := &postman{Client: client, carry: func(m *cell.Cell) *cell.Cell {
		var parsed tlb.ExternalMessage
		if err := tlb.Parse(&parsed, m); err != nil {
			t.Error(err)
		}
		return cell.BeginCell().MustStoreUInt(0b10, 2).MustStoreAddr(nil).MustStoreAddr(parsed.DstAddr).MustStoreCoins(0).
			MustStoreBoolBit(false).MustStoreBoolBit(true).MustStoreRef(parsed.Body).EndCell()
	}}
	message := transfer(t, c, stranger(1), "1")
	changed := p.carry(message)
	if changed.HashKey() == message.HashKey() {
		t.Fatal("the message was not written differently: this test tests nothing")
	}
	tx, err := ton.SendAndConfirm(t.Context(), p, c.FaucetAddress(), message, inAnHour(c))
	if err != nil || tx.In.Hash != changed.HashKey() {
		t.Errorf("transaction = %+v, %v", tx, err)
	}
}

func TestRefusedMessage(t *testing.T) {
	c, client := local(t)
	fund(t, c, stranger(1), "1")
	stale := transfer(t, c, stranger(1), "2")
	fund(t, c, stranger(1), "1") // uses the same number
	_, err := ton.SendAndConfirm(t.Context(), client, c.FaucetAddress(), stale, inAnHour(c))
	var refused *ton.RefusedError
	if !errors.As(err, &refused) || !refused.Ran || refused.ExitCode != 133 {
		t.Errorf("a number already used: %v, want refused with exit code 133", err)
	}
	if errors.Is(err, ton.ErrExpired) || errors.Is(err, ton.ErrUnconfirmed) {
		t.Errorf("%v is more than one outcome", err)
	}
	for name, account := range map[string]string{"to another": "other", "to nobody": ""} {
		to := stranger(3)
		if account == "" {
			to = nil
		}
		if _, err := ton.SendAndConfirm(t.Context(), client, to, stale, inAnHour(c)); !errors.Is(err, ton.ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
	silent := cell.BeginCell().MustStoreUInt(0b10, 2).MustStoreAddr(nil).MustStoreAddr(stranger(8)).MustStoreCoins(0).MustStoreUInt(0, 2).EndCell()
	if _, err := ton.SendAndConfirm(t.Context(), client, stranger(8), silent, inAnHour(c)); !errors.Is(err, ton.ErrRefused) {
		t.Errorf("to an account that does not exist: %v, want ErrRefused", err)
	}
}

// A server that refuses what the contract would accept is not believed.
func TestFalseRefusal(t *testing.T) {
	t.Parallel()
	c, client := local(t)
	p := &liarPostman{Client: client}
	_, err := ton.SendAndConfirm(t.Context(), p, c.FaucetAddress(), transfer(t, c, stranger(1), "1"), inAnHour(c))
	if err != nil || p.sent.Load() != 2 {
		t.Errorf("sent %d times, %v; want confirmed at the second time", p.sent.Load(), err)
	}
}

type liarPostman struct {
	*ton.Client
	sent atomic.Int64
}

func (p *liarPostman) Send(ctx context.Context, message *cell.Cell) error {
	if p.sent.Add(1) == 1 {
		return &ton.RefusedError{Reason: "a lie"}
	}
	return p.Client.Send(ctx, message)
}

func TestExpiredMessage(t *testing.T) {
	c, client := local(t)
	p := &postman{Client: client, carry: func(m *cell.Cell) *cell.Cell {
		if _, err := c.Advance(2 * time.Hour); err != nil { // it is lost, and the day passes
			t.Error(err)
		}
		return nil
	}}
	until := inAnHour(c)
	_, err := ton.SendAndConfirm(t.Context(), p, c.FaucetAddress(), transfer(t, c, stranger(1), "1"), until)
	var expired *ton.ExpiredError
	if !errors.As(err, &expired) || !errors.Is(err, ton.ErrExpired) || !expired.At.Time.After(until) {
		t.Errorf("lost and expired: %v, want ErrExpired", err)
	}
	if errors.Is(err, ton.ErrUnconfirmed) || errors.Is(err, ton.ErrRefused) {
		t.Errorf("%v is more than one outcome", err)
	}
	// Expired before it is sent: nothing is sent.
	before := p.sent.Load()
	if _, err := ton.SendAndConfirm(t.Context(), p, c.FaucetAddress(), transfer(t, c, stranger(1), "1"), until); !errors.Is(err, ton.ErrExpired) || p.sent.Load() != before {
		t.Errorf("expired before: %v, sent %d times", err, p.sent.Load()-before)
	}
}

// Executed at the last moment and seen after the expiry: it is confirmed.
func TestConfirmedAfterExpiry(t *testing.T) {
	c, client := local(t)
	until := inAnHour(c)
	p := &postman{Client: client, carry: func(m *cell.Cell) *cell.Cell {
		if _, err := c.Send(m); err != nil {
			t.Error(err)
		}
		if _, err := c.Advance(2 * time.Hour); err != nil {
			t.Error(err)
		}
		return nil
	}}
	if tx, err := ton.SendAndConfirm(t.Context(), p, c.FaucetAddress(), transfer(t, c, stranger(1), "1"), until); err != nil || tx.ExitCode != 0 {
		t.Errorf("transaction = %+v, %v", tx, err)
	}
}

func TestUnconfirmedMessage(t *testing.T) {
	c, client := local(t)
	ctx, cancel := context.WithCancel(t.Context())
	p := &postman{Client: client, carry: func(*cell.Cell) *cell.Cell { cancel(); return nil }}
	_, err := ton.SendAndConfirm(ctx, p, c.FaucetAddress(), transfer(t, c, stranger(1), "1"), inAnHour(c))
	var unknown *ton.UnconfirmedError
	if !errors.As(err, &unknown) || !errors.Is(err, ton.ErrUnconfirmed) || !errors.Is(err, context.Canceled) || !unknown.Sent {
		t.Errorf("ended while waiting: %v, want ErrUnconfirmed", err)
	}
	if errors.Is(err, ton.ErrExpired) || errors.Is(err, ton.ErrRefused) {
		t.Errorf("%v is more than one outcome", err)
	}
}

func BenchmarkSendAndConfirm(b *testing.B) {
	c, client := local(b)
	for b.Loop() {
		if _, err := ton.SendAndConfirm(b.Context(), client, c.FaucetAddress(), transfer(b, c, stranger(1), "0.1"), inAnHour(c)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAccount(b *testing.B) {
	c, client := local(b)
	for b.Loop() {
		if _, err := client.Account(b.Context(), c.FaucetAddress()); err != nil {
			b.Fatal(err)
		}
	}
}
