package worker

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/openai"
)

const (
	// chunkSize is how much is read at a time, if so much is there.
	chunkSize = 32 << 10
	// wholeSize is up to where an answer that does not stream is sent as one
	// message, made when it is complete. Until then another worker may still
	// answer in its place.
	wholeSize = 64 << 10
	// partSize bounds a message, so that answers on one connection take turns.
	partSize = 64 << 10
)

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// relay passes the engine's answer on.
func (j *job) relay(ctx context.Context, r *http.Response) {
	if e := j.unfit(r); e != nil {
		j.answerWith(e)
		return
	}
	framing := openai.FramingOf(r.Header.Get("Content-Type"))
	if framing == openai.Plain && !j.request.stream {
		j.relayWhole(ctx, r)
		return
	}
	chunk := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(chunk)
	n, err := readSome(r.Body, chunk[:])
	if framing == openai.Plain && looksLikeEvents(chunk[:n]) {
		framing = openai.SSE
		r.Header["Content-Type"] = []string{"text/event-stream"}
	}
	j.open(framing, r.StatusCode >= 300)
	j.stream(ctx, r, chunk[:], n, err)
}

// open makes ready for a body of the engine; free costs nothing.
func (j *job) open(f openai.Framing, free bool) {
	j.meter = newMeter(priceOf(j.s.root, j.query.Coefficient), j.request, f, free)
	j.envelope = newEnvelope(j.sealer, f)
}

// stream passes pieces on as they come. The head leaves with the first of
// them: an engine that dies before it has said anything can be replaced.
func (j *job) stream(ctx context.Context, r *http.Response, chunk []byte, n int, err error) {
	for {
		if n > 0 && !j.send(ctx, r, j.feed(chunk[:n])) {
			j.broken(ctx)
			return
		}
		if err != nil || j.envelope.failed() {
			break
		}
		n, err = readSome(r.Body, chunk)
	}
	if !errors.Is(err, io.EOF) && !j.envelope.failed() {
		j.broken(ctx)
		return
	}
	j.complete(ctx, r, j.closeBody())
}

// complete sends the end of an answer, or all of it.
func (j *job) complete(ctx context.Context, r *http.Response, last []byte) {
	switch {
	case j.envelope.failed():
		j.unsealed()
		return
	case !j.begun && j.meter.framing == openai.Plain && !j.meter.object && !j.request.form:
		j.answerWith(badAnswer("the engine's answer is not JSON"))
		return
	case !j.begun && len(last) == 0:
		j.broken(ctx) // a stream of nothing: somebody else may do better
		return
	}
	j.ok = r.StatusCode < 500
	if !j.begun {
		j.answerWhole(ctx, r, last)
		return
	}
	j.finish(ctx, r, last)
}

// relayWhole collects an answer that nobody can use before its end.
func (j *job) relayWhole(ctx context.Context, r *http.Response) {
	buffer := make([]byte, 0, sizeHint(r.ContentLength))
	buffer, err := readUpTo(r.Body, buffer, wholeSize)
	if err != nil && !errors.Is(err, io.EOF) {
		j.broken(ctx)
		return
	}
	framing := openai.Plain
	if looksLikeEvents(buffer) { // streamed unasked, and labelled wrongly
		framing = openai.SSE
		r.Header["Content-Type"] = []string{"text/event-stream"}
	}
	j.open(framing, r.StatusCode >= 300)
	if err == nil {
		j.stream(ctx, r, make([]byte, chunkSize), 0, j.first(ctx, r, buffer))
		return
	}
	body := append([]byte(nil), j.feed(buffer)...)
	j.complete(ctx, r, append(body, j.closeBody()...))
}

// first sends the beginning of an answer too long to be collected.
func (j *job) first(ctx context.Context, r *http.Response, buffer []byte) error {
	if !j.send(ctx, r, j.feed(buffer)) {
		return context.Cause(ctx)
	}
	return nil
}

// unfit says why an answer cannot be passed on. Callers are promised OpenAI's
// objects, so a web page of some gateway becomes one.
func (j *job) unfit(r *http.Response) *openai.Error {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	json := strings.HasSuffix(media, "json") || media == "text/event-stream"
	switch encoding := r.Header.Get("Content-Encoding"); {
	case media == "text/html" || media == "application/xhtml+xml":
		return badAnswer("the engine answered with a web page")
	case encoding != "" && encoding != "identity":
		return badAnswer("the engine compressed its answer though nobody asked")
	case r.StatusCode >= 500 && !json:
		return badAnswer("the engine failed without saying why")
	case r.StatusCode >= 300 && r.StatusCode < 400:
		return badAnswer("the engine redirects instead of answering")
	case r.StatusCode >= 400 && !json:
		return &openai.Error{Status: r.StatusCode, Type: openai.TypeInvalidRequest, Message: "the engine refused the request without saying why"}
	}
	return nil
}

func badAnswer(why string) *openai.Error { return openai.BadGateway(openai.CodeBadAnswer, "%s", why) }

// looksLikeEvents recognises an event stream by its first field.
func looksLikeEvents(b []byte) bool {
	for _, field := range []string{"data:", "event:", "id:", "retry:", ":"} {
		if strings.HasPrefix(string(b[:min(len(b), 8)]), field) {
			return true
		}
	}
	return false
}

// readSome reads until there is something. A reader may return nothing with
// no error a few times, not for ever.
func readSome(r io.Reader, b []byte) (n int, err error) {
	for range 100 {
		if n, err = r.Read(b); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// readUpTo reads to the end, which it reports as io.EOF, or until it has
// more than limit bytes.
func readUpTo(r io.Reader, b []byte, limit int) ([]byte, error) {
	for len(b) <= limit {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := readSome(r, b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// sizeHint is room for a body of the announced length and its end.
func sizeHint(length int64) int64 {
	if length < 0 || length > wholeSize {
		return 4 << 10
	}
	return length + 1
}

// progressDue says, at most once a second, that the proxy should hear how far
// the answer is: it books that should this worker vanish.
func (j *job) progressDue(now time.Time) bool {
	if !j.s.progress.Load() || now.Sub(j.told) < time.Second {
		return false
	}
	j.told = now
	return true
}
