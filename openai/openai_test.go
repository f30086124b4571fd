package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestErrorShape(t *testing.T) {
	e := &Error{Status: 429, Message: "busy <now>", Type: TypeRateLimit, Code: CodeRateLimit, RetryAfter: 1500 * time.Millisecond}
	w := httptest.NewRecorder()
	WriteError(w, e)
	want := `{"error":{"message":"busy <now>","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}`
	if got := w.Body.String(); got != want {
		t.Errorf("body = %s, want %s", got, want)
	}
	if w.Code != 429 || w.Header().Get("Retry-After") != "2" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, headers %v", w.Code, w.Header())
	}
	if got := string((&Error{Message: "x", Param: "model"}).JSON()); got != `{"error":{"message":"x","type":"server_error","param":"model","code":null}}` {
		t.Errorf("defaults: %s", got)
	}
}

func TestErrorEvent(t *testing.T) {
	e := BadGateway(CodeConnectionLost, "gone")
	doc := string(e.JSON())
	for f, want := range map[Framing]string{SSE: "data: " + doc + "\n\n", NDJSON: doc + "\n", Plain: doc + "\n"} {
		if got := string(ErrorEvent(f, e)); got != want {
			t.Errorf("%s: %q, want %q", f, got, want)
		}
		s := NewSplitter(f, 0)
		var found []byte
		s.Feed(ErrorEvent(f, e), func(p Piece) { found = append(found, p.JSON...) })
		if string(found) != doc {
			t.Errorf("%s: splitter reads %q", f, found)
		}
	}
}

func TestAsError(t *testing.T) {
	inner := ModelNotFound("x")
	for _, c := range []struct {
		err    error
		status int
	}{
		{fmt.Errorf("layer: %w", inner), 404},
		{context.DeadlineExceeded, 504},
		{context.Canceled, StatusClientClosed},
		{errors.New("secret detail"), 500},
	} {
		got := AsError(c.err)
		if got.Status != c.status || strings.Contains(got.Message, "secret") {
			t.Errorf("AsError(%v) = %d %s, want %d", c.err, got.Status, got.Message, c.status)
		}
	}
	if AsError(nil) != nil {
		t.Error("AsError(nil) is not nil")
	}
}

