package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/ton"
)

// The network's key, which a worker gets from its proxy.
var networkSeed = &fieldcrypt.Seed{4, 5, 6}

const (
	secretQuestion = "a question nobody may read"
	secretAnswer   = "an answer nobody may read"
)

// list puts keys into the registry, each living so long.
func (n *network) list(seed *fieldcrypt.Seed, kind uint8, life time.Duration) {
	n.change(func(r *contract.Root) {
		public := seed.Public()
		r.PublicKeys = append(r.PublicKeys[:len(r.PublicKeys):len(r.PublicKeys)],
			contract.PublicKey{Key: ed25519.PublicKey(public[:]), Type: kind, ExpireAt: uint32(time.Now().Add(life).Unix())})
	})
}

// worker is the far end of a sealed request: it opens it as a worker does.
type worker struct {
	t     *testing.T
	clear []byte // the body
	seal  *fieldcrypt.Sealer
}

func openQuery(t *testing.T, q *tl.ClientRunQueryEx) *worker {
	var in tl.HTTPRequest
	if err := tl.Unmarshal(q.Query, &in); err != nil {
		t.Fatal(err)
	}
	if q.PublicKey != tl.Int256(networkSeed.Public()) || q.Flags != 3 {
		t.Errorf("key %x flags %d, want the network's", q.PublicKey, q.Flags)
	}
	if bytes.Contains(q.Query, []byte("nobody")) {
		t.Errorf("the question travels in the clear: %s", in.Payload)
	}
	kind := ""
	for _, h := range in.Headers {
		if h.Name == "Content-Type" {
			kind = h.Value
		}
	}
	w := &worker{t: t}
	var app fieldcrypt.PublicKey
	var err error
	if strings.HasPrefix(kind, "multipart/") {
		w.clear, app, err = fieldcrypt.OpenForm(networkSeed, kind, in.Payload)
	} else {
		w.clear, app, err = fieldcrypt.Open(networkSeed, in.Payload, fieldcrypt.ToWorker)
	}
	if err == nil {
		w.seal, err = fieldcrypt.NewSealer(networkSeed, app, fieldcrypt.ToApp)
	}
	if err != nil {
		t.Fatalf("%v in %s", err, in.Payload)
	}
	return w
}

