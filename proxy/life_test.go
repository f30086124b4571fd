package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/tl"
)

// A stop lets running requests finish, refuses new ones, and ends.
func TestStopDrains(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(question(1))
		id := w.given().RequestID
		w.head(id)
		want[*tl.ClientQueryAnswerEx](c)
		r.stop()
		synctest.Wait()
		c.send(question(2))
		c.answer(requestID(2), false).refusedWith(t, 503, "651", "no_proxy")
		time.Sleep(20 * time.Second)
		w.end(id, 5)
		a := &answered{}
		c.rest(requestID(1), a)
		if a.final.TokensUsed != used(5) || c.payment(requestID(1)).RequestTokens != 5 {
			t.Errorf("%+v", a)
		}
		<-c.closed
		<-w.closed
	})
}

// What takes longer than the drain limit fails in good form, with what was delivered booked.
func TestStopHasALimit(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4, features: allFeatures, limit: 3}), r.client(4, nil)
		silent := question(1)
		silent.Timeout = 3000
		c.send(silent)
		w.given()
		streaming := question(2)
		streaming.Timeout = 3000
		c.send(streaming)
		id := w.given().RequestID
		w.head(id)
		w.part(id, "data: 1\n\n")
		w.send(&tl.CocoonQueryProgress{RequestID: id, TokensUsed: used(6)})
		want[*tl.ClientQueryAnswerEx](c)
		want[*tl.ClientQueryAnswerPartEx](c)
		start := time.Now()
		r.stop()
		var sawHead, sawEvent bool
		for !sawHead || !sawEvent {
			switch m := c.next().(type) {
			case *tl.ClientQueryAnswerEx:
				var h tl.HTTPResponse
				if err := tl.Unmarshal(m.Answer, &h); err != nil || h.StatusCode != 503 {
					t.Errorf("status %d, %v", h.StatusCode, err)
				}
				sawHead = true
			case *tl.ClientQueryAnswerPartEx:
				if m.RequestID == requestID(2) && strings.Contains(string(m.Answer), "proxy is stopping") && m.FinalInfo.TokensUsed == used(6) {
					sawEvent = true
				}
			}
		}
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("failed after %s, want the drain limit", d)
		}
		<-c.closed
	})
}

// A door that cannot accept any more ends the proxy with the reason.
func TestBrokenDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.workers.Close()
		if err := <-r.ended; err == nil || !strings.Contains(err.Error(), "accept") {
			t.Errorf("Run: %v", err)
		}
		r.ended <- nil
		r.finish()
	})
}

// A worker that loses its approval finishes what it runs and gets nothing more.
func TestDelistedWorker(t *testing.T) {
	for name, change := range map[string]func(root *contract.Root){
		"image": func(root *contract.Root) { root.WorkerImages = nil },
		"model": func(root *contract.Root) { root.Models = nil },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(c *Config) { c.CheckImages = true }, func(r *rig) {
				busy, idle, c := r.worker(workerOptions{version: 4, coefficient: 500}), r.worker(workerOptions{version: 4}), r.client(4, nil)
				c.send(question(1))
				id := busy.given().RequestID
				busy.head(id)
				root := *testRoot(t)
				root.Version = 4
				change(&root)
				r.registry.Set(&root)
				<-idle.closed
				if busy.conn.Err() != nil {
					t.Fatal("the worker was cut off in the middle of an answer")
				}
				busy.send(&tl.WorkerEnabledDisabled{Disabled: 0}) // it cannot enable itself again
				c.send(question(2))
				c.answerFirst(requestID(1))
				busy.end(id, 5)
				<-busy.closed
				var a answered
				c.rest(requestID(1), &a)
				if c.payment(requestID(1)).RequestTokens != 5 {
					t.Error("the last request was not paid")
				}
				c.answer(requestID(2), false).refusedWith(t, 503, "651", "no_worker")
			})
		})
	}
}

func (p *peer) answerFirst(id tl.Int256) {
	p.r.t.Helper()
	if got := want[*tl.ClientQueryAnswerEx](p); got.RequestID != id {
		p.r.t.Fatalf("answer to %x, want %x", got.RequestID, id)
	}
}

// One that never finishes is cut off at the drain limit.
func TestDelistedWorkerIsCutOff(t *testing.T) {
	inBubble(t, func(c *Config) { c.CheckImages = true }, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		q := question(1)
		q.Timeout = 3000
		c.send(q)
		w.given()
		root := *testRoot(t)
		root.WorkerImages = nil
		start := time.Now()
		r.registry.Set(&root)
		<-w.closed
		if d := time.Since(start); d < 30*time.Second || d > 36*time.Second {
			t.Errorf("cut off after %s", d)
		}
		c.answer(q.RequestID, true).refusedWith(t, 502, "651", "connection_lost")
	})
}

