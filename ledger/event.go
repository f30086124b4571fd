package ledger

import (
	"encoding/hex"
	"fmt"

	"github.com/opencocoon/cocoon/coin"
)

// Event is one movement. The ledger's state is the sum of its events in
// order, so whoever has the events has the accounts. An event names accounts,
// counters and times, and never a word of a prompt or an answer.
//
// Which fields a kind uses stands beside it; the others are zero.
type Event struct {
	// Seq counts all events of a ledger from 1; a snapshot's have none.
	Seq uint64 `json:"seq,omitempty"`
	// Time is when it was written, in milliseconds since 1970.
	Time       int64  `json:"time,omitempty"`
	Kind       Kind   `json:"kind"`
	Generation uint32 `json:"generation,omitempty"`
	// Client and Worker are raw addresses: a client's wallet, a worker's owner.
	Client string `json:"client,omitempty"`
	Worker string `json:"worker,omitempty"`
	// Tokens moved, or a counter's value; Chain is its value as committed to the chain.
	Tokens int64 `json:"tokens,omitempty"`
	Chain  int64 `json:"chain,omitempty"`
	// Reported is what the worker asked for where that was more than the client could pay.
	Reported int64 `json:"reported,omitempty"`

	// What the chain shows of a contract; see ClientState and its like.
	State   State     `json:"state,omitempty"`
	Balance coin.Nano `json:"balance,omitempty"`
	Stake   coin.Nano `json:"stake,omitempty"`
	Debt    coin.Nano `json:"debt,omitempty"`
	Unlock  int64     `json:"unlock,omitempty"`
	LT      uint64    `json:"lt,omitempty"`
	Hash    Hash      `json:"hash,omitzero"`

	// A note's number and the session it belongs to; Last closes a span of numbers.
	Note    int32 `json:"note,omitempty"`
	Last    int32 `json:"last,omitempty"`
	Session Hash  `json:"session,omitzero"`

	// The terms of a generation.
	Params   uint32    `json:"params,omitempty"`
	Contract string    `json:"contract,omitempty"`
	Price    coin.Nano `json:"price,omitempty"`
	Fee      coin.Nano `json:"fee,omitempty"`
	Paid     int64     `json:"credit_paid,omitempty"`
	Staked   int64     `json:"credit_stake,omitempty"`
	Memo     []byte    `json:"memo,omitempty"`
}

// Kind says what happened.
type Kind uint8

// Kinds of events. Their numbers are on disks: they never change meaning.
const (
	// Began: a generation of accounts starts under new terms, the one before closes.
	// Generation, Params, Contract, Price, Fee, Paid, Staked, Memo.
	Began Kind = 1 + iota
	// Settled: a request has ended; Tokens move from Client to Worker. Generation, Reported.
	Settled
	// ClientSeen: what the chain shows of a client's contract. Generation, Client, Tokens (charged), State, Balance, Stake, Debt, LT.
	ClientSeen
	// WorkerSeen: what the chain shows of a worker's contract. Generation, Worker, Tokens (paid), State, LT.
	WorkerSeen
	// ProxySeen: what the chain shows of the proxy's contract. Generation, State, Balance, Stake, Unlock, LT, Hash.
	ProxySeen
	// Noted: a save-state note was prepared; it covers every event before it. Note, Session.
	Noted
	// NoteSeen: the chain holds that note. Note, Session.
	NoteSeen
	// Ended: a closing generation is closed on chain and forgotten. Generation.
	Ended

	// The rest appear in snapshots only.

	// CarriedClient and CarriedWorker are a counter. Generation, Client or Worker, Tokens, Chain; Reported is what a client was returned, LT the last time;
	// State is not open if the client came when the contract was closing already.
	CarriedClient
	CarriedWorker
	// CarriedSession says which notes a session has prepared: Session, Note to Last.
	CarriedSession
	// CarriedNote is a note that was prepared and not seen: Note, Session.
	CarriedNote
	// CarriedLevel is what the last CarriedNote will commit of one counter: Generation, Client or Worker, Tokens.
	CarriedLevel
	// CarriedEnd ends a snapshot: Tokens counts the events before it.
	CarriedEnd

	// Returned is in the log again: the chain gave a client back a deposit that its contract
	// counts all the same; Tokens are those it bought. Generation, Client, LT.
	Returned
)

var kindNames = []string{Began: "began", Settled: "settled", ClientSeen: "client_seen", WorkerSeen: "worker_seen", ProxySeen: "proxy_seen",
	Noted: "noted", NoteSeen: "note_seen", Ended: "ended", CarriedClient: "carried_client", CarriedWorker: "carried_worker",
	CarriedSession: "carried_session", CarriedNote: "carried_note", CarriedLevel: "carried_level", CarriedEnd: "carried_end", Returned: "returned"}

func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the kind's name.
func (k *Kind) UnmarshalText(b []byte) error { return byName(k, kindNames, "kind of event", b) }

// State is the state of a contract; only an open one takes part.
type State uint8

// States of a contract.
const (
	Open State = iota
	Closing
	Closed
)

var stateNames = []string{"open", "closing", "closed"}

func (s State) String() string {
	if int(s) >= len(stateNames) {
		return fmt.Sprintf("state(%d)", uint8(s))
	}
	return stateNames[s]
}

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's name.
func (s *State) UnmarshalText(b []byte) error { return byName(s, stateNames, "state", b) }

func byName[T ~uint8](v *T, names []string, what string, b []byte) error {
	for i, name := range names {
		if name != "" && name == string(b) {
			*v = T(i)
			return nil
		}
	}
	return fmt.Errorf("ledger: %q is no %s", b, what)
}

// Hash is 32 bytes, written in hex.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes hex.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads hex.
func (h *Hash) UnmarshalText(b []byte) error {
	v, err := hex.DecodeString(string(b))
	if err != nil || len(v) != len(h) {
		return fmt.Errorf("ledger: a hash has 64 hex digits, got %d characters", len(b))
	}
	*h = Hash(v)
	return nil
}
