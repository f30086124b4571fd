package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// FollowerConfig says where keys come from. Registry and Dial are required.
type FollowerConfig struct {
	// Registry names the key manager.
	Registry contract.Registry
	// Dial connects to host:port. The peer must have been judged.
	Dial func(ctx context.Context, address string) (net.Conn, *ratls.Peer, error)
	// CheckImages refuses key managers of another image than the registry's. It is
	// always on outside test networks.
	CheckImages bool
	// As is the role that asks.
	As Caller
	// Poll is the time between two questions; 0 is a random 5 to 10 s each.
	Poll time.Duration
	// Log gets what happens, never a key. Nil discards.
	Log *slog.Logger
	// Now says which keys have expired. Nil means time.Now.
	Now func() time.Time
}

// Follower holds what the network's key manager gives out. What it gives is what
// is held: a key that it gives no more is forgotten. While it does not answer, keys
// stay until their time is over. Safe for concurrent use.
type Follower struct {
	cfg FollowerConfig

	mu      sync.Mutex // guards all below
	held    map[fieldcrypt.PublicKey]*heldKey
	manager string // hex of the key manager's key that they come from
	address string // where it is, "" while there is none
	asked   time.Time
	trouble string // of the last try
}

type heldKey struct {
	seed  fieldcrypt.Seed
	until int64 // Unix seconds
}

// NewFollower makes a follower that holds nothing yet.
func NewFollower(cfg FollowerConfig) (*Follower, error) {
	if cfg.Registry == nil || cfg.Dial == nil {
		return nil, errors.New("keys: follower needs Registry and Dial")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Follower{cfg: cfg, held: map[fieldcrypt.PublicKey]*heldKey{}}, nil
}

// Private is the private half of a key that is still good.
func (f *Follower) Private(public [32]byte) (private [32]byte, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.held[public]
	if k == nil || k.until <= f.cfg.Now().Unix() {
		return private, false
	}
	return k.seed, true
}

// Count is how many keys are good now.
func (f *Follower) Count() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.cfg.Now().Unix()
	for _, k := range f.held {
		if k.until > now {
			n++
		}
	}
	return n
}

// FollowerStatus is how a follower fares.
type FollowerStatus struct {
	// Address is the key manager's, empty if the network has none.
	Address string `json:"address"`
	Keys    int    `json:"keys"`
	// Asked is when it last answered, Trouble why it does not.
	Asked   time.Time `json:"asked,omitzero"`
	Trouble string    `json:"trouble,omitempty"`
}

// Status says how the follower fares.
func (f *Follower) Status() FollowerStatus {
	n := f.Count()
	f.mu.Lock()
	defer f.mu.Unlock()
	return FollowerStatus{f.address, n, f.asked, f.trouble}
}

// Run asks until ctx ends, then forgets all keys and returns nil.
func (f *Follower) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	defer f.drop(func(*heldKey) bool { return true })
	defer beside.Wait()
	beside.Go(func() {
		for sleep(ctx, expireEvery) {
			now := f.cfg.Now().Unix()
			f.drop(func(k *heldKey) bool { return k.until <= now })
		}
	})
	for ctx.Err() == nil {
		changed := f.cfg.Registry.Changed()
		root := f.cfg.Registry.Root()
		f.follow(root)
		session, stop := context.WithCancel(ctx)
		var asking sync.WaitGroup
		if root.KeyManager != "" {
			asking.Go(func() { f.keep(session, root) })
		}
		for same := true; same && ctx.Err() == nil; {
			select {
			case <-ctx.Done():
			case <-changed:
				changed = f.cfg.Registry.Changed()
				next := f.cfg.Registry.Root()
				same = next.KeyManager == root.KeyManager && next.KeyManagerImage == root.KeyManagerImage && next.KeyManagerKey.Equal(root.KeyManagerKey)
			}
		}
		stop()
		asking.Wait()
	}
	return nil
}

const expireEvery = 5 * time.Second

// follow forgets everything when the network has another key manager: its owner
// does that when the keys of the old one are no longer safe.
func (f *Follower) follow(root *contract.Root) {
	manager := hex.EncodeToString(root.KeyManagerKey)
	f.mu.Lock()
	other := f.manager != manager
	f.manager, f.address, f.trouble = manager, root.KeyManager, ""
	f.mu.Unlock()
	if other {
		f.drop(func(*heldKey) bool { return true })
	}
}

