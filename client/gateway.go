package client

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/openai"
)

// gateway is the HTTP face of a Client.
type gateway struct {
	c       *Client
	keys    [][sha256.Size]byte // of the API keys
	origins origins
	admin   http.Handler // /stats and its neighbours
}

// Handler is the gateway: the OpenAI routes, /v1/attestation, /stats, /jsonstats, /metrics and
// /request/debuglogentry. Every answer carries the CORS headers of
// [Config.AllowOrigins] and an x-request-id, and every failure is an OpenAI
// error object.
func (c *Client) Handler() http.Handler {
	g := &gateway{c: c, origins: newOrigins(c.cfg.AllowOrigins), admin: c.adminHandler()}
	for _, key := range c.cfg.APIKeys {
		g.keys = append(g.keys, sha256.Sum256([]byte(key)))
	}
	return g
}

// ServeHTTP implements [http.Handler].
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header()["X-Request-Id"] = []string{newRequestID()}
	body := &stallReader{r: r, control: http.NewResponseController(w), stall: g.c.cfg.Stall}
	if r.ContentLength != 0 {
		// net/http reads what a handler leaves of a body, however long that takes.
		body.renew()
	}
	if e := g.admit(w, r); e != nil {
		openai.WriteError(w, e)
		return
	}
	path := r.URL.Path
	switch {
	case r.Method == http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
	case isAdmin(path):
		g.admin.ServeHTTP(w, r)
	case !g.opens(r):
		openai.WriteError(w, openai.InvalidAPIKey())
	case path == pathDebug:
		g.debugRecord(w, r)
	default:
		g.serveAPI(w, r, body)
	}
}

const pathDebug = "/request/debuglogentry"

func isAdmin(path string) bool {
	switch path {
	case "/", "/stats", "/jsonstats", "/metrics":
		return true
	}
	return strings.HasPrefix(path, "/request/") && path != pathDebug
}

func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	return "req_" + hex.EncodeToString(b[:])
}

// admit sets the CORS headers and refuses pages of other origins: a browser
// sends their simple requests whatever it later shows them, and each one
// costs money.
func (g *gateway) admit(w http.ResponseWriter, r *http.Request) *openai.Error {
	origin := r.Header.Get("Origin")
	allowed := g.origins.allow(origin)
	g.origins.setHeader(w.Header(), origin, allowed)
	if !allowed {
		return &openai.Error{Status: 403, Type: openai.TypePermission, Code: "origin_not_allowed",
			Message: "web pages of this origin may not use this gateway; add the origin to allow_origins"}
	}
	return nil
}

func (g *gateway) opens(r *http.Request) bool { _, ok := g.knows(r); return ok }

// knows checks the API key, and returns a name for it that does not give it
// away. Hashes of equal length are compared, all of them, so that time tells nothing.
func (g *gateway) knows(r *http.Request) (name string, ok bool) {
	if len(g.keys) == 0 {
		return "", true
	}
	kind, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") {
		return "", false
	}
	hash, found := sha256.Sum256([]byte(strings.TrimSpace(key))), 0
	for _, known := range g.keys {
		found |= subtle.ConstantTimeCompare(hash[:], known[:])
	}
	if found != 1 {
		return "", false
	}
	return keyName(hash), true
}

// keyName is a fingerprint of a key's hash: enough to tell an operator's keys
// apart, too little to guess one by.
func keyName(hash [sha256.Size]byte) string {
	again := sha256.Sum256(append([]byte("cocoon api key "), hash[:]...))
	return "key-" + hex.EncodeToString(again[:4])
}

func (g *gateway) serveAPI(w http.ResponseWriter, r *http.Request, body *stallReader) {
	if e := route(r.Method, r.URL.Path); e != nil {
		openai.WriteError(w, e)
		return
	}
	switch {
	case isInference(r.URL.Path):
		g.infer(w, r, body)
		return
	case r.URL.Path == pathQuote:
		g.quote(w, r, body)
		return
	}
	doc, err := g.c.document(r.Context(), r.URL.Path)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	writeDocument(w, doc)
}

func writeDocument(w http.ResponseWriter, doc []byte) {
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(doc))}
	w.Write(doc)
}

