package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// said is an answer, token by token, with all that is awkward at a border:
// runes of several bytes, blanks alone, lines, quotes, what looks like a mark.
var said = []string{"Grüße", " an", " alle", ":", "\n", "\n", "  ", "☕", " \"kakao\"", " 🥥", "\t", "data: [DONE]", "\n\n", " <b>&", " end", "."}

// storyteller is an engine behind a scripted proxy: it says said, and goes on
// with what is begun. Each of its workers has a name and an answer's id.
type storyteller struct {
	t      *testing.T
	plain  bool // it does not say that it goes on
	anew   bool // and does not
	thinks bool // it begins with reasoning

	mu    sync.Mutex
	asked []string // bodies
}

type storyRequest struct {
	Messages      []struct{ Role, Content string }
	Prompt        string
	Stream        bool
	MaxTokens     *int  `json:"max_tokens"`
	Continue      bool  `json:"continue_final_message"`
	Add           *bool `json:"add_generation_prompt"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

const storyPrompt = 10 // tokens of the prompt

// tell returns the body of the stream that a request gets.
func (e *storyteller) tell(body []byte, id string) string {
	e.mu.Lock()
	e.asked = append(e.asked, string(body))
	e.mu.Unlock()
	var q storyRequest
	if err := json.Unmarshal(body, &q); err != nil {
		e.t.Errorf("the request is no JSON: %v", err)
	}
	chat, begun := q.Messages != nil, strings.TrimPrefix(q.Prompt, "Say it: ")
	if chat {
		begun = ""
		if last := q.Messages[len(q.Messages)-1]; q.Continue && !e.anew {
			if last.Role != "assistant" || q.Add == nil || *q.Add {
				e.t.Errorf("not to be gone on with: %s", body)
			}
			begun = last.Content
		}
	}
	rest, before := said, 0
	for begun != "" {
		if !strings.HasPrefix(rest[0], begun) && !strings.HasPrefix(begun, rest[0]) {
			e.t.Errorf("%q was delivered, want a beginning of %q", begun, rest)
			break
		}
		n := min(len(begun), len(rest[0]))
		if begun = begun[n:]; n < len(rest[0]) {
			rest = append([]string{rest[0][n:]}, rest[1:]...)
			break
		}
		rest, before = rest[1:], before+1
	}
	finish := "stop"
	if q.MaxTokens != nil && *q.MaxTokens < len(rest) {
		rest, finish = rest[:*q.MaxTokens], "length"
	}
	var b strings.Builder
	doc := func(choices, more string) {
		fmt.Fprintf(&b, "data: {\"id\":%q,\"object\":\"chat.completion.chunk\",\"created\":%d,\"model\":\"m\",\"choices\":[%s]%s}\n\n", id, len(id), choices, more)
	}
	if chat {
		doc(`{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}`, "")
	}
	if e.thinks {
		doc(`{"index":0,"delta":{"reasoning_content":"hm"},"finish_reason":null}`, "")
	}
	for i, piece := range rest {
		text, _ := json.Marshal(piece)
		if i%2 == 0 { // either spelling
			text = []byte(strconv.QuoteToASCII(piece))
			if strings.Contains(string(text), `\U`) {
				text, _ = json.Marshal(piece)
			}
		}
		if chat {
			doc(`{"index":0,"delta":{"content":`+string(text)+`},"finish_reason":null}`, "")
		} else {
			doc(`{"index":0,"text":`+string(text)+`,"finish_reason":null}`, "")
		}
	}
	if chat {
		doc(`{"index":0,"delta":{},"finish_reason":"`+finish+`"}`, "")
	} else {
		doc(`{"index":0,"text":"","finish_reason":"`+finish+`"}`, "")
	}
	if q.StreamOptions.IncludeUsage {
		doc("", fmt.Sprintf(`,"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"total_cost":%d}`,
			storyPrompt+before, len(rest), storyPrompt+before+len(rest), 10*(storyPrompt+before+len(rest))))
	}
	return b.String() + ": well\n\ndata: [DONE]\n\n"
}

// story is what a caller read.
type story struct {
	text, finish, id string
	roles, done      int
	usage            openai.Usage
	err              string
	res              *http.Response
	raw              string
}

