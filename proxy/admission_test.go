package proxy

import (
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

func clientHello() *tl.ClientConnectToProxy {
	return &tl.ClientConnectToProxy{Params: tl.ClientParams{Flags: 3, ClientOwnerAddress: ownerText, IsTest: true, MinProtoVersion: 1, MaxProtoVersion: 2}, MinConfigVersion: 3}
}

func workerHello() *tl.WorkerConnectToProxy {
	return &tl.WorkerConnectToProxy{Params: tl.WorkerParams{Flags: 3, WorkerOwnerAddress: ownerText, Model: modelText, Coefficient: 1000, IsTest: true,
		ProxyCnt: 1, MaxActiveRequests: 10, MinProtoVersion: 3, MaxProtoVersion: 4}}
}

// refusedAndClosed demands the refusal and then the end of the connection.
func (p *peer) refusedAndClosed(what string, err error, code int32, text string) {
	p.r.t.Helper()
	queryError(p.r.t, err, code, text)
	select {
	case <-p.closed:
	case <-time.After(time.Minute):
		p.r.t.Errorf("%s: the connection is still open", what)
	}
}

// The rows of wire.md section 4.2, each as one change of a good hello, and in
// the order of the table: every row is also wrong in all ways that come after it.
func TestClientAdmission(t *testing.T) {
	rows := []struct {
		name string
		do   func(q *tl.ClientConnectToProxy)
		code int32
		text string
	}{
		{"flags", func(q *tl.ClientConnectToProxy) { q.Params.Flags = 2 }, 602, "tool old client"},
		{"test mode", func(q *tl.ClientConnectToProxy) { q.Params.IsTest = false }, 602, "test mode mismatch"},
		{"address", func(q *tl.ClientConnectToProxy) { q.Params.ClientOwnerAddress = "nonsense" }, 0, "Failed to parse account address"},
		{"configuration", func(q *tl.ClientConnectToProxy) { q.MinConfigVersion = 4 }, 602, "active config version is too low"},
		{"unsigned configuration", func(q *tl.ClientConnectToProxy) { q.MinConfigVersion = -1 }, 602, "active config version is too low"},
		{"version", func(q *tl.ClientConnectToProxy) { q.Params.MinProtoVersion, q.Params.MaxProtoVersion = 5, 9 }, 621, "cannot choose common protocol version"},
	}
	inBubble(t, nil, func(r *rig) {
		for i, row := range rows {
			q := clientHello()
			row.do(q)
			for _, later := range rows[i+1:] {
				if row.name != "flags" { // with flags 2 the test mode is not even there
					later.do(q)
				}
			}
			c := r.dial(r.clients, [32]byte{})
			_, err := c.ask(q)
			c.refusedAndClosed(row.name, err, row.code, row.text)
		}
		// A reversed range meets nothing.
		q := clientHello()
		q.Params.MinProtoVersion, q.Params.MaxProtoVersion = 3, 1
		c := r.dial(r.clients, [32]byte{})
		_, err := c.ask(q)
		c.refusedAndClosed("reversed versions", err, 621, "cannot choose common protocol version")
	})
}

// The rows of wire.md section 5.2, likewise.
func TestWorkerAdmission(t *testing.T) {
	rows := []struct {
		name string
		do   func(q *tl.WorkerConnectToProxy)
		code int32
		text string
	}{
		{"flags", func(q *tl.WorkerConnectToProxy) { q.Params.Flags = 2 }, 602, "too old worker"},
		{"test mode", func(q *tl.WorkerConnectToProxy) { q.Params.IsTest = false }, 602, "test mode mismatch"},
		{"no model", func(q *tl.WorkerConnectToProxy) { q.Params.Model = "" }, 621, "invalid worker hash or worker type"},
		{"coefficient", func(q *tl.WorkerConnectToProxy) { q.Params.Coefficient = -1 }, 621, "invalid coefficient value"},
		{"requests", func(q *tl.WorkerConnectToProxy) { q.Params.MaxActiveRequests = 0 }, 621, "invalid max_active_requests value"},
		{"proxies", func(q *tl.WorkerConnectToProxy) { q.Params.ProxyCnt = 0 }, 621, "invalid proxy_cnt value"},
		{"unknown model", func(q *tl.WorkerConnectToProxy) {
			if q.Params.Model != "" {
				q.Params.Model = "other"
			}
		}, 621, "invalid worker model 'other'"},
		{"version", func(q *tl.WorkerConnectToProxy) { q.Params.MinProtoVersion, q.Params.MaxProtoVersion = 5, 9 }, 621, "cannot choose common protocol version"},
		{"address", func(q *tl.WorkerConnectToProxy) { q.Params.WorkerOwnerAddress = "" }, 0, "Failed to parse account address"},
	}
	inBubble(t, func(c *Config) { c.CheckImages = true }, func(r *rig) {
		w := r.dial(r.workers, [32]byte{9})
		_, err := w.ask(workerHello())
		w.refusedAndClosed("image", err, 621, "invalid worker image hash 09000000")
		w = r.dial(r.workers, [32]byte{})
		_, err = w.ask(workerHello())
		w.refusedAndClosed("no image", err, 621, "invalid worker image hash 0000")
		for i, row := range rows {
			q := workerHello()
			row.do(q)
			for _, later := range rows[i+1:] {
				if row.name != "flags" {
					later.do(q)
				}
			}
			w := r.dial(r.workers, image)
			_, err := w.ask(q)
			w.refusedAndClosed(row.name, err, row.code, row.text)
		}
		q := workerHello()
		q.Params.Model = strings.Repeat("m", maxModel+1)
		w = r.dial(r.workers, image)
		_, err = w.ask(q)
		w.refusedAndClosed("long model", err, 621, "invalid worker hash or worker type")
		q = workerHello()
		q.Params.Coefficient = maxCoefficient
		w = r.dial(r.workers, image)
		_, err = w.ask(q)
		w.refusedAndClosed("high coefficient", err, 621, "invalid coefficient value")
		r.worker(workerOptions{version: 4}) // and the good one is admitted
	})
}

// Without checking, images and models of any kind pass.
func TestWorkerAdmissionUnchecked(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w := r.dial(r.workers, [32]byte{})
		q := workerHello()
		q.Params.Model = "anything"
		mustAsk[*tl.WorkerConnectedToProxy](w, q)
	})
}

