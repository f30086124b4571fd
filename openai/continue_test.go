package openai

import (
	"strings"
	"testing"
)

func TestContinue(t *testing.T) {
	for _, c := range []struct {
		chat       bool
		body, text string
		spent      int64
		want       string
		left       int64
	}{
		{true, `{"messages":[{"role":"user","content":"x"}], "max_tokens": 10, "seed":1}`, "a\n<\"é", 4,
			`{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"a\n<\"é"}], "max_tokens": 6, "seed":1,"continue_final_message":true,"add_generation_prompt":false}`, 6},
		{true, `{"messages":[ {} ],"max_tokens":9,"max_completion_tokens":7,"min_tokens":3}`, "a", 4,
			`{"messages":[ {} ,{"role":"assistant","content":"a"}],"max_tokens":5,"max_completion_tokens":3,"min_tokens":0,"continue_final_message":true,"add_generation_prompt":false}`, 3},
		{true, `{"messages":[{}],"max_tokens":null}`, "a", 4, `{"messages":[{},{"role":"assistant","content":"a"}],"max_tokens":null,"continue_final_message":true,"add_generation_prompt":false}`, -1},
		{true, `{"messages":[{}]}`, "", 0, `{"messages":[{}]}`, -1},
		{true, `{"messages":[{}],"max_tokens":4}`, "a", 4, ``, 0},
		{false, `{"prompt":"x\u00e9 ","max_tokens":4}`, "y", 1, `{"prompt":"xé y","max_tokens":3}`, 3},
	} {
		got, left, err := Continue(c.chat, []byte(c.body), c.text, c.spent)
		if string(got) != c.want || left != c.left || err != nil {
			t.Errorf("Continue(%s) = %s, %d, %v, want %s, %d", c.body, got, left, err, c.want, c.left)
		}
	}
}

func TestCannotContinue(t *testing.T) {
	chat := func(more string) string { return `{"messages":[{"role":"user","content":"SECRET"}]` + more + `}` }
	text := func(more string) string { return `{"prompt":"SECRET","max_tokens":4` + more + `}` }
	for _, body := range []string{chat(``), chat(`,"n":1,"logprobs":false,"top_logprobs":0,"tools":[{}],"tool_choice":"auto","response_format":{"type":"text"},"stop":["x"],"seed":7,"continue_final_message":false`),
		chat(`,"n":null,"logprobs":null,"response_format":null,"modalities":["text"]`)} {
		if why := CannotContinue(true, []byte(body)); why != "" {
			t.Errorf("%s: %s", body, why)
		}
	}
	if why := CannotContinue(false, []byte(text(`,"best_of":1,"suffix":"","echo":false`))); why != "" {
		t.Errorf("a text: %s", why)
	}
	for _, more := range []string{`"n":2`, `"best_of":2`, `"use_beam_search":true`, `"logprobs":true`, `"logprobs":0`, `"top_logprobs":1`, `"prompt_logprobs":1`, `"echo":true`, `"suffix":"SECRET"`,
		`"modalities":["text","audio"]`, `"audio":{"voice":"SECRET"}`, `"tool_choice":"required"`, `"tool_choice":{"type":"function"}`, `"response_format":{"type":"json_object"}`, `"response_format":"SECRET"`,
		`"guided_json":{}`, `"structured_outputs":{}`, `"grammar":"SECRET"`, `"continue_final_message":true`, `"add_generation_prompt":false`} {
		for chats, body := range map[bool]string{true: chat(`,` + more), false: text(`,` + more)} {
			if why := CannotContinue(chats, []byte(body)); why == "" || strings.Contains(why, "SECRET") {
				t.Errorf("%s: %q, want a reason", body, why)
			}
		}
	}
	for body, chats := range map[string]bool{`[]`: true, `{}`: true, `{"messages":[]}`: true, `{"messages":["x"]}`: true, `{"messages":[{"role":"user"},{"role":"assistant","content":"x"}]}`: true,
		`{"prompt":"x"}`: false, `{"prompt":["x"],"max_tokens":4}`: false, `{"prompt":[1],"max_tokens":4}`: false, `{"max_tokens":4}`: false} {
		if CannotContinue(chats, []byte(body)) == "" {
			t.Errorf("%s can be continued", body)
		}
	}
}

func TestReadChunk(t *testing.T) {
	for doc, want := range map[string]Chunk{
		`{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`:     {Role: true},
		`{"choices":[{"delta":{"content":"a\u00e9","tool_calls":[],"refusal":null},"logprobs":null}]}`: {Text: "aé"},
		`{"choices":[{"text":"b","finish_reason":"stop"}]}`:                                            {Text: "b", Finish: true},
		`{"choices":[]}`:                                         {},
		`{"choices":[{"index":1,"text":"b"}]}`:                   {Beyond: "several answers"},
		`{"choices":[{"text":"a"},{"text":"b"}]}`:                {Beyond: "several answers"},
		`{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}`:   {Beyond: "a call of a tool"},
		`{"choices":[{"delta":{"reasoning_content":"x"}}]}`:      {Beyond: BeyondReasoning},
		`{"choices":[{"delta":{"reasoning":"x"}}]}`:              {Beyond: BeyondReasoning},
		`{"choices":[{"delta":{"audio":{"data":"x"}}}]}`:         {Beyond: "more than text"},
		`{"choices":[{"delta":{"content":[1]}}]}`:                {Beyond: "content that is not a text"},
		`{"choices":[{"text":"x","logprobs":{"tokens":["x"]}}]}`: {Text: "x", Beyond: "probabilities"},
	} {
		c, err := ReadChunk([]byte(doc))
		if err != nil {
			t.Errorf("%s: %v", doc, err)
			continue
		}
		beyond := c.Beyond
		if want.Beyond == "several answers" {
			c.Text = ""
		}
		if c.Text != want.Text || c.Role != want.Role || c.Finish != want.Finish || beyond != want.Beyond || c.Failed != nil || c.Usage != nil {
			t.Errorf("%s = %+v, want %+v", doc, c, want)
		}
	}
	for doc, want := range map[string]Error{
		`{"error":{"message":"gone","type":"server_error","code":"connection_lost"}}`: {Status: 502, Message: "gone", Type: "server_error", Code: "connection_lost"},
		`{"error":{"message":"too long","type":"BadRequestError","code":400}}`:        {Status: 400, Message: "too long", Type: "BadRequestError"},
		`{"error":"x"}`: {Status: 502, Message: "the answer broke off", Type: TypeServer},
	} {
		if c, err := ReadChunk([]byte(doc)); err != nil || c.Failed == nil || c.Failed.Status != want.Status || c.Failed.Message != want.Message || c.Failed.Type != want.Type || c.Failed.Code != want.Code {
			t.Errorf("%s = %+v, %v", doc, c, err)
		}
	}
}

func FuzzChunk(f *testing.F) {
	f.Add([]byte(`{"id":"a","choices":[{"index":0,"delta":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"total_cost":7}}`), "y")
	f.Fuzz(func(t *testing.T, doc []byte, text string) {
		c, err := ReadChunk(doc)
		if err != nil || c.Failed != nil {
			return
		}
		c.SetHead(Head{ID: []byte(`"b"`)})
		c.Rest(text, false)
		c.AddUsage(Usage{PromptTokens: 1})
		if again, err := ReadChunk(c.Bytes()); err != nil || again.Role {
			t.Errorf("%s became %s: %v", doc, c.Bytes(), err)
		}
	})
}