// New parameters: what runs is finished, everybody reconnects, and accounts begin anew at another contract.
func TestNewParameters(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		before := r.p.Snapshot().Contract
		c.send(question(1))
		id := w.given().RequestID
		root := *testRoot(t)
		root.Version, root.ParamsVersion, root.PricePerToken = 4, 2, 20
		r.registry.Set(&root)
		synctest.Wait()
		_, err := r.dial(r.clients, [32]byte{}).ask(clientHello())
		queryError(t, err, 651, "not participating")
		w.head(id)
		w.end(id, 7)
		c.answer(requestID(1), true)
		<-w.closed
		<-c.closed
		synctest.Wait()
		after := r.p.Snapshot().Contract
		if after.ParamsVersion != 2 || after.Address == before.Address {
			t.Errorf("contract %+v, before %+v", after, before)
		}
		w, c = r.worker(workerOptions{version: 4}), r.client(4, nil)
		w.serve(3)
		c.send(question(2))
		if a := c.answer(requestID(2), true); a.paid.MaxTokens != 3 {
			t.Errorf("the new account begins at %d", a.paid.MaxTokens-3)
		}
	})
}

// A registry that goes back or changes the kind of network is refused; the old one stays.
func TestRegistryRefusals(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w := r.worker(workerOptions{version: 4})
		for _, change := range []func(root *contract.Root){
			func(root *contract.Root) { root.IsTest = false },
			func(root *contract.Root) { root.ParamsVersion = 0 },
			func(root *contract.Root) { root.WorkerFeePerToken = 100 },
		} {
			root := *testRoot(t)
			root.Version = 9
			change(&root)
			r.registry.Set(&root)
			synctest.Wait()
			if r.p.terms.Load().Version != 3 || w.conn.Err() != nil {
				t.Errorf("version %d, worker %v", r.p.terms.Load().Version, w.conn.Err())
			}
		}
	})
}

// chain is a registrar of the test's choice.
type chain struct {
	secret  *[32]byte
	arrived chan struct{}
}

func (c *chain) Known(*address.Address) ([32]byte, bool, error) {
	if c.secret == nil {
		return [32]byte{}, false, nil
	}
	return *c.secret, true, nil
}

func (c *chain) Await(ctx context.Context, _ *address.Address, nonce int64) error {
	select {
	case <-c.arrived:
		return nil
	case <-ctx.Done():
		return errors.New("never registered")
	}
}

// The long authorisation waits for the chain without holding up the connection.
func TestLongAuthorisation(t *testing.T) {
	registrar := &chain{arrived: make(chan struct{})}
	inBubble(t, func(c *Config) {
		registrar.arrived = make(chan struct{})
		c.Registrar = registrar
	}, func(r *rig) {
		c := r.dial(r.clients, [32]byte{})
		hello := mustAsk[*tl.ClientConnectedToProxy](c, clientHello())
		if long, ok := hello.Auth.(*tl.ClientProxyConnectionAuthLong); !ok || long.Nonce == 0 {
			t.Fatalf("demand %+v", hello.Auth)
		}
		done := make(chan error, 1)
		go func() {
			_, err := c.ask(&tl.ClientAuthorizeWithProxyLong{})
			done <- err
		}()
		synctest.Wait()
		_, err := c.ask(&tl.ClientUpdatePaymentStatus{})
		queryError(t, err, 621, "non-ready")
		time.Sleep(time.Minute)
		close(registrar.arrived)
		if err := <-done; err != nil {
			t.Error(err)
		}
		mustAsk[*tl.ClientPaymentStatus](c, &tl.ClientUpdatePaymentStatus{})
	})
	inBubble(t, func(c *Config) {
		registrar.arrived = make(chan struct{})
		c.Registrar = registrar
	}, func(r *rig) {
		// One that never registers, one that asks twice, one that guesses a secret.
		never := r.dial(r.clients, [32]byte{})
		mustAsk[*tl.ClientConnectedToProxy](never, clientHello())
		_, err := never.ask(&tl.ClientAuthorizeWithProxyLong{})
		if err == nil {
			t.Error("authorised without registration")
		}
		twice := r.dial(r.clients, [32]byte{})
		mustAsk[*tl.ClientConnectedToProxy](twice, clientHello())
		go twice.ask(&tl.ClientAuthorizeWithProxyLong{})
		synctest.Wait()
		_, err = twice.ask(&tl.ClientAuthorizeWithProxyLong{})
		twice.refusedAndClosed("twice", err, 0, "duplicate auth message")
		guess := r.dial(r.clients, [32]byte{})
		mustAsk[*tl.ClientConnectedToProxy](guess, clientHello())
		_, err = guess.ask(&tl.ClientAuthorizeWithProxyShort{})
		guess.refusedAndClosed("guess", err, 0, "sha256 mismatch")
	})
	// A known client without the chain's credit cannot run anything.
	inBubble(t, func(c *Config) { c.Registrar = &chain{secret: &noSecret} }, func(r *rig) {
		r.worker(workerOptions{version: 4})
		c := r.client(4, nil)
		c.send(question(1))
		c.answer(requestID(1), false).refusedWith(t, 402, "602", "insufficient_quota")
	})
}

