package builtin

import (
	"strings"
	"unicode/utf8"
)

// chatLogprobs is the member "logprobs" of a chat choice.
type chatLogprobs struct {
	Content []tokenLogprob `json:"content"`
	Refusal *string        `json:"refusal"`
}

// tokenLogprob is one token of a chat answer and the likeliest at its place.
type tokenLogprob struct {
	rival
	Top []rival `json:"top_logprobs"`
}

// rival is a token with its probability. Bytes lets a caller join tokens that
// hold parts of a rune.
type rival struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// textLogprobs is the member "logprobs" of a text choice.
type textLogprobs struct {
	Tokens   []string             `json:"tokens"`
	Logprobs []float64            `json:"token_logprobs"`
	Top      []map[string]float64 `json:"top_logprobs"`
	Offsets  []int                `json:"text_offset"` // in runes, from the start of the choice
}

// logprobs returns what the request asked to know about tokens, nil if nothing.
func (a *answer) logprobs(tokens []tokenScore) any {
	switch {
	case !a.job.logprobs:
		return nil
	case a.chat:
		return a.chatLogprobs(tokens)
	}
	return a.textLogprobs(tokens)
}

func (a *answer) chatLogprobs(tokens []tokenScore) *chatLogprobs {
	out := &chatLogprobs{Content: []tokenLogprob{}}
	for _, t := range tokens {
		l := tokenLogprob{rival: a.rival(t.scored), Top: []rival{}}
		for _, s := range t.top {
			l.Top = append(l.Top, a.rival(s))
		}
		out.Content = append(out.Content, l)
	}
	return out
}

func (a *answer) rival(s scored) rival {
	out := rival{Token: a.s.model.tokens.text(s.token), Logprob: s.logprob, Bytes: []int{}}
	for _, b := range a.s.model.tokens.bytes[s.token] {
		out.Bytes = append(out.Bytes, int(b))
	}
	return out
}

func (a *answer) textLogprobs(tokens []tokenScore) *textLogprobs {
	out := &textLogprobs{Tokens: []string{}, Logprobs: []float64{}, Top: []map[string]float64{}, Offsets: []int{}}
	for _, t := range tokens {
		name := a.s.model.tokens.text(t.token)
		top := map[string]float64{}
		for _, s := range t.top {
			top[a.s.model.tokens.text(s.token)] = s.logprob
		}
		out.Tokens, out.Logprobs = append(out.Tokens, name), append(out.Logprobs, t.logprob)
		out.Top, out.Offsets = append(out.Top, top), append(out.Offsets, a.offset)
		a.offset += utf8.RuneCountInString(name)
	}
	return out
}

// text is a token as a JSON string; control tokens by their name.
func (t *tokenizer) text(token int32) string {
	if b := t.bytes[token]; b != nil {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	for name, id := range t.control {
		if id == token {
			return name
		}
	}
	return ""
}
