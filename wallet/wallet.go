// Package wallet spends: people's wallets, and the driver of a node's wallet.
//
// A person's [Wallet] is one that any wallet application can open from the same
// 24 words: [New] makes it from a [Key], [Wallet.Build] an external message for
// ton.SendAndConfirm or ton.Emulate. [KeyFile] keeps it; [Link] and [QR] ask a
// wallet in somebody's pocket to pay.
//
// A node's wallet is a contract of its own (contract.NewWallet) that a machine
// gives orders to. [Open] its [Driver], Run it, and [Driver.Enqueue] messages:
// what has been accepted is sent exactly once, whatever crashes, gets lost or
// is done with the same key elsewhere. The package's journal.go and scan.go say
// why.
//
// How the chain is reached is the business of package ton, what the contracts
// understand that of package contract.
package wallet

import (
	"crypto/ed25519"
	"fmt"
	"strings"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	library "github.com/xssnick/tonutils-go/ton/wallet"
)

// Network is a TON network's global id. Newer wallets sign it, so that an order
// for one network is void on another, and have other addresses on each.
type Network int32

// The public networks. A local chain has the test network's id unless told otherwise.
const (
	Mainnet Network = -239
	Testnet Network = -3
)

func (n Network) String() string {
	switch n {
	case Mainnet:
		return "mainnet"
	case Testnet:
		return "testnet"
	}
	return fmt.Sprintf("network %d", int32(n))
}

// Version is the contract of a person's wallet.
type Version int

// Versions of wallets; the zero Version is the newest.
const (
	V5R1 Version = iota
	V4R2
	V3R2
)

var versionNames = [...]string{"v5r1", "v4r2", "v3r2"}

func (v Version) String() string {
	if v < 0 || int(v) >= len(versionNames) {
		return fmt.Sprintf("version %d", int(v))
	}
	return versionNames[v]
}

// ParseVersion reads a version's name; "" is the newest.
func ParseVersion(name string) (Version, error) {
	if name == "" {
		return V5R1, nil
	}
	for v, known := range versionNames {
		if strings.EqualFold(name, known) {
			return Version(v), nil
		}
	}
	return 0, fmt.Errorf("wallet version %q is unknown, want one of %s", clip(name), strings.Join(versionNames[:], ", "))
}

// config is the version as the library knows it.
func (v Version) config(n Network) (library.VersionConfig, error) {
	switch v {
	case V5R1:
		if n == 0 {
			return nil, fmt.Errorf("wallet %s: its address depends on the network: say which, such as %d for %s", v, Mainnet, Mainnet)
		}
		return library.ConfigV5R1Final{NetworkGlobalID: int32(n)}, nil
	case V4R2:
		return library.V4R2, nil
	case V3R2:
		return library.V3R2, nil
	}
	return nil, fmt.Errorf("wallet %s is unknown", v)
}

// Wallet is a person's wallet. It holds no state: what the chain says goes into
// each call. Safe for concurrent use.
type Wallet struct {
	key     Key
	version Version
	network Network
	address *address.Address
	init    *tlb.StateInit
}

// New is the wallet of a key. The network is that of the chain it is used on.
func New(key Key, version Version, network Network) (*Wallet, error) {
	if key.IsZero() {
		return nil, fmt.Errorf("wallet %s: no key", version)
	}
	config, err := version.config(network)
	if err != nil {
		return nil, err
	}
	subwallet := uint32(library.DefaultSubwallet)
	if version == V5R1 {
		subwallet = 0
	}
	init, err := library.GetStateInit(key.Public(), config, subwallet)
	if err != nil {
		return nil, fmt.Errorf("wallet %s: %w", version, err)
	}
	addr := init.CalcAddress(0).Bounce(false).Testnet(network != Mainnet)
	return &Wallet{key: key, version: version, network: network, address: addr, init: init}, nil
}

// Address is where the wallet lives: non-bounceable, as one gives it to
// people, and marked as a test network's unless it is on the main network.
func (w *Wallet) Address() *address.Address { return w.address.Copy() }

// Version is the wallet's contract.
func (w *Wallet) Version() Version { return w.version }

// Network is the network the wallet is for.
func (w *Wallet) Network() Network { return w.network }

// PublicKey is what the wallet's contract checks signatures with.
func (w *Wallet) PublicKey() ed25519.PublicKey { return w.key.Public() }

func (w *Wallet) String() string { return fmt.Sprintf("%s wallet %s", w.version, w.address) }

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
