package main

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// outcome is what an order did, or would do.
type outcome struct {
	// Transaction is the wallet's, nil in a prediction.
	Transaction *txName `json:"transaction,omitempty"`
	// Sent is the value of the wallet's messages, Back that of the messages that
	// came of them to the wallet; Fees is what all accounts paid together, and
	// Spent what the wallet has less in the end.
	Sent    coin.Nano `json:"sent"`
	Back    coin.Nano `json:"back"`
	Fees    coin.Nano `json:"fees"`
	Spent   coin.Nano `json:"spent"`
	Balance coin.Nano `json:"balance"`
	// Receivers are what became of each message.
	Receivers []landing `json:"receivers"`

	wallet *ton.Transaction
}

type landing struct {
	Account     string  `json:"account"`
	Transaction *txName `json:"transaction,omitempty"`
	ExitCode    int32   `json:"exit_code"`
	ActionCode  int32   `json:"action_code"`
	Refused     bool    `json:"refused"`
	Reason      string  `json:"reason,omitempty"`
}

// txName names a transaction as explorers do.
type txName struct {
	LT   uint64 `json:"lt,string"`
	Hash string `json:"hash"`
}

func (n *txName) String() string { return fmt.Sprintf("%d %s", n.LT, n.Hash) }

func nameOf(tx *ton.Transaction) *txName {
	return &txName{tx.LT, hex.EncodeToString(tx.Hash[:])}
}

// judge sums up transactions, the wallet's first.
func (o *order) judge(all []*ton.Transaction) *outcome {
	out := &outcome{Transaction: nameOf(all[0]), wallet: all[0], Receivers: []landing{}}
	byMessage := map[[32]byte]*ton.Transaction{}
	for _, tx := range all {
		out.Fees = out.Fees.Add(tx.Fees)
		if tx.In != nil {
			byMessage[tx.In.Hash] = tx
		}
		if !tx.Account.Equals(o.from.Address()) {
			continue
		}
		out.Spent = out.Spent.Add(tx.Fees)
		if tx.In != nil {
			out.Spent -= tx.In.Value
			out.Back = out.Back.Add(tx.In.Value)
		}
		for _, m := range tx.Out {
			out.Spent = out.Spent.Add(m.Value)
		}
	}
	for _, m := range all[0].Out {
		out.Sent = out.Sent.Add(m.Value)
		if tx := byMessage[m.Hash]; tx != nil {
			out.Receivers = append(out.Receivers, o.land(tx, m))
		}
	}
	return out
}

// forget the names of transactions that have not happened.
func (out *outcome) forget() {
	out.Transaction = nil
	for i := range out.Receivers {
		out.Receivers[i].Transaction = nil
	}
}

func (o *order) land(tx *ton.Transaction, m *ton.Message) landing {
	l := landing{
		Account: o.chain.show(m.To, m.Bounce), Transaction: nameOf(tx), ExitCode: tx.ExitCode, ActionCode: tx.ActionCode,
		Refused: tx.ActionCode != 0 || tx.Aborted && (tx.Ran || m.Bounce),
	}
	if !l.Refused {
		return l
	}
	switch {
	case !tx.Ran:
		l.Reason = "its code did not run: nobody is there, or the message brought too little"
	case tx.ActionCode != 0:
		l.Reason = o.words("action code", tx.ActionCode)
	default:
		l.Reason = o.words("exit code", tx.ExitCode)
	}
	return l
}

func (o *order) words(kind string, code int32) string {
	text := fmt.Sprintf("%s %d", kind, code)
	if o.exit != nil && o.exit(code) != "" {
		text += ", " + o.exit(code)
	}
	return text
}

// verdict is nil if everything was done.
func (out *outcome) verdict(o *order, balance coin.Nano) error {
	tx := out.wallet
	if tx.ExitCode != 0 || tx.ActionCode != 0 || len(tx.Out) < len(o.transfers) {
		sum := coin.Nano(0)
		for _, t := range o.transfers {
			sum = sum.Add(t.Amount)
		}
		return fmt.Errorf("%w: %s, which does not pay %s and the fees (exit code %d, action code %d): send less, or send coins to %s",
			wallet.ErrPoor, balance.Text(), sum.Text(), tx.ExitCode, tx.ActionCode, o.from.Address())
	}
	var reasons []string
	for _, l := range out.Receivers {
		if l.Refused {
			reasons = append(reasons, l.Reason)
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	if out.Transaction == nil {
		return refusedError{fmt.Errorf("the %s would refuse it, so nothing was sent: %s", o.receiver, strings.Join(reasons, "; "))}
	}
	return refusedError{fmt.Errorf("the %s refused it: %s; the coins came back, less %s", o.receiver, strings.Join(reasons, "; "), out.Spent.Text())}
}
