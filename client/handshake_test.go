package client

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

func TestHandshake(t *testing.T) {
	p := &scriptedProxy{version: 4, features: []string{"cancel", "telepathy"}}
	c := newNetwork(t, p).startReady(p.net.config())
	hi := (<-p.conns).hi
	if hi.Params.Flags != 3|tl.FlagExtensions || hi.Params.MinProtoVersion != 1 || hi.Params.MaxProtoVersion != 4 || !hi.Params.IsTest ||
		hi.Params.ClientOwnerAddress != p.net.wallet.String() || hi.MinConfigVersion != 3 {
		t.Errorf("connectToProxy %+v", hi)
	}
	info := c.Snapshot().Connections
	if len(info) != 1 || !info[0].Ready || info[0].Version != 4 || !info[0].CanCancel || info[0].Attestation == "" {
		t.Errorf("connection %+v", info)
	}
}

// Every reason to leave a proxy before it gets a prompt, one change each.
func TestHandshakeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		proxy *scriptedProxy
		cfg   func(*Config)
		want  string
	}{
		"other test mode":       {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) { h.Params.IsTest = false }}, nil, "test networks: false"},
		"no flags":              {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) { h.Params.Flags = 0 }}, nil, "which network"},
		"version of the future": {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) { h.Params.ProtoVersion = 5 }}, nil, "protocol version 5"},
		"version below zero":    {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) { h.Params.ProtoVersion = -1 }}, nil, "protocol version -1"},
		"owner unreadable":      {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) { h.Params.ProxyOwnerAddress = "me" }}, nil, "proxy's owner"},
		"other owner":           {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) { h.Params.ProxyOwnerAddress = testAddress("x").String() }}, nil, "proxy contract is"},
		"other key":             {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) { h.Params.ProxyPublicKey[0]++ }}, nil, "proxy contract is"},
		"other proxy contract":  {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) { h.Params.ProxyScAddress = testAddress("x").String() }}, nil, "proxy contract is"},
		"other client contract": {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) { h.ClientScAddress = testAddress("x").String() }}, nil, "client contract is"},
		"bad payment":           {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) { h.SignedPayment = &tl.ProxySignedPayment{Data: []byte("money")} }}, nil, "invalid payment"},
		"long authorisation":    {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) { h.Auth = &tl.ClientProxyConnectionAuthLong{Nonce: 9} }}, nil, ErrNeedsChain.Error()},
		"other secret": {&scriptedProxy{bend: func(h *tl.ClientConnectedToProxy) {
			h.Auth = &tl.ClientProxyConnectionAuthShort{SecretHash: sha256.Sum256([]byte("theirs"))}
		}}, func(c *Config) { c.Secret = "ours" }, ErrNeedsChain.Error()},
		"empty secret not allowed":     {&scriptedProxy{}, func(c *Config) { c.InsecureEmptySecret = false }, ErrNeedsSecret.Error()},
		"authorisation failed":         {&scriptedProxy{result: &tl.ClientAuthorizationWithProxyFailed{ErrorCode: 602, Error: "no"}}, nil, "code 602"},
		"authorisation is nonsense":    {&scriptedProxy{result: &tl.ClientWorkerTypes{}}, nil, "answers the authorisation with"},
		"bad payment with success":     {&scriptedProxy{result: &tl.ClientAuthorizationWithProxySuccess{SignedPayment: &tl.ProxySignedPayment{}}}, nil, "invalid payment"},
		"image not in the registry":    {&scriptedProxy{}, func(c *Config) { c.CheckImages = true }, "registry does not list"},
		"refused with an error":        {&scriptedProxy{onAsk: func(s *session, q *wire.Query, fn tl.Object) bool { q.Fail(651, "disabled"); return true }}, nil, "disabled"},
		"refused by closing":           {&scriptedProxy{onAsk: func(s *session, q *wire.Query, fn tl.Object) bool { s.conn.Close(nil); return true }}, nil, "closed"},
		"answered with something else": {&scriptedProxy{onAsk: func(s *session, q *wire.Query, fn tl.Object) bool { q.Answer(&tl.ClientWorkerTypes{}); return true }}, nil, "client.connectedToProxy"},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.proxy
			p.version = 4
			cfg := newNetwork(t, p).config()
			if c.cfg != nil {
				c.cfg(&cfg)
			}
			client := p.net.start(cfg)
			reason := ""
			await(t, "a reason", func() bool {
				info := client.Snapshot().Connections
				if len(info) == 1 && info[0].Error != "" {
					reason = info[0].Error
				}
				return reason != ""
			})
			if !strings.Contains(reason, c.want) {
				t.Errorf("reason %q, want %q", reason, c.want)
			}
			if info := client.Snapshot().Connections[0]; info.Ready {
				t.Error("the proxy counts as ready")
			}
		})
	}
}

