package worker

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// next waits for the engine's next request.
func (s *stand) next() *enginetest.Request {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := s.engine.Next(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func TestCancellationReachesTheEngine(t *testing.T) {
	for _, c := range []struct {
		name   string
		script enginetest.Script
		end    func(*stand, *proxyConn, *tl.ProxyRunQueryEx)
		begun  bool
		code   int32
		says   string
		gone   bool
	}{
		{"caller before the head", enginetest.HangHead(), cancelQuery, false, wire.CodeCancelled, "", false},
		{"caller in a stream", enginetest.HangAfter(3), cancelQuery, true, 0, "", false},
		{"connection before the head", enginetest.HangHead(), closeConn, false, 0, "", true},
		{"connection in a stream", enginetest.HangAfter(3), closeConn, true, 0, "", true},
		{"shutdown before the head", enginetest.HangHead(), stopWorker, false, wire.CodeNotReady, "", false},
		{"shutdown in a stream", enginetest.HangAfter(3), stopWorker, true, 0, "shutting down", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, newProxy(t), c.script, nil)
			h := s.connected()
			q := query(post(pathChat, chat(`,"stream":true`)))
			h.send(q)
			r := s.next()
			if c.begun {
				h.delivered(t, "tok2")
			}
			c.end(s, h, q)
			<-r.Cancelled
			if c.gone {
				return
			}
			a := h.rest(q.RequestID, c.begun)
			if a.code != c.code || !strings.Contains(a.body(), c.says) {
				t.Errorf("code %d, body %q; want %d, %q", a.code, a.body(), c.code, c.says)
			}
			want := int64(0)
			if c.begun {
				want = 20 + 4 // prompt and the three pieces delivered, as estimated
			}
			if got := a.info.TokensUsed.TotalTokensUsed; got != want {
				t.Errorf("%d tokens, want %d: what was delivered", got, want)
			}
			if c.begun && c.says == "" && strings.Contains(a.body(), "error") {
				t.Errorf("a caller who left gets %q", a.body())
			}
		})
	}
}

func cancelQuery(_ *stand, h *proxyConn, q *tl.ProxyRunQueryEx) {
	h.send(&tl.CocoonCancelQuery{RequestID: newID()}) // of nobody
	h.send(&tl.CocoonCancelQuery{RequestID: q.RequestID})
}
func closeConn(_ *stand, h *proxyConn, _ *tl.ProxyRunQueryEx)  { h.c.Close(nil) }
func stopWorker(s *stand, _ *proxyConn, _ *tl.ProxyRunQueryEx) { go s.stop() }

// delivered reads messages until text has come.
func (h *proxyConn) delivered(t *testing.T, text string) {
	t.Helper()
	for {
		switch m := h.next().(type) {
		case *tl.ProxyQueryAnswerEx:
			if strings.Contains(string(m.Answer), text) {
				return
			}
		case *tl.ProxyQueryAnswerPartEx:
			if strings.Contains(string(m.Answer), text) {
				return
			}
		case *tl.CocoonQueryProgress:
		default:
			t.Fatalf("unexpected %T", m)
		}
	}
}

// rest collects the end of an answer that may have begun.
func (h *proxyConn) rest(id tl.Int256, begun bool) *answer {
	h.p.t.Helper()
	if !begun {
		return h.collect(id)
	}
	a := &answer{}
	for {
		switch m := h.next().(type) {
		case *tl.ProxyQueryAnswerPartEx:
			a.parts = append(a.parts, string(m.Answer))
			if m.Flags&1 != 0 {
				a.info = m.FinalInfo
				return a
			}
		case *tl.CocoonQueryProgress, *tl.WorkerEnabledDisabled:
		default:
			h.p.t.Fatalf("unexpected %T", m)
		}
	}
}

