package devnet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/client"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/proxy"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/worker"
)

// fair is a network of real roles over TCP, without attestation and chain:
// some proxies, many workers with an engine each, one client.
type fair struct {
	t        *testing.T
	registry *contract.Memory
	books    []*ledger.Ledger
	workers  map[string]*stall // by owner as answers name them
	list     []*stall
	client   *client.Client
	stops    []func() // of the proxies
	wait     sync.WaitGroup
}

// stall is a worker at the fair.
type stall struct {
	engine      *enginetest.Server
	worker      *worker.Worker
	coefficient int32
	honest      bool

	mu     sync.Mutex // guards the rest
	conns  []net.Conn
	killed bool
}

// fairSeed makes another fair of the same kind.
var fairSeed = func() uint64 {
	n, _ := strconv.ParseUint(os.Getenv("COCOON_FAIR_SEED"), 10, 64)
	return n
}()

const fairModel = "fake/model@commit:hash"

func fairAddress(name string) *address.Address {
	sum := sha256.Sum256([]byte(name))
	return address.NewAddress(0, 0, sum[:]).Bounce(false)
}

func fairRoot() *contract.Root {
	return &contract.Root{Owner: fairAddress("root owner"), Version: 3, ParamsVersion: 1, StructVersion: 1, UniqueID: 13, IsTest: true,
		PricePerToken: 20, WorkerFeePerToken: 10, Multipliers: ledger.Plain, MinProxyStake: contract.Ton, MinClientStake: contract.Ton}
}

func newFair(t *testing.T, proxies, workers int) *fair {
	f := &fair{t: t, workers: map[string]*stall{}}
	root := fairRoot()
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); f.wait.Wait() })
	var configs []proxy.Config
	for i := range proxies {
		doors := [2]net.Listener{}
		for k := range doors {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			doors[k] = l
		}
		seed := sha256.Sum256([]byte(fmt.Sprint("proxy ", i)))
		book, err := ledger.New(ledger.Config{})
		if err != nil {
			t.Fatal(err)
		}
		f.books = append(f.books, book)
		configs = append(configs, proxy.Config{WorkersListener: doors[0], ClientsListener: doors[1], Key: ed25519.NewKeyFromSeed(seed[:]), Book: book,
			OwnerAddress: fairAddress("proxy owner").String(), RootAddress: fairAddress("root").String(), Seed: fairSeed + uint64(i)})
		root.Proxies = append(root.Proxies, contract.ProxyEntry{Seqno: uint32(i + 1),
			Workers: netip.MustParseAddrPort(doors[0].Addr().String()), Clients: netip.MustParseAddrPort(doors[1].Addr().String())})
	}
	f.registry = contract.NewMemory(root)
	for _, cfg := range configs {
		cfg.Registry = f.registry
		p, err := proxy.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(ctx)
		f.stops = append(f.stops, stop)
		f.run(ctx, p.Run)
	}
	chance := rand.New(rand.NewPCG(1+fairSeed, 2))
	for i := range workers {
		f.addWorker(ctx, i, proxies, chance)
	}
	f.addClient(ctx, proxies)
	return f
}

func (f *fair) run(ctx context.Context, run func(context.Context) error) {
	f.wait.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			f.t.Errorf("a role ended: %v", err)
		}
	})
}

// addWorker adds one of some speed and price, the slow ones cheaper.
func (f *fair) addWorker(ctx context.Context, i, proxies int, chance *rand.Rand) {
	owner, speed := fairAddress(fmt.Sprint("worker ", i)), chance.Float64()
	s := &stall{coefficient: int32(500 + 1500*speed*speed), honest: true}
	s.engine = enginetest.New(nil, enginetest.Stream{Chunks: 8, Head: time.Duration(2+20*(1-speed)) * time.Millisecond, Every: time.Millisecond}.Answer)
	f.t.Cleanup(s.engine.Close)
	w, err := worker.New(worker.Config{Engine: s.engine.URL, Model: fairModel, Coefficient: s.coefficient, MaxActive: 6, Connections: proxies,
		OwnerAddress: owner, RootAddress: fairAddress("root"), Registry: f.registry, Dial: s.dial, ProbeInterval: 5 * time.Second, DrainTimeout: -1})
	if err != nil {
		f.t.Fatal(err)
	}
	s.worker = w
	f.workers[owner.String()] = s
	f.list = append(f.list, s)
	f.run(ctx, w.Run)
}

func (s *stall) dial(ctx context.Context, to string) (net.Conn, *ratls.Peer, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.killed {
		c.Close()
		return nil, nil, net.ErrClosed
	}
	s.conns = append(s.conns, c)
	return c, nil, nil
}

// kill ends the worker as a power cut does.
func (s *stall) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed = true
	for _, c := range s.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

