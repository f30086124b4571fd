package builtin

import (
	"context"
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/openai"
)

// Options are a server's settings. The zero value serves.
type Options struct {
	// Sequences is how many answers are made at the same time; each holds its
	// own keys and values. 0 means one per processor, at least 2.
	Sequences int
	// Queue is how many requests may wait for a sequence; more get 429.
	// 0 means 64, below 0 means none.
	Queue int
	// MaxBody is the largest request body in bytes. 0 means 1 MiB.
	MaxBody int64
	// Temperature is used by requests that name none. 0 takes the likeliest
	// token every time.
	Temperature float64
	// WriteTimeout is how long a reader may block one chunk of a stream.
	// 0 means 30 seconds.
	WriteTimeout time.Duration
	// Now dates answers. Nil means time.Now.
	Now func() time.Time
}

type server struct {
	model   *Model
	opts    Options
	created int64
	slots   chan *sequence // holds nil where no sequence has been made yet
	waiting atomic.Int64
}

// NewServer returns the OpenAI API of one model: the model list, chat and text
// completions, plain and streamed, and /health. A request whose context ends
// stops at the next token. It is safe for concurrent use.
func NewServer(m *Model, opts Options) http.Handler {
	if opts.Sequences <= 0 {
		opts.Sequences = max(2, runtime.GOMAXPROCS(0))
	}
	if opts.Queue == 0 {
		opts.Queue = 64
	}
	if opts.MaxBody <= 0 {
		opts.MaxBody = 1 << 20
	}
	if opts.WriteTimeout <= 0 {
		opts.WriteTimeout = 30 * time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &server{model: m, opts: opts, created: opts.Now().Unix(), slots: make(chan *sequence, opts.Sequences)}
	for range opts.Sequences {
		s.slots <- nil
	}
	return s
}

// ServeHTTP finds the route.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "cocoon-engine")
	routes := map[string]struct {
		method string
		serve  http.HandlerFunc
	}{
		"/health":              {http.MethodGet, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, struct{}{}) }},
		"/v1/models":           {http.MethodGet, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.models()) }},
		"/v1/chat/completions": {http.MethodPost, func(w http.ResponseWriter, r *http.Request) { s.complete(w, r, true) }},
		"/v1/completions":      {http.MethodPost, func(w http.ResponseWriter, r *http.Request) { s.complete(w, r, false) }},
	}
	route, ok := routes[r.URL.Path]
	if name, found := strings.CutPrefix(r.URL.Path, "/v1/models/"); found {
		route.method, route.serve, ok = http.MethodGet, func(w http.ResponseWriter, _ *http.Request) { s.serveModel(w, name) }, true
	}
	switch {
	case !ok:
		openai.WriteError(w, openai.UnknownURL(r.Method, r.URL.Path))
	case r.Method != route.method && !(r.Method == http.MethodHead && route.method == http.MethodGet):
		openai.WriteError(w, openai.MethodNotAllowed(r.Method, r.URL.Path, route.method))
	default:
		route.serve(w, r)
	}
}

// modelObject is the API's model without what only the network knows.
type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	// Capabilities are what it can do beside text. It tells no context length, since
	// it cuts an answer there, and what it told would be refused beyond.
	Capabilities []string `json:"capabilities"`
}

type modelList struct {
	Object string        `json:"object"`
	Data   []modelObject `json:"data"`
}

func (s *server) models() modelList {
	return modelList{"list", []modelObject{{s.model.name, "model", s.created, "cocoon", openai.Told.Names()}}}
}

func (s *server) serveModel(w http.ResponseWriter, name string) {
	if name != s.model.name {
		openai.WriteError(w, openai.ModelNotFound(name))
		return
	}
	writeJSON(w, s.models().Data[0])
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // a caller that went away needs no answer
}

// complete serves both completion endpoints.
func (s *server) complete(w http.ResponseWriter, r *http.Request, chat bool) {
	a, err := s.read(w, r, chat)
	if err == nil {
		err = s.run(r.Context(), a)
	}
	if err != nil {
		a.fail(w, err)
	}
}

// read checks the whole request before it may wait for anything.
func (s *server) read(w http.ResponseWriter, r *http.Request, chat bool) (*answer, *openai.Error) {
	q, err := decode(w, r, s.opts.MaxBody)
	if err != nil {
		return nil, err
	}
	switch {
	case q.Model == "":
		return nil, openai.BadRequest("model", openai.CodeMissing, "missing required parameter: 'model'; GET /v1/models lists what is served")
	case q.Model != s.model.name:
		return nil, openai.ModelNotFound(q.Model)
	}
	j, err := q.job(s.model, &s.opts, chat)
	if err != nil {
		return nil, err
	}
	a := newAnswer(s, w, q, j, chat)
	if chat {
		var ids []int32
		ids, j.begun, err = q.chatPrompt(s.model)
		a.prompts = [][]int32{ids}
	} else {
		a.prompts, err = q.textPrompts(s.model)
	}
	return a, err
}

// run waits for a sequence and generates every choice of every prompt.
func (s *server) run(ctx context.Context, a *answer) *openai.Error {
	seq, err := s.acquire(ctx)
	if err != nil {
		return openai.AsError(err)
	}
	defer func() { s.slots <- seq }()
	for _, prompt := range a.prompts {
		if err := a.follow(ctx, seq, prompt); err != nil {
			return openai.AsError(err)
		}
	}
	return openai.AsError(a.end())
}

// acquire takes a sequence out of the pool, or waits for one in a bounded queue.
func (s *server) acquire(ctx context.Context) (*sequence, error) {
	select {
	case seq := <-s.slots:
		return s.made(seq), nil
	default:
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > int64(s.opts.Queue) {
		return nil, openai.TooManyRequests(time.Second, "all %d sequences are busy and the queue is full; try again", s.opts.Sequences)
	}
	select {
	case seq := <-s.slots:
		return s.made(seq), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *server) made(seq *sequence) *sequence {
	if seq == nil {
		seq = newSequence(s.model)
	}
	return seq
}
