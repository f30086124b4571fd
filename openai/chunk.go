package openai

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// Chunk is one document of a streamed answer with at most one choice. It can be
// changed; what is not changed stays as it was, byte for byte. Not for concurrent use.
type Chunk struct {
	// Text is what the chunk adds to the answer.
	Text string
	// Role says that it opens a message, Finish that it ends the answer.
	Role, Finish bool
	// Usage is what it tells of the usage so far, nil if nothing.
	Usage *Usage
	// Failed is what it is instead of a part of an answer, nil if it is one.
	Failed *Error
	// Beyond says what it holds beside text, in words that quote nothing of it.
	Beyond string

	doc, choice, delta *Object // the last two are nil if there is none
	text               string  // name of the text's member
}

// BeyondReasoning is [Chunk.Beyond] where a chunk holds what the model thinks.
const BeyondReasoning = "reasoning"

// ReadChunk reads a document of a stream, which must not change while the chunk
// is in use.
func ReadChunk(document []byte) (*Chunk, error) {
	doc, err := ParseObject(document)
	if err != nil {
		return nil, err
	}
	c := &Chunk{doc: doc}
	if raw := doc.Get("error"); raw != nil && string(raw) != "null" {
		c.Failed = readError(raw)
		return c, nil
	}
	if usage, err := ParseObject(doc.Get("usage")); err == nil {
		if u, ok := usage.ReadUsage(); ok {
			c.Usage = &u
		}
	}
	c.readChoices(doc.Get("choices"))
	return c, nil
}

func (c *Chunk) readChoices(choices []byte) {
	for raw := range Elements(choices) {
		choice, err := ParseObject(raw)
		index := "0"
		if err == nil && choice.Get("index") != nil {
			index = string(choice.Get("index"))
		}
		if err != nil || c.choice != nil || index != "0" {
			c.Beyond = "several answers"
			return
		}
		c.choice = choice
	}
	if c.choice == nil {
		return
	}
	c.Finish = !blank(c.choice.Get("finish_reason"))
	if !blank(c.choice.Get("logprobs")) {
		c.Beyond = "probabilities"
	}
	c.text = "text"
	holder := c.choice
	if delta, err := ParseObject(c.choice.Get("delta")); err == nil {
		c.delta, holder, c.text = delta, delta, "content"
		c.readDelta()
	}
	if raw := holder.Get(c.text); !blank(raw) && json.Unmarshal(raw, &c.Text) != nil {
		c.Beyond = "content that is not a text"
	}
}

// readDelta notes all that is neither role nor content.
func (c *Chunk) readDelta() {
	c.Role = !blank(c.delta.Get("role"))
	for _, m := range c.delta.members {
		switch name := string(m.name); {
		case name == "role", name == "content", blank(m.value):
		case name == "tool_calls", name == "function_call":
			c.Beyond = "a call of a tool"
		case name == "reasoning_content", name == "reasoning", name == "reasoning_details":
			c.Beyond = BeyondReasoning
		default:
			c.Beyond = "more than text"
		}
	}
}

// blank says that a value is as good as none.
func blank(raw []byte) bool {
	switch string(raw) {
	case "", "null", `""`, "[]", "{}", "false":
		return true
	}
	return false
}

// maxErrorText bounds what is kept of a peer's words, in bytes.
const maxErrorText = 1 << 10

// readError reads an error object of whoever wrote it.
func readError(raw []byte) *Error {
	e := &Error{Status: 502, Type: TypeServer, Message: "the answer broke off"}
	doc, err := ParseObject(raw)
	if err != nil {
		return e
	}
	for _, m := range []struct {
		name string
		to   *string
	}{{"message", &e.Message}, {"type", &e.Type}, {"code", &e.Code}} {
		var s string
		if json.Unmarshal(doc.Get(m.name), &s) == nil && s != "" && len(s) <= maxErrorText {
			*m.to = s
		}
	}
	if status, err := strconv.Atoi(string(doc.Get("code"))); err == nil && status >= 400 && status < 600 { // as vLLM writes it
		e.Status = status
	}
	return e
}

// Head is what the chunks of one answer have in common.
type Head struct{ ID, Created, Model []byte }

// Head returns what of it the chunk has, in memory of its own.
func (c *Chunk) Head() Head {
	return Head{bytes.Clone(c.doc.Get("id")), bytes.Clone(c.doc.Get("created")), bytes.Clone(c.doc.Get("model"))}
}

// SetHead makes the chunk one of another answer.
func (c *Chunk) SetHead(h Head) {
	for _, m := range []struct {
		name string
		raw  []byte
	}{{"id", h.ID}, {"created", h.Created}, {"model", h.Model}} {
		if m.raw != nil {
			c.doc.Set(m.name, m.raw)
		}
	}
}

// Rest replaces the text, and takes the role away unless it is to stay. It
// reports whether the chunk then says anything.
func (c *Chunk) Rest(text string, role bool) bool {
	if c.choice == nil {
		return true
	}
	holder := c.choice
	if c.delta != nil {
		holder = c.delta
		if c.Role = c.Role && role; !c.Role {
			c.delta.Remove("role")
		}
	}
	if text != c.Text {
		holder.Set(c.text, quote(text))
	}
	if c.delta != nil {
		c.choice.Set("delta", c.delta.Bytes())
	}
	c.doc.Set("choices", append(append([]byte{'['}, c.choice.Bytes()...), ']'))
	c.Text = text
	return text != "" || c.Role || c.Finish || c.Usage != nil || c.Beyond != ""
}

// AddUsage adds what was used before. Costs are added where the chunk tells
// any, and taken out where those of before are not known.
func (c *Chunk) AddUsage(before Usage) {
	usage, err := ParseObject(c.doc.Get("usage"))
	if err != nil || c.Usage == nil {
		return
	}
	prompt, completion := c.Usage.PromptTokens+before.PromptTokens, c.Usage.CompletionTokens+before.CompletionTokens
	usage.Set("prompt_tokens", strconv.AppendInt(nil, prompt, 10))
	usage.Set("completion_tokens", strconv.AppendInt(nil, completion, 10))
	usage.Set("total_tokens", strconv.AppendInt(nil, prompt+completion, 10))
	for _, m := range []struct {
		name   string
		before *int64
	}{{"prompt_total_cost", before.PromptTotalCost}, {"completion_total_cost", before.CompletionTotalCost}, {"total_cost", before.TotalCost}} {
		n, ok := usage.count(m.name)
		switch {
		case !ok:
		case m.before == nil:
			usage.Remove(m.name)
		default:
			usage.Set(m.name, strconv.AppendInt(nil, n+*m.before, 10))
		}
	}
	c.doc.Set("usage", usage.Bytes())
}

// Bytes is the document as it is now, on one line.
func (c *Chunk) Bytes() []byte {
	doc := c.doc.Bytes()
	if bytes.IndexByte(doc, '\n') < 0 {
		return doc
	}
	var line bytes.Buffer
	json.Compact(&line, doc) // valid: it was parsed
	return line.Bytes()
}

// Ending is a chunk that says no more than that the answer has reached its limit.
func Ending(chat bool, h Head) []byte {
	object, text := "text_completion", `"text":""`
	if chat {
		object, text = "chat.completion.chunk", `"delta":{}`
	}
	c := Chunk{doc: mustParse(`{"object":"` + object + `","choices":[{"index":0,` + text + `,"finish_reason":"length"}]}`)}
	c.SetHead(h)
	return c.Bytes()
}

func mustParse(text string) *Object {
	o, err := ParseObject([]byte(text))
	if err != nil {
		panic(err) // our own words
	}
	return o
}
