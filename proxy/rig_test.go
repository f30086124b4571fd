package proxy

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

const (
	ownerText = "UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m"
	rootText  = "EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ"
	modelText = "m@commit:hash"
)

var image = [32]byte{1, 2, 3}

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
func (d *door) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// rig is a proxy with doors in memory, to be used inside a synctest bubble.
type rig struct {
	t                *testing.T
	p                *Proxy
	workers, clients *door
	registry         *contract.Memory
	book             *ledger.Ledger
	log              *logBuffer
	stop             context.CancelFunc
	ended            chan error
	peers            []*peer
	wallets          int
}

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

func testRoot(t testing.TB) *contract.Root {
	owner, err := contract.ParseAddress(ownerText)
	if err != nil {
		t.Fatal(err)
	}
	return &contract.Root{
		Owner: owner, Version: 3, ParamsVersion: 1, StructVersion: 1, UniqueID: 13, IsTest: true, PricePerToken: 2, WorkerFeePerToken: 1,
		Multipliers: ledger.Plain, MinClientStake: contract.Ton, MinProxyStake: contract.Ton,
		WorkerImages: map[[32]byte]struct{}{image: {}}, Models: map[[32]byte]struct{}{contract.ModelHash(modelText): {}},
	}
}

// inBubble runs f with a proxy and afterwards demands that it stops cleanly,
// that the ledger balances and that no goroutine is left.
func inBubble(t *testing.T, configure func(*Config), f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, configure)
		defer r.finish() // also when f gives up: no goroutine may outlive the bubble
		f(r)
	})
}

func newRig(t *testing.T, configure func(*Config)) *rig {
	r := &rig{t: t, workers: newDoor(), clients: newDoor(), registry: contract.NewMemory(testRoot(t)), book: newBook(t, ledger.Config{}), log: &logBuffer{}}
	cfg := Config{
		WorkersListener: r.workers, ClientsListener: r.clients, Registry: r.registry, Book: r.book, Seed: 1,
		Key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)), OwnerAddress: ownerText, RootAddress: rootText,
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if configure != nil {
		configure(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.p = p
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.ended = stop, make(chan error, 1)
	go func() { r.ended <- p.Run(ctx) }()
	return r
}

func newBook(t *testing.T, cfg ledger.Config) *ledger.Ledger {
	t.Helper()
	book, err := ledger.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return book
}

func (r *rig) finish() {
	r.t.Helper()
	r.stop()
	if err := <-r.ended; err != nil {
		r.t.Errorf("Run: %v", err)
	}
	for _, p := range r.peers {
		p.conn.Close(nil)
		p.conn.Wait()
	}
	synctest.Wait()
	r.sound()
	if r.t.Failed() {
		r.t.Logf("log:\n%s", r.log)
	}
	for _, secret := range []string{prompt, "the answer"} {
		if strings.Contains(r.log.String(), secret) {
			r.t.Errorf("the log holds %q", secret)
		}
	}
	buf := make([]byte, 1<<20)
	if left := strings.Count(string(buf[:runtime.Stack(buf, true)]), "opencocoon/cocoon/proxy.(*Proxy)"); left > 0 {
		r.t.Errorf("%d goroutines of the proxy are left:\n%s", left, buf)
	}
}

// sound holds when nothing is in flight.
func (r *rig) sound() {
	r.t.Helper()
	if err := r.book.Check(); err != nil {
		r.t.Error(err)
	}
	for _, c := range r.book.Clients() {
		if c.Reserved != 0 || c.Running != 0 {
			r.t.Errorf("client %s still has %d tokens reserved by %d requests", c.Wallet, c.Reserved, c.Running)
		}
	}
	if n := r.p.held.Load(); n != 0 {
		r.t.Errorf("%d bytes of questions are still held", n)
	}
	if r.p.running != 0 || len(r.p.requests()) != 0 {
		r.t.Errorf("%d requests still run, %d are still in tables", r.p.running, len(r.p.requests()))
	}
	for _, m := range r.p.market.Models() {
		if m.Waiting != 0 {
			r.t.Errorf("%d requests still wait for %s", m.Waiting, m.Name)
		}
		for _, o := range m.Offers {
			if o.Running != 0 {
				r.t.Errorf("an offer of %s still has %d requests running", m.Name, o.Running)
			}
		}
	}
}

// peer is a scripted client or worker.
type peer struct {
	r      *rig
	conn   *wire.Conn
	in     chan tl.Object // packets, decoded
	seen   tl.Object      // and not yet taken
	closed chan error
}

func (p *peer) Packet(_ *wire.Conn, data []byte) {
	o, err := tl.Decode(data)
	if err != nil {
		p.r.t.Errorf("the proxy sent a malformed packet: %v", err)
		return
	}
	p.in <- o
}
func (p *peer) Query(_ *wire.Conn, q *wire.Query) { q.Fail(0, "Lost promise") }
func (p *peer) Closed(_ *wire.Conn, err error)    { p.closed <- err }

func (r *rig) dial(d *door, hash [32]byte) *peer {
	r.t.Helper()
	near, far := net.Pipe()
	verdict := &attest.Verdict{Trusted: true, ImageHash: hash, Level: attest.LevelSimulated}
	d.conns <- &ratls.Conn{Conn: far, Peer: &ratls.Peer{Verdict: verdict, Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: len(r.peers)}}}
	p := &peer{r: r, in: make(chan tl.Object, 10_000), closed: make(chan error, 1)}
	conn, err := wire.Client(r.t.Context(), near, p, wire.Config{})
	if err != nil {
		r.t.Fatal(err)
	}
	p.conn = conn
	conn.Start()
	r.peers = append(r.peers, p)
	return p
}

