package worker

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// acceptedHere are the network's wrong refusals: what they hold is the
// engine's to judge. Each was observed at the reference.
var acceptedHere = map[string]string{
	"stream+include_obfuscation":          "an option of the API",
	"stop string":                         "the API allows a string",
	"stop null":                           "null means not given",
	"response_format obj":                 "the API's only form of it",
	"tools":                               "the engine may do tools",
	"tool_choice":                         "the engine may do tools",
	"logit_bias":                          "the engine may do it",
	"metadata":                            "harmless",
	"service_tier str":                    "the API's only form of it",
	"prediction number":                   "the engine knows better",
	"audio voice obj":                     "the API allows an object",
	"temp null":                           "null means not given",
	"ctk other":                           "templates have options of their own",
	"top_k":                               "engines have options of their own",
	"assistant null content + tool_calls": "what the API itself sends",
	"parts image_url":                     "the API's only form of it",
	"parts audio b64":                     "the API's only form of it",
	"unknown role":                        "models have roles of their own",
	"extra msg field":                     "models have fields of their own",
	"prompt tokens":                       "the API allows token arrays",
	"logprobs int":                        "the API's only form of it",
	"stop str":                            "the API allows a string",
	"chat field in completions":           "the engine may use it",
	"stream+opts null":                    "null means not given; the reference dies",
}

// otherwise lists what is forwarded in another way than the reference's.
var otherwise = map[string]string{
	// Only the newer name needs the older beside it: each engine knows the older.
	"max": `{"model":"m","prompt":"x","max_tokens":7}`,
}

// refusedHere is what the reference lets through and we do not.
var refusedHere = map[string]string{
	"dup keys": "engine and network could read different ones",
}

type observation struct {
	URL, Name, Body, Result, Forwarded string
	Code                               int32
}