func TestAddressSpellingsAreEqual(t *testing.T) {
	p := &scriptedProxy{version: 4, bend: func(h *tl.ClientConnectedToProxy) {
		a, _ := contract.ParseAddress(h.Params.ProxyScAddress)
		h.Params.ProxyScAddress = a.Bounce(true).Testnet(true).String()
	}}
	newNetwork(t, p).startReady(p.net.config())
}

// The secret goes only to a proxy that has shown its hash.
func TestSecrets(t *testing.T) {
	hash := func(secret string) func(*tl.ClientConnectedToProxy) {
		return func(h *tl.ClientConnectedToProxy) {
			h.Auth = &tl.ClientProxyConnectionAuthShort{SecretHash: sha256.Sum256([]byte(secret))}
		}
	}
	for _, c := range []struct {
		demand, secret string
		empty          bool
		want           string
	}{
		{"s3cret", "s3cret", false, "s3cret"},
		{"s3cret", "s3cret", true, "s3cret"},
		{"", "s3cret", true, ""},
		{"", "", true, ""},
	} {
		p := &scriptedProxy{version: 4, bend: hash(c.demand)}
		cfg := newNetwork(t, p).config()
		cfg.Secret, cfg.InsecureEmptySecret = c.secret, c.empty
		p.net.startReady(cfg)
		if len(p.auths) != 1 || p.auths[0] != c.want {
			t.Errorf("demand %q, secret %q: sent %q, want %q", c.demand, c.secret, p.auths, c.want)
		}
	}
}

// registrar records registrations, as a chain would.
type registrar struct {
	mu    sync.Mutex
	calls []int64
	err   error
	poor  error

	charged, inflated []int64
}

func (r *registrar) Open(context.Context, *contract.Root, *address.Address, ed25519.PublicKey) error {
	return nil
}
func (r *registrar) Afford(*address.Address, int64) error               { return r.poor }
func (r *registrar) Charged(_ *address.Address, tokens int64, _ []byte) { r.note(&r.charged, tokens) }
func (r *registrar) Inflated(_ *address.Address, payment []byte, _ error) {
	r.note(&r.inflated, int64(len(payment)))
}

func (r *registrar) note(list *[]int64, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, n)
}

func (r *registrar) seen(list *[]int64) []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(*list)
}

func (r *registrar) Register(_ context.Context, client, proxy *address.Address, nonce int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if client == nil || proxy == nil {
		return errors.New("which contract?")
	}
	r.calls = append(r.calls, nonce)
	return r.err
}

func TestLongAuthorisation(t *testing.T) {
	p := &scriptedProxy{version: 4, bend: func(h *tl.ClientConnectedToProxy) { h.Auth = &tl.ClientProxyConnectionAuthLong{Nonce: 77} }}
	cfg := newNetwork(t, p).config()
	chain := &registrar{}
	cfg.Registrar = chain
	p.net.startReady(cfg)
	if len(chain.calls) != 1 || chain.calls[0] != 77 || p.auths[0] != "long" {
		t.Errorf("registered %v, authorised %v", chain.calls, p.auths)
	}
}