func (p *peer) ask(fn tl.Object) (tl.Object, error) {
	ctx, cancel := context.WithTimeout(p.r.t.Context(), time.Hour)
	defer cancel()
	data, err := p.conn.Ask(ctx, fn)
	if err != nil {
		return nil, err
	}
	return tl.Decode(data)
}

// mustAsk is ask for an answer of a known kind.
func mustAsk[T tl.Object](p *peer, fn tl.Object) T {
	p.r.t.Helper()
	o, err := p.ask(fn)
	if err != nil {
		p.r.t.Fatalf("%s: %v", fn.TLName(), err)
	}
	answer, ok := o.(T)
	if !ok {
		p.r.t.Fatalf("%s was answered with %s", fn.TLName(), o.TLName())
	}
	return answer
}

func (p *peer) send(o tl.Object) {
	p.r.t.Helper()
	if err := p.conn.Send(o); err != nil {
		p.r.t.Fatalf("send %s: %v", o.TLName(), err)
	}
}

// next waits for a packet, an hour of the bubble's time at most.
func (p *peer) next() tl.Object {
	p.r.t.Helper()
	if o := p.seen; o != nil {
		p.seen = nil
		return o
	}
	select {
	case o := <-p.in:
		return o
	case <-time.After(time.Hour):
		p.r.t.Fatal("no packet within an hour")
	}
	return nil
}

// news is next without places in the queue.
func (p *peer) news() tl.Object {
	p.r.t.Helper()
	for {
		o := p.next()
		if _, ok := o.(*tl.CocoonQueuePosition); !ok {
			p.seen = o
			return o
		}
	}
}

// want is next for a packet of a known kind.
func want[T tl.Object](p *peer) T {
	p.r.t.Helper()
	o := p.next()
	m, ok := o.(T)
	if !ok {
		p.r.t.Fatalf("got %s, want %s", o.TLName(), (*new(T)).TLName())
	}
	return m
}

// quiet demands that nothing more comes within a minute.
func (p *peer) quiet() {
	p.r.t.Helper()
	select {
	case o := <-p.in:
		p.r.t.Errorf("got %s, want silence", o.TLName())
	case <-time.After(5 * time.Second):
	}
}

// workerOptions describe a scripted worker; zero values get defaults.
type workerOptions struct {
	version     int32 // exactly this one
	coefficient int32
	limit       int32
	disabled    bool
	features    []string
	owner       string
	model       string
}

