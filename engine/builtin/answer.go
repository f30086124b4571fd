package builtin

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"time"

	"github.com/opencocoon/cocoon/openai"
)

// answer is one request's answer on its way to the caller.
type answer struct {
	s       *server
	w       http.ResponseWriter
	control *http.ResponseController
	job     *job
	prompts [][]int32
	choices int // per prompt
	chat    bool
	stream  bool
	counted bool // the stream ends with a usage chunk
	begun   bool // the status is out

	head   document
	done   []choice // of a plain answer
	index  int      // of the choice being made
	offset int      // in runes, of its next token
	usage  openai.Usage
}

// document is an answer, or a chunk of one.
type document struct {
	ID          string          `json:"id"`
	Object      string          `json:"object"`
	Created     int64           `json:"created"`
	Model       string          `json:"model"`
	Fingerprint string          `json:"system_fingerprint"`
	Choices     []choice        `json:"choices"`
	Usage       json.RawMessage `json:"usage,omitempty"`
}

// choice has one of Message, Delta and Text, by endpoint and form.
type choice struct {
	Index    int     `json:"index"`
	Message  *said   `json:"message,omitempty"`
	Delta    *delta  `json:"delta,omitempty"`
	Text     *string `json:"text,omitempty"`
	Logprobs any     `json:"logprobs"`
	Finish   *string `json:"finish_reason"`
}

type said struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type delta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

func newAnswer(s *server, w http.ResponseWriter, q *request, j *job, chat bool) *answer {
	a := &answer{s: s, w: w, control: http.NewResponseController(w), job: j, choices: q.choices(),
		chat: chat, stream: q.Stream, counted: q.StreamOptions.IncludeUsage}
	a.head = document{ID: "cmpl-" + rand.Text(), Object: "text_completion", Created: s.opts.Now().Unix(),
		Model: s.model.name, Fingerprint: "cocoon-builtin"}
	if chat {
		a.head.ID, a.head.Object = "chat"+a.head.ID, "chat.completion"
	}
	if chat && a.stream {
		a.head.Object = "chat.completion.chunk"
	}
	a.usage.PromptTokensDetails = &openai.PromptTokensDetails{}
	a.usage.CompletionTokensDetails = &openai.CompletionTokensDetails{}
	return a
}

// follow generates every choice behind one prompt.
func (a *answer) follow(ctx context.Context, seq *sequence, prompt []int32) error {
	j := *a.job
	j.prompt = prompt
	a.usage.PromptTokens += int64(len(prompt))
	logits, err := seq.prefill(ctx, prompt)
	for i := 0; i < a.choices && err == nil; i++ {
		err = a.choose(ctx, seq, &j, i, logits)
		a.index++
	}
	return err
}

// choose generates one choice, streaming or collecting its pieces.
func (a *answer) choose(ctx context.Context, seq *sequence, j *job, i int, logits []float32) error {
	var all piece
	a.offset = 0
	emit := func(p piece) error {
		if a.stream {
			return a.sendPiece(p, nil)
		}
		all.text += p.text
		all.tokens = append(all.tokens, p.tokens...)
		return nil
	}
	if a.stream && a.chat {
		if err := a.sendRole(); err != nil {
			return err
		}
	}
	n, finish, err := seq.answer(ctx, j, i, logits, emit)
	a.usage.CompletionTokens += int64(n)
	switch {
	case err != nil:
		return err
	case a.stream:
		return a.sendPiece(piece{}, &finish)
	}
	c := choice{Index: a.index, Text: &all.text, Logprobs: a.logprobs(all.tokens), Finish: &finish}
	if a.chat {
		c.Text, c.Message = nil, &said{Role: "assistant", Content: all.text}
	}
	a.done = append(a.done, c)
	return nil
}

func (a *answer) sendRole() error {
	return a.sendChoice(choice{Index: a.index, Delta: &delta{Role: "assistant", Content: new(string)}})
}

// sendPiece sends one chunk of text, or the end of a choice.
func (a *answer) sendPiece(p piece, finish *string) error {
	c := choice{Index: a.index, Text: &p.text, Finish: finish}
	if len(p.tokens) > 0 {
		c.Logprobs = a.logprobs(p.tokens)
	}
	if a.chat {
		c.Text, c.Delta = nil, &delta{Content: &p.text}
		if finish != nil {
			c.Delta.Content = nil
		}
	}
	return a.sendChoice(c)
}

func (a *answer) sendChoice(c choice) error {
	doc := a.head
	doc.Choices = []choice{c}
	if a.counted {
		doc.Usage = json.RawMessage("null")
	}
	return a.send(doc)
}

// end finishes an answer whose choices are all made.
func (a *answer) end() error {
	a.usage.TotalTokens = a.usage.PromptTokens + a.usage.CompletionTokens
	doc := a.head
	doc.Choices = a.done
	doc.Usage, _ = json.Marshal(a.usage) // numbers only: cannot fail
	if !a.stream {
		body, err := encode(doc)
		if err != nil {
			return err
		}
		return a.write("application/json", append(body, '\n'))
	}
	if a.counted {
		doc.Choices = []choice{}
		if err := a.send(doc); err != nil {
			return err
		}
	}
	err := a.write("text/event-stream", openai.AppendDocument(nil, openai.SSE, []byte("[DONE]")))
	a.control.SetWriteDeadline(time.Time{}) // the connection may serve another request
	return err
}

func (a *answer) send(doc document) error {
	body, err := encode(doc)
	if err != nil {
		return err
	}
	return a.write("text/event-stream", openai.AppendDocument(nil, openai.SSE, body))
}

// encode writes JSON on one line and leaves <, > and & as they are.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimRight(out.Bytes(), "\n"), err
}

// write sends bytes at once. A reader that takes none for too long ends the
// request, so that it cannot keep its sequence for ever.
func (a *answer) write(contentType string, b []byte) error {
	if !a.begun {
		a.begun = true
		a.w.Header().Set("Content-Type", contentType)
		a.w.Header().Set("Cache-Control", "no-cache")
	}
	a.control.SetWriteDeadline(time.Now().Add(a.s.opts.WriteTimeout)) // not every writer has one
	if _, err := a.w.Write(b); err != nil {
		return err
	}
	if !a.stream {
		return nil
	}
	return a.control.Flush()
}

// fail reports err in whatever form is still possible.
func (a *answer) fail(w http.ResponseWriter, err *openai.Error) {
	if a == nil || !a.begun {
		openai.WriteError(w, err)
		return
	}
	if a.stream {
		a.write("text/event-stream", openai.ErrorEvent(openai.SSE, err))
	}
}
