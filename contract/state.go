package contract

import (
	"crypto/ed25519"
	"fmt"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// State is where a contract is in its life; it only goes up.
type State uint8

// States of a contract. A worker's contract goes from Normal to Closed.
const (
	Normal State = iota
	Closing
	Closed
)

func (s State) String() string {
	if s > Closed {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return [...]string{"normal", "closing", "closed"}[s]
}

// ProxyState is what a proxy's contract stores.
//
//	owner:Addr key:256 root:Addr state:2 balance:Coins stake:Coins unlock:32 ^params  [^[deposits:Coins]]
//
// What is in brackets only our contracts append. Source: contracts.md section 4.2.
type ProxyState struct {
	Owner *address.Address
	Key   ed25519.PublicKey
	Root  *address.Address
	State State
	// Balance is the proxy's cut that its owner has not taken yet, Stake what
	// it vouches with.
	Balance, Stake coin.Nano
	// UnlockAt is when a closing contract may be finished, in unix seconds.
	UnlockAt uint32
	Params   *cell.Cell
	// Deposits belongs to clients, and to workers not paid yet. Zero for
	// contracts that do not count it.
	Deposits coin.Nano
}

func (s *ProxyState) fields(c codec) {
	c.account(&s.Owner)
	c.key(&s.Key)
	c.account(&s.Root)
	c.state(&s.State)
	c.amount(&s.Balance)
	c.amount(&s.Stake)
	c.u32(&s.UnlockAt)
	c.cell(&s.Params)
}

// ParseProxyState reads a proxy contract's data. Fields after those known are ignored.
func ParseProxyState(data *cell.Cell) (*ProxyState, error) {
	s := &ProxyState{}
	rest, err := parseState("proxy contract", data, s.fields)
	if err != nil {
		return nil, err
	}
	s.Deposits = rest.appended()
	return s, nil
}

// WorkerState is what a worker's contract stores.
//
//	owner:Addr proxy:Addr key:256 state:2 tokens:64 ^params  [owed:64]
//
// Source: contracts.md section 4.3.
type WorkerState struct {
	Owner, Proxy *address.Address
	Key          ed25519.PublicKey // the proxy's
	State        State
	// Tokens is the greatest signed counter the contract has seen.
	Tokens uint64
	Params *cell.Cell
	// Owed are tokens of that counter which the proxy's contract could not pay
	// when it was asked. Zero for contracts that do not remember it.
	Owed uint64
}

func (s *WorkerState) fields(c codec) {
	c.account(&s.Owner)
	c.account(&s.Proxy)
	c.key(&s.Key)
	c.state(&s.State)
	c.u64(&s.Tokens)
	c.cell(&s.Params)
}

// ParseWorkerState reads a worker contract's data. Fields after those known are ignored.
func ParseWorkerState(data *cell.Cell) (*WorkerState, error) {
	s := &WorkerState{}
	rest, err := parseState("worker contract", data, s.fields)
	if err != nil {
		return nil, err
	}
	if rest.s.BitsLeft() >= 64 {
		s.Owed = rest.uint(64)
	}
	return s, nil
}

// ClientState is what a client's contract stores.
//
//	state:2 balance:Coins stake:Coins tokens:64 unlock:32 secret:256 ^[owner:Addr proxy:Addr key:256] ^params  [^[debt:Coins]]
//
// Source: contracts.md section 4.4.
type ClientState struct {
	State State
	// Balance is what the client has paid in and not been charged for.
	Balance coin.Nano
	// Stake is how much it may use before it is charged.
	Stake coin.Nano
	// Tokens is the greatest signed counter the contract has seen.
	Tokens uint64
	// UnlockAt is when a closing contract returns its balance by force, in unix seconds.
	UnlockAt uint32
	// SecretHash is the SHA-256 of the secret that proves who the client is.
	SecretHash   [32]byte
	Owner, Proxy *address.Address
	Key          ed25519.PublicKey // the proxy's
	Params       *cell.Cell
	// Debt is what charges took beyond the balance. Zero for contracts that
	// do not remember it.
	Debt coin.Nano
}

func (s *ClientState) fields(c codec) {
	c.state(&s.State)
	c.amount(&s.Balance)
	c.amount(&s.Stake)
	c.u64(&s.Tokens)
	c.u32(&s.UnlockAt)
	c.hash(&s.SecretHash)
	c.inside("parties", func(c codec) {
		c.account(&s.Owner)
		c.account(&s.Proxy)
		c.key(&s.Key)
	})
	c.cell(&s.Params)
}

// ParseClientState reads a client contract's data. Fields after those known are ignored.
func ParseClientState(data *cell.Cell) (*ClientState, error) {
	s := &ClientState{}
	rest, err := parseState("client contract", data, s.fields)
	if err != nil {
		return nil, err
	}
	s.Debt = rest.appended()
	return s, nil
}

// parseState returns what is left after the fields.
func parseState(what string, data *cell.Cell, fields func(codec)) (*reader, error) {
	rest, err := open(data)
	if err == nil {
		fields(reading{rest})
		err = rest.err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return rest, nil
}

// appended is the amount in the next reference. Contracts without one, or with
// something else there, have none.
func (r *reader) appended() coin.Nano {
	if r.s.RefsNum() == 0 {
		return 0
	}
	in, err := open(r.ref())
	if err != nil {
		return 0
	}
	v := in.coins()
	if in.err != nil {
		return 0
	}
	return v
}
