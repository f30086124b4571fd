package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// A stream that breaks can go on elsewhere: with a request that holds what was
// delivered as the answer's beginning. Engines have that in two forms. For text
// completions it is more prompt. For chats vLLM, SGLang and llama.cpp go on with
// the last message if continue_final_message is true and add_generation_prompt
// false; they want both.

// single are members that must have one of these values, or none, for an answer
// to be one text that can be gone on with.
var single = []struct {
	name   string
	values []string
	why    string
}{
	{"n", []string{"1"}, "several answers are asked for"},
	{"best_of", []string{"1"}, "the best of several answers is asked for"},
	{"use_beam_search", []string{"false"}, "the best of several answers is asked for"},
	{"echo", []string{"false"}, "the prompt is to be repeated"},
	{"suffix", []string{`""`}, "the middle of a text is asked for"},
	{"logprobs", []string{"false"}, "probabilities are asked for"},
	{"top_logprobs", []string{"0"}, "probabilities are asked for"},
	{"prompt_logprobs", nil, "probabilities are asked for"},
	{"modalities", []string{`["text"]`}, "more than text is asked for"},
	{"audio", nil, "more than text is asked for"},
	{"tool_choice", []string{`"auto"`, `"none"`}, "a tool must be called"},
	{"function_call", []string{`"auto"`, `"none"`}, "a tool must be called"},
	{"truncate_prompt_tokens", nil, "the prompt is to be shortened"},
	{"continue_final_message", []string{"false"}, "the request itself goes on with a message"},
	{"add_generation_prompt", []string{"true"}, "the request opens no message"},
}

// shapes are members that demand a form of the whole answer, which an engine
// would demand of the rest alone.
var shapes = []string{"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "structural_tag",
	"json_schema", "regex", "ebnf", "grammar"}

// CannotContinue says why an answer to a request with this body could not be
// gone on with by [Continue], in words that quote nothing of it; empty is that
// it could.
func CannotContinue(chat bool, body []byte) string {
	doc, err := ParseObject(body)
	if err != nil {
		return "its body is no JSON object"
	}
	given := func(name string) []byte {
		if raw := doc.Get(name); string(raw) != "null" {
			return raw
		}
		return nil
	}
	for _, m := range single {
		if raw := given(m.name); raw != nil && !slices.Contains(m.values, string(raw)) {
			return m.why
		}
	}
	for _, name := range shapes {
		if given(name) != nil {
			return "the answer must have a given form"
		}
	}
	if format, err := ParseObject(given("response_format")); given("response_format") != nil && (err != nil || string(format.Get("type")) != `"text"`) {
		return "the answer must have a given form"
	}
	if chat {
		return lastMessage(given("messages"))
	}
	switch raw := given("prompt"); {
	case len(raw) == 0 || raw[0] != '"':
		return "its prompt is not one text"
	case given("max_tokens") == nil:
		return "it names no max_tokens, and engines differ in what they take"
	}
	return ""
}

// lastMessage says why nothing could be put behind the messages.
func lastMessage(messages []byte) string {
	var last []byte
	for m := range Elements(messages) {
		last = m
	}
	doc, err := ParseObject(last)
	switch {
	case err != nil:
		return "it has no messages"
	case string(doc.Get("role")) == `"assistant"`:
		return "its last message is the assistant's"
	}
	return ""
}

// Continue is the request that goes on with the answer to body of which text,
// not empty, is there and spent tokens are used. left is how many it may still
// have, at least 1, and -1 if the request names no limit. [CannotContinue] must
// have had no objection. If nothing is left there is no request.
func Continue(chat bool, body []byte, text string, spent int64) (request []byte, left int64, err error) {
	doc, err := ParseObject(body)
	if err != nil {
		return nil, 0, err
	}
	if left, err = reduce(doc, spent); err != nil || left == 0 {
		return nil, 0, err
	}
	if text == "" {
		return doc.Bytes(), left, nil
	}
	if !chat {
		var prompt string
		if err := json.Unmarshal(doc.Get("prompt"), &prompt); err != nil {
			return nil, 0, fmt.Errorf("prompt is not a string")
		}
		doc.Set("prompt", quote(prompt+text))
		return doc.Bytes(), left, nil
	}
	messages := bytes.TrimRight(doc.Get("messages"), " \t\r\n")
	if len(messages) < 2 {
		return nil, 0, fmt.Errorf("there are no messages")
	}
	more := append(bytes.Clone(messages[:len(messages)-1]), `,{"role":"assistant","content":`...)
	doc.Set("messages", append(append(more, quote(text)...), `}]`...))
	doc.Set("continue_final_message", []byte("true"))
	doc.Set("add_generation_prompt", []byte("false"))
	return doc.Bytes(), left, nil
}

// reduce lowers what limits an answer's length.
func reduce(doc *Object, spent int64) (left int64, err error) {
	left = -1
	for _, name := range []string{"max_tokens", "max_completion_tokens", "min_tokens"} {
		raw := doc.Get(name)
		if raw == nil || string(raw) == "null" {
			continue
		}
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s is not a whole number", name)
		}
		n = max(n-spent, 0)
		doc.Set(name, strconv.AppendInt(nil, n, 10))
		if name != "min_tokens" && (left < 0 || n < left) {
			left = n
		}
	}
	return left, nil
}

// quote is a text as JSON that leaves <, > and & as they are.
func quote(text string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(text) // a string: cannot fail
	return bytes.TrimRight(b.Bytes(), "\n")
}