func (w *worker) doc(text string) string {
	sealed, err := w.seal.Seal([]byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(sealed)
}

func sealedConfig(n *network, mode string) Config {
	n.list(networkSeed, keyTypeV1, time.Hour)
	cfg := n.config()
	cfg.Encryption = mode
	return cfg
}

const (
	chunkText = `{"choices":[{"delta":{"content":"` + secretAnswer + `","tool_calls":[{"index":0,"function":{"name":"f","arguments":"{\"x\":1}"}}]}}]}`
	usageText = `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`
)

// Each framing arrives as if nothing had been encrypted, however it is cut.
func TestSealedRequests(t *testing.T) {
	for _, c := range []struct {
		name, body, kind, want string
		answer                 func(w *worker) string
	}{
		{"plain", chatBody, "application/json", smallAnswer + "\n", func(w *worker) string { return w.doc(smallAnswer) }},
		{"plain, several", streamBody, "application/json", chunkText + "\n" + usageText + "\n",
			func(w *worker) string { return w.doc(chunkText) + w.doc(usageText) }},
		{"events", streamBody, "text/event-stream", "data: " + chunkText + "\n\n:\n\ndata: " + usageText + "\n\ndata: [DONE]\n\n", func(w *worker) string {
			return "event: x\ndata: " + w.doc(chunkText) + "\n\n: noise\n\ndata: " + w.doc(usageText) + "\n\ndata: [DONE]\n\n"
		}},
		{"lines", streamBody, "application/x-ndjson", chunkText + "\n" + usageText + "\n",
			func(w *worker) string { return w.doc(chunkText) + "\n" + w.doc(usageText) + "\n" }},
		{"an error of a hop", chatBody, "application/json", `{"error":{"message":"no","type":"server_error"}}` + "\n",
			func(w *worker) string { return "{\"error\": {\"message\":\"no\",\n\"type\":\"server_error\"}}" }},
		{"nothing", chatBody, "application/json", "", func(w *worker) string { return "" }},
	} {
		for _, size := range []int{1 << 20, 1, 97} {
			t.Run(c.name, func(t *testing.T) {
				p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
					w := openQuery(t, q)
					if !strings.Contains(string(w.clear), secretQuestion) || !strings.Contains(string(w.clear), `"content"`) {
						t.Errorf("the worker reads %s", w.clear)
					}
					answer := c.answer(w)
					s.head(q.RequestID, response200(c.kind))
					for at := 0; at < len(answer); at += size {
						s.part(q.RequestID, answer[at:min(at+size, len(answer))])
					}
					s.last(q.RequestID, "")
				}}
				n := newNetwork(t, p)
				client := n.startReady(sealedConfig(n, EncryptionV1))
				res, got := chat(t, client, strings.Replace(c.body, "hello", secretQuestion, 1))
				if res.StatusCode != 200 || got != c.want || res.Header.Get(headerEncryption) != "v1" {
					t.Errorf("status %d, header %q, body %q, want %q", res.StatusCode, res.Header.Get(headerEncryption), got, c.want)
				}
				if s := client.Snapshot(); s.Status.MemoryUsed != 0 || s.Status.Running != 0 || s.Stats.PromptTokens[0] != 3 {
					t.Errorf("afterwards %+v, %v tokens", s.Status, s.Stats.PromptTokens)
				}
			})
		}
	}
}

func TestSealedForm(t *testing.T) {
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		w := openQuery(t, q)
		if !bytes.Contains(w.clear, []byte("RIFF nobody")) {
			t.Errorf("the worker reads %q", w.clear)
		}
		s.whole(q.RequestID, 200, w.doc(`{"text":"`+secretAnswer+`"}`))
	}}
	n := newNetwork(t, p)
	client := n.startReady(sealedConfig(n, EncryptionV1))
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	w.WriteField("model", "m")
	w.WriteField("stream", "false")
	file, _ := w.CreateFormFile("file", "a.wav")
	file.Write([]byte("RIFF nobody may read"))
	w.Close()
	r, _ := http.NewRequestWithContext(t.Context(), "POST", "http://cocoon"+pathTranscriptions, &body)
	r.Header.Set("Content-Type", w.FormDataContentType())
	res, err := client.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := read(t, res); res.StatusCode != 200 || got != `{"text":"`+secretAnswer+`"}`+"\n" {
		t.Errorf("status %d: %s", res.StatusCode, got)
	}
}

