// Package ton is the blockchain as the rest of the program sees it: a small
// interface, [Chain], and what it deals in.
//
// Start with [Dial], which opens a chain from the global.config.json that
// every TON network publishes, a local chain (ton/localnet) included. Follow
// an account with [Watch]; send a message and learn what became of it with
// [SendAndConfirm]; predict what it would do with [Emulate].
//
// What a contract stores and says is the business of package contract.
package ton

import (
	"context"
	"errors"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
)

// Chain reads and writes one TON network.
//
//   - Answers must be proven against a masterchain block, and that block must
//     never be older than one that an earlier answer came from.
//   - A chain that cannot be reached must give [ErrUnreachable], one whose
//     newest block is too old [ErrStale]; both within the context's deadline or
//     the implementation's own.
//   - All must be safe for concurrent use.
type Chain interface {
	// Head is the newest masterchain block.
	Head(ctx context.Context) (Block, error)
	// Account is an account as of the newest block; one that does not exist
	// has status NonExistent and is no error.
	Account(ctx context.Context, addr *address.Address) (*Account, error)
	// Transactions lists an account's transactions from newest down to, not
	// including, after; oldest first. With more than limit of them it returns
	// the newest limit and ErrGap. The zero TxID means from the beginning.
	Transactions(ctx context.Context, addr *address.Address, newest, after TxID, limit int) ([]*Transaction, error)
	// Send hands an external message to the network, which may forget it: only
	// a transaction proves that it arrived. ErrRefused if a contract refuses it.
	Send(ctx context.Context, message *cell.Cell) error
	// RunMethod runs a get-method as of the newest block. Arguments and results
	// are *big.Int, *cell.Cell, *cell.Slice, nil or []any of those.
	RunMethod(ctx context.Context, addr *address.Address, method string, args ...any) ([]any, error)
	// Params is the blockchain's configuration: the dictionary of parameters.
	Params(ctx context.Context) (*cell.Cell, error)
	// Changed returns a channel that is closed when a block newer than the one
	// given is known.
	Changed(after Block) <-chan struct{}
}

// Errors to be tested for.
var (
	// ErrUnreachable: no liteserver answers. Try again; meanwhile what was
	// known stays known.
	ErrUnreachable = errors.New("chain unreachable")
	// ErrStale: servers answer, but with blocks that are too old. Do not act on
	// their word.
	ErrStale = errors.New("chain stale")
	// ErrRefused: the contract did not accept the external message. Sending the
	// same again gives the same answer.
	ErrRefused = errors.New("message refused")
	// ErrGap: there are more transactions than could be listed.
	ErrGap = errors.New("transactions are missing")
	// ErrCursor: the transaction to go on from is not in the account's history.
	// It is of another account or of another chain.
	ErrCursor = errors.New("no such transaction in the account's history")
	// ErrExpired: the message was not executed and can never be.
	ErrExpired = errors.New("message expired")
	// ErrUnconfirmed: the message may have been executed, or may yet be. Do not
	// replace it by another before it has expired.
	ErrUnconfirmed = errors.New("message unconfirmed")
	// ErrProof: a server's answer does not follow from the block it names.
	ErrProof = errors.New("wrong proof")
)

// Block is a masterchain block.
type Block struct {
	Seqno uint32
	Time  time.Time // whole seconds
}

// Status says whether an account exists and can run.
type Status int

// Statuses of an account.
const (
	NonExistent Status = iota
	Uninitialized
	Active
	Frozen
)

func (s Status) String() string {
	return [...]string{"nonexistent", "uninitialized", "active", "frozen"}[s]
}

// Account is an account as of a block.
type Account struct {
	Address *address.Address
	Status  Status
	Balance coin.Nano
	// Code and Data are nil unless the account is active.
	Code, Data *cell.Cell
	// Root is the account as blocks hold it, storage and all: what [Emulate]
	// begins with. Nil if the account does not exist.
	Root *cell.Cell
	// Last is the newest transaction, zero if there is none.
	Last TxID
	At   Block
	// Time is the clock of the account's shard in that block, which may be
	// behind the masterchain's: later transactions of the account are not older.
	Time time.Time
}

// TxID names a transaction of an account.
type TxID struct {
	LT   uint64
	Hash [32]byte
}

// Transaction is one step of an account.
type Transaction struct {
	TxID
	Account *address.Address
	Time    time.Time
	// In is nil for ticks of the masterchain's own contracts.
	In  *Message
	Out []*Message
	// Fees is what the account paid in all, forwarding of its messages included.
	Fees coin.Nano
	// Ran says whether the contract's code was run; ExitCode and Gas are its
	// results. Messages that bring no money for gas are not run, and are read
	// all the same.
	Ran      bool
	ExitCode int32
	Gas      int64
	// Aborted means that state and out messages are as if nothing had run.
	Aborted bool
	// ActionCode is the result of the action phase, 0 if it did not happen.
	ActionCode int32
}

// Message is a message between accounts, or from or to the outside.
type Message struct {
	// From is nil for messages from outside, To for those to outside.
	From, To *address.Address
	Value    coin.Nano
	Bounce   bool
	Bounced  bool
	// Body is never nil; it may be empty.
	Body *cell.Cell
	// Hash is the representation hash of the message cell.
	Hash [32]byte
	LT   uint64

	normalized [32]byte  // of one from outside: what servers may have turned Hash into
	forwarding coin.Nano // what is left of the fee, for the receiver's validators
}
