package ton

import (
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// ParseTransaction reads a transaction of an account in a workchain.
func ParseTransaction(workchain int32, root *cell.Cell) (*Transaction, error) {
	tx, _, err := parseTransaction(workchain, root)
	return tx, err
}

// parseTransaction also returns the transaction before it.
func parseTransaction(workchain int32, root *cell.Cell) (*Transaction, TxID, error) {
	var raw tlb.Transaction
	if err := tlb.Parse(&raw, root); err != nil {
		return nil, TxID{}, fmt.Errorf("ton: transaction: %w", err)
	}
	tx := &Transaction{
		TxID:    TxID{LT: raw.LT, Hash: root.HashKey()},
		Account: address.NewAddress(0, byte(workchain), raw.AccountAddr),
		Time:    time.Unix(int64(raw.Now), 0),
		Fees:    coin.FromBig(raw.TotalFees.Coins.Nano()),
	}
	if err := tx.messages(root); err != nil {
		return nil, TxID{}, fmt.Errorf("ton: transaction %d: %w", raw.LT, err)
	}
	tx.describe(raw.Description)
	return tx, TxID{LT: raw.PrevTxLT, Hash: [32]byte(raw.PrevTxHash)}, nil
}

// messages reads them from their cells, since hashes are of cells:
//
//	transaction$0111 … ^[ in_msg:(Maybe ^Message) out_msgs:(HashmapE 15 ^Message) ] …
func (tx *Transaction) messages(root *cell.Cell) error {
	io, err := root.PeekRef(0)
	if err != nil {
		return err
	}
	s, err := io.BeginParse()
	if err != nil {
		return err
	}
	has, err := s.LoadBoolBit()
	if err != nil {
		return err
	}
	if has {
		in, err := s.LoadRefCell()
		if err != nil {
			return err
		}
		if tx.In, err = ParseMessage(in); err != nil {
			return err
		}
	}
	out, err := s.LoadDict(15)
	if err != nil {
		return err
	}
	return tx.outgoing(out)
}

// outgoing adds what is left of the forwarding fees: validators of the sender's
// shard have got their part, which is in the transaction's total; the rest goes with the message.
func (tx *Transaction) outgoing(out *cell.Dictionary) error {
	if out == nil || out.IsEmpty() {
		return nil
	}
	entries, err := out.LoadAll()
	if err != nil {
		return err
	}
	for _, entry := range entries { // in the order of sending, which is the key's
		root, err := entry.Value.LoadRefCell()
		if err != nil {
			return err
		}
		m, err := ParseMessage(root)
		if err != nil {
			return err
		}
		tx.Out = append(tx.Out, m)
		tx.Fees = tx.Fees.Add(m.forwarding)
	}
	return nil
}

func (tx *Transaction) describe(description any) {
	switch d := description.(type) {
	case tlb.TransactionDescriptionOrdinary:
		tx.phases(d.ComputePhase, d.ActionPhase, d.Aborted)
	case tlb.TransactionDescriptionTickTock:
		tx.phases(d.ComputePhase, d.ActionPhase, d.Aborted)
	}
}

func (tx *Transaction) phases(compute tlb.ComputePhase, action *tlb.ActionPhase, aborted bool) {
	tx.Aborted = aborted
	if run, ok := compute.Phase.(tlb.ComputePhaseVM); ok {
		tx.Ran, tx.ExitCode, tx.Gas = true, run.Details.ExitCode, run.Details.GasUsed.Int64()
	}
	if action != nil {
		tx.ActionCode = action.ResultCode
	}
}

// ParseMessage reads a message of any kind.
func ParseMessage(root *cell.Cell) (*Message, error) {
	var raw tlb.Message
	if err := tlb.Parse(&raw, root); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	m := &Message{Hash: root.HashKey(), Body: raw.Msg.Payload()}
	switch in := raw.Msg.(type) {
	case *tlb.InternalMessage:
		m.From, m.To, m.LT = in.SrcAddr, in.DstAddr, in.CreatedLT
		m.Value, m.Bounce, m.Bounced = coin.FromBig(in.Amount.Nano()), in.Bounce, in.Bounced
		// What the library calls IHRFee has long been flags (of the form of
		// bounced messages, for one) and costs nothing.
		m.forwarding = coin.FromBig(in.FwdFee.Nano())
	case *tlb.ExternalMessage:
		m.To = in.DstAddr
		m.normalized = [32]byte(in.NormalizedHash())
	case *tlb.ExternalMessageOut:
		m.From, m.LT = in.SrcAddr, in.CreatedLT
	}
	if m.Body == nil {
		m.Body = cell.BeginCell().EndCell()
	}
	return m, nil
}

// parseExternal reads a message from outside, and refuses any other.
func parseExternal(message *cell.Cell) (*Message, error) {
	if message == nil {
		return nil, &RefusedError{Reason: "no message"}
	}
	m, err := ParseMessage(message)
	if err != nil {
		return nil, &RefusedError{Reason: err.Error()}
	}
	if m.normalized == ([32]byte{}) || m.To == nil || m.To.Type() != address.StdAddress {
		return nil, &RefusedError{Reason: "want a message from outside to a standard address"}
	}
	return m, nil
}
