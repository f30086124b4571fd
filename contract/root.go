// Package contract knows what the network's registry says and how its
// contracts are laid out.
//
// Start with [Root], one snapshot of the registry: who may take part, at
// which price, under which contract code. A [Registry] hands out snapshots and
// says when there is a newer one; [OpenFile] reads them from a file, the mode
// without a chain. From a Root follow the addresses of the proxy, client and
// worker contracts ([Root.ProxyAddress] and its neighbours); [Payment] is the
// promise that moves money between them.
//
// With a chain, [Follow] reads them from the root contract, whose data
// [ParseRoot] takes apart and [Root.Cell] puts together. The states of the
// other contracts are [ProxyState], [WorkerState] and [ClientState]; what is
// said to them and by them is a [Body], and [ParseBody] reads any.
//
// Layouts: contracts.md sections 2 to 12 and 19.
package contract

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ledger"
)

// Ton is one coin.
const Ton = coin.TON

// Registry is where a role learns what the network allows.
//
//   - Root must return a complete snapshot that nobody changes afterwards, never nil.
//   - Changed must return a channel that is closed when a snapshot newer than
//     the one Root returned after taking the channel is there. Take the
//     channel first, then call Root.
//   - Both must be safe for concurrent use.
type Registry interface {
	Root() *Root
	Changed() <-chan struct{}
}

// Root is one snapshot of the registry. Treat it as read-only once shared.
type Root struct {
	// Owner may change the registry.
	Owner *address.Address
	// Version grows with every change. Peers refuse requests made under a newer one than theirs.
	Version uint32
	// ParamsVersion grows when prices, delays, stakes or contract code change: every contract is then created anew.
	ParamsVersion uint32
	// StructVersion is the shape of the parameter cell, 0 to 5.
	StructVersion uint8
	// UniqueID keeps equal networks at different addresses.
	UniqueID uint32
	// IsTest marks a test network; peers of the other kind are refused.
	IsTest bool

	// PricePerToken is what a client pays for one adjusted token.
	PricePerToken coin.Nano
	// WorkerFeePerToken is the worker's part of it, at most PricePerToken.
	WorkerFeePerToken coin.Nano
	// Multipliers weigh the four classes of tokens; 10000 is one.
	Multipliers ledger.Multipliers
	// ProxyDelay and ClientDelay are the waits before a contract closes, in seconds.
	ProxyDelay, ClientDelay uint32
	// MinClientStake is the stake that a client's contract starts with; what
	// MinProxyStake says, no contract demands.
	MinProxyStake, MinClientStake coin.Nano

	// ProxyImages and WorkerImages are the approved image hashes; nothing else is admitted when checking is on.
	ProxyImages, WorkerImages map[[32]byte]struct{}
	// Models holds the SHA-256 of every approved full model name.
	Models map[[32]byte]struct{}
	// Proxies are the registered proxies. LastProxySeqno is the highest number ever given to one.
	Proxies        []ProxyEntry
	LastProxySeqno uint32

	// Skipped are entries among the proxies that could not be read.
	Skipped []SkippedEntry
	// Offered is who may take the registry over by accepting it, nil for nobody.
	Offered *address.Address

	// PublicKeys are the registered keys of field encryption. KeyManager is the key manager's ip:port, empty for none.
	PublicKeys []PublicKey
	KeyManager string
	// KeyManagerKey signs new public keys, nil for none; KeyManagerImage is its image hash.
	KeyManagerKey   ed25519.PublicKey
	KeyManagerImage [32]byte
	// Keys that vouch for roles, in shape 5. Nobody uses them yet.
	VerifiedProxies, VerifiedWorkers, VerifiedKeyManagers map[[32]byte]struct{}

	// ProxyCode, WorkerCode and ClientCode are the contracts' code cells. Nil is the empty cell.
	ProxyCode, WorkerCode, ClientCode *cell.Cell
}

// ProxyEntry is a registered proxy: where its two doors are.
type ProxyEntry struct {
	Seqno            uint32
	Workers, Clients netip.AddrPort
}

// SkippedEntry is an entry among the proxies that is not one, and why.
type SkippedEntry struct {
	Seqno uint32
	Err   error
}

// PublicKey is a registered key of field encryption.
type PublicKey struct {
	Key ed25519.PublicKey
	// Type is 1 for the keys of field encryption v1.
	Type uint8
	// ExpireAt is in unix seconds.
	ExpireAt uint32
}

// AllowsProxyImage says whether a proxy with this image hash is approved.
func (r *Root) AllowsProxyImage(hash [32]byte) bool { return has(r.ProxyImages, hash) }

// AllowsWorkerImage says whether a worker with this image hash is approved.
func (r *Root) AllowsWorkerImage(hash [32]byte) bool { return has(r.WorkerImages, hash) }

// AllowsModel says whether the full model name, with its commit and hash, is approved.
func (r *Root) AllowsModel(fullName string) bool { return has(r.Models, ModelHash(fullName)) }

// An all-zero hash is what a machine without attestation has: no list admits it.
func has(list map[[32]byte]struct{}, hash [32]byte) bool {
	_, ok := list[hash]
	return ok && hash != [32]byte{}
}

// ModelHash is how the registry names a model: SHA-256 of the full text name@commit:hash.
func ModelHash(fullName string) [32]byte { return sha256.Sum256([]byte(fullName)) }

// BaseModel is the name that callers use: the text before the first @.
func BaseModel(fullName string) string {
	base, _, _ := strings.Cut(fullName, "@")
	return base
}

// Check says what makes the snapshot unusable: a fee above the price would let
// workers drain the clients' pool, an unknown shape would give wrong addresses.
func (r *Root) Check() error {
	switch {
	case r.Owner == nil:
		return errors.New("root: owner address is missing: set root_owner_address")
	case r.StructVersion > maxStructVersion:
		return fmt.Errorf("root: %w", r.unknownShape())
	case r.PricePerToken < 0 || r.WorkerFeePerToken < 0 || r.MinProxyStake < 0 || r.MinClientStake < 0:
		return errors.New("root: an amount is negative")
	case r.WorkerFeePerToken > r.PricePerToken:
		return fmt.Errorf("root: worker fee is %d nanoTON per token, want at most the price %d", int64(r.WorkerFeePerToken), int64(r.PricePerToken))
	}
	return nil
}

// CheckContracts is [Root.Check] for networks on a chain, where each contract
// needs code: without it money sent to an address would be lost there.
func (r *Root) CheckContracts() error {
	for _, c := range []struct {
		name string
		code *cell.Cell
	}{{"proxy", r.ProxyCode}, {"worker", r.WorkerCode}, {"client", r.ClientCode}} {
		if c.code == nil || c.code.BitsSize() == 0 && c.code.RefsNum() == 0 {
			return fmt.Errorf("root: code of %s contracts is empty", c.name)
		}
	}
	return r.Check()
}