func (r *rig) worker(o workerOptions) *peer {
	r.t.Helper()
	w := r.dial(r.workers, image)
	params := tl.WorkerParams{Flags: 3, WorkerOwnerAddress: o.owner, Model: o.model, Coefficient: o.coefficient, IsTest: true, ProxyCnt: 1,
		MaxActiveRequests: o.limit, MinProtoVersion: o.version, MaxProtoVersion: o.version}
	if params.WorkerOwnerAddress == "" {
		params.WorkerOwnerAddress = ownerText
	}
	if params.Model == "" {
		params.Model = modelText
	}
	if params.Coefficient == 0 {
		params.Coefficient = 1000
	}
	if params.MaxActiveRequests == 0 {
		params.MaxActiveRequests = 10
	}
	if o.version == 0 {
		params.Flags = 1
	}
	if o.features != nil {
		params.Flags |= tl.FlagExtensions
	}
	hello := mustAsk[*tl.WorkerConnectedToProxy](w, &tl.WorkerConnectToProxy{Params: params})
	if hello.Params.ProtoVersion != o.version {
		r.t.Fatalf("version %d was chosen, want %d", hello.Params.ProtoVersion, o.version)
	}
	mustAsk[*tl.WorkerCompareBalanceWithProxyResult](w, &tl.WorkerCompareBalanceWithProxy{})
	mustAsk[*tl.WorkerProxyHandshakeCompleted](w, &tl.WorkerProxyHandshakeComplete{IsDisabled: o.disabled})
	if o.features != nil {
		mustAsk[*tl.CocoonFeatures](w, &tl.CocoonGetFeatures{Names: o.features})
	}
	synctest.Wait() // the offer is made right behind the last answer
	return w
}

var allFeatures = []string{tl.FeatureCancel, tl.FeatureProgress, tl.FeatureQueue, tl.FeatureMarket, tl.FeatureFacts}

// client connects a client of the given version with a wallet of its own.
func (r *rig) client(version int32, features []string) *peer {
	r.t.Helper()
	r.wallets++
	return r.clientOf(fmt.Sprintf("0:%064x", r.wallets), version, features)
}

func (r *rig) clientOf(wallet string, version int32, features []string) *peer {
	r.t.Helper()
	c := r.dial(r.clients, [32]byte{})
	params := tl.ClientParams{Flags: 3, ClientOwnerAddress: wallet, IsTest: true, MinProtoVersion: version, MaxProtoVersion: version}
	if version == 0 {
		params.Flags = 1
	}
	if features != nil {
		params.Flags |= tl.FlagExtensions
	}
	hello := mustAsk[*tl.ClientConnectedToProxy](c, &tl.ClientConnectToProxy{Params: params, MinConfigVersion: 3})
	if hello.Params.ProtoVersion != version {
		r.t.Fatalf("version %d was chosen, want %d", hello.Params.ProtoVersion, version)
	}
	mustAsk[*tl.ClientAuthorizationWithProxySuccess](c, &tl.ClientAuthorizeWithProxyShort{})
	if features != nil {
		mustAsk[*tl.CocoonFeatures](c, &tl.CocoonGetFeatures{Names: features})
	}
	return c
}

const prompt = "the secret prompt"

// question is a request as a client sends it; its id is made of n.
func question(n int) *tl.ClientRunQueryEx {
	return &tl.ClientRunQueryEx{ModelName: "m", Query: tl.Marshal(httpRequest()), MaxCoefficient: 4000, MaxTokens: 100, Timeout: 60, RequestID: requestID(n), MinConfigVersion: 3, Flags: 1}
}

func httpRequest() *tl.HTTPRequest {
	return &tl.HTTPRequest{Method: "POST", URL: "/v1/chat/completions", HTTPVersion: "HTTP/1.1",
		Headers: []tl.HTTPHeader{{Name: "Content-Type", Value: "application/json"}}, Payload: []byte(`{"messages":"` + prompt + `"}`)}
}

func requestID(n int) (id tl.Int256) {
	binary.LittleEndian.PutUint64(id[:], uint64(n))
	id[31] = 0xcc
	return id
}

// given waits for the request at the worker.
func (p *peer) given() *tl.ProxyRunQueryEx {
	p.r.t.Helper()
	return want[*tl.ProxyRunQueryEx](p)
}

func response(status int32, payload string, headers ...string) []byte {
	h := &tl.HTTPResponse{HTTPVersion: "HTTP/1.1", StatusCode: status, Reason: "OK", Payload: []byte(payload)}
	for i := 0; i < len(headers); i += 2 {
		h.Headers = append(h.Headers, tl.HTTPHeader{Name: headers[i], Value: headers[i+1]})
	}
	return tl.Marshal(h)
}

func used(n int64) tl.TokensUsed {
	return tl.TokensUsed{PromptTokensUsed: n, TotalTokensUsed: n}
}

func final(n int64) tl.ProxyQueryFinalInfo {
	return tl.ProxyQueryFinalInfo{Flags: 2, TokensUsed: used(n), WorkerStartTime: 100, WorkerEndTime: 101}
}

