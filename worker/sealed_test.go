package worker

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"mime/multipart"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/engine/enginetest"
	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// The app's key, and the one that a proxy hands to its workers.
var (
	appSeed     = &fieldcrypt.Seed{1, 2, 3}
	networkSeed = &fieldcrypt.Seed{4, 5, 6}
)

func sealBody(t testing.TB, body string) string {
	t.Helper()
	s, err := fieldcrypt.NewSealer(appSeed, networkSeed.Public(), fieldcrypt.ToWorker)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := s.Seal([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return string(sealed)
}

func sealedQuery(r *tl.HTTPRequest) *tl.ProxyRunQueryEx {
	q := query(r)
	q.PrivateKey = tl.Int256(*networkSeed)
	return q
}

// opened is the answer's documents in clear, and how many of them were sealed.
func opened(t testing.TB, framing openai.Framing, body string) (clear []string, sealed int, done bool) {
	t.Helper()
	split := openai.NewSplitter(framing, 0)
	piece := func(p openai.Piece) {
		done = done || p.Done
		if p.JSON == nil {
			return
		}
		if !bytes.Contains(p.JSON, []byte(`"is_encrypted"`)) {
			clear = append(clear, string(p.JSON))
			return
		}
		plain, sender, err := fieldcrypt.Open(appSeed, p.JSON, fieldcrypt.ToApp)
		if err != nil || sender != networkSeed.Public() {
			t.Errorf("document %.200s: %v", p.JSON, err)
		}
		sealed++
		clear = append(clear, string(plain))
	}
	split.Feed([]byte(body), piece)
	split.Close(piece)
	return clear, sealed, done
}

const question, answerText = "a question nobody may read", "an answer nobody may read"

// Everything the engine says arrives sealed, is paid, and reads as it would clear.
func TestSealedAnswers(t *testing.T) {
	chunk := func(text string) string {
		return `{"id":"` + answerText + `","choices":[{"delta":{"content":"` + text + `"}}]}`
	}
	const usage = `{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}`
	for _, c := range []struct {
		name, members, kind, body string
		framing                   openai.Framing
		sealed                    int
		want                      string // in clear
		total                     int64
		raw                       string // as it travels
	}{
		{"plain", "", "application/json", "{ \"choices\": [{\"text\":\"" + answerText + "\"}],\n\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}",
			openai.Plain, 1, answerText, 5, `"usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_total_cost":60,"completion_total_cost":40,"total_cost":100}`},
		{"events", `,"stream":true`, "text/event-stream", ": " + answerText + "\r\n\r\nevent: " + answerText + "\r\ndata: " + chunk(answerText) + "\r\n\r\ndata: " +
			chunk("b") + "\n\ndata: " + usage + "\n\ndata: [DONE]\n\n", openai.SSE, 3, answerText, 5, "\n\ndata: [DONE]\n\n"},
		{"lines", `,"stream":true`, "application/x-ndjson", chunk(answerText) + "\n\n" + chunk("b") + "\n" + usage + "\n", openai.NDJSON, 3, answerText, 5, `"total_cost":100}}` + "\n"},
		{"values", `,"stream":true`, "application/json", chunk(answerText) + " " + usage, openai.Plain, 2, answerText, 5, `"total_cost":100`},
		{"estimated", `,"stream":true`, "text/event-stream", "data: " + chunk(answerText) + "\n\ndata: [DONE]\n\n", openai.SSE, 2, `"estimated":true`, 33, `"estimated":true`},
		{"large", "", "application/json", `{"choices":[{"text":"` + strings.Repeat(answerText, 6000) + `"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`,
			openai.Plain, 1, answerText, 5, `"total_cost":100`},
		{"twice the message", "", "application/json", `{"choices":[{"text":"` + strings.Repeat("x", 60<<10) + answerText + `"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`,
			openai.Plain, 1, answerText, 5, `"total_cost":100`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, newProxy(t), enginetest.Fixed(200, c.kind, c.body), nil)
			clearBody := strings.Replace(chat(c.members), `"hi"`, `"`+question+`"`, 1)
			a := s.connected().run(sealedQuery(post(pathChat, sealBody(t, clearBody))))
			body := a.body()
			if a.status != 200 || a.info.TokensUsed.TotalTokensUsed != c.total {
				t.Fatalf("status %d code %d %s, tokens %+v, want %d", a.status, a.code, a.text, a.info.TokensUsed, c.total)
			}
			docs, sealed, done := opened(t, c.framing, body)
			if text := strings.Join(docs, "\n"); sealed != c.sealed || sealed != len(docs) || !strings.Contains(text, c.want) {
				t.Errorf("%d of %d documents sealed, want %d with %s: %.400s", sealed, len(docs), c.sealed, c.want, text)
			}
			if strings.Contains(body, "nobody") || !strings.Contains(body, c.raw) || done != strings.Contains(c.body, "DONE") {
				t.Errorf("travels as %.600s, want it to hide the answer and hold %q", body, c.raw)
			}
			asked := string(s.engine.Requests()[0].Payload)
			if !strings.Contains(asked, question) || strings.Contains(asked, "_key") || strings.Contains(asked, "encrypt") {
				t.Errorf("engine is asked %s, want clear text without marks", asked)
			}
		})
	}
}

