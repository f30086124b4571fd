package client

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// scriptedProxy speaks the proxy's side of the protocol over real framed
// connections and does to each query whatever its script says.
type scriptedProxy struct {
	t    testing.TB
	net  *network
	addr string
	key  ed25519.PrivateKey

	version  int32    // it picks; default 4
	features []string // nil: a proxy of the reference
	image    attest.Hash
	bend     func(*tl.ClientConnectedToProxy)                   // spoils the handshake
	result   tl.Object                                          // answer to the authorisation, if not success
	onQuery  func(s *session, q *tl.ClientRunQueryEx)           // default: a small answer
	onAsk    func(s *session, q *wire.Query, fn tl.Object) bool // sees other questions first
	models   []string                                           // default: "m"

	mu       sync.Mutex
	refuse   error // dialing fails
	sessions []*session
	queries  []*tl.ClientRunQueryEx
	wishes   []*tl.CocoonRunQuery // those of them that came with more
	needs    []*tl.CocoonRunNeeding
	auths    []string
	cancels  chan tl.Int256
	conns    chan *session // each one that is authorised
}

// session is one connection to a scriptedProxy.
type session struct {
	p    *scriptedProxy
	conn *wire.Conn
	hi   *tl.ClientConnectToProxy
}

// network is a registry with scripted proxies behind its addresses.
type network struct {
	t        testing.TB
	registry *contract.Memory
	owner    *address.Address
	rootAddr *address.Address
	wallet   *address.Address
	mu       sync.Mutex
	proxies  map[string]*scriptedProxy
}

func testAddress(name string) *address.Address {
	sum := sha256.Sum256([]byte(name))
	return address.NewAddress(0, 0, sum[:]).Bounce(false)
}

func newNetwork(t testing.TB, proxies ...*scriptedProxy) *network {
	n := &network{t: t, owner: testAddress("owner"), rootAddr: testAddress("root"), wallet: testAddress("wallet"), proxies: map[string]*scriptedProxy{}}
	root := &contract.Root{Owner: n.owner, Version: 3, ParamsVersion: 1, StructVersion: 1, IsTest: true, Multipliers: ledger.Plain, PricePerToken: 10, WorkerFeePerToken: 8, MinClientStake: contract.Ton, MinProxyStake: contract.Ton}
	for i, p := range proxies {
		n.add(p, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(20000+i)))
		root.Proxies = append(root.Proxies, contract.ProxyEntry{Seqno: uint32(i), Clients: netip.MustParseAddrPort(p.addr)})
	}
	n.registry = contract.NewMemory(root)
	return n
}

func (n *network) add(p *scriptedProxy, at netip.AddrPort) {
	seed := sha256.Sum256([]byte(at.String()))
	p.t, p.net, p.addr, p.key = n.t, n, at.String(), ed25519.NewKeyFromSeed(seed[:])
	p.cancels, p.conns = make(chan tl.Int256, 1000), make(chan *session, 1000)
	if p.models == nil {
		p.models = []string{"m"}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proxies[p.addr] = p
}

// change replaces the registry's snapshot by a bent copy.
func (n *network) change(bend func(*contract.Root)) {
	root := *n.registry.Root()
	root.Proxies = slices.Clone(root.Proxies)
	root.Version++
	bend(&root)
	n.registry.Set(&root)
}

func (n *network) config() Config {
	return Config{
		Registry: n.registry, Dial: n.dial, Wallet: n.wallet.String(), RootAddress: n.rootAddr.String(),
		InsecureEmptySecret: true, ProxyWait: 5 * time.Second, Grace: time.Second, Log: testLog(n.t),
	}
}

func testLog(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// dial connects by a pipe, or by loopback in benchmarks.
func (n *network) dial(ctx context.Context, addr string) (net.Conn, *ratls.Peer, error) {
	n.mu.Lock()
	p := n.proxies[addr]
	n.mu.Unlock()
	if p == nil {
		return nil, nil, errors.New("nobody listens there")
	}
	p.mu.Lock()
	refuse := p.refuse
	p.mu.Unlock()
	if refuse != nil {
		return nil, nil, refuse
	}
	near, far := net.Pipe()
	go p.serve(far)
	verdict := &attest.Verdict{Kind: attest.KindTDX, Trusted: true, Level: attest.LevelSimulated, ImageHash: p.image}
	return near, &ratls.Peer{Verdict: verdict}, nil
}

func (p *scriptedProxy) serve(nc net.Conn) {
	s := &session{p: p}
	conn, err := wire.Server(context.Background(), nc, s, wire.Config{})
	if err != nil {
		return
	}
	s.conn = conn
	p.mu.Lock()
	p.sessions = append(p.sessions, s)
	p.mu.Unlock()
	conn.Start()
}

// start runs a client on the network until the test ends.
func (n *network) start(cfg Config) *Client {
	n.t.Helper()
	c, err := New(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	n.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			n.t.Errorf("Run: %v", err)
		}
		n.closeAll()
	})
	return c
}