// Checking cannot be left off outside a test network.
func TestCheckingIsForced(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		root := *testRoot(t)
		root.IsTest = false
		r.p.terms.Store(&terms{Root: &root})
		if err := r.p.adopt(&root); err != nil {
			t.Fatal(err)
		}
		if !r.p.terms.Load().check {
			t.Error("images are not checked although the network is no test network")
		}
	})
}

// Things said at the wrong door, at the wrong time, or not understood.
func TestWrongPlaceAndTime(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		for _, x := range []struct {
			name   string
			door   *door
			say    []tl.Object // all but the last are answered well
			code   int32
			text   string
			closes bool
		}{
			{"worker at the clients' door", r.clients, []tl.Object{workerHello()}, 621, "worker connect() from non worker", false},
			{"worker status at the clients' door", r.clients, []tl.Object{&tl.WorkerUpdatePaymentStatus{}}, 621, "worker request from non worker", false},
			{"client at the workers' door", r.workers, []tl.Object{clientHello()}, 621, "client connect() from non client", false},
			{"client status at the workers' door", r.workers, []tl.Object{&tl.ClientUpdatePaymentStatus{}}, 621, "client request from non client", false},
			{"types at the workers' door", r.workers, []tl.Object{&tl.ClientGetWorkerTypesV2{}}, 621, "expected client connection", false},
			{"unknown to the proxy", r.clients, []tl.Object{&tl.ClientRequestRefund{}}, 0, "Lost promise", false},
			{"unknown to workers' door", r.workers, []tl.Object{&tl.ClientRequestRefund{}}, 0, "Lost promise", false},
			{"features before the handshake", r.clients, []tl.Object{&tl.CocoonGetFeatures{}}, 621, "non-ready", false},
			{"features of a worker before", r.workers, []tl.Object{&tl.CocoonGetFeatures{}}, 0, "Lost promise", false},
			{"client status too early", r.clients, []tl.Object{&tl.ClientUpdatePaymentStatus{}}, 621, "non-ready", false},
			{"types too early", r.clients, []tl.Object{clientHello(), &tl.ClientGetWorkerTypesV2{}}, 621, "non-ready", false},
			{"worker status too early", r.workers, []tl.Object{&tl.WorkerUpdatePaymentStatus{}}, 621, "non-ready", false},
			{"authorisation first", r.clients, []tl.Object{&tl.ClientAuthorizeWithProxyShort{}}, 0, "", true},
			{"hello twice", r.clients, []tl.Object{clientHello(), clientHello()}, 0, "expected auth message", true},
			{"wrong secret", r.clients, []tl.Object{clientHello(), &tl.ClientAuthorizeWithProxyShort{Data: []byte("x")}}, 0, "sha256 mismatch", true},
			{"authorised twice", r.clients, []tl.Object{clientHello(), &tl.ClientAuthorizeWithProxyShort{}, &tl.ClientAuthorizeWithProxyShort{}}, 0, "already authorized", true},
			{"features without the bit", r.clients, []tl.Object{clientHello(), &tl.ClientAuthorizeWithProxyShort{}, &tl.CocoonGetFeatures{}}, 0, "Lost promise", false},
			{"worker out of order", r.workers, []tl.Object{workerHello(), &tl.WorkerProxyHandshakeComplete{}}, 0, "", true},
			{"compare first", r.workers, []tl.Object{&tl.WorkerCompareBalanceWithProxy{}}, 0, "", true},
			{"worker ready twice", r.workers, []tl.Object{workerHello(), &tl.WorkerCompareBalanceWithProxy{}, &tl.WorkerProxyHandshakeComplete{}, &tl.WorkerProxyHandshakeComplete{}}, 0, "connection is already ready", true},
			{"long authorisation is enough without a chain", r.clients, []tl.Object{clientHello(), &tl.ClientAuthorizeWithProxyLong{}, &tl.ClientRequestRefund{}}, 0, "Lost promise", false},
		} {
			p := r.dial(x.door, image)
			for _, fn := range x.say[:len(x.say)-1] {
				if _, err := p.ask(fn); err != nil {
					t.Fatalf("%s: %s: %v", x.name, fn.TLName(), err)
				}
			}
			_, err := p.ask(x.say[len(x.say)-1])
			if x.closes {
				p.refusedAndClosed(x.name, err, x.code, x.text)
				continue
			}
			queryError(t, err, x.code, x.text)
			if _, err := p.ask(&tl.ClientRequestRefund{}); p.conn.Err() != nil {
				t.Errorf("%s: the connection was closed: %v", x.name, err)
			}
		}
	})
}