// Whatever the worker has not sealed for this request ends the answer; nothing of
// it reaches the caller. The query is cancelled, because its answer is worthless.
func TestSealedAnswerFailsClosed(t *testing.T) {
	other, err := fieldcrypt.NewSealer(&fieldcrypt.Seed{9}, networkSeed.Public(), fieldcrypt.ToApp)
	if err != nil {
		t.Fatal(err)
	}
	forged, _ := other.Seal([]byte(chunkText))
	const lie = `{"choices":[{"delta":{"content":"a lie"}}]}`
	for _, c := range []struct {
		name, kind string
		answer     func(w *worker) string
	}{
		{"clear", "application/json", func(w *worker) string { return lie }},
		{"clear in a stream", "text/event-stream", func(w *worker) string { return "data: " + w.doc(chunkText) + "\n\ndata: " + lie + "\n\n" }},
		{"clear line", "application/x-ndjson", func(w *worker) string { return w.doc(chunkText) + "\n" + lie + "\n" }},
		{"text", "text/plain", func(w *worker) string { return "a lie" }},
		{"text behind", "application/json", func(w *worker) string { return w.doc(chunkText) + "a lie" }},
		{"text event", "text/event-stream", func(w *worker) string { return "data: a lie\n\n" }},
		{"no object", "application/json", func(w *worker) string { return `["a lie"]` }},
		{"marked as clear", "application/json", func(w *worker) string {
			return strings.Replace(w.doc(chunkText), `"index":0`, `"index":0,"x":"DEC_a lie"`, 1)
		}},
		{"a clear text", "application/json", func(w *worker) string {
			return strings.Replace(w.doc(chunkText), `"index":0`, `"index":0,"x":"a lie"`, 1)
		}},
		{"sealed by another", "application/json", func(w *worker) string { return string(forged) }},
		{"an error and more", "application/json", func(w *worker) string { return `{"error":{"message":"x"},"choices":["a lie"]}` }},
		{"an error that is a text", "application/json", func(w *worker) string { return `{"error":"a lie"}` }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
				answer := c.answer(openQuery(t, q))
				s.head(q.RequestID, response200(c.kind))
				s.last(q.RequestID, answer)
			}}
			n := newNetwork(t, p)
			client := n.startReady(sealedConfig(n, EncryptionV1))
			res, got := chat(t, client, streamBody)
			if strings.Contains(got, "a lie") || !strings.Contains(got, openai.CodeBadAnswer) || strings.Contains(got, "[DONE]") {
				t.Errorf("status %d: %.300s, want an error and nothing of the lie", res.StatusCode, got)
			}
			await(t, "the memory", func() bool { s := client.Snapshot().Status; return s.MemoryUsed == 0 && s.Running == 0 })
		})
	}
}

// A document beyond the limit is not kept, and ends the answer.
func TestSealedDocumentTooLong(t *testing.T) {
	c := &Client{}
	c.memory.limit = 1 << 20
	u := newUnsealer(c, nil, openai.SSE)
	u.limit, u.split = 100, openai.NewSplitter(openai.SSE, 100)
	part := taken{chunks: [][]byte{[]byte("data: {\"x\":\""), bytes.Repeat([]byte("a lie "), 100), []byte("\"}\n\n")}}
	u.rewrite(&part)
	if part.failed == nil || part.chunks != nil || c.memory.used.Load() != 0 {
		t.Errorf("%v, %q, %d bytes kept", part.failed, part.chunks, c.memory.used.Load())
	}
}

// The first bad word of an answer that is no stream is a proper error answer.
func TestSealedAnswerFailsAsAnError(t *testing.T) {
	p := &scriptedProxy{version: 4, features: []string{"cancel"}, onQuery: func(s *session, q *tl.ClientRunQueryEx) { s.whole(q.RequestID, 200, smallAnswer) }}
	n := newNetwork(t, p)
	client := n.startReady(sealedConfig(n, EncryptionV1))
	res, got := chat(t, client, chatBody)
	if code, message := apiError(t, got); res.StatusCode != 502 || code != openai.CodeBadAnswer || !strings.Contains(message, "not marked as encrypted") {
		t.Errorf("status %d: %s", res.StatusCode, got)
	}
}

