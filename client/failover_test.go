package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// Until an answer has begun, the request may go to another proxy.
func TestFailover(t *testing.T) {
	for name, fail := range map[string]func(s *session, id tl.Int256){
		"connection lost": func(s *session, id tl.Int256) { s.conn.Close(nil) },
		"not ready, our form": func(s *session, id tl.Int256) {
			s.refuse(id, 503, 651, `{"error":{"message":"no worker","type":"t","param":null,"code":"no_worker"}}`)
		},
		"not ready, ex": func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerErrorEx{RequestID: id, ErrorCode: 651, Flags: 1})
		},
		"not ready, legacy": func(s *session, id tl.Int256) { s.send(&tl.ClientQueryAnswerError{RequestID: id, ErrorCode: 651}) },
		"balance, legacy":   func(s *session, id tl.Int256) { s.send(&tl.ClientQueryAnswerError{RequestID: id, ErrorCode: 602}) },
		"model not here": func(s *session, id tl.Int256) {
			s.refuse(id, 404, 621, `{"error":{"message":"no model","type":"t","param":null,"code":"model_not_found"}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var failed atomic.Int32
			first := func(s *session, q *tl.ClientRunQueryEx) { // whoever is asked first fails
				if failed.Add(1) == 1 {
					fail(s, q.RequestID)
					return
				}
				s.whole(q.RequestID, 200, smallAnswer)
			}
			n := newNetwork(t, &scriptedProxy{version: 4, onQuery: first}, &scriptedProxy{version: 4, onQuery: first})
			c := n.startReady(n.config())
			res, body := chat(t, c, chatBody)
			if res.StatusCode != 200 || body != smallAnswer || failed.Load() != 2 {
				t.Errorf("%d %s after %d proxies, want an undisturbed answer from the second", res.StatusCode, body, failed.Load())
			}
			if s := c.Snapshot(); s.Stats.Retried[0] != 1 || s.Status.Running != 0 || s.Stats.Cancelled[0] != 0 {
				t.Errorf("%v retries, %d running, %v cancelled, want 1, 0 and 0", s.Stats.Retried[0], s.Status.Running, s.Stats.Cancelled[0])
			}
		})
	}
}

// A verdict on the request, or on time, is the same everywhere.
func TestNoFailoverForTheRequestsOwnFault(t *testing.T) {
	for _, code := range []int32{621, 652, 653, 0} {
		asked := atomic.Int32{}
		script := func(s *session, q *tl.ClientRunQueryEx) {
			asked.Add(1)
			s.send(&tl.ClientQueryAnswerErrorEx{RequestID: q.RequestID, ErrorCode: code, Flags: 1})
		}
		n := newNetwork(t, &scriptedProxy{version: 4, onQuery: script}, &scriptedProxy{version: 4, onQuery: script})
		c := n.startReady(n.config())
		if res, _ := chat(t, c, chatBody); res.StatusCode < 400 || asked.Load() != 1 {
			t.Errorf("code %d: status %d after %d proxies, want an error after one", code, res.StatusCode, asked.Load())
		}
	}
}

func TestAllRefuse(t *testing.T) {
	script := func(s *session, q *tl.ClientRunQueryEx) {
		s.refuse(q.RequestID, 429, 651, `{"error":{"message":"all busy","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}`)
	}
	n := newNetwork(t, &scriptedProxy{version: 4, onQuery: script}, &scriptedProxy{version: 4, onQuery: script})
	c := n.startReady(n.config())
	res, body := chat(t, c, chatBody)
	if code, _ := apiError(t, body); res.StatusCode != 429 || code != openai.CodeRateLimit || res.Header.Get("Retry-After") != "7" {
		t.Errorf("%d %s %v, want the last proxy's own words", res.StatusCode, body, res.Header)
	}
}

// A proxy that restarts is back in a moment; the only one there is is worth it.
func TestSingleProxyRestarts(t *testing.T) {
	var asked atomic.Int32
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		if asked.Add(1) == 1 {
			s.conn.Close(nil)
			return
		}
		s.whole(q.RequestID, 200, smallAnswer)
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	if res, body := chat(t, c, chatBody); res.StatusCode != 200 {
		t.Errorf("%d %s, want an answer over the next connection", res.StatusCode, body)
	}
}

func TestNoProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &scriptedProxy{refuse: errors.New("down")}
		n := newNetwork(t, p)
		cfg := n.config()
		cfg.ProxyWait = 3 * time.Second
		c := n.start(cfg)
		start := time.Now()
		res, body := chat(t, c, chatBody)
		if code, _ := apiError(t, body); res.StatusCode != 503 || code != openai.CodeNoProxy || res.Header.Get("Retry-After") == "" {
			t.Errorf("%d %s", res.StatusCode, body)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("waited %v, want 3 s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Ready(ctx); err == nil || !strings.Contains(err.Error(), "down") {
			t.Errorf("Ready says %v, want the reason", err)
		}
		p.setRefuse(nil)
		if res, _ := chat(t, c, chatBody); res.StatusCode != 200 && res.StatusCode != 503 {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}

func TestRequestsAreSpread(t *testing.T) {
	hold := make(chan bool)
	script := func(s *session, q *tl.ClientRunQueryEx) {
		go func() { <-hold; s.whole(q.RequestID, 200, smallAnswer) }()
	}
	a, b := &scriptedProxy{version: 4, onQuery: script}, &scriptedProxy{version: 4, onQuery: script}
	n := newNetwork(t, a, b)
	c := n.startReady(n.config())
	done := make(chan int)
	for range 20 {
		go func() {
			res, _ := chat(t, c, chatBody)
			done <- res.StatusCode
		}()
	}
	await(t, "all running", func() bool { return len(a.seen())+len(b.seen()) == 20 })
	if len(a.seen()) < 8 || len(b.seen()) < 8 { // begin and count are not one step, so not exactly 10
		t.Errorf("%d and %d requests, want them spread evenly", len(a.seen()), len(b.seen()))
	}
	close(hold)
	for range 20 {
		if status := <-done; status != 200 {
			t.Errorf("status %d", status)
		}
	}
}

// A proxy without workers for the model is asked last.
func TestProxyWithTheModelIsPreferred(t *testing.T) {
	a, b := &scriptedProxy{version: 4, models: []string{"x"}}, &scriptedProxy{version: 4}
	n := newNetwork(t, a, b)
	c := n.startReady(n.config())
	for range 10 {
		chat(t, c, chatBody)
	}
	if len(a.seen()) != 0 || len(b.seen()) != 10 {
		t.Errorf("%d requests went to the proxy without the model", len(a.seen()))
	}
}

func TestCallerLeaves(t *testing.T) {
	for _, features := range [][]string{{"cancel"}, {"something else"}, nil} {
		got := make(chan tl.Int256, 1)
		p := &scriptedProxy{version: 4, features: features, onQuery: func(s *session, q *tl.ClientRunQueryEx) { got <- q.RequestID }}
		c := newNetwork(t, p).startReady(p.net.config())
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			r, _ := http.NewRequestWithContext(ctx, "POST", "http://x"+pathChat, strings.NewReader(chatBody))
			_, err := c.Transport().RoundTrip(r)
			failed <- err
		}()
		id := <-got
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("RoundTrip returns %v, want %v", err, context.Canceled)
		}
		checkCancelled(t, p, id, len(features) > 0 && features[0] == "cancel")
		if c.Snapshot().Status.Running != 0 {
			t.Error("the request still runs")
		}
	}
}

// checkCancelled asks the proxy something afterwards: packets keep their order.
func checkCancelled(t *testing.T, p *scriptedProxy, id tl.Int256, want bool) {
	t.Helper()
	if want {
		if got := <-p.cancels; got != id {
			t.Errorf("cancelled %x, want %x", got, id)
		}
		return
	}
	s := <-p.conns
	s.conn.Close(nil)
	s.conn.Wait()
	if len(p.cancels) > 0 {
		t.Error("a proxy that does not know cancelling was sent it")
	}
}

func TestClosingTheBodyCancels(t *testing.T) {
	got := make(chan tl.Int256, 1)
	p := &scriptedProxy{version: 4, features: []string{"cancel", "queue"}, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		s.head(q.RequestID, response200("text/event-stream"))
		s.part(q.RequestID, "data: 1\n\n")
		got <- q.RequestID
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	res := post(t, t.Context(), c, pathChat, streamBody)
	res.Body.Close()
	checkCancelled(t, p, <-got, true)
	if _, err := res.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read after Close: %v", err)
	}
	if s := c.Snapshot(); s.Stats.Cancelled[0] != 1 || s.Status.MemoryUsed != 0 {
		t.Errorf("cancelled %v, memory %d", s.Stats.Cancelled[0], s.Status.MemoryUsed)
	}
}

// Our own timer strikes at the timeout, whatever the proxy does.
func TestTimeout(t *testing.T) {
	for name, begin := range map[string]func(s *session, id tl.Int256){
		"silent":     func(s *session, id tl.Int256) {},
		"queued":     func(s *session, id tl.Int256) { s.send(&tl.CocoonQueuePosition{RequestID: id, Position: 3}) },
		"in the end": func(s *session, id tl.Int256) { s.head(id, response200("application/json")); s.part(id, "{") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &scriptedProxy{version: 4, features: []string{"cancel", "queue"}, onQuery: func(s *session, q *tl.ClientRunQueryEx) { begin(s, q.RequestID) }}
				c := newNetwork(t, p).startReady(p.net.config())
				start := time.Now()
				res, body := chat(t, c, `{"model":"m","timeout":7.5}`)
				code, message := apiError(t, body)
				if took := time.Since(start); res.StatusCode != 504 || code != openai.CodeTimeout || took != 7500*time.Millisecond {
					t.Errorf("%d %s after %v, want 504 after 7.5 s", res.StatusCode, body, took)
				}
				if strings.Contains(message, "number 3") != (name == "queued") {
					t.Errorf("message %q", message)
				}
				synctest.Wait()
				if len(p.cancels) != 1 {
					t.Errorf("%d cancels, want 1", len(p.cancels))
				}
			})
		})
	}
}