// drop forgets keys.
func (f *Follower) drop(match func(*heldKey) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for public, k := range f.held {
		if match(k) {
			clear(k.seed[:])
			delete(f.held, public)
		}
	}
}

// keep stays connected to the key manager and asks it until ctx ends.
func (f *Follower) keep(ctx context.Context, root *contract.Root) {
	d := &wire.Dialer{
		Target:  "key manager " + root.KeyManager,
		Dial:    func(ctx context.Context) (net.Conn, any, error) { return f.dial(ctx, root) },
		Handler: deaf{}, Config: wire.Config{MaxFrame: maxFrame, Log: f.cfg.Log}, Log: f.cfg.Log,
		OnUp: f.ask,
		OnState: func(s wire.State) {
			if s.Phase == wire.Waiting {
				f.note(s.Err)
			}
		},
	}
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx) }) // fails only without Dial and Handler
	for sleep(ctx, f.poll()) {
		if c := d.Conn(); c != nil {
			if err := f.ask(ctx, c); err != nil {
				c.Close(err)
			}
		}
	}
	running.Wait()
}

func (f *Follower) poll() time.Duration {
	if f.cfg.Poll > 0 {
		return f.cfg.Poll
	}
	return 5*time.Second + rand.N(5*time.Second)
}

// dial connects and compares the image with the registry's word, which fails
// closed: outside test networks nobody can switch it off.
func (f *Follower) dial(ctx context.Context, root *contract.Root) (net.Conn, any, error) {
	nc, peer, err := f.cfg.Dial(ctx, root.KeyManager)
	if err != nil {
		return nil, nil, err
	}
	if f.cfg.CheckImages || !root.IsTest {
		err = checkManager(root, peer)
	}
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, peer, nil
}

func checkManager(root *contract.Root, peer *ratls.Peer) error {
	switch {
	case root.KeyManagerImage == [32]byte{}:
		return errors.New("the registry lists no image for the key manager: nobody can be believed to be it")
	case peer == nil || peer.Verdict == nil || !peer.Verdict.Trusted:
		return errors.New("key manager has no verdict, want the registry's image")
	case peer.Verdict.ImageHash != root.KeyManagerImage:
		return fmt.Errorf("key manager runs image %s, the registry wants %x", peer.Verdict.ImageHash, root.KeyManagerImage)
	}
	return nil
}

// askLimit bounds one question.
const askLimit = time.Minute

// ask takes the keys that the manager gives now in the place of those before.
func (f *Follower) ask(ctx context.Context, c *wire.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var fn tl.Object = &tl.KeyManagerGetProxyPrivateKeys{}
	if f.cfg.As == Worker {
		fn = &tl.KeyManagerGetWorkerPrivateKeys{}
	}
	data, err := c.Ask(ctx, fn)
	if err != nil {
		f.note(err)
		return err
	}
	defer clear(data)
	var keys tl.KeyManagerPrivateKeys
	if err := tl.Unmarshal(data, &keys); err != nil {
		f.note(err)
		return fmt.Errorf("answer of the key manager: %w", err)
	}
	f.take(keys.Keys)
	f.note(nil)
	return nil
}

// take replaces what is held. It overwrites list.
func (f *Follower) take(list []tl.KeyManagerPrivateKey) {
	now := f.cfg.Now().Unix()
	held := map[fieldcrypt.PublicKey]*heldKey{}
	for i := range list {
		k := &heldKey{seed: fieldcrypt.Seed(list[i].PrivateKey), until: int64(list[i].ValidUntilUtime)}
		clear(list[i].PrivateKey[:])
		if k.until > now {
			held[k.seed.Public()] = k
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.held {
		clear(k.seed[:])
	}
	if len(held) != len(f.held) {
		f.cfg.Log.Info("keys of field encryption", "count", len(held))
	}
	f.held = held
}

func (f *Follower) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trouble = ""; err != nil {
		f.trouble = err.Error()
		return
	}
	f.asked = f.cfg.Now()
}

// deaf is the handler of a connection on which nobody has anything to ask us.
type deaf struct{}

func (deaf) Packet(*wire.Conn, []byte)         {}
func (deaf) Query(_ *wire.Conn, q *wire.Query) { q.Fail(0, "Lost promise") }
func (deaf) Closed(*wire.Conn, error)          {}

// sleep reports whether it was not interrupted.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