// startReady also waits until all proxies are connected and known.
func (n *network) startReady(cfg Config) *Client {
	n.t.Helper()
	c := n.start(cfg)
	n.awaitReady(c, min(len(n.proxies), c.cfg.Connections))
	return c
}

func (n *network) awaitReady(c *Client, want int) {
	n.t.Helper()
	await(n.t, "proxies ready", func() bool {
		ready, _ := c.readyLinks()
		return len(ready) == want && !slices.ContainsFunc(ready, func(l *link) bool { return l.table.models.Load() == nil })
	})
}

// await polls for a state; it bounds the wait, it does not measure it.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("waited 10 s for: %s", what)
}

func (n *network) closeAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.proxies {
		p.kill()
	}
}

// kill closes all connections.
func (p *scriptedProxy) kill() {
	p.mu.Lock()
	sessions := p.sessions
	p.sessions = nil
	p.mu.Unlock()
	for _, s := range sessions {
		s.conn.Close(nil)
		s.conn.Wait()
	}
}

func (p *scriptedProxy) setRefuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = err
}

func (p *scriptedProxy) seen() []*tl.ClientRunQueryEx {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.queries)
}

// Packet implements wire.Handler.
func (s *session) Packet(_ *wire.Conn, data []byte) {
	object, err := tl.Decode(data)
	if err != nil {
		s.p.t.Errorf("client sent a malformed packet: %v", err)
		return
	}
	switch m := object.(type) {
	case *tl.ClientRunQueryEx:
		s.run(m)
	case *tl.ClientRunQuery:
		s.run(&tl.ClientRunQueryEx{ModelName: m.ModelName, Query: m.Query, MaxCoefficient: m.MaxCoefficient, MaxTokens: m.MaxTokens, Timeout: m.Timeout, RequestID: m.RequestID, MinConfigVersion: m.MinConfigVersion})
	case *tl.CocoonRunQuery:
		s.p.mu.Lock()
		s.p.wishes = append(s.p.wishes, m)
		s.p.mu.Unlock()
		s.run(&tl.ClientRunQueryEx{ModelName: m.ModelName, Query: m.Query, MaxCoefficient: m.MaxCoefficient, MaxTokens: m.MaxTokens, Timeout: m.Timeout, RequestID: m.RequestID, MinConfigVersion: m.MinConfigVersion,
			Flags: 3, PublicKey: m.PublicKey})
	case *tl.CocoonCancelQuery:
		s.p.cancels <- m.RequestID
	case *tl.CocoonRunNeeding:
		s.p.mu.Lock()
		s.p.needs = append(s.p.needs, m)
		s.p.mu.Unlock()
		w := &m.Query
		s.run(&tl.ClientRunQueryEx{ModelName: w.ModelName, Query: w.Query, MaxCoefficient: w.MaxCoefficient, MaxTokens: w.MaxTokens, Timeout: w.Timeout, RequestID: w.RequestID, PublicKey: w.PublicKey})
	default:
		s.p.t.Errorf("client sent %s", object.TLName())
	}
}

func (s *session) run(q *tl.ClientRunQueryEx) {
	s.p.mu.Lock()
	s.p.queries = append(s.p.queries, q)
	s.p.mu.Unlock()
	if s.p.onQuery == nil {
		s.whole(q.RequestID, 200, smallAnswer)
		return
	}
	s.p.onQuery(s, q)
}

// Query implements wire.Handler.
func (s *session) Query(_ *wire.Conn, q *wire.Query) {
	fn, err := tl.Decode(q.Data)
	if err != nil {
		q.Fail(0, "Lost promise")
		return
	}
	if s.p.onAsk != nil && s.p.onAsk(s, q, fn) {
		return
	}
	switch fn := fn.(type) {
	case *tl.ClientConnectToProxy:
		s.hi = fn
		q.Answer(s.p.welcome())
	case *tl.ClientAuthorizeWithProxyShort:
		s.authorise(q, string(fn.Data))
	case *tl.ClientAuthorizeWithProxyLong:
		s.authorise(q, "long")
	case *tl.CocoonGetFeatures:
		if s.p.features == nil {
			q.Fail(0, "Lost promise")
			return
		}
		q.Answer(&tl.CocoonFeatures{Names: s.p.features})
	case *tl.ClientGetWorkerTypesV2:
		q.Answer(s.p.types())
	case *tl.ClientUpdatePaymentStatus:
		q.Answer(&tl.ClientPaymentStatus{SignedPayment: &tl.ProxySignedPaymentEmpty{}})
	default:
		q.Fail(0, "Lost promise")
	}
}

// Closed implements wire.Handler.
func (s *session) Closed(*wire.Conn, error) {}

func (p *scriptedProxy) contracts() (proxy, client *address.Address) {
	root, key := p.net.registry.Root(), p.key.Public().(ed25519.PublicKey)
	proxy, err := root.ProxyAddress(p.net.owner, p.net.rootAddr, key)
	if err != nil {
		p.t.Fatal(err)
	}
	if client, err = root.ClientAddress(p.net.wallet, proxy, key); err != nil {
		p.t.Fatal(err)
	}
	return proxy, client
}