func TestFramingOf(t *testing.T) {
	for in, want := range map[string]Framing{
		"text/event-stream; charset=utf-8": SSE, "Text/Event-Stream": SSE, "application/x-ndjson": NDJSON,
		"application/jsonl": NDJSON, "application/json": Plain, "": Plain, "text/html": Plain,
	} {
		if got := FramingOf(in); got != want {
			t.Errorf("FramingOf(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestModelListShape(t *testing.T) {
	got, _ := json.Marshal(NewModelList(nil))
	if string(got) != `{"object":"list","data":[]}` {
		t.Errorf("empty list = %s", got)
	}
	got, _ = json.Marshal(Model{ID: "m", Object: "model", Created: 7, OwnedBy: "o", Workers: []ModelWorker{{1000, 1, 60}}})
	if want := `{"id":"m","object":"model","created":7,"owned_by":"o","workers":[{"coefficient":1000,"running_requests":1,"max_running_requests":60}]}`; string(got) != want {
		t.Errorf("model = %s, want %s", got, want)
	}
}

func TestFindUsage(t *testing.T) {
	for _, c := range []struct {
		doc                                  string
		ok                                   bool
		prompt, cached, completion, thinking int64
	}{
		{`{"usage":{"prompt_tokens":34,"prompt_tokens_details":{"cached_tokens":11},"completion_tokens":100,"completion_tokens_details":{"reasoning_tokens":10},"total_tokens":134}}`, true, 34, 11, 100, 10},
		{`{"usage":{"prompt_tokens":1,"completion_tokens":2,"reasoning_tokens":3}}`, true, 1, 0, 2, 3},
		{`{"usage":{"input_tokens":5,"output_tokens":6}}`, true, 5, 0, 6, 0},
		{`{"usage":null}`, false, 0, 0, 0, 0},
		{`{"usage":{"prompt_tokens":-1,"completion_tokens":"3"}}`, false, 0, 0, 0, 0},
		{`{"usage":{"prompt_tokens":1.5,"completion_tokens":1e3}}`, false, 0, 0, 0, 0},
		{`{"usage":{"prompt_tokens":99999999999999999999}}`, false, 0, 0, 0, 0},
		{`{"choices":[{"usage":{"prompt_tokens":1}}]}`, false, 0, 0, 0, 0},
		{`{"usage":{"prompt_tokens":1}`, false, 0, 0, 0, 0},
		{`"usage"`, false, 0, 0, 0, 0},
	} {
		u, ok := FindUsage([]byte(c.doc))
		if ok != c.ok || u.PromptTokens != c.prompt || u.Cached() != c.cached || u.CompletionTokens != c.completion || u.Reasoning() != c.thinking {
			t.Errorf("FindUsage(%s) = %+v %v", c.doc, u, ok)
		}
	}
}

func TestObjectKeepsOtherBytes(t *testing.T) {
	text := " {\n \"a\" : 1 ,\"b\":[1,2] , \"c\":\"x\\u0041\"\n} "
	for _, c := range []struct {
		edit func(o *Object)
		want string
	}{
		{func(o *Object) {}, text},
		{func(o *Object) { o.Remove("zz") }, text},
		{func(o *Object) { o.Remove("a") }, " {\"b\":[1,2] , \"c\":\"x\\u0041\"\n} "},
		{func(o *Object) { o.Remove("b") }, " {\n \"a\" : 1 , \"c\":\"x\\u0041\"\n} "},
		{func(o *Object) { o.Remove("c") }, " {\n \"a\" : 1 ,\"b\":[1,2] } "},
		{func(o *Object) { o.Remove("a"); o.Remove("b"); o.Remove("c") }, " {} "},
		{func(o *Object) { o.Set("b", []byte("true")) }, " {\n \"a\" : 1 ,\"b\":true , \"c\":\"x\\u0041\"\n} "},
		{func(o *Object) { o.Set("d\"", []byte("0")) }, " {\n \"a\" : 1 ,\"b\":[1,2] , \"c\":\"x\\u0041\"\n,\"d\\\"\":0} "},
	} {
		o, err := ParseObject([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		c.edit(o)
		if got := string(o.Bytes()); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	o, _ := ParseObject([]byte(`{}`))
	o.Set("a", []byte("1"))
	o.Set("b", []byte("2"))
	if got := string(o.Bytes()); got != `{"a":1,"b":2}` {
		t.Errorf("grown object = %s", got)
	}
}

func TestParseObjectRefuses(t *testing.T) {
	many := "{" + strings.TrimSuffix(strings.Repeat(`"a%d":0,`, MaxMembers+1), ",") + "}"
	n := make([]any, MaxMembers+1)
	for i := range n {
		n[i] = i
	}
	for _, text := range []string{
		"", " ", "{", "}", "[]", "null", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`, `{"a":1}x`, `{"a":01}`, `{"a":1.}`,
		`{"a":.5}`, `{"a":1e}`, `{"a":tru}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, "{\"a\":\"\n\"}", `{"a":[1,]}`, `{"a":[1 2]}`, `{'a':1}`, `{"a":1,"a":2}`,
		`{"a":1,"\u0061":2}`, `{"a":` + strings.Repeat("[", 1e6), `{"a":` + strings.Repeat(`{"a":`, 1e5), fmt.Sprintf(many, n...),
	} {
		if _, err := ParseObject([]byte(text)); err == nil {
			t.Errorf("%.40q is accepted", text)
		}
	}
}

// FuzzObject compares our validation with encoding/json's and checks that
// removing a member leaves the others alone.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"b":[{}]}`, `{"\u0061":-0.5e+7}`, `[]`, `{"a":"\ud800"}`, ` { "a" : null } `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o, err := ParseObject(text)
		if err != nil {
			if json.Valid(text) && errors.Is(err, errSyntax) {
				t.Fatalf("%q: %v, encoding/json accepts it", text, err)
			}
			return
		}
		if !json.Valid(text) {
			t.Fatalf("%q accepted, encoding/json refuses it", text)
		}
		if !bytes.Equal(o.Bytes(), text) {
			t.Fatalf("unchanged object differs: %q, want %q", o.Bytes(), text)
		}
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		for _, m := range o.members {
			// encoding/json mends broken UTF-8 in names; we compare the rest.
			if utf8.Valid(m.name) && !bytes.ContainsRune(m.name, utf8.RuneError) && string(m.value) != string(want[string(m.name)]) {
				t.Fatalf("member %q = %s, want %s", m.name, m.value, want[string(m.name)])
			}
		}
		for o.Len() > 0 {
			n := o.Len()
			o.Remove(string(o.members[n/2].name))
			o.Set("new", []byte("[1]"))
			if !json.Valid(o.Bytes()) {
				t.Fatalf("edited object is broken: %q", o.Bytes())
			}
			o.Remove("new")
		}
	})
}

func TestParseOptions(t *testing.T) {
	body := `{"model":"m","timeout":2.5, "max_coefficient":7,"messages":[{"role":"user","content":"timeout"}],"enable_debug":true,"request_guid":"g","stream":true,"max_tokens":10,"max_completion_tokens":20,"temperature":0.10}`
	o, forward, err := ParseOptions(http.Header{}, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"model":"m","messages":[{"role":"user","content":"timeout"}],"stream":true,"max_tokens":10,"max_completion_tokens":20,"temperature":0.10}`
	if string(forward) != want {
		t.Errorf("forward = %s, want %s", forward, want)
	}
	wantOpts := Options{Model: "m", MaxTokens: 20, HasMaxTokens: true, MaxCoefficient: 7, HasMaxCoefficient: true, Timeout: 2500 * time.Millisecond, Debug: true, GUID: "g", Stream: true}
	if o != wantOpts {
		t.Errorf("options = %+v, want %+v", o, wantOpts)
	}
}

func TestParseOptionsHeaders(t *testing.T) {
	h := http.Header{HeaderMaxCoefficient: {"0"}, HeaderTimeout: {"3"}, HeaderDebug: {"1"}, HeaderGUID: {"from header"}}
	body := []byte(`{"model":"m","request_guid":"from body","max_tokens":null,"timeout":null}`)
	o, forward, err := ParseOptions(h, body)
	if err != nil {
		t.Fatal(err)
	}
	want := Options{Model: "m", HasMaxCoefficient: true, Timeout: 3 * time.Second, Debug: true, GUID: "from body"}
	if o != want {
		t.Errorf("options = %+v, want %+v", o, want)
	}
	if string(forward) != `{"model":"m","max_tokens":null}` {
		t.Errorf("forward = %s", forward)
	}
	plain := []byte(`{"model":"m"}`)
	if _, forward, _ = ParseOptions(nil, plain); &forward[0] != &plain[0] {
		t.Error("a body without private members was copied")
	}
}

func TestParseOptionsRefuses(t *testing.T) {
	for _, c := range []struct{ body, param, code string }{
		{``, "", CodeInvalidJSON},
		{`{`, "", CodeInvalidJSON},
		{`<html>`, "", CodeInvalidJSON},
		{`[1]`, "", CodeInvalidType},
		{`"model"`, "", CodeInvalidType},
		{`{"model":` + strings.Repeat("[", 2e6), "", CodeInvalidJSON},
		{`{}`, "model", CodeMissing},
		{`{"model":null}`, "model", CodeMissing},
		{`{"model":""}`, "model", CodeMissing},
		{`{"model":7}`, "model", CodeInvalidType},
		{`{"model":"` + strings.Repeat("m", MaxModelName+1) + `"}`, "model", CodeInvalidValue},
		{`{"model":"a","model":"b"}`, "model", CodeDuplicate},
		{`{"model":"a","mod\u0065l":"b"}`, "model", CodeDuplicate},
		{`{"model":"m","x":1,"x":1}`, "x", CodeDuplicate},
		{`{"model":"m","max_tokens":"5"}`, "max_tokens", CodeInvalidType},
		{`{"model":"m","max_tokens":1.5}`, "max_tokens", CodeInvalidType},
		{`{"model":"m","max_tokens":-1}`, "max_tokens", CodeInvalidValue},
		{`{"model":"m","max_completion_tokens":4294967296}`, "max_completion_tokens", CodeInvalidValue},
		{`{"model":"m","max_tokens":99999999999999999999}`, "max_tokens", CodeInvalidValue},
		{`{"model":"m","max_coefficient":true}`, "max_coefficient", CodeInvalidType},
		{`{"model":"m","timeout":0}`, "timeout", CodeInvalidValue},
		{`{"model":"m","timeout":-3}`, "timeout", CodeInvalidValue},
		{`{"model":"m","timeout":1e999}`, "timeout", CodeInvalidValue},
		{`{"model":"m","timeout":"9"}`, "timeout", CodeInvalidType},
		{`{"model":"m","enable_debug":1}`, "enable_debug", CodeInvalidType},
		{`{"model":"m","stream":"yes"}`, "stream", CodeInvalidType},
		{`{"model":"m","request_guid":{}}`, "request_guid", CodeInvalidType},
		{`{"model":"m","receiver_public_key":"abc"}`, "receiver_public_key", CodeInvalidValue},
	} {
		_, _, err := ParseOptions(nil, []byte(c.body))
		if err == nil || err.Status != 400 || err.Param != c.param || err.Code != c.code {
			t.Errorf("%.50q: %+v, want 400 %s %s", c.body, err, c.param, c.code)
		}
	}
	for name, text := range map[string]string{HeaderTimeout: "soon", HeaderDebug: "maybe", HeaderMaxCoefficient: "1e3"} {
		if _, _, err := ParseOptions(http.Header{name: {text}}, []byte(`{"model":"m"}`)); err == nil || err.Param != name {
			t.Errorf("header %s: %s gives %v, want an error that names it", name, text, err)
		}
	}
	if _, _, err := ParseOptions(http.Header{HeaderTimeout: {"1", "2"}}, []byte(`{"model":"m"}`)); err == nil {
		t.Error("two timeout headers are accepted")
	}
}

func TestReceiverPublicKey(t *testing.T) {
	hexKey := strings.Repeat("ab", 32)
	for _, key := range []string{hexKey, "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s="} {
		o, forward, err := ParseOptions(nil, []byte(`{"model":"m","receiver_public_key":"`+key+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		if !o.Encrypted || o.ReceiverPublicKey != [32]byte(bytes.Repeat([]byte{0xab}, 32)) || !bytes.Contains(forward, []byte(key)) {
			t.Errorf("%s: %+v, forward %s", key, o, forward)
		}
	}
}

func form(parts ...string) string {
	out := ""
	for i := 0; i < len(parts); i += 2 {
		out += "--XX\r\nContent-Disposition: form-data; name=\"" + parts[i] + "\"\r\n\r\n" + parts[i+1] + "\r\n"
	}
	return out + "--XX--\r\n"
}

func TestParseForm(t *testing.T) {
	h := http.Header{"Content-Type": {`multipart/form-data; boundary="XX"`}}
	file := "RIFF\r\n--XXY not a delimiter\r\n\x00\xff"
	o, forward, err := ParseOptions(h, []byte(form("timeout", "9", "file", file, "model", "whisper", "enable_debug", "1", "max_tokens", "5")))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Options{Model: "whisper", MaxTokens: 5, HasMaxTokens: true, Timeout: 9 * time.Second, Debug: true}); o != want {
		t.Errorf("options = %+v, want %+v", o, want)
	}
	if want := form("file", file, "model", "whisper", "max_tokens", "5"); string(forward) != want {
		t.Errorf("forward = %q, want %q", forward, want)
	}
	for _, c := range []struct{ body, param string }{
		{"", ""}, {"no form", ""}, {"--XX\r\n", ""}, {"--XX--\r\n", "model"}, {form("file", "x"), "model"},
		{form("model", "a", "model", "b"), "model"}, {form("model", "m", "timeout", "soon"), "timeout"},
		{form("", "x"), ""}, {"--XX\r\nnonsense\r\n--XX--", ""}, {strings.TrimSuffix(form("model", "m"), "--XX--\r\n"), ""},
		{form(strings.Split(strings.Repeat("a,b,", maxParts+1), ",")[:2*maxParts+2]...), ""},
	} {
		if _, _, err := ParseOptions(h, []byte(c.body)); err == nil || err.Status != 400 || err.Param != c.param {
			t.Errorf("%.40q: %v, want 400 naming %q", c.body, err, c.param)
		}
	}
	h.Set("Content-Type", "multipart/form-data")
	if _, _, err := ParseOptions(h, []byte(form("model", "m"))); err == nil {
		t.Error("a form without boundary is accepted")
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add(false, []byte(`{"model":"m","timeout":5,"max_tokens":1,"messages":[]}`))
	f.Add(false, []byte(`{"model":"m","enable_debug":true,"request_guid":"\u00e9","receiver_public_key":"x"}`))
	f.Add(true, []byte(form("model", "m", "timeout", "3", "file", "x")))
	f.Fuzz(func(t *testing.T, isForm bool, body []byte) {
		h := http.Header{}
		if isForm {
			h.Set("Content-Type", "multipart/form-data; boundary=XX")
		}
		before := string(body)
		o, forward, err := ParseOptions(h, body)
		if err != nil {
			if err.Status != 400 || err.Message == "" || !json.Valid(err.JSON()) {
				t.Fatalf("error %+v", err)
			}
			return
		}
		if string(body) != before {
			t.Fatal("body was changed in place")
		}
		if o.Model == "" || o.MaxTokens < 0 || o.MaxCoefficient < 0 || o.Timeout < 0 {
			t.Fatalf("options out of range: %+v", o)
		}
		again, same, err := ParseOptions(h, forward)
		if err != nil || string(same) != string(forward) {
			t.Fatalf("forwarded body is not stable: %v", err)
		}
		if again.Debug || again.Timeout != 0 || again.HasMaxCoefficient || again.GUID != "" {
			t.Fatalf("private members were forwarded: %+v", again)
		}
		if !isForm && !json.Valid(forward) {
			t.Fatal("forwarded body is not JSON")
		}
	})
}

// What a limit of tokens is multiplied by.
func TestAnswers(t *testing.T) {
	for body, want := range map[string]int64{
		`{"model":"m"}`: 1, `{"model":"m","n":3}`: 3, `{"model":"m","n":2,"best_of":5}`: 5, `{"model":"m","n":"x"}`: 1, `{"model":"m","n":0}`: 1,
		`{"model":"m","prompt":["a","b"],"n":3}`: 6, `{"model":"m","prompt":[1,2,3]}`: 1, `{"model":"m","prompt":[[1,2],[3]]}`: 2, `{"model":"m","prompt":[]}`: 1,
		`{"model":"m","n":2147483647}`: 1 << 20,
	} {
		o, forward, err := ParseOptions(http.Header{}, []byte(body))
		if err != nil || o.Answers() != want || string(forward) != body {
			t.Errorf("%s: %d answers, forwarded %s, %v, want %d", body, o.Answers(), forward, err, want)
		}
	}
}
