package devnet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencocoon/cocoon/engine/builtin"
	"github.com/opencocoon/cocoon/engine/enginetest"
)

// fragile is the built-in engine under a name of ours, whose answers break off
// behind as many events as a test says: the engine dies, or hangs until its
// worker has.
type fragile struct {
	engine http.Handler

	mu      sync.Mutex
	behind  []int // of the next requests, in turn; 0 is not at all
	hang    bool
	reached chan struct{} // gets one for each that hangs
}

func newFragile(t *testing.T) *fragile {
	model, err := builtin.Default()
	if err != nil {
		t.Fatal(err)
	}
	return &fragile{engine: builtin.NewServer(model, builtin.Options{Sequences: 2}), reached: make(chan struct{}, 10)}
}

func (f *fragile) set(hang bool, behind ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind, f.hang = behind, hang
}

// script is the engine's [enginetest.Script].
func (f *fragile) script(w http.ResponseWriter, q *enginetest.Request) {
	f.mu.Lock()
	b := &breaker{ResponseWriter: w, f: f, q: q, hang: f.hang}
	if len(f.behind) > 0 {
		b.left, f.behind = f.behind[0], f.behind[1:]
	}
	f.mu.Unlock()
	body := bytes.Replace(q.Payload, []byte(`"fake/model"`), []byte(`"cocoon-demo-3m"`), 1)
	r := q.Request.Clone(q.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	f.engine.ServeHTTP(b, r)
}

type breaker struct {
	http.ResponseWriter
	f    *fragile
	q    *enginetest.Request
	hang bool
	left int
}

// Write passes on one event.
func (b *breaker) Write(p []byte) (int, error) {
	if b.left == 1 {
		half := p[:len(p)/2]
		_, _ = b.ResponseWriter.Write(half) // the caller may be gone
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		if b.hang {
			b.f.reached <- struct{}{}
			<-b.q.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
	b.left--
	return b.ResponseWriter.Write(p)
}

// Unwrap lets the engine flush.
func (b *breaker) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// spoken is what a stream says.
type spoken struct {
	text, finish      string
	id                map[string]bool
	roles, ends       int
	prompt, completed int64
	broken            string
}

func readSpoken(t *testing.T, stream io.Reader) (s spoken) {
	t.Helper()
	text, err := io.ReadAll(stream)
	if err != nil {
		t.Error(err)
	}
	s.id = map[string]bool{}
	for event := range strings.SplitSeq(string(text), "\n\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		if data == "[DONE]" {
			s.ends++
		}
		if !ok || data == "[DONE]" {
			continue
		}
		var c struct {
			ID      string
			Choices []struct {
				Delta  struct{ Role, Content string }
				Finish *string `json:"finish_reason"`
			}
			Usage *struct {
				Prompt     int64 `json:"prompt_tokens"`
				Completion int64 `json:"completion_tokens"`
			}
			Error *struct{ Message string }
		}
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			t.Errorf("%q: %v", data, err)
		}
		if c.Error != nil {
			s.broken = c.Error.Message
			continue
		}
		s.id[c.ID] = true
		for _, x := range c.Choices {
			s.text += x.Delta.Content
			if x.Delta.Role != "" {
				s.roles++
			}
			if x.Finish != nil {
				s.finish += *x.Finish
			}
		}
		if c.Usage != nil {
			s.prompt, s.completed = c.Usage.Prompt, c.Usage.Completion
		}
	}
	return s
}

func (s *spoken) same(o spoken) bool {
	return s.text == o.text && s.finish == o.finish && s.roles == 1 && s.ends == 1 && len(s.id) == 1 && s.broken == ""
}

const tellMe = `{"model":"fake/model","max_tokens":40,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Tell me a joke"}],"temperature":%s,"seed":7,"provider":{"resume":%t}}`

// stream asks for a stream and returns it when its head is there.
func (f *fair) stream(temperature string, resume bool) *http.Response {
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, "http://cocoon/v1/chat/completions", strings.NewReader(fmt.Sprintf(tellMe, temperature, resume)))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := f.client.Transport().RoundTrip(req)
	if err != nil || res.StatusCode != http.StatusOK {
		f.t.Fatalf("%v, %v", res, err)
	}
	f.t.Cleanup(func() { res.Body.Close() })
	return res
}

func (f *fair) paid(res *http.Response) int64 {
	n, err := strconv.ParseInt(res.Trailer.Get("X-Cocoon-Cost-Nanoton"), 10, 64)
	if err != nil {
		f.t.Errorf("no cost: %v", err)
	}
	return n
}