// One who never finishes the handshake does not hold a place for ever.
func TestUnfinishedHandshake(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		for _, d := range []*door{r.clients, r.workers} {
			p := r.dial(d, image)
			start := time.Now()
			select {
			case <-p.closed:
			case <-time.After(time.Hour):
				t.Fatal("still connected after an hour")
			}
			if d := time.Since(start); d > clientHandshakeLimit+time.Minute {
				t.Errorf("closed after %s", d)
			}
		}
	})
}

// A worker that remembers more than the ledger ever committed is sent away,
// and nobody else notices; one that remembers more work than was committed goes on.
func TestBalanceComparison(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		witness, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		witness.serve(50)
		c.send(question(1))
		c.answer(requestID(1), true)
		time.Sleep(3 * time.Second) // two commits
		for _, x := range []struct {
			claim   tl.WorkerCompareBalanceWithProxy
			refused bool
			code    int32
		}{
			{tl.WorkerCompareBalanceWithProxy{}, false, 0},
			{tl.WorkerCompareBalanceWithProxy{TokensCommittedToBlockchain: 50, TokensCommittedToDb: 50, MaxTokens: 50}, false, 0},
			{tl.WorkerCompareBalanceWithProxy{TokensCommittedToBlockchain: 50, TokensCommittedToDb: 50, MaxTokens: 51}, false, 1},
			{tl.WorkerCompareBalanceWithProxy{TokensCommittedToBlockchain: 51, TokensCommittedToDb: 50, MaxTokens: 51}, true, 0},
			{tl.WorkerCompareBalanceWithProxy{TokensCommittedToBlockchain: 50, TokensCommittedToDb: 51, MaxTokens: 51}, true, 0},
			{tl.WorkerCompareBalanceWithProxy{TokensCommittedToBlockchain: math.MaxInt64, TokensCommittedToDb: math.MaxInt64, MaxTokens: math.MaxInt64}, true, 0},
		} {
			w := r.dial(r.workers, image)
			mustAsk[*tl.WorkerConnectedToProxy](w, workerHello())
			if x.refused {
				_, err := w.ask(&x.claim)
				w.refusedAndClosed("over-claim", err, 621, "the ledger has 50 and 50")
				continue
			}
			got := mustAsk[*tl.WorkerCompareBalanceWithProxyResult](w, &x.claim)
			pay, ok := got.SignedPayment.(*tl.ProxySignedPayment)
			if !ok || got.ErrorCode != x.code || got.MaxTokens != 50 || got.TokensCommittedToDb != 50 {
				t.Errorf("%+v: %+v", x.claim, got)
			}
			if tokens := r.verify(pay, contract.Payout, ownerText); tokens != 50 {
				t.Errorf("signed %d tokens, want 50", tokens)
			}
			if x.code == 1 {
				if ext := mustAsk[*tl.WorkerExtendedCompareBalanceWithProxyResult](w, &tl.WorkerExtendedCompareBalanceWithProxy{TokensCommittedToDb: 50}); ext.ErrorCode != 0 {
					t.Errorf("extended comparison: %d", ext.ErrorCode)
				}
			}
			mustAsk[*tl.WorkerProxyHandshakeCompleted](w, &tl.WorkerProxyHandshakeComplete{})
		}
		c.send(question(2))
		c.answer(requestID(2), true)
	})
}

