package worker

import (
	"bytes"
	"context"
	"io"
	"net/http"
)

// maxRefusal bounds what is read of an engine's refusal to look for its cause.
const maxRefusal = 64 << 10

// ask sends the request to the engine and returns its answer with the head
// read. An engine that is too old for stream_options, which the caller may not
// have asked for, is asked once more without.
func (j *job) ask(ctx context.Context) (*http.Response, error) {
	response, err := j.post(ctx, j.request.body)
	if err != nil || response.StatusCode != http.StatusBadRequest || j.request.plain == nil {
		return response, err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	if err != nil {
		response.Body.Close()
		return nil, err
	}
	if !bytes.Contains(text, []byte("stream_options")) && !bytes.Contains(text, []byte("include_usage")) {
		response.Body = joined{io.MultiReader(bytes.NewReader(text), response.Body), response.Body}
		return response, nil
	}
	response.Body.Close()
	j.retried = true
	return j.post(ctx, j.request.plain)
}

// joined is a body some of which has been read before.
type joined struct {
	io.Reader
	io.Closer
}

func (j *job) post(ctx context.Context, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, j.w.engine+j.request.path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header = j.request.header
	if j.w.cfg.EngineKey != "" {
		r.Header["Authorization"] = []string{"Bearer " + j.w.cfg.EngineKey}
	}
	if r.Header["User-Agent"] == nil {
		r.Header["User-Agent"] = []string{"cocoon-worker"}
	}
	// Engines close idle connections after a few seconds. With this, net/http
	// repeats a request that met such a closing door and got no byte back;
	// the empty value itself is not sent.
	if r.Header["Idempotency-Key"] == nil {
		r.Header["Idempotency-Key"] = []string{}
	}
	j.status = 0
	response, err := j.w.http.Transport.RoundTrip(r) // no redirects, no cookies: nothing a client would add
	if err == nil {
		j.status, j.replied = response.StatusCode, j.w.cfg.Now()
	}
	return response, err
}
