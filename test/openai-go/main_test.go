// Package openaigo drives a running network with OpenAI's own Go SDK, in a
// module of its own so that nobody who builds Cocoon has to fetch the SDK.
//
//	cocoon devnet &
//	cd test/openai-go && OPENAI_BASE_URL=http://127.0.0.1:10000/v1 go test ./...
package openaigo

import (
	"context"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

func newClient(t *testing.T) (openai.Client, string) {
	t.Helper()
	base := os.Getenv("OPENAI_BASE_URL")
	if base == "" {
		t.Skip("OPENAI_BASE_URL is not set: start `cocoon devnet` and set it to the printed base URL")
	}
	options := []option.RequestOption{option.WithBaseURL(base), option.WithAPIKey("unused"), option.WithMaxRetries(0)}
	if mode := os.Getenv("COCOON_TEST_ENCRYPTION"); mode != "" { // v1: the same through field encryption
		options = append(options, option.WithHeader("X-Cocoon-Encryption", mode))
	}
	c := openai.NewClient(options...)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	models, err := c.Models.List(ctx)
	if err != nil {
		t.Fatalf("models: %v", err)
	}
	if len(models.Data) == 0 {
		t.Fatal("models: the list is empty")
	}
	one, err := c.Models.Get(ctx, models.Data[0].ID)
	if err != nil || one.ID != models.Data[0].ID {
		t.Fatalf("model %q: got %v, %v", models.Data[0].ID, one, err)
	}
	return c, models.Data[0].ID
}

func params(model string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:     model,
		Messages:  []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hello! What is Cocoon?")},
		Seed:      openai.Int(7),
		MaxTokens: openai.Int(24),
	}
}

func checkUsage(t *testing.T, u openai.CompletionUsage) {
	t.Helper()
	if u.PromptTokens <= 0 || u.CompletionTokens <= 0 || u.TotalTokens != u.PromptTokens+u.CompletionTokens {
		t.Errorf("usage = %d prompt + %d completion = %d total", u.PromptTokens, u.CompletionTokens, u.TotalTokens)
	}
}

func TestChat(t *testing.T) {
	c, model := newClient(t)
	a, err := c.Chat.Completions.New(t.Context(), params(model))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Choices) != 1 || a.Choices[0].Message.Content == "" {
		t.Fatalf("answer without content: %d choices", len(a.Choices))
	}
	checkUsage(t, a.Usage)
}

func TestStreamMatchesPlain(t *testing.T) {
	c, model := newClient(t)
	plain, err := c.Chat.Completions.New(t.Context(), params(model))
	if err != nil {
		t.Fatal(err)
	}
	p := params(model)
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	s := c.Chat.Completions.NewStreaming(t.Context(), p)
	acc, chunks := openai.ChatCompletionAccumulator{}, 0
	for s.Next() {
		chunks++
		acc.AddChunk(s.Current())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if chunks < 3 {
		t.Errorf("the stream came in %d chunks", chunks)
	}
	if got, want := acc.Choices[0].Message.Content, plain.Choices[0].Message.Content; got != want {
		t.Errorf("streamed %q, plain %q with the same seed", got, want)
	}
	checkUsage(t, acc.Usage)
	if acc.Usage.TotalTokens != plain.Usage.TotalTokens {
		t.Errorf("streamed usage %d tokens, plain %d", acc.Usage.TotalTokens, plain.Usage.TotalTokens)
	}
}

func TestUnknownModelIsTheSDKsError(t *testing.T) {
	c, _ := newClient(t)
	_, err := c.Chat.Completions.New(t.Context(), params("no-such-model"))
	var api *openai.Error
	if !errors.As(err, &api) || api.StatusCode != http.StatusNotFound || api.Code != "model_not_found" {
		t.Errorf("unknown model: got %v, want 404 model_not_found", err)
	}
}
