package keys

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/wire"
)

var (
	proxyImage   = [32]byte{1}
	workerImage  = [32]byte{2}
	managerImage = [32]byte{3}
	managerKey   = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
)

const managerAt = "10.0.0.1:13001"

func testRoot(t testing.TB) *contract.Root {
	owner, err := contract.ParseAddress("UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m")
	if err != nil {
		t.Fatal(err)
	}
	return &contract.Root{
		Owner: owner, Version: 1, ParamsVersion: 1, StructVersion: 4, Multipliers: ledger.Plain,
		ProxyImages: set(proxyImage), WorkerImages: set(workerImage),
		KeyManager: managerAt, KeyManagerKey: managerKey.Public().(ed25519.PublicKey), KeyManagerImage: managerImage,
	}
}

func set(h [32]byte) map[[32]byte]struct{} { return map[[32]byte]struct{}{h: {}} }

// disk is a store in memory that can fail.
type disk struct {
	mu   sync.Mutex
	data []byte
	err  error
}

func (d *disk) Load() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.data == nil {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(d.data), nil
}

func (d *disk) Save(data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.data = bytes.Clone(data)
	}
	return d.err
}

func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// chain is a registry whose contract takes what it is told a few seconds later,
// and loses some of it.
type chain struct {
	*contract.Memory
	t    *testing.T
	mu   sync.Mutex
	lose int // so many more messages get lost
	sent int
	err  error
}

func (c *chain) Register(_ context.Context, key contract.PublicKey) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.sent++
	if c.lose > 0 {
		c.lose--
		return nil
	}
	time.AfterFunc(6*time.Second, func() { c.change(func(r *contract.Root) { r.PublicKeys = append(r.PublicKeys, key) }) })
	return nil
}

// change replaces the snapshot, without what has expired, as contracts do.
func (c *chain) change(bend func(*contract.Root)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	root := *c.Root()
	root.Version++
	root.PublicKeys = slices.DeleteFunc(slices.Clone(root.PublicKeys), func(k contract.PublicKey) bool { return int64(k.ExpireAt) <= time.Now().Unix() })
	bend(&root)
	c.Set(&root)
}

// told is how often the registry was told of a key.
func (c *chain) told() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

func (c *chain) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// door is a listener in memory.
type door struct {
	conns chan net.Conn
	once  sync.Once
	shut  chan struct{}
}

func newDoor() *door { return &door{conns: make(chan net.Conn), shut: make(chan struct{})} }

func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.conns:
		return c, nil
	case <-d.shut:
		return nil, net.ErrClosed
	}
}
func (d *door) Close() error   { d.once.Do(func() { close(d.shut) }); return nil }
func (d *door) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 13001} }

// logBuffer is a log that many may write.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rig is a registry, a store, and a key manager that can be stopped and started,
// inside a synctest bubble.
type rig struct {
	t     *testing.T
	chain *chain
	disk  *disk
	log   *logBuffer
	bend  func(*Config)

	mu    sync.Mutex // guards the next two
	door  *door      // nil while nobody listens
	image [32]byte   // that callers see

	m    *Manager
	stop func()
}

func inBubble(t *testing.T, bend func(*Config), f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, chain: &chain{Memory: contract.NewMemory(testRoot(t)), t: t}, disk: &disk{}, log: &logBuffer{}, bend: bend, image: managerImage}
		r.start()
		defer func() {
			r.stop()
			synctest.Wait()
			if t.Failed() {
				t.Logf("log:\n%s", r.log)
			}
		}()
		f(r)
	})
}

func (r *rig) start() {
	r.t.Helper()
	d := newDoor()
	cfg := Config{Listener: d, Registry: r.chain, Key: managerKey, Store: r.disk, Registrar: r.chain, CheckImages: true,
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if r.bend != nil {
		r.bend(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.door = d
	r.mu.Unlock()
	r.m = m
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		r.mu.Lock()
		r.door = nil
		r.mu.Unlock()
		secrets := r.secrets()
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("Run: %v", err)
		}
		for _, s := range secrets {
			if strings.Contains(r.log.String(), s) {
				r.t.Error("the log holds a private key")
			}
		}
	})
	synctest.Wait()
}

// secrets are the private keys in force, as the store spells them.
func (r *rig) secrets() (list []string) {
	for _, e := range r.entries() {
		text := string(encode([]*entry{e}))
		_, text, _ = strings.Cut(text, `"private":"`)
		list = append(list, text[:64])
	}
	return list
}

// entries are copies of the keys in force.
func (r *rig) entries() (list []*entry) {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	for _, e := range r.m.keys {
		again := *e
		list = append(list, &again)
	}
	return list
}

func (r *rig) publics() (list []fieldcrypt.PublicKey) {
	for _, e := range r.entries() {
		list = append(list, e.public)
	}
	return list
}

// dial connects somebody with this verdict to the key manager.
func (r *rig) dial(ctx context.Context, v *attest.Verdict) (net.Conn, *ratls.Peer, error) {
	r.mu.Lock()
	d, image := r.door, r.image
	r.mu.Unlock()
	if d == nil {
		return nil, nil, errors.New("connection refused")
	}
	near, far := net.Pipe()
	select {
	case d.conns <- &ratls.Conn{Conn: far, Peer: &ratls.Peer{Verdict: v, Addr: d.Addr()}}:
	case <-d.shut:
		return nil, nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	return near, &ratls.Peer{Verdict: &attest.Verdict{Trusted: true, ImageHash: image}, Addr: d.Addr()}, nil
}

func verdict(image [32]byte) *attest.Verdict {
	return &attest.Verdict{Trusted: true, ImageHash: image}
}

// follower is a proxy's, and runs until the test ends.
func (r *rig) follower(bend func(*FollowerConfig)) *Follower {
	r.t.Helper()
	cfg := FollowerConfig{Registry: r.chain, CheckImages: true, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Dial: func(ctx context.Context, address string) (net.Conn, *ratls.Peer, error) {
			if address != managerAt {
				return nil, nil, errors.New("nobody listens at " + address)
			}
			return r.dial(ctx, verdict(proxyImage))
		}}
	if bend != nil {
		bend(&cfg)
	}
	f, err := NewFollower(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = f.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		<-ended
		if n := len(f.held); n != 0 {
			r.t.Errorf("%d keys are held after the end", n)
		}
	})
	return f
}

// caller asks the key manager directly.
func (r *rig) caller(v *attest.Verdict) *wire.Conn {
	r.t.Helper()
	nc, _, err := r.dial(r.t.Context(), v)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := wire.Client(r.t.Context(), nc, deaf{}, wire.Config{})
	if err != nil {
		r.t.Fatal(err)
	}
	c.Start()
	r.t.Cleanup(func() { c.Close(nil); c.Wait() })
	return c
}

// pass lets time pass, and everything that it brings.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
