// Package proxy is the matchmaker between clients and workers.
//
// Start with [New] and [Proxy.Run]. Workers and clients dial in, each kind at
// its own door, and shake hands (client_handshake.go, worker_handshake.go). A request of a client
// ([request]) reserves its worst case in the ledger, is given a worker by the
// market, and from then on every message of the worker is passed on with
// another constructor and request id in front, never parsed further than its
// head. When it ends, what it used is booked, and both sides get a payment.
//
// No failure is silent. Until the first answer a request may move to another
// worker without anybody noticing; after it, an answer that breaks off ends
// with an error in its own framing. A caller that leaves stops its worker. A peer
// that breaks the rules loses its connection, and nobody else notices.
//
// Prompts and answers pass through memory and nowhere else: they are in no
// log, no error and no statistic.
//
// What the proxy leaves to others: who a peer is (package ratls), how bytes
// become messages (wire, tl), which worker is best (market), who owes whom (ledger).
// Protocol: wire.md sections 4, 5 and 11, roles.md section 4, current.md sections 1 and 8.
package proxy

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/wire"
)

// Config of a proxy. Fields without a word about zero are required.
type Config struct {
	// WorkersListener and ClientsListener are the two doors. They yield *ratls.Conn; any other
	// connection has no attestation and passes only where none is asked for.
	WorkersListener, ClientsListener net.Listener
	// HTTPListener serves statistics and control; nil serves none.
	HTTPListener net.Listener
	// Registry says who is approved, and the prices.
	Registry contract.Registry
	// Key signs payments. With a ledger that forgets, it must be new at each start;
	// with one that is kept, it is the key that signs its records.
	Key ed25519.PrivateKey
	// OwnerAddress is the operator's wallet. RootAddress is the registry's own address.
	OwnerAddress, RootAddress string
	// Testnet marks the texts of addresses.
	Testnet bool
	// CheckImages demands approved images and models from workers. It is on
	// whenever the registry is not a test network's.
	CheckImages bool
	// Book keeps the accounts; who opened it closes it. Nil is a ledger that forgets.
	Book ledger.Book
	// Registrar knows clients from the chain. Nil is the mode without a chain:
	// every client has credit and the empty secret.
	Registrar Registrar
	// Settler moves money on the chain. Nil is the mode without one.
	Settler Settler
	// Keys are those of field encryption. Nil knows none, and encrypted requests
	// are refused.
	Keys Keys
	// QueueLimit is how many requests may wait per model; 0 is 256, negative none.
	QueueLimit int
	// QueueWait is how long a request waits for a free worker; 0 is 10 s.
	QueueWait time.Duration
	// Limits of each client; zero is no limit. A client over one is told when to
	// come again.
	Limits market.Limits
	// MemoryFile is where what is known about workers outlives the proxy: how fast
	// and how reliable they were. Empty forgets it.
	MemoryFile string
	// HedgeShare is how many second workers may be asked per request, on
	// average, as soon as the first answer is late; 0 is none. What is overdue is given on in any case.
	HedgeShare float64
	// DrainLimit is how long running requests may go on when the proxy stops,
	// changes its contract or lets a worker go; 0 is 30 s.
	DrainLimit time.Duration
	// MaxConnections bounds each door; 0 is 20,000.
	MaxConnections int
	// MaxPerClient bounds the requests of one connection; 0 is 1,024.
	MaxPerClient int
	// MaxHeld bounds the bytes of all questions that wait for a first answer; 0 is 512 MiB.
	MaxHeld int64
	// Wire sets the limits of connections.
	Wire wire.Config
	// ControlToken opens the control actions; empty closes them.
	ControlToken string
	// KeysKept is what pages say of how this node's secrets lie on disk; empty
	// is not on disk.
	KeysKept string
	// Seed of the market's chance.
	Seed uint64
	// Log gets what happens, never what is said. Nil discards.
	Log *slog.Logger
	// Now dates what happens. Nil means time.Now.
	Now func() time.Time
}

