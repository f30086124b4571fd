package openai

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers that carry the network's options, for SDKs that refuse unknown body
// members. A body member wins over its header.
const (
	HeaderMaxCoefficient = "X-Cocoon-Max-Coefficient"
	HeaderTimeout        = "X-Cocoon-Timeout"
	HeaderDebug          = "X-Cocoon-Enable-Debug"
	HeaderGUID           = "X-Cocoon-Request-Guid"
	HeaderProvider       = "X-Cocoon-Provider" // the object, as JSON
	HeaderExplain        = "X-Cocoon-Explain"
)

// Limits of option values.
const (
	MaxModelName = 512            // bytes
	MaxGUID      = 256            // bytes
	MaxTimeout   = 24 * time.Hour // of Options.Timeout
)

// Options is what the network reads from a request (roles.md §3.3, current.md
// §7.1).
type Options struct {
	// Model is the model's base name, never empty.
	Model string
	// Pin is the model as it was asked for if that names a revision
	// (name@commit or name@commit:hash); empty if any will do. The body asks for
	// Model then, which is the name that engines know.
	Pin string
	// MaxTokens is max_completion_tokens, else max_tokens, if HasMaxTokens.
	// Both stay in the body.
	MaxTokens    int64
	HasMaxTokens bool
	// MaxCoefficient is the highest acceptable price in thousandths of the
	// network's, if HasMaxCoefficient.
	MaxCoefficient    int32
	HasMaxCoefficient bool
	// Timeout is the caller's time budget; 0 means none was given.
	Timeout time.Duration
	// Debug asks for timing records with the answer.
	Debug bool
	// Provider says who shall serve; nil if the caller does not care.
	Provider *Provider
	// Explain asks why the worker was chosen.
	Explain bool
	// GUID names the debug record; empty means none.
	GUID string
	// Stream says that the answer was asked for as a stream. It stays in the
	// body.
	Stream bool
	// ReceiverPublicKey is the network key that the caller encrypted its body
	// for, if Encrypted. It stays in the body (current.md §3).
	ReceiverPublicKey [32]byte
	Encrypted         bool
	choices, prompts  int64 // 0 if not given; see Answers
}

// Answers is how many times MaxTokens may be generated: choices times prompts,
// at least 1. What is malformed counts as 1, and is the engine's to refuse.
func (o *Options) Answers() int64 {
	return min(max(o.choices, 1)*max(o.prompts, 1), maxAnswers)
}

// ParseOptions reads the options of a request with a JSON or multipart body.
// forward is the body without the members that are the network's own; all other
// bytes are untouched. Errors are the caller's fault and name the member.
func ParseOptions(h http.Header, body []byte) (opts Options, forward []byte, err *Error) {
	if err := opts.readHeader(h); err != nil {
		return Options{}, nil, err
	}
	if isForm, boundary := formBoundary(h.Get("Content-Type")); isForm {
		forward, err = opts.readForm(boundary, body)
	} else {
		forward, err = opts.readJSON(body)
	}
	if err != nil {
		return Options{}, nil, err
	}
	if opts.Model == "" {
		return Options{}, nil, BadRequest("model", CodeMissing, "missing required parameter: 'model'")
	}
	return opts, forward, nil
}

// field is one option: where it is written, and how it is read from either
// form. Value is raw JSON in bodies of JSON and plain text elsewhere.
type field struct {
	name    string
	private bool // removed from the body
	read    func(o *Options, v value) *Error
}

// fields in order of reading; max_completion_tokens is to win.
var fields = []field{
	{"model", false, (*Options).readModel},
	{"stream", false, (*Options).readStream},
	{"max_tokens", false, (*Options).readMaxTokens},
	{"max_completion_tokens", false, (*Options).readMaxTokens},
	{"receiver_public_key", false, (*Options).readKey},
	{"n", false, (*Options).readChoices},
	{"best_of", false, (*Options).readChoices},
	{"prompt", false, (*Options).readPrompts},
	{"max_coefficient", true, (*Options).readMaxCoefficient},
	{"timeout", true, (*Options).readTimeout},
	{"enable_debug", true, (*Options).readDebug},
	{"request_guid", true, (*Options).readGUID},
	{"provider", true, (*Options).readProvider},
	{"explain", true, (*Options).readExplain},
}

var headers = []struct{ header, field string }{
	{HeaderMaxCoefficient, "max_coefficient"}, {HeaderTimeout, "timeout"},
	{HeaderDebug, "enable_debug"}, {HeaderGUID, "request_guid"},
	{HeaderProvider, "provider"}, {HeaderExplain, "explain"},
}

func fieldNamed(name string) *field {
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	return nil
}

