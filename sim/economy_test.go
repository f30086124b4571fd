package sim

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
)

// economy is one world under one seed.
type economy struct {
	*testing.T
	seed    uint64
	r       *rand.Rand
	verbose bool
	dir     string
	climate climate

	chain    *chain
	book     *book
	names    map[string]string
	founder  person
	mallory  person // belongs to no role
	root     *address.Address
	nodes    []*node
	houses   []*house
	clients  []*client
	workers  []*worker
	requests []*request
	lastID   int
	derived  map[string]*contract.Deployment

	step   int
	counts map[string]int

	// baton is passed on when the scheduler rests, and taken by whoever of a
	// node's goroutines then comes into the simulation: it orders what they read
	// after what was written.
	baton atomic.Int64

	mu    sync.Mutex // guards the story
	story []string
	print uint64 // of the story
	fails []string
}

func (e *economy) must(err error) {
	if err != nil {
		e.Helper()
		for _, n := range e.nodes { // no goroutine may outlive the bubble
			if !n.dead && n.stop != nil {
				n.kill(false)
			}
		}
		e.Fatal(e.report(fmt.Sprintf("the simulation itself: %v", err)))
	}
}

// tell adds a line to the story.
func (e *economy) tell(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), e.dir, "…")
	e.note("%6d %s  %s", e.step, time.Now().UTC().Format("02 15:04:05"), text)
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %s", e.print, e.step, text)
	e.print = h.Sum64()
}

func (e *economy) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.story = append(e.story, fmt.Sprintf(format, args...))
	if most := 400; len(e.story) > 2*most && !e.verbose {
		e.story = append([]string{}, e.story[most:]...)
	}
}

// broken is a violation. The first one counts.
func (e *economy) broken(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fails = append(e.fails, fmt.Sprintf(format, args...))
}

func (e *economy) report(what string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return fmt.Sprintf("seed %d, step %d: %s\n\nthe story so far:\n%s\n\nSIM_SEED=%d SIM_STEPS=%d go test -run TestEconomy ./sim plays it again",
		e.seed, e.step, what, strings.Join(e.story, "\n"), e.seed, e.step+1)
}

func (e *economy) called(a *address.Address) string { return e.who(a.StringRaw()) }

func (e *economy) who(raw string) string {
	if name, ok := e.names[raw]; ok {
		return name
	}
	return "somebody " + raw[:8]
}

// client is a client's contract of a generation.
func (e *economy) client(c *contract.Contracts, who *client) *contract.Deployment {
	return e.derive(c, who.name, who.at, c.Client)
}

func (e *economy) worker(c *contract.Contracts, who *worker) *contract.Deployment {
	return e.derive(c, who.name, who.at, c.Worker)
}

func (e *economy) derive(c *contract.Contracts, name string, at *address.Address, how func(*address.Address) (*contract.Deployment, error)) *contract.Deployment {
	key := c.Proxy.Address.StringRaw() + name
	if e.derived[key] == nil {
		d, err := how(at)
		e.must(err)
		e.derived[key] = d
		e.names[d.Address.StringRaw()] = name + "'s at " + e.names[c.Proxy.Address.StringRaw()]
	}
	return e.derived[key]
}

func (e *economy) anyPage(r *rand.Rand) *page {
	var list []*page
	for _, h := range e.houses {
		list = append(list, e.pagesOf(h)...)
	}
	if len(list) == 0 {
		return nil
	}
	return list[max(r.IntN(len(list)), r.IntN(len(list)))]
}

// pagesOf are a proxy's generations, oldest first.
func (e *economy) pagesOf(h *house) (list []*page) {
	for gen := uint32(0); gen <= e.registryNow().ParamsVersion; gen++ {
		for _, p := range e.book.pages {
			if p.house == h && p.gen == gen {
				list = append(list, p)
			}
		}
	}
	return list
}

func (e *economy) registryNow() *contract.Root {
	r, err := contract.ParseRoot(e.chain.look(e.root).Data)
	e.must(err)
	return r
}

func (e *economy) fund(to *address.Address, amount coin.Nano) {
	m, err := e.chain.net.SignTransfer(context.Background(), e.chain.net.FaucetKey(), transfer(to, amount))
	e.must(err)
	e.must(e.chain.external(m))
}

func (e *economy) mkdir(name string) string {
	dir := filepath.Join(e.dir, strings.ReplaceAll(name, " ", "-"))
	e.must(os.MkdirAll(dir, 0o700))
	return dir
}