// Each document has a nonce of its own, and leaves as soon as it is complete.
func TestSealedStreamIsAStream(t *testing.T) {
	s := start(t, newProxy(t), enginetest.Chunks(4, 20*time.Millisecond), nil)
	a := s.connected().run(sealedQuery(post(pathChat, sealBody(t, chat(`,"stream":true`)))))
	nonces := map[string]bool{}
	for doc := range strings.SplitSeq(a.body(), "data: ") {
		var marks struct {
			Nonce string `json:"encryption_nonce"`
		}
		if json.Unmarshal([]byte(doc), &marks) == nil {
			nonces[marks.Nonce] = true
		}
	}
	_, sealed, done := opened(t, openai.SSE, a.body())
	if !done || len(nonces) != sealed || sealed < 4 || len(a.parts) < 3 {
		t.Errorf("%d nonces for %d documents in %d parts, end marker %t", len(nonces), sealed, len(a.parts), done)
	}
}

// The engine's refusals may quote the request and are sealed; our own words are
// clear. What cannot be sealed ends in an error: never clear, never silent.
func TestSealedErrors(t *testing.T) {
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"
	const stream = `,"stream":true`
	for _, c := range []struct {
		name, members string
		script        enginetest.Script
		status        int32
		sealed        int
		want          string
	}{
		{"refusal", "", enginetest.Refusal(400, "nobody may read"), 400, 1, "nobody may read"},
		{"web page", "", enginetest.HTML(502), 502, 0, "bad_answer"},
		{"array", "", enginetest.Fixed(200, "application/json", `["nobody"]`), 502, 0, "cannot be encrypted"},
		{"string", "", enginetest.Fixed(200, "application/json", `"nobody"`), 502, 0, "cannot be encrypted"},
		{"text behind it", "", enginetest.Fixed(200, "application/json", `{"choices":[]} nobody`), 502, 0, "cannot be encrypted"},
		{"member twice", "", enginetest.Fixed(200, "application/json", `{"a":"nobody","a":"x"}`), 502, 0, "bad_answer"},
		{"text event", stream, enginetest.Fixed(200, "text/event-stream", event+"data: nobody\n\n"+event), 200, 1, "cannot be encrypted"},
		{"array event", stream, enginetest.Fixed(200, "text/event-stream", event+"data: [\"nobody\"]\n\n"+event), 200, 1, "cannot be encrypted"},
		{"text line", stream, enginetest.Fixed(200, "application/x-ndjson", "{}\nnobody\n{}\n"), 200, 1, "cannot be encrypted"},
		{"endless event", stream, enginetest.Fixed(200, "text/event-stream", event+`data: {"x":"`+strings.Repeat("nobody", 1<<18)+`"}`+"\n\n"), 200, 1, "cannot be encrypted"},
		{"huge", "", enginetest.Huge(9 << 20), 502, 0, "cannot be encrypted"},
		{"dies", stream, enginetest.DieAfter(2), 200, 2, "connection_lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, newProxy(t), c.script, nil)
			h := s.connected()
			a := h.run(sealedQuery(post(pathChat, sealBody(t, chat(c.members)))))
			docs, sealed, done := opened(t, openai.FramingOf(a.header["Content-Type"]), a.body())
			if a.status != c.status || sealed != c.sealed || len(docs) == 0 ||
				!strings.Contains(docs[len(docs)-1], c.want) || done {
				t.Errorf("status %d code %d, %d sealed of %d, end marker %t: %.600s", a.status, a.code, sealed, len(docs), done, docs)
			}
			if strings.Contains(a.body(), "nobody") {
				t.Errorf("travels in the clear: %.300s", a.body())
			}
			s.engine.SetScript(enginetest.Fast())
			if a := h.run(query(post(pathChat, chat("")))); a.status != 200 || strings.Contains(a.body(), "encrypt") {
				t.Errorf("a clear request behind it: status %d", a.status)
			}
		})
	}
}

