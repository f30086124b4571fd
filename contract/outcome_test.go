package contract_test

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// outcome is what one message led to.
type outcome struct {
	n     *network
	steps []step
}

// step is one transaction.
type step struct {
	name string // of the account
	at   *address.Address
	in   *tlb.Message
	out  []*tlb.InternalMessage
	exit string // exit code of the code or else of the actions, or why nothing ran
	gas  int64
	rent coin.Nano
	tx   *tlb.Transaction
}

func (n *network) outcome(trace localnet.Trace, to *address.Address) *outcome {
	n.t.Helper()
	txs, err := trace.Transactions()
	n.must(err)
	o := &outcome{n: n}
	for _, tx := range txs {
		o.steps = append(o.steps, n.step(tx))
	}
	n.inspect(o)
	return o
}

func (n *network) step(tx *tlb.Transaction) step {
	n.t.Helper()
	s := step{in: tx.IO.In, tx: tx, at: address.NewAddress(0, 0, tx.AccountAddr)}
	s.name, n.met[s.at.StringRaw()] = n.called(s.at), true
	d := tx.Description.(tlb.TransactionDescriptionOrdinary)
	switch c := d.ComputePhase.Phase.(type) {
	case tlb.ComputePhaseSkipped:
		s.exit = string(c.Reason.Type)
	case tlb.ComputePhaseVM:
		code := c.Details.ExitCode
		if code == 0 && d.ActionPhase != nil {
			code = d.ActionPhase.ResultCode
		}
		s.exit, s.gas = fmt.Sprint(code), c.Details.GasUsed.Int64()
	}
	n.fees.Add(n.fees, tx.TotalFees.Coins.Nano())
	if tx.IO.In.MsgType == tlb.MsgTypeInternal {
		n.fees.Add(n.fees, tx.IO.In.AsInternal().FwdFee.Nano())
	}
	if d.StoragePhase != nil {
		s.rent = nano(d.StoragePhase.StorageFeesCollected)
	}
	if tx.IO.Out == nil {
		return s
	}
	out, err := tx.IO.Out.ToSlice()
	n.must(err)
	for _, m := range out {
		s.out = append(s.out, m.AsInternal())
	}
	return s
}

// inspect runs the checks of every contract that had a transaction.
func (n *network) inspect(o *outcome) {
	n.t.Helper()
	reached := map[string]inspected{}
	for _, s := range o.steps {
		at := s.at.StringRaw()
		n.rents[at] += s.rent
		if c, ok := n.watched[at]; ok {
			reached[at] = c
		}
	}
	for _, c := range reached {
		if err := c.inspect(); err != nil {
			n.t.Fatalf("after %s: %v", o, err)
		}
	}
}

// String lists the contracts that had a transaction and the exit code of each.
func (o *outcome) String() string {
	var list []string
	for _, s := range o.steps {
		if _, known := o.n.names[s.at.StringRaw()]; known {
			list = append(list, s.name+" "+s.exit)
		}
	}
	return strings.Join(list, ", ")
}

// wants compares with the exit codes expected.
func (o *outcome) wants(codes string) *outcome {
	o.n.t.Helper()
	if got := o.String(); got != codes {
		o.n.t.Errorf("got %s; want %s", got, codes)
	}
	return o
}

// at is the first transaction of an account; nil if it had none.
func (o *outcome) at(a *address.Address) *step {
	for i := range o.steps {
		if sameAddress(o.steps[i].at, a) {
			return &o.steps[i]
		}
	}
	return nil
}

func sameAddress(a, b *address.Address) bool {
	return a.Workchain() == b.Workchain() && bytes.Equal(a.Data(), b.Data())
}

// sent lists the messages from one account to another.
func (o *outcome) sent(from, to *address.Address) (list []*tlb.InternalMessage) {
	for _, s := range o.steps {
		for _, m := range s.out {
			if sameAddress(s.at, from) && sameAddress(m.DstAddr, to) {
				list = append(list, m)
			}
		}
	}
	return list
}

// paid is what one account paid another in payout messages.
func (o *outcome) paid(from, to *address.Address) (sum coin.Nano) {
	for _, m := range o.sent(from, to) {
		if _, ok := bodyOf(m).(*contract.PaidOut); ok {
			sum += nano(m.Amount)
		}
	}
	return sum
}

// change is what came back in messages about nothing else.
func (o *outcome) change(to *address.Address) (sum coin.Nano) {
	for _, s := range o.steps {
		for _, m := range o.sent(s.at, to) {
			if _, ok := bodyOf(m).(*contract.Excesses); ok {
				sum += nano(m.Amount)
			}
		}
	}
	return sum
}

// bodyOf is nil for what is none of the contracts' own.
func bodyOf(m *tlb.InternalMessage) contract.Body {
	body, err := contract.ParseBody(plain(m.Body))
	if err != nil {
		return nil
	}
	return body
}

func plain(c *cell.Cell) *cell.Cell {
	if c == nil {
		return cell.BeginCell().EndCell()
	}
	return c
}

// money compares amounts of nanoTON.
func (n *network) money(what string, got, want coin.Nano) {
	n.t.Helper()
	if got != want {
		n.t.Errorf("%s = %s, want %s", what, got, want)
	}
}
