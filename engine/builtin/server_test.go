package builtin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// The API's shapes, written down independently of the server's own types.
type apiAnswer struct {
	ID      string
	Object  string
	Created int64
	Model   string
	Choices []struct {
		Index   int
		Text    *string
		Message *struct {
			Role    string
			Content *string
		}
		Delta *struct {
			Role    string
			Content *string
		}
		Logprobs     *apiLogprobs
		FinishReason *string `json:"finish_reason"`
	}
	Usage *struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
		TotalTokens      int `json:"total_tokens"`
	}
	Error *struct{ Message, Type, Param, Code string }
}

type apiLogprobs struct {
	Content []struct {
		Token       string
		Logprob     float64
		Bytes       []byte0
		TopLogprobs []struct {
			Token   string
			Logprob float64
		} `json:"top_logprobs"`
	}
	Tokens        []string
	TokenLogprobs []float64            `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"`
}

// byte0 keeps encoding/json from reading a list of numbers as base64.
type byte0 int

var fixedNow = time.Unix(1764460800, 0)

func serve(t testing.TB, m *Model, o Options) (*server, string) {
	t.Helper()
	o.Now = func() time.Time { return fixedNow }
	h := NewServer(m, o)
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	return h.(*server), web.URL
}

func post(t testing.TB, url, body string) *http.Response {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func ask(t testing.TB, url, body string) (a apiAnswer, status int) {
	t.Helper()
	resp := post(t, url, body)
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return a, resp.StatusCode
}

// stream reads a whole event stream and insists on its form.
func stream(t testing.TB, url, body string) (events []apiAnswer) {
	t.Helper()
	resp := post(t, url, body)
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || ct != "text/event-stream" {
		t.Fatalf("status %d, content type %q", resp.StatusCode, ct)
	}
	lines := bufio.NewScanner(resp.Body)
	done := false
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if lines.Text() == "" {
			continue
		}
		if !ok || done {
			t.Fatalf("line %q, done %t", lines.Text(), done)
		}
		if done = data == "[DONE]"; done {
			continue
		}
		var e apiAnswer
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	if !done {
		t.Fatal("the stream does not end with [DONE]")
	}
	return events
}

const hello = `"model":"cocoon-demo-3m","temperature":0,"messages":[{"role":"user","content":"What is Cocoon?"}]`

func TestModels(t *testing.T) {
	_, url := serve(t, demoModel(t), Options{})
	for _, path := range []string{"/v1/models", "/v1/models/cocoon-demo-3m"} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		one := fmt.Sprintf(`{"id":"cocoon-demo-3m","object":"model","created":%d,"owned_by":"cocoon","capabilities":["text"]}`, fixedNow.Unix())
		want := map[string]string{"/v1/models": `{"object":"list","data":[` + one + `]}`, "/v1/models/cocoon-demo-3m": one}[path]
		if got := strings.TrimSpace(string(body)); got != want || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestChat(t *testing.T) {
	_, url := serve(t, demoModel(t), Options{})
	a, status := ask(t, url+"/v1/chat/completions", "{"+hello+"}")
	if status != 200 || a.Object != "chat.completion" || a.Model != "cocoon-demo-3m" || a.Created != fixedNow.Unix() || !strings.HasPrefix(a.ID, "chatcmpl-") {
		t.Fatalf("status %d, %+v", status, a)
	}
	c := a.Choices[0]
	if len(a.Choices) != 1 || c.Message.Role != "assistant" || !strings.Contains(*c.Message.Content, "Cocoon") || *c.FinishReason != "stop" || c.Logprobs != nil {
		t.Errorf("choice %+v says %q", c, *c.Message.Content)
	}
	if u := a.Usage; u == nil || u.PromptTokens < 5 || u.CompletionTokens < 5 || u.TotalTokens != u.PromptTokens+u.CompletionTokens {
		t.Errorf("usage %+v", a.Usage)
	}
}

func TestStreamSaysTheSame(t *testing.T) {
	_, url := serve(t, demoModel(t), Options{})
	plain, _ := ask(t, url+"/v1/chat/completions", "{"+hello+"}")
	events := stream(t, url+"/v1/chat/completions", `{"stream":true,"stream_options":{"include_usage":true},`+hello+"}")
	if first := events[0].Choices[0].Delta; first.Role != "assistant" || *first.Content != "" {
		t.Errorf("first delta %+v, want the role and empty content", first)
	}
	var text, finish string
	for i, e := range events[:len(events)-1] {
		c := e.Choices[0]
		if e.Object != "chat.completion.chunk" || e.ID != events[0].ID || e.Usage != nil || finish != "" {
			t.Fatalf("event %d: %+v after finish %q", i, e, finish)
		}
		if c.Delta.Content != nil {
			text += *c.Delta.Content
		}
		if c.FinishReason != nil {
			finish = *c.FinishReason
		}
	}
	if text != *plain.Choices[0].Message.Content || finish != *plain.Choices[0].FinishReason {
		t.Errorf("stream says %q (%s), plain %q", text, finish, *plain.Choices[0].Message.Content)
	}
	last := events[len(events)-1]
	if len(last.Choices) != 0 || last.Usage == nil || *last.Usage != *plain.Usage {
		t.Errorf("last chunk %+v, want no choices and usage %+v", last, plain.Usage)
	}
	if len(events) < 10 {
		t.Errorf("%d events: not token by token", len(events))
	}
	for _, e := range stream(t, url+"/v1/chat/completions", `{"stream":true,`+hello+"}") {
		if e.Usage != nil || len(e.Choices) != 1 {
			t.Errorf("usage that nobody asked for: %+v", e)
		}
	}
}

func TestStopEndsTheAnswer(t *testing.T) {
	_, url := serve(t, demoModel(t), Options{})
	whole, _ := ask(t, url+"/v1/chat/completions", "{"+hello+"}")
	text := *whole.Choices[0].Message.Content
	stop := text[len(text)/2:][:7] // crosses token borders
	want := text[:strings.Index(text, stop)]
	quoted, _ := json.Marshal(stop)
	a, _ := ask(t, url+"/v1/chat/completions", `{"stop":["never",`+string(quoted)+"],"+hello+"}")
	if got := *a.Choices[0].Message.Content; got != want || *a.Choices[0].FinishReason != "stop" {
		t.Errorf("with stop %q: %q, want %q", stop, got, want)
	}
	if a.Usage.CompletionTokens >= whole.Usage.CompletionTokens {
		t.Errorf("%d tokens generated with the stop, %d without", a.Usage.CompletionTokens, whole.Usage.CompletionTokens)
	}
	a, _ = ask(t, url+"/v1/chat/completions", `{"max_completion_tokens":3,"max_tokens":9,`+hello+"}")
	if a.Usage.CompletionTokens != 3 || *a.Choices[0].FinishReason != "length" {
		t.Errorf("three tokens: %+v, %s", a.Usage, *a.Choices[0].FinishReason)
	}
}

func TestChatLogprobs(t *testing.T) {
	_, url := serve(t, demoModel(t), Options{})
	a, _ := ask(t, url+"/v1/chat/completions", `{"logprobs":true,"top_logprobs":3,"max_tokens":12,`+hello+"}")
	var joined []byte
	for _, l := range a.Choices[0].Logprobs.Content {
		for _, b := range l.Bytes {
			joined = append(joined, byte(b))
		}
		if l.Logprob > 0 || len(l.TopLogprobs) != 3 || l.TopLogprobs[0].Token != l.Token || l.TopLogprobs[0].Logprob != l.Logprob {
			t.Errorf("greedy token %+v is not its own first rival", l)
		}
	}
	if string(joined) != *a.Choices[0].Message.Content || len(a.Choices[0].Logprobs.Content) != 12 {
		t.Errorf("%d tokens join to %q, content is %q", len(a.Choices[0].Logprobs.Content), joined, *a.Choices[0].Message.Content)
	}
	events := stream(t, url+"/v1/chat/completions", `{"stream":true,"logprobs":true,"max_tokens":12,`+hello+"}")
	n := 0
	for _, e := range events {
		if l := e.Choices[0].Logprobs; l != nil {
			n += len(l.Content)
		}
	}
	if n != 12 {
		t.Errorf("the stream has %d logprobs, want 12", n)
	}
}

func TestTextCompletion(t *testing.T) {
	m := demoModel(t)
	_, url := serve(t, m, Options{})
	a, status := ask(t, url+"/v1/completions", `{"model":"cocoon-demo-3m","temperature":0,"prompt":["Cocoon is","The sky is"],"n":2,"logprobs":2}`)
	if status != 200 || a.Object != "text_completion" || len(a.Choices) != 4 {
		t.Fatalf("status %d, %d choices, %+v", status, len(a.Choices), a)
	}
	for i, c := range a.Choices {
		if c.Index != i || c.Text == nil || *c.Text == "" || len(c.Logprobs.Tokens) == 0 || len(c.Logprobs.TopLogprobs[0]) != 2 {
			t.Errorf("choice %d: %+v", i, c)
		}
		if strings.Join(c.Logprobs.Tokens, "") != *c.Text || c.Logprobs.TextOffset[1] != utf8.RuneCountInString(c.Logprobs.Tokens[0]) {
			t.Errorf("choice %d: tokens %q and offsets %v of %q", i, c.Logprobs.Tokens, c.Logprobs.TextOffset, *c.Text)
		}
	}
	if *a.Choices[0].Text != *a.Choices[1].Text || a.Usage.CompletionTokens > 4*textDefault {
		t.Errorf("greedy choices differ, or %d tokens are more than %d each", a.Usage.CompletionTokens, textDefault)
	}
	tokens, _ := json.Marshal(m.tokens.encode(nil, "Cocoon is"))
	b, _ := ask(t, url+"/v1/completions", `{"model":"cocoon-demo-3m","temperature":0,"prompt":`+string(tokens)+`}`)
	if *b.Choices[0].Text != *a.Choices[0].Text {
		t.Errorf("prompt as tokens: %q, as text: %q", *b.Choices[0].Text, *a.Choices[0].Text)
	}
	var text string
	for _, e := range stream(t, url+"/v1/completions", `{"model":"cocoon-demo-3m","temperature":0,"prompt":"Cocoon is","stream":true}`) {
		text += *e.Choices[0].Text
	}
	if text != *a.Choices[0].Text {
		t.Errorf("streamed %q, plain %q", text, *a.Choices[0].Text)
	}
}

func TestErrors(t *testing.T) {
	_, url := serve(t, demoModel(t), Options{MaxBody: 1 << 16})
	chat, text := "/v1/chat/completions", "/v1/completions"
	long := strings.Repeat("Hello ", 1500)
	for _, c := range []struct {
		method, path, body string
		status             int
		param, code        string
	}{
		{"GET", "/v1/nothing", "", 404, "", ""},
		{"GET", chat, "", 405, "", "method_not_supported"},
		{"POST", "/v1/models", "", 405, "", "method_not_supported"},
		{"GET", "/v1/models/gpt-9", "", 404, "model", "model_not_found"},
		{"POST", chat, `{"model":"gpt-9","messages":[]}`, 404, "model", "model_not_found"},
		{"POST", chat, `{"messages":[]}`, 400, "model", "missing_required_parameter"},
		{"POST", chat, `{`, 400, "", "invalid_json"},
		{"POST", chat, ``, 400, "", "invalid_json"},
		{"POST", chat, `[]`, 400, "", "invalid_type"},
		{"POST", chat, `{"model":7}`, 400, "model", "invalid_type"},
		{"POST", chat, `{"model":"cocoon-demo-3m"}`, 400, "messages", "missing_required_parameter"},
		{"POST", chat, `{"model":"cocoon-demo-3m","messages":[{"role":"king","content":"x"}]}`, 400, "messages", "invalid_value"},
		{"POST", chat, `{"model":"cocoon-demo-3m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, "messages", "invalid_value"},
		{"POST", chat, `{"model":"cocoon-demo-3m","messages":[{"role":"user","content":"` + long + `"}]}`, 400, "messages", "context_length_exceeded"},
		{"POST", chat, `{"model":"cocoon-demo-3m","messages":[{"role":"user","content":"` + strings.Repeat(long, 6) + `"}]}`, 400, "messages", "context_length_exceeded"},
		{"POST", chat, `{"x":"` + strings.Repeat(long, 9) + `"}`, 413, "", "request_too_large"},
		{"POST", chat, `{` + hello + `,"temperature":3}`, 400, "temperature", "invalid_value"},
		{"POST", chat, `{` + hello + `,"temperature":"hot"}`, 400, "temperature", "invalid_type"},
		{"POST", chat, `{` + hello + `,"top_p":-1}`, 400, "top_p", "invalid_value"},
		{"POST", chat, `{` + hello + `,"max_tokens":0}`, 400, "max_tokens", "invalid_value"},
		{"POST", chat, `{` + hello + `,"n":0}`, 400, "n", "invalid_value"},
		{"POST", chat, `{` + hello + `,"n":17}`, 400, "n", "invalid_value"},
		{"POST", chat, `{` + hello + `,"stop":["a","b","c","d","e"]}`, 400, "stop", "invalid_value"},
		{"POST", chat, `{` + hello + `,"stop":""}`, 400, "stop", "invalid_value"},
		{"POST", chat, `{` + hello + `,"stop":7}`, 400, "stop", "invalid_type"},
		{"POST", chat, `{` + hello + `,"top_logprobs":2}`, 400, "top_logprobs", "invalid_value"},
		{"POST", chat, `{` + hello + `,"logprobs":true,"top_logprobs":21}`, 400, "top_logprobs", "invalid_value"},
		{"POST", chat, `{` + hello + `,"logit_bias":{"99999":1}}`, 400, "logit_bias", "invalid_value"},
		{"POST", chat, `{` + hello + `,"response_format":{"type":"json_object"}}`, 400, "response_format", "invalid_value"},
		{"POST", chat, `{` + hello + `,"tool_choice":"required"}`, 400, "tool_choice", "invalid_value"},
		{"POST", chat, `{` + hello + `,"continue_final_message":true}`, 400, "continue_final_message", "invalid_value"},
		{"POST", chat, `{"model":"cocoon-demo-3m","messages":[{"role":"assistant","content":"x"}],"continue_final_message":true,"add_generation_prompt":true}`, 400, "add_generation_prompt", "invalid_value"},
		{"POST", chat, `{` + hello + `,"stream_options":{"include_usage":true}}`, 400, "stream_options", "invalid_value"},
		{"POST", text, `{"model":"cocoon-demo-3m"}`, 400, "prompt", "invalid_value"},
		{"POST", text, `{"model":"cocoon-demo-3m","prompt":{}}`, 400, "prompt", "invalid_type"},
		{"POST", text, `{"model":"cocoon-demo-3m","prompt":[-1]}`, 400, "prompt", "invalid_value"},
		{"POST", text, `{"model":"cocoon-demo-3m","prompt":"x","echo":true}`, 400, "echo", "invalid_value"},
		{"POST", text, `{"model":"cocoon-demo-3m","prompt":"x","logprobs":6}`, 400, "top_logprobs", "invalid_value"},
		{"POST", text, `{"model":"cocoon-demo-3m","prompt":"x","best_of":4}`, 400, "best_of", "invalid_value"},
	} {
		req, _ := http.NewRequest(c.method, url+c.path, strings.NewReader(c.body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var a apiAnswer
		err = json.NewDecoder(resp.Body).Decode(&a)
		resp.Body.Close()
		name := c.method + " " + c.path + " " + c.body[:min(len(c.body), 150)]
		if err != nil || a.Error == nil {
			t.Errorf("%s: no error object: %v", name, err)
		} else if resp.StatusCode != c.status || a.Error.Param != c.param || a.Error.Code != c.code || a.Error.Message == "" || a.Error.Type == "" {
			t.Errorf("%s: %d %+v, want %d %q %q", name, resp.StatusCode, *a.Error, c.status, c.param, c.code)
		}
	}
}

// Strings and numbers of a request must not come back in an error: logs keep errors.
func TestErrorsDoNotQuoteThePrompt(t *testing.T) {
	_, url := serve(t, demoModel(t), Options{})
	for _, body := range []string{
		`{"model":"cocoon-demo-3m","messages":"SECRET"}`, `{"model":"cocoon-demo-3m","messages":[{"role":"SECRET"}]}`,
		`{"messages": SECRET}`, `{"model":"cocoon-demo-3m","messages":[{"role":"user","content":{"SECRET":1}}]}`,
	} {
		resp := post(t, url+"/v1/chat/completions", body)
		got, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 400 || strings.Contains(string(got), "SECRET") {
			t.Errorf("%s: %d %s", body, resp.StatusCode, got)
		}
	}
}

func TestConversationForms(t *testing.T) {
	_, url := serve(t, demoModel(t), Options{})
	plain, _ := ask(t, url+"/v1/chat/completions", "{"+hello+"}")
	parts, _ := ask(t, url+"/v1/chat/completions", `{"model":"cocoon-demo-3m","temperature":0,"user":"x","tools":[],"messages":[
		{"role":"user","content":[{"type":"text","text":"What is "},{"type":"text","text":"Cocoon?"}]}]}`)
	if *plain.Choices[0].Message.Content != *parts.Choices[0].Message.Content || *plain.Usage != *parts.Usage {
		t.Errorf("as parts: %q %+v, as a string: %q %+v", *parts.Choices[0].Message.Content, *parts.Usage, *plain.Choices[0].Message.Content, *plain.Usage)
	}
	long, status := ask(t, url+"/v1/chat/completions", `{"model":"cocoon-demo-3m","temperature":0,"messages":[
		{"role":"developer","content":"Be brief."},{"role":"user","content":"Hi"},{"role":"assistant","content":null},{"role":"user","content":"What is TON?"}]}`)
	if status != 200 || long.Usage.PromptTokens <= plain.Usage.PromptTokens {
		t.Errorf("four turns: status %d, %+v", status, long.Usage)
	}
}

func TestManyAtOnce(t *testing.T) {
	s, url := serve(t, demoModel(t), Options{Sequences: 3})
	want, _ := ask(t, url+"/v1/chat/completions", `{"max_tokens":8,`+hello+"}")
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(`{"max_tokens":8,`+hello+"}"))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			var a apiAnswer
			if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || len(a.Choices) != 1 || *a.Choices[0].Message.Content != *want.Choices[0].Message.Content {
				t.Errorf("%v: %+v", err, a)
			}
		})
	}
	wg.Wait()
	if len(s.slots) != 3 || s.waiting.Load() != 0 {
		t.Errorf("%d sequences in the pool, %d waiting; want 3 and 0", len(s.slots), s.waiting.Load())
	}
}

func TestFullQueue(t *testing.T) {
	s, url := serve(t, demoModel(t), Options{Sequences: 1, Queue: -1})
	seq := <-s.slots
	resp := post(t, url+"/v1/chat/completions", "{"+hello+"}")
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("status %d, Retry-After %q; want 429 and 1", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	s.slots <- seq
	if a, status := ask(t, url+"/v1/chat/completions", `{"max_tokens":2,`+hello+"}"); status != 200 {
		t.Errorf("after the queue is free: %d %+v", status, a)
	}
}

func TestCallerLeavesTheQueue(t *testing.T) {
	s, url := serve(t, demoModel(t), Options{Sequences: 1})
	seq := <-s.slots
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "POST", url+"/v1/chat/completions", strings.NewReader("{"+hello+"}"))
	ended := make(chan error)
	go func() {
		_, err := http.DefaultClient.Do(req)
		ended <- err
	}()
	for s.waiting.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled request: %v", err)
	}
	for s.waiting.Load() != 0 {
		time.Sleep(time.Millisecond)
	}
	s.slots <- seq
}

// A caller that leaves in mid-stream frees its sequence long before the answer
// would have ended.
func TestCallerLeavesTheStream(t *testing.T) {
	m := tinyModel(t, q8)
	s := NewServer(m, Options{Sequences: 1}).(*server)
	ctx, cancel := context.WithCancel(t.Context())
	w := &leaver{header: http.Header{}, leave: func() error { cancel(); return nil }}
	body := fmt.Sprintf(`{"model":"tiny","stream":true,"max_tokens":50,"logit_bias":{"%d":100},"messages":[{"role":"user","content":"x"}]}`, 'a')
	s.ServeHTTP(w, httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(body)).WithContext(ctx))
	if len(s.slots) != 1 || strings.Count(w.text.String(), "data: ") != 2 {
		t.Errorf("%d free sequences; after the caller left: %q", len(s.slots), w.text.String())
	}
	// The same if only writing fails, as for a reader that takes nothing.
	w = &leaver{header: http.Header{}, leave: func() error { return errors.New("deadline exceeded") }}
	s.ServeHTTP(w, httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(body)))
	if len(s.slots) != 1 || w.writes > 2 {
		t.Errorf("%d free sequences, %d writes to a broken connection", len(s.slots), w.writes)
	}
}

// leaver is a caller that leaves at the first write.
type leaver struct {
	header http.Header
	text   strings.Builder
	writes int
	leave  func() error
}

func (l *leaver) Header() http.Header { return l.header }
func (l *leaver) WriteHeader(int)     {}
func (l *leaver) Flush()              {}
func (l *leaver) Write(b []byte) (int, error) {
	l.writes++
	l.text.Write(b)
	return len(b), l.leave()
}

func TestStreamIsValidUTF8(t *testing.T) {
	_, url := serve(t, tinyModel(t, q8), Options{})
	body := `{"model":"tiny","stream":true,"seed":%d,"temperature":2,"max_tokens":40,"messages":[{"role":"user","content":"x"}]}`
	for seed := range 5 {
		resp := post(t, url+"/v1/chat/completions", fmt.Sprintf(body, seed))
		all, _ := io.ReadAll(resp.Body)
		if !utf8.Valid(all) || !strings.HasSuffix(string(all), "data: [DONE]\n\n") {
			t.Errorf("seed %d: not UTF-8 or no end: %q", seed, all)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("{"+hello+"}"), true)
	f.Add([]byte(`{"model":"tiny","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"n":2,"stop":["a"],"seed":1}`), true)
	f.Add([]byte(`{"model":"tiny","prompt":[[1,2],[3]],"logprobs":2,"stream":true,"stream_options":{"include_usage":true}}`), false)
	f.Add([]byte(`{"model":"tiny","prompt":"x","logit_bias":{"3":5},"presence_penalty":1}`), false)
	s := NewServer(tinyModel(f, q8), Options{})
	f.Fuzz(func(t *testing.T, body []byte, chat bool) {
		path := map[bool]string{true: "/v1/chat/completions", false: "/v1/completions"}[chat]
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(string(body))))
		if !slices.Contains([]int{200, 400, 404}, w.Code) || w.Code != 200 && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}
