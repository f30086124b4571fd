package settlement

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
)

// ProxyConfig is what a proxy's settlement needs. Fields without a word about
// zero are required.
type ProxyConfig struct {
	Chain ton.Chain
	// Wallet is the node's; its driver runs as long as the settlement does.
	Wallet   Wallet
	Registry contract.Registry
	// Ledger is the proxy's; who takes its terms from a contract.Issuer of the
	// same Key, Owner and Root calls Begin.
	Ledger *ledger.Ledger
	// Key signs payments and the closing of contracts.
	Key ed25519.PrivateKey
	// Owner is the operator's wallet, Root the registry's own address.
	Owner, Root *address.Address
	// Rules say from which amount on money moves; zero means ledger.DefaultRules.
	Rules ledger.Rules
	// NoteEvery is the least time between two notes; 0 is 45 s.
	NoteEvery time.Duration
	// RetryAfter is the wait before what failed is tried again, doubled with
	// each failure up to 64 times it; 0 is 30 s.
	RetryAfter time.Duration
	// Tick is how often the ledger is asked what is due; 0 is one second.
	Tick time.Duration
	// Log gets what happens. Nil discards.
	Log *slog.Logger
	// Now is this machine's clock. Nil means time.Now.
	Now func() time.Time
}

func (cfg *ProxyConfig) fill() error {
	for _, d := range []struct {
		v  *time.Duration
		or time.Duration
	}{{&cfg.NoteEvery, 45 * time.Second}, {&cfg.RetryAfter, 30 * time.Second}, {&cfg.Tick, time.Second}} {
		if *d.v <= 0 {
			*d.v = d.or
		}
	}
	if cfg.Rules == (ledger.Rules{}) {
		cfg.Rules = ledger.DefaultRules
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Chain == nil || cfg.Wallet == nil || cfg.Registry == nil || cfg.Ledger == nil || cfg.Owner == nil || cfg.Root == nil || len(cfg.Key) != ed25519.PrivateKeySize {
		return errors.New("settlement: chain, wallet, registry, ledger, key, owner and root: want all of them")
	}
	return nil
}

// Proxy settles what a proxy's ledger says, and tells the ledger what the
// chain says. Nothing that strangers write there ends it; what it does not
// understand it leaves out. Safe for concurrent use.
type Proxy struct {
	cfg    ProxyConfig
	log    *slog.Logger
	issuer *contract.Issuer
	poster *Poster
	wake   chan struct{}
	work   sync.WaitGroup
	reads  chan struct{} // bounds reading on behalf of strangers
	// knownReads bounds reading on behalf of clients that the ledger knows.
	knownReads chan struct{}

	mu          sync.Mutex             // guards all below; no other lock is taken under it
	life        context.Context        // of Run; nil outside it
	generations map[uint32]*generation // that are followed
	current     uint32                 // of those, the one that takes work
	jobs        map[string]*job
	busy        int                     // jobs that run
	running     map[string]ledger.Order // of the jobs, those that carry out an order
	news        chan struct{}           // closed and replaced when a client registers
	head        time.Time               // of the newest block seen
	trouble     string                  // why the chain cannot be read, "" if it can
	sentNote    sentNote
	counts      map[Count]int64
	failed      map[string]string // by what failed: what was logged last
	lastError   string
	lastErrorAt time.Time
}

// sentNote is the newest note that has arrived at the contract.
type sentNote struct {
	number int32
	at     time.Time
	again  int // how often a note that arrived was not seen
}

// generation is a ledger's generation and its contracts as the chain shows them.
type generation struct {
	ledger.Generation
	contracts *contract.Contracts
	stop      context.CancelFunc

	// Guarded by the proxy's mu.
	account *ton.Account // of the proxy's contract; nil before the first reading
	state   *contract.ProxyState
	told    bool // the ledger knows everything up to account
	behind  bool // the chain was away, and has not been read since
	clients map[string]secret
	absent  map[string]time.Time // wallets that had no contract, and when
	nonces  map[string][]uint64  // by wallet: the latest it has said
	doubted map[string]doubt     // accounts to be read again
}

// NewProxy checks the configuration. The ledger needs no terms yet.
func NewProxy(cfg ProxyConfig) (*Proxy, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return &Proxy{
		cfg: cfg, log: cfg.Log, issuer: &contract.Issuer{Owner: cfg.Owner, Root: cfg.Root, Key: cfg.Key}, poster: NewPoster(cfg.Chain, cfg.Wallet),
		wake: make(chan struct{}, 1), reads: make(chan struct{}, maxReads), knownReads: make(chan struct{}, maxReads), news: make(chan struct{}),
		generations: map[uint32]*generation{}, jobs: map[string]*job{}, running: map[string]ledger.Order{}, counts: map[Count]int64{}, failed: map[string]string{},
	}, nil
}

// Run settles until ctx ends; then it returns nil when all it started has
// ended. What is under way then is found again by the next Run.
func (p *Proxy) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer p.work.Wait()
	defer p.end()
	defer stop()
	p.mu.Lock()
	p.life = ctx
	p.mu.Unlock()
	tick := time.NewTicker(p.cfg.Tick)
	defer tick.Stop()
	for {
		p.turn(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-p.wake:
		case <-ton.OutageOf(p.cfg.Chain).Back:
			p.goOn()
		}
		select {
		case <-p.wake: // the coming turn sees to it
		default:
		}
	}
}

