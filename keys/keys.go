// Package keys makes the keys of field encryption and hands them out.
//
// Start with [New] and [Manager.Run], the key manager of a network: it makes a
// key pair every hour that lives a day, has the public half registered on the
// chain, and gives the private halves to the network's proxies, over attested
// connections and to nobody else. [Follower] is the other end, in a proxy: it
// asks for them every few seconds and forgets them in time.
//
//	store.go      keys outlive a restart: what is registered must stay known
//	rotate.go     create, expire, strike
//	register.go   until the registry shows a key, it is told again
//	serve.go      who may ask, and what for
//	follow.go     the asking side
//
// What the keys are good for is in package fieldcrypt, and what they are not
// good for in docs/threat-model.md: whoever holds them reads what was encrypted
// for them. They are never logged and never shown; memory they leave is
// overwritten, as far as Go allows.
//
// Source: current.md sections 3.7, 4 and 5.3.
package keys

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/wire"
)

// TypeV1 is the type of keys of field encryption v1, the only one that is made
// without being asked for.
const TypeV1 = 1

// Config is everything a key manager needs. Listener, Registry, Store and Key
// are required.
type Config struct {
	// Listener yields callers as *ratls.Conn; anybody else has no proof and is
	// admitted only where none is asked for.
	Listener net.Listener
	// HTTPListener serves statistics and control; nil serves none.
	HTTPListener net.Listener
	// Registry says whose keys these are, and which images may have them.
	Registry contract.Registry
	// CheckImages demands approved images. It is always on outside test networks.
	CheckImages bool
	// Key is the key manager's own, of which the registry has the public half.
	Key ed25519.PrivateKey
	// Store keeps the keys across restarts.
	Store Store
	// Registrar brings keys into the registry. Nil leaves that to people.
	Registrar Registrar
	// ServeWorkers gives keys to workers too, as the reference does. They have no
	// use for them: a worker gets the one it needs with the request.
	ServeWorkers bool
	// Life is how long a key lives; 0 is 24 h. Every is the time between two; 0 is 1 h.
	Life, Every time.Duration
	// Ripen is how long a new key is handed out before it is registered, so that
	// every proxy has it when the first app sees it; 0 is 15 s, negative none.
	Ripen time.Duration
	// MaxConnections bounds callers; 0 is 1,000.
	MaxConnections int
	// Wire sets the limits of connections.
	Wire wire.Config
	// ControlToken opens the control actions; empty closes them.
	ControlToken string
	// KeysKept is what pages say of how this node's secrets lie on disk; empty
	// is not on disk.
	KeysKept string
	// Wallet is what pages show of the wallet that pays for registrations. Nil
	// shows nothing.
	Wallet func() any
	// Log gets what happens, never a private key. Nil discards.
	Log *slog.Logger
	// Now dates keys. Nil means time.Now.
	Now func() time.Time
}

// maxLife is the longest life that root contracts grant a key.
const maxLife = 7 * 24 * time.Hour

func (c *Config) setDefaults() {
	orDuration := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orDuration(&c.Life, 24*time.Hour)
	orDuration(&c.Every, time.Hour)
	orDuration(&c.Ripen, 15*time.Second)
	if c.MaxConnections <= 0 {
		c.MaxConnections = 1000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Wire.MaxFrame == 0 {
		c.Wire.MaxFrame = maxFrame
	}
	if c.Wire.MaxQueued == 0 {
		c.Wire.MaxQueued = maxQueued
	}
	if c.Wire.Budget == nil {
		c.Wire.Budget = wire.NewBudget(256 << 20)
	}
	if c.Wire.Log == nil {
		c.Wire.Log = c.Log
	}
}

func (c *Config) check() error {
	var problems []error
	fail := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	fail(c.Listener == nil, "listener is missing")
	fail(c.Registry == nil, "registry is missing")
	fail(c.Store == nil, "store is missing: after a restart nobody could read what was encrypted")
	fail(len(c.Key) != ed25519.PrivateKeySize, "key has %d bytes, want %d", len(c.Key), ed25519.PrivateKeySize)
	fail(c.Life < time.Minute || c.Life > maxLife, "life is %v, want 1m to %v: the registry takes no longer one", c.Life, maxLife)
	fail(c.Every < time.Second || c.Every > c.Life, "a key every %v, want 1s to the life of one, %v", c.Every, c.Life)
	return errors.Join(problems...)
}

// Manager is a running key manager. Its methods are safe for concurrent use.
type Manager struct {
	cfg  Config
	kick chan struct{} // something may have to be done now

	served, refused atomic.Int64
	background      sync.WaitGroup

	mu      sync.Mutex // guards all below; no other lock is taken under it
	keys    []*entry   // oldest first
	callers map[*caller]struct{}
	dirty   bool   // something is not stored yet
	trouble string // why it does not go on as it should
	running bool
}

// entry is one key pair.
type entry struct {
	seed       fieldcrypt.Seed
	public     fieldcrypt.PublicKey
	kind       uint8
	created    int64 // Unix seconds
	expires    int64
	registered bool      // the registry has listed it, perhaps it no longer does
	listed     bool      // it lists it now
	told       time.Time // when the registrar was last asked
	tries      int       // how often it was
}

// listing is how the registry lists it.
func (e *entry) listing() contract.PublicKey {
	return contract.PublicKey{Key: ed25519.PublicKey(e.public[:]), Type: e.kind, ExpireAt: uint32(e.expires)}
}

// newEntry makes a key pair.
func newEntry(kind uint8, now time.Time, life time.Duration) *entry {
	e := &entry{kind: kind, created: now.Unix(), expires: now.Add(life).Unix()}
	rand.Read(e.seed[:])
	e.public = e.seed.Public()
	return e
}

// forget overwrites the private half.
func (e *entry) forget() { clear(e.seed[:]) }

// New reads the store and reports all that is wrong with the configuration.
func New(cfg Config) (*Manager, error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("key manager: %w", err)
	}
	m := &Manager{cfg: cfg, kick: make(chan struct{}, 1), callers: map[*caller]struct{}{}}
	var err error
	if m.keys, err = load(cfg.Store); err != nil {
		return nil, fmt.Errorf("key manager: %w", err)
	}
	return m, nil
}

// Run serves until ctx ends, closes all connections and returns when everything
// it started has ended. An error means that it could not listen. Call it once.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	again := m.running
	m.running = true
	m.mu.Unlock()
	if again {
		return errors.New("key manager: Run was called twice")
	}
	life, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var all sync.WaitGroup
	all.Go(func() { m.keep(life) })
	all.Go(func() { stop(m.accept(life)) })
	if m.cfg.HTTPListener != nil {
		all.Go(func() {
			if err := m.serveHTTP(life); err != nil {
				stop(err)
			}
		})
	}
	select {
	case <-ctx.Done():
	case <-life.Done():
	}
	stop(nil)
	m.disconnect()
	all.Wait()
	m.background.Wait()
	m.forgetAll()
	if err := context.Cause(life); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("key manager: %w", err)
	}
	return nil
}

func (m *Manager) forgetAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.keys {
		e.forget()
	}
	m.keys = nil
}
