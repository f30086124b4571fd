package sim

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/disk"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/wallet"
)

// node is a machine: it has a clock, a disk, and a line to the chain.
type node struct {
	e    *economy
	name string
	life int  // of its process, counted
	dead bool // no process; guarded by the chain's mu with life
	skew time.Duration
	cut  bool // from the chain
	dir  string
}

func (n *node) now() time.Time { return time.Now().Add(n.skew) }

// house is a proxy: the machine, and what runs on it.
type house struct {
	*node
	lies   bool
	key    ed25519.PrivateKey
	wkey   wallet.Key
	owner  *address.Address
	wallet *address.Address
	disk   *platter
	issuer *contract.Issuer
	backup *backup
	// wholeLines is the wallet's journal before the line that is being written,
	// image what was there when the machine stopped in the middle.
	wholeLines, image []byte

	mu   sync.Mutex // guards all below, which the process writes
	up   bool       // it has started
	boot error      // why it could not
	process
}

type process struct {
	stop     context.CancelFunc
	ended    chan struct{}
	registry *contract.OnChain
	ledger   *ledger.Ledger
	driver   *wallet.Driver
	settle   *settlement.Proxy
	terms    *contract.Root // that the role works under
}

// backup is yesterday's disk.
type backup struct {
	files  map[string]*inode
	wallet string
	taken  map[string]totals // what it knew, by contract
}

var rules = ledger.Rules{Charge: coin.TON / 10, Payout: coin.TON / 5, Withdraw: coin.TON / 20}

func (e *economy) newHouse(name string, i byte) *house {
	h := &house{node: &node{e: e, name: name, dead: true}, key: e.chain.net.Key(name), wkey: wallet.KeyOf(e.chain.net.Key(name + "'s wallet")), owner: e.somebody(name+"'s owner", i)}
	h.disk = newPlatter(e.lot("disk of " + name))
	h.dir = e.mkdir(name)
	var err error
	h.wallet, err = contract.OurCodes().WalletAddress(h.owner, h.wkey.Public())
	e.must(err)
	e.names[h.wallet.StringRaw()] = name + "'s wallet"
	h.issuer = &contract.Issuer{Owner: h.owner, Root: e.root, Key: h.key}
	e.fund(h.wallet, 60*coin.TON)
	return h
}

// start begins a process. What it opens takes questions to the chain, so it is
// up some steps later.
func (h *house) start() {
	h.e.chain.mu.Lock()
	h.life++
	h.dead = false
	h.e.chain.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	h.mu.Lock()
	h.up, h.boot, h.process = false, nil, process{stop: cancel, ended: make(chan struct{})}
	h.mu.Unlock()
	ended := h.ended
	go func() {
		defer close(ended)
		err := h.run(ctx, &port{h.e.chain, h.node, h.life})
		h.mu.Lock()
		defer h.mu.Unlock()
		h.boot = err
	}()
}

func (h *house) log() *slog.Logger {
	if h.e.verbose {
		return slog.New(slog.NewTextHandler(&storyWriter{h.e, h.name}, nil))
	}
	return slog.New(slog.DiscardHandler)
}

// run is what package node does for a proxy, without connections.
func (h *house) run(ctx context.Context, chain *port) (err error) {
	registry, err := contract.Follow(ctx, chain, h.e.root, h.log())
	if err != nil {
		return err
	}
	store, err := disk.Open("ledger", disk.Options{FS: h.disk, SegmentSize: 8 << 10})
	if err != nil {
		return err
	}
	l, err := ledger.New(ledger.Config{Store: store, Key: h.key, Every: time.Minute, CompactAfter: 16 << 10, Now: h.now})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	defer l.Close()
	d, err := wallet.Open(wallet.Config{Dir: h.dir, Key: h.wkey, Owner: h.owner, Chain: chain, Now: h.now, MaxHour: coin.Max / 4, Log: h.log(), Fault: h.fault})
	if err != nil {
		return err
	}
	defer d.Close()
	s, err := settlement.NewProxy(settlement.ProxyConfig{
		Chain: chain, Wallet: d, Registry: registry, Ledger: l, Key: h.key, Owner: h.owner, Root: h.e.root, Rules: rules,
		NoteEvery: 45 * time.Second, Tick: 5 * time.Second, Log: h.log(), Now: h.now,
	})
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.registry, h.ledger, h.driver, h.settle = registry, l, d, s
	h.mu.Unlock()
	h.e.book.opened(h)
	if err := h.adopt(registry.Root()); err != nil {
		return err
	}
	h.mu.Lock()
	h.up = true
	h.mu.Unlock()
	var all sync.WaitGroup
	for _, run := range []func(context.Context) error{
		func(ctx context.Context) error { return registry.Run(ctx, 5*time.Second) }, l.Run, d.Run, s.Run, h.watch,
	} {
		all.Go(func() { run(ctx) })
	}
	all.Wait()
	return nil
}