// What cannot be admitted is refused at once, in the form that proxies survive.
func TestAdmission(t *testing.T) {
	s := start(t, newProxy(t), enginetest.Fast(), nil)
	h := s.connected()
	good := func() *tl.ProxyRunQueryEx { return query(post(pathChat, chat(""))) }
	for _, c := range []struct {
		name   string
		change func(*tl.ProxyRunQueryEx)
		code   int32
	}{
		{"below the price", func(q *tl.ProxyRunQueryEx) { q.Coefficient = 999 }, wire.CodeError},
		{"negative price", func(q *tl.ProxyRunQueryEx) { q.Coefficient = -1 }, wire.CodeError},
		{"absurd price", func(q *tl.ProxyRunQueryEx) { q.Coefficient = math.MaxInt64 }, wire.CodeError},
		{"encrypted", func(q *tl.ProxyRunQueryEx) { q.PrivateKey[0] = 1 }, wire.CodeError},
		{"encrypted without key", func(q *tl.ProxyRunQueryEx) { q.Query = query(post(pathChat, chat(`,"is_encrypted":"v1"`))).Query }, wire.CodeError},
		{"no time", func(q *tl.ProxyRunQueryEx) { q.Timeout = 0 }, wire.CodeTimeout},
		{"negative time", func(q *tl.ProxyRunQueryEx) { q.Timeout = -1 }, wire.CodeTimeout},
		{"no number", func(q *tl.ProxyRunQueryEx) { q.Timeout = math.NaN() }, wire.CodeTimeout},
		{"no http.request", func(q *tl.ProxyRunQueryEx) { q.Query = []byte("garbage!") }, wire.CodeProtocol},
		{"empty", func(q *tl.ProxyRunQueryEx) { q.Query = nil }, wire.CodeProtocol},
		{"another model", func(q *tl.ProxyRunQueryEx) {
			q.Query = query(post(pathChat, `{"model":"x","messages":[]}`)).Query
		}, wire.CodeProtocol},
	} {
		q := good()
		c.change(q)
		if a := h.run(q); a.code != c.code || a.status != 0 || a.info.TokensUsed.TotalTokensUsed != 0 {
			t.Errorf("%s: code %d %q status %d, want %d", c.name, a.code, a.text, a.status, c.code)
		}
	}
	q := good()
	q.Timeout = math.Inf(1)
	if a := h.run(q); a.status != 200 {
		t.Errorf("all the time in the world: status %d %s", a.status, a.text)
	}
	if s.engine.Count() != 1 {
		t.Errorf("engine was asked %d times, want once", s.engine.Count())
	}
}

func TestConcurrencyLimit(t *testing.T) {
	s := start(t, newProxy(t), enginetest.HangHead(), func(c *Config) { c.MaxActive = 2 })
	h := s.connected()
	running := []*tl.ProxyRunQueryEx{query(post(pathChat, chat(""))), query(post(pathChat, chat("")))}
	for _, q := range running {
		h.send(q)
		s.next()
	}
	if a := h.run(query(post(pathChat, chat("")))); a.code != wire.CodeError || !strings.Contains(a.text, "too many active queries") {
		t.Errorf("third: %d %q, want 602", a.code, a.text)
	}
	if got := s.w.Snapshot(); got.Status.Active != 2 || got.Proxies[0].Running != 2 {
		t.Errorf("snapshot shows %d and %d running, want 2", got.Status.Active, got.Proxies[0].Running)
	}
	for _, q := range running {
		h.send(&tl.CocoonCancelQuery{RequestID: q.RequestID})
		h.collect(q.RequestID)
	}
	s.engine.SetScript(enginetest.Fast())
	for { // the slot is free a moment after the answer
		if a := h.run(query(post(pathChat, chat("")))); a.status == 200 {
			break
		}
	}
}

// A second request under a running id, or a message that does not parse, ends
// the connection and nothing else; unknown messages do not even that.
func TestBrokenProxy(t *testing.T) {
	s := start(t, newProxy(t), enginetest.HangHead(), nil)
	h := s.connected()
	h.c.SendRaw([]byte("\x01\x02\x03\x04 of a later release"))
	h.send(&tl.CocoonQueuePosition{})
	q := query(post(pathChat, chat("")))
	h.send(q)
	s.next()
	h.send(q)
	<-h.closed
	if got := s.failure(); !strings.Contains(got, "request id is in use") {
		t.Errorf("closed because %s", got)
	}
	h = s.connected()
	raw := tl.Marshal(query(post(pathChat, chat(""))))
	h.c.SendRaw(raw[:len(raw)-4])
	<-h.closed
	s.engine.SetScript(enginetest.Fast())
	if a := s.connected().run(query(post(pathChat, chat("")))); a.status != 200 {
		t.Errorf("afterwards: status %d %s", a.status, a.text)
	}
}

// So it is too where the worker takes nothing at the moment: a refusal under a
// running id would be the end of what runs.
func TestRunningIDWhileRefusing(t *testing.T) {
	s := start(t, newProxy(t), enginetest.HangHead(), nil)
	h := s.connected()
	q := query(post(pathChat, chat("")))
	h.send(q)
	s.next()
	s.w.Disable()
	h.wantDisabled(1)
	h.send(q)
	<-h.closed
	if got := s.failure(); !strings.Contains(got, "request id is in use") {
		t.Errorf("closed because %s", got)
	}
}