// A stream that lasts is fine; its timeout is its own.
func TestTimeoutInMidStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
			go func() {
				s.head(q.RequestID, response200("text/event-stream"))
				for range 100 {
					select {
					case <-time.After(time.Second):
						s.part(q.RequestID, "data: 1\n\n")
					case <-s.conn.Done():
						return
					}
				}
			}()
		}}
		c := newNetwork(t, p).startReady(p.net.config())
		_, body := chat(t, c, `{"model":"m","stream":true,"timeout":20.5}`)
		if strings.Count(body, "data: 1\n\n") != 20 || !strings.Contains(body, `"code":"timeout"`) {
			t.Errorf("body %s, want 20 events and an error", body)
		}
	})
}

// An abandoned answer must not stay in memory for ever.
func TestNobodyReads(t *testing.T) {
	begun := make(chan struct{}) // before that it would be a refusal, and no stream that ends
	p := &scriptedProxy{version: 4, features: []string{"cancel"}, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		s.head(q.RequestID, response200("text/event-stream"))
		go func() {
			<-begun
			for len(s.p.cancels) == 0 && s.conn.Err() == nil {
				s.conn.Room(context.Background())
				s.part(q.RequestID, "data: "+strings.Repeat("x", 10_000)+"\n\n")
			}
		}()
	}}
	n := newNetwork(t, p)
	cfg := n.config()
	cfg.MaxBuffered = 100_000
	c := n.startReady(cfg)
	res := post(t, t.Context(), c, pathChat, streamBody)
	close(begun)
	await(t, "the cancel", func() bool { return len(p.cancels) == 1 })
	if used := c.Snapshot().Status.MemoryUsed; used > 100_000 {
		t.Errorf("%d bytes are held, limit 100000", used)
	}
	body := read(t, res)
	if !strings.Contains(body, `"code":"slow_reader"`) || !strings.HasSuffix(body, "}\n\n") {
		t.Errorf("the stream ends with %q, want an error event", body[max(0, len(body)-200):])
	}
	if used := c.Snapshot().Status.MemoryUsed; used != 0 {
		t.Errorf("%d bytes are still held", used)
	}
}

