package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

const chatBody = `{"model":"m","messages":[{"role":"user","content":"hello"}]}`
const streamBody = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`

func post(t testing.TB, ctx context.Context, c *Client, path, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "POST", "http://cocoon"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer of-the-caller")
	res, err := c.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func chat(t testing.TB, c *Client, body string) (*http.Response, string) {
	t.Helper()
	res := post(t, t.Context(), c, pathChat, body)
	return res, read(t, res)
}

func read(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// apiError decodes an error object strictly.
func apiError(t testing.TB, body string) (code, message string) {
	t.Helper()
	var doc struct {
		Error struct {
			Message, Type string
			Param, Code   *string
		}
	}
	dec := json.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil || doc.Error.Message == "" || doc.Error.Type == "" {
		t.Fatalf("no error object (%v): %s", err, body)
	}
	if doc.Error.Code != nil {
		code = *doc.Error.Code
	}
	return code, doc.Error.Message
}

func TestWholeAnswer(t *testing.T) {
	p := &scriptedProxy{version: 4}
	c := newNetwork(t, p).startReady(p.net.config())
	res, body := chat(t, c, `{"model":"m","timeout":10,"max_coefficient":1234,"max_tokens":77,"enable_debug":false,"messages":[]}`)
	if res.StatusCode != 200 || body != smallAnswer || res.ContentLength != int64(len(smallAnswer)) {
		t.Errorf("status %d, length %d, body %s", res.StatusCode, res.ContentLength, body)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "X-Cocoon-Worker-Start": "1.000000", "Set-Cookie": "", "Transfer-Encoding": "", "Connection": ""} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("header %s = %q, want %q", name, got, want)
		}
	}
	if res.Header.Get("X-Cocoon-Client-Start") == "" || res.Header.Get("X-Cocoon-Client-End") == "" {
		t.Error("client times are missing")
	}
	q := p.seen()[0]
	if q.ModelName != "m" || q.MaxCoefficient != 1234 || q.MaxTokens != 77 || q.EnableDebug || q.Flags != 3 || q.PublicKey != (tl.Int256{}) || q.MinConfigVersion != 3 {
		t.Errorf("query %+v", q)
	}
	if q.Timeout > 9.5 || q.Timeout < 8 {
		t.Errorf("proxy got %v s, want 0.95 of the 10 s that are left", q.Timeout)
	}
	checkForwarded(t, q)
	s := c.Snapshot()
	if s.Stats.Success[0] != 1 || s.Stats.PromptTokens[0] != 3 || s.Stats.CompletionTokens[0] != 2 || s.Status.MemoryUsed != 0 || s.Status.Running != 0 {
		t.Errorf("snapshot %+v %+v", s.Stats, s.Status)
	}
}

func checkForwarded(t *testing.T, q *tl.ClientRunQueryEx) {
	t.Helper()
	var r tl.HTTPRequest
	if err := tl.Unmarshal(q.Query, &r); err != nil {
		t.Fatal(err)
	}
	if r.Method != "POST" || r.URL != pathChat || string(r.Payload) != `{"model":"m","max_tokens":77,"messages":[]}` {
		t.Errorf("forwarded %s %s %s", r.Method, r.URL, r.Payload)
	}
	want := []tl.HTTPHeader{{Name: "Content-Type", Value: "application/json"}, {Name: "Content-Length", Value: "43"}}
	if len(r.Headers) != 2 || r.Headers[0] != want[0] || r.Headers[1] != want[1] {
		t.Errorf("forwarded headers %v, want %v: the others tell who asks", r.Headers, want)
	}
}

func TestDefaultsOfAQuery(t *testing.T) {
	p := &scriptedProxy{version: 2}
	c := newNetwork(t, p).startReady(p.net.config())
	chat(t, c, chatBody)
	q := p.seen()[0]
	if q.MaxTokens != 10000 || q.MaxCoefficient != 4000 || q.Timeout > 114 || q.Timeout < 110 || q.Flags != 1 {
		t.Errorf("query %+v, want 10000 tokens, coefficient 4000, 114 s, no key below version 3", q)
	}
}

// A part must reach the caller before the proxy has sent the next one.
func TestStreamIsPassedOnPartByPart(t *testing.T) {
	next := make(chan bool)
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		go func() {
			s.head(q.RequestID, response200("text/event-stream"))
			for range 3 {
				<-next
				s.part(q.RequestID, "data: {\"choices\":[]}\n\n")
			}
			<-next
			s.last(q.RequestID, "data: [DONE]\n\n")
		}()
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	res := post(t, t.Context(), c, pathChat, streamBody)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.ContentLength != -1 {
		t.Fatalf("head %d %v", res.StatusCode, res.Header)
	}
	buf := make([]byte, 100)
	for range 3 {
		next <- true
		n, err := res.Body.Read(buf)
		if err != nil || string(buf[:n]) != "data: {\"choices\":[]}\n\n" {
			t.Fatalf("read %q, %v", buf[:n], err)
		}
	}
	next <- true
	if rest := read(t, res); rest != "data: [DONE]\n\n" {
		t.Errorf("end %q", rest)
	}
}

// Every family of answers that a proxy may use, in every version.
func TestAnswerFamilies(t *testing.T) {
	head := tl.Marshal(&tl.HTTPResponse{HTTPVersion: "HTTP/1.0", StatusCode: 201, Headers: []tl.HTTPHeader{{Name: "Content-Length", Value: "6"}}, Payload: []byte("ab")})
	for name, script := range map[string]func(s *session, id tl.Int256){
		"ex in one": func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerEx{RequestID: id, Answer: tl.Marshal(&tl.HTTPResponse{HTTPVersion: "HTTP/1.0", StatusCode: 201, Payload: []byte("abcdef")}), Flags: 1})
		},
		"ex in parts": func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerEx{RequestID: id, Answer: head})
			s.send(&tl.ClientQueryAnswerPartEx{RequestID: id, Answer: []byte("cd")})
			s.send(&tl.ClientQueryAnswerPartEx{RequestID: id, Answer: []byte("ef"), Flags: 1})
		},
		"ex with an empty end": func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerEx{RequestID: id, Answer: head})
			s.part(id, "cdef")
			s.last(id, "")
		},
		"legacy in one": func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswer{RequestID: id, Answer: tl.Marshal(&tl.HTTPResponse{HTTPVersion: "HTTP/1.0", StatusCode: 201, Payload: []byte("abcdef")}), IsCompleted: true})
		},
		"legacy in parts": func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswer{RequestID: id, Answer: head})
			s.send(&tl.ClientQueryAnswerPart{RequestID: id, Answer: []byte("cd")})
			s.send(&tl.ClientQueryAnswerPart{RequestID: id, Answer: []byte("ef"), IsCompleted: true})
		},
		"with noise": func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerPartEx{RequestID: tl.Int256{1}, Answer: []byte("nobody asked"), Flags: 1})
			s.conn.SendRaw([]byte("\x01\x02\x03\x04 an object of the future"))
			s.send(&tl.CocoonQueuePosition{RequestID: id, Position: 2})
			s.send(&tl.ClientQueryAnswerEx{RequestID: id, Answer: head})
			s.last(id, "cdef")
			s.last(id, "again")
			s.send(&tl.ProxyClientRequestPayment{RequestID: id, SignedPayment: &tl.ProxySignedPaymentEmpty{}, MaxTokens: 5})
		},
	} {
		t.Run(name, func(t *testing.T) {
			for version := range int32(5) {
				p := &scriptedProxy{version: version, onQuery: func(s *session, q *tl.ClientRunQueryEx) { script(s, q.RequestID) }}
				c := newNetwork(t, p).startReady(p.net.config())
				for _, body := range []string{chatBody, streamBody} {
					if res, got := chat(t, c, body); res.StatusCode != 201 || got != "abcdef" {
						t.Errorf("version %d: %d %q, want 201 abcdef", version, res.StatusCode, got)
					}
				}
			}
		})
	}
}

// What a proxy can do wrong before an answer has begun, and what the caller
// then gets: an error object with the right status, at once.
func TestFailuresBeforeTheAnswer(t *testing.T) {
	final := tl.ClientQueryFinalInfo{}
	for name, c := range map[string]struct {
		script func(s *session, id tl.Int256)
		status int
		code   string
	}{
		"http form": {func(s *session, id tl.Int256) {
			s.refuse(id, 429, 651, `{"error":{"message":"all busy","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}`)
		}, 429, openai.CodeRateLimit},
		"http form in one": {func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerEx{RequestID: id, Flags: 1, Answer: tl.Marshal(&tl.HTTPResponse{StatusCode: 400, Payload: []byte(`{"error":{"message":"no","type":"t","param":null,"code":"c"}}`)})})
		}, 400, "c"},
		"error ex": {func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerErrorEx{RequestID: id, ErrorCode: 651, Error: "no ready workers", Flags: 1, FinalInfo: final})
		}, 503, openai.CodeNoWorker},
		"error ex without final info": {func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerErrorEx{RequestID: id, ErrorCode: 652, Error: "timeout in proxy"})
		}, 504, openai.CodeTimeout},
		"legacy error": {func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerError{RequestID: id, ErrorCode: 602, Error: "balance\x00 is too low"})
		}, 502, openai.CodeRefused},
		"legacy part error": {func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerPartError{RequestID: id, ErrorCode: 0, Error: ""})
		}, 502, openai.CodeRefused},
		"wrong request": {func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerErrorEx{RequestID: id, ErrorCode: 621, Error: "unknown field", Flags: 1})
		}, 400, openai.CodeInvalidValue},
		"part before head": {func(s *session, id tl.Int256) { s.part(id, "x") }, 502, openai.CodeBadAnswer},
		"last before head": {func(s *session, id tl.Int256) { s.last(id, "x") }, 502, openai.CodeBadAnswer},
		"head is garbage": {func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerEx{RequestID: id, Answer: []byte("garbage")})
		}, 502, openai.CodeBadAnswer},
		"head and end are garbage": {func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerEx{RequestID: id, Answer: []byte("garbage"), Flags: 1})
		}, 502, openai.CodeBadAnswer},
		"status 99":  {func(s *session, id tl.Int256) { s.head(id, tl.HTTPResponse{StatusCode: 99}) }, 502, openai.CodeBadAnswer},
		"status 101": {func(s *session, id tl.Int256) { s.head(id, tl.HTTPResponse{StatusCode: 101}) }, 502, openai.CodeBadAnswer},
		"status −1":  {func(s *session, id tl.Int256) { s.head(id, tl.HTTPResponse{StatusCode: -1}) }, 502, openai.CodeBadAnswer},
		"too many headers": {func(s *session, id tl.Int256) {
			s.head(id, tl.HTTPResponse{StatusCode: 200, Headers: make([]tl.HTTPHeader, maxHeaders+1)})
		}, 502, openai.CodeBadAnswer},
		"two heads": {func(s *session, id tl.Int256) {
			s.head(id, response200("application/json"))
			s.head(id, response200("application/json"))
		}, 502, openai.CodeBadAnswer},
		"error behind the head": {func(s *session, id tl.Int256) {
			s.head(id, response200("application/json"))
			s.part(id, `{"half":`)
			s.send(&tl.ClientQueryAnswerErrorEx{RequestID: id, ErrorCode: 652, Error: "worker: timeout", Flags: 1})
		}, 504, openai.CodeTimeout},
		"connection lost behind the head": {func(s *session, id tl.Int256) {
			s.head(id, response200("application/json"))
			s.part(id, `{"half":`)
			s.conn.CloseAfterFlush(nil)
		}, 502, openai.CodeConnectionLost},
		"malformed message": {func(s *session, id tl.Int256) {
			s.conn.SendRaw(tl.Marshal(&tl.ClientQueryAnswerEx{RequestID: id})[:20])
			s.p.setRefuse(errors.New("stays away"))
		}, 502, openai.CodeConnectionLost},
	} {
		t.Run(name, func(t *testing.T) {
			p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) { c.script(s, q.RequestID) }}
			cfg := newNetwork(t, p).config()
			cfg.ProxyWait = 1 // nanosecond: nobody else will come
			client := p.net.startReady(cfg)
			res, body := chat(t, client, chatBody)
			code, message := apiError(t, body)
			if res.StatusCode != c.status || code != c.code || strings.ContainsRune(message, 0) {
				t.Errorf("%d %s %q, want %d %s", res.StatusCode, code, message, c.status, c.code)
			}
			if n := client.active.Load(); n != 0 {
				t.Errorf("%d requests still active", n)
			}
		})
	}
}