func readStory(t *testing.T, res *http.Response) (s story) {
	t.Helper()
	s.res, s.raw = res, read(t, res)
	for event := range strings.SplitSeq(strings.TrimSuffix(s.raw, "\n\n"), "\n\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		switch {
		case strings.Trim(event, "\n") == "":
		case !ok && !strings.HasPrefix(event, ":"):
			t.Errorf("%q is no event", event)
		case !ok:
		case s.done > 0:
			t.Errorf("%q comes behind the end", event)
		case data == "[DONE]":
			s.done++
		default:
			s.chunk(t, data)
		}
	}
	return s
}

func (s *story) chunk(t *testing.T, data string) {
	var c struct {
		ID      string
		Created int
		Choices []struct {
			Delta struct{ Role, Content string }
			Text  string
			Why   *string `json:"finish_reason"`
		}
		Usage *openai.Usage
		Error *struct{ Message string }
	}
	if err := json.Unmarshal([]byte(data), &c); err != nil {
		t.Errorf("%q: %v", data, err)
	}
	if c.Error != nil {
		s.err = c.Error.Message
		return
	}
	if s.id == "" {
		s.id = c.ID
	}
	if c.ID == "debug" {
		return
	}
	if c.ID != s.id || c.Created != len(s.id) {
		t.Errorf("a chunk of answer %s, created %d, in answer %s", c.ID, c.Created, s.id)
	}
	for _, x := range c.Choices {
		s.text += x.Delta.Content + x.Text
		if x.Delta.Role != "" {
			s.roles++
		}
		if x.Why != nil {
			s.finish += *x.Why
		}
	}
	if c.Usage != nil {
		s.usage = *c.Usage
	}
}

// ways in which a part can break off behind some bytes of its body.
var ways = map[string]func(s *session, id tl.Int256){
	"worker lost": func(s *session, id tl.Int256) {
		s.send(&tl.ClientQueryAnswerErrorEx{RequestID: id, ErrorCode: 651, Error: "lost", Flags: 1, FinalInfo: storyFinal(40, 20)})
	},
	"error event": func(s *session, id tl.Int256) {
		s.part(id, "\n\ndata: {\"error\":{\"message\":\"the engine broke off\",\"type\":\"server_error\",\"param\":null,\"code\":\"connection_lost\"}}\n\n")
		s.send(&tl.ClientQueryAnswerPartEx{RequestID: id, Flags: 1, FinalInfo: storyFinal(40, 20)})
	},
	"plain end": func(s *session, id tl.Int256) {
		s.send(&tl.ClientQueryAnswerPartEx{RequestID: id, Flags: 1, FinalInfo: storyFinal(40, 20)})
	},
}

func storyFinal(prompt, completion int64) tl.ClientQueryFinalInfo {
	return tl.ClientQueryFinalInfo{TokensUsed: tl.TokensUsed{PromptTokensUsed: prompt, CompletionTokensUsed: completion, TotalTokensUsed: prompt + completion}}
}

// stage is a network whose workers break off as the test says.
type stage struct {
	*storyteller
	c   *Client
	p   *scriptedProxy
	mu  sync.Mutex
	cut []func(s *session, id tl.Int256, body string) // what happens to each answer in turn
}

func (g *stage) set(cut ...func(*session, tl.Int256, string)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = cut
}