func TestMemoryOfAllAnswersIsBounded(t *testing.T) {
	begun := make(chan bool)
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		s.head(q.RequestID, response200("text/event-stream"))
		go func() {
			<-begun // the caller has the head and reads no further
			s.part(q.RequestID, "data: "+strings.Repeat("x", 40_000)+"\n\n")
		}()
	}}
	n := newNetwork(t, p)
	cfg := n.config()
	cfg.MaxMemory = 100_000
	c := n.startReady(cfg)
	for range 4 {
		post(t, t.Context(), c, pathChat, streamBody)
	}
	close(begun)
	await(t, "two answers given up", func() bool {
		ready, _ := c.readyLinks()
		return len(ready) == 1 && ready[0].outstanding.Load() == 2
	})
	if used := c.Snapshot().Status.MemoryUsed; used > 100_000 {
		t.Errorf("%d bytes held, limit 100000", used)
	}
}

func TestTooLarge(t *testing.T) {
	p := &scriptedProxy{version: 4}
	n := newNetwork(t, p)
	cfg := n.config()
	cfg.MaxBody = 1000
	c := n.startReady(cfg)
	big := `{"model":"m","x":"` + strings.Repeat("x", 2000) + `"}`
	known := post(t, t.Context(), c, pathChat, big)
	r, _ := http.NewRequestWithContext(t.Context(), "POST", "http://x"+pathChat, io.MultiReader(strings.NewReader(big)))
	unknown, err := c.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range []*http.Response{known, unknown} {
		code, message := apiError(t, read(t, res))
		if res.StatusCode != 413 || code != openai.CodeTooLarge || !strings.Contains(message, "limit 1000 bytes") {
			t.Errorf("%d %s %s", res.StatusCode, code, message)
		}
	}
	if _, message := apiError(t, string(openai.TooLarge(1000, 2019).JSON())); !strings.Contains(message, "2019") {
		t.Errorf("message %q", message)
	}
}