// What the modes do, with and without a key in the registry and a proxy that
// can carry one.
func TestEncryptionModes(t *testing.T) {
	for _, c := range []struct {
		name, mode, header string
		version            int32
		keys               func(n *network)
		sealed             bool
		status             int
		code               string
	}{
		{"off", EncryptionOff, "", 4, nil, false, 200, ""},
		{"default", "", "", 4, nil, false, 200, ""},
		{"off, asked for", EncryptionOff, "v1", 4, nil, true, 200, ""},
		{"off, asked for something else", EncryptionOff, "off", 4, nil, false, 400, openai.CodeInvalidValue},
		{"v1, asked to leave it", EncryptionV1, "off", 4, nil, false, 400, openai.CodeInvalidValue},
		{"v1", EncryptionV1, "", 3, nil, true, 200, ""},
		{"v1, old proxy", EncryptionV1, "", 2, nil, false, 503, openai.CodeNoProxy},
		{"v1, no key", EncryptionV1, "", 4, func(n *network) { n.change(func(r *contract.Root) { r.PublicKeys = nil }) }, false, 503, codeNoKey},
		{"auto", EncryptionAuto, "", 4, nil, true, 200, ""},
		{"auto, old proxy", EncryptionAuto, "", 2, nil, false, 200, ""},
		{"auto, no key", EncryptionAuto, "", 4, func(n *network) { n.change(func(r *contract.Root) { r.PublicKeys = nil }) }, false, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &scriptedProxy{version: c.version, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
				if q.PublicKey == (tl.Int256{}) {
					s.whole(q.RequestID, 200, smallAnswer)
					return
				}
				s.whole(q.RequestID, 200, openQuery(t, q).doc(smallAnswer))
			}}
			n := newNetwork(t, p)
			cfg := sealedConfig(n, c.mode)
			if c.keys != nil {
				c.keys(n)
			}
			cfg.ProxyWait = 10 * time.Millisecond
			client := n.startReady(cfg)
			r := newRequest(t, t.Context(), chatBody)
			if c.header != "" {
				r.Header.Set(headerEncryption, c.header)
			}
			res, err := client.Transport().RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body := read(t, res)
			if res.StatusCode != c.status || (res.Header.Get(headerEncryption) == "v1") != c.sealed {
				t.Errorf("status %d, header %q: %s", res.StatusCode, res.Header.Get(headerEncryption), body)
			}
			if c.code != "" {
				if code, message := apiError(t, body); code != c.code {
					t.Errorf("code %s %q, want %s", code, message, c.code)
				}
			}
			if want := 1 - min(1, res.StatusCode/300); len(p.seen()) != want {
				t.Errorf("the proxy saw %d queries, want %d", len(p.seen()), want)
			}
		})
	}
}

// Which of the registry's keys is taken: of those that live long enough the one
// that dies first, of type 1.
func TestChoiceOfKey(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	key := func(id byte, kind uint8, life time.Duration) contract.PublicKey {
		public := (&fieldcrypt.Seed{id}).Public()
		return contract.PublicKey{Key: ed25519.PublicKey(public[:]), Type: kind, ExpireAt: uint32(now.Add(life).Unix())}
	}
	for _, c := range []struct {
		name string
		keys []contract.PublicKey
		want byte
	}{
		{"none", nil, 0},
		{"only expired", []contract.PublicKey{key(1, 1, -time.Second), key(2, 1, 0)}, 0},
		{"another type", []contract.PublicKey{key(1, 0, time.Hour), key(2, 2, time.Hour)}, 0},
		{"dies first", []contract.PublicKey{key(1, 1, 24*time.Hour), key(2, 1, time.Hour), key(3, 1, 2*time.Hour)}, 2},
		{"lives too short", []contract.PublicKey{key(1, 1, 2*time.Minute), key(2, 1, time.Hour)}, 2},
		{"short is better than none", []contract.PublicKey{key(1, 1, time.Minute), key(2, 1, 2*time.Minute)}, 2},
		{"not a moment", []contract.PublicKey{key(1, 1, 10*time.Second)}, 0},
		{"everybody's key", []contract.PublicKey{{Key: publicTestKey[:], Type: 1, ExpireAt: 2_000_000_000}}, 0},
		{"not a key", []contract.PublicKey{{Key: []byte{1, 2}, Type: 1, ExpireAt: uint32(now.Unix()) + 9999}}, 0},
	} {
		n := newNetwork(t)
		n.change(func(r *contract.Root) { r.PublicKeys, r.IsTest = c.keys, false })
		client := &Client{cfg: Config{Registry: n.registry, Now: func() time.Time { return now }}}
		got, err := client.networkKey()
		if c.want == 0 && err == nil || c.want != 0 && (err != nil || got != (&fieldcrypt.Seed{c.want}).Public()) {
			t.Errorf("%s: %x, %v, want number %d", c.name, got, err, c.want)
		}
	}
}