func observed(t *testing.T) []observation {
	text, err := os.ReadFile("testdata/validation_observed.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Requests []observation }
	if err := json.Unmarshal(text, &file); err != nil || len(file.Requests) != 67 {
		t.Fatalf("%d observations, %v; want 67", len(file.Requests), err)
	}
	return file.Requests
}

// What the reference accepts we accept and forward alike; what it refuses we
// refuse too or accept on purpose, by the tables above.
func TestObservedValidation(t *testing.T) {
	for _, o := range observed(t) {
		r, bad := readRequest(post(o.URL, o.Body), "m", false)
		_, lenient := acceptedHere[o.Name]
		if _, strict := refusedHere[o.Name]; strict {
			o.Result = "reject"
		}
		switch {
		case o.Result == "accept" && bad != nil:
			t.Errorf("%s %s: refused: %v", o.URL, o.Name, bad)
		case o.Result == "accept":
			want := o.Forwarded
			if other, ok := otherwise[o.Name]; ok {
				want = other
			}
			if !sameJSON(string(r.body), want) {
				t.Errorf("%s %s: forwards %s, want %s", o.URL, o.Name, r.body, want)
			}
		case lenient && bad != nil:
			t.Errorf("%s %s: refused: %v; want it accepted: %s", o.URL, o.Name, bad, acceptedHere[o.Name])
		case !lenient && bad == nil:
			t.Errorf("%s %s: accepted, want a refusal", o.URL, o.Name)
		case !lenient && (bad.code != wire.CodeProtocol || !strings.HasPrefix(bad.text, "worker: invalid http request: ")):
			t.Errorf("%s %s: refused with %d %q", o.URL, o.Name, bad.code, bad.text)
		}
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

// Whatever is not ours stays as the caller wrote it, to the byte.
func TestForwardedBytes(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{ "model" : "m", "messages":[ ], "tools":[{"z":1,"a":2}],  "seed":1e2 }`, ``},
		{`{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true,"x":1}}`, ``},
		{`{"model":"m","messages":[],"stream":true}`, `{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}`},
		{`{"model":"m","messages":[],"stream_options":{"include_usage":false,"x":1},"stream":true}`, `{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true,"x":1}}`},
		{`{"model":"m","stream_options":{},"messages":[],"stream":null}`, `{"model":"m","messages":[],"stream":null}`},
		{`{"model":"m","messages":[],"max_completion_tokens":9}`, `{"model":"m","messages":[],"max_completion_tokens":9,"max_tokens":9}`},
		{`{"model":"m","messages":[],"max_completion_tokens":9,"max_tokens":9}`, ``},
		{`{"model":"m","messages":[],"max_tokens":9}`, ``},
		{`{"mod\u0065l":"\u006d","messages":[]}`, ``},
	} {
		r, bad := readRequest(post(pathChat, c.in), "m", false)
		if c.want == "" {
			c.want = c.in
		}
		if bad != nil || string(r.body) != c.want {
			t.Errorf("%s forwarded as %s (%v), want %s", c.in, r.body, bad, c.want)
		}
	}
}

// A refusal names the member and quotes nothing of the rest.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ path, body, names string }{
		{pathChat, ``, "body"},
		{pathChat, `nope`, "body"},
		{pathChat, `[]`, "body"},
		{pathChat, `{"model":"m","messages":[]} x`, "body"},
		{pathChat, `{"model":"m","messages":[{"content":"secret`, "body"},
		{pathChat, strings.Repeat(`{"a":`, 5000), "body"},
		{pathChat, `{"messages":[]}`, `"model"`},
		{pathChat, `{"model":null,"messages":[]}`, `"model"`},
		{pathChat, `{"model":7,"messages":[]}`, `"model"`},
		{pathChat, `{"model":"other","messages":[]}`, `"m"`},
		{pathChat, `{"model":"m@abc:0123","messages":[]}`, `"model"`},
		{pathChat, `{"model":"m"}`, `"messages"`},
		{pathChat, `{"model":"m","messages":{}}`, `"messages"`},
		{pathChat, `{"model":"m","messages":null}`, `"messages"`},
		{pathCompletion, `{"model":"m"}`, `"prompt"`},
		{pathCompletion, `{"model":"m","prompt":7}`, `"prompt"`},
		{pathChat, `{"model":"m","messages":[],"stream":"yes"}`, `"stream"`},
		{pathChat, `{"model":"m","messages":[],"stream":1}`, `"stream"`},
		{pathChat, `{"model":"m","messages":[],"stream":true,"stream_options":"x"}`, `stream_options`},
		{pathChat, `{"model":"m","messages":[],"stream":true,"stream_options":[]}`, `stream_options`},
		{pathChat, `{"model":"m","messages":[],"max_tokens":"9"}`, `"max_tokens"`},
		{pathChat, `{"model":"m","messages":[],"max_tokens":1.5}`, `"max_tokens"`},
		{pathChat, `{"model":"m","messages":[],"n":99999999999999999999}`, `"n"`},
		{pathChat, `{"model":"m","messages":[],"stream":true,"stream":false}`, `"stream"`},
		{pathChat, `{"` + strings.Repeat("x", 5000) + `":1,"` + strings.Repeat("x", 5000) + `":1}`, "member"},
		{"no path", `{"model":"m","messages":[]}`, "url"},
		{"/v1/models", `{"model":"m","messages":[]}`, "/v1/models"},
		{"/v1/chat/completions/", `{"model":"m","messages":[]}`, "unsupported"},
		{"/v1/chat/completions?x=1", `{"model":"m","messages":[]}`, "unsupported"},
		{"/../v1/chat/completions", `{"model":"m","messages":[]}`, "unsupported"},
		{"/" + strings.Repeat("x", 1000), `{"model":"m","messages":[]}`, "unsupported"},
	} {
		_, bad := readRequest(post(c.path, c.body), "m", false)
		if bad == nil || bad.code != wire.CodeProtocol || !strings.Contains(bad.text, c.names) {
			t.Errorf("%s %.60s: %v, want 621 naming %s", c.path, c.body, bad, c.names)
			continue
		}
		if strings.Contains(bad.text, "secret") || len(bad.text) > 400 {
			t.Errorf("%s %.60s: refusal says too much: %s", c.path, c.body, bad)
		}
	}
}

func TestLimit(t *testing.T) {
	for body, want := range map[string]int64{
		`{"model":"m","messages":[]}`:                                          0,
		`{"model":"m","messages":[],"max_tokens":9}`:                           9,
		`{"model":"m","messages":[],"max_completion_tokens":7}`:                7,
		`{"model":"m","messages":[],"max_tokens":9,"max_completion_tokens":7}`: 9,
		`{"model":"m","messages":[],"max_tokens":9,"n":3}`:                     27,
		`{"model":"m","messages":[],"max_tokens":-9}`:                          0,
		`{"model":"m","messages":[],"max_tokens":9223372036854775807,"n":9}`:   1 << 62,
		`{"model":"m","messages":[],"max_tokens":null}`:                        0,
	} {
		r, bad := readRequest(post(pathChat, body), "m", false)
		if bad != nil || r.limit != want {
			t.Errorf("%s: limit %d (%v), want %d", body, r.limit, bad, want)
		}
	}
	r, bad := readRequest(post(pathCompletion, `{"model":"m","prompt":["a","b"],"max_tokens":9}`), "m", false)
	if bad != nil || r.limit != 0 {
		t.Errorf("two prompts: limit %v (%v), want none: it is per prompt", r, bad)
	}
}

// formOf makes a transcription request from name, value pairs. A name that
// begins with @ is a file.
func formOf(t testing.TB, pairs ...string) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	for i := 0; i+1 < len(pairs); i += 2 {
		if name, isFile := strings.CutPrefix(pairs[i], "@"); isFile {
			part, err := form.CreateFormFile(name, "a.wav")
			if err != nil {
				t.Fatal(err)
			}
			part.Write([]byte(pairs[i+1]))
			continue
		}
		form.WriteField(pairs[i], pairs[i+1])
	}
	form.Close()
	return form.FormDataContentType(), b.String()
}

func TestForms(t *testing.T) {
	sound := strings.Repeat("\x00\xff", 9000)
	for _, c := range []struct {
		pairs []string
		names string // of the refusal; empty accepts
	}{
		{[]string{"model", "m", "@file", sound}, ""},
		{[]string{"@file", sound, "model", "m", "language", "de", "response_format", "verbose_json", "include[]", "logprobs", "include[]", "x"}, ""},
		{[]string{"model", "m", "@file", sound, "stream", "true", "max_tokens", "5"}, ""},
		{[]string{"@file", sound}, `"model"`},
		{[]string{"model", "other", "@file", sound}, `"model"`},
		{[]string{"model", "m"}, `"file"`},
		{[]string{"model", "m", "model", "m", "@file", sound}, "twice"},
		{[]string{"model", "m", "@file", sound, "max_tokens", "many"}, `"max_tokens"`},
		{[]string{"model", "m", "@file", sound, "prompt", strings.Repeat("x", maxField+1)}, "longer"},
		{[]string{"", "x", "model", "m", "@file", sound}, "name"},
	} {
		contentType, body := formOf(t, c.pairs...)
		in := &tl.HTTPRequest{URL: pathTranscribe, Payload: []byte(body), Headers: []tl.HTTPHeader{{Name: "content-type", Value: contentType}}}
		r, bad := readRequest(in, "m", false)
		switch {
		case c.names == "" && bad != nil:
			t.Errorf("%.60v: %v", c.pairs, bad)
		case c.names == "" && string(r.body) != body:
			t.Errorf("%.60v: body changed", c.pairs)
		case c.names != "" && (bad == nil || !strings.Contains(bad.text, c.names)):
			t.Errorf("%.60v: %v, want a refusal naming %s", c.pairs, bad, c.names)
		}
	}
	for _, contentType := range []string{"", "application/json", "multipart/form-data", "multipart/form-data; boundary=other"} {
		_, body := formOf(t, "model", "m", "@file", sound)
		in := &tl.HTTPRequest{URL: pathTranscribe, Payload: []byte(body), Headers: []tl.HTTPHeader{{Name: "content-type", Value: contentType}}}
		if _, bad := readRequest(in, "m", false); bad == nil {
			t.Errorf("content type %q accepted", contentType)
		}
	}
}

// Neither a body nor a header may break the reader, and what is forwarded is
// still JSON with our model in it.
func FuzzRequest(f *testing.F) {
	f.Add(tl.Marshal(post(pathChat, `{"model":"m","messages":[],"stream":true,"stream_options":null}`, "connection", "a,,b")))
	f.Add(tl.Marshal(post(pathCompletion, `{"model":"\u006d","prompt":"x","max_completion_tokens":5,"n":2}`)))
	contentType, form := formOf(f, "model", "m", "@file", "x")
	f.Add(tl.Marshal(&tl.HTTPRequest{URL: "x" + pathTranscribe, Payload: []byte(form), Headers: []tl.HTTPHeader{{Name: "Content-Type", Value: contentType}}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var in tl.HTTPRequest
		if tl.Unmarshal(raw, &in) != nil {
			return
		}
		r, bad := readRequest(&in, "m", true)
		if bad != nil {
			if len(bad.text) > 512 {
				t.Errorf("refusal of %d bytes", len(bad.text))
			}
			return
		}
		r.estimatePrompt()
		if r.form {
			return
		}
		var doc struct{ Model string }
		if err := json.Unmarshal(r.body, &doc); err != nil {
			t.Errorf("forwards %q: %v", r.body, err)
		}
		if r.plain != nil && !json.Valid(r.plain) {
			t.Errorf("would ask again with %q", r.plain)
		}
	})
}
