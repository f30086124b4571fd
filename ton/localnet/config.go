package localnet

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"log/slog"
	"math/big"
	"time"

	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// TestnetID is the global id of TON's test network, the default here: a v5
// wallet's signature covers it, so what it signs for a local chain is refused
// by the main network.
const TestnetID = -3

const (
	// defaultSupply is what the faucet holds at the beginning, in TON.
	defaultSupply = 1_000_000_000
	// idleAfter is how old the newest block may be when a client asks for
	// one, before an empty block is sealed for it. It keeps an idle chain
	// fresh for its readers without growing while nobody looks.
	idleAfter = time.Second
)

// params is a blockchain configuration: the dictionary of parameters as a bag
// of cells, see params.md for its origin.
//
//go:embed params.boc
var params []byte

// Config describes a chain. The zero Config is a chain in memory with random
// keys, sealing on demand.
type Config struct {
	// Dir keeps the chain's journal; a chain that is there goes on with the
	// supply and parameters that it began with. Empty means memory only.
	Dir string
	// Params is a blockchain configuration (a bag of cells holding the
	// dictionary of parameters). Nil means the one that comes with the package.
	Params []byte
	// GlobalID is the network's id. Zero means TestnetID.
	GlobalID int32
	// Seed yields the chain's keys and the randomness of its blocks. The zero
	// seed is replaced by a random one, which is kept in Dir if there is one.
	Seed [32]byte
	// Supply is the faucet's balance at the beginning, in whole TON. Zero
	// means a billion.
	Supply uint64
	// Now is the chain's clock before any Advance. Nil means time.Now. Block
	// times never go back, whatever it says.
	Now func() time.Time
	// Interval is the time between blocks while a Server runs. Zero seals on
	// demand: as soon as a message has been executed.
	Interval time.Duration
	// Route, if set, decides what becomes of each internal message on its way:
	// it returns the messages to deliver, in order: nil loses the message, two
	// copies duplicate it. It is called with the chain locked and must not call
	// the chain. A chain with a Route cannot have a Dir, since its history could
	// not be replayed.
	Route func(message *cell.Cell) []*cell.Cell
	// Log receives what an operator should know. Nil discards.
	Log *slog.Logger
}

func (cfg *Config) fill() error {
	if cfg.Dir != "" && cfg.Route != nil {
		return fmt.Errorf("localnet: a chain with a Route cannot be kept in %s: its history could not be replayed", cfg.Dir)
	}
	if cfg.Params == nil {
		cfg.Params = params
	}
	if cfg.GlobalID == 0 {
		cfg.GlobalID = TestnetID
	}
	if cfg.Supply == 0 {
		cfg.Supply = defaultSupply
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Seed == ([32]byte{}) {
		if _, err := rand.Read(cfg.Seed[:]); err != nil {
			return fmt.Errorf("localnet: draw a seed: %w", err)
		}
	}
	return nil
}

// derive makes independent secrets from the one seed.
func (cfg *Config) derive(purpose string) []byte {
	mac := hmac.New(sha256.New, cfg.Seed[:])
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

func (cfg *Config) key(purpose string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(cfg.derive(purpose))
}

// blockchain parses the parameters and puts this network's id among them.
func (cfg *Config) blockchain() (*cell.Cell, *tvm.PreparedBlockchainConfig, error) {
	root, err := cell.FromBOC(cfg.Params)
	if err != nil {
		return nil, nil, fmt.Errorf("localnet: blockchain configuration: %w", err)
	}
	dict := root.AsDict(32)
	id := cell.BeginCell().MustStoreInt(int64(cfg.GlobalID), 32).EndCell()
	if err := dict.SetIntKey(big.NewInt(int64(tlb.ConfigParamGlobalID)), cell.BeginCell().MustStoreRef(id).EndCell()); err != nil {
		return nil, nil, fmt.Errorf("localnet: set the network's id: %w", err)
	}
	prepared, err := tvm.PrepareBlockchainConfig(dict.AsCell())
	if err != nil {
		return nil, nil, fmt.Errorf("localnet: blockchain configuration: %w", err)
	}
	return dict.AsCell(), prepared, nil
}