// A stream that breaks is, wherever it breaks and however often, for its caller
// the very answer that an unbroken one would have been, byte for byte; and he
// pays what the workers have booked.
func TestBrokenStreamIsTheVeryAnswer(t *testing.T) {
	engine := newFragile(t)
	f := newFair(t, 2, 5)
	for _, s := range f.list {
		s.engine.SetScript(engine.script)
		s.engine.SetOwner("cocoon")
	}
	f.open(2)
	paid := int64(0)
	for _, temperature := range []string{"0", "0.8"} {
		res := f.stream(temperature, false)
		whole := readSpoken(t, res.Body)
		if !whole.same(whole) || len(whole.text) < 40 {
			t.Fatalf("unbroken: %+v", whole)
		}
		paid += f.paid(res)
		for behind := 1; behind < int(whole.completed)+4; behind += 7 {
			engine.set(false, behind)
			if behind%2 == 0 {
				engine.set(false, behind, 3)
			}
			res := f.stream(temperature, true)
			s := readSpoken(t, res.Body)
			if !s.same(whole) {
				t.Errorf("broken in event %d: %q (%s), want %q (%s); %+v", behind, s.text, s.finish, whole.text, whole.finish, s)
			}
			paid += f.paid(res)
			engine.set(false)
		}
		for range 2 {
			engine.set(true, 12)
			res := f.stream(temperature, true)
			<-engine.reached
			f.workers[res.Header.Get("X-Cocoon-Worker")].kill()
			s := readSpoken(t, res.Body)
			if !s.same(whole) || res.Trailer.Get("X-Cocoon-Resumed") == "" {
				t.Errorf("worker killed: %q (%s), want %q (%s); %+v", s.text, s.finish, whole.text, whole.finish, s)
			}
			paid += f.paid(res)
		}
	}
	used, earned := int64(0), int64(0)
	for _, book := range f.books {
		if err := book.Check(); err != nil {
			t.Error(err)
		}
		clients, workers := book.Everyone()
		for _, c := range clients {
			used += c.Used.Max
			if c.Reserved != 0 {
				t.Errorf("%d tokens are still reserved", c.Reserved)
			}
		}
		for _, w := range workers {
			earned += w.Earned.Max
		}
	}
	if used != earned || used*20 != paid {
		t.Errorf("%d tokens used, %d earned, callers were told of %d", used, earned, paid/20)
	}
	engine.set(true, 12) // one worker is left, and proxies wait for others as long as they may
	res := f.stream(`0,"timeout":2`, true)
	<-engine.reached
	f.workers[res.Header.Get("X-Cocoon-Worker")].kill()
	if s := readSpoken(t, res.Body); s.ends != 0 || !strings.Contains(s.broken, "not resumed: ") || s.text == "" {
		t.Errorf("without another worker: %+v, want an error that says so", s)
	}
}

// An engine of which nobody knows that it goes on is not asked to.
func TestUnknownEngineIsNotAskedToGoOn(t *testing.T) {
	engine := newFragile(t)
	f := newFair(t, 1, 2)
	for _, s := range f.list {
		s.engine.SetScript(engine.script)
	}
	f.open(1)
	engine.set(false, 8)
	s := readSpoken(t, f.stream("0", true).Body)
	if !strings.Contains(s.broken, "not resumed") || s.text == "" || s.ends != 0 {
		t.Errorf("%+v, want an error", s)
	}
	if n := f.list[0].engine.Count() + f.list[1].engine.Count(); n != 1 {
		t.Errorf("%d requests reached the engines, want 1", n)
	}
}

// A proxy dies with an encrypted stream in it; another one goes on.
func TestProxyDiesAndItsStreamGoesOn(t *testing.T) {
	engine := newFragile(t)
	n := startNet(t, engine.script, Config{Proxies: 2, Workers: 2, Keys: true})
	n.engine.SetOwner("cocoon")
	ask := func() *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), "POST", n.net.Info().BaseURL+"/chat/completions", strings.NewReader(fmt.Sprintf(tellMe, "0", true)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Cocoon-Encryption", "v1")
		resp, err := n.http.Do(req)
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("X-Cocoon-Encryption") != "v1" {
			t.Fatalf("%v, %v", resp, err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	whole := readSpoken(t, ask().Body)
	engine.set(true, 12)
	resp := ask()
	<-engine.reached
	var busy []string
	n.eventually("one proxy alone having a request", func() bool {
		busy = nil
		for _, name := range []string{"proxy-1", "proxy-2"} {
			if _, settled := n.booked(name); !settled {
				busy = append(busy, name)
			}
		}
		return len(busy) == 1
	})
	n.cables[busy[0]+" clients"].unplug()
	if s := readSpoken(t, resp.Body); !s.same(whole) {
		t.Errorf("%q, want %q; %+v", s.text, whole.text, s)
	}
}
