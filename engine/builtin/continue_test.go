package builtin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Wherever an answer breaks off, going on with what was delivered gives the
// very text that an unbroken one has, also where chance is seeded or tokens
// that were used count.
func TestContinuedAnswerIsTheSame(t *testing.T) {
	_, url := serve(t, demoModel(t), Options{Sequences: 1})
	url += "/v1/chat/completions"
	for name, more := range map[string]string{
		"greedy":    ``,
		"seeded":    `,"temperature":0.7,"seed":7`,
		"penalties": `,"frequency_penalty":0.4,"presence_penalty":0.2`,
		"stop":      `,"stop":["ing"]`,
	} {
		for _, prompt := range []string{"Tell me a joke", "What is Cocoon?"}[:1+len(more)%2] {
			ask := func(begun string, limit int, extra string) (pieces []string, finish string, tokens int64) {
				messages := fmt.Sprintf(`{"role":"user","content":%q}`, prompt)
				if begun != "" {
					text, _ := json.Marshal(begun)
					messages += `,{"role":"assistant","content":` + string(text) + `}`
				}
				for _, e := range stream(t, url, fmt.Sprintf(`{"model":"cocoon-demo-3m","stream":true,"stream_options":{"include_usage":true},"max_tokens":%d,"messages":[%s]%s%s}`, limit, messages, more, extra)) {
					if e.Usage != nil {
						tokens = int64(e.Usage.PromptTokens + e.Usage.CompletionTokens)
						continue
					}
					if c := e.Choices[0]; c.Delta.Content != nil && *c.Delta.Content != "" {
						pieces = append(pieces, *c.Delta.Content)
					} else if c.FinishReason != nil {
						finish = *c.FinishReason
					}
				}
				return pieces, finish, tokens
			}
			const limit = 28
			whole, finish, tokens := ask("", limit, "")
			for step := 1; step < len(whole); step += 9 {
				cut := step
				for cut > 1 && strings.TrimSpace(whole[cut-1]) == "" {
					cut-- // a word's leading blank by itself is another token than the word with it
				}
				begun := strings.Join(whole[:cut], "")
				rest, end, sum := ask(begun, limit-cut, `,"continue_final_message":true,"add_generation_prompt":false`)
				if got, want := strings.Join(rest, ""), strings.Join(whole[cut:], ""); got != want || end != finish {
					t.Errorf("%s: behind %q comes %q (%s), want %q (%s)", name, begun, got, end, want, finish)
				}
				if sum != tokens {
					t.Errorf("%s: %d tokens behind %q, want %d", name, sum, begun, tokens)
				}
			}
		}
	}
}
