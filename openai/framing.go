package openai

import "strings"

// Framing says how documents follow each other in an answer's body.
type Framing int

const (
	// Plain is one JSON document, or several behind one another with or
	// without white space between, or no JSON at all.
	Plain Framing = iota
	// SSE is a stream of server-sent events.
	SSE
	// NDJSON is one JSON document per line.
	NDJSON
)

// String returns the framing's name.
func (f Framing) String() string {
	return [...]string{"plain", "sse", "ndjson"}[f]
}

// FramingOf reads a Content-Type header value.
func FramingOf(contentType string) Framing {
	media, _, _ := strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(media)) {
	case "text/event-stream":
		return SSE
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines":
		return NDJSON
	}
	return Plain
}

// ErrorEvent is e as the last piece of an answer that has begun, in the
// answer's own framing: SDKs look for a member "error" in each document.
// Whatever came before must have ended its line.
func ErrorEvent(f Framing, e *Error) []byte {
	return AppendDocument(nil, f, e.JSON())
}

// AppendDocument appends doc, which must be on one line, as a piece of its own.
func AppendDocument(dst []byte, f Framing, doc []byte) []byte {
	if f == SSE {
		dst = append(dst, "data: "...)
		dst = append(dst, doc...)
		return append(dst, '\n', '\n')
	}
	return append(append(dst, doc...), '\n')
}
