package worker

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
)

func testMeter(framing openai.Framing, stream bool, limit int64) *meter {
	r := &request{payload: []byte(chat("")), stream: stream, limit: limit}
	return newMeter(price{1000, ledger.Plain, 20}, r, framing, false)
}

// pass sends a body through in chunks of n bytes.
func (m *meter) pass(body []byte, n int) (out []byte) {
	for len(body) > 0 {
		out = append(out, m.feed(body[:min(n, len(body))])...)
		body = body[min(n, len(body)):]
	}
	return append(out, m.close()...)
}

// The reference's answers: same counts, same costs, and nothing lost.
func TestObservedAnswers(t *testing.T) {
	text, err := os.ReadFile("testdata/validation_observed.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Answers []struct {
			Name, Body, Emitted, Result string
			AdjustedTokens              int64 `json:"adjusted_tokens"`
		}
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Answers) != 8 {
		t.Fatalf("%d answers, %v; want 8", len(file.Answers), err)
	}
	for _, a := range file.Answers {
		m := testMeter(openai.Plain, true, 0)
		out := string(m.pass([]byte(a.Body), 7))
		if a.Name == "SSE" { // free at the reference
			m = testMeter(openai.SSE, true, 0)
			out = string(m.pass([]byte(a.Body), 7))
			if got := m.price.adjust(m.used()).TotalTokensUsed; got != 15 || !strings.Contains(out, `"total_cost":300`) {
				t.Errorf("SSE: %d tokens, %s", got, out)
			}
			continue
		}
		if got := m.price.adjust(m.used()).TotalTokensUsed; a.AdjustedTokens > 0 && got != a.AdjustedTokens {
			t.Errorf("%s: %d tokens, want %d", a.Name, got, a.AdjustedTokens)
		}
		if plain := costMembers.ReplaceAllString(out, ""); !strings.HasPrefix(plain, a.Body) {
			t.Errorf("%s: %q left of %q", a.Name, plain, a.Body)
		}
		if strings.HasPrefix(a.Emitted, `{"usage"`) {
			first, _, _ := strings.Cut(a.Emitted, "\n")
			if got, _, _ := strings.Cut(out, "\n"); !sameJSON(got, first) {
				t.Errorf("%s: emits %s, want %s", a.Name, got, first)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	const text = `{"choices":[{"delta":{"content":"12345678"}}]}` + "\n"
	usage := func(u string) string { return `{"choices":[],"usage":` + u + "}\n" }
	for _, c := range []struct {
		name  string
		body  string
		limit int64
		want  ledger.Usage
		odd   oddity
		guess bool
	}{
		{"plain", usage(`{"prompt_tokens":9,"completion_tokens":4}`), 0, ledger.Usage{Prompt: 9, Completion: 4}, 0, false},
		{"details", usage(`{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":5},"completion_tokens":4,"completion_tokens_details":{"reasoning_tokens":3}}`), 0, ledger.Usage{Prompt: 9, Cached: 5, Completion: 4, Reasoning: 3}, 0, false},
		{"reasoning beside", usage(`{"prompt_tokens":9,"completion_tokens":4,"reasoning_tokens":2}`), 0, ledger.Usage{Prompt: 9, Completion: 4, Reasoning: 2}, 0, false},
		{"transcription names", usage(`{"type":"tokens","input_tokens":9,"output_tokens":4}`), 0, ledger.Usage{Prompt: 9, Completion: 4}, 0, false},
		{"null details", usage(`{"prompt_tokens":9,"prompt_tokens_details":null,"completion_tokens":4}`), 0, ledger.Usage{Prompt: 9, Completion: 4}, 0, false},
		{"null until the end", `{"choices":[],"usage":null}` + "\n" + usage(`{"prompt_tokens":9,"completion_tokens":4}`), 0, ledger.Usage{Prompt: 9, Completion: 4}, 0, false},
		{"running", usage(`{"prompt_tokens":9,"completion_tokens":1}`) + text + usage(`{"prompt_tokens":9,"completion_tokens":4}`), 0, ledger.Usage{Prompt: 9, Completion: 4}, 0, false},
		{"decreasing", usage(`{"prompt_tokens":9,"completion_tokens":7}`) + usage(`{"prompt_tokens":8,"completion_tokens":4}`), 0, ledger.Usage{Prompt: 9, Completion: 7}, oddDecreasing, false},
		{"parts above wholes", usage(`{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":50},"completion_tokens":4,"reasoning_tokens":40}`), 0, ledger.Usage{Prompt: 9, Cached: 9, Completion: 4, Reasoning: 4}, 0, false},
		{"limit", usage(`{"prompt_tokens":9,"completion_tokens":11}`), 10, ledger.Usage{Prompt: 9, Completion: 10}, oddLimit, false},
		{"limit named in words that the engine reads otherwise", strings.Repeat(text, 10) + usage(`{"prompt_tokens":9,"completion_tokens":20}`), 1, ledger.Usage{Prompt: 9, Completion: 10}, oddLimit, false},
		{"more than its text", text + usage(`{"prompt_tokens":9,"completion_tokens":100000}`), 0, ledger.Usage{Prompt: 9, Completion: 100000}, oddText, false},
		{"beyond reason", text + usage(`{"prompt_tokens":9,"completion_tokens":99999999999}`), 0, ledger.Usage{Prompt: 9, Completion: 8 + maxUnseen}, oddText, false},
		{"usage is a list", text + usage(`[1]`), 0, ledger.Usage{Prompt: 17, Completion: 2}, 0, true},
		{"usage is nonsense", text + usage(`{"prompt_tokens":"9","completion_tokens":-4.5}`), 0, ledger.Usage{Prompt: 17, Completion: 2}, oddUncountable, true},
		{"silent", text + text, 0, ledger.Usage{Prompt: 17, Completion: 4}, 0, true},
		{"silent and limited", text + text, 3, ledger.Usage{Prompt: 17, Completion: 3}, oddLimit, true},
		{"usage inside the text", `{"choices":[{"delta":{"content":"\"usage\":{\"prompt_tokens\":1}"}}]}` + "\n", 0, ledger.Usage{Prompt: 17, Completion: 8}, 0, true},
		{"tools", `{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}}]}}]}` + "\n", 0, ledger.Usage{Prompt: 17, Completion: 3}, 0, true},
		{"reasoning text", `{"choices":[{"delta":{"reasoning_content":"1234","content":null}}]}` + "\n", 0, ledger.Usage{Prompt: 17, Completion: 1}, 0, true},
		{"nothing said", `{"choices":[{"delta":{"role":"assistant","content":""}}]}` + "\n", 0, ledger.Usage{Prompt: 17}, 0, true},
	} {
		for _, chunk := range []int{1, 1 << 20} {
			m := testMeter(openai.NDJSON, true, c.limit)
			out := m.pass([]byte(c.body), chunk)
			if got := m.used(); got != c.want || m.odd != c.odd || m.estimated() != c.guess {
				t.Errorf("%s in chunks of %d: %+v (%v, estimated %t), want %+v (%v, %t)", c.name, chunk, got, m.odd, m.estimated(), c.want, c.odd, c.guess)
			}
			if marked := bytes.Contains(out, []byte(`"estimated":true`)); marked != (c.guess && c.name != "nothing said") {
				t.Errorf("%s: %s says estimated %t", c.name, out, marked)
			}
		}
	}
}

// The usage document that is added looks like the engine's own.
func TestAddedUsage(t *testing.T) {
	m := testMeter(openai.SSE, true, 0)
	body := "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"x\",\"choices\":[{\"delta\":{\"content\":\"abcd\"}}]}\n\ndata: [DONE]\n\n"
	out := string(m.pass([]byte(body), 11))
	added := `data: {"id":"c1","object":"chat.completion.chunk","created":5,"model":"x","choices":[],"usage":{"prompt_tokens":17,"completion_tokens":1,` +
		`"total_tokens":18,"prompt_total_cost":340,"completion_total_cost":20,"total_cost":360,"estimated":true}}` + "\n\ndata: [DONE]\n\n"
	if !strings.HasSuffix(out, added) || !strings.HasPrefix(out, strings.TrimSuffix(body, "data: [DONE]\n\n")) {
		t.Errorf("got %s\nwant its end %s", out, added)
	}
}

// An error behind half an event must be readable.
func TestAbortedStream(t *testing.T) {
	m := testMeter(openai.SSE, true, 0)
	out := string(m.feed([]byte("data: {\"a\":1}\n\ndata: {\"choices\":[{\"del")))
	out += string(m.abort(openai.Timeout("late")))
	want := "data: {\"a\":1}\n\ndata: {\"error\":"
	if !strings.HasPrefix(out, want) || !strings.HasSuffix(out, "}\n\n") {
		t.Errorf("got %q, want %q…", out, want)
	}
}

func TestTranscriptionText(t *testing.T) {
	r := &request{payload: make([]byte, 50<<10), form: true}
	m := newMeter(price{1000, ledger.Plain, 1}, r, openai.Plain, false)
	m.pass([]byte(`{"text":"twelve bytes","segments":[{"text":"twelve bytes"}]}`), 9)
	if got := m.used(); got != (ledger.Usage{Prompt: 50, Completion: 3}) {
		t.Errorf("JSON: %+v", got)
	}
	m = newMeter(price{1000, ledger.Plain, 1}, r, openai.Plain, false)
	if out := string(m.pass([]byte("twelve bytes"), 9)); out != "twelve bytes" || m.used() != (ledger.Usage{Prompt: 50, Completion: 3}) { // 11 bytes of ink
		t.Errorf("text: %q %+v", out, m.used())
	}
}

func TestEstimatedPrompt(t *testing.T) {
	picture := `{"model":"m","messages":[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,` + strings.Repeat("A", 1<<20) + `"}}]}]}`
	if got := (&request{payload: []byte(picture)}).estimatePrompt(); got > 2*mediaTokens {
		t.Errorf("picture: %d tokens, want about %d", got, mediaTokens)
	}
	if got := (&request{payload: []byte(`{"prompt":"` + strings.Repeat("word ", 400) + `"}`)}).estimatePrompt(); got < 400 || got > 600 {
		t.Errorf("400 words: %d tokens", got)
	}
}

// Whatever an engine sends, in whatever chunks: no panic, the caller gets the
// same bytes but for what is added, counts stay within bounds, and chunking
// changes nothing.
func FuzzMeter(f *testing.F) {
	f.Add([]byte(`{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`), uint8(0), false, uint8(3))
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n"), uint8(1), true, uint8(1))
	f.Add([]byte("{\"usage\":{\"prompt_tokens\":3}}\n{\"usage\":null}\n"), uint8(2), true, uint8(5))
	f.Add([]byte(`"usage" 5 {"usage":{"a\`), uint8(0), true, uint8(2))
	f.Fuzz(func(t *testing.T, body []byte, kind uint8, stream bool, chunk uint8) {
		framing := openai.Framing(kind % 3)
		whole := testMeter(framing, stream, 100)
		out := whole.pass(body, len(body)+1)
		pieces := testMeter(framing, stream, 100)
		if again := pieces.pass(body, int(chunk)+1); !reflect.DeepEqual(pieces.used(), whole.used()) || !bytes.Equal(out, again) {
			t.Errorf("in pieces of %d: %q %+v, at once %q %+v", chunk+1, again, pieces.used(), out, whole.used())
		}
		u := whole.used()
		if u.Prompt < 0 || u.Completion < 0 || u.Completion > max(100, whole.heard/longToken) || u.Cached > u.Prompt || u.Reasoning > u.Completion || u.Prompt > promptSlack+100 {
			t.Errorf("usage %+v out of bounds", u)
		}
		if !bytes.Contains(body, []byte("usage")) && !bytes.Contains(out, []byte(`"estimated":true`)) && !bytes.Equal(out, body) {
			t.Errorf("body without usage changed from %q to %q", body, out)
		}
		cut := testMeter(framing, stream, 0)
		cut.feed(body[:len(body)/2])
		if last := cut.abort(openai.Timeout("late")); !bytes.HasSuffix(last, []byte("\n")) {
			t.Errorf("aborted with %q", last)
		}
	})
}