// The largest request that the default limit admits fits into one frame, and
// several at once do not break the connection.
func TestLargestRequests(t *testing.T) {
	p := &scriptedProxy{version: 4}
	c := newNetwork(t, p).startReady(p.net.config())
	body := `{"model":"m","x":"` + strings.Repeat("x", 15<<20-20) + `"}`
	done := make(chan int)
	for range 6 {
		go func() {
			res, _ := chat(t, c, body)
			done <- res.StatusCode
		}()
	}
	for range 6 {
		if status := <-done; status != 200 {
			t.Errorf("status %d", status)
		}
	}
	if c.Snapshot().Stats.Retried[0] != 0 {
		t.Error("a connection was lost")
	}
}

func TestRegistryLosesAProxy(t *testing.T) {
	release := make(chan bool)
	a := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		go func() { <-release; s.whole(q.RequestID, 200, smallAnswer) }()
	}}
	n := newNetwork(t, a)
	c := n.startReady(n.config())
	running := make(chan string)
	go func() { _, body := chat(t, c, chatBody); running <- body }()
	await(t, "the request", func() bool { return len(a.seen()) == 1 })
	b := &scriptedProxy{version: 4}
	n.add(b, netip.MustParseAddrPort("127.0.0.1:30000"))
	n.change(func(r *contract.Root) {
		r.Proxies = []contract.ProxyEntry{{Clients: netip.MustParseAddrPort(b.addr)}}
	})
	<-b.conns
	await(t, "only the new proxy", func() bool {
		ready, _ := c.readyLinks()
		return len(ready) == 1 && ready[0].addr == b.addr
	})
	if res, _ := chat(t, c, chatBody); res.StatusCode != 200 || len(b.seen()) != 1 {
		t.Error("the next request did not go to the new proxy")
	}
	close(release)
	if body := <-running; body != smallAnswer {
		t.Errorf("the running request got %s, want to be finished first", body)
	}
	<-(<-a.conns).conn.Done() // and then its connection ends
}

