package client

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// notBefore is well below what the waits in these tests would take if nothing
// ended them, and far above what they take.
const notBefore = 25 * time.Second

func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(notBefore):
		t.Fatalf("%s hangs", what)
	}
}

// Programs end a stream from another goroutine than the one that reads it.
func TestCloseEndsABlockedRead(t *testing.T) {
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		s.head(q.RequestID, response200("text/event-stream"))
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	res := post(t, context.Background(), c, pathChat, streamBody)
	failed := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(res.Body)
		failed <- err
	}()
	time.Sleep(10 * time.Millisecond)
	within(t, "Close", func() { res.Body.Close() })
	within(t, "Read", func() {
		if err := <-failed; err == nil {
			t.Error("the read ended as if the answer were complete")
		}
	})
	if n := c.active.Load(); n != 0 {
		t.Errorf("%d requests are still counted", n)
	}
}

// A proxy that refuses in the old way and never says which models it serves
// must not hold anybody longer than the request's own time.
func TestProxyThatNeverListsItsModels(t *testing.T) {
	asked := 0
	p := &scriptedProxy{version: 2,
		onAsk: func(_ *session, _ *wire.Query, fn tl.Object) bool {
			if _, types := fn.(*tl.ClientGetWorkerTypesV2); types {
				asked++
			}
			return asked > 1 // after the first time, silence
		},
		onQuery: func(s *session, q *tl.ClientRunQueryEx) {
			s.send(&tl.ClientQueryAnswerError{RequestID: q.RequestID, ErrorCode: 621, Error: "unknown model x"})
		}}
	c := newNetwork(t, p).startReady(p.net.config())
	time.Sleep(tableFresh + 100*time.Millisecond)
	within(t, "a refused request", func() {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if res, _ := chat(t, c, `{"model":"x","messages":[],"timeout":0.5}`); res.StatusCode < 400 {
					t.Errorf("status %d", res.StatusCode)
				}
			})
		}
		all.Wait()
	})
}

// Big requests go to a proxy one after another. One that waits for its turn
// still ends in its own time, and with its caller.
func TestBigRequestsWaitInTheirOwnTime(t *testing.T) {
	block := make(chan struct{})
	p := &scriptedProxy{version: 4, onQuery: func(*session, *tl.ClientRunQueryEx) { <-block }}
	c := newNetwork(t, p).startReady(p.net.config())
	defer close(block)
	body := func(timeout string) string {
		return `{"model":"m","timeout":` + timeout + `,"messages":["` + strings.Repeat("x", 12<<20) + `"]}`
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	send := func(ctx context.Context, timeout string) int {
		r := newRequest(t, ctx, body(timeout))
		res, err := c.Transport().RoundTrip(r)
		if err != nil {
			return 0
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	for range 3 {
		go send(ctx, "60")
	}
	await(t, "one to be on its way", func() bool { return len(p.seen()) > 0 })
	time.Sleep(100 * time.Millisecond)
	within(t, "a request of a second", func() {
		if status := send(context.Background(), "1"); status != 504 && status != 502 {
			t.Errorf("status %d, want 504", status)
		}
	})
	gone, leave := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer leave()
	within(t, "a request whose caller has left", func() { send(gone, "60") })
}

// Nobody asked for a compressed answer; the caller's library would unpack
// whatever it is given.
func TestCompressedAnswersAreRefused(t *testing.T) {
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		h := response200("application/json")
		h.Headers = append(h.Headers, tl.HTTPHeader{Name: "content-encoding", Value: "gzip"})
		s.head(q.RequestID, h)
		s.last(q.RequestID, "\x1f\x8b\x08")
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	res, text := chat(t, c, chatBody)
	if res.StatusCode != 502 || res.Header.Get("Content-Encoding") != "" {
		t.Errorf("status %d, headers %v", res.StatusCode, res.Header)
	} else if code, _ := apiError(t, text); code != openai.CodeBadAnswer {
		t.Error(text)
	}
}

// What a peer writes into headers stays inside them.
func TestHeadersCannotSplitAnAnswer(t *testing.T) {
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		h := response200("application/json")
		h.Headers = append(h.Headers, tl.HTTPHeader{Name: "X-A", Value: "b\r\nSet-Cookie: c=d\r\n\r\nbody"},
			tl.HTTPHeader{Name: "X-B\r\nSet-Cookie", Value: "e=f"}, tl.HTTPHeader{Name: "set-cookie", Value: "g=h"},
			tl.HTTPHeader{Name: "Content-length", Value: "1"}, tl.HTTPHeader{Name: "TRAILER", Value: "X-C"})
		s.head(q.RequestID, h)
		s.last(q.RequestID, smallAnswer)
	}}
	_, url := newNetwork(t, p).gateway(p.net.config())
	res, body := do(t, "POST", url+pathChat, chatBody)
	if res.StatusCode != 200 || body != smallAnswer || len(res.Cookies()) != 0 || len(res.Trailer) != 0 {
		t.Errorf("status %d, headers %v, body %q", res.StatusCode, res.Header, body)
	}
}

func newRequest(t *testing.T, ctx context.Context, body string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, "POST", "http://cocoon"+pathChat, strings.NewReader(body))
	if err != nil {
		t.Error(err)
	}
	return r
}

// Headers that a worker made up reach nobody: through a deployed proxy not who it says it is, through
// none what would end a line of a head.
func TestForgedAnswerHeaders(t *testing.T) {
	script := func(s *session, q *tl.ClientRunQueryEx) {
		h := response200("application/json")
		h.Headers = append(h.Headers, tl.HTTPHeader{Name: headerWorker, Value: "somebody else"}, tl.HTTPHeader{Name: headerWhy, Value: "chosen"},
			tl.HTTPHeader{Name: "X-A\r\nSet-Cookie", Value: "a=b"}, tl.HTTPHeader{Name: "X-B", Value: "1\r\nSet-Cookie: a=b"}, tl.HTTPHeader{Name: "", Value: "x"}, tl.HTTPHeader{Name: "X-Good", Value: "kept"})
		s.head(q.RequestID, h)
		s.last(q.RequestID, smallAnswer)
	}
	for _, p := range []*scriptedProxy{{version: 4, onQuery: script}, ours()} {
		p.onQuery = script
		c := newNetwork(t, p).startReady(p.net.config())
		res, body := chat(t, c, chatBody)
		if res.StatusCode != 200 || body != smallAnswer || res.Header.Get("X-Good") != "kept" {
			t.Errorf("status %d, %v: %s", res.StatusCode, res.Header, body)
		}
		if deployed := p.features == nil; (res.Header.Get(headerWorker) == "") != deployed || (res.Header.Get(headerWhy) == "") != deployed {
			t.Errorf("deployed %v: worker %q, why %q", deployed, res.Header.Get(headerWorker), res.Header.Get(headerWhy))
		}
		for name, values := range res.Header {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n") || name == "" {
				t.Errorf("%q: %q has passed", name, values)
			}
		}
	}
}