// A registry that was last seen long ago may list keys that were struck since.
func TestNoKeyFromAStaleRegistry(t *testing.T) {
	n := newNetwork(t)
	n.list(networkSeed, keyTypeV1, time.Hour)
	client := &Client{cfg: Config{Registry: longAgo{n.registry}, Now: time.Now}}
	if key, err := client.networkKey(); err == nil {
		t.Errorf("key %x was taken from a registry of three hours ago", key)
	}
}

type longAgo struct{ contract.Registry }

func (longAgo) AsOf() ton.Block { return ton.Block{Time: time.Now().Add(-3 * time.Hour)} }

// Nobody but this client says that an answer was encrypted.
func TestForgedEncryptionHeader(t *testing.T) {
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		h := response200("application/json")
		h.Headers = append(h.Headers, tl.HTTPHeader{Name: "x-cocoon-encryption", Value: EncryptionV1})
		s.head(q.RequestID, h)
		s.last(q.RequestID, smallAnswer)
	}}
	n := newNetwork(t, p)
	if res, got := chat(t, n.startReady(sealedConfig(n, EncryptionOff)), chatBody); res.StatusCode != 200 || res.Header[headerEncryption] != nil {
		t.Errorf("status %d, header %q: %s", res.StatusCode, res.Header[headerEncryption], got)
	}
}

// A body that its app has encrypted travels as it is, and so does the answer,
// whatever the mode.
func TestAppEncryptsItself(t *testing.T) {
	for _, mode := range []string{EncryptionOff, EncryptionAuto, EncryptionV1} {
		app := &fieldcrypt.Seed{7}
		seal, err := fieldcrypt.NewSealer(app, networkSeed.Public(), fieldcrypt.ToWorker)
		if err != nil {
			t.Fatal(err)
		}
		sealed, _ := seal.Seal([]byte(chatBody))
		var answer string
		p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
			w := openQuery(t, q)
			var in tl.HTTPRequest
			tl.Unmarshal(q.Query, &in)
			if !bytes.Equal(in.Payload, sealed) {
				t.Errorf("%s: the body was changed: %s", mode, in.Payload)
			}
			answer = w.doc(smallAnswer)
			s.whole(q.RequestID, 200, answer)
		}}
		n := newNetwork(t, p)
		client := n.startReady(sealedConfig(n, mode))
		res, got := chat(t, client, string(sealed))
		if plain, err := seal.Reply().Open([]byte(got)); res.StatusCode != 200 || got != answer || err != nil || string(plain) != smallAnswer {
			t.Errorf("%s: status %d, %s (%v)", mode, res.StatusCode, got, err)
		}
	}
}

// A body that names a key and is clear all the same is no way around a demand
// for encryption. Where none is demanded it is the worker's to refuse.
func TestAppPretendsToEncrypt(t *testing.T) {
	pretended := strings.Replace(chatBody, "{", `{"receiver_public_key":"`+strings.Repeat("ab", 32)+`",`, 1)
	for _, c := range []struct {
		mode, header string
		status       int
	}{{EncryptionV1, "", 400}, {EncryptionOff, "v1", 400}, {EncryptionAuto, "", 200}} {
		p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) { s.whole(q.RequestID, 200, smallAnswer) }}
		n := newNetwork(t, p)
		client := n.startReady(sealedConfig(n, c.mode))
		r := newRequest(t, t.Context(), pretended)
		if c.header != "" {
			r.Header.Set(headerEncryption, c.header)
		}
		res, err := client.Transport().RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body := read(t, res); res.StatusCode != c.status || (c.status == 400) != (len(p.seen()) == 0) {
			t.Errorf("%s %s: status %d, the proxy saw %d queries: %s", c.mode, c.header, res.StatusCode, len(p.seen()), body)
		}
	}
}

