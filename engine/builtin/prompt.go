package builtin

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/opencocoon/cocoon/openai"
)

// chatMessage is one element of "messages".
type chatMessage struct {
	Role    string      `json:"role"`
	Content messageText `json:"content"`
}

// messageText is a string, or an array of parts of which only text is read.
type messageText string

func (t *messageText) UnmarshalJSON(b []byte) error {
	if !bytes.HasPrefix(b, []byte("[")) {
		return json.Unmarshal(b, (*string)(t)) // null leaves it empty
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	var text strings.Builder
	for _, p := range parts {
		if p.Type != "text" {
			return openai.BadRequest("messages", openai.CodeInvalidValue, "this model reads text only; send parts of type text")
		}
		text.WriteString(p.Text)
	}
	*t = messageText(text.String())
	return nil
}

// roles maps the API's roles to the model's.
var roles = map[string]string{"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

// chatPrompt returns the tokens of a conversation, and which of them at its end
// are the answer's own beginning.
func (q *request) chatPrompt(m *Model) (ids, begun []int32, err *openai.Error) {
	if len(q.Messages) == 0 {
		return nil, nil, openai.BadRequest("messages", openai.CodeMissing, "'messages' is missing or empty; send at least one")
	}
	size, messages := 0, make([]message, len(q.Messages))
	for i, msg := range q.Messages {
		role, ok := roles[msg.Role]
		if !ok {
			return nil, nil, openai.BadRequest("messages", openai.CodeInvalidValue, "message %d has a role that this model does not know; want system, user or assistant", i)
		}
		messages[i] = message{role, string(msg.Content)}
		size += len(msg.Content)
	}
	if size > m.longestText() {
		return nil, nil, m.tooLong("messages", 0)
	}
	if q.ContinueFinalMessage {
		last := len(messages) - 1
		begun = m.tokens.encode(nil, messages[last].text)
		messages = messages[:last]
	}
	ids, err = m.turns(messages, q.AddGenerationPrompt == nil || *q.AddGenerationPrompt || q.ContinueFinalMessage)
	ids, err = m.fit("messages", append(ids, begun...), err)
	return ids, begun, err
}

// prompts is the member "prompt" of a text completion: a string, tokens, or an
// array of either.
type prompts []prompt

// prompt is one of them.
type prompt struct {
	text   string
	tokens []int32
}

func (p *prompts) UnmarshalJSON(b []byte) error {
	var one prompt
	if json.Unmarshal(b, &one.text) == nil || json.Unmarshal(b, &one.tokens) == nil {
		*p = prompts{one}
		return nil
	}
	var texts []string
	var lists [][]int32
	if json.Unmarshal(b, &texts) != nil && json.Unmarshal(b, &lists) != nil {
		return openai.BadRequest("prompt", openai.CodeInvalidType, "'prompt' must be a string, an array of strings or an array of tokens")
	}
	for _, s := range texts {
		*p = append(*p, prompt{text: s})
	}
	for _, l := range lists {
		*p = append(*p, prompt{tokens: l})
	}
	return nil
}

// textPrompts returns the tokens of each prompt of a text completion.
func (q *request) textPrompts(m *Model) (out [][]int32, err *openai.Error) {
	if len(q.Prompt) == 0 || len(q.Prompt)*q.choices() > maxPrompts {
		return nil, openai.BadRequest("prompt", openai.CodeInvalidValue, "'prompt' asks for %d answers, want 1 to %d", len(q.Prompt)*q.choices(), maxPrompts)
	}
	for _, p := range q.Prompt {
		ids := m.begin()
		if len(p.text) > m.longestText() || len(p.tokens) > m.context {
			return nil, m.tooLong("prompt", 0)
		}
		for _, t := range p.tokens {
			if t < 0 || int(t) >= len(m.tokens.bytes) {
				return nil, openai.BadRequest("prompt", openai.CodeInvalidValue, "a token is out of range, want 0 to %d", len(m.tokens.bytes)-1)
			}
		}
		ids = append(m.tokens.encode(ids, p.text), p.tokens...)
		if ids, err = m.fit("prompt", ids, nil); err != nil {
			return nil, err
		}
		out = append(out, ids)
	}
	return out, nil
}

// longestText is more bytes than can ever fit: a limit before any work is done.
func (m *Model) longestText() int { return m.context * m.tokens.longest }

// fit refuses prompts that leave no room for an answer, and empty ones.
func (m *Model) fit(param string, ids []int32, err *openai.Error) ([]int32, *openai.Error) {
	switch {
	case err != nil:
		return nil, err
	case len(ids) >= m.context:
		return nil, m.tooLong(param, len(ids))
	case len(ids) == 0:
		return nil, openai.BadRequest(param, openai.CodeInvalidValue, "'%s' is empty; send some text", param)
	}
	return ids, nil
}

func (m *Model) tooLong(param string, tokens int) *openai.Error {
	const code = "context_length_exceeded"
	if tokens == 0 {
		return openai.BadRequest(param, code, "this model's maximum context length is %d tokens, the %s would need far more; send less text", m.context, param)
	}
	return openai.BadRequest(param, code, "this model's maximum context length is %d tokens, the %s have %d; send less text", m.context, param, tokens)
}