// head, part and end are the three messages of an ordinary answer.
func (p *peer) head(id tl.Int256) {
	p.r.t.Helper()
	p.send(&tl.ProxyQueryAnswerEx{RequestID: id, Answer: response(200, "", "Content-Type", "text/event-stream", "Transfer-Encoding", "chunked")})
}

func (p *peer) part(id tl.Int256, text string) {
	p.r.t.Helper()
	p.send(&tl.ProxyQueryAnswerPartEx{RequestID: id, Answer: []byte(text)})
}

func (p *peer) end(id tl.Int256, tokens int64) {
	p.r.t.Helper()
	p.send(&tl.ProxyQueryAnswerPartEx{RequestID: id, Answer: []byte("data: [DONE]\n\n"), Flags: 1, FinalInfo: final(tokens)})
}

// serve answers everything at once, until the worker's connection ends.
func (p *peer) serve(tokens int64) {
	go func() {
		for {
			select {
			case o := <-p.in:
				if q, ok := o.(*tl.ProxyRunQueryEx); ok {
					p.conn.Send(&tl.ProxyQueryAnswerEx{RequestID: q.RequestID, Answer: response(200, "", "Transfer-Encoding", "chunked")})
					p.conn.Send(&tl.ProxyQueryAnswerPartEx{RequestID: q.RequestID, Answer: []byte("ok\n"), Flags: 1, FinalInfo: final(tokens)})
				}
			case <-p.conn.Done():
				return
			}
		}
	}()
}

// answered is a whole answer as a client got it.
type answered struct {
	head  tl.HTTPResponse
	body  string
	final tl.ClientQueryFinalInfo
	paid  *tl.ProxyClientRequestPayment // nil if the request was not given to a worker
}

func (a *answered) header(name string) string {
	for _, h := range a.head.Headers {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// answer collects the answer to a request in the Ex form. Paid says that a payment must follow.
func (p *peer) answer(id tl.Int256, paid bool) *answered {
	p.r.t.Helper()
	a := &answered{}
	first := want[*tl.ClientQueryAnswerEx](p)
	if first.RequestID != id {
		p.r.t.Fatalf("answer to %x, want %x", first.RequestID, id)
	}
	if err := tl.Unmarshal(first.Answer, &a.head); err != nil {
		p.r.t.Fatal(err)
	}
	a.body = string(a.head.Payload)
	if first.Flags&1 != 0 {
		a.final = first.FinalInfo
	} else {
		p.rest(id, a)
	}
	if paid {
		a.paid = p.payment(id)
	}
	return a
}

func (p *peer) rest(id tl.Int256, a *answered) {
	p.r.t.Helper()
	for {
		part := want[*tl.ClientQueryAnswerPartEx](p)
		if part.RequestID != id {
			p.r.t.Fatalf("part of %x, want %x", part.RequestID, id)
		}
		a.body += string(part.Answer)
		if part.Flags&1 != 0 {
			a.final = part.FinalInfo
			return
		}
	}
}

func (p *peer) payment(id tl.Int256) *tl.ProxyClientRequestPayment {
	p.r.t.Helper()
	pay := want[*tl.ProxyClientRequestPayment](p)
	if pay.RequestID != id {
		p.r.t.Fatalf("payment for %x, want %x", pay.RequestID, id)
	}
	return pay
}

// refusedWith checks an answer that is an error: status, code of the network and of the API.
func (a *answered) refusedWith(t *testing.T, status int32, network, api string) {
	t.Helper()
	if a.head.StatusCode != status || a.header("X-Cocoon-Error") != network || !strings.Contains(a.body, `"code":"`+api+`"`) && api != "" {
		t.Errorf("status %d, code %s, body %s, want %d, %s, %s", a.head.StatusCode, a.header("X-Cocoon-Error"), a.body, status, network, api)
	}
	if a.header("Transfer-Encoding") != "chunked" || a.header("Content-Type") != "application/json" {
		t.Errorf("headers %v", a.head.Headers)
	}
}

func queryError(t *testing.T, err error, code int32, text string) {
	t.Helper()
	var qe *wire.QueryError
	if !errors.As(err, &qe) || qe.Code != code || !strings.Contains(qe.Message, text) {
		t.Errorf("got %v, want code %d %q", err, code, text)
	}
}