func TestProxyQueries(t *testing.T) {
	s := start(t, newProxy(t), enginetest.Fast(), nil)
	h := s.connected()
	features, err := wire.Ask[tl.CocoonFeatures](t.Context(), h.c, &tl.CocoonGetFeatures{})
	if err != nil || len(features.Names) != len(ourFeatures) {
		t.Errorf("features %v, %v", features, err)
	}
	var refused *wire.QueryError
	_, err = wire.Ask[tl.WorkerChangedModel](t.Context(), h.c, &tl.WorkerChangeModel{NewModel: "x"})
	if !errors.As(err, &refused) || refused.Code != wire.CodeError {
		t.Errorf("model change: %v, want 602", err)
	}
	_, err = h.c.Ask(t.Context(), &tl.WorkerUpdatePaymentStatus{})
	if !errors.As(err, &refused) || refused.Code != 0 || refused.Message != "Lost promise" {
		t.Errorf("foreign query: %v, want Lost promise", err)
	}
}

// Proxies hear of every change, in order.
func TestAnnouncements(t *testing.T) {
	s := start(t, newProxy(t), enginetest.Fast(), nil)
	h := s.connected()
	s.w.Disable()
	h.wantDisabled(1)
	if a := h.run(query(post(pathChat, chat("")))); a.code != wire.CodeNotReady {
		t.Errorf("request to a worker that is switched off: %d %q, want 651", a.code, a.text)
	}
	s.w.Disable() // no news
	s.w.Enable()
	h.wantDisabled(0)
	s.engine.SetDown(true)
	h.wantDisabled(1)
	if got := s.w.Snapshot(); got.Status.Enabled || got.Engine.Healthy || !strings.Contains(got.Engine.Error, "503") {
		t.Errorf("snapshot %+v %+v, want an engine that is down", got.Status, got.Engine)
	}
	s.engine.SetDown(false)
	h.wantDisabled(0)
	if err := s.w.SetCoefficient(700); err != nil {
		t.Fatal(err)
	}
	if m, ok := h.next().(*tl.WorkerNewCoefficient); !ok || m.NewCoefficient != 700 {
		t.Errorf("got %#v, want a coefficient of 700", m)
	}
	q := query(post(pathChat, chat("")))
	q.Coefficient = 700
	if a := h.run(q); a.info.TokensUsed.TotalTokensUsed != 7+1 { // 11 and 2, times 0.7, truncated
		t.Errorf("tokens %+v at 0.7", a.info.TokensUsed)
	}
	if s.w.SetCoefficient(-1) == nil || s.w.SetCoefficient(maxCoefficient+1) == nil {
		t.Error("absurd coefficients are accepted")
	}
}

// A worker that connects while it is switched off says so in the handshake.
func TestHandshakeTellsTheState(t *testing.T) {
	s := start(t, newProxy(t), enginetest.Fast(), nil)
	s.connected()
	s.w.Disable()
	s.w.mu.Lock()
	for x := range s.w.sessions {
		x.c.Close(nil)
	}
	s.w.mu.Unlock()
	if h := <-s.conns; !h.disabled {
		t.Error("handshake says enabled")
	}
}

func TestDrain(t *testing.T) {
	s := start(t, newProxy(t), enginetest.Chunks(4, 2*time.Millisecond), nil)
	h := s.connected()
	q := query(post(pathChat, chat(`,"stream":true`)))
	h.send(q)
	s.next()
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.w.Drain(short); err == nil && s.w.Snapshot().Status.Active > 0 {
		t.Error("Drain returns while a request runs")
	}
	if err := s.w.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.w.Snapshot().Status.Active; n != 0 {
		t.Errorf("%d requests run after Drain", n)
	}
	if a := h.collect(q.RequestID); !strings.Contains(a.body(), "[DONE]") {
		t.Errorf("the request was not finished: %q", a.body())
	}
}

// Ending Run lets requests finish, tells proxies, and leaves nothing behind
// (TestMain looks for goroutines).
func TestRunEndsGently(t *testing.T) {
	s := start(t, newProxy(t), enginetest.Chunks(5, 3*time.Millisecond), func(c *Config) { c.DrainTimeout = time.Minute })
	h := s.connected()
	q := query(post(pathChat, chat(`,"stream":true`)))
	h.send(q)
	s.next()
	go s.stop()
	if a := h.collect(q.RequestID); !strings.Contains(a.body(), "[DONE]") || a.info.TokensUsed.CompletionTokensUsed != 5 {
		t.Errorf("last answer %q, %+v", a.body(), a.info)
	}
	<-h.closed
	s.stop()
	if err := s.w.Run(context.Background()); err == nil {
		t.Error("a second Run works")
	}
}