func newStage(t *testing.T, bend func(*Config), proxies int) *stage {
	g := &stage{storyteller: &storyteller{t: t}}
	served := 0
	script := func(s *session, q *tl.ClientRunQueryEx) {
		var in tl.HTTPRequest
		if err := tl.Unmarshal(q.Query, &in); err != nil {
			t.Error(err)
		}
		g.mu.Lock()
		served++
		name := fmt.Sprintf("worker-%d", served)
		var cut func(*session, tl.Int256, string)
		if len(g.cut) > 0 {
			cut, g.cut = g.cut[0], g.cut[1:]
		}
		g.mu.Unlock()
		body := in.Payload
		head := response200("text/event-stream")
		head.Headers = append(head.Headers, tl.HTTPHeader{Name: headerWorker, Value: name})
		if slices.ContainsFunc(in.Headers, func(h tl.HTTPHeader) bool { return h.Name == tl.HeaderContinue }) && !g.plain {
			head.Headers = append(head.Headers, tl.HTTPHeader{Name: tl.HeaderContinues, Value: "1"})
		}
		stream, final := "", storyFinal(storyPrompt, int64(len(said)))
		if q.PublicKey == (tl.Int256{}) {
			stream = g.tell(body, name)
		} else {
			w := openQuery(t, q)
			for piece := range strings.SplitSeq(g.tell(w.clear, name), "\n\n") {
				if data, ok := strings.CutPrefix(piece, "data: {"); ok {
					piece = "data: " + w.doc("{"+data)
				}
				stream += piece + "\n\n"
			}
			stream = strings.TrimSuffix(stream, "\n\n")
		}
		s.head(q.RequestID, head)
		if cut != nil {
			cut(s, q.RequestID, stream)
			return
		}
		s.part(q.RequestID, stream)
		s.send(&tl.ClientQueryAnswerPartEx{RequestID: q.RequestID, Flags: 1, FinalInfo: final})
	}
	list := make([]*scriptedProxy, proxies)
	for i := range list {
		list[i] = &scriptedProxy{version: 4, features: []string{"market", "cancel"}, onQuery: script}
	}
	g.p = list[0]
	n := newNetwork(t, list...)
	cfg := n.config()
	cfg.Resume = true
	if bend != nil {
		bend(&cfg)
	}
	if cfg.Encryption == EncryptionV1 {
		n.list(networkSeed, keyTypeV1, time.Hour)
	}
	g.c = n.startReady(cfg)
	return g
}

// behind breaks off behind so many bytes.
func behind(n int, way string) func(*session, tl.Int256, string) {
	return func(s *session, id tl.Int256, body string) {
		s.part(id, body[:min(n, len(body))])
		ways[way](s, id)
	}
}

const (
	storyChat = `{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":%d,"messages":[{"role":"user","content":"Say it"}]%s}`
	storyText = `{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":%d,"prompt":"Say it: "%s}`
)

func (g *stage) ask(path string, limit int, more string) story {
	g.t.Helper()
	form := storyChat
	if path == pathCompletions {
		form = storyText
	}
	return readStory(g.t, post(g.t, g.t.Context(), g.c, path, fmt.Sprintf(form, limit, more)))
}

// Wherever a stream breaks off, be it in the middle of a rune or a line, and in
// whatever way, its caller reads the one answer.
func TestResumeAtEveryByte(t *testing.T) {
	for _, mode := range []string{EncryptionOff, EncryptionV1} {
		for _, path := range []string{pathChat, pathCompletions} {
			for way := range ways {
				t.Run(fmt.Sprint(mode, path, way), func(t *testing.T) {
					g := newStage(t, func(c *Config) { c.Encryption = mode }, 1)
					for _, limit := range []int{100, 11} {
						whole := g.ask(path, limit, "")
						if text := strings.Join(said[:min(limit, len(said))], ""); whole.text != text || whole.done != 1 || whole.err != "" {
							t.Fatalf("unbroken: %+v", whole)
						}
						step := 1
						if limit == 11 || way != "worker lost" || path != pathChat {
							step = 19
						}
						if mode == EncryptionV1 {
							step = 211 // sealing takes its time
						}
						for n := 1; n < len(whole.raw); n += step {
							if step == 1 && n > 900 && n < len(whole.raw)-500 {
								n += 10 // there is no more in the middle than at the ends
							}
							g.set(behind(n, way))
							s := g.ask(path, limit, "")
							if s.text != whole.text || s.finish != whole.finish || s.done != 1 || s.roles != whole.roles || s.err != "" {
								t.Fatalf("broken off behind %d bytes: %q (%s), %d roles, %d ends, error %q: …%s", n, s.text, s.finish, s.roles, s.done, s.err, s.raw[max(len(s.raw)-200, 0):])
							}
						}
					}
					if g.c.memory.used.Load() != 0 {
						t.Errorf("%d bytes are still held", g.c.memory.used.Load())
					}
				})
			}
		}
	}
}