// After the first byte an error can only be an event in the stream.
func TestFailuresInMidStream(t *testing.T) {
	for name, c := range map[string]struct {
		contentType, sent, want string
		code                    string
		fail                    func(s *session, id tl.Int256)
	}{
		"sse, error ex": {"text/event-stream", "data: 1\n\n", "data: 1\n\ndata: {ERROR}\n\n", openai.CodeTimeout, func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerErrorEx{RequestID: id, ErrorCode: 652})
		}},
		"sse, cut event": {"text/event-stream", "data: {\"ha", "data: {\"ha\n\ndata: {ERROR}\n\n", openai.CodeRefused, func(s *session, id tl.Int256) {
			s.send(&tl.ClientQueryAnswerPartError{RequestID: id, ErrorCode: 602})
		}},
		"sse, lost": {"text/event-stream", "data: 1\n\n", "data: 1\n\ndata: {ERROR}\n\n", openai.CodeConnectionLost, func(s *session, id tl.Int256) { s.conn.Close(nil) }},
		"ndjson":    {"application/x-ndjson", "{\"a\":1}\n", "{\"a\":1}\n{ERROR}\n", openai.CodeBadAnswer, func(s *session, id tl.Int256) { s.head(id, response200("")) }},
		"plain":     {"application/json", "{\"a\"", "{\"a\"\n{ERROR}\n", openai.CodeBadAnswer, func(s *session, id tl.Int256) { s.head(id, response200("")) }},
	} {
		t.Run(name, func(t *testing.T) {
			fail := make(chan bool)
			p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
				go func() {
					s.head(q.RequestID, response200(c.contentType))
					s.part(q.RequestID, c.sent)
					<-fail
					c.fail(s, q.RequestID)
				}()
			}}
			other := &scriptedProxy{version: 4}
			n := newNetwork(t, p, other)
			other.models = []string{"other"}
			client := n.startReady(n.config())
			res := post(t, t.Context(), client, pathChat, streamBody)
			first := make([]byte, len(c.sent))
			if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != c.sent {
				t.Fatalf("read %q, %v", first, err)
			}
			close(fail)
			got := string(first) + read(t, res)
			at := strings.Index(got, `{"error"`)
			if at < 0 {
				t.Fatalf("no error in %q", got)
			}
			doc, _, _ := strings.Cut(got[at:], "\n")
			if code, _ := apiError(t, doc); code != c.code {
				t.Errorf("code %s, want %s", code, c.code)
			}
			if got = strings.Replace(got, doc, "{ERROR}", 1); got != c.want {
				t.Errorf("body %q, want %q", got, c.want)
			}
			if len(other.seen()) != 0 {
				t.Error("the request went to another proxy after its first byte")
			}
		})
	}
}