// Proxy is a running matchmaker. Its methods are safe for concurrent use.
type Proxy struct {
	cfg    Config
	owner  *address.Address
	root   *address.Address
	issuer *contract.Issuer
	log    *slog.Logger
	now    func() time.Time
	market *market.Market
	book   ledger.Book
	stats  counters
	owners owners
	names  names
	shown  book
	limits *market.Limiter

	terms    atomic.Pointer[terms]
	held     atomic.Int64 // bytes of questions without a first answer
	disabled atomic.Bool  // by control
	bookings sync.WaitGroup

	mu      sync.Mutex // guards all below; no other lock is taken under it
	clients map[*client]struct{}
	workers map[*worker]struct{}
	running int             // requests
	closing []string        // why no new work is taken, by everybody who wants that
	idle    []chan struct{} // closed when running reaches 0
}

// New checks the configuration and makes a proxy that takes no connections yet.
func New(cfg Config) (*Proxy, error) {
	cfg.setDefaults()
	if cfg.Book == nil {
		var err error
		if cfg.Book, err = ledger.New(ledger.Config{}); err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
	}
	p := &Proxy{cfg: cfg, log: cfg.Log, now: cfg.Now, book: cfg.Book, clients: map[*client]struct{}{}, workers: map[*worker]struct{}{}}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p.issuer = &contract.Issuer{Owner: p.owner, Root: p.root, Key: cfg.Key}
	p.stats.init(cfg.Now)
	p.market = market.New(market.Config{Seed: cfg.Seed, QueueLimit: cfg.QueueLimit, HedgeShare: orNone(cfg.HedgeShare), Now: cfg.Now})
	p.recall()
	p.limits = market.NewLimiter(cfg.Limits, cfg.Now)
	if err := p.adopt(cfg.Registry.Root()); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return p, nil
}

func (c *Config) setDefaults() {
	orDuration := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	orDuration(&c.QueueWait, 10*time.Second)
	orDuration(&c.DrainLimit, 30*time.Second)
	if c.MaxConnections <= 0 {
		c.MaxConnections = 20_000
	}
	if c.MaxPerClient <= 0 {
		c.MaxPerClient = 1024
	}
	if c.MaxHeld <= 0 {
		c.MaxHeld = 512 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Wire.Budget == nil {
		c.Wire.Budget = wire.NewBudget(1 << 30)
	}
	if c.Wire.Log == nil {
		c.Wire.Log = c.Log
	}
}

// check reports everything that is missing at once.
func (p *Proxy) check() error {
	var problems []error
	missing := func(name string, absent bool) {
		if absent {
			problems = append(problems, fmt.Errorf("config: %s is missing", name))
		}
	}
	missing("WorkersListener", p.cfg.WorkersListener == nil)
	missing("ClientsListener", p.cfg.ClientsListener == nil)
	missing("Registry", p.cfg.Registry == nil)
	if len(p.cfg.Key) != ed25519.PrivateKeySize {
		problems = append(problems, fmt.Errorf("config: Key has %d bytes, want %d", len(p.cfg.Key), ed25519.PrivateKeySize))
	}
	var err error
	if p.owner, err = contract.ParseAddress(p.cfg.OwnerAddress); err != nil {
		problems = append(problems, fmt.Errorf("config: OwnerAddress: %w", err))
	}
	if p.root, err = contract.ParseAddress(p.cfg.RootAddress); err != nil {
		problems = append(problems, fmt.Errorf("config: RootAddress: %w", err))
	}
	return errors.Join(problems...)
}

// Run serves until ctx ends. Then it takes no more work, lets running requests finish
// within the drain limit, fails the rest in good form, and returns when
// everything it started has ended. An error means that it could not go on.
func (p *Proxy) Run(ctx context.Context) error {
	life, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var wg sync.WaitGroup
	fatal := func(err error) {
		if err != nil {
			stop(err)
		}
	}
	wg.Go(func() { fatal(p.book.Run(life)) })
	wg.Go(func() { p.watchRegistry(life) })
	wg.Go(func() { p.tick(life) })
	wg.Go(func() { p.keepHistory(life) })
	learning, learned := context.WithCancel(life)
	defer learned()
	var memory sync.WaitGroup
	memory.Go(func() { p.keepMemory(learning) })
	doors, shut := context.WithCancel(life)
	defer shut()
	var accepting sync.WaitGroup
	accepting.Go(func() { fatal(p.accept(doors, p.cfg.WorkersListener, p.workerCount, p.greetWorker)) })
	accepting.Go(func() { fatal(p.accept(doors, p.cfg.ClientsListener, p.clientCount, p.greetClient)) })
	if p.cfg.HTTPListener != nil {
		wg.Go(func() { fatal(p.serveHTTP(life)) })
	}
	select {
	case <-ctx.Done():
	case <-life.Done():
	}
	shut()
	accepting.Wait()
	p.drain("proxy is stopping")
	p.bookings.Wait()
	learned() // while the workers are still here
	memory.Wait()
	p.disconnect(errStopped)
	stop(nil)
	wg.Wait()
	if err := context.Cause(life); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("proxy: %w", err)
	}
	return nil
}

