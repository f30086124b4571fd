package worker

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

var costMembers = regexp.MustCompile(`,"prompt_total_cost":\d+,"completion_total_cost":\d+,"total_cost":\d+`)

// Every script of an engine, and what a proxy then gets.
func TestEngineScripts(t *testing.T) {
	const streaming = `,"stream":true`
	type tokens struct{ prompt, completion int64 }
	for _, c := range []struct {
		name    string
		script  enginetest.Script
		members string
		timeout float64
		status  int32  // of the answer; 0 wants an error message
		code    int32  // of that
		has     string // in the body
		lacks   string
		tokens  tokens
		asked   int // how often the engine is
		whole   bool
	}{
		{name: "fast", script: enginetest.Fast(), status: 200, has: `"total_cost":260`, tokens: tokens{11, 2}, whole: true},
		{name: "fast stream", script: enginetest.Fast(), members: streaming, status: 200, has: `"completion_total_cost":40`, tokens: tokens{11, 2}},
		{name: "chunks", script: enginetest.Chunks(5, time.Millisecond), members: streaming, status: 200, has: "data: [DONE]\n\n", tokens: tokens{11, 5}},
		{name: "chunks whole", script: enginetest.Chunks(3, 0), status: 200, has: "tok0 tok1 tok2", tokens: tokens{11, 3}, whole: true},
		{name: "lines", script: enginetest.NDJSON(4, 0), members: streaming, status: 200, has: `"total_cost":300`, lacks: "data:", tokens: tokens{11, 4}},
		{name: "slow head", script: enginetest.SlowHead(5 * time.Millisecond), members: streaming, status: 200, has: "tok2", tokens: tokens{11, 3}},
		{name: "silent", script: enginetest.Silent(8), status: 200, has: `"estimated":true`, tokens: tokens{17, 10}, whole: true},
		{name: "silent stream", script: enginetest.Silent(8), members: streaming, status: 200, has: `"estimated":true}}` + "\n\ndata: [DONE]", tokens: tokens{20, 10}},
		{name: "negative usage", script: enginetest.Liar(4, `{"prompt_tokens":-5,"completion_tokens":-9}`), status: 200, has: `"estimated":true`, tokens: tokens{17, 5}, whole: true},
		{name: "absurd usage", script: enginetest.Liar(4, `{"prompt_tokens":1e99,"completion_tokens":99999999999999999999}`), status: 200, has: `"estimated":true`, tokens: tokens{17, 5}, whole: true},
		{name: "prompt beyond its bytes", script: enginetest.Liar(4, `{"prompt_tokens":500000,"completion_tokens":4}`), status: 200, tokens: tokens{65602, 4}, whole: true},
		{name: "completion beyond the limit", script: enginetest.Liar(4, `{"prompt_tokens":5,"completion_tokens":400}`), members: `,"max_tokens":10`, status: 200, has: `"completion_tokens":400`, tokens: tokens{5, 10}, whole: true},
		{name: "zero completion", script: enginetest.Liar(4, `{"prompt_tokens":5,"completion_tokens":0}`), status: 200, tokens: tokens{5, 5}, whole: true},
		{name: "decreasing usage", script: enginetest.Liar(3, `{"prompt_tokens":7,"completion_tokens":6}`, `{"prompt_tokens":7,"completion_tokens":2}`, `{"prompt_tokens":1,"completion_tokens":1}`), members: streaming, status: 200, tokens: tokens{7, 6}},
		{name: "web page 200", script: enginetest.HTML(200), status: 502, has: `"code":"bad_answer"`, lacks: "html", whole: true},
		{name: "web page 502", script: enginetest.HTML(502), members: streaming, status: 502, has: `"code":"bad_answer"`, lacks: "html", whole: true},
		{name: "garbage", script: enginetest.Garbage(), status: 502, has: `"code":"bad_answer"`, lacks: "never", whole: true},
		{name: "text 500", script: enginetest.Fixed(500, "text/plain", "Internal Server Error"), status: 502, lacks: "Internal", whole: true},
		{name: "text 404", script: enginetest.Fixed(404, "text/plain", "no"), status: 404, has: `"error"`, whole: true},
		{name: "redirect", script: enginetest.Fixed(302, "application/json", "{}"), status: 502, whole: true},
		{name: "nothing", script: enginetest.Fixed(200, "application/json", ""), status: 502, whole: true},
		{name: "stream of nothing", script: enginetest.Fixed(200, "text/event-stream", ""), members: streaming, code: wire.CodeNotReady},
		{name: "refusal", script: enginetest.Refusal(400, "temperature: want a number"), status: 400, has: "temperature", lacks: "cost", whole: true},
		{name: "json 503", script: enginetest.Refusal(503, "loading"), status: 503, has: "loading", whole: true},
		{name: "no stream options", script: enginetest.RefuseMember("stream_options", enginetest.Chunks(2, 0)), members: streaming, status: 200, has: `"estimated":true`, tokens: tokens{20, 3}, asked: 2},
		{name: "other refusal is final", script: enginetest.Refusal(400, "bad"), members: streaming, status: 400, has: "bad", asked: 1},
		{name: "dies before the head", script: enginetest.DieHead(), code: wire.CodeNotReady},
		{name: "dies in a whole answer", script: enginetest.DieAfter(2), code: wire.CodeNotReady},
		{name: "dies in a stream", script: enginetest.DieAfter(2), members: streaming, status: 200, has: `data: {"error":{`, lacks: "DONE", tokens: tokens{20, 3}},
		{name: "hangs before the head", script: enginetest.HangHead(), timeout: 0.05, code: wire.CodeTimeout},
		{name: "hangs in a whole answer", script: enginetest.HangAfter(2), timeout: 0.05, code: wire.CodeTimeout},
		{name: "hangs in a stream", script: enginetest.HangAfter(2), members: streaming, timeout: 0.5, status: 200, has: `"code":"timeout"`, lacks: "DONE", tokens: tokens{20, 3}},
		{name: "events under a plain type", script: enginetest.WrongType(3), members: streaming, status: 200, has: "[DONE]", tokens: tokens{20, 4}},
		{name: "events nobody asked for", script: enginetest.WrongType(3), status: 200, has: "[DONE]", tokens: tokens{17, 4}, whole: true},
		{name: "content-length", script: enginetest.Spelled("content-length", `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}`), status: 200, tokens: tokens{3, 1}, whole: true},
		{name: "Content-Length", script: enginetest.Spelled("Content-Length", `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}`), status: 200, tokens: tokens{3, 1}, whole: true},
		{name: "huge", script: enginetest.Huge(3 << 20), status: 200, has: `"total_cost":400}}`, tokens: tokens{11, 9}},
		{name: "too huge to read", script: enginetest.Huge(9 << 20), members: `,"max_tokens":50`, status: 200, tokens: tokens{21, 50}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, newProxy(t), c.script, nil)
			h := s.connected()
			q := query(post(pathChat, chat(c.members)))
			if c.timeout > 0 {
				q.Timeout = c.timeout
			}
			a := h.run(q)
			if a.status != c.status || a.code != c.code {
				t.Fatalf("status %d code %d %q, want %d %d", a.status, a.code, a.text, c.status, c.code)
			}
			body := a.body()
			if c.has != "" && !strings.Contains(body, c.has) || c.lacks != "" && strings.Contains(body, c.lacks) {
				t.Errorf("body %.600q, want %q and not %q", body, c.has, c.lacks)
			}
			used := a.info.TokensUsed
			if used.PromptTokensUsed != c.tokens.prompt || used.CompletionTokensUsed != c.tokens.completion ||
				used.TotalTokensUsed != c.tokens.prompt+c.tokens.completion {
				t.Errorf("tokens %+v, want %+v", used, c.tokens)
			}
			if whole := len(a.parts) == 0; whole != (c.whole || c.status == 0) && c.members == "" {
				t.Errorf("%d parts behind the head, want one message %t", len(a.parts), c.whole)
			}
			if n := a.header["Content-Length"]; n != "" && n != strconv.Itoa(len(body)) {
				t.Errorf("length %s for %d bytes", n, len(body))
			}
			if c.asked > 0 && s.engine.Count() != c.asked {
				t.Errorf("engine asked %d times, want %d", s.engine.Count(), c.asked)
			}
			for _, part := range append(a.parts, a.first) {
				if len(part) > partSize {
					t.Errorf("message of %d bytes, want at most %d", len(part), partSize)
				}
			}
		})
	}
}