func (o *Options) readHeader(h http.Header) *Error {
	for _, from := range headers {
		values := h[from.header]
		if len(values) == 0 {
			continue
		}
		if len(values) > 1 {
			return BadRequest(from.header, CodeDuplicate, "header %s occurs %d times, want once", from.header, len(values))
		}
		v := value{name: from.header, raw: []byte(strings.TrimSpace(values[0])), text: true}
		if err := fieldNamed(from.field).read(o, v); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) readJSON(body []byte) ([]byte, *Error) {
	doc, err := ParseObject(body)
	if err != nil {
		return nil, jsonError(body, err)
	}
	for _, f := range fields {
		raw := doc.Get(f.name)
		if raw == nil {
			continue
		}
		if string(raw) != "null" { // SDKs write null for "not given"
			if err := f.read(o, value{name: f.name, raw: raw}); err != nil {
				return nil, err
			}
		}
		if f.private {
			doc.Remove(f.name)
		}
	}
	if o.Pin != "" {
		base, err := json.Marshal(o.Model)
		if err != nil {
			return nil, BadRequest("model", CodeInvalidValue, "invalid value for 'model': %v", err)
		}
		doc.Set("model", base)
	}
	return doc.Bytes(), nil
}

func jsonError(body []byte, err error) *Error {
	var twice *DuplicateError
	switch {
	case errors.As(err, &twice):
		name := twice.Name
		if len(name) > 64 {
			name = name[:64]
		}
		return BadRequest(name, CodeDuplicate, "duplicate parameter: '%s' occurs twice", name)
	case len(body) == 0:
		return BadRequest("", CodeInvalidJSON, "request body is empty, want a JSON object")
	case errors.Is(err, errNotObject):
		return BadRequest("", CodeInvalidType, "request body is JSON but not an object")
	}
	return BadRequest("", CodeInvalidJSON, "could not parse the request body: %s", err)
}

// value is an option as it was written.
type value struct {
	name string // for messages
	raw  []byte
	text bool // plain text of a header or a form, not JSON
}

func (v value) wrong(want string) *Error {
	return BadRequest(v.name, CodeInvalidType, "invalid type for '%s': want %s", v.name, want)
}

func (v value) outside(want string) *Error {
	return BadRequest(v.name, CodeInvalidValue, "invalid value for '%s': want %s", v.name, want)
}

func (v value) string(max int) (string, *Error) {
	s := string(v.raw)
	if !v.text {
		if v.raw[0] != '"' || json.Unmarshal(v.raw, &s) != nil {
			return "", v.wrong("a string")
		}
	}
	if len(s) > max {
		return "", v.outside("at most " + strconv.Itoa(max) + " bytes")
	}
	return s, nil
}

func (v value) integer() (int32, *Error) {
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, v.wrong("a whole number")
	}
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0, v.outside("0 to 2147483647") // the reference lets it wrap [D]
	}
	return int32(n), nil
}

func (v value) bool() (bool, *Error) {
	switch string(v.raw) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	if v.text && string(v.raw) == "1" {
		return true, nil
	}
	if v.text && string(v.raw) == "0" {
		return false, nil
	}
	return false, v.wrong("true or false")
}

func (o *Options) readModel(v value) (err *Error) {
	if o.Model, err = v.string(MaxModelName); err != nil {
		return err
	}
	if base, _, pinned := strings.Cut(o.Model, "@"); pinned {
		o.Model, o.Pin = base, o.Model
	}
	return nil
}

// readStream takes a form's word only if it is clear: what an app has encrypted
// itself is for the worker.
func (o *Options) readStream(v value) (err *Error) {
	if v.text && strings.HasPrefix(string(v.raw), "ENC_") {
		return nil
	}
	o.Stream, err = v.bool()
	return err
}

func (o *Options) readMaxTokens(v value) *Error {
	n, err := v.integer()
	o.MaxTokens, o.HasMaxTokens = int64(n), err == nil
	return err
}

func (o *Options) readMaxCoefficient(v value) (err *Error) {
	o.MaxCoefficient, err = v.integer()
	o.HasMaxCoefficient = err == nil
	return err
}

func (o *Options) readTimeout(v value) *Error {
	seconds, err := strconv.ParseFloat(string(v.raw), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return v.wrong("a number of seconds")
	}
	if !(seconds > 0 && seconds <= MaxTimeout.Seconds()) {
		return v.outside("seconds above 0, at most 86400")
	}
	o.Timeout = max(time.Millisecond, time.Duration(seconds*float64(time.Second)))
	return nil
}

// maxAnswers keeps products with it far from overflow.
const maxAnswers = 1 << 20

func (o *Options) readChoices(v value) *Error {
	if n, err := v.integer(); err == nil {
		o.choices = max(o.choices, min(int64(n), maxAnswers))
	}
	return nil
}

// readPrompts counts the prompts of a list. A list of numbers is one prompt in tokens.
func (o *Options) readPrompts(v value) *Error {
	var list []json.RawMessage
	if v.text || v.raw[0] != '[' || json.Unmarshal(v.raw, &list) != nil || len(list) == 0 {
		return nil
	}
	if first := list[0][0]; first == '"' || first == '[' {
		o.prompts = min(int64(len(list)), maxAnswers)
	}
	return nil
}

func (o *Options) readDebug(v value) (err *Error) {
	o.Debug, err = v.bool()
	return err
}

func (o *Options) readExplain(v value) (err *Error) {
	o.Explain, err = v.bool()
	return err
}

func (o *Options) readGUID(v value) (err *Error) {
	o.GUID, err = v.string(MaxGUID)
	return err
}

// readKey takes 64 hex digits, standard base64 or 32 bytes as they are.
func (o *Options) readKey(v value) *Error {
	s, err := v.string(128)
	if err != nil {
		return err
	}
	key := []byte(s)
	switch len(s) {
	case 64:
		key, _ = hex.DecodeString(s)
	case 44:
		key, _ = base64.StdEncoding.DecodeString(s)
	}
	if len(key) != 32 {
		return v.outside("a 32-byte key as 64 hex digits or base64")
	}
	copy(o.ReceiverPublicKey[:], key)
	o.Encrypted = true
	return nil
}