// The engine may close idle connections whenever it likes.
func TestEngineClosesIdleConnections(t *testing.T) {
	s := start(t, newProxy(t), enginetest.Fast(), func(c *Config) { c.ProbeInterval = time.Hour })
	h := s.connected()
	for range 20 {
		if a := h.run(query(post(pathChat, chat("")))); a.status != 200 {
			t.Fatalf("status %d code %d %s", a.status, a.code, a.text)
		}
		s.engine.SetScript(func(w http.ResponseWriter, q *enginetest.Request) {
			w.Header().Set("Connection", "close")
			enginetest.Fast()(w, q)
		})
	}
}

// The registry decides who is worked for.
func TestRegistryChanges(t *testing.T) {
	p := newProxy(t)
	registry := contract.NewMemory(p.root)
	s := start(t, p, enginetest.Fast(), func(c *Config) { c.Registry = registry; c.Connections = 2; c.CheckImages = false })
	first := s.connected()
	more := *p.root
	more.Proxies = nil
	addProxies(&more, "127.0.0.1:11003", "127.0.0.1:11004")
	registry.Set(&more)
	<-first.closed
	s.connected()
	s.connected()
	p.mu.Lock()
	dials := strings.Join(p.dials, " ")
	p.mu.Unlock()
	if !strings.Contains(dials, "11003") || !strings.Contains(dials, "11004") {
		t.Errorf("dialed %s, want both new proxies", dials)
	}
	renewed := more
	renewed.ParamsVersion++
	p.mu.Lock()
	p.root = &renewed
	p.mu.Unlock()
	registry.Set(&renewed)
	s.connected() // both connections begin anew
	s.connected()
}

// A model that leaves the registry is not served any more, and the worker
// says why instead of dying.
func TestModelLeavesTheRegistry(t *testing.T) {
	p := newProxy(t)
	without := *p.root
	without.Models = nil
	s := start(t, p, enginetest.Fast(), func(c *Config) { c.CheckImages = true; c.Registry = contract.NewMemory(&without) })
	got := s.w.Snapshot().Status
	if got.Enabled || got.ActualModel || !strings.Contains(strings.Join(got.NotBecause, ","), "model is not in the registry") {
		t.Errorf("status %+v", got)
	}
}

func TestConfigProblemsAreReportedTogether(t *testing.T) {
	_, err := New(Config{Engine: "ftp://x", Model: "@", Coefficient: -1, MaxActive: -1, Connections: -1})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"engine", "model", "coefficient", "max active", "connections", "owner", "root contract", "registry", "RATLS"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
}

// A proxy that is no longer trusted gets no more work, and the answers it has
// asked for; then its connection ends.
func TestDistrustedProxy(t *testing.T) {
	for name, begin := range map[string]func(*stand, *contract.Memory){
		"judged anew": func(s *stand, _ *contract.Memory) {
			s.w.mu.Lock()
			defer s.w.mu.Unlock()
			for session := range s.w.sessions {
				go session.distrust(errors.New("struck off"))
			}
		},
		"image left the registry": func(s *stand, r *contract.Memory) {
			root := *r.Root()
			root.ProxyImages = nil
			r.Set(&root)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t)
			p.peer = &ratls.Peer{Verdict: &attest.Verdict{ImageHash: attest.Hash{7}}}
			p.root.ProxyImages = map[[32]byte]struct{}{{7}: {}}
			registry := contract.NewMemory(p.root)
			goOn := make(chan struct{})
			s := start(t, p, func(w http.ResponseWriter, q *enginetest.Request) {
				<-goOn
				enginetest.Chunks(4, 0)(w, q)
			}, func(c *Config) { c.Registry, c.CheckImages = registry, true })
			h := s.connected()
			q := query(post(pathChat, chat(`,"stream":true`)))
			h.send(q)
			s.next()
			begin(s, registry)
			h.wantDisabled(1)
			late := query(post(pathChat, chat("")))
			h.send(late)
			if m, ok := h.next().(*tl.ProxyQueryAnswerErrorEx); !ok || m.RequestID != late.RequestID || m.ErrorCode != wire.CodeNotReady {
				t.Errorf("a request after the news: %+v, want to be refused for now", m)
			}
			close(goOn)
			if a := h.collect(q.RequestID); !strings.Contains(a.body(), "[DONE]") {
				t.Errorf("the running request was not finished: %q", a.body())
			}
			<-h.closed
		})
	}
}