var (
	errStopped = errors.New("proxy is stopping")
	errTerms   = errors.New("proxy changes its contract")
)

func (p *Proxy) serveHTTP(ctx context.Context) error {
	srv := &http.Server{Handler: p.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(p.cfg.HTTPListener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("statistics: %w", err)
	}
	return nil
}

// takesWork says why not, if not.
func (p *Proxy) takesWork() (why string, ok bool) {
	if err := p.health(); err != nil {
		return p.none(err).Message, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takesWorkLocked()
}

// health is why neither ledger nor chain let work be taken, nil if they do.
func (p *Proxy) health() error {
	if err := p.book.Health(); err != nil || p.cfg.Settler == nil {
		return err
	}
	return p.cfg.Settler.Health()
}

func (p *Proxy) takesWorkLocked() (why string, ok bool) {
	if p.disabled.Load() {
		return "proxy is disabled", false
	}
	if len(p.closing) > 0 {
		return p.closing[0], false
	}
	return "", true
}

// begin counts a request that starts; refused while the proxy takes no work.
func (p *Proxy) begin() (why string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if why, ok = p.takesWorkLocked(); ok {
		p.running++
	}
	return why, ok
}

func (p *Proxy) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running--; p.running == 0 {
		for _, idle := range p.idle {
			close(idle)
		}
		p.idle = nil
	}
}

// drain takes no more work, waits for what runs, and fails what takes too
// long. Work is taken again after open.
func (p *Proxy) drain(why string) (open func()) {
	idle := make(chan struct{})
	p.mu.Lock()
	p.closing = append(p.closing, why)
	if p.running == 0 {
		close(idle)
	} else {
		p.idle = append(p.idle, idle)
	}
	p.mu.Unlock()
	select {
	case <-idle:
	case <-time.After(p.cfg.DrainLimit):
		for _, r := range p.requests() {
			r.abort(stopping(why))
		}
		<-idle
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		i := slices.Index(p.closing, why)
		p.closing = slices.Delete(p.closing, i, i+1)
	}
}

// requests lists everything that runs or waits.
func (p *Proxy) requests() (list []*request) {
	clients, workers := p.connections()
	for _, c := range clients {
		list = append(list, c.requests.all()...)
	}
	for _, w := range workers { // those of clients that have left
		list = append(list, w.requests.all()...)
	}
	return list
}

func (p *Proxy) connections() (clients []*client, workers []*worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.clients {
		clients = append(clients, c)
	}
	for w := range p.workers {
		workers = append(workers, w)
	}
	return clients, workers
}

// disconnect ends every connection and waits until nothing of it runs.
func (p *Proxy) disconnect(why error) {
	var conns []*wire.Conn
	clients, workers := p.connections()
	for _, c := range clients {
		conns = append(conns, c.conn)
	}
	for _, w := range workers {
		conns = append(conns, w.conn)
	}
	for _, c := range conns {
		c.CloseAfterFlush(why)
	}
	for _, c := range conns {
		c.Wait()
	}
}
