// Package worker serves the model of a local engine to the network.
//
// Start with [New] and [Worker.Run]. A worker dials the proxies that the
// registry names, proves itself, and answers their requests: it applies the
// network's few rules (request.go), asks the engine over pooled HTTP
// connections (ask.go), relays the answer while it arrives (relay.go), and
// counts what it costs on the way (meter.go). Requests that apps have encrypted
// field by field are opened first and their answers sealed last (sealed.go). It remembers what each proxy
// owes it and leaves one that takes a promise back (earnings.go).
//
// One goroutine runs per request; none of them waits for another. A request
// ends when its caller cancels, its connection is lost, its time is over or
// the worker shuts down, and then the engine is told at once by closing its
// request. What was delivered until then is reported, the rest is free.
//
// Which engine answers is package engine's business; choosing among workers
// is the proxy's. Source: wire.md section 5, roles.md section 5, current.md 7.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/stats"
	"github.com/opencocoon/cocoon/wire"
)

// Config is everything a worker needs. Engine, Model, OwnerAddress, Registry
// and RootAddress are required, and RATLS unless Dial is set.
type Config struct {
	// Engine is the base URL of the engine; a path prefix is allowed.
	Engine string
	// EngineKey, if not empty, is sent to the engine as a bearer token.
	EngineKey string
	// ForwardCredentials passes the caller's Authorization, Cookie and API-key
	// headers on to the engine. They are dropped otherwise.
	ForwardCredentials bool
	// Model is the model's full name, name@commit:hash. The text before @ is
	// what callers and the engine call it.
	Model string
	// Coefficient is the price in thousandths of the network's, 0 to 10^9-1.
	// Zero works for free.
	Coefficient int32
	// Pricer makes the price follow demand: it is given the price to begin with, the
	// remembered one or Coefficient. Nil keeps the price as it is set.
	Pricer func(coefficient int32, now time.Time) Pricer
	// Facts are what operators know of the model and the machine better than the engine
	// tells; what is zero is asked of the engine.
	Facts openai.Facts
	// MaxActive is how many requests run at a time. Zero means 60.
	MaxActive int
	// Connections is how many proxies to work for. Zero means 1.
	Connections int
	// OwnerAddress receives the earnings.
	OwnerAddress *address.Address
	// RootAddress is the registry's own address; contract addresses depend on it.
	RootAddress *address.Address
	// Registry names proxies, prices and approved images.
	Registry contract.Registry
	// RATLS proves this worker and judges proxies.
	RATLS *ratls.Config
	// Via is the SOCKS5 address of a router on this machine, which then does
	// the proving; empty dials proxies directly.
	Via string
	// Dial replaces both, for tests. The peer may be nil.
	Dial func(ctx context.Context, address string) (net.Conn, *ratls.Peer, error)
	// CheckImages insists that each proxy's image, and this worker's model,
	// are in the registry.
	CheckImages bool
	// Wire limits the connections to proxies.
	Wire wire.Config
	// DrainTimeout is how long running requests may go on when Run is asked
	// to end. Zero means 30 s, negative none.
	DrainTimeout time.Duration
	// ProbeInterval is the time between health probes of the engine. Zero
	// means a random 1 to 2 s.
	ProbeInterval time.Duration
	// HTTP is the listen address of the statistics and control pages; empty
	// means none.
	HTTP string
	// ControlToken opens the control actions; empty closes them.
	ControlToken string
	// KeysKept is what pages say of how this node's secrets lie on disk; empty
	// is not on disk.
	KeysKept string
	// Book keeps what is earned across restarts. Nil forgets it.
	Book Book
	// Settlement is what pages show of the money. Nil shows nothing.
	Settlement func() any
	// Actions are more control actions, such as being paid out.
	Actions []stats.Action
	// Log gets what happens, never what is said. Nil discards.
	Log *slog.Logger
	// Now dates answers. Nil means time.Now.
	Now func() time.Time
}

const (
	defaultMaxActive    = 60
	defaultDrainTimeout = 30 * time.Second
	maxCoefficient      = 1_000_000_000 - 1
	// killTimeout is how long cancelled requests may take to notice.
	killTimeout = 5 * time.Second
)

// Worker is one running worker. Its methods are safe for concurrent use.
type Worker struct {
	cfg    Config
	model  string // base name
	engine string // base URL
	http   *http.Client
	slots  *slots
	stats  counters

	// live is the life of connections and requests. It outlasts Run's context
	// by the time for draining; its cause tells requests why they end.
	live context.Context
	kill context.CancelCauseFunc
	// background is everything that connections have started.
	background sync.WaitGroup
	crew       crew
	demand     *demand // nil if the price is set by hand

	mu          sync.Mutex // guards all below; taken before session.mu
	coefficient int32
	idle        reasons
	engineErr   error
	facts       openai.Facts // that proxies are told
	sessions    map[*session]struct{}
	targets     map[string]*target
	earned      map[string]*earnings // by worker contract
	httpAddr    net.Addr
	running     bool
}

