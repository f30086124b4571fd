// Package settlement moves what the ledgers say over the chain: the proxy's,
// the client's and the worker's side of it.
//
// All sides send through their node's wallet with a [Poster], which sends each
// message exactly once and says what became of it at its destination. What a
// message was to bring about is done when the state of the contract on the
// chain says so, and never because it was sent.
//
// Proxy: [NewProxy] and [Proxy.Run] follow the proxy's contracts, tell the
// ledger what the chain shows, commit it with notes, and carry out what the
// ledger says is due, until each old contract is closed.
//
// Client: [NewClient] opens an account with each proxy that it is told of,
// keeps head-room in it, submits charges that follow the client's own count
// ([ledger.Tally]), keeps those that do not as evidence, and brings the money
// home. [ReadStatement] says what it all cost.
//
// Worker: [NewWorker] keeps what a worker earned and was promised, says when a
// proxy is behind, and cashes promises. [ReadEarnings] is its report.
//
// The roles know nothing of this room: they declare what they ask of it, and
// package node wires. Sources: contracts.md sections 6 to 10, 16 to 18 and 21, roles.md sections 3.6, 4.7 to 4.10 and 5.7.
package settlement

import (
	"context"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/wallet"
)

// Wallet is a node's wallet, as [wallet.Driver] is one.
//
//   - Enqueue must send the message exactly once, whatever crashes, and keep the
//     promise of wallet.Message's ID.
//   - Find must know what was enqueued under an ID, by an earlier process too.
//   - All must be safe for concurrent use.
type Wallet interface {
	Address() *address.Address
	Enqueue(ctx context.Context, m wallet.Message) (*wallet.Handle, error)
	Find(id uint64) *wallet.Handle
	Status() wallet.Status
}

// pause waits; its error is the context's.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