// Codes and words of the network (current.md §3.5), before the engine is asked,
// and nothing of the request in them or in the log.
func TestSealedRefusals(t *testing.T) {
	var log bytes.Buffer
	s := start(t, newProxy(t), enginetest.Fast(), func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	h := s.connected()
	good := sealBody(t, strings.Replace(chat(""), `"hi"`, `"`+question+`"`, 1))
	at := strings.Index(good, "ENC_") + 40
	flipped := good[:at] + string('0'+('1'-good[at]&1)) + good[at+1:]
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	public := appSeed.Public()
	sender := hex.EncodeToString(public[:])
	stolen := sealedQuery(post(pathChat, good))
	stolen.PrivateKey[5]++
	keyless := query(post(pathChat, good))
	unflagged := sealedQuery(post(pathChat, good))
	unflagged.Flags = 1
	for _, c := range []struct {
		name string
		q    *tl.ProxyRunQueryEx
		code int32
		text string
	}{
		{"key without mark", sealedQuery(post(pathChat, chat(""))), wire.CodeError, "key is provided, but request is unencrypted"},
		{"mark without key", keyless, wire.CodeError, "cannot find private key"},
		{"key without its flag", unflagged, wire.CodeError, "cannot find private key"},
		{"another key", stolen, wire.CodeError, "public key mismatch"},
		{"no sender", sealedQuery(post(pathChat, replace("sender_public_key", "sender"))), wire.CodeError, "sender_public_key"},
		{"bad sender", sealedQuery(post(pathChat, replace(sender, "00"))), wire.CodeError, "sender_public_key"},
		{"weak sender", sealedQuery(post(pathChat, replace(sender, strings.Repeat("0", 64)))), wire.CodeError, "low order"},
		{"tampered", sealedQuery(post(pathChat, flipped)), 0, "damaged"},
		{"prefix", sealedQuery(post(pathChat, replace("ENC_", "XXX_"))), wire.CodeProtocol, "neither"},
		{"short", sealedQuery(post(pathChat, sealedWith(t, good, `"ab"`))), wire.CodeProtocol, "neither"},
		{"syntax", sealedQuery(post(pathChat, good+"x")), wire.CodeProtocol, "JSON"},
		{"clear rules hold", sealedQuery(post(pathChat, sealBody(t, `{"model":"fake/model","messages":"`+question+`"}`))), wire.CodeProtocol, "messages"},
		{"form unmarked", sealedQuery(post(pathTranscribe, "--x--", "x", "y")), wire.CodeProtocol, "JSON"},
	} {
		if a := h.run(c.q); a.code != c.code || a.status != 0 || !strings.Contains(a.text, c.text) || a.info.TokensUsed.TotalTokensUsed != 0 {
			t.Errorf("%s: code %d %q status %d, want %d %q", c.name, a.code, a.text, a.status, c.code, c.text)
		} else if strings.Contains(a.text, "nobody") || strings.Contains(a.text, "ENC_") || strings.Contains(a.text, sender) {
			t.Errorf("%s: %q quotes the request", c.name, a.text)
		}
	}
	if s.engine.Count() != 0 {
		t.Errorf("engine was asked %d times, want never", s.engine.Count())
	}
	s.stop()
	secret := hex.EncodeToString(networkSeed[:])
	if text := log.String(); strings.Contains(text, "nobody") || strings.Contains(text, secret[:16]) || strings.Contains(text, "ENC_") {
		t.Errorf("log tells too much: %s", text)
	}
}

// sealedWith is an encrypted body with one more member.
func sealedWith(t testing.TB, body, value string) string {
	t.Helper()
	doc, err := openai.ParseObject([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	doc.Set("user", []byte(value))
	return string(doc.Bytes())
}

// The request that the reference is known to open.
func TestSealedVector(t *testing.T) {
	raw, err := os.ReadFile("testdata/encrypted_request.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ ReceiverSeed, ClientSeed, Clear, Encrypted string }
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	seed, _ := hex.DecodeString(v.ReceiverSeed)
	app, _ := hex.DecodeString(v.ClientSeed)
	const model = "Qwen/Qwen3-0.6B"
	s := start(t, newProxy(t), enginetest.Fixed(200, "application/json", `{"choices":[{"text":"ok"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}`),
		func(c *Config) { c.Model = model + "@abc:0123" })
	s.engine.SetModel(model)
	q := query(post(pathChat, v.Encrypted))
	copy(q.PrivateKey[:], seed)
	a := s.connected().run(q)
	if a.status != 200 {
		t.Fatalf("status %d code %d %s", a.status, a.code, a.text)
	}
	if got := string(s.engine.Requests()[0].Payload); got != v.Clear {
		t.Errorf("engine is asked %s, want %s", got, v.Clear)
	}
	appKey := fieldcrypt.Seed(app)
	if plain, _, err := fieldcrypt.Open(&appKey, []byte(a.body()), fieldcrypt.ToApp); err != nil || !strings.Contains(string(plain), `"ok"`) {
		t.Errorf("answer %s: %v", plain, err)
	}
}

// A form's file and fields are sealed one by one.
func TestSealedForm(t *testing.T) {
	public, to := appSeed.Public(), networkSeed.Public()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range [][2]string{{"model", "fake/model"}, {"language", "DEC_en"}, {"is_encrypted", "v1"}, {"encryption_nonce", "n"},
		{"sender_public_key", hex.EncodeToString(public[:])}, {"receiver_public_key", hex.EncodeToString(to[:])}} {
		w.WriteField(f[0], f[1])
	}
	part, _ := w.CreateFormFile("file", "a.wav")
	part.Write([]byte("DEC_RIFF\x00\xff"))
	w.Close()
	s := start(t, newProxy(t), enginetest.Fixed(200, "application/json", `{"text":"`+answerText+`"}`), nil)
	h := s.connected()
	form := post(pathTranscribe, b.String())
	form.Headers[0].Value = w.FormDataContentType()
	a := h.run(sealedQuery(form))
	docs, sealed, _ := opened(t, openai.Plain, a.body())
	if a.status != 200 || sealed != 1 || !strings.Contains(docs[0], answerText) || strings.Contains(a.body(), "nobody") {
		t.Fatalf("status %d code %d %s: %s", a.status, a.code, a.text, docs)
	}
	if got := string(s.engine.Requests()[0].Payload); !strings.Contains(got, "RIFF\x00\xff") || strings.Contains(got, "DEC_") || strings.Contains(got, "is_encrypted") {
		t.Errorf("engine is asked %q", got)
	}
	if a := h.run(query(form)); a.code != wire.CodeError || !strings.Contains(a.text, "cannot find private key") {
		t.Errorf("form without key: code %d %q", a.code, a.text)
	}
	s.engine.SetScript(enginetest.Fixed(200, "text/plain", "nobody may read this transcript"))
	if a := h.run(sealedQuery(form)); a.status != 502 || strings.Contains(a.body(), "nobody") {
		t.Errorf("text answer: status %d %s", a.status, a.body())
	}
}

// A job may last for hours; the network's key, which came with it, does not.
func TestKeyIsForgotten(t *testing.T) {
	for _, body := range []string{`{}`, `{"is_encrypted":"v1"}`} {
		j := &job{query: &tl.ProxyRunQueryEx{Flags: flagPrivateKey, PrivateKey: tl.Int256{1}}}
		if bad := j.unseal(&tl.HTTPRequest{Payload: []byte(body)}); bad == nil || j.query.PrivateKey != (tl.Int256{}) {
			t.Errorf("%s: refusal %v, key kept: %v", body, bad, j.query.PrivateKey != tl.Int256{})
		}
	}
}
