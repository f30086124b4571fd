package openai

import (
	"bytes"
	"strconv"
)

// Usage is an answer's token counts, in the API's names. Costs are in nanoTON
// and are the network's addition; they are absent outside it.
type Usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	TotalTokens      int64 `json:"total_tokens"`

	PromptTokensDetails     *PromptTokensDetails     `json:"prompt_tokens_details,omitempty"`
	CompletionTokensDetails *CompletionTokensDetails `json:"completion_tokens_details,omitempty"`

	PromptTotalCost     *int64 `json:"prompt_total_cost,omitempty"`
	CompletionTotalCost *int64 `json:"completion_total_cost,omitempty"`
	TotalCost           *int64 `json:"total_cost,omitempty"`
}

// PromptTokensDetails splits [Usage.PromptTokens].
type PromptTokensDetails struct {
	CachedTokens int64 `json:"cached_tokens"`
}

// CompletionTokensDetails splits [Usage.CompletionTokens].
type CompletionTokensDetails struct {
	ReasoningTokens int64 `json:"reasoning_tokens"`
}

// Cached returns the cached part of the prompt, 0 if unknown.
func (u *Usage) Cached() int64 {
	if u.PromptTokensDetails == nil {
		return 0
	}
	return u.PromptTokensDetails.CachedTokens
}

// Reasoning returns the reasoning part of the completion, 0 if unknown.
func (u *Usage) Reasoning() int64 {
	if u.CompletionTokensDetails == nil {
		return 0
	}
	return u.CompletionTokensDetails.ReasoningTokens
}

// FindUsage reads the member "usage" of one answer document; ok is false if
// there is none or it holds no count. Only non-negative integers count, as in
// the reference (roles.md §5.6), so a broken engine yields nothing rather than
// nonsense. It also knows usage.reasoning_tokens and the names input_tokens and
// output_tokens of the transcription API.
func FindUsage(document []byte) (u Usage, ok bool) {
	if !bytes.Contains(document, []byte(`"usage"`)) {
		return u, false
	}
	doc, err := ParseObject(document)
	if err != nil {
		return u, false
	}
	usage, err := ParseObject(doc.Get("usage"))
	if err != nil {
		return u, false
	}
	return usage.ReadUsage()
}

// ReadUsage is [FindUsage] for a usage object that is already parsed.
func (o *Object) ReadUsage() (u Usage, ok bool) {
	prompt, hasPrompt := o.count("prompt_tokens", "input_tokens")
	completion, hasCompletion := o.count("completion_tokens", "output_tokens")
	u.PromptTokens, u.CompletionTokens = prompt, completion
	if total, has := o.count("total_tokens"); has {
		u.TotalTokens = total
	} else {
		u.TotalTokens = prompt + completion
	}
	if n, has := o.detail("cached_tokens", "prompt_tokens_details", "input_tokens_details"); has {
		u.PromptTokensDetails = &PromptTokensDetails{CachedTokens: n}
	}
	n, has := o.detail("reasoning_tokens", "completion_tokens_details", "output_tokens_details")
	if !has {
		n, has = o.count("reasoning_tokens")
	}
	if has {
		u.CompletionTokensDetails = &CompletionTokensDetails{ReasoningTokens: n}
	}
	return u, hasPrompt || hasCompletion
}

// maxCount keeps sums of counts far from overflow.
const maxCount = 1 << 48

func (o *Object) count(names ...string) (int64, bool) {
	for _, name := range names {
		n, err := strconv.ParseInt(string(o.Get(name)), 10, 64)
		if err == nil && n >= 0 && n <= maxCount {
			return n, true
		}
	}
	return 0, false
}

func (o *Object) detail(name string, parents ...string) (int64, bool) {
	for _, parent := range parents {
		if inner, err := ParseObject(o.Get(parent)); err == nil {
			if n, ok := inner.count(name); ok {
				return n, true
			}
		}
	}
	return 0, false
}
