// Package enginetest is an engine that does what a script says: fast, slow,
// silent, lying, hanging or dying. Tests and the benchmark run it on loopback
// where a real OpenAI-compatible server would be.
//
// Start with [New] and one of the scripts ([Fast], [Chunks], [Liar], …). The
// server records the requests it saw and reports, as events on each
// [Request], when an answer ended and whether the caller left before that.
package enginetest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Model is the name the fake serves unless [Server.SetModel] says otherwise.
const Model = "fake/model"

const (
	// keep is how many of the newest requests stay on record.
	keep = 256
	// maxBody bounds what is read of a request.
	maxBody = 64 << 20
)

// Script answers one generation request. It may block for as long as it
// likes: q.Context() ends when the caller leaves or the server closes.
type Script func(w http.ResponseWriter, q *Request)

// Request is one generation request as the engine saw it.
type Request struct {
	*http.Request
	// Payload is the request's body, Hash its SHA-256.
	Payload []byte
	Hash    [32]byte
	// Cancelled is closed if the caller left before the answer was complete,
	// Ended when the script has returned.
	Cancelled, Ended chan struct{}
}

// Server is a scripted engine on a loopback port.
type Server struct {
	// URL is its base address, http://127.0.0.1:port.
	URL string

	http   *http.Server
	closed context.CancelFunc
	served chan struct{}
	next   chan *Request

	mu       sync.Mutex // guards what follows
	script   Script
	model    string
	owner    string
	down     bool
	context  int
	total    int
	requests []*Request
}

// New starts an engine that answers every generation request by script.
// With a test it closes itself at the end; with nil the caller closes it.
func New(t testing.TB, script Script) *Server {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		if t == nil {
			panic(fmt.Sprintf("enginetest: no loopback port: %v", err))
		}
		t.Fatalf("enginetest: no loopback port: %v", err)
	}
	s := Serve(listener, script)
	if t != nil {
		t.Cleanup(s.Close)
	}
	return s
}

// Serve is [New] on a listener of the caller's.
func Serve(listener net.Listener, script Script) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		URL: "http://" + listener.Addr().String(), closed: cancel, served: make(chan struct{}),
		next: make(chan *Request, keep), script: script, model: Model,
	}
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	go func() {
		defer close(s.served)
		s.http.Serve(listener)
	}()
	return s
}

// Close ends every answer and frees the port.
func (s *Server) Close() {
	s.closed()
	s.http.Close()
	<-s.served
}

// SetScript changes what later requests get.
func (s *Server) SetScript(script Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// SetModel changes the name listed by /v1/models.
func (s *Server) SetModel(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.model = name
}

// SetOwner changes who owns the models, by which kinds of engines are told apart.
func (s *Server) SetOwner(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = name
}

// SetContext makes /v1/models tell a context length in tokens, as vLLM does; 0 is none.
func (s *Server) SetContext(tokens int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.context = tokens
}

// SetDown makes /v1/models answer 503, as an engine does while it loads.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Count is the number of generation requests so far.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Requests returns the newest requests, oldest of them first, at most 256.
func (s *Server) Requests() []*Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Request(nil), s.requests...)
}

// Next waits for the next generation request. Requests that nobody waits for
// are queued up to 256 and then only recorded.
func (s *Server) Next(ctx context.Context) (*Request, error) {
	select {
	case q := <-s.next:
		return q, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("enginetest: no request came: %w", ctx.Err())
	}
}

// ServeHTTP answers /v1/models itself and leaves every POST to the script.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/v1/models"):
		s.models(w)
	case r.Method == http.MethodPost:
		s.generate(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) models(w http.ResponseWriter) {
	s.mu.Lock()
	model, owner, down, facts := s.model, cmp.Or(s.owner, "enginetest"), s.down, ""
	if s.context > 0 {
		facts = fmt.Sprintf(`,"max_model_len":%d`, s.context)
	}
	s.mu.Unlock()
	if down {
		http.Error(w, "loading", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"object":"model","owned_by":%q%s}]}`, model, owner, facts)
}

func (s *Server) generate(w http.ResponseWriter, r *http.Request) {
	payload, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		http.Error(w, "unreadable body", http.StatusBadRequest)
		return
	}
	q := &Request{Request: r, Payload: payload, Hash: sha256.Sum256(payload),
		Cancelled: make(chan struct{}), Ended: make(chan struct{})}
	script := s.record(q)
	stop := context.AfterFunc(r.Context(), func() { close(q.Cancelled) })
	defer func() {
		// A script that noticed may be back before the function above ran.
		if stop() && r.Context().Err() != nil {
			close(q.Cancelled)
		}
		close(q.Ended)
	}()
	script(w, q)
}

func (s *Server) record(q *Request) Script {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
	if len(s.requests) == keep {
		s.requests = append(s.requests[:0], s.requests[keep/2:]...)
	}
	s.requests = append(s.requests, q)
	select {
	case s.next <- q:
	default:
	}
	return s.script
}
