package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/opencocoon/cocoon/openai"
)

// Transport is an [http.RoundTripper] that sends OpenAI requests over the
// network; host and scheme of their URLs do not matter. With openai-go:
//
//	openai.NewClient(option.WithHTTPClient(&http.Client{Transport: c.Transport()}),
//		option.WithBaseURL("http://cocoon/v1"), option.WithAPIKey("none"))
//
// It knows the routes of the gateway that begin with /v1. Failures are
// answers with an OpenAI error object, as from any OpenAI server; RoundTrip
// itself fails only when the request's context ends or its body cannot be
// read. As always with net/http, the response's Body must be closed: closing
// it early cancels the request down to the engine.
func (c *Client) Transport() http.RoundTripper { return (*transport)(c) }

type transport Client

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := (*Client)(t)
	if r.Body != nil {
		defer r.Body.Close()
	}
	res, err := c.roundTrip(r)
	var failed *openai.Error
	if err != nil && r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	if errors.As(err, &failed) {
		return errorResponse(r, failed), nil
	}
	return res, err
}

func (c *Client) roundTrip(r *http.Request) (*http.Response, error) {
	if e := route(r.Method, r.URL.Path); e != nil {
		return nil, e
	}
	if isDocument(r.URL.Path) {
		doc, err := c.document(r.Context(), r.URL.Path)
		if err != nil {
			return nil, err
		}
		return response(r, 200, http.Header{"Content-Type": {"application/json"}}, doc), nil
	}
	body, held, err := c.readBody(r.Body, r.ContentLength)
	if err != nil {
		return nil, err
	}
	if r.URL.Path == pathQuote {
		defer c.memory.give(held)
		doc, err := c.quoteDocument(r.Context(), r.Header, body)
		if err != nil {
			return nil, err
		}
		return response(r, 200, http.Header{"Content-Type": {"application/json"}}, doc), nil
	}
	c.counts.bytesReceived.Add(int64(len(body)))
	rq, e := c.newRequest(r.URL.Path, r.Header, body)
	c.memory.give(held)
	if e != nil {
		return nil, e
	}
	a, err := c.ask(r.Context(), rq)
	if err != nil {
		return nil, err
	}
	return a.response(r), nil
}

// response turns an answer into a response whose body is read from the
// network as it is asked for.
func (a *answer) response(r *http.Request) *http.Response {
	res := response(r, a.status(), http.Header{}, nil)
	a.setHeader(res.Header)
	b := &body{a: a}
	b.ctx, b.cancel = context.WithCancel(r.Context())
	res.Body, res.ContentLength = b, -1
	if a.resumer == nil && (a.pending.end || a.pending.failed != nil) {
		b.fetch() // cannot wait: it is all there
		res.ContentLength = b.size()
		res.Header.Set("Content-Length", strconv.FormatInt(res.ContentLength, 10))
		a.setCost(res.Header)
	} else {
		res.Trailer = http.Header{}
		for _, name := range a.trailers() {
			res.Trailer[name] = nil
		}
		b.trailer = res.Trailer
	}
	return res
}

func response(r *http.Request, status int, h http.Header, doc []byte) *http.Response {
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(bytes.NewReader(doc)), ContentLength: int64(len(doc)), Request: r,
	}
}

func errorResponse(r *http.Request, e *openai.Error) *http.Response {
	doc, h := e.JSON(), http.Header{}
	e.SetHeader(h, len(doc))
	return response(r, e.StatusCode(), h, doc)
}

// body reads an answer's body. Close may be called while a Read waits.
type body struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards below; held while a Read waits, until ctx ends
	a       *answer
	trailer http.Header // nil if there is none
	chunks  [][]byte
	end     bool
	err     error
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.chunks) == 0 {
		switch {
		case b.err != nil:
			return 0, b.err
		case b.end:
			return 0, io.EOF
		}
		b.fetch()
	}
	n := copy(p, b.chunks[0])
	if b.chunks[0] = b.chunks[0][n:]; len(b.chunks[0]) == 0 {
		b.chunks = b.chunks[1:]
	}
	return n, nil
}

func (b *body) fetch() {
	chunks, end, err := b.a.next(b.ctx)
	if err != nil {
		b.err = err
		b.a.close()
	}
	for _, chunk := range chunks {
		if len(chunk) > 0 {
			b.chunks = append(b.chunks, chunk)
		}
	}
	if b.end = end; end && b.trailer != nil {
		b.a.setCost(b.trailer)
	}
}

func (b *body) size() (n int64) {
	for _, chunk := range b.chunks {
		n += int64(len(chunk))
	}
	return n
}

var errBodyClosed = errors.New("client: read of a closed body")

// Close ends the answer; if it has not come to its end, the request is
// cancelled.
func (b *body) Close() error {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.a.close()
	if b.err == nil {
		b.err = errBodyClosed
	}
	b.chunks = nil
	return nil
}

// route says what is wrong with a method and path below /v1, or nil.
func route(method, path string) *openai.Error {
	switch {
	case isInference(path), path == pathQuote:
		if method != http.MethodPost {
			return openai.MethodNotAllowed(method, path, "POST, OPTIONS")
		}
	case isDocument(path):
		if method != http.MethodGet && method != http.MethodHead {
			return openai.MethodNotAllowed(method, path, "GET, HEAD, OPTIONS")
		}
	default:
		return openai.UnknownURL(method, path)
	}
	return nil
}

// modelsDocument is the answer to GET /v1/models and /v1/models/{id}.
func (c *Client) modelsDocument(ctx context.Context, path string) ([]byte, error) {
	models, err := c.Models(ctx)
	if err != nil {
		return nil, err
	}
	id, one := strings.CutPrefix(path, pathModels+"/")
	if !one {
		return json.Marshal(openai.NewModelList(models))
	}
	for _, m := range models {
		if m.ID == id {
			return json.Marshal(m)
		}
	}
	return nil, openai.ModelNotFound(id)
}

// readBody reads a request body of size bytes, or of unknown size if that is
// negative. held was taken from the client's memory; the caller gives it back.
func (c *Client) readBody(from io.Reader, size int64) (body []byte, held int64, err error) {
	if from == nil {
		return nil, 0, nil
	}
	limit := c.cfg.MaxBody
	if size > limit {
		return nil, 0, openai.TooLarge(limit, size)
	}
	// An announced size is not memory yet: grow with what arrives.
	buf := make([]byte, 0, min(max(size, 0), 64<<10)+512)
	for {
		if len(buf) == cap(buf) {
			if !c.memory.take(int64(cap(buf))) {
				c.memory.give(held)
				return nil, 0, outOfMemory()
			}
			held += int64(cap(buf))
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > limit:
			c.memory.give(held)
			return nil, 0, openai.TooLarge(limit, -1)
		case err == io.EOF:
			return buf, held, nil
		case err != nil:
			c.memory.give(held)
			return nil, 0, err
		}
	}
}