// The statistics have the names that operators know, and nothing secret.
func TestStatistics(t *testing.T) {
	inBubble(t, func(c *Config) { c.ControlToken = "token" }, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		w.serve(10)
		c.send(question(1))
		c.answer(requestID(1), true)
		c.send(question(2))
		c.answer(requestID(2), true)
		h := r.p.Handler()
		get := func(method, path, token string) (int, string) {
			req := httptest.NewRequest(method, path, nil)
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			return rec.Code, rec.Body.String()
		}
		status, text := get("GET", "/jsonstats", "")
		var s Snapshot
		var names map[string]any
		if status != 200 || json.Unmarshal([]byte(text), &names) != nil {
			t.Fatalf("%d %s", status, text)
		}
		for _, name := range []string{"status", "stats", "wallet", "localconfig", "smartcontract", "old_instances", "root_contract_config", "workers", "worker_connections", "clients"} {
			if _, ok := names[name]; !ok {
				t.Errorf("jsonstats lacks %s", name)
			}
		}
		synctest.Wait() // what is counted, is counted after the caller has his answer
		s = r.p.Snapshot()
		if s.Stats.Queries[0] != 2 || s.Stats.Success[0] != 2 || s.Stats.Total[0] != 20 || s.Stats.WorkerTime[0] != 2 {
			t.Errorf("%+v", s.Stats)
		}
		if len(s.Connected) != 1 || s.Connected[0].Model != modelText || s.Connected[0].Hash[:6] != "010203" || !s.Connected[0].Enabled || s.Connected[0].Limit != 10 {
			t.Errorf("%+v", s.Connected)
		}
		if len(s.Workers) != 1 || s.Workers[0].Earned != 20 || len(s.Clients) != 1 || s.Clients[0].Used != 20 || s.Clients[0].Running != 0 {
			t.Errorf("%+v %+v", s.Workers, s.Clients)
		}
		for path, says := range map[string]string{"/stats": "serving", "/metrics": `cocoon_proxy_requests_total{result="success"} 2`} {
			if status, text := get("GET", path, ""); status != 200 || !strings.Contains(text, says) {
				t.Errorf("%s: %d, want %q in %s", path, status, says, text)
			}
		}
		if status, _ := get("POST", "/request/disable", "wrong"); status == 200 {
			t.Error("a stranger disabled the proxy")
		}
		for _, x := range []struct{ path, says string }{{"/request/disable", "0 requests run"}, {"/request/enable", "enabled"}, {"/request/drain", "0 requests run"}, {"/request/enable", "enabled"}} {
			if status, text := get("POST", x.path, "token"); status != http.StatusOK || !strings.Contains(text, x.says) {
				t.Errorf("%s: %d %s", x.path, status, text)
			}
		}
		c.send(question(3))
		c.answer(requestID(3), true)
	})
}

// Drain answers when the last request has ended.
func TestDrainAction(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		w, c := r.worker(workerOptions{version: 4}), r.client(4, nil)
		c.send(question(1))
		id := w.given().RequestID
		said := make(chan string, 1)
		go func() {
			text, _ := r.p.actDrain(r.t.Context(), nil)
			said <- text
		}()
		time.Sleep(5 * time.Second)
		c.send(question(2))
		c.answer(requestID(2), false).refusedWith(t, 503, "651", "no_proxy")
		w.head(id)
		w.end(id, 1)
		c.answer(requestID(1), true)
		if text := <-said; text != "disabled; 0 requests run" {
			t.Errorf("said %q", text)
		}
	})
}