// fail answers with an error. If the caller has left, nobody reads it.
func (g *gateway) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := openai.AsError(err)
	g.c.cfg.Log.Info("request failed", "path", r.URL.Path, "status", e.StatusCode(), "code", e.Code, "id", w.Header().Get("X-Request-Id"))
	openai.WriteError(w, e)
}

func (g *gateway) infer(w http.ResponseWriter, r *http.Request, from *stallReader) {
	body, held, err := g.readBody(from)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	g.c.counts.bytesReceived.Add(int64(len(body)))
	rq, e := g.c.newRequest(r.URL.Path, r.Header, body)
	g.c.memory.give(held)
	if e != nil {
		g.fail(w, r, e)
		return
	}
	rq.key, _ = g.knows(r)
	a, err := g.c.ask(r.Context(), rq)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	defer a.close()
	g.relay(w, r, from.control, a)
}

// quote answers what a request would cost. Its body goes nowhere.
func (g *gateway) quote(w http.ResponseWriter, r *http.Request, from *stallReader) {
	body, held, err := g.readBody(from)
	defer g.c.memory.give(held)
	var doc []byte
	if err == nil {
		doc, err = g.c.quoteDocument(r.Context(), r.Header, body)
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	writeDocument(w, doc)
}

// stallReader renews the deadline while it reads, so that a slow upload may
// last and a dead one may not.
type stallReader struct {
	r       *http.Request
	control *http.ResponseController
	stall   time.Duration
	renewed time.Time
}

func (s *stallReader) renew() {
	if now := time.Now(); now.Sub(s.renewed) > s.stall/8 {
		s.renewed = now
		s.control.SetReadDeadline(now.Add(s.stall))
	}
}

func (s *stallReader) Read(p []byte) (int, error) {
	s.renew()
	return s.r.Body.Read(p)
}

func (g *gateway) readBody(from *stallReader) ([]byte, int64, error) {
	body, held, err := g.c.readBody(from, from.r.ContentLength)
	var e *openai.Error
	switch {
	case err == nil:
		from.control.SetReadDeadline(time.Time{}) // from here on a read only notices that the caller leaves
	case errors.As(err, &e):
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &openai.Error{Status: 408, Type: openai.TypeInvalidRequest, Code: openai.CodeTimeout, Message: "the request body stopped coming"}
	default:
		err = openai.BadRequest("", openai.CodeInvalidValue, "the request body could not be read")
	}
	return body, held, err
}

// relay writes an answer part by part, each as soon as it is there.
func (g *gateway) relay(w http.ResponseWriter, r *http.Request, control *http.ResponseController, a *answer) {
	out := &stallWriter{w: w, control: control, stall: g.c.cfg.Stall}
	chunks, end, err := a.next(r.Context())
	if err != nil {
		return
	}
	a.setHeader(w.Header())
	if !end {
		w.Header()["Trailer"] = a.trailers() // what it costs is known at the end
	}
	if end { // all is there: one write, one length
		size := 0
		for _, chunk := range chunks {
			size += len(chunk)
		}
		w.Header()["Content-Length"] = []string{strconv.Itoa(size)}
	}
	w.WriteHeader(a.status())
	for {
		if !out.write(chunks, !end) || end {
			a.setCost(w.Header()) // where it was announced
			return
		}
		if chunks, end, err = a.next(r.Context()); err != nil {
			return
		}
	}
}

// stallWriter gives each part of an answer its own time to be taken.
type stallWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	renewed time.Time
}

// write reports false if the caller does not take any more.
func (s *stallWriter) write(chunks [][]byte, flush bool) bool {
	if now := time.Now(); now.Sub(s.renewed) > s.stall/8 {
		s.renewed = now
		s.control.SetWriteDeadline(now.Add(s.stall))
	}
	for _, chunk := range chunks {
		if _, err := s.w.Write(chunk); err != nil {
			return errors.Is(err, http.ErrBodyNotAllowed) // HEAD-like statuses: read on, write nothing
		}
	}
	return !flush || s.control.Flush() == nil
}

// debugRecord serves a kept debug record by its guid, as the reference does.
func (g *gateway) debugRecord(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		openai.WriteError(w, openai.MethodNotAllowed(r.Method, r.URL.Path, "GET, HEAD, OPTIONS"))
		return
	}
	writeDocument(w, g.c.debug.find(r.URL.Query().Get("request_guid")))
}