// Debug records stand in the clear answer; retries send the same ciphertext.
func TestSealedDebugAndRetry(t *testing.T) {
	tries := 0
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		w := openQuery(t, q)
		if tries++; tries == 1 {
			s.conn.Close(nil)
			return
		}
		s.whole(q.RequestID, 200, w.doc(smallAnswer))
	}}
	n := newNetwork(t, p)
	client := n.startReady(sealedConfig(n, EncryptionV1))
	_, got := chat(t, client, `{"model":"m","enable_debug":true,"messages":[]}`)
	var doc struct {
		Object string
		Debug  map[string]any
	}
	if err := json.Unmarshal([]byte(got), &doc); err != nil || doc.Object != "chat.completion" || doc.Debug["client"] == nil {
		t.Errorf("%v: %s", err, got)
	}
	if q := p.seen(); len(q) != 2 || !bytes.Equal(q[0].Query, q[1].Query) {
		t.Errorf("%d queries, want the same one twice", len(q))
	}
}

// A proxy without the key is no reason to fail twice: the next try takes another.
func TestUnknownKeyIsShunned(t *testing.T) {
	other := &fieldcrypt.Seed{8}
	for _, reference := range []bool{false, true} {
		p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
			if q.PublicKey == tl.Int256(networkSeed.Public()) {
				s.whole(q.RequestID, 200, openQuery(t, q).doc(smallAnswer))
			} else if reference {
				s.send(&tl.ClientQueryAnswerErrorEx{RequestID: q.RequestID, ErrorCode: 602, Error: "unknown public key 17", Flags: 1})
			} else {
				s.refuse(q.RequestID, 400, 602, `{"error":{"message":"unknown public key","type":"invalid_request_error"}}`)
			}
		}}
		n := newNetwork(t, p)
		n.list(other, keyTypeV1, 30*time.Minute) // it would be taken
		client := n.startReady(sealedConfig(n, EncryptionV1))
		res, got := chat(t, client, chatBody)
		if code, _ := apiError(t, got); res.StatusCode != 503 || code != codeNoKey || res.Header.Get("Retry-After") == "" {
			t.Errorf("status %d: %s", res.StatusCode, got)
		}
		if res, got := chat(t, client, chatBody); res.StatusCode != 200 {
			t.Errorf("the second time: status %d: %s", res.StatusCode, got)
		}
		if s := client.Snapshot().Status; s.Running != 0 || s.MemoryUsed != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// A proxy's refusal comes in two messages, and what is in the second decides: so
// it arrives whole, also when a stream was asked for.
func TestRefusalOfAStreamArrivesWhole(t *testing.T) {
	n := newNetwork(t)
	c, err := New(n.config())
	if err != nil {
		t.Fatal(err)
	}
	c.cfg.Tally.Adopt("x", 0, 0)
	k := newCall(&link{c: c}, true)
	if k.spend, err = c.cfg.Tally.Reserve(ledger.Spending{Account: "x", Most: 1000}); err != nil {
		t.Fatal(err)
	}
	head := response200("application/json")
	head.StatusCode, head.Headers = 400, append(head.Headers, tl.HTTPHeader{Name: headerError, Value: "602"})
	k.deliver(part{first: true, data: tl.Marshal(&head)})
	if _, ok := k.poll(); ok {
		t.Error("the head of a refusal is handed over alone")
	}
	k.deliver(part{data: []byte("unknown public key"), end: true, final: &tl.ClientQueryFinalInfo{}})
	if got, ok := k.poll(); !ok || !got.end || len(got.chunks) != 1 {
		t.Errorf("%+v, %v, want the whole refusal", got, ok)
	}
}

