package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/openai"
)

// api talks to a running client node as any OpenAI program would.
type api struct {
	base string // without /v1
	key  string
	http http.Client
}

// maxAnswer bounds what is read of an answer that is not streamed.
const maxAnswer = 64 << 20

// apiFlags adds the flags that say which node to talk to.
func apiFlags(cmd *cobra.Command) func() (*api, error) {
	url := cmd.Flags().StringP("url", "u", "", "base `URL` of a running client or devnet (default $COCOON_URL or http://127.0.0.1:10000)")
	keyFile := cmd.Flags().String("api-key-file", "", "`file` with the API key, if the client wants one (or $COCOON_API_KEY)")
	return func() (*api, error) {
		a := &api{base: *url, key: os.Getenv("COCOON_API_KEY")}
		if a.base == "" {
			a.base = os.Getenv("COCOON_URL")
		}
		if a.base == "" {
			a.base = "http://127.0.0.1:10000"
		}
		a.base = strings.TrimSuffix(strings.TrimSuffix(a.base, "/"), "/v1")
		if !strings.HasPrefix(a.base, "http://") && !strings.HasPrefix(a.base, "https://") {
			return nil, usageError{fmt.Errorf("url %q: want http://host:port", *url)}
		}
		if *keyFile != "" {
			key, err := readSecretFile(*keyFile)
			if err != nil {
				return nil, usageError{err}
			}
			a.key = key
		}
		return a, nil
	}
}

// do sends a request and returns the answer if its status is 200; the caller
// closes the body. Other statuses become the error that the body describes.
func (a *api) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, usageError{fmt.Errorf("url %s: %w", a.base, err)}
	}
	req.Header.Set("Content-Type", "application/json")
	if a.key != "" {
		req.Header.Set("Authorization", "Bearer "+a.key)
	}
	resp, err := a.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("nothing answers at %s; start `cocoon devnet` or `cocoon client`, or name another address with --url", a.base)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", a.base, unwrapURL(err))
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, answeredError(resp)
}

// unwrapURL drops net/http's "Post http://…:" in front of the cause.
func unwrapURL(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// answeredError reads an OpenAI error object, or makes do with the status.
func answeredError(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what came will do
	if message := errorIn(b); message != "" {
		return fmt.Errorf("%s (status %d)", message, resp.StatusCode)
	}
	return fmt.Errorf("the answer is %s, without an OpenAI error object; is %s a cocoon client?", resp.Status, resp.Request.URL.Host)
}

// errorIn finds the message of an OpenAI error object in a document; empty if
// it holds none.
func errorIn(document []byte) string {
	var body struct{ Error struct{ Message string } }
	if json.Unmarshal(document, &body) != nil {
		return ""
	}
	return body.Error.Message
}

// get reads a JSON document into v.
func (a *api) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	resp, err := a.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(v); err != nil {
		return fmt.Errorf("%s%s: the answer is not JSON: %w", a.base, path, err)
	}
	return nil
}

// models lists what the network serves now.
func (a *api) models(ctx context.Context) ([]openai.Model, error) {
	var list openai.ModelList
	err := a.get(ctx, "/v1/models", &list)
	return list.Data, err
}

// chatMessage is one turn of a conversation.
type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// chatRequest is what `cocoon chat` asks.
type chatRequest struct {
	Model         string         `json:"model"`
	Messages      []chatMessage  `json:"messages"`
	MaxTokens     int            `json:"max_tokens,omitempty"`
	Temperature   *float64       `json:"temperature,omitempty"`
	Seed          *int64         `json:"seed,omitempty"`
	Stream        bool           `json:"stream,omitempty"`
	StreamOptions map[string]any `json:"stream_options,omitempty"`
}

// chatDocument is an answer, or one document of a streamed answer.
type chatDocument struct {
	Choices []struct {
		Message, Delta struct{ Content string }
	}
	Usage *openai.Usage
}

// chatAnswer is a whole answer, put together again if it was streamed.
type chatAnswer struct {
	Model   string        `json:"model"`
	Content string        `json:"content"`
	Usage   *openai.Usage `json:"usage"`
}

// chat asks and hands each piece of text to got as it arrives. With an error
// the answer is what came before it, nil if nothing could come.
func (a *api) chat(ctx context.Context, req chatRequest, got func(string)) (*chatAnswer, error) {
	if req.Stream {
		req.StreamOptions = map[string]any{"include_usage": true}
	}
	body, err := json.Marshal(req)
	if err != nil {
		return nil, usageError{err}
	}
	resp, err := a.do(ctx, http.MethodPost, "/v1/chat/completions", body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	r := answerReader{answer: chatAnswer{Model: req.Model}, got: got}
	splitter := openai.NewSplitter(openai.FramingOf(resp.Header.Get("Content-Type")), maxAnswer)
	buf := make([]byte, 32<<10)
	for r.err == nil {
		n, err := resp.Body.Read(buf)
		splitter.Feed(buf[:n], r.piece)
		if err == io.EOF {
			splitter.Close(r.piece)
			break
		}
		if err != nil {
			r.err = fmt.Errorf("the answer broke off: %w", err)
		}
	}
	if r.err == nil && !r.seen {
		r.err = errors.New("the answer holds no choice")
	}
	r.answer.Content = r.text.String()
	return &r.answer, r.err
}

// answerReader puts the documents of an answer together.
type answerReader struct {
	answer chatAnswer
	text   strings.Builder
	got    func(string)
	seen   bool
	err    error
}

func (r *answerReader) piece(p openai.Piece) {
	if p.JSON == nil || p.Done || r.err != nil {
		return
	}
	if message := errorIn(p.JSON); message != "" {
		r.err = errors.New(message)
		return
	}
	var d chatDocument
	if err := json.Unmarshal(p.JSON, &d); err != nil {
		r.err = fmt.Errorf("the answer holds a malformed document: %w", err)
		return
	}
	if d.Usage != nil {
		r.answer.Usage = d.Usage
	}
	for _, c := range d.Choices {
		r.seen = true
		text := c.Message.Content + c.Delta.Content
		r.text.WriteString(text)
		if text != "" {
			r.got(text)
		}
	}
}