// marked is where a text begins in a stream.
func marked(text string) func(*session, tl.Int256, string) {
	return func(s *session, id tl.Int256, body string) {
		n := strings.Index(body, text)
		if n < 0 {
			s.p.t.Errorf("no %q in %s", text, body)
		}
		behind(n, "worker lost")(s, id, body)
	}
}

// The bill has all parts, and so have the usage, the explanations and what the
// next worker is asked.
func TestResumedAnswerIsPaidAndExplained(t *testing.T) {
	g := newStage(t, nil, 1)
	g.set(marked(" an\""), marked("kakao")) // behind 1 token, then behind 8
	s := g.ask(pathChat, 100, `,"enable_debug":true,"seed":7`)
	if s.text != strings.Join(said, "") || s.id == "" {
		t.Fatalf("%+v", s)
	}
	// Three prompts of 10 tokens, one with 1 token more, one with 5 (8 less the
	// white space at the end is not sent, a rune cut is); 60 tokens each of the
	// broken parts were booked at 10 nanoTON, and 26 of the last.
	cost := int64(10 * (60 + 60 + storyPrompt + len(said)))
	if got := s.res.Trailer.Get(headerCost); got != strconv.FormatInt(cost, 10) {
		t.Errorf("cost %s, want %d", got, cost)
	}
	if by := s.res.Trailer.Get(headerResumed); by != "worker-2, worker-3" {
		t.Errorf("resumed by %q, want worker-2, worker-3", by)
	}
	if u := s.usage; u.PromptTokens != 10+11+18 || u.CompletionTokens != 1+7+8 || u.TotalTokens != u.PromptTokens+u.CompletionTokens ||
		u.TotalCost == nil || *u.TotalCost != 2*600+10*(18+8) {
		t.Errorf("usage %+v, want 39 and 16 tokens", u)
	}
	if !strings.Contains(s.raw, `"broken":[{"worker":"worker-1","proxy":"127.0.0.1:20000","why":"no_worker"`) {
		t.Errorf("the debug record does not name the broken parts: %s", s.raw)
	}
	shunned := [][]string{}
	for _, w := range g.p.wishes {
		shunned = append(shunned, w.Wishes.Ignore)
	}
	if len(shunned) != 2 || !slices.Equal(shunned[0], []string{"worker-1"}) || !slices.Equal(shunned[1], []string{"worker-1", "worker-2"}) {
		t.Errorf("ignored: %v", shunned)
	}
	for i, body := range g.asked {
		if !strings.Contains(body, `"seed":7`) || !strings.Contains(body, fmt.Sprintf(`"max_tokens":%d`, []int{100, 99, 92}[i])) {
			t.Errorf("request %d: %s", i, body)
		}
	}
	if n := g.c.Snapshot(); n.Stats.Resumed[0] != 2 || n.Status.Running != 0 || n.Stats.Success[0] != 1 || n.Stats.Failed[0] != 0 {
		t.Errorf("%+v %+v", n.Status, n.Stats)
	}
	if got := own(g.c).Used; got != 60+60+storyPrompt+int64(len(said)) {
		t.Errorf("%d tokens are counted", got)
	}
}

