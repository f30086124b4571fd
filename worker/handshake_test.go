package worker

import (
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/tl"
)

// failure waits until the worker knows why it is not connected.
func (s *stand) failure() string {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, p := range s.w.Snapshot().Proxies {
			if p.Error != "" {
				return p.Error
			}
		}
	}
	s.t.Fatal("worker never says why it is not connected")
	return ""
}

func TestWhatTheWorkerSaysOfItself(t *testing.T) {
	s := start(t, newProxy(t), enginetest.Fast(), func(c *Config) { c.Connections, c.MaxActive, c.Coefficient = 2, 7, 1500 })
	h := s.connected()
	<-h.ready
	want := tl.WorkerParams{Flags: 3 | tl.FlagExtensions, WorkerOwnerAddress: account(3).String(), Model: fullModel,
		Coefficient: 1500, IsTest: true, ProxyCnt: 2, MaxActiveRequests: 7, MinProtoVersion: 1, MaxProtoVersion: 4}
	if got := s.params[0]; got != want {
		t.Errorf("params %+v, want %+v", got, want)
	}
	if got := strings.Join(s.asked[:4], " "); got != "worker.connectToProxy worker.compareBalanceWithProxy worker.proxyHandshakeComplete cocoon.getFeatures" {
		t.Errorf("asked %s", got)
	}
	if s.params[0].WorkerOwnerAddress[:2] != "UQ" {
		t.Errorf("owner is written %s, want it non-bounceable", s.params[0].WorkerOwnerAddress)
	}
}

// Bit 30 authenticates nothing and adds nothing for a proxy that lacks it.
func TestExtensionsAreNegotiated(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*proxy)
		progress bool
	}{
		{"both", func(*proxy) {}, true},
		{"no bit", func(p *proxy) { p.flags = 3 }, false},
		{"bit without knowing", func(p *proxy) { p.features = nil }, false},
		{"nothing in common", func(p *proxy) { p.features = []string{"later"} }, false},
	} {
		p := newProxy(t)
		c.change(p)
		s := start(t, p, enginetest.Chunks(3, 0), nil)
		a := s.connected().run(query(post(pathChat, chat(`,"stream":true`))))
		if a.status != 200 || (len(a.progress) > 0) != c.progress {
			t.Errorf("%s: status %d, progress %v, want some %t", c.name, a.status, a.progress, c.progress)
		}
		s.stop()
	}
}

// A proxy that is not who it says, or takes something back, gets no work.
func TestHandshakeRefusals(t *testing.T) {
	other := account(8)
	for _, c := range []struct {
		name   string
		proxy  func(*proxy)
		config func(*Config)
		want   string
	}{
		{"another registry", nil, func(c *Config) { c.RootAddress = other }, "proxy contract is"},
		{"another owner of ours", nil, func(c *Config) { c.OwnerAddress = other }, "worker contract is"},
		{"test network", func(p *proxy) { p.isTest = false }, nil, "test network"},
		{"version above", func(p *proxy) { p.version = 5 }, nil, "protocol version 5"},
		{"version below", func(p *proxy) { p.version = -1 }, nil, "protocol version -1"},
		{"no flags", func(p *proxy) { p.flags = 0 }, nil, "too old"},
		{"refused", func(p *proxy) { p.refuse = "worker.connectToProxy" }, nil, "worker.connectToProxy: peer refused"},
		{"refused late", func(p *proxy) { p.refuse = "worker.proxyHandshakeComplete" }, nil, "worker.proxyHandshakeComplete: peer refused"},
		{"unlisted image", nil, func(c *Config) { c.CheckImages = true }, "image is not in the registry"},
	} {
		p := newProxy(t)
		if c.proxy != nil {
			c.proxy(p)
		}
		s := start(t, p, enginetest.Fast(), c.config)
		if got := s.failure(); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		s.stop()
	}
}

// What is remembered is claimed again after a loss.
func TestBalanceIsRemembered(t *testing.T) {
	p := newProxy(t)
	p.signed, p.db, p.most = 100, 200, 300
	s := start(t, p, enginetest.Fast(), nil)
	h := s.connected()
	p.mu.Lock()
	p.signed, p.db, p.most = 150, 250, 350
	p.mu.Unlock()
	h.send(&tl.ProxyWorkerRequestPayment{SignedPayment: p.payment(150), DbTokens: 250, MaxTokens: 350})
	h.run(query(post(pathChat, chat("")))) // the payment has been read before it
	h.c.Close(nil)
	s.connected()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.claims) != 2 || p.claims[0] != (tl.WorkerCompareBalanceWithProxy{}) ||
		p.claims[1] != (tl.WorkerCompareBalanceWithProxy{TokensCommittedToBlockchain: 150, TokensCommittedToDb: 250, MaxTokens: 350}) {
		t.Errorf("claims %+v, want nothing and then 150, 250, 350", p.claims)
	}
}

