package localnet

import (
	"crypto/ed25519"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/ton"
	"github.com/xssnick/tonutils-go/tvm"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

// Chain is the blockchain. All methods may be called from any goroutine.
type Chain struct {
	cfg    Config
	root   *cell.Cell // dictionary of configuration parameters
	params *tvm.PreparedBlockchainConfig
	vm     *tvm.TVM

	// mu guards everything below. It is held for the whole of a message's
	// execution and for sealing. Sealed blocks are immutable: a reader takes a
	// block under mu and works on it without.
	mu      sync.Mutex
	world   world
	draft   *draft        // the block being filled, nil between blocks
	offset  time.Duration // how far Advance has moved the clock
	sealed  chan struct{} // closed and replaced at each new block
	journal *journal      // nil without Config.Dir
	broken  error         // set when the journal cannot be written: no more blocks
}

// world is what a snapshot copies. Its maps and slices are copied shallowly:
// cells, accounts and blocks never change once they are in.
type world struct {
	accounts map[accountID]account
	dicts    [2]*cell.AugmentedDictionary // accounts as of the newest block, by side
	blocks   []*block                     // by seqno; blocks[0] is the zero state
	queue    []*cell.Cell                 // internal messages still to deliver
	lt       uint64
}

// New makes the chain, or reads it from Config.Dir if one is there.
func New(cfg Config) (*Chain, error) {
	kept, err := openJournal(&cfg)
	if err != nil {
		return nil, err
	}
	c, err := begin(cfg, kept)
	if err != nil {
		kept.close()
		return nil, err
	}
	return c, nil
}

func begin(cfg Config, kept *journal) (*Chain, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	root, params, err := cfg.blockchain()
	if err != nil {
		return nil, err
	}
	c := &Chain{cfg: cfg, root: root, params: params, vm: tvm.NewTVM(), sealed: make(chan struct{})}
	return c, c.start(kept)
}

func (c *Chain) start(kept *journal) error {
	now := uint32(c.cfg.Now().Unix())
	if kept != nil {
		if err := kept.begin(&c.cfg, &now); err != nil {
			return err
		}
	}
	if err := c.genesis(now); err != nil {
		return err
	}
	if kept != nil {
		if err := c.replay(kept); err != nil {
			return err
		}
		c.journal = kept
		// The clock goes on from where an Advance had put it.
		c.offset = max(0, time.Unix(int64(c.newest().now), 0).Sub(c.cfg.Now()))
	}
	if len(c.world.blocks) > 1 {
		return nil
	}
	_, err := c.Seal() // clients expect a first block, which carries the configuration
	return err
}

// Close releases the journal. The chain must not be used afterwards.
func (c *Chain) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = fmt.Errorf("localnet: the chain is closed")
	return c.journal.close()
}

// Now is the chain's clock: the injected clock plus every Advance.
func (c *Chain) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Chain) now() time.Time { return c.cfg.Now().Add(c.offset) }

// Advance moves the chain's clock forward and seals a block at the new time,
// so that contracts and clients see it at once. Wallets that date their
// messages by their own clock must be told to allow for the difference.
func (c *Chain) Advance(d time.Duration) (*ton.BlockIDExt, error) {
	if d < 0 {
		return nil, fmt.Errorf("localnet: advance by %v: time only goes forward", d)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.sealDraft(); err != nil {
		return nil, err
	}
	c.offset += d
	return c.seal()
}

// Last is the newest masterchain block.
func (c *Chain) Last() *ton.BlockIDExt {
	return c.head().side[master].id.Copy()
}

func (c *Chain) head() *block {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest()
}

func (c *Chain) newest() *block { return c.world.blocks[len(c.world.blocks)-1] }

// Account returns an account as of the newest block. One that does not exist
// has status tlb.AccountStatusNonExist and no balance.
func (c *Chain) Account(addr *address.Address) (*tlb.AccountState, error) {
	shard, err := c.head().account(addr)
	if err != nil {
		return nil, err
	}
	state := &tlb.AccountState{AccountStorage: tlb.AccountStorage{Status: tlb.AccountStatusNonExist}}
	if shard == nil {
		return state, nil
	}
	return state, tlb.Parse(state, shard.Account)
}

// Total is the sum of all balances as of the newest block, in nanoTON. What
// is missing from the supply was paid in fees or is still in messages under way.
func (c *Chain) Total() (*big.Int, error) {
	head := c.head()
	sum := new(big.Int)
	for _, side := range head.side {
		coins, err := balance(side.accounts)
		if err != nil {
			return nil, err
		}
		sum.Add(sum, coins.Nano())
	}
	return sum, nil
}

// GlobalID is the network's id, which v5 wallets sign.
func (c *Chain) GlobalID() int32 { return c.cfg.GlobalID }

// Key derives a key pair from the chain's seed: the same purpose gives the
// same key on each start. Good for test wallets.
func (c *Chain) Key(purpose string) ed25519.PrivateKey { return c.cfg.key("key " + purpose) }

// Snapshot is a chain's whole state at one block.
type Snapshot struct {
	world  world
	offset time.Duration
	mark   int64 // the journal's length
}

// Snapshot seals what is under way and remembers everything up to there. It
// costs no more than a copy of the table of accounts.
func (c *Chain) Snapshot() (*Snapshot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.sealDraft(); err != nil {
		return nil, err
	}
	return &Snapshot{world: c.world.copy(), offset: c.offset, mark: c.journal.mark()}, nil
}

// Restore puts a snapshot of this chain back, as often as wanted, the clock's
// offset included. Block numbers go back with it: clients that remember newer
// blocks must forget them.
func (c *Chain) Restore(s *Snapshot) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	if err := c.journal.rewind(s.mark); err != nil {
		c.broken = err
		return err
	}
	c.draft, c.world, c.offset = nil, s.world.copy(), s.offset
	return nil
}

// copy shares everything immutable. Slices are clipped, so that appending to
// one copy never writes into another.
func (w *world) copy() world {
	fork := *w
	fork.accounts = maps.Clone(w.accounts)
	for id, a := range fork.accounts {
		a.txs = slices.Clip(a.txs)
		fork.accounts[id] = a
	}
	for i, d := range w.dicts {
		fork.dicts[i] = d.Copy()
	}
	fork.blocks = slices.Clone(w.blocks)
	fork.queue = slices.Clone(w.queue)
	return fork
}
