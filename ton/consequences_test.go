package ton_test

import (
	"context"
	"testing"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
)

// What was predicted comes true: the transactions that are found are those of
// the prediction, a bounce included.
func TestConsequences(t *testing.T) {
	c, client := stopped(t) // rent grows by the second
	fund(t, c, stranger(1), "1")
	for name, to := range map[string]*address.Address{"stranger": stranger(1), "new": stranger(2), "thrower": deploy(t, c, code(thrower))} {
		signed := transfer(t, c, to, "2.5")
		predicted, err := ton.Emulate(t.Context(), client, signed)
		if err != nil {
			t.Fatal(err)
		}
		tx, err := ton.SendAndConfirm(t.Context(), client, c.FaucetAddress(), signed, inAnHour(c))
		if err != nil {
			t.Fatal(err)
		}
		came, err := ton.Consequences(t.Context(), client, tx, 10)
		if err != nil || len(came) != len(predicted.Transactions)-1 {
			t.Fatalf("%s: %d transactions, %v; predicted %+v", name, len(came), err, predicted.Transactions)
		}
		for i, got := range came {
			want := predicted.Transactions[i+1]
			if !got.Account.Equals(want.Account) || got.ExitCode != want.ExitCode || got.Fees != want.Fees || got.In.Value != want.In.Value {
				t.Errorf("%s: transaction %d is %+v, predicted %+v", name, i, got, want)
			}
		}
	}
}

// One that never comes is waited for as long as the caller likes.
func TestConsequencesWait(t *testing.T) {
	_, client := local(t)
	lost := &ton.Transaction{Out: []*ton.Message{{To: stranger(1), Value: coin.TON, Hash: [32]byte{1}}}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ton.Consequences(ctx, client, lost, 10); err == nil {
		t.Error("a message that was never sent has arrived")
	}
}

func TestGlobalID(t *testing.T) {
	c, client := local(t)
	if id, err := ton.GlobalID(t.Context(), client); err != nil || id != c.GlobalID() {
		t.Errorf("GlobalID = %d, %v; want %d", id, err, c.GlobalID())
	}
}