// found makes the world.
func (e *economy) found() {
	e.chain = newChain(e)
	e.book = newBook(e)
	e.founder = e.person("founder", 1000*coin.TON)
	codes := contract.OurCodes()
	root := &contract.Root{
		Owner: e.founder.at, Version: 1, ParamsVersion: 1, StructVersion: 3, UniqueID: 17, IsTest: true, PricePerToken: 20, WorkerFeePerToken: 18,
		Multipliers: ledger.Plain, ProxyDelay: 24 * 3600, ClientDelay: 6 * 3600, MinProxyStake: coin.TON, MinClientStake: 2 * coin.TON,
		ProxyCode: codes.Proxy, WorkerCode: codes.Worker, ClientCode: codes.Client,
	}
	d, err := root.Deploy(codes.Root)
	e.must(err)
	e.root = d.Address
	e.names[d.Address.StringRaw()] = "registry"
	e.flush()
	e.founder.says(d.Address, coin.TON, nil, d.Init)
	for i := range 2 {
		e.clients = append(e.clients, e.newClient([]string{"alice", "bob"}[i]))
	}
	e.clients = append(e.clients, e.newGateway("gina"))
	for i := range 2 {
		e.workers = append(e.workers, e.newWorker([]string{"wendy", "will"}[i]))
	}
	e.workers = append(e.workers, e.newShop("sam"))
	for i := range 1 + e.r.IntN(2) {
		e.houses = append(e.houses, e.newHouse([]string{"pam", "pete"}[i], byte(i)))
	}
	e.flush()
}

// startNode starts what runs on the machine.
func (e *economy) startNode(n *node) {
	for _, h := range e.houses {
		if h.node == n {
			h.start()
		}
	}
	for _, c := range e.clients {
		if c.program != nil && c.program.node == n {
			c.start()
		}
	}
	for _, w := range e.workers {
		if w.program != nil && w.program.node == n {
			w.start()
		}
	}
}

// flush delivers all that is under way and seals.
func (e *economy) flush() {
	for n := 0; len(e.chain.transit) > 0; n++ {
		e.chain.deliver(0)
	}
	e.chain.seal()
}

// run plays steps, heals everything, and looks at what is left.
func (e *economy) run(steps int) {
	e.found()
	e.weather()
	e.liars()
	for _, n := range e.nodes {
		e.startNode(n)
	}
	for e.step = 1; e.step <= steps && !e.failed(); e.step++ {
		e.turn()
	}
	if !e.failed() {
		e.end()
	}
	for _, n := range e.nodes {
		if !n.dead {
			n.kill(false)
		}
	}
	if e.failed() {
		e.Fatal(e.report(e.fails[0]))
	}
}

func (e *economy) failed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.fails) > 0
}

// rest lets everybody go on until nobody can, and time pass.
func (e *economy) rest(d time.Duration) {
	e.baton.Add(1)
	if d > 0 {
		time.Sleep(d)
	}
	synctest.Wait()
}

// turn is one step.
func (e *economy) turn() {
	e.rest(0)
	e.choose()()
	e.rest(0)
	e.mend()
	e.expire()
	if e.step%16 == 0 {
		e.audit()
	}
}

// audit asks each proxy's ledger for its own sums.
func (e *economy) audit() {
	e.checkLosses()
	for _, c := range e.clients {
		if err := c.disputes(); err != nil {
			e.broken("%v", err)
		}
	}
	for _, h := range e.houses {
		if h.alive() {
			if err := h.ledger.Check(); err != nil {
				e.broken("%s: %v", h.name, err)
			}
		}
	}
}

func transfer(to *address.Address, amount coin.Nano) *libraryMessage {
	return &libraryMessage{Mode: 3, InternalMessage: &tlb.InternalMessage{IHRDisabled: true, DstAddr: to, Amount: tlb.FromNanoTON(amount.Big()), Body: empty}}
}

// play is one seed.
func play(t *testing.T, seed uint64, steps int, verbose bool) (e *economy) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	dir := fastDir(t)
	synctest.Test(t, func(t *testing.T) {
		e = &economy{T: t, seed: seed, r: rand.New(rand.NewPCG(seed, 7)), verbose: verbose, dir: dir, names: map[string]string{}, counts: map[string]int{}, derived: map[string]*contract.Deployment{}}
		e.run(steps)
	})
	return e
}

// fastDir is in memory: what a crash leaves is simulated, and waiting for a
// disk would only take time.
func fastDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "cocoon-sim-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestMain gives everything one processor: what goroutines do between two
// steps then has an order too.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}

func TestEconomy(t *testing.T) {
	steps := number("SIM_STEPS", 1500)
	if seed := number("SIM_SEED", 0); seed > 0 {
		e := play(t, uint64(seed), steps, true)
		t.Logf("%s\n%v\nprint %x", strings.Join(e.story, "\n"), e.counts, e.print)
		return
	}
	first, last := 1, 8
	if a, b, ok := strings.Cut(os.Getenv("SIM_SEEDS"), "-"); ok {
		first, _ = strconv.Atoi(a)
		last, _ = strconv.Atoi(b)
	}
	total := map[string]int{}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			e := play(t, uint64(seed), steps, false)
			for k, n := range e.counts {
				total[k] += n
			}
		})
	}
	t.Logf("%d seeds of %d steps: %v", last-first+1, steps, total)
}
