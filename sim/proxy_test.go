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

// node is a machine: it has a clock, a disk, and a line to the chain, and runs
// one process after another.
type node struct {
	e    *economy
	name string
	life int  // of its process, counted; guarded by the chain's mu
	dead bool // no process; likewise
	skew time.Duration
	cut  bool // from the chain
	disk *platter
	dir  string // what production code keeps in files of the operating system
	// killed is told when the process ends.
	killed func()
	// wholeLines is the wallet's journal before the line that is being written,
	// image what was there when the machine stopped in the middle.
	wholeLines, image []byte
	stop              context.CancelFunc
	ended             chan struct{}

	mu   sync.Mutex // guards all below, which the process writes
	up   bool       // it has started
	boot error      // why it could not
}

func (e *economy) newNode(name string) *node {
	n := &node{e: e, name: name, dead: true, disk: newPlatter(e.lot("disk of " + name)), dir: e.mkdir(name), killed: func() {}}
	e.nodes = append(e.nodes, n)
	return n
}

func (n *node) now() time.Time {
	n.e.baton.Load()
	return time.Now().Add(n.skew)
}

func (n *node) log() *slog.Logger {
	if n.e.verbose {
		return slog.New(slog.NewTextHandler(&storyWriter{n.e, n.name}, nil))
	}
	return slog.New(slog.DiscardHandler)
}

// begin begins a process. What it opens takes questions to the chain, so it is
// up some steps later.
func (n *node) begin(run func(context.Context, *port) error) {
	n.e.chain.mu.Lock()
	n.life++
	n.dead = false
	life := n.life
	n.e.chain.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	n.mu.Lock()
	n.up, n.boot = false, nil
	n.mu.Unlock()
	ended := make(chan struct{})
	n.stop, n.ended = cancel, ended
	n.e.baton.Add(1)
	go func() {
		defer close(ended)
		err := run(ctx, &port{n.e.chain, n, life})
		n.mu.Lock()
		defer n.mu.Unlock()
		n.boot = err
	}()
}

func (n *node) started() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = true
}

// alive says whether the process runs and has opened everything.
func (n *node) alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up && !n.dead
}

// stuck: it could not start.
func (n *node) stuck() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.boot != nil
}

// kill ends the process at this very moment; power takes the machine with it.
func (n *node) kill(power bool) {
	n.e.chain.mu.Lock()
	n.dead = true
	kept := n.e.chain.calls[:0]
	for _, q := range n.e.chain.calls {
		if q.node != n {
			kept = append(kept, q)
			continue
		}
		q.replies <- reply{nil, errDead}
	}
	n.e.chain.calls = kept
	n.e.chain.mu.Unlock()
	n.disk.mu.Lock()
	n.disk.stopped = true // nothing that still runs writes any more
	n.disk.mu.Unlock()
	n.e.baton.Add(1)
	n.stop()
	<-n.ended
	n.mu.Lock()
	n.up = false
	n.mu.Unlock()
	if n.image != nil {
		n.e.must(os.WriteFile(filepath.Join(n.dir, "wallet.journal"), n.image, 0o600))
		n.image = nil
	}
	if power {
		n.disk.crash()
	} else {
		n.disk.restore(n.disk.copy())
	}
	n.killed()
}

// fault is the wallet's disk: it stops with the machine, and is full with the other one.
func (n *node) fault(point string) error {
	n.e.baton.Load()
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if point == "write" {
		n.wholeLines = n.journal()
	}
	running := !n.disk.stopped
	_, err := n.disk.step(point == "write" || point == "rename")
	if running && n.disk.stopped {
		n.image = n.journal()
		if whole := len(n.wholeLines); point == "sync" && len(n.image) > whole { // a line that may be there, or a part of it
			n.image = n.image[:whole+n.disk.r.IntN(len(n.image)-whole+1)]
		}
	}
	return err
}

func (n *node) journal() []byte {
	text, err := os.ReadFile(filepath.Join(n.dir, "wallet.journal"))
	if err != nil {
		return []byte{}
	}
	return text
}

// house is a proxy: the machine, and what runs on it.
type house struct {
	*node
	lies   bool
	key    ed25519.PrivateKey
	wkey   wallet.Key
	owner  *address.Address
	wallet *address.Address
	issuer *contract.Issuer
	backup *backup
	// copied says that yesterday's disk was put in, once; newest is the one that
	// was taken out, since the step of the backup. old: the copy is still in.
	// ruined: neither disk has the whole story.
	// diverged: it once was.
	copied, old, diverged, ruined bool
	newest                        map[string]*inode
	process
}

type process struct {
	registry *contract.OnChain
	ledger   *ledger.Ledger
	driver   *wallet.Driver
	settle   *settlement.Proxy
	terms    *contract.Root // that the role works under
}

// backup is yesterday's disk.
type backup struct {
	step   int
	until  int    // the last life that worked without it
	last   uint32 // note that was prepared
	files  map[string]*inode
	wallet string
}

var rules = ledger.Rules{Charge: coin.TON / 10, Payout: coin.TON / 5, Withdraw: coin.TON / 20, LastPayout: coin.TON / 20}

func (e *economy) newHouse(name string, i byte) *house {
	h := &house{node: e.newNode(name), key: e.chain.net.Key(name), wkey: wallet.KeyOf(e.chain.net.Key(name + "'s wallet")), owner: e.somebody(name+"'s owner", i)}
	h.killed = func() {
		for _, r := range e.requests {
			if r.house == h {
				r.hold = nil
			}
		}
	}
	var err error
	h.wallet, err = contract.OurCodes().WalletAddress(h.owner, h.wkey.Public())
	e.must(err)
	e.names[h.wallet.StringRaw()] = name + "'s wallet"
	h.issuer = &contract.Issuer{Owner: h.owner, Root: e.root, Key: h.key}
	e.fund(h.wallet, 60*coin.TON)
	return h
}

func (h *house) start() { h.begin(h.run) }

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
	h.process = process{registry: registry, ledger: l, driver: d, settle: s}
	h.e.baton.Load()
	h.e.book.opened(h)
	if err := h.adopt(registry.Root()); err != nil {
		return err
	}
	h.started()
	var all sync.WaitGroup
	for _, run := range []func(context.Context) error{
		func(ctx context.Context) error { return registry.Run(ctx, 5*time.Second) }, l.Run, d.Run, s.Run, h.watch,
	} {
		all.Go(func() { run(ctx) })
	}
	all.Wait()
	return nil
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
	h.e.baton.Load()
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
		h.e.baton.Load()
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

// back is a backup of the machine's disk.
func (h *house) back() {
	dir := h.e.mkdir(fmt.Sprintf("%s-backup-%d", h.name, h.e.step))
	h.e.must(os.CopyFS(dir, os.DirFS(h.dir)))
	h.backup = &backup{step: h.e.step, files: h.disk.copy(), wallet: dir}
	for id := range h.e.book.shots {
		if id.house == h.name {
			h.backup.last = max(h.backup.last, id.number)
		}
	}
	if number, _, waits := h.ledger.PendingNote(); waits {
		h.backup.last = max(h.backup.last, uint32(number))
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