func (p *scriptedProxy) welcome() *tl.ClientConnectedToProxy {
	proxy, client := p.contracts()
	hello := &tl.ClientConnectedToProxy{
		Params: tl.ProxyParams{
			Flags: 3, ProxyPublicKey: tl.Int256(p.key.Public().(ed25519.PublicKey)), ProxyOwnerAddress: p.net.owner.String(),
			ProxyScAddress: proxy.String(), IsTest: true, ProtoVersion: p.version,
		},
		ClientScAddress: client.String(),
		Auth:            &tl.ClientProxyConnectionAuthShort{SecretHash: sha256.Sum256(nil)},
		SignedPayment:   &tl.ProxySignedPaymentEmpty{},
	}
	if p.version == 0 {
		hello.Params.Flags = 1
	}
	if p.features != nil {
		hello.Params.Flags |= tl.FlagExtensions
	}
	if p.bend != nil {
		p.bend(hello)
	}
	return hello
}

func (s *session) authorise(q *wire.Query, with string) {
	s.p.mu.Lock()
	s.p.auths = append(s.p.auths, with)
	s.p.mu.Unlock()
	if s.p.result != nil {
		q.Answer(s.p.result)
		return
	}
	q.Answer(&tl.ClientAuthorizationWithProxySuccess{SignedPayment: &tl.ProxySignedPaymentEmpty{}})
	s.p.conns <- s
}

func (p *scriptedProxy) types() *tl.ClientWorkerTypesV2 {
	types := &tl.ClientWorkerTypesV2{}
	for _, name := range p.models {
		types.Types = append(types.Types, tl.ClientWorkerTypeV2{Name: name, Workers: []tl.ClientWorkerInstanceV2{{Coefficient: 1500, MaxActiveRequests: 60}, {Coefficient: 1000, ActiveRequests: 2, MaxActiveRequests: 30}}})
	}
	return types
}

// payment signs a total for the client.
func (p *scriptedProxy) payment(tokens int64) *tl.ProxySignedPayment {
	_, client := p.contracts()
	signed, err := (&contract.Payment{Kind: contract.Charge, QueryID: 1, Excess: p.net.owner, Tokens: tokens, Contract: client}).Sign(p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	data, err := signed.ForPeer()
	if err != nil {
		p.t.Fatal(err)
	}
	return &tl.ProxySignedPayment{Data: data}
}

const smallAnswer = `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`

// How proxies answer, in the Ex family.

func response200(contentType string) tl.HTTPResponse {
	return tl.HTTPResponse{HTTPVersion: "HTTP/1.1", StatusCode: 200, Reason: "OK", Headers: []tl.HTTPHeader{
		{Name: "content-type", Value: contentType}, {Name: "Transfer-Encoding", Value: "chunked"}, {Name: "Connection", Value: "Close"},
		{Name: "X-Cocoon-Worker-Start", Value: "1.000000"}, {Name: "Set-Cookie", Value: "a=b"},
	}}
}

func (s *session) head(id tl.Int256, h tl.HTTPResponse) {
	s.send(&tl.ClientQueryAnswerEx{RequestID: id, Answer: tl.Marshal(&h)})
}

func (s *session) part(id tl.Int256, data string) {
	s.send(&tl.ClientQueryAnswerPartEx{RequestID: id, Answer: []byte(data)})
}

func (s *session) last(id tl.Int256, data string) {
	s.send(&tl.ClientQueryAnswerPartEx{RequestID: id, Answer: []byte(data), Flags: 1, FinalInfo: tl.ClientQueryFinalInfo{
		Flags: 2, TokensUsed: tl.TokensUsed{PromptTokensUsed: 3, CompletionTokensUsed: 2, TotalTokensUsed: 5},
		ProxyStartTime: 10, ProxyEndTime: 12, WorkerStartTime: 10.5, WorkerEndTime: 11.5,
	}})
}

func (s *session) whole(id tl.Int256, status int32, body string) {
	h := response200("application/json")
	h.StatusCode = status
	s.head(id, h)
	s.last(id, body)
}

// refuse is how our own proxy says no.
func (s *session) refuse(id tl.Int256, status, code int, body string) {
	s.head(id, tl.HTTPResponse{HTTPVersion: "HTTP/1.1", StatusCode: int32(status), Headers: []tl.HTTPHeader{
		{Name: "Content-Type", Value: "application/json"}, {Name: "Transfer-Encoding", Value: "chunked"}, {Name: "X-Cocoon-Error", Value: strconv.Itoa(code)},
		{Name: "Retry-After", Value: "7"},
	}})
	s.last(id, body)
}

func (s *session) send(o tl.Object) {
	if err := s.conn.Send(o); err != nil && !errors.Is(err, wire.ErrClosed) {
		s.p.t.Errorf("proxy cannot send %s: %v", o.TLName(), err)
	}
}
