package openaigo

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/opencocoon/cocoon/devnet"
	"github.com/opencocoon/cocoon/engine/builtin"
	"github.com/opencocoon/cocoon/engine/enginetest"
)

// An engine dies in the middle of a stream, another worker goes on, and the SDK
// reads one answer.
func TestResumedStreamIsOneAnswer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	model, err := builtin.Default()
	if err != nil {
		t.Fatal(err)
	}
	serve := builtin.NewServer(model, builtin.Options{})
	answer := func(w http.ResponseWriter, q *enginetest.Request) {
		r := q.Request.Clone(q.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(q.Payload)), int64(len(q.Payload))
		serve.ServeHTTP(w, r)
	}
	engine := enginetest.New(t, answer)
	engine.SetModel(model.Name())
	engine.SetOwner("cocoon")
	n, err := devnet.Start(ctx, devnet.Config{Listen: "127.0.0.1:0", Engine: engine.URL, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	sdk := openai.NewClient(option.WithBaseURL(n.Info().BaseURL), option.WithAPIKey("unused"), option.WithMaxRetries(0), option.WithHeader("X-Cocoon-Provider", `{"resume":true}`))
	ask := params(n.Info().Model)
	ask.StreamOptions.IncludeUsage = openai.Bool(true)
	read := func() openai.ChatCompletionAccumulator {
		t.Helper()
		s := sdk.Chat.Completions.NewStreaming(ctx, ask)
		defer s.Close()
		acc := openai.ChatCompletionAccumulator{}
		for s.Next() {
			if !acc.AddChunk(s.Current()) {
				t.Errorf("the SDK takes %s for a part of another answer", s.Current().ID)
			}
		}
		if s.Err() != nil || len(acc.Choices) != 1 {
			t.Fatalf("%v, %d choices", s.Err(), len(acc.Choices))
		}
		return acc
	}
	whole := read()
	engine.SetScript(func(w http.ResponseWriter, q *enginetest.Request) {
		if !strings.Contains(string(q.Payload), "continue_final_message") {
			w = &dying{w, 9}
		}
		answer(w, q)
	})
	resumed := read()
	if got, want := resumed.Choices[0], whole.Choices[0]; got.Message.Content != want.Message.Content || got.FinishReason != want.FinishReason || got.Message.Role != want.Message.Role {
		t.Errorf("resumed: %q (%s), want %q (%s)", got.Message.Content, got.FinishReason, want.Message.Content, want.FinishReason)
	}
	checkUsage(t, resumed.Usage)
	if got, want := resumed.Usage, whole.Usage; got.PromptTokens <= 2*want.PromptTokens || got.CompletionTokens != want.CompletionTokens {
		t.Errorf("usage %d and %d tokens, want two prompts, one of them longer, of %d, and %d", got.PromptTokens, got.CompletionTokens, want.PromptTokens, want.CompletionTokens)
	}
	if engine.Count() != 3 {
		t.Errorf("the engines were asked %d times, want 3", engine.Count())
	}
}

// dying is a connection that is cut in its last event.
type dying struct {
	http.ResponseWriter
	left int
}

func (d *dying) Write(p []byte) (int, error) {
	if d.left--; d.left == 0 {
		d.ResponseWriter.Write(p[:len(p)/2])
		http.NewResponseController(d.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return d.ResponseWriter.Write(p)
}

// Unwrap lets the engine flush.
func (d *dying) Unwrap() http.ResponseWriter { return d.ResponseWriter }
