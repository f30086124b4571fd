package worker

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// No test may leave a goroutine behind: what a worker starts, it ends.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leftover(10 * time.Second); code == 0 && left != "" {
		fmt.Println("goroutines left behind:\n" + left)
		code = 1
	}
	os.Exit(code)
}

func leftover(patience time.Duration) string {
	buf := make([]byte, 1<<20)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		var left []string
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "cocoon/worker.(") || strings.Contains(g, "cocoon/wire.(") {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
	}
}

// running says whether some goroutine is inside a function.
func running(name string) bool {
	buf := make([]byte, 1<<20)
	return strings.Contains(string(buf[:runtime.Stack(buf, true)]), name)
}

const fullModel = enginetest.Model + "@abc:0123"

func account(b byte) *address.Address {
	raw := make([]byte, 32)
	raw[0] = b
	return address.NewAddress(0, 0, raw).Bounce(false)
}

func testRoot() *contract.Root {
	root := &contract.Root{
		Owner: account(9), Version: 3, ParamsVersion: 1, StructVersion: 1, UniqueID: 13, IsTest: true,
		PricePerToken: 20, WorkerFeePerToken: 10, Multipliers: ledger.Plain,
		ProxyDelay: 600, ClientDelay: 300, MinProxyStake: contract.Ton, MinClientStake: contract.Ton,
		Models: map[[32]byte]struct{}{contract.ModelHash(fullModel): {}},
	}
	addProxies(root, "127.0.0.1:11001")
	return root
}

func addProxies(root *contract.Root, addresses ...string) {
	for i, a := range addresses {
		ap := netip.MustParseAddrPort(a)
		root.Proxies = append(root.Proxies, contract.ProxyEntry{Seqno: uint32(i + 1), Workers: ap, Clients: ap})
	}
}

// proxy is a scripted proxy: it shakes hands as a good one does, with what a
// test changes, and hands over what the worker says.
type proxy struct {
	t    testing.TB
	key  ed25519.PrivateKey
	root *contract.Root
	// What it says; set before the worker dials.
	flags     uint32
	version   int32
	db, most  int64
	signed    int64
	isTest    bool
	features  []string // nil answers "Lost promise"
	comparing int32    // error code of the comparison
	refuse    string   // name of the function it refuses
	cfg       wire.Config
	peer      *ratls.Peer // how it was judged

	conns chan *proxyConn

	mu     sync.Mutex // guards all below
	params []tl.WorkerParams
	claims []tl.WorkerCompareBalanceWithProxy
	asked  []string
	dials  []string
	polled tl.WorkerPaymentStatus
	noPoll bool
}

// proxyConn is one connection of a worker.
type proxyConn struct {
	p        *proxy
	c        *wire.Conn
	packets  chan tl.Object
	closed   chan error
	ready    chan struct{}
	disabled bool // as said in the handshake
}

func newProxy(t testing.TB) *proxy {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = 7
	return &proxy{t: t, key: ed25519.NewKeyFromSeed(seed), root: testRoot(), isTest: true,
		flags: 3 | tl.FlagExtensions, version: 4, features: []string{tl.FeatureCancel, tl.FeatureProgress},
		conns: make(chan *proxyConn, 64)}
}

func (p *proxy) public() (key tl.Int256) {
	copy(key[:], p.key.Public().(ed25519.PublicKey))
	return key
}

