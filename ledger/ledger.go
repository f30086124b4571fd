// Package ledger knows who owes whom, and remembers it.
//
// [Adjust] turns an engine's token counts into adjusted tokens, the unit of
// every account. A [Ledger] holds the accounts of one proxy: a client's tokens
// are set aside before a request runs ([Ledger.Reserve]) and, when it has
// ended, what it really used moves from the client to the worker in one step
// ([Ledger.Settle]). No token appears or vanishes on the way; [Ledger.Check]
// says so at any moment.
//
// Start with [New]. Everything that moves is an [Event]. Events are sealed
// into records, chained and signed, and a [Store] keeps them; what was booked
// is durable when Settle returns. The accounts are the sum of the events, so a
// restart finds what was acknowledged, and [Ledger.Export] and [Audit] let
// others do the sum.
//
// A counter is known on three levels. Memory is what has happened, the store
// is what a restart will remember, the chain is what the contract has been
// shown by a note ([Ledger.Note]); Max ≥ DB ≥ Chain, all three only grow, and
// only the lowest is signed. Since nothing is booked before it is durable, Max is DB here.
//
// When the store fails, or when the chain or a signed payment proves that this
// ledger is older than what it once knew, it takes no more work and says why
// ([Ledger.Health]); it never ends the process.
//
// The ledger talks to no network: the signer comes with [Terms], what the
// chain shows with [Ledger.SeeClient] and its like, and what is to be done there is asked of [Ledger.Due].
// Sources: roles.md sections 2.9 and 4.5 to 4.10, contracts.md sections 16 to 18 and 21.
package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencocoon/cocoon/coin"
)

// Book is what a proxy asks of its ledger. Accounts go by the raw text
// of their TON address, "0:" and 64 hex digits.
//
//   - Begin must be called first. Under the terms of the newest accounts it continues with
//     them; under later ones it starts new accounts and voids every hold of the old ones.
//   - Reserve must refuse what the client cannot pay, counting every hold that is still open.
//   - Extend must make a hold at least so large, or leave it as it is if the client cannot pay that.
//   - Settle and Release must end a hold once; a second time is [ErrSpent] and changes nothing.
//   - Settle must never let a client owe more than it can pay. When it returns without an
//     error the booking must be durable; with any other error than ErrSpent, ErrAccount and ErrAmount, the
//     hold has ended and the store may or may not hold the booking, for both sides alike.
//   - Status must return a payment for the amount that is committed to the chain, no more.
//   - Everyone must list the accounts as of one moment.
//   - Health must be nil or say why no work is taken.
//   - Run must look after the store until ctx ends, and return.
//   - All must be safe for concurrent use. Reserve, Extend and Release must not wait for a disk or a
//     network; Begin and Settle do.
type Book interface {
	Begin(Terms) error
	OpenClient(wallet string) (Client, error)
	OpenWorker(owner string) (Worker, error)
	Reserve(wallet string, need int64) (*Hold, error)
	Extend(h *Hold, need int64) error
	Settle(h *Hold, owner string, used int64) (booked int64, err error)
	Release(h *Hold) error
	ClientStatus(wallet string) (Status, error)
	WorkerStatus(owner string) (Status, error)
	Clients() []Client
	Workers() []Worker
	Everyone() ([]Client, []Worker)
	Health() error
	Run(ctx context.Context) error
}

// Side says whose account a payment is for.
type Side int

// The two sides of a proxy.
const (
	ClientSide Side = iota
	WorkerSide
)

func (s Side) String() string {
	if s == ClientSide {
		return "client"
	}
	return "worker"
}

// Terms are what a generation of accounts lives under. Params and Contract
// tell one generation from the next.
type Terms struct {
	// Params is the registry's params_version. It never goes back.
	Params uint32
	// Contract is the proxy contract's raw address; accounts under another contract are others.
	Contract string
	// Price is what a client pays for a token, Fee what its worker gets of it.
	Price, Fee coin.Nano
	// Credit is what every client has in the mode without a chain. The zero Deposit is
	// the mode with one: a client has what SeeClient says, and notes are waited for.
	Credit Deposit
	// Memo is kept with the generation, for whoever closes its contracts after a restart.
	Memo []byte
	// Sign writes what is promised. It may take its time: it is called without locks. Nil signs nothing.
	Sign func(Promise) ([]byte, error)
}

// Promise is a total that the proxy's key signs for one account.
type Promise struct {
	Generation Generation
	Side       Side
	// Account is a client's wallet or a worker's owner.
	Account string
	// Tokens is the total: charged up to it, paid up to it.
	Tokens int64
	// Final closes the account's contract: the client's rest is refunded, the worker is paid for the last time.
	Final bool
}

// Deposit is what a client has, in tokens.
type Deposit struct {
	// Paid is all that was ever paid in. Stake is how far use may run ahead of what was charged.
	Paid, Stake int64
}

// Chainless is the credit of the mode without a chain: a balance of a million
// TON and a stake of one. Source: roles.md sections 2.8 and 4.5.
func Chainless(price coin.Nano) Deposit {
	return Deposit{Paid: perToken(1_000_000*coin.TON, price), Stake: perToken(coin.TON, price)}
}

// perToken turns money into tokens; when tokens cost nothing a fixed plenty stands for infinity.
func perToken(amount, price coin.Nano) int64 {
	if price == 0 {
		return 1_000_000_000_000
	}
	return amount.PerFloor(price)
}

// Levels is one counter as far as each place knows it; Max ≥ DB ≥ Chain.
type Levels struct{ Max, DB, Chain int64 }

// Client is a snapshot of a client's account, in tokens.
type Client struct {
	Wallet string
	// State is that of the client's contract; only an open one may spend.
	State State
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
	// ErrStore means that the store failed and that what it holds of the last movements is
	// unknown. Nothing that was acknowledged is lost. Take no more work; mend the cause and start again.
	ErrStore = errors.New("ledger: the store failed; mend it and start the proxy again")
	// ErrOpening means that the chain has not shown this session's first note yet: wait.
	// Until then another proxy with a copy of this ledger could be at work.
	ErrOpening = errors.New("ledger: waiting for the chain to show this session's first note")
	// ErrTerms means that the terms do not follow those of the newest accounts. Keep to the newer ones.
	ErrTerms = errors.New("ledger: the terms are older than the accounts")
)

// RollbackError means that this ledger has forgotten something that it once
// vouched for: it is an old copy, or another proxy works with the same key. It
// takes no work and signs nothing from then on.
type RollbackError struct {
	// Proof is what shows it.
	Proof string
}

func (e *RollbackError) Error() string {
	return "ledger: this ledger is older than what it vouched for: " + e.Proof +
		": stop every other proxy with this key and start with the newest copy of the ledger"
}

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
