package builtin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"

	"github.com/opencocoon/cocoon/openai"
)

// Limits of a request's members, the API's where it states one.
const (
	maxChoices  = 16
	maxStops    = 4
	maxStop     = 256 // bytes
	maxTop      = 20
	maxTopText  = 5
	maxPrompts  = 16
	textDefault = 16 // tokens of a text completion that names no limit
)

// request holds the members of both endpoints that this engine reads. It
// ignores others, as engines do, unless leaving them out would change what the
// answer means; those are refused.
type request struct {
	Model               string             `json:"model"`
	Messages            []chatMessage      `json:"messages"`
	Prompt              prompts            `json:"prompt"`
	Stream              bool               `json:"stream"`
	StreamOptions       streamOptions      `json:"stream_options"`
	MaxTokens           *int               `json:"max_tokens"`
	MaxCompletionTokens *int               `json:"max_completion_tokens"`
	Temperature         *float64           `json:"temperature"`
	TopP                *float64           `json:"top_p"`
	N                   *int               `json:"n"`
	Seed                *int64             `json:"seed"`
	Stop                stopStrings        `json:"stop"`
	Logprobs            json.RawMessage    `json:"logprobs"`
	TopLogprobs         *int               `json:"top_logprobs"`
	FrequencyPenalty    float64            `json:"frequency_penalty"`
	PresencePenalty     float64            `json:"presence_penalty"`
	LogitBias           map[string]float64 `json:"logit_bias"`

	Echo           bool   `json:"echo"`
	Suffix         string `json:"suffix"`
	BestOf         *int   `json:"best_of"`
	ResponseFormat *struct {
		Type string `json:"type"`
	} `json:"response_format"`
	ToolChoice json.RawMessage `json:"tool_choice"`

	// ContinueFinalMessage goes on with the last message, the assistant's, as if
	// this engine had begun it; AddGenerationPrompt, true if absent, opens a new
	// one. The names are vLLM's and SGLang's.
	ContinueFinalMessage bool  `json:"continue_final_message"`
	AddGenerationPrompt  *bool `json:"add_generation_prompt"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// stopStrings is one string or several.
type stopStrings []string

func (s *stopStrings) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte("[")) {
		return json.Unmarshal(b, (*[]string)(s))
	}
	var one *string
	err := json.Unmarshal(b, &one)
	if one != nil {
		*s = stopStrings{*one}
	}
	return err
}

// decode reads a request's body of at most limit bytes.
func decode(w http.ResponseWriter, r *http.Request, limit int64) (*request, *openai.Error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, openai.TooLarge(limit, r.ContentLength)
	}
	if err != nil {
		return nil, openai.BadRequest("", openai.CodeInvalidJSON, "the request body broke off; send it again")
	}
	var q request
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, decodeError(err)
	}
	return &q, nil
}

// decodeError words what encoding/json found without quoting the body.
func decodeError(err error) *openai.Error {
	var wrongType *json.UnmarshalTypeError
	var shape *openai.Error
	switch {
	case errors.As(err, &shape):
		return shape
	case errors.As(err, &wrongType):
		kind, _, _ := bytes.Cut([]byte(wrongType.Value), []byte(" ")) // "number 1.5": the value stays out
		return openai.BadRequest(wrongType.Field, openai.CodeInvalidType, "'%s' is a %s, which is not its type", wrongType.Field, kind)
	}
	return openai.BadRequest("", openai.CodeInvalidJSON, "the request body is not valid JSON; send one JSON object")
}

// job turns a request into work. Its prompt is still missing.
func (q *request) job(m *Model, o *Options, chat bool) (*job, *openai.Error) {
	j := &job{stops: q.Stop, maxTokens: m.context, sampling: sampling{
		temperature: o.Temperature, topP: 1, frequency: q.FrequencyPenalty, presence: q.PresencePenalty}}
	if j.sampling.seed = rand.Uint64(); q.Seed != nil {
		j.sampling.seed = uint64(*q.Seed)
	}
	set(&j.sampling.temperature, q.Temperature)
	set(&j.sampling.topP, q.TopP)
	if !chat {
		j.maxTokens = textDefault
	}
	set(&j.maxTokens, q.MaxTokens)
	set(&j.maxTokens, q.MaxCompletionTokens)
	if err := q.check(j); err != nil {
		return nil, err
	}
	if err := q.readBias(j, m); err != nil {
		return nil, err
	}
	return j, q.readLogprobs(j, chat)
}

func set[T any](dst *T, from *T) {
	if from != nil {
		*dst = *from
	}
}

// choices is n, 1 if absent.
func (q *request) choices() int {
	n := 1
	set(&n, q.N)
	return n
}

// check refuses values out of range and members that this engine cannot honour.
func (q *request) check(j *job) *openai.Error {
	bestOf := q.choices()
	set(&bestOf, q.BestOf)
	tool := string(q.ToolChoice)
	for _, c := range []struct {
		ok          bool
		param, want string
	}{
		{j.maxTokens >= 1, "max_tokens", "at least 1"},
		{in(j.sampling.temperature, 0, 2), "temperature", "between 0 and 2"},
		{in(j.sampling.topP, 0, 1), "top_p", "between 0 and 1"},
		{in(q.FrequencyPenalty, -2, 2), "frequency_penalty", "between -2 and 2"},
		{in(q.PresencePenalty, -2, 2), "presence_penalty", "between -2 and 2"},
		{q.choices() >= 1 && q.choices() <= maxChoices, "n", "between 1 and 16"},
		{bestOf == q.choices(), "best_of", "equal to n: this engine ranks no answers"},
		{!q.Echo, "echo", "false: this engine does not repeat the prompt"},
		{q.Suffix == "", "suffix", "empty: this engine writes no middles"},
		{q.ResponseFormat == nil || q.ResponseFormat.Type == "text", "response_format", "text: this engine has no JSON mode"},
		{tool == "" || tool == "null" || tool == `"auto"` || tool == `"none"`, "tool_choice", "auto or none: this engine calls no tools"},
		{!q.ContinueFinalMessage || q.AddGenerationPrompt == nil || !*q.AddGenerationPrompt, "add_generation_prompt", "false where continue_final_message is true"},
		{!q.ContinueFinalMessage || q.continues(), "continue_final_message", "false unless the last message is the assistant's"},
		{q.Stream || !q.StreamOptions.IncludeUsage, "stream_options", "absent unless stream is true"},
	} {
		if !c.ok {
			return openai.BadRequest(c.param, openai.CodeInvalidValue, "'%s' must be %s", c.param, c.want)
		}
	}
	return checkStops(q.Stop)
}

// continues says whether the conversation ends with a message of the assistant.
func (q *request) continues() bool {
	n := len(q.Messages)
	return n > 0 && roles[q.Messages[n-1].Role] == "assistant"
}

func in(v, low, high float64) bool { return v >= low && v <= high }

func checkStops(stops []string) *openai.Error {
	if len(stops) > maxStops {
		return openai.BadRequest("stop", openai.CodeInvalidValue, "'stop' has %d strings, at most %d are allowed", len(stops), maxStops)
	}
	for _, s := range stops {
		if s == "" || len(s) > maxStop {
			return openai.BadRequest("stop", openai.CodeInvalidValue, "a stop string has %d bytes, want 1 to %d", len(s), maxStop)
		}
	}
	return nil
}

// readLogprobs reads what the two endpoints write differently: a boolean and a
// number for chat, one number for text.
func (q *request) readLogprobs(j *job, chat bool) *openai.Error {
	limit := maxTop
	set(&j.top, q.TopLogprobs)
	if chat {
		json.Unmarshal(q.Logprobs, &j.logprobs) // anything but true is false
	} else if limit = maxTopText; json.Unmarshal(q.Logprobs, &j.top) == nil {
		j.logprobs = string(q.Logprobs) != "null"
	}
	if j.top < 0 || j.top > limit {
		return openai.BadRequest("top_logprobs", openai.CodeInvalidValue, "the number of logprobs must be between 0 and %d", limit)
	}
	if j.top > 0 && !j.logprobs {
		return openai.BadRequest("top_logprobs", openai.CodeInvalidValue, "'top_logprobs' needs 'logprobs'")
	}
	return nil
}

func (q *request) readBias(j *job, m *Model) *openai.Error {
	j.sampling.bias = make(map[int32]float64, len(q.LogitBias))
	for key, v := range q.LogitBias {
		token, err := strconv.Atoi(key)
		if err != nil || token < 0 || token >= len(m.tokens.bytes) || !in(v, -100, 100) {
			return openai.BadRequest("logit_bias", openai.CodeInvalidValue, "'logit_bias' must map tokens below %d to values between -100 and 100", len(m.tokens.bytes))
		}
		j.sampling.bias[int32(token)] = v
	}
	return nil
}