func (f *fair) addClient(ctx context.Context, proxies int) {
	c, err := client.New(client.Config{Registry: f.registry, Connections: proxies, Wallet: fairAddress("wallet").String(), RootAddress: fairAddress("root").String(),
		InsecureEmptySecret: true, Timeout: time.Minute, Dial: func(ctx context.Context, to string) (net.Conn, *ratls.Peer, error) {
			var d net.Dialer
			nc, err := d.DialContext(ctx, "tcp", to)
			return nc, nil, err
		}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.client = c
	f.run(ctx, c.Run)
}

// open waits until every proxy offers all workers.
func (f *fair) open(proxies int) {
	f.t.Helper()
	for end := time.Now().Add(testPatience); ; time.Sleep(20 * time.Millisecond) {
		ready := 0
		m, err := f.client.Market(f.t.Context(), "")
		if err == nil {
			for _, p := range m.Proxies {
				for _, x := range p.Models {
					ready += int(x.Workers)
				}
			}
		}
		if err == nil && len(m.Proxies) == proxies && ready == proxies*len(f.list) {
			return
		}
		if time.Now().After(end) {
			f.t.Fatalf("%d offers of %d after %s: %v", ready, proxies*len(f.list), testPatience, err)
		}
	}
}

// told is what a caller got.
type told struct {
	status int
	cost   int64 // -1 unknown
	broken bool  // ended with an error behind the first byte
	by     string
	tokens int64
	body   string
}

const fairTokens = 64

func (f *fair) ask(n int, stream bool, provider string) (a told) {
	body := fmt.Sprintf(`{"model":"fake/model","max_tokens":%d,"stream":%t,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"question %d"}]}`, fairTokens, stream, n)
	if provider != "" {
		body = `{"provider":` + provider + "," + body[1:]
	}
	if !stream {
		body = strings.Replace(body, `"stream_options":{"include_usage":true},`, "", 1)
	}
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, "http://cocoon/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		f.t.Error(err)
		return a
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := f.client.Transport().RoundTrip(req)
	if err != nil {
		f.t.Error(err)
		return a
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	cost := res.Header.Get("X-Cocoon-Cost-Nanoton")
	if cost == "" {
		cost = res.Trailer.Get("X-Cocoon-Cost-Nanoton")
	}
	a = told{status: res.StatusCode, cost: -1, by: res.Header.Get("X-Cocoon-Worker"), body: string(text)}
	a.broken = err != nil || stream && !bytes.Contains(text, []byte("[DONE]")) || bytes.Contains(text, []byte(`"error"`))
	if n, err := strconv.ParseInt(cost, 10, 64); err == nil {
		a.cost = n
	}
	a.tokens = totalTokens(text, stream)
	return a
}

// totalTokens is the last usage in an answer.
func totalTokens(text []byte, stream bool) (total int64) {
	var doc struct {
		Usage *struct {
			Total int64 `json:"total_tokens"`
		}
	}
	if !stream {
		if json.Unmarshal(text, &doc) == nil && doc.Usage != nil {
			return doc.Usage.Total
		}
		return 0
	}
	for line := range strings.Lines(string(text)) {
		data, ok := strings.CutPrefix(line, "data: ")
		if doc.Usage = nil; ok && json.Unmarshal([]byte(data), &doc) == nil && doc.Usage != nil {
			total = doc.Usage.Total
		}
	}
	return total
}

// Half of two hundred workers are killed, hung or made to lie under load: no request hangs, none
// fails that another worker could serve, and every bill is right. The settings are everybody's.
func TestTwoHundredWorkers(t *testing.T) {
	const proxies, workers, callers, each = 3, 200, 24, 40
	f := newFair(t, proxies, workers)
	f.open(proxies)
	answers := make([][]told, callers)
	half := make(chan struct{})
	var group, reached sync.WaitGroup
	reached.Add(callers)
	for i := range callers {
		group.Go(func() {
			for k := range each {
				if k == each/4 {
					reached.Done()
					<-half
				}
				answers[i] = append(answers[i], f.ask(i*each+k, (i+k)%2 == 0, ""))
			}
		})
	}
	reached.Wait()
	kill := f.spoil()
	close(half)
	kill()
	group.Wait()
	f.judge(answers)
}

// spoil makes a sixth of the workers hang, fail or lie from now on, each; what it returns kills
// another sixth.
func (f *fair) spoil() (kill func()) {
	lies := []string{`{"prompt_tokens":1000000000,"completion_tokens":1000000000,"total_tokens":2000000000}`, `{"prompt_tokens":-5,"completion_tokens":-5,"total_tokens":-5}`,
		`{"prompt_tokens":1e300,"completion_tokens":"many"}`}
	var doomed []*stall
	for i, s := range f.list {
		switch i % 12 {
		case 0, 6:
			doomed = append(doomed, s)
		case 2:
			s.engine.SetScript(enginetest.HangHead())
		case 4:
			s.engine.SetScript(enginetest.DieHead())
		case 8:
			s.engine.SetScript(enginetest.HTML(502))
		case 10:
			s.honest = false
			s.engine.SetScript(enginetest.Liar(8, lies[i/12%len(lies)]))
		}
	}
	return func() {
		for _, s := range doomed {
			s.kill()
		}
	}
}

func (f *fair) judge(answers [][]told) {
	t, root := f.t, f.registry.Root()
	paid, broken, count := int64(0), 0, 0
	for _, list := range answers {
		for _, a := range list {
			count++
			s := f.workers[a.by]
			switch {
			case a.status != http.StatusOK:
				t.Errorf("status %d though half of the workers are well: %.300s", a.status, a.body)
			case s == nil:
				t.Errorf("an answer by %q", a.by)
			case a.cost < 0:
				t.Errorf("an answer without its price, by %s", a.by)
			case a.broken:
				broken++
			case s.honest:
				if want := ledger.Tokens(enginetest.PromptTokens, int64(s.coefficient), 10000) + ledger.Tokens(8, int64(s.coefficient), 10000); a.cost != want*int64(root.PricePerToken) {
					t.Errorf("%d tokens at %d cost %d, want %d", a.tokens, s.coefficient, a.cost, want*int64(root.PricePerToken))
				}
			default:
				if most := ledger.Most(fairTokens, 1, 600, int64(s.coefficient), root.Multipliers) * int64(root.PricePerToken); a.cost > most {
					t.Errorf("a liar was paid %d, at most %d could be believed", a.cost, most)
				}
			}
			paid += max(a.cost, 0)
		}
	}
	used, earned := int64(0), int64(0)
	for _, book := range f.books {
		if err := book.Check(); err != nil {
			t.Error(err)
		}
		clients, workers := book.Everyone()
		for _, c := range clients {
			used += c.Used.Max
			if c.Reserved != 0 {
				t.Errorf("%d tokens are still reserved", c.Reserved)
			}
		}
		for _, w := range workers {
			earned += w.Earned.Max
		}
	}
	if used != earned || used*int64(root.PricePerToken) != paid {
		t.Errorf("clients used %d tokens, workers earned %d, callers were told of %d", used, earned, paid/int64(root.PricePerToken))
	}
	t.Logf("%d answers, %d of them broke off behind their first byte; %d tokens", count, broken, used)
}

// The provider object holds from the caller to the worker and back.
func TestProviderObject(t *testing.T) {
	f := newFair(t, 2, 6)
	f.open(2)
	owner := func(i int) string { return fairAddress(fmt.Sprint("worker ", i)).String() }
	cheapest := 0
	for i, s := range f.list {
		if s.coefficient < f.list[cheapest].coefficient {
			cheapest = i
		}
	}
	rest := make([]string, 0, len(f.list))
	for i := range f.list {
		if i != 3 {
			rest = append(rest, strconv.Quote(owner(i)))
		}
	}
	// The price is 20 nanoTON a token, 0.02 TON a million at coefficient 1000.
	most := fmt.Sprintf("%.6f", float64(f.list[cheapest].coefficient)/1000*0.02)
	digits := fmt.Sprintf("%x", fairAddress("worker 4").Data())[:10]
	for provider, want := range map[string]int{
		`{"only":["` + owner(2) + `"]}`:                                             2,
		`{"only":["` + digits + `"]}`:                                               4,
		`{"ignore":[` + strings.Join(rest, ",") + `]}`:                              3,
		`{"order":["` + owner(5) + `","` + owner(1) + `"],"allow_fallbacks":false}`: 5,
		`{"max_price":` + most + `}`:                                                cheapest,
	} {
		for i := range 4 {
			if a := f.ask(i, i%2 == 0, provider); a.status != http.StatusOK || a.broken || a.by != owner(want) {
				t.Errorf("%s: status %d by %s, want %s: %.300s", provider, a.status, a.by, owner(want), a.body)
			}
		}
	}
	for provider, want := range map[string]int{`{"only":["00000000"]}`: 503, `{"max_price":0.000001}`: 409, `{"only":["nobody"]}`: 400} {
		if a := f.ask(0, false, provider); a.status != want {
			t.Errorf("%s: status %d, want %d: %.300s", provider, a.status, want, a.body)
		}
	}
}

// Workers and a proxy stop under load, as their operators ask them to, and nothing is cut.
func TestDrainUnderLoad(t *testing.T) {
	const callers, each = 8, 30
	f := newFair(t, 2, 8)
	f.open(2)
	answers := make([][]told, callers)
	var group, reached sync.WaitGroup
	reached.Add(callers)
	for i := range callers {
		group.Go(func() {
			for k := range each {
				if k == each/3 {
					reached.Done()
				}
				answers[i] = append(answers[i], f.ask(i*each+k, (i+k)%2 == 0, ""))
			}
		})
	}
	reached.Wait()
	f.stops[0]()
	for _, s := range f.list[:4] {
		if err := s.worker.Drain(t.Context()); err != nil {
			t.Errorf("drain: %v", err)
		}
	}
	group.Wait()
	for _, list := range answers {
		for _, a := range list {
			if a.broken {
				t.Errorf("an answer was cut: %.300s", a.body)
			}
		}
	}
	f.judge(answers)
}
