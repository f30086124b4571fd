package enginetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// PromptTokens is what every honest script reports for the prompt.
const PromptTokens = 11

var (
	fastPlain = []byte(`{"id":"chatcmpl-0","object":"chat.completion","created":1700000000,"model":"fake/model",` +
		`"choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":11,"completion_tokens":2,"total_tokens":13}}`)
	fastStream = []byte("data: " + `{"id":"chatcmpl-0","object":"chat.completion.chunk","created":1700000000,"model":"fake/model",` +
		`"choices":[{"index":0,"delta":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}]}` + "\n\n" +
		"data: " + `{"id":"chatcmpl-0","object":"chat.completion.chunk","created":1700000000,"model":"fake/model",` +
		`"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":2,"total_tokens":13}}` + "\n\ndata: [DONE]\n\n")
	fastPlainLength = []string{strconv.Itoa(len(fastPlain))}
	jsonType        = []string{"application/json"}
	sseType         = []string{"text/event-stream"}
)

// Streams reports whether the request asks for a streamed answer.
func (q *Request) Streams() bool {
	return bytes.Contains(q.Payload, []byte(`"stream":true`)) || bytes.Contains(q.Payload, []byte(`"stream": true`))
}

// wantsUsage reports whether a stream shall end with a usage chunk.
func (q *Request) wantsUsage() bool {
	return bytes.Contains(q.Payload, []byte(`"include_usage":true`)) || bytes.Contains(q.Payload, []byte(`"include_usage": true`))
}

// Fast answers at once with a few fixed bytes: for load tests, where the
// engine must cost next to nothing.
func Fast() Script {
	return func(w http.ResponseWriter, q *Request) {
		h := w.Header()
		if q.Streams() {
			h["Content-Type"] = sseType
			w.Write(fastStream)
			return
		}
		h["Content-Type"], h["Content-Length"] = jsonType, fastPlainLength
		w.Write(fastPlain)
	}
}

// Stream describes an answer of several chunks; its Answer is a [Script].
// Each chunk carries the content "tokN " and in t the time of its emission
// (Unix microseconds). A request that does not stream gets one JSON answer
// with the whole text after the same time.
type Stream struct {
	Chunks int
	// Every is the pause before each chunk, Head the pause before the answer.
	Every, Head time.Duration
	// NDJSON sends bare lines instead of events.
	NDJSON bool
	// Usage holds the usage objects to report, one per chunk from the last
	// chunk backwards; nil reports honestly if asked, and an empty non-nil
	// slice reports nothing.
	Usage []string
	// StopAfter > 0 ends the orderly part after that many chunks: by hanging,
	// or with Die by cutting the connection.
	StopAfter int
	Die       bool
}

// Chunks streams n events, one every interval.
func Chunks(n int, every time.Duration) Script { return Stream{Chunks: n, Every: every}.Answer }

// NDJSON streams n lines of JSON, one every interval.
func NDJSON(n int, every time.Duration) Script {
	return Stream{Chunks: n, Every: every, NDJSON: true}.Answer
}

// Silent streams or answers without ever telling usage.
func Silent(n int) Script { return Stream{Chunks: n, Usage: []string{}}.Answer }

// Liar reports the given usage objects, whatever it delivered.
func Liar(n int, usage ...string) Script { return Stream{Chunks: n, Usage: usage}.Answer }

// HangAfter goes quiet after n chunks and stays connected.
func HangAfter(n int) Script { return Stream{Chunks: n + 1, StopAfter: n}.Answer }

// DieAfter cuts the connection after n chunks, in the middle of the answer.
func DieAfter(n int) Script { return Stream{Chunks: n + 1, StopAfter: n, Die: true}.Answer }

// SlowHead sends the first byte only after d.
func SlowHead(d time.Duration) Script { return Stream{Chunks: 3, Head: d}.Answer }

// Answer is the script.
func (s Stream) Answer(w http.ResponseWriter, q *Request) {
	if !q.sleep(s.Head) {
		return
	}
	if q.Streams() {
		s.stream(w, q)
	} else {
		s.plain(w, q)
	}
}

func (s Stream) stream(w http.ResponseWriter, q *Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	if s.NDJSON {
		w.Header().Set("Content-Type", "application/x-ndjson")
	}
	for i := range s.Chunks {
		if !q.sleep(s.Every) || s.stops(q, i) {
			return
		}
		s.send(w, fmt.Sprintf(`{"id":"chatcmpl-0","object":"chat.completion.chunk","created":1700000000,"model":"fake/model","t":%d,`+
			`"choices":[{"index":0,"delta":{"content":"tok%d "},"finish_reason":null}]%s}`, time.Now().UnixMicro(), i, s.lie(s.Chunks-i)))
	}
	if u := s.usage(); u != "" && (q.wantsUsage() || s.Usage != nil) {
		s.send(w, `{"id":"chatcmpl-0","object":"chat.completion.chunk","created":1700000000,"model":"fake/model","choices":[],"usage":`+u+`}`)
	}
	if !s.NDJSON {
		io.WriteString(w, "data: [DONE]\n\n")
	}
}

func (s Stream) plain(w http.ResponseWriter, q *Request) {
	if !q.sleep(time.Duration(s.Chunks) * s.Every) {
		return
	}
	var text strings.Builder
	for i := range s.Chunks {
		fmt.Fprintf(&text, "tok%d ", i)
	}
	w.Header().Set("Content-Type", "application/json")
	body := fmt.Sprintf(`{"id":"chatcmpl-0","object":"chat.completion","created":1700000000,"model":"fake/model",`+
		`"choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}]`, text.String())
	if s.StopAfter > 0 {
		s.cut(w, q, body)
		return
	}
	if u := s.usage(); u != "" {
		body += `,"usage":` + u
	}
	io.WriteString(w, body+"}")
}

// cut sends half an answer and then hangs or dies.
func (s Stream) cut(w http.ResponseWriter, q *Request, body string) {
	io.WriteString(w, body)
	flush(w)
	s.stops(q, s.StopAfter)
}

func (s Stream) stops(q *Request, sent int) bool {
	if s.StopAfter == 0 || sent < s.StopAfter {
		return false
	}
	if s.Die {
		panic(http.ErrAbortHandler)
	}
	<-q.Context().Done()
	return true
}

// lie is the usage member of the chunk that is left chunks before the end.
func (s Stream) lie(left int) string {
	if at := len(s.Usage) - 1 - left; at >= 0 {
		return `,"usage":` + s.Usage[at]
	}
	return ""
}

// usage is the object of the last chunk, empty if there is none.
func (s Stream) usage() string {
	switch {
	case s.Usage == nil:
		return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`, PromptTokens, s.Chunks, PromptTokens+s.Chunks)
	case len(s.Usage) == 0:
		return ""
	}
	return s.Usage[len(s.Usage)-1]
}

func (s Stream) send(w http.ResponseWriter, document string) {
	if s.NDJSON {
		io.WriteString(w, document+"\n")
	} else {
		io.WriteString(w, "data: "+document+"\n\n")
	}
	flush(w)
}

// sleep waits and reports false if the caller left meanwhile.
func (q *Request) sleep(d time.Duration) bool {
	if d <= 0 {
		return q.Context().Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-q.Context().Done():
		return false
	}
}

func flush(w http.ResponseWriter) { http.NewResponseController(w).Flush() }