// A restarted proxy has lost what it had only counted. The worker settles for
// less and stays, and claims less from then on.
func TestProxyForgets(t *testing.T) {
	p := newProxy(t)
	p.signed, p.db, p.most = 10, 20, 300
	s := start(t, p, enginetest.Fast(), nil)
	h := s.connected()
	p.mu.Lock()
	p.most, p.comparing = 20, 1
	p.mu.Unlock()
	h.c.Close(nil)
	h = s.connected()
	if a := h.run(query(post(pathChat, chat("")))); a.status != 200 {
		t.Errorf("after the extended comparison: status %d", a.status)
	}
	h.c.Close(nil)
	s.connected()
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := p.claims[len(p.claims)-1]; last.MaxTokens != 20 || last.TokensCommittedToDb != 20 {
		t.Errorf("claims %+v after settling for 20", last)
	}
	if got := strings.Join(p.asked, " "); !strings.Contains(got, "worker.extendedCompareBalanceWithProxy") {
		t.Errorf("asked %s, want the extended comparison", got)
	}
}

// Each way to take back what was promised ends the connection.
func TestDecreasingPayments(t *testing.T) {
	for _, c := range []struct {
		name string
		send func(*proxy) tl.Object
		want string
	}{
		{"signed", func(p *proxy) tl.Object {
			return &tl.ProxyWorkerRequestPayment{SignedPayment: p.payment(99), DbTokens: 200, MaxTokens: 300}
		}, "for 99 tokens"},
		{"stored", func(p *proxy) tl.Object {
			return &tl.ProxyWorkerRequestPayment{SignedPayment: p.payment(100), DbTokens: 199, MaxTokens: 300}
		}, "stored 199 tokens"},
		{"counted", func(p *proxy) tl.Object {
			return &tl.ProxyWorkerRequestPayment{SignedPayment: p.payment(100), DbTokens: 200, MaxTokens: 299}
		}, "counted 299 tokens"},
		{"empty", func(p *proxy) tl.Object {
			return &tl.ProxyWorkerRequestPayment{SignedPayment: &tl.ProxySignedPaymentEmpty{}, DbTokens: 200, MaxTokens: 300}
		}, "missing"},
		{"forged", func(p *proxy) tl.Object {
			m := p.payment(500)
			m.Data[len(m.Data)/2] ^= 1
			return &tl.ProxyWorkerRequestPayment{SignedPayment: m, DbTokens: 500, MaxTokens: 500}
		}, "invalid payment"},
		{"forged with a request", func(p *proxy) tl.Object {
			q := query(post(pathChat, chat("")))
			q.SignedPayment = &tl.ProxySignedPayment{Data: []byte("x")}
			return q
		}, "invalid payment"},
		{"forged alone", func(p *proxy) tl.Object { return &tl.ProxySignedPayment{Data: []byte("x")} }, "invalid payment"},
	} {
		p := newProxy(t)
		p.signed, p.db, p.most = 100, 200, 300
		s := start(t, p, enginetest.Fast(), nil)
		h := s.connected()
		h.send(c.send(p))
		<-h.closed
		if got := s.failure(); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		s.stop()
	}
}

// An older promise that still arrives, because messages overtake each other,
// is not a promise taken back.
func TestOvertakenPromise(t *testing.T) {
	p := newProxy(t)
	own, proxy, key := p.workerContract(), p.contract(), p.public()
	e := &earnings{contract: own, proxy: proxy, key: key[:]}
	asked := e.balance()
	if _, err := e.take(asked, p.payment(20), 30, 40); err != nil {
		t.Fatal(err)
	}
	if _, err := e.take(asked, p.payment(10), 20, 30); err != nil {
		t.Errorf("older answer to an older question: %v", err)
	}
	if got := e.balance(); got != (balance{20, 30, 40}) {
		t.Errorf("balance %+v, want the highest of both", got)
	}
	if _, err := e.take(e.balance(), p.payment(10), 30, 40); err == nil {
		t.Error("a lower promise to a newer question is accepted")
	}
}