// What cannot or may not be resumed ends as it did, and says why.
func TestNotResumed(t *testing.T) {
	for name, c := range map[string]struct {
		more, want string
		bend       func(*stage)
		times      int
	}{
		"not allowed":      {`,"provider":{"resume":false}`, "broke off", nil, 1},
		"two answers":      {`,"n":2`, "several answers", nil, 1},
		"a given form":     {`,"response_format":{"type":"json_object"}`, "a given form", nil, 1},
		"a grammar":        {`,"guided_regex":"a*"`, "a given form", nil, 1},
		"probabilities":    {`,"logprobs":true`, "probabilities", nil, 1},
		"a tool":           {`,"tool_choice":"required"`, "a tool", nil, 1},
		"too often":        {``, "it broke 3 times", nil, 3},
		"reasoning":        {``, "it holds reasoning", func(g *stage) { g.thinks = true }, 1},
		"an unknowing one": {``, "does not say that its engine goes on", func(g *stage) { g.plain = true }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := newStage(t, nil, 1)
			if c.bend != nil {
				c.bend(g)
			}
			g.cut = []func(*session, tl.Int256, string){func(s *session, id tl.Int256, body string) {
				behind(strings.LastIndex(body[:strings.Index(body, "kakao")], "data: "), "error event")(s, id, body)
			}}
			if c.times > 1 {
				g.cut = []func(*session, tl.Int256, string){marked(" an\""), marked(" alle"), marked("kakao")}
			}
			s := g.ask(pathChat, 100, c.more)
			if s.done != 0 || !strings.Contains(s.err, c.want) || !strings.HasPrefix(strings.Join(said, ""), s.text) || s.text == "" {
				t.Errorf("%q, error %q, want one with %q", s.text, s.err, c.want)
			}
			if explained := strings.Contains(s.err, "not resumed"); explained == (name == "not allowed") {
				t.Errorf("error %q", s.err)
			}
			if strings.Contains(s.err, "kakao") || strings.Contains(s.err, "Say") {
				t.Errorf("error %q quotes", s.err)
			}
			if used := g.c.memory.used.Load(); used != 0 {
				t.Errorf("%d bytes are still held", used)
			}
		})
	}
}

// A worker that goes on and begins to reason is not believed; the next one may do better.
func TestRestThatReasons(t *testing.T) {
	g := newStage(t, nil, 1)
	g.set(marked(" an\""), func(s *session, id tl.Int256, body string) {
		s.part(id, strings.Replace(body, `"delta":{"content"`, `"delta":{"reasoning_content":"hm","content"`, 1))
	})
	if s := g.ask(pathChat, 100, ""); s.text != strings.Join(said, "") || s.err != "" || s.res.Trailer.Get(headerResumed) != "worker-2, worker-3" {
		t.Errorf("%q %q by %s", s.text, s.err, s.res.Trailer.Get(headerResumed))
	}
	<-g.p.cancels
}

// An answer whose last token was delivered has nothing left to be asked for.
func TestBrokenAtItsLimit(t *testing.T) {
	g := newStage(t, nil, 1)
	g.set(marked(`"finish_reason":"length"`))
	s := g.ask(pathChat, 3, "")
	if s.text != "Grüße an alle" || s.finish != "length" || s.done != 1 || s.err != "" || len(g.asked) != 1 {
		t.Errorf("%+v after %d requests, want the end", s, len(g.asked))
	}
}

// A proxy that is lost takes its workers along; another proxy's go on, the same
// ones too.
func TestResumeOverAnotherProxy(t *testing.T) {
	g, read := newStage(t, nil, 2), make(chan bool)
	g.set(func(s *session, id tl.Int256, body string) {
		s.part(id, body[:strings.Index(body, "kakao")])
		go func() { <-read; s.conn.Close(nil) }()
	})
	res := post(t, t.Context(), g.c, pathChat, fmt.Sprintf(storyChat, 100, ""))
	front := make([]byte, 1<<10)
	n, err := res.Body.Read(front)
	if err != nil {
		t.Fatal(err)
	}
	close(read)
	res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(front[:n]), res.Body))
	s := readStory(t, res)
	if !strings.HasPrefix(strings.Join(said, ""), s.text) || s.err != "" || s.text != strings.Join(said, "") {
		t.Errorf("%+v", s)
	}
	if s.res.Trailer.Get(headerCost) != "" {
		t.Errorf("cost %s, want none: nobody knows what the lost proxy books", s.res.Trailer.Get(headerCost))
	}
	if s.usage.TotalCost != nil {
		t.Errorf("usage tells a cost of %d", *s.usage.TotalCost)
	}
}

// A part that stands still is cancelled, and what it costs counts when it is told.
func TestResumeOfAStandingStream(t *testing.T) {
	g := newStage(t, func(c *Config) { c.ResumeAfter = 50 * time.Millisecond }, 1)
	g.set(func(s *session, id tl.Int256, body string) {
		s.part(id, body[:strings.Index(body, "kakao")])
		go func() {
			s.send(&tl.ClientQueryAnswerErrorEx{RequestID: <-s.p.cancels, ErrorCode: 0, Flags: 1, FinalInfo: storyFinal(5, 5)})
		}()
	})
	if s := g.ask(pathChat, 100, ""); s.text != strings.Join(said, "") || s.err != "" {
		t.Errorf("%+v", s)
	}
}