// What the engine said reaches the caller byte for byte, costs apart.
func TestBytesArePreserved(t *testing.T) {
	pretty := "{\n  \"id\": \"x\",\n  \"choices\": [],\n  \"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 1}\n}\n"
	events := ": ping\r\n\r\nevent: x\r\ndata: {\"a\": 1}\r\n\r\ndata: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n"
	for _, c := range []struct{ contentType, members, body string }{
		{"application/json", "", pretty},
		{"text/event-stream", `,"stream":true`, events},
		{"application/x-ndjson", `,"stream":true`, "{\"a\":1}\n\n{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n"},
		{"application/json", `,"stream":true`, `{"a":1} {"usage":{"prompt_tokens":3,"completion_tokens":1}}`},
	} {
		s := start(t, newProxy(t), enginetest.Fixed(200, c.contentType, c.body), nil)
		a := s.connected().run(query(post(pathChat, chat(c.members))))
		if got := costMembers.ReplaceAllString(a.body(), ""); got != c.body {
			t.Errorf("%s: got %q, want %q", c.contentType, got, c.body)
		}
		if costMembers.FindString(a.body()) != `,"prompt_total_cost":60,"completion_total_cost":20,"total_cost":80` {
			t.Errorf("%s: costs in %q", c.contentType, a.body())
		}
		s.stop()
	}
}