// A caller who leaves in mid-answer leaves no memory behind.
func TestSealedAnswerAbandoned(t *testing.T) {
	p := &scriptedProxy{version: 4, onQuery: func(s *session, q *tl.ClientRunQueryEx) {
		w := openQuery(t, q)
		s.head(q.RequestID, response200("text/event-stream"))
		s.part(q.RequestID, "data: "+w.doc(chunkText)+"\n\ndata: {\"half")
	}}
	n := newNetwork(t, p)
	client := n.startReady(sealedConfig(n, EncryptionV1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	res := post(t, ctx, client, pathChat, streamBody)
	first := make([]byte, 20)
	if _, err := io.ReadFull(res.Body, first); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	await(t, "the memory", func() bool { s := client.Snapshot().Status; return s.MemoryUsed == 0 && s.Running == 0 })
}

// Whatever a relay sends in the place of an answer, every text that reaches the
// caller was sealed for it, or is an error. A document without texts can be
// anybody's: the format authenticates nothing else.
func FuzzUnseal(f *testing.F) {
	app := &fieldcrypt.Seed{7}
	seal, err := fieldcrypt.NewSealer(app, networkSeed.Public(), fieldcrypt.ToWorker)
	if err != nil {
		f.Fatal(err)
	}
	back, err := fieldcrypt.NewSealer(networkSeed, app.Public(), fieldcrypt.ToApp)
	if err != nil {
		f.Fatal(err)
	}
	good, _ := back.Seal([]byte(`{"x":"sealed"}`))
	for framing := range 3 {
		f.Add(framing, 5, good)
		f.Add(framing, 100, []byte(`{"x":"clear"}`))
		f.Add(framing, 1, []byte("data: "+string(good)+"\n\n: c\n\ndata: [DONE]\n\n"))
		f.Add(framing, 9, []byte(`{"error":{"message":"no"}}`))
		f.Add(framing, 50, bytes.Replace(good, []byte(`"x":"ENC_`), []byte(`"x":{"n":1},"model":"ENC_`), 1))
	}
	f.Fuzz(func(t *testing.T, framing, size int, body []byte) {
		c := &Client{cfg: Config{MaxBuffered: 1 << 20}}
		c.memory.limit = 1 << 30
		u := newUnsealer(c, seal.Reply(), openai.Framing(min(max(framing, 0), 2)))
		var got []byte
		for rest := body; ; {
			n := min(max(size, 1), len(rest))
			part := taken{chunks: [][]byte{rest[:n]}, end: n == len(rest)}
			rest = rest[n:]
			u.rewrite(&part)
			got = append(got, bytes.Join(part.chunks, nil)...)
			if part.end || part.failed != nil {
				break
			}
		}
		if c.memory.used.Load() != 0 {
			t.Fatalf("%d bytes are kept", c.memory.used.Load())
		}
		split := openai.NewSplitter(u.framing, 0)
		check := func(p openai.Piece) {
			var doc any
			if p.JSON == nil || isErrorDocument(p.JSON) {
				return
			}
			if err := json.Unmarshal(p.JSON, &doc); err != nil || !onlySealed(doc) {
				t.Fatalf("%q reaches the caller (%v)", p.JSON, err)
			}
		}
		split.Feed(got, check)
		split.Close(check)
	})
}

// onlySealed says whether no text of a document, but for those that are always
// clear, is another than the one that was sealed.
func onlySealed(v any) bool {
	switch v := v.(type) {
	case string:
		return v == "sealed"
	case []any:
		return !slices.ContainsFunc(v, func(x any) bool { return !onlySealed(x) })
	case map[string]any:
		for name, x := range v {
			switch name {
			case "is_encrypted", "sender_public_key", "receiver_public_key", "encryption_nonce", "model", "max_completion_tokens", "max_tokens",
				"max_coefficient", "timeout", "debug", "enable_debug", "request_guid":
				continue
			}
			if !onlySealed(x) {
				return false
			}
		}
	}
	return true
}