// Neither the request's time nor the operator's limits grow by breaking off.
func TestResumeWithinLimits(t *testing.T) {
	t.Run("time", func(t *testing.T) {
		g := newStage(t, nil, 1)
		g.set(func(s *session, id tl.Int256, body string) {
			go func() { // as the deadline strikes
				s.part(id, body[:strings.Index(body, "kakao")])
				s.send(&tl.ClientQueryAnswerErrorEx{RequestID: id, ErrorCode: 652, Error: "timeout", Flags: 1})
			}()
		})
		if s := g.ask(pathChat, 100, `,"timeout":1`); !strings.Contains(s.err, "its time is over") {
			t.Errorf("%+v", s)
		}
		g.set(marked("kakao"), func(s *session, id tl.Int256, body string) { s.part(id, ": nothing\n\n") })
		began := time.Now()
		if s := g.ask(pathChat, 100, `,"timeout":0.3`); s.err == "" || s.done != 0 {
			t.Errorf("%+v", s)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v, want 0.3 s", took)
		}
	})
	for name, limits := range map[string]ledger.Limits{"request": {Request: 54_000}, "hour": {Hour: 54_000}} {
		t.Run(name, func(t *testing.T) {
			g := newStage(t, func(c *Config) {
				c.Tally = ledger.NewTally(ledger.TallyConfig{Limits: limits}, ledger.TallyState{})
			}, 1)
			g.set(func(s *session, id tl.Int256, body string) {
				s.part(id, body[:strings.Index(body, "kakao")])
				s.send(&tl.ClientQueryAnswerErrorEx{RequestID: id, ErrorCode: 651, Flags: 1, FinalInfo: storyFinal(300, 300)})
			})
			if s := g.ask(pathChat, 1000, ""); s.err == "" || !strings.Contains(s.err, "not resumed: the request could cost") {
				t.Errorf("%q, error %q", s.text, s.err)
			}
		})
	}
}

// A caller who leaves while another worker is looked for leaves nothing behind.
func TestCallerLeavesBrokenStream(t *testing.T) {
	g := newStage(t, nil, 1)
	asked := make(chan tl.Int256, 1)
	g.set(marked("kakao"), func(s *session, id tl.Int256, body string) { asked <- id })
	res := post(t, t.Context(), g.c, pathChat, fmt.Sprintf(storyChat, 100, ""))
	go func() { <-asked; res.Body.Close() }()
	for buf := make([]byte, 1<<10); ; {
		if _, err := res.Body.Read(buf); err != nil {
			break
		}
	}
	await(t, "nothing held", func() bool { return g.c.memory.used.Load() == 0 && g.c.active.Load() == 0 })
}

// What an answer that could not be the rest has cost is a part of the bill.
func TestUselessAnswerIsPaid(t *testing.T) {
	g := newStage(t, nil, 1)
	g.plain = true
	g.set(marked("kakao"))
	s := g.ask(pathChat, 100, "")
	if cost := s.res.Trailer.Get(headerCost); s.err == "" || cost != "" && cost != strconv.Itoa(10*(60+storyPrompt+len(said))) {
		t.Errorf("%q, cost %s, want that of both parts, or none", s.err, cost)
	}
}

// A text that could not be sent again is not kept.
func TestTooLongToBeResumed(t *testing.T) {
	g := newStage(t, func(c *Config) { c.MaxBody = 300 }, 1)
	long := `data: {"choices":[{"index":0,"delta":{"content":"` + strings.Repeat("x", 200) + `"}}]}` + "\n\n"
	g.set(func(s *session, id tl.Int256, body string) {
		s.part(id, long+long)
		ways["error event"](s, id)
	})
	s := g.ask(pathChat, 100, "")
	if !strings.Contains(s.err, "too long") || len(s.text) != 400 || g.c.memory.used.Load() != 0 {
		t.Errorf("%d bytes of text, error %q, %d bytes held", len(s.text), s.err, g.c.memory.used.Load())
	}
}
