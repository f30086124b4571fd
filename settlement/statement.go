package settlement

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// Entry is one line of a client's statement: money that moved on the chain.
// Amounts are in nanoTON and never negative; Kind says which way they went.
type Entry struct {
	At time.Time `json:"at"`
	// Kind is "funded" (money came to the node's wallet), "opened" (a
	// contract got its own TON), "deposit", "charge", "refund" or "fee".
	Kind   string    `json:"kind"`
	Amount coin.Nano `json:"amount"`
	// Contract is the client contract, Proxy the proxy's; empty for the wallet.
	Contract string `json:"contract,omitempty"`
	Proxy    string `json:"proxy,omitempty"`
	// Tokens is the total that a charge is for, in adjusted tokens.
	Tokens int64 `json:"tokens,omitempty"`
	// What the chain calls it.
	Account string `json:"account"`
	LT      uint64 `json:"lt,string"`
	Tx      string `json:"tx"`
}

// statement is the file of entries. It is its own cursor: the transactions of
// an account are read from its newest entry on.
type statement struct {
	mu      sync.Mutex // guards below
	lines   *lines
	last    map[string]ton.TxID // by account
	charged map[string]int64    // newest total, by contract
}

func openStatement(path string) (*statement, error) {
	s := &statement{last: map[string]ton.TxID{}, charged: map[string]int64{}}
	var err error
	s.lines, err = openLines(path, func(line []byte) error {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		s.note(&e)
		return nil
	})
	return s, err
}

func (s *statement) note(e *Entry) {
	id := ton.TxID{LT: e.LT}
	if _, err := hex.Decode(id.Hash[:], []byte(e.Tx)); err == nil && len(e.Tx) == 64 && e.LT >= s.last[e.Account].LT {
		s.last[e.Account] = id
	}
	if e.Kind == "charge" {
		s.charged[e.Contract] = max(s.charged[e.Contract], e.Tokens)
	}
}

func (s *statement) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines.file.Close()
}

func (s *statement) cursor(account string) ton.TxID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[account]
}

// skip goes on from the account's present: what lies between is gone.
func (s *statement) skip(ctx context.Context, chain ton.Chain, at *address.Address) error {
	account, err := chain.Account(ctx, at)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[at.StringRaw()] = account.Last
	return nil
}

// add writes entries of transactions after those that are written.
func (s *statement) add(entries []Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []any
	var kept []Entry
	for _, e := range entries {
		if e.LT > s.last[e.Account].LT {
			kept = append(kept, e)
			list = append(list, e)
		}
	}
	if len(list) == 0 {
		return nil
	}
	if err := s.lines.add(list...); err != nil {
		return err
	}
	for i := range kept {
		s.note(&kept[i])
	}
	return nil
}

func entryOf(account string, tx *ton.Transaction, kind string, amount coin.Nano) Entry {
	return Entry{At: tx.Time.UTC(), Kind: kind, Amount: amount, Account: account, LT: tx.LT, Tx: hex.EncodeToString(tx.Hash[:])}
}

// contract writes what a client contract's transactions say. Whoever charges or
// pays in, it is our account.
func (s *statement) contract(a *clientAccount, list []*ton.Transaction) error {
	var entries []Entry
	s.mu.Lock()
	charged := s.charged[a.name]
	s.mu.Unlock()
	for _, tx := range list {
		add := func(kind string, amount coin.Nano, tokens int64) {
			e := entryOf(a.name, tx, kind, amount)
			e.Contract, e.Proxy, e.Tokens = a.name, a.proxy.StringRaw(), tokens
			entries = append(entries, e)
		}
		if tx.In == nil {
			continue
		}
		body, err := contract.ParseBody(tx.In.Body)
		if err != nil {
			body = nil
		}
		switch m := body.(type) {
		case contract.Empty:
			add("opened", tx.In.Value, 0)
		case *contract.TopUp:
			if done(tx) {
				add("deposit", m.Amount, 0)
			}
		case *contract.SecretTopUp:
			if done(tx) {
				add("deposit", m.Amount, 0)
			}
		case *contract.Envelope:
			if done(tx) && m.Tokens >= charged {
				add("charge", a.terms.PricePerToken.Times(m.Tokens-charged), m.Tokens)
				charged = m.Tokens
			}
		}
		for _, out := range tx.Out {
			if amount := refundIn(out); amount > 0 {
				add("refund", amount, 0)
			}
		}
		add("fee", tx.Fees, 0)
	}
	return s.add(entries)
}

// refundIn is what a client contract asks of its proxy's for its owner.
func refundIn(m *ton.Message) coin.Nano {
	body, err := contract.ParseBody(m.Body)
	if err != nil {
		return 0
	}
	r, ok := body.(*contract.ClientRequest)
	if !ok || r.Part == nil || r.Part.Kind != contract.PartRefundGranted && r.Part.Kind != contract.PartRefundForced {
		return 0
	}
	return r.Part.Amount
}

// wallet writes what the node's wallet received from people, and its fees.
func (s *statement) wallet(account string, list []*ton.Transaction) error {
	var entries []Entry
	for _, tx := range list {
		if in := tx.In; in != nil && in.From != nil && !in.Bounced && in.Value > 0 && !isChange(in) {
			entries = append(entries, entryOf(account, tx, "funded", in.Value))
		}
		if tx.Fees > 0 {
			entries = append(entries, entryOf(account, tx, "fee", tx.Fees))
		}
	}
	return s.add(entries)
}

// isChange says that the money was ours before: change, or a refund.
func isChange(m *ton.Message) bool {
	body, err := contract.ParseBody(m.Body)
	if err != nil {
		return false
	}
	switch body.(type) {
	case *contract.Excesses, *contract.PaidOut:
		return true
	}
	return false
}

// ReadStatement hands the entries of a client's directory to each, oldest
// first. The client may be running.
func ReadStatement(dir string, each func(Entry) error) error {
	return readLines(dir, statementFile, each)
}

// CopyStatement writes the statement as JSON lines.
func CopyStatement(w io.Writer, dir string) error {
	enc := json.NewEncoder(w)
	return ReadStatement(dir, func(e Entry) error { return enc.Encode(e) })
}
