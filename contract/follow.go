package contract

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/ton"
)

// MaxAge is how old the registry's word may be before nobody should act on it:
// a machine that has lost trust, or a price that has risen, would go unnoticed.
const MaxAge = 2 * time.Hour

const (
	// retryAfter is the wait before a read that failed is tried again.
	retryAfter = 2 * time.Second
	// silence is how long the chain may be without a new block before it is asked why.
	silence = 30 * time.Second
)

// OnChain is a registry read from its contract on the chain, followed while
// [OnChain.Run] runs. What a reader must not believe (content that does not
// parse, parameters that lose money, a version that goes back) is reported and
// the old stays in force; so it does while the chain cannot be read. Then it
// ages: see [Stale].
type OnChain struct {
	*Memory
	chain ton.Chain
	addr  *address.Address
	log   *slog.Logger

	retryAfter, silence time.Duration

	// Of the goroutine in Run alone.
	seen  ton.Block // of the newest read, good or bad
	hash  [32]byte  // of the data in force
	state string    // what was last reported: empty when all is well

	mu     sync.Mutex // guards the rest
	asOf   ton.Block
	readAt time.Time  // by this machine's clock, when asOf was read; zero if another process did
	data   *cell.Cell // the contract's, in force
}

// Follow reads the registry at this address once, which must succeed; nil log
// discards warnings.
func Follow(ctx context.Context, chain ton.Chain, root *address.Address, log *slog.Logger) (*OnChain, error) {
	o := newOnChain(chain, root, log)
	if err := o.read(ctx); err != nil {
		return nil, fmt.Errorf("registry %s: %w", root, err)
	}
	return o, nil
}

func newOnChain(chain ton.Chain, root *address.Address, log *slog.Logger) *OnChain {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &OnChain{chain: chain, addr: root, log: log, retryAfter: retryAfter, silence: silence}
}

// Address is the registry's own.
func (o *OnChain) Address() *address.Address { return o.addr }

// AsOf is the newest block whose registry is the one in force. It stands still
// while the chain cannot be read, and while what is there is refused.
func (o *OnChain) AsOf() ton.Block {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asOf
}

// Run follows the registry until ctx ends: at each new block, but no more
// often than every interval.
func (o *OnChain) Run(ctx context.Context, interval time.Duration) error {
	for {
		if err := o.wait(ctx, interval); err != nil {
			return nil
		}
		err := o.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		o.report(err)
	}
}

// wait returns when it is worth reading again; its error is the context's.
func (o *OnChain) wait(ctx context.Context, interval time.Duration) error {
	pause := interval
	if o.state == unread {
		pause = max(interval, o.retryAfter) // without news: the block may be known already
	}
	if err := sleep(ctx, pause); err != nil || o.state == unread {
		return err
	}
	quiet := time.NewTimer(o.silence)
	defer quiet.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-o.chain.Changed(o.seen):
	case <-quiet.C:
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// errRefused wraps the reasons not to believe what the chain says.
var errRefused = errors.New("content refused")

const unread = "unread"

// report logs once when something goes wrong, once more when it goes wrong in
// another way, and once when it is well again.
func (o *OnChain) report(err error) {
	state := ""
	if errors.Is(err, errRefused) {
		state = err.Error()
	} else if err != nil {
		state = unread
	}
	was := o.state
	o.state = state
	switch {
	case state == was:
	case state == "":
		o.log.Info("registry: read again", "address", o.addr, "version", o.Root().Version)
	case state == unread:
		o.log.Warn("registry: cannot be read, the old stays in force", "address", o.addr, "as of", o.AsOf().Time, "error", err)
	default:
		o.log.Error("registry: new content refused, the old stays in force", "address", o.addr, "error", err)
	}
}

// read takes the registry's present content if it is new and good.
func (o *OnChain) read(ctx context.Context) error {
	account, err := o.chain.Account(ctx, o.addr)
	if err != nil {
		return err
	}
	o.seen = account.At
	if err := o.take(account); err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asOf, o.readAt, o.data = account.At, time.Now(), account.Data
	return nil
}

func (o *OnChain) take(account *ton.Account) error {
	if account.Status != ton.Active || account.Data == nil {
		return fmt.Errorf("account is %s, want a contract: check the registry's address and the network", account.Status)
	}
	hash := [32]byte(account.Data.Hash())
	if o.Memory != nil && hash == o.hash {
		return nil
	}
	root, err := ParseRoot(account.Data)
	if err == nil {
		err = root.CheckContracts()
	}
	if err != nil {
		return err
	}
	return o.adopt(root, hash)
}

func (o *OnChain) adopt(root *Root, hash [32]byte) error {
	if o.Memory == nil {
		o.Memory = NewMemory(root)
	} else {
		old := o.Root()
		if err := root.follows(old); err != nil {
			return err
		}
		if root.Version == old.Version {
			o.log.Warn("registry: content changed under the same version: peers cannot tell", "address", o.addr, "version", root.Version)
		}
		o.log.Info("registry: new content", "address", o.addr, "version", root.Version, "params_version", root.ParamsVersion)
		o.Set(root)
	}
	o.hash = hash
	for _, s := range root.Skipped {
		o.log.Warn("registry: entry among the proxies skipped", "address", o.addr, "number", s.Seqno, "error", s.Err)
	}
	return nil
}

// follows says whether this snapshot may come after the old one. Going back
// would revive what was withdrawn, and contracts that were left.
func (r *Root) follows(old *Root) error {
	switch {
	case r.Version < old.Version:
		return fmt.Errorf("version is %d, want at least %d as before: raise it", r.Version, old.Version)
	case r.ParamsVersion < old.ParamsVersion:
		return fmt.Errorf("params_version is %d, want at least %d as before: raise it", r.ParamsVersion, old.ParamsVersion)
	}
	return nil
}
