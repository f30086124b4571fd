package builtin

import "github.com/opencocoon/cocoon/openai"

// message is one turn of a conversation.
type message struct{ role, text string }

// template is how a model wants turns written: control tokens around the role
// and around the text. The zero template means that the model knows no turns.
type template struct {
	name            string
	open, mid, shut int32  // before the role, behind it, behind the text; mid may be absent
	hasMid          bool   //
	afterRole       string // text between the role and the message
	afterTurn       string // text behind a turn
}

// findTemplate knows two forms by their control tokens: ChatML, which our own
// model and many others use, and that of Llama 3. Templates written as
// programs inside the file are not run.
func findTemplate(t *tokenizer) template {
	start, hasStart := t.control["<|im_start|>"]
	end, hasEnd := t.control["<|im_end|>"]
	if hasStart && hasEnd {
		return template{name: "chatml", open: start, shut: end, afterRole: "\n", afterTurn: "\n"}
	}
	open, hasOpen := t.control["<|start_header_id|>"]
	mid, hasMid := t.control["<|end_header_id|>"]
	shut, hasShut := t.control["<|eot_id|>"]
	if hasOpen && hasMid && hasShut {
		return template{name: "llama3", open: open, mid: mid, shut: shut, hasMid: true, afterRole: "\n\n"}
	}
	return template{}
}

// turns returns the tokens of a conversation, with speak up to where the model
// speaks.
func (m *Model) turns(messages []message, speak bool) ([]int32, *openai.Error) {
	if m.template.name == "" {
		return nil, openai.BadRequest("messages", openai.CodeInvalidValue,
			"model %s has no chat form that this engine knows; use /v1/completions", m.name)
	}
	ids := m.begin()
	for _, msg := range messages {
		ids = append(m.turn(ids, msg.role, msg.text), m.template.shut)
		ids = m.tokens.encode(ids, m.template.afterTurn)
	}
	if !speak {
		return ids, nil
	}
	return m.turn(ids, "assistant", ""), nil
}

// turn appends an unfinished turn. Role and text are encoded in one piece when
// nothing stands between them, as the vocabulary was trained.
func (m *Model) turn(ids []int32, role, text string) []int32 {
	ids = append(ids, m.template.open)
	if m.template.hasMid {
		ids = append(m.tokens.encode(ids, role), m.template.mid)
		role = ""
	}
	return m.tokens.encode(ids, role+m.template.afterRole+text)
}

func (m *Model) begin() []int32 {
	if m.tokens.addBOS {
		return []int32{m.tokens.bos}
	}
	return nil
}