// end lets no background work begin any more.
func (p *Proxy) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life = nil
}

func (p *Proxy) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// turn starts whatever is due and not under way.
func (p *Proxy) turn(ctx context.Context) {
	p.followGenerations(ctx)
	p.endUndeployed()
	current, ready := p.ready()
	if current == nil {
		return
	}
	if current.state == nil {
		p.deploy(current)
	}
	if !ready {
		return
	}
	if current.state != nil {
		p.note(current)
	}
	p.lookAgain()
	p.forget()
	for _, o := range p.cfg.Ledger.Due(p.cfg.Rules, p.now()) {
		p.order(o)
	}
}

// ready is a copy of the current generation as it is known, nil before its
// contract has been read. Nothing is promised and nothing sent before the
// chain's whole word has been heard: it may say that this ledger is an old copy, or
// that what is due has happened.
func (p *Proxy) ready() (current *generation, ready bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.generations[p.current]
	if g == nil || g.account == nil {
		return nil, false
	}
	ready = true
	for _, old := range p.generations {
		ready = ready && old.told && !old.behind
	}
	again := *g
	return &again, ready
}

// now is the later of this machine's and the chain's clock: what the chain
// forbids before a time it allows by its own.
func (p *Proxy) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.cfg.Now(); now.After(p.head) {
		return now
	}
	return p.head
}

// followGenerations follows each generation of the ledger, and forgets those
// that it has forgotten.
func (p *Proxy) followGenerations(ctx context.Context) {
	list := p.cfg.Ledger.Generations()
	p.mu.Lock()
	defer p.mu.Unlock()
	alive := map[uint32]bool{}
	for _, g := range list {
		if g.Credit != (ledger.Deposit{}) {
			continue // of the mode without a chain
		}
		alive[g.Number] = true
		if p.generations[g.Number] == nil {
			p.begin(ctx, g)
		}
		p.current = g.Number
	}
	for number, g := range p.generations {
		if !alive[number] {
			g.stop()
			delete(p.generations, number)
			p.log.Info("settlement: contract closed for good", "contract", g.Contract, "params_version", g.Params)
		}
	}
}

// begin starts to follow. mu is held.
func (p *Proxy) begin(ctx context.Context, lg ledger.Generation) {
	g := &generation{Generation: lg, clients: map[string]secret{}, absent: map[string]time.Time{}, nonces: map[string][]uint64{}, doubted: map[string]doubt{}}
	var err error
	if g.contracts, err = p.issuer.Contracts(lg); err != nil {
		p.fail("generation", fmt.Errorf("settlement: %w", err))
		return
	}
	if ours(g.contracts) {
		p.cfg.Ledger.KeepsDeposits(lg.Number)
	}
	ctx, g.stop = context.WithCancel(ctx)
	p.generations[lg.Number] = g
	p.doubtAll(g)
	p.work.Go(func() { p.follow(ctx, g) })
}

// Health is nil or says why the proxy should take no work: its contract, the
// registry or the chain forbids it. That money cannot move for a while is no
// reason: no client can use more than it has staked.
func (p *Proxy) Health() error {
	if err := contract.Stale(p.cfg.Registry, p.now()); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.generations[p.current]
	switch {
	case g == nil || g.account == nil:
		return fmt.Errorf("settlement: the proxy's contract: %w", contract.ErrUnread)
	case g.state == nil:
		return fmt.Errorf("settlement: the proxy's contract %s is not deployed yet", g.contracts.Proxy.Address)
	case g.state.State != contract.Normal:
		return fmt.Errorf("settlement: the proxy's contract %s is %s: work goes on with the registry's next params_version", g.contracts.Proxy.Address, g.state.State)
	}
	return nil
}

// fail remembers an error for [Proxy.Status] and logs it unless the same went
// wrong in the same way before. mu is held.
func (p *Proxy) fail(what string, err error) {
	text, alike := err.Error(), ton.Alike(err)
	if p.failed[what] != alike {
		p.log.Warn("settlement: "+what+" failed", "error", text)
	}
	if len(p.failed) >= maxFailed {
		clear(p.failed)
	}
	p.failed[what] = alike
	p.lastError, p.lastErrorAt = what+": "+text, p.cfg.Now()
}

// maxFailed bounds how many different failures are remembered.
const maxFailed = 1000
