package ton_test

import (
	"errors"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// stopped is a chain whose clock stands, and a client with the same clock.
func stopped(t testing.TB) (*localnet.Chain, *ton.Client) {
	now := func() time.Time { return time.Unix(1_900_000_000, 0) }
	c := newChain(t, func(cfg *localnet.Config) { cfg.Now = now })
	return c, dial(t, network(t, serve(t, c)), func(cfg *ton.Config) { cfg.Now = now })
}

// A prediction is right to the last nano, when nothing else happens.
func TestEmulate(t *testing.T) {
	c, client := stopped(t)
	fund(t, c, stranger(1), "1")
	thrower := deploy(t, c, code(thrower))
	for name, to := range map[string]byte{"known": 1, "new": 2} {
		signed := transfer(t, c, stranger(to), "2.5")
		predicted, err := ton.Emulate(t.Context(), client, signed)
		if err != nil {
			t.Fatal(err)
		}
		if len(predicted.Transactions) != 2 || predicted.More || len(predicted.Effects) != 2 {
			t.Fatalf("%s: prediction = %+v", name, predicted)
		}
		tx, err := ton.SendAndConfirm(t.Context(), client, c.FaucetAddress(), signed, inAnHour(c))
		if err != nil {
			t.Fatal(err)
		}
		if p := predicted.Transactions[0]; p.Fees != tx.Fees || p.Gas != tx.Gas || p.In.Hash != tx.In.Hash || len(p.Out) != 1 || p.Out[0].Value != tx.Out[0].Value {
			t.Errorf("%s: predicted %+v, was %+v", name, p, tx)
		}
		for _, e := range predicted.Effects {
			is, err := client.Account(t.Context(), e.Account)
			if err != nil || is.Balance != e.After || is.Status != e.Status || !sameCell(is.Data, e.Data) || !sameCell(is.Code, e.Code) {
				t.Errorf("%s: %s predicted %s and %s, has %s and %s (%v)", name, e.Account, e.Status, e.After, is.Status, is.Balance, err)
			}
		}
		if e := predicted.Of(c.FaucetAddress()); e == nil || e.Before-e.After != e.Fees+2500*coin.TON/1000 {
			t.Errorf("%s: effect = %+v", name, e)
		}
		if predicted.Of(stranger(77)) != nil {
			t.Errorf("%s: an effect on a stranger", name)
		}
	}
	// What fails at the receiver bounces, or is swallowed; here it may not bounce.
	predicted, err := ton.Emulate(t.Context(), client, transfer(t, c, thrower, "1"))
	if err != nil || len(predicted.Transactions) != 2 || predicted.Transactions[1].ExitCode != 37 || !predicted.Transactions[1].Aborted {
		t.Errorf("to a contract that throws: %+v, %v", predicted, err)
	}
}

func TestEmulateRefusal(t *testing.T) {
	c, client := local(t)
	stale := transfer(t, c, stranger(1), "2")
	fund(t, c, stranger(1), "1")
	_, err := ton.Emulate(t.Context(), client, stale)
	var refused *ton.RefusedError
	if !errors.As(err, &refused) || !refused.Ran || refused.ExitCode != 133 {
		t.Errorf("used number: %v, want refused with exit code 133", err)
	}
	before := c.Last().SeqNo
	if _, err := ton.Emulate(t.Context(), client, transfer(t, c, stranger(1), "1")); err != nil {
		t.Error(err)
	}
	if has, err := client.Account(t.Context(), stranger(1)); err != nil || has.Balance != coin.TON {
		t.Errorf("after a prediction the receiver has %v, %v (block %d); want 1 TON", has, err, before)
	}
	if _, err := ton.Emulate(t.Context(), client, nil); !errors.Is(err, ton.ErrRefused) {
		t.Errorf("nothing: %v, want ErrRefused", err)
	}
}

func sameCell(a, b *cell.Cell) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.HashKey() == b.HashKey()
}