func TestDebugSendsTheHeadAlone(t *testing.T) {
	for _, script := range []enginetest.Script{enginetest.Fast(), enginetest.HTML(502), enginetest.Silent(2)} {
		s := start(t, newProxy(t), script, nil)
		q := query(post(pathChat, chat("")))
		q.EnableDebug = true
		a := s.connected().run(q)
		if a.first != "" || len(a.parts) != 1 || a.header["Transfer-Encoding"] != "chunked" {
			t.Errorf("head with %q and %d parts, want it alone", a.first, len(a.parts))
		}
		var record map[string]any
		if err := json.Unmarshal([]byte(a.info.WorkerDebug), &record); err != nil || record["type"] != "worker_stats" {
			t.Errorf("debug record %q: %v", a.info.WorkerDebug, err)
		}
		s.stop()
	}
}

// The bits of final info follow the version of the hop.
func TestVersions(t *testing.T) {
	for version, want := range map[int32]uint32{0: 0, 1: 0, 2: flagTimes, 3: flagTimes, 4: flagTimes} {
		p := newProxy(t)
		p.version, p.flags = version, 1
		if version > 0 {
			p.flags = 3
		}
		s := start(t, p, enginetest.Fast(), nil)
		h := s.connected()
		q := query(post(pathChat, chat("")))
		var a *answer
		if version == 0 {
			h.send(&tl.ProxyRunQuery{Query: q.Query, SignedPayment: q.SignedPayment, Coefficient: 1000, Timeout: 60, RequestID: q.RequestID})
			a = h.collect(q.RequestID)
		} else {
			a = h.run(q)
		}
		if a.status != 200 || a.info.Flags != want {
			t.Errorf("version %d: status %d final info flags %b, want %b", version, a.status, a.info.Flags, want)
		}
		if want != 0 && !(a.info.WorkerStartTime > 0 && a.info.WorkerEndTime >= a.info.WorkerStartTime) {
			t.Errorf("version %d: times %v to %v", version, a.info.WorkerStartTime, a.info.WorkerEndTime)
		}
		s.stop()
	}
}

func TestAnswerHeaders(t *testing.T) {
	raw := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: 7\r\nset-cookie: a=b\r\nx-cocoon-error: 651\r\n" +
		"Connection: keep-alive, X-Gone\r\nX-Gone: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 14\r\n\r\n{\"choices\":[]}"
	s := start(t, newProxy(t), enginetest.Raw(raw), nil)
	a := s.connected().run(query(post(pathChat, chat(""))))
	for _, name := range []string{"Set-Cookie", "X-Cocoon-Error", "Connection", "X-Gone", "Keep-Alive"} {
		if v, there := a.header[name]; there {
			t.Errorf("header %s: %s reaches the caller", name, v)
		}
	}
	if a.header["X-Request-Id"] != "7" || a.header["Content-Type"] != "application/json" {
		t.Errorf("headers %v lack the engine's own", a.header)
	}
	if a.header["X-Cocoon-Model"] != fullModel {
		t.Errorf("model %q, want %q: which revision answered", a.header["X-Cocoon-Model"], fullModel)
	}
	stampForm := regexp.MustCompile(`^\d{9,}\.\d{6}$`)
	if !stampForm.MatchString(a.header["X-Cocoon-Worker-Start"]) || !stampForm.MatchString(a.header["X-Cocoon-Worker-End"]) {
		t.Errorf("times %q %q, want unix seconds with six decimals", a.header["X-Cocoon-Worker-Start"], a.header["X-Cocoon-Worker-End"])
	}
}

func TestRequestHeaders(t *testing.T) {
	request := post(pathChat, chat(""), "host", "evil", "Authorization", "Bearer sk-secret", "COOKIE", "a=b", "Accept-Encoding", "gzip",
		"connection", "close, X-Hop", "X-Hop", "1", "Transfer-Encoding", "chunked", "content-length", "1", "X-Kept", "yes",
		"Bad Name", "x", "X-Bad", "a\r\nX-Smuggled: 1", "Origin", "https://page.example", "X-Cocoon-Timeout", "5")
	for _, c := range []struct {
		name   string
		change func(*Config)
		auth   string
		cookie string
	}{
		{name: "default"},
		{name: "own key", change: func(c *Config) { c.EngineKey = "local" }, auth: "Bearer local"},
		{name: "forwarded", change: func(c *Config) { c.ForwardCredentials = true }, auth: "Bearer sk-secret", cookie: "a=b"},
	} {
		s := start(t, newProxy(t), enginetest.Fast(), c.change)
		s.connected().run(query(request))
		got := s.engine.Requests()[0]
		want := http.Header{"Content-Type": {"application/json"}, "X-Kept": {"yes"}, "User-Agent": {"cocoon-worker"},
			"Content-Length": {strconv.Itoa(len(request.Payload))}}
		if c.auth != "" {
			want["Authorization"] = []string{c.auth}
		}
		if c.cookie != "" {
			want["Cookie"] = []string{c.cookie}
		}
		if len(got.Header) != len(want) {
			t.Errorf("%s: engine sees %v, want %v", c.name, got.Header, want)
		}
		for name := range want {
			if got.Header.Get(name) != want.Get(name) {
				t.Errorf("%s: engine sees %s %q, want %q", c.name, name, got.Header.Get(name), want.Get(name))
			}
		}
		if strings.Contains(got.Host, "evil") {
			t.Errorf("%s: engine sees the caller's host", c.name)
		}
		s.stop()
	}
}