// verify reads a payment as the peer would.
func (r *rig) verify(pay *tl.ProxySignedPayment, kind contract.PaymentKind, who string) int64 {
	r.t.Helper()
	tt := r.p.terms.Load()
	address, err := contract.ParseAddress(who)
	if err != nil {
		r.t.Fatal(err)
	}
	mine, err := tt.WorkerAddress(address, tt.proxy, r.p.public())
	if kind == contract.Charge {
		mine, err = tt.ClientAddress(address, tt.proxy, r.p.public())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := contract.VerifyPayment(pay.Data, kind, mine, r.p.public())
	if err != nil {
		r.t.Fatal(err)
	}
	return p.Tokens
}

// The rows of wire.md section 4.4: what the caller reads, and that nothing was
// given to a worker, so that no payment follows.
func TestRequestAdmission(t *testing.T) {
	for _, x := range []struct {
		name    string
		do      func(r *rig, q *tl.ClientRunQueryEx)
		status  int32
		network string
		api     string
	}{
		{"negative max_tokens", func(r *rig, q *tl.ClientRunQueryEx) { q.MaxTokens = -1 }, 400, "621", "invalid_value"},
		{"max_tokens above the balance", func(r *rig, q *tl.ClientRunQueryEx) { q.MaxTokens = math.MaxInt32 }, 402, "602", "insufficient_quota"},
		{"registry too old", func(r *rig, q *tl.ClientRunQueryEx) { q.MinConfigVersion = 4 }, 503, "602", "no_proxy"},
		{"registry, unsigned", func(r *rig, q *tl.ClientRunQueryEx) { q.MinConfigVersion = -1 }, 503, "602", "no_proxy"},
		{"encrypted", func(r *rig, q *tl.ClientRunQueryEx) { q.Flags, q.PublicKey = 3, tl.Int256{1} }, 400, "602", "invalid_value"},
		{"disabled", func(r *rig, q *tl.ClientRunQueryEx) { r.p.SetEnabled(false) }, 503, "651", "no_proxy"},
		{"reservation above the balance", func(r *rig, q *tl.ClientRunQueryEx) { q.MaxTokens, q.MaxCoefficient = 400_000_000, 4000 }, 402, "602", "insufficient_quota"},
		{"unknown model", func(r *rig, q *tl.ClientRunQueryEx) { q.ModelName = "x" }, 404, "621", "model_not_found"},
		{"another revision", func(r *rig, q *tl.ClientRunQueryEx) { q.ModelName = modelText + "0" }, 404, "621", "model_not_found"},
		{"too dear", func(r *rig, q *tl.ClientRunQueryEx) { q.MaxCoefficient = 999 }, 409, "651", "price_above_ceiling"},
		{"not HTTP", func(r *rig, q *tl.ClientRunQueryEx) { q.Query = []byte("nonsense") }, 400, "621", "invalid_value"},
		{"empty", func(r *rig, q *tl.ClientRunQueryEx) { q.Query = nil }, 400, "621", "invalid_value"},
		{"HTTP with something behind", func(r *rig, q *tl.ClientRunQueryEx) { q.Query = append(q.Query, 0, 0, 0, 0) }, 400, "621", "invalid_value"},
		{"another object", func(r *rig, q *tl.ClientRunQueryEx) { q.Query = response(200, "") }, 400, "621", "invalid_value"},
		{"no time", func(r *rig, q *tl.ClientRunQueryEx) { q.Timeout = 0 }, 400, "621", "invalid_value"},
		{"negative time", func(r *rig, q *tl.ClientRunQueryEx) { q.Timeout = -1 }, 400, "621", "invalid_value"},
		{"time is not a number", func(r *rig, q *tl.ClientRunQueryEx) { q.Timeout = math.NaN() }, 400, "621", "invalid_value"},
	} {
		t.Run(x.name, func(t *testing.T) {
			inBubble(t, nil, func(r *rig) {
				w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
				q := question(1)
				x.do(r, q)
				c.send(q)
				a := c.answer(q.RequestID, false)
				a.refusedWith(t, x.status, x.network, x.api)
				if a.final.TokensUsed != (tl.TokensUsed{}) {
					t.Errorf("a refused request cost %+v", a.final.TokensUsed)
				}
				c.quiet()
				w.quiet()
				if n := r.p.stats.rejected.Total(); n != 1 {
					t.Errorf("%d rejections counted", n)
				}
				r.p.SetEnabled(true)
				good := question(2)
				c.send(good)
				w.head(w.given().RequestID) // the connection goes on
				c.next()
			})
		})
	}
}

// Infinite time is as long as a request may take at all.
func TestEndlessTimeout(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		q := question(1)
		q.Timeout = math.Inf(1)
		c.send(q)
		if got := w.given().Timeout; got != maxTimeout.Seconds()*workerShare {
			t.Errorf("the worker got %v s", got)
		}
	})
}

