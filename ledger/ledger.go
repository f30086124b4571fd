// Package ledger knows who owes whom.
//
// [Adjust] turns an engine's token counts into adjusted tokens, the unit of
// every account. A [Book] holds the accounts of one proxy: a client's tokens
// are set aside before a request runs ([Book.Reserve]) and, when it has ended,
// what it really used moves from the client to the worker in one step
// ([Book.Settle]). No token appears or vanishes on the way; [Memory.Check]
// says so at any moment.
//
// A counter is known on three levels. Memory is what has happened, the store
// is what a restart will remember, the chain is what the contract has been
// shown; Max ≥ DB ≥ Chain, all three only grow, and only the lowest is signed.
//
// The ledger talks to no network and knows no keys: the signer comes with
// [Terms]. Sources: roles.md sections 2.9 and 4.5 to 4.8, contracts.md section 16.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// Book keeps the accounts of one proxy contract. Accounts go by the raw text
// of their TON address, "0:" and 64 hex digits.
//
//   - Begin must be called first; it starts new accounts under new terms and
//     voids every hold of the old ones.
//   - Reserve must refuse what the client cannot pay, counting every hold that is still open.
//   - Settle and Release must end a hold once; a second time is [ErrSpent] and changes nothing.
//   - Settle must never let a client owe more than it can pay.
//   - Status must return a payment for the amount that is committed to the chain, no more.
//   - Run must make settled amounts durable until ctx ends, then once more, and return.
//   - All must be safe for concurrent use, and none but Run may wait for a disk or a network.
type Book interface {
	Begin(Terms) error
	OpenClient(wallet string) (Client, error)
	OpenWorker(owner string) (Worker, error)
	Reserve(wallet string, need int64) (*Hold, error)
	Settle(h *Hold, owner string, used int64) (booked int64, err error)
	Release(h *Hold) error
	ClientStatus(wallet string) (Status, error)
	WorkerStatus(owner string) (Status, error)
	Clients() []Client
	Workers() []Worker
	Run(ctx context.Context) error
}

// Side says whose account a payment is for.
type Side int

// The two sides of a proxy.
const (
	ClientSide Side = iota
	WorkerSide
)

// Terms are what a generation of accounts lives under.
type Terms struct {
	// Price is what a client pays for a token, in nanoTON.
	Price uint64
	// Credit is what a client has that the chain says nothing of. The zero Deposit lets it do nothing.
	Credit Deposit
	// Sign writes the payment "up to tokens" for an account. It may take its time: it is called without locks.
	Sign func(side Side, account string, tokens int64) ([]byte, error)
}

// Deposit is what the chain says about a client, in tokens.
type Deposit struct {
	// Paid is all that was ever paid in. Stake is how far use may run ahead of what was charged.
	Paid, Stake int64
}

// Chainless is the credit of the mode without a chain: a balance of a million
// TON and a stake of one. Source: roles.md sections 2.8 and 4.5.
func Chainless(price uint64) Deposit {
	const ton = 1_000_000_000
	return Deposit{Paid: perToken(1_000_000*ton, price), Stake: perToken(ton, price)}
}

// perToken turns nanoTON into tokens; when tokens cost nothing a fixed plenty stands for infinity.
func perToken(nano, price uint64) int64 {
	if price == 0 {
		return 1_000_000_000_000
	}
	return int64(min(nano/price, math.MaxInt64))
}

// Levels is one counter as far as each place knows it; Max ≥ DB ≥ Chain.
type Levels struct{ Max, DB, Chain int64 }

// State is the state of a client's contract.
type State int

// States of a client's contract; only an open one may spend.
const (
	Open State = iota
	Closing
	Closed
)

// Client is a snapshot of a client's account, in tokens.
type Client struct {
	Wallet string
	State  State
	Deposit
	// Charged is what the contract has already taken.
	Charged int64
	// Used is what finished requests cost.
	Used Levels
	// Reserved is set aside for the Running requests.
	Reserved int64
	Running  int
}

// Limit is what the client may use in total before it is charged or pays again.
func (c *Client) Limit() int64 { return min(c.Paid, add(c.Stake, c.Charged)) }

// Available is what a new request may reserve; negative when the limit has fallen.
func (c *Client) Available() int64 { return c.Limit() - c.Reserved - c.Used.Max }

// Worker is a snapshot of a worker owner's account, in tokens.
type Worker struct {
	Owner string
	// Earned is what finished requests brought, Paid what was paid out of it.
	Earned Levels
	Paid   int64
}

// Claim is what a worker says it remembers of this proxy.
type Claim Levels

// Overclaim says whether the worker remembers more than was ever committed
// here. Its memory or ours is wrong, and going on would sign the difference.
func (w *Worker) Overclaim(c Claim) bool { return c.Chain > w.Earned.Chain || c.DB > w.Earned.DB }

// Status is what a peer is told about its account after every request.
type Status struct {
	// Payment is the signed bag of cells for the amount committed to the chain.
	Payment []byte
	// DB and Max are the other two levels.
	DB, Max int64
}

// Errors of a book that callers act on.
var (
	// ErrAccount means that nobody opened the account in this generation, or that it was
	// dropped unused to make room: open it again.
	ErrAccount = errors.New("ledger: unknown account")
	// ErrClosing means that the client's contract is closing or closed: take no more work for it.
	ErrClosing = errors.New("ledger: account is closing")
	// ErrSpent means that the hold was settled, released or voided before.
	ErrSpent = errors.New("ledger: hold is spent")
	// ErrFull means that there is no room for another account: refuse the peer.
	ErrFull = errors.New("ledger: too many accounts")
	// ErrAmount means a negative amount.
	ErrAmount = errors.New("ledger: negative amount")
)

// BalanceError says how much a client lacks.
type BalanceError struct{ Available, Need int64 }

func (e *BalanceError) Error() string {
	return fmt.Sprintf("ledger: balance is too low: %d tokens available, %d needed: pay in or lower max_tokens", e.Available, e.Need)
}

// Need is how much a request must reserve: the answer's limit and a token per
// byte of the question, at the highest price the caller accepts. Negative
// limits, which the network's own proxy lets pass, are refused.
func Need(maxTokens int64, queryBytes int, maxCoefficient int64) (int64, error) {
	if maxTokens < 0 {
		return 0, fmt.Errorf("%w: max_tokens is %d, want 0 or more", ErrAmount, maxTokens)
	}
	return Tokens(add(maxTokens, int64(queryBytes)), maxCoefficient, 10000), nil
}