func TestUnknownModelOfAReferenceProxy(t *testing.T) {
	p := &scriptedProxy{version: 2, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		s.send(&tl.ClientQueryAnswerError{RequestID: q.RequestID, ErrorCode: 621, Error: "unknown model x"})
	}}
	c := newNetwork(t, p).startReady(p.net.config())
	res, body := chat(t, c, `{"model":"x"}`)
	if code, _ := apiError(t, body); res.StatusCode != 404 || code != openai.CodeModelNotFound {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestTransportRoutes(t *testing.T) {
	p := &scriptedProxy{version: 4}
	c := newNetwork(t, p).startReady(p.net.config())
	for _, r := range []struct {
		method, path string
		status       int
	}{
		{"GET", pathChat, 405}, {"POST", pathModels, 405}, {"POST", "/v1/embeddings", 404}, {"GET", "/", 404}, {"GET", "/v1/models/", 404},
		{"GET", pathModels, 200}, {"GET", pathModels + "/m", 200}, {"GET", pathModels + "/none", 404},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), r.method, "http://cocoon"+r.path, nil)
		res, err := c.Transport().RoundTrip(req)
		if err != nil || res.StatusCode != r.status {
			t.Fatalf("%s %s: %v %v, want %d", r.method, r.path, res, err, r.status)
		}
		if body := read(t, res); r.status >= 400 {
			apiError(t, body)
		}
	}
}