func (p *proxy) contract() *address.Address {
	a, err := p.root.ProxyAddress(account(2), account(1), p.key.Public().(ed25519.PublicKey))
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *proxy) workerContract() *address.Address {
	a, err := p.root.WorkerAddress(account(3), p.contract(), p.key.Public().(ed25519.PublicKey))
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *proxy) payment(tokens int64) *tl.ProxySignedPayment {
	m := contract.Payment{Kind: contract.Payout, QueryID: uint64(tokens), Excess: account(2), Tokens: tokens, Contract: p.workerContract()}
	signed, err := m.Sign(p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	data, err := signed.ForPeer()
	if err != nil {
		p.t.Fatal(err)
	}
	return &tl.ProxySignedPayment{Data: data}
}

// dial is Config.Dial of the worker under test.
func (p *proxy) dial(_ context.Context, to string) (net.Conn, *ratls.Peer, error) {
	here, there := net.Pipe()
	p.mu.Lock()
	p.dials = append(p.dials, to)
	p.mu.Unlock()
	go func() {
		h := &proxyConn{p: p, packets: make(chan tl.Object, 4096), closed: make(chan error, 1), ready: make(chan struct{})}
		c, err := wire.Server(context.Background(), there, h, p.cfg)
		if err != nil {
			return
		}
		h.c = c
		c.Start()
	}()
	return here, p.peer, nil
}

func (h *proxyConn) Closed(_ *wire.Conn, err error) { h.closed <- err }

func (h *proxyConn) Packet(_ *wire.Conn, data []byte) {
	o, err := tl.Decode(data)
	if err != nil {
		h.p.t.Errorf("worker sent what does not parse: %v", err)
		return
	}
	h.packets <- o
}

func (h *proxyConn) Query(c *wire.Conn, q *wire.Query) {
	o, err := tl.Decode(q.Data)
	if err != nil {
		h.p.t.Errorf("worker asked what does not parse: %v", err)
		q.Fail(0, "Lost promise")
		return
	}
	h.p.mu.Lock()
	h.p.asked = append(h.p.asked, o.TLName())
	h.p.mu.Unlock()
	if h.p.refuse == o.TLName() {
		q.Fail(wire.CodeError, "refused by script")
		return
	}
	h.answer(o, q)
}

func (h *proxyConn) answer(o tl.Object, q *wire.Query) {
	p := h.p
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m := o.(type) {
	case *tl.WorkerConnectToProxy:
		p.params = append(p.params, m.Params)
		q.Answer(&tl.WorkerConnectedToProxy{WorkerScAddress: p.workerContract().String(), Params: tl.ProxyParams{
			Flags: p.flags, ProxyPublicKey: p.public(), ProxyOwnerAddress: account(2).String(),
			ProxyScAddress: p.contract().String(), IsTest: p.isTest, ProtoVersion: p.version}})
	case *tl.WorkerCompareBalanceWithProxy:
		p.claims = append(p.claims, *m)
		q.Answer(&tl.WorkerCompareBalanceWithProxyResult{SignedPayment: p.payment(p.signed),
			TokensCommittedToDb: p.db, MaxTokens: p.most, ErrorCode: p.comparing})
	case *tl.WorkerExtendedCompareBalanceWithProxy:
		q.Answer(&tl.WorkerExtendedCompareBalanceWithProxyResult{})
	case *tl.WorkerProxyHandshakeComplete:
		h.disabled = m.IsDisabled
		q.Answer(&tl.WorkerProxyHandshakeCompleted{})
		if p.flags&tl.FlagExtensions == 0 {
			close(h.ready)
			p.conns <- h
		}
	case *tl.CocoonGetFeatures:
		if p.features == nil {
			q.Fail(0, "Lost promise")
		} else {
			q.Answer(&tl.CocoonFeatures{Names: p.features})
		}
		close(h.ready)
		p.conns <- h
	case *tl.CocoonWhyIdle:
		q.Answer(&tl.CocoonReasons{Cause: "outbid", Text: "outbid: try 900\x1b", Requests: 7, Won: 1, Price: 1000, UsualPrice: 900, WouldWinAt: 900})
	case *tl.WorkerUpdatePaymentStatus:
		if p.noPoll {
			q.Fail(0, "Lost promise")
			return
		}
		q.Answer(&p.polled)
	default:
		q.Fail(0, "Lost promise")
	}
}

// next is the next packet of the worker.
func (h *proxyConn) next() tl.Object {
	h.p.t.Helper()
	select {
	case o := <-h.packets:
		return o
	case err := <-h.closed:
		h.closed <- err
		select {
		case o := <-h.packets: // it came before the end
			return o
		default:
		}
		h.p.t.Fatalf("connection closed: %v", err)
	case <-time.After(time.Minute):
		h.p.t.Fatal("worker says nothing")
	}
	return nil
}

// stand is a worker between a scripted proxy and a scripted engine.
type stand struct {
	*proxy
	w      *Worker
	engine *enginetest.Server
	stop   func() // ends Run and waits for it
}

// start runs a worker. Change may adjust its configuration.
func start(t testing.TB, p *proxy, script enginetest.Script, change func(*Config)) *stand {
	t.Helper()
	s := &stand{proxy: p, engine: enginetest.New(t, script)}
	cfg := Config{
		Engine: s.engine.URL, Model: fullModel, Coefficient: 1000, OwnerAddress: account(3), RootAddress: account(1),
		Registry: contract.NewMemory(p.root), Dial: p.dial, ProbeInterval: 5 * time.Millisecond, MaxActive: 8, DrainTimeout: -1,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if s.w, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.w.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// connected waits for a connection on which the worker is willing to serve.
func (s *stand) connected() *proxyConn {
	s.t.Helper()
	select {
	case h := <-s.conns:
		if h.disabled {
			h.wantDisabled(0)
		}
		for !s.up() { // the worker is done a moment after the proxy
			time.Sleep(time.Millisecond)
		}
		return h
	case <-time.After(time.Minute):
		s.t.Fatal("worker does not connect")
	}
	return nil
}

// up says whether the worker counts a proxy as connected.
func (s *stand) up() bool {
	return slices.ContainsFunc(s.w.Snapshot().Proxies, func(p ProxyStatus) bool { return p.Connected })
}

func (h *proxyConn) wantDisabled(want int32) {
	h.p.t.Helper()
	if m, ok := h.next().(*tl.WorkerEnabledDisabled); !ok || m.Disabled != want {
		h.p.t.Fatalf("got %#v, want enabledDisabled %d", m, want)
	}
}

func parsed(t testing.TB, text string) *address.Address {
	t.Helper()
	a, err := contract.ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