func TestParamsVersionReconnects(t *testing.T) {
	p := &scriptedProxy{version: 4}
	c := newNetwork(t, p).startReady(p.net.config())
	first := <-p.conns
	p.net.change(func(r *contract.Root) { r.Version++ }) // not enough
	p.net.change(func(r *contract.Root) { r.ParamsVersion++; r.PricePerToken = 20 })
	second := <-p.conns
	<-first.conn.Done()
	if second.hi.MinConfigVersion != 6 {
		t.Errorf("new connection says registry version %d, want 6", second.hi.MinConfigVersion)
	}
	p.net.awaitReady(c, 1)
	if res, _ := chat(t, c, chatBody); res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestStruckOffImage(t *testing.T) {
	p := &scriptedProxy{version: 4, image: attest.Hash{7}}
	n := newNetwork(t, p)
	n.change(func(r *contract.Root) { r.ProxyImages = map[[32]byte]struct{}{{7}: {}} })
	cfg := n.config()
	cfg.CheckImages, cfg.ProxyWait = true, 1
	c := n.startReady(cfg)
	s := <-p.conns
	n.change(func(r *contract.Root) { r.ProxyImages = map[[32]byte]struct{}{{8}: {}} })
	<-s.conn.Done()
	await(t, "the reason", func() bool {
		info := c.Snapshot().Connections
		return len(info) == 1 && strings.Contains(info[0].Error, "registry does not list")
	})
	if res, _ := chat(t, c, chatBody); res.StatusCode != 503 {
		t.Errorf("status %d from a proxy that nobody wants", res.StatusCode)
	}
	if len(p.seen()) != 0 {
		t.Error("an unwanted proxy got a prompt")
	}
}

// What was asked of a proxy before it lost its trust may end; nothing is asked
// of it any more.
func TestDistrustedProxyFinishes(t *testing.T) {
	for name, begin := range map[string]func(*network, *Client){
		"image left the registry": func(n *network, _ *Client) {
			n.change(func(r *contract.Root) { r.ProxyImages = map[[32]byte]struct{}{{8}: {}} })
		},
		"judged anew": func(_ *network, c *Client) {
			ready, _ := c.readyLinks()
			c.distrust(ready[0], errors.New("struck off"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan bool)
			a := &scriptedProxy{version: 4, image: attest.Hash{7}, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
				go func() { <-release; s.whole(q.RequestID, 200, smallAnswer) }()
			}}
			n := newNetwork(t, a)
			n.change(func(r *contract.Root) { r.ProxyImages = map[[32]byte]struct{}{{7}: {}} })
			cfg := n.config()
			cfg.CheckImages = true
			c := n.startReady(cfg)
			s := <-a.conns
			running := make(chan string)
			go func() { _, body := chat(t, c, chatBody); running <- body }()
			await(t, "the request", func() bool { return len(a.seen()) == 1 })
			before, _ := c.readyLinks()
			begin(n, c)
			await(t, "no more requests for it", func() bool {
				ready, _ := c.readyLinks()
				return !slices.Contains(ready, before[0])
			})
			select {
			case <-s.conn.Done():
				t.Error("the connection ended before what ran on it")
			default:
			}
			close(release)
			if body := <-running; body != smallAnswer {
				t.Errorf("the running request got %s, want to be finished first", body)
			}
			<-s.conn.Done()
		})
	}
}

// A proxy that stays away makes room for another one.
func TestDeadProxyIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &scriptedProxy{refuse: errors.New("down")}, &scriptedProxy{refuse: errors.New("down")}
		n := newNetwork(t, a, b)
		cfg := n.config()
		cfg.Connections = 1
		c := n.start(cfg)
		synctest.Wait()
		chosen := c.Snapshot().Connections[0].Address
		up := a
		if chosen == a.addr {
			up = b
		}
		up.setRefuse(nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := c.Ready(ctx); err != nil {
			t.Error(err)
		}
	})
}

// Whatever happens to requests and connections, nothing stays behind.
func TestNoGoroutineIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	func() {
		var count atomic.Int32
		script := func(s *session, q *tl.ClientRunQueryEx) {
			switch i := count.Add(1); {
			case i%40 == 0:
				s.conn.Close(nil)
			case i%4 == 1:
				s.send(&tl.ClientQueryAnswerErrorEx{RequestID: q.RequestID, ErrorCode: 651})
			case i%4 == 2:
				s.head(q.RequestID, response200("text/event-stream"))
			default:
				s.whole(q.RequestID, 200, smallAnswer)
			}
		}
		n := newNetwork(t, &scriptedProxy{version: 4, onQuery: script}, &scriptedProxy{version: 4, onQuery: script})
		c, err := New(n.config())
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		for i := range 100 {
			res := post(t, t.Context(), c, pathChat, `{"model":"m","stream":true,"timeout":`+strconv.Itoa(1+i%3)+`}`)
			if i%2 == 0 {
				res.Body.Close()
			}
			defer res.Body.Close()
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		n.closeAll()
	}()
	await(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

// However many proxies refuse, as far as one may ask, the one that serves is found.
func TestManyRefuseOneServes(t *testing.T) {
	refuse := func(s *session, q *tl.ClientRunQueryEx) {
		s.send(&tl.ClientQueryAnswerErrorEx{RequestID: q.RequestID, ErrorCode: 651, Flags: 1})
	}
	proxies := []*scriptedProxy{{version: 4}}
	for range attempts - 1 {
		proxies = append(proxies, &scriptedProxy{version: 4, onQuery: refuse})
	}
	n := newNetwork(t, proxies...)
	cfg := n.config()
	cfg.Connections = attempts
	c := n.startReady(cfg)
	n.awaitReady(c, attempts)
	for range 20 {
		if res, body := chat(t, c, chatBody); res.StatusCode != 200 {
			t.Fatalf("status %d: %s", res.StatusCode, body)
		}
	}
}