// fault is the wallet's disk: it stops with the machine, and is full with the other one.
func (h *house) fault(point string) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if point == "write" {
		h.wholeLines = h.journal()
	}
	running := !h.disk.stopped
	_, err := h.disk.step(point == "write" || point == "rename")
	if running && h.disk.stopped {
		h.image = h.journal()
		if n := len(h.wholeLines); point == "sync" && len(h.image) > n { // a line that may be there, or a part of it
			h.image = h.image[:n+h.disk.r.IntN(len(h.image)-n+1)]
		}
	}
	return err
}

func (h *house) journal() []byte {
	text, err := os.ReadFile(filepath.Join(h.dir, "wallet.journal"))
	if err != nil {
		return []byte{}
	}
	return text
}

// watch is what the proxy role does when the registry changes.
func (h *house) watch(ctx context.Context) error {
	for {
		changed := h.registry.Changed()
		if root := h.registry.Root(); root.ParamsVersion != h.terms.ParamsVersion {
			h.adopt(root)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (h *house) adopt(root *contract.Root) error {
	terms, err := h.issuer.Terms(root)
	if err != nil {
		return err
	}
	c, err := h.issuer.Contracts(ledger.Generation{Contract: terms.Contract, Memo: terms.Memo})
	if err != nil {
		return err
	}
	h.e.book.begin(h, c)
	sign := terms.Sign
	terms.Sign = func(p ledger.Promise) ([]byte, error) {
		of, err := h.issuer.Contracts(p.Generation)
		if err != nil {
			return nil, err
		}
		h.e.book.promise(of, p)
		return sign(p)
	}
	if err := h.ledger.Begin(terms); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.terms = root
	return nil
}

// alive says whether the process runs and has opened everything.
func (h *house) alive() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.up && !h.dead
}

// kill ends the process at this very moment; power takes the machine with it.
func (h *house) kill(power bool) {
	h.e.chain.mu.Lock()
	h.dead = true
	kept := h.e.chain.calls[:0]
	for _, q := range h.e.chain.calls {
		if q.node != h.node {
			kept = append(kept, q)
			continue
		}
		q.replies <- reply{nil, errDead}
	}
	h.e.chain.calls = kept
	h.e.chain.mu.Unlock()
	h.disk.mu.Lock()
	h.disk.stopped = true // nothing that still runs writes any more
	h.disk.mu.Unlock()
	h.stop()
	<-h.ended
	h.mu.Lock()
	h.up = false
	h.mu.Unlock()
	if h.image != nil {
		h.e.must(os.WriteFile(filepath.Join(h.dir, "wallet.journal"), h.image, 0o600))
		h.image = nil
	}
	if power {
		h.disk.crash()
	} else {
		h.disk.restore(h.disk.copy())
	}
	for _, r := range h.e.requests {
		if r.house == h {
			r.hold = nil
		}
	}
}

// back is a backup of the machine's disk.
func (h *house) back() {
	dir := h.e.mkdir(fmt.Sprintf("%s-backup-%d", h.name, h.e.step))
	h.e.must(os.CopyFS(dir, os.DirFS(h.dir)))
	h.backup = &backup{files: h.disk.copy(), wallet: dir, taken: map[string]totals{}}
	for key, p := range h.e.book.pages {
		if p.house == h {
			h.backup.taken[key] = p.most()
		}
	}
}

// unhealthy is why no work is taken, "" if it is.
func (h *house) unhealthy() string {
	if !h.alive() {
		return "down"
	}
	if err := h.ledger.Health(); err != nil {
		return err.Error()
	}
	if err := h.settle.Health(); err != nil {
		return err.Error()
	}
	if g := h.ledger.Generations(); h.terms == nil || g[len(g)-1].Params != h.terms.ParamsVersion {
		return "between generations"
	}
	return ""
}

func (h *house) page() *page {
	g := h.ledger.Generations()
	return h.e.book.pages[g[len(g)-1].Contract]
}

// storyWriter puts a program's log into the story.
type storyWriter struct {
	e    *economy
	name string
}

func (w *storyWriter) Write(b []byte) (int, error) {
	text := strings.TrimSpace(string(b))
	if _, rest, ok := strings.Cut(text, " level="); ok {
		text = rest
	}
	w.e.note("      | %s: %s", w.name, text)
	return len(b), nil
}