// New checks the configuration and reports all that is wrong with it.
func New(cfg Config) (*Worker, error) {
	base, errBase := engine.Base(cfg.Engine)
	if err := errors.Join(errBase, cfg.check()); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	cfg.setDefaults()
	w := &Worker{
		cfg: cfg, model: contract.BaseModel(cfg.Model), engine: base,
		http: engine.Client(cfg.MaxActive), slots: newSlots(cfg.MaxActive), stats: newCounters(cfg.Now), crew: newCrew(),
		coefficient: cfg.Coefficient, idle: engineDown,
		facts: cfg.Facts, sessions: map[*session]struct{}{}, targets: map[string]*target{}, earned: map[string]*earnings{},
	}
	w.live, w.kill = context.WithCancelCause(context.Background())
	if cfg.Book != nil {
		var paused bool
		if w.coefficient, paused = cfg.Book.Remembered(cfg.Coefficient); paused {
			w.idle |= switchedOff
		}
	}
	if cfg.Pricer != nil {
		w.demand = &demand{pricer: cfg.Pricer(w.coefficient, cfg.Now())}
		w.slots.used = func(used, limit int) { w.demand.use(used, limit, cfg.Now()) }
		first, _ := w.demand.next(cfg.Now()) // within its limits
		w.coefficient = int32(min(first, maxCoefficient))
	}
	w.checkModel(cfg.Registry.Root())
	return w, nil
}

func (cfg *Config) check() error {
	var problems []error
	fail := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	name, _, full := strings.Cut(cfg.Model, "@")
	fail(name == "", "model is %q, want name@commit:hash", cfg.Model)
	fail(cfg.CheckImages && !full, "model is %q, want its commit and hash behind @, because the registry lists them", cfg.Model)
	fail(cfg.Coefficient < 0 || cfg.Coefficient > maxCoefficient, "coefficient is %d, want 0 to %d", cfg.Coefficient, maxCoefficient)
	if err := cfg.Facts.Check(); err != nil {
		problems = append(problems, err)
	}
	fail(cfg.MaxActive < 0, "max active requests is %d, want 1 or more", cfg.MaxActive)
	fail(cfg.Connections < 0, "connections is %d, want 1 or more", cfg.Connections)
	fail(cfg.OwnerAddress == nil, "owner address is missing: nobody would be paid")
	fail(cfg.RootAddress == nil, "root contract address is missing")
	fail(cfg.Registry == nil, "registry is missing")
	fail(cfg.RATLS == nil && cfg.Dial == nil, "nothing to prove this worker with: set RATLS")
	return errors.Join(problems...)
}

func (cfg *Config) setDefaults() {
	if cfg.MaxActive == 0 {
		cfg.MaxActive = defaultMaxActive
	}
	if cfg.Connections == 0 {
		cfg.Connections = 1
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = defaultDrainTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Wire.Log == nil {
		cfg.Wire.Log = cfg.Log
	}
}

var (
	errTwice    = errors.New("worker: Run was called before; make a new worker")
	errShutdown = errors.New("worker is shutting down")
	errOver     = errors.New("worker has ended")
)

// Run serves until ctx ends, then takes no more requests, lets those that run
// finish for DrainTimeout, and returns when everything it started has ended.
// The error is nil then. Call it once.
func (w *Worker) Run(ctx context.Context) error {
	w.mu.Lock()
	again := w.running
	w.running = true
	w.mu.Unlock()
	if again {
		return errTwice
	}
	pages, err := w.listenHTTP()
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	all.Go(func() { w.watchEngine(w.live) })
	all.Go(func() { w.keepTargets(w.live) })
	all.Go(func() { w.followDemand(w.live) })
	all.Go(func() { w.serveHTTP(w.live, pages) })
	<-ctx.Done()
	w.shutDown()
	all.Wait()
	w.background.Wait()
	w.http.CloseIdleConnections()
	return nil
}

// shutDown ends requests gently, then firmly, then the connections.
func (w *Worker) shutDown() {
	w.setIdle(shuttingDown, true)
	drain, cancel := context.WithTimeout(context.Background(), max(w.cfg.DrainTimeout, 0))
	defer cancel()
	if w.slots.wait(drain) != nil {
		w.cfg.Log.Warn("worker: draining took too long, requests are cut off", "active", w.slots.active())
		w.endRequests(errShutdown)
		last, cancel := context.WithTimeout(context.Background(), killTimeout)
		defer cancel()
		w.slots.wait(last)
	}
	w.kill(errOver)
}

// Drain takes no more requests and waits until none runs. The worker stays
// connected and disabled; [Worker.Enable] undoes it. The error is ctx's.
func (w *Worker) Drain(ctx context.Context) error {
	w.Disable()
	return w.slots.wait(ctx)
}