func TestTransportBodyMayBeNil(t *testing.T) {
	p := &scriptedProxy{version: 4}
	c := newNetwork(t, p).startReady(p.net.config())
	req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://cocoon"+pathChat, nil)
	res, err := c.Transport().RoundTrip(req)
	if err != nil || res.StatusCode != 400 {
		t.Fatalf("%v %v, want 400", res, err)
	}
}

func TestEncryptedRequestsNeedVersion3(t *testing.T) {
	old, new := &scriptedProxy{version: 2}, &scriptedProxy{version: 3}
	n := newNetwork(t, old)
	c := n.startReady(n.config())
	body := `{"model":"m","receiver_public_key":"` + strings.Repeat("ab", 32) + `"}`
	cfg := n.config()
	cfg.ProxyWait = 1
	if res, got := chat(t, c, strings.Replace(body, `"model"`, `"timeout":0.05,"model"`, 1)); res.StatusCode != 503 {
		t.Errorf("version 2: %d %s, want 503", res.StatusCode, got)
	}
	n2 := newNetwork(t, new)
	c = n2.startReady(n2.config())
	if res, got := chat(t, c, body); res.StatusCode != 200 {
		t.Fatalf("version 3: %d %s", res.StatusCode, got)
	}
	q := new.seen()[0]
	if q.Flags != 3 || !bytes.Equal(q.PublicKey[:], bytes.Repeat([]byte{0xab}, 32)) {
		t.Errorf("query flags %d, key %x", q.Flags, q.PublicKey)
	}
}