// A proxy that sets the bit and knows no such question is one of the reference.
func TestExtensionsBitWithoutTheQuestion(t *testing.T) {
	p := &scriptedProxy{version: 4, features: []string{"cancel"}, onAsk: func(_ *session, q *wire.Query, fn tl.Object) bool {
		if _, ok := fn.(*tl.CocoonGetFeatures); ok {
			q.Fail(0, "Lost promise")
			return true
		}
		return false
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	if info := c.Snapshot().Connections[0]; !info.Ready || info.CanCancel {
		t.Errorf("connection %+v", info)
	}
}

// claims makes the proxy say on authorisation what was used before.
func (p *scriptedProxy) claims(tokens int64) {
	p.onAsk = func(s *session, q *wire.Query, fn tl.Object) bool {
		if _, ok := fn.(*tl.ClientAuthorizeWithProxyShort); !ok {
			return false
		}
		q.Answer(&tl.ClientAuthorizationWithProxySuccess{SignedPayment: &tl.ProxySignedPaymentEmpty{}, MaxTokens: tokens})
		p.conns <- s
		return true
	}
}

func TestPayments(t *testing.T) {
	p := &scriptedProxy{version: 4}
	p.claims(300)
	c := newNetwork(t, p).startReady(p.net.config())
	s := <-p.conns
	account := func() AccountInfo { return c.Snapshot().Accounts[0] }
	s.send(&tl.ProxyClientRequestPayment{SignedPayment: p.payment(100), DbTokens: 120, MaxTokens: 330})
	await(t, "the first payment", func() bool { return account().Signed == 100 })
	s.send(p.payment(150))
	s.send(&tl.ProxyClientRequestPayment{SignedPayment: p.payment(90), DbTokens: 110, MaxTokens: 340})
	s.send(&tl.ProxyClientRequestPayment{SignedPayment: p.payment(200), DbTokens: 220, MaxTokens: 400})
	await(t, "the newest payment", func() bool { return account().Signed == 200 })
	if a := account(); a.Stored != 220 || a.Counted != 400 || a.Fell != 1 {
		t.Errorf("account %+v, want 220 stored, 400 counted, one fall", a)
	}
	other := &scriptedProxy{}
	newNetwork(t, &scriptedProxy{}, other) // its key is not p's
	other.net = p.net
	s.send(other.payment(300))
	<-s.conn.Done()
	if account().Signed != 200 {
		t.Error("a payment of another key was kept")
	}
	await(t, "the reason", func() bool {
		return strings.Contains(c.Snapshot().Connections[0].Error, "invalid payment") || len(p.conns) > 0
	})
}

func TestQueryFromTheProxy(t *testing.T) {
	p := &scriptedProxy{version: 4}
	newNetwork(t, p).startReady(p.net.config())
	s := <-p.conns
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := s.conn.Ask(ctx, &tl.ClientGetWorkerTypes{})
	var refused *wire.QueryError
	if !errors.As(err, &refused) || refused.Message != "Lost promise" {
		t.Errorf("client answers %v, want the reference's refusal", err)
	}
}

func TestConfigReportsAllProblems(t *testing.T) {
	_, err := New(Config{Wallet: "w", MaxBody: 1 << 24, Timeout: -1, APIKeys: []string{" "}})
	for _, want := range []string{"registry", "RATLS", "wallet", "root address", "max body", "limit", "API key"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %q: %v", want, err)
		}
	}
	n := newNetwork(t)
	cfg := n.config()
	cfg.ForwardHeaders = []string{"Content-length"}
	if _, err := New(cfg); err == nil {
		t.Error("Content-Length may be forwarded")
	}
}

// FuzzPacket feeds whatever a proxy may send to the receiving side.
func FuzzPacket(f *testing.F) {
	id := tl.Int256{1}
	for _, o := range []tl.Object{
		&tl.ClientQueryAnswerEx{RequestID: id, Answer: tl.Marshal(&tl.HTTPResponse{StatusCode: 200}), Flags: 1},
		&tl.ClientQueryAnswerPartEx{RequestID: id, Answer: []byte("x")}, &tl.ClientQueryAnswerErrorEx{RequestID: id},
		&tl.ClientQueryAnswer{RequestID: id}, &tl.ClientQueryAnswerPart{RequestID: id}, &tl.ClientQueryAnswerError{RequestID: id},
		&tl.CocoonQueuePosition{RequestID: id}, &tl.ProxyClientRequestPayment{SignedPayment: &tl.ProxySignedPayment{Data: []byte{1}}},
	} {
		f.Add(tl.Marshal(o))
	}
	p := &scriptedProxy{version: 4}
	n := newNetwork(f, p)
	c, err := New(n.config())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		nc, peer, err := n.dial(t.Context(), p.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := wire.Client(t.Context(), nc, handler{}, wire.Config{Peer: peer})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(nil)
		l := newLink(c, p.addr, conn)
		conn.Data = l
		k := newCall(l, true)
		k.id = id
		c.cfg.Tally.Adopt("fuzz", 0, 0)
		if k.spend, err = c.cfg.Tally.Reserve(ledger.Spending{Account: "fuzz", Most: 1000}); err != nil {
			t.Fatal(err)
		}
		l.account = &account{tally: c.cfg.Tally}
		l.calls[id] = k
		handler{}.Packet(conn, data)
		handler{}.Packet(conn, data)
		if ended := l.lookup(id) == nil; ended {
			if _, ok := k.poll(); !ok {
				t.Fatal("the call has ended and its caller was not told")
			}
		}
		k.discard()
		if used := c.memory.used.Load(); used != 0 {
			t.Fatalf("%d bytes are still counted", used)
		}
	})
}
