package worker

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// What the engine of the recording answered, before costs were added.
const (
	recordedPlain = `{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"Qwen/Qwen3-8B","choices":[{"index":0,` +
		`"message":{"role":"assistant","content":"Hello from the fake backend."},"finish_reason":"stop"}],"usage":` + recordedUsage + `}`
	recordedUsage = `{"prompt_tokens":34,"completion_tokens":100,"total_tokens":134,"prompt_tokens_details":{"cached_tokens":11},"completion_tokens_details":{"reasoning_tokens":10}}`
)

func recordedEngine(w http.ResponseWriter, q *enginetest.Request) {
	w.Header().Set("Content-Type", "application/json")
	if !q.Streams() {
		io.WriteString(w, recordedPlain)
		return
	}
	for i := range 5 {
		fmt.Fprintf(w, `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"Qwen/Qwen3-8B",`+
			`"choices":[{"index":0,"delta":{"content":"tok%d "}}]}`+"\n", i)
	}
	io.WriteString(w, `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"Qwen/Qwen3-8B","choices":[],"usage":`+recordedUsage+"}\n")
}

// recording is a proxy of the reference as it was recorded: its answers and
// its packets, in order, and what its worker sent.
type recording struct {
	answers [][]byte    // to the worker's queries
	packets []tl.Object // to the worker
	worker  []tl.Object // packets of the recorded worker
	asked   []tl.Object // and its queries
}

// readRecording unpacks lines of index, time, direction, kind, length, frame
// number and payload (the payload with its frame header).
func readRecording(t *testing.T) *recording {
	text, err := os.ReadFile("testdata/recorded_session.txt")
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 7 || f[3] != "TL" {
			continue
		}
		raw, err := hex.DecodeString(f[6])
		if err != nil {
			t.Fatal(err)
		}
		o, err := tl.Decode(raw[8:])
		if err != nil {
			t.Fatalf("frame %s: %v", f[0], err)
		}
		r.add(t, f[2] == "proxy", o)
	}
	return r
}

func (r *recording) add(t *testing.T, fromProxy bool, o tl.Object) {
	decode := func(b []byte) tl.Object {
		inner, err := tl.Decode(b)
		if err != nil {
			t.Fatalf("recorded %#x: %v", binary.LittleEndian.Uint32(b), err)
		}
		return inner
	}
	switch m := o.(type) {
	case *tl.TCPQueryAnswer:
		r.answers = append(r.answers, m.Data)
	case *tl.TCPQuery:
		r.asked = append(r.asked, decode(m.Data))
	case *tl.TCPPacket:
		if fromProxy {
			r.packets = append(r.packets, decode(m.Data))
		} else {
			r.worker = append(r.worker, decode(m.Data))
		}
	}
}

// player is the recorded proxy.
type player struct {
	*proxyConn
	r *recording
	t *testing.T
}

// Query plays the recorded answer to the worker's n-th query.
func (p *player) Query(c *wire.Conn, q *wire.Query) {
	got, err := tl.Decode(q.Data)
	if err != nil || len(p.r.asked) == 0 {
		p.t.Errorf("query %v (%v) beyond the recording", got, err)
		q.Fail(0, "Lost promise")
		return
	}
	want := p.r.asked[0]
	if m, ok := got.(*tl.WorkerConnectToProxy); ok { // we offer more than the recorded release did
		m.Params.Flags, m.Params.MaxProtoVersion = 3, 2
	}
	if h, ok := got.(*tl.WorkerProxyHandshakeComplete); ok {
		p.disabled, h.IsDisabled = h.IsDisabled, false
	}
	if !reflect.DeepEqual(got, want) {
		p.t.Errorf("asks %+v, recorded %+v", got, want)
	}
	answer, err := tl.Decode(p.r.answers[0])
	if err != nil {
		p.t.Error(err)
	}
	p.r.asked, p.r.answers = p.r.asked[1:], p.r.answers[1:]
	q.Answer(answer)
	if _, last := got.(*tl.WorkerProxyHandshakeComplete); last {
		close(p.ready)
	}
}