// A client whose contract closes gets nothing, and the message says why.
func TestClosingClient(t *testing.T) {
	inBubble(t, func(c *Config) { c.Book = &closing{Ledger: c.Book.(*ledger.Ledger)} }, func(r *rig) {
		r.worker(workerOptions{version: 4})
		c := r.client(4, nil)
		r.p.book.(*closing).state = ledger.Closing
		c.send(question(1))
		c.answer(requestID(1), false).refusedWith(t, 402, "651", "insufficient_quota")
		late := r.dial(r.clients, [32]byte{})
		_, err := late.ask(clientHello())
		late.refusedAndClosed("closing", err, 602, "client is closing")
	})
}

// closing is a book whose clients are in a state of the test's choice.
type closing struct {
	*ledger.Ledger
	state ledger.State
}

func (b *closing) OpenClient(wallet string) (ledger.Client, error) {
	c, err := b.Ledger.OpenClient(wallet)
	c.State = b.state
	return c, err
}

// While disabled, nobody is admitted at either door.
func TestDisabledDoors(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.p.SetEnabled(false)
		c, w := r.dial(r.clients, [32]byte{}), r.dial(r.workers, image)
		_, err := c.ask(clientHello())
		c.refusedAndClosed("client", err, wire.CodeNotReady, "not participating")
		_, err = w.ask(workerHello())
		w.refusedAndClosed("worker", err, wire.CodeNotReady, "not participating")
		r.p.SetEnabled(true)
		r.client(1, nil)
	})
}

func TestConfigProblems(t *testing.T) {
	_, err := New(Config{})
	if err == nil {
		t.Fatal("an empty configuration was accepted")
	}
	for _, want := range []string{"WorkersListener is missing", "ClientsListener is missing", "Registry is missing", "Key has 0 bytes", "OwnerAddress", "RootAddress"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
}

// Beyond the limit a connection is closed at once; when one leaves, there is room again.
func TestConnectionLimit(t *testing.T) {
	inBubble(t, func(c *Config) { c.MaxConnections = 3 }, func(r *rig) {
		first := r.client(4, nil)
		r.client(4, nil)
		r.client(4, nil)
		near, far := net.Pipe()
		r.clients.conns <- far
		if _, err := near.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the fourth connection: %v, want EOF", err)
		}
		r.worker(workerOptions{version: 4}) // the other door has its own limit
		first.conn.Close(nil)
		synctest.Wait()
		r.client(4, nil)
	})
}
