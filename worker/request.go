package worker

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// The three paths of the network and what their bodies must hold.
const (
	pathChat       = "/v1/chat/completions"
	pathCompletion = "/v1/completions"
	pathTranscribe = "/v1/audio/transcriptions"
)

// request is a caller's request behind the rules: what the engine is asked.
type request struct {
	path   string
	header http.Header
	body   []byte
	// payload is the body as it came.
	payload []byte
	// stream is the caller's wish. form marks a multipart body.
	stream, form bool
	// goesOn marks a request for the rest of an answer that another worker began.
	goesOn bool
	// limit is the most completion tokens the caller agreed to pay, 0 if it
	// named none.
	limit int64
	// plain is body without the stream_options we put in, for engines older
	// than that member; nil if we put nothing in.
	plain []byte
}

// readRequest applies the rules of the network to one http.request
// (roles.md §5.4, current.md §7.2). They are deliberately few: the path is one
// of three, the model is ours, and what this worker itself must understand has
// its right type. Everything else, tools and images and members nobody here
// has heard of, is the engine's to accept or refuse, and reaches it byte for byte.
func readRequest(in *tl.HTTPRequest, model string, credentials bool) (*request, *refusal) {
	r := &request{body: in.Payload, payload: in.Payload, header: engineHeader(in.Headers, credentials)}
	slash := strings.IndexByte(in.URL, '/')
	if slash < 0 {
		return nil, badRequest("unsupported method: url has no path")
	}
	r.goesOn = goesOn(in.Headers)
	var bad *refusal
	switch r.path = in.URL[slash:]; r.path {
	case pathChat:
		bad = r.readJSON(model, "messages")
	case pathCompletion:
		bad = r.readJSON(model, "prompt")
	case pathTranscribe:
		bad = r.readForm(model)
	default:
		bad = badRequest("unsupported method %q, want %s, %s or %s", clip(r.path, 64), pathChat, pathCompletion, pathTranscribe)
	}
	if bad != nil {
		return nil, bad
	}
	return r, nil
}

// readJSON reads the members we need; input is the one that holds the prompt.
func (r *request) readJSON(model, input string) *refusal {
	doc, err := openai.ParseObject(r.body)
	if err != nil {
		return badRequest("body: %v", err) // names at most a member, never a value
	}
	m := members{doc: doc}
	m.model(model)
	m.input(input)
	m.encryption()
	r.stream = m.flag("stream")
	r.limit = m.limit(input)
	if m.bad != nil {
		return m.bad
	}
	if bad := r.streamOptions(doc); bad != nil {
		return bad
	}
	r.body = doc.Bytes()
	return nil
}

// streamOptions makes a stream tell its usage, which is how it gets paid for,
// and takes the options away from a request that does not stream, as engines
// refuse them there. Both are what the network's callers are used to.
func (r *request) streamOptions(doc *openai.Object) *refusal {
	const member = "stream_options"
	raw := doc.Get(member)
	if !r.stream {
		if raw != nil {
			doc.Remove(member)
		}
		return nil
	}
	value := []byte(`{"include_usage":true}`)
	if raw != nil && string(raw) != "null" {
		options, err := openai.ParseObject(raw)
		if err != nil {
			return badRequest("%s: %v", member, err)
		}
		if string(options.Get("include_usage")) == "true" {
			return nil
		}
		options.Set("include_usage", []byte("true"))
		value = options.Bytes()
	}
	doc.Remove(member)
	r.plain = doc.Bytes()
	doc.Set(member, value)
	return nil
}

// members reads typed members and remembers the first that is wrong.
type members struct {
	doc *openai.Object
	bad *refusal
}

func (m *members) fail(name, want string) {
	if m.bad == nil {
		m.bad = badRequest("member %q, want %s", name, want)
	}
}

func (m *members) model(base string) {
	raw := m.doc.Get("model")
	if raw == nil {
		m.fail("model", "the name of a model; it is missing")
		return
	}
	if name, ok := unquote(raw); !ok || name != base {
		m.fail("model", strconv.Quote(base)+", the model served here")
	}
}

func (m *members) input(name string) {
	raw := m.doc.Get(name)
	switch {
	case raw == nil:
		m.fail(name, "a value; it is missing")
	case name == "messages" && raw[0] != '[':
		m.fail(name, "an array")
	case raw[0] != '[' && raw[0] != '"':
		m.fail(name, "a string or an array")
	}
}

// encryption turns away encrypted bodies that came without their key: to the
// engine they would be noise, and the caller would pay for an answer to it.
func (m *members) encryption() {
	if m.bad == nil && m.doc.Get("is_encrypted") != nil {
		m.bad = &refusal{wire.CodeError, "worker: cannot find private key"}
	}
}

func (m *members) flag(name string) bool {
	switch raw := m.doc.Get(name); string(raw) {
	case "true":
		return true
	case "", "false", "null":
	default:
		m.fail(name, "true or false")
	}
	return false
}

// integer reads a whole number. Null means not given, as SDKs write it.
func (m *members) integer(name string) (n int64, given bool) {
	raw := m.doc.Get(name)
	if raw == nil || string(raw) == "null" {
		return 0, false
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		m.fail(name, "a whole number")
	}
	return n, err == nil
}

// limit is how many completion tokens the caller allows over all choices; 0
// is no limit. Engines know either name of it, so where the newer one is given
// both are written, with the value of max_tokens if there is one, as the
// network does.
func (m *members) limit(input string) int64 {
	limit, old := m.integer("max_tokens")
	newer, ok := m.integer("max_completion_tokens")
	if !old {
		limit = newer
	}
	if ok && limit > 0 && (!old || limit != newer) {
		text := strconv.AppendInt(nil, limit, 10)
		m.doc.Set("max_tokens", text)
		m.doc.Set("max_completion_tokens", text)
	}
	n, _ := m.integer("n")
	best, _ := m.integer("best_of")
	if raw := m.doc.Get(input); input == "prompt" && len(raw) > 0 && raw[0] == '[' {
		return 0 // several prompts: the limit is per prompt
	}
	return saturatingMul(max(limit, 0), max(n, best, 1))
}

func saturatingMul(a, b int64) int64 {
	if a > 0 && b > (1<<62)/a {
		return 1 << 62
	}
	return a * b
}

// unquote reads a JSON string; the common one without escapes costs nothing.
func unquote(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	return unescape(raw)
}