// A recorded session of the reference, with our worker in the place of its
// own: same handshake, same addresses, same counts, same documents.
func TestRecordedSession(t *testing.T) {
	text, err := os.ReadFile("testdata/recorded_registry.json")
	if err != nil {
		t.Fatal(err)
	}
	root, _, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t)
	h := &player{&proxyConn{p: p, packets: make(chan tl.Object, 100), closed: make(chan error, 1), ready: make(chan struct{})}, readRecording(t), t}
	recordedWorker := h.r.worker
	s := start(t, p, recordedEngine, func(c *Config) {
		c.Model = "Qwen/Qwen3-8B@abc123def456:0000000000000000000000000000000000000000000000000000000000000000"
		c.Registry, c.MaxActive = contract.NewMemory(root), 60
		c.OwnerAddress, c.RootAddress = parsed(t, "UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m"), parsed(t, "EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ")
		c.Dial = h.dial
	})
	<-h.ready
	if h.disabled {
		h.wantDisabled(0)
	}
	for _, packet := range h.r.packets {
		h.send(packet)
		q, ok := packet.(*tl.ProxyRunQueryEx)
		if !ok {
			continue
		}
		got, want := h.collect(q.RequestID), recordedAnswer(h.proxyConn, &recordedWorker)
		if strings.Contains(string(q.Query), `"max_completion_tokens":50`) {
			// The recorded engine wrote 100 tokens all the same, and the
			// recorded worker billed them. The caller had agreed to 50.
			if u := got.info.TokensUsed; u.CompletionTokensUsed != 40 || u.ReasoningTokensUsed != 10 || u.PromptTokensUsed != 23 {
				t.Errorf("tokens %+v, want at most the 50 agreed to", u)
			}
			continue
		}
		if want.code != 0 { // a member that the reference does not know
			if got.status != 200 {
				t.Errorf("status %d %s for a member that is the engine's affair", got.status, got.text)
			}
			continue
		}
		if got.status != want.status || got.info.TokensUsed != want.info.TokensUsed || got.info.Flags != want.info.Flags {
			t.Errorf("status %d info %+v, recorded %d %+v", got.status, got.info, want.status, want.info)
		}
		if g, w := documents(t, got.body()), documents(t, want.body()); !reflect.DeepEqual(g, w) {
			t.Errorf("body %v, recorded %v", g, w)
		}
	}
	if _, err := wire.Ask[tl.CocoonFeatures](t.Context(), h.c, &tl.CocoonGetFeatures{}); err != nil { // all packets are read by then
		t.Fatal(err)
	}
	var have balance
	for _, x := range s.w.earned {
		have = x.balance()
	}
	if have != (balance{402, 402, 402}) {
		t.Errorf("earnings %+v, want the recorded 402", have)
	}
}

func (p *player) dial(context.Context, string) (net.Conn, *ratls.Peer, error) {
	here, there := net.Pipe()
	go func() {
		c, err := wire.Server(context.Background(), there, p, wire.Config{})
		if err != nil {
			p.t.Error(err)
			return
		}
		p.c = c
		c.Start()
	}()
	return here, nil, nil
}

// recordedAnswer takes the packets of the next recorded answer.
func recordedAnswer(h *proxyConn, packets *[]tl.Object) *answer {
	replay := &proxyConn{p: h.p, packets: make(chan tl.Object, len(*packets)), closed: make(chan error, 1)}
	first := (*packets)[0]
	for len(*packets) > 0 {
		o := (*packets)[0]
		*packets = (*packets)[1:]
		replay.packets <- o
		switch m := o.(type) {
		case *tl.ProxyQueryAnswerPartEx:
			if m.Flags&1 != 0 {
				return replay.collect(m.RequestID)
			}
		case *tl.ProxyQueryAnswerErrorEx:
			return replay.collect(m.RequestID)
		}
	}
	h.p.t.Fatalf("recording ends inside %T", first)
	return nil
}

// documents parses a body of JSON documents.
func documents(t *testing.T, body string) (docs []any) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(body)); ; {
		var doc map[string]any
		if err := d.Decode(&doc); err == io.EOF {
			return docs
		} else if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		delete(doc, "t") // the recorded engine's clock
		docs = append(docs, doc)
	}
}
