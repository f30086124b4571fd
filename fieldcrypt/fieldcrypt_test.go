package fieldcrypt

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/openai"
)

func sealer(t testing.TB, own, to *Seed, d Direction) *Sealer {
	t.Helper()
	s, err := NewSealer(own, to.Public(), d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whatever is sealed opens to the same document, less white space.
func TestRoundTrip(t *testing.T) {
	app, worker := &Seed{1}, &Seed{2}
	for _, doc := range []string{
		`{}`, " {\n} ", `{"a":[]}`, `{"a":[[],{},[{"b":""}]]}`, `{"a":1,"b":-2.5e10,"c":true,"d":null}`,
		`{"a":"\u00e9\n\"\\\/\ud83d\ude00","ключ":"значение"}`, `{"a\"b":"x","c":["y",1,"z"]}`,
		`{"model":"m","nested":{"model":{"deep":["clear"]},"other":"o"},"timeout":"5"}`,
		"{ \"a\" : [ 1 , \"b\" ] ,\t\"c\" : { } }\r\n", `{"long":"` + strings.Repeat("x", 5000) + `"}`,
	} {
		sealed, err := sealer(t, app, worker, ToWorker).Seal([]byte(doc))
		if err != nil {
			t.Fatalf("%.60s: %v", doc, err)
		}
		plain, sender, err := Open(worker, sealed, ToWorker)
		var want bytes.Buffer
		json.Compact(&want, []byte(doc))
		if err != nil || sender != app.Public() || !sameJSON(plain, want.Bytes()) {
			t.Errorf("%.60s: opened %.200s (%v)", doc, plain, err)
		}
		if bytes.IndexByte(sealed, '\n') >= 0 || !json.Valid(sealed) {
			t.Errorf("%.60s: sealed as %.200s, want one line of JSON", doc, sealed)
		}
	}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return fmt.Sprint(x) == fmt.Sprint(y) && len(a) <= len(b) // escapes only ever go
}

// Which texts are hidden, and which are not.
func TestWhatStaysClear(t *testing.T) {
	sealed, err := sealer(t, &Seed{1}, &Seed{2}, ToApp).Seal([]byte(
		`{"secret":"hide1","n":12345,"model":"show1","x":[{"model":"show2","y":"hide2"},"hide3",true],"debug":{"z":"show3"},"is_encrypted":"lie"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"show1", "show2", "show3", "12345", "true", `"secret":`} {
		if !strings.Contains(string(sealed), text) {
			t.Errorf("%s is not clear in %s", text, sealed)
		}
	}
	for _, text := range []string{"hide", "lie"} {
		if strings.Contains(string(sealed), text) {
			t.Errorf("%s is clear in %s", text, sealed)
		}
	}
	again, _ := sealer(t, &Seed{1}, &Seed{2}, ToApp).Seal([]byte(`{"secret":"hide1"}`))
	if bytes.Equal(again, sealed) || !bytes.Contains(again, []byte("encryption_nonce")) {
		t.Error("a nonce is used twice")
	}
}

// One thing changed at a time.
func TestOpenRefuses(t *testing.T) {
	app, worker := &Seed{1}, &Seed{2}
	s := sealer(t, app, worker, ToWorker)
	sealed, _ := s.Seal([]byte(`{"a":"text","b":1}`))
	public, other := app.Public(), (&Seed{3}).Public()
	sender, receiver := hex.EncodeToString(public[:]), hex.EncodeToString(other[:])
	set := func(name, raw string) []byte {
		doc, _ := openai.ParseObject(sealed)
		doc.Remove(name)
		if raw != "" {
			doc.Set(name, []byte(raw))
		}
		return doc.Bytes()
	}
	raw32 := func(text string) []byte { // a text under the right keys
		keys, _ := marks{sender: public, receiver: worker.Public(), nonce: "n"}.keys(worker, ToWorker)
		return keys.sealText(nil, []byte(text), fillRandom)
	}
	notUTF8, _ := openai.ParseObject(set("encryption_nonce", `"n"`))
	notUTF8.Set("a", raw32("\xff\xfe"))
	zero, neutral := strings.Repeat("0", 64), "01"+strings.Repeat("0", 62)
	for _, c := range []struct {
		name string
		doc  []byte
		want error
	}{
		{"unmarked", set("is_encrypted", ""), ErrUnmarked},
		{"version is a number", set("is_encrypted", "1"), ErrMarks},
		{"no sender", set("sender_public_key", ""), ErrMarks},
		{"no receiver", set("receiver_public_key", ""), ErrMarks},
		{"no nonce", set("encryption_nonce", ""), ErrMarks},
		{"null nonce", set("encryption_nonce", "null"), ErrMarks},
		{"short sender", set("sender_public_key", `"abcd"`), ErrMarks},
		{"sender no hex", set("sender_public_key", `"`+strings.Repeat("x", 64)+`"`), ErrMarks},
		{"sender of low order", set("sender_public_key", `"`+zero+`"`), ErrMarks},
		{"neutral sender", set("sender_public_key", `"`+neutral+`"`), ErrMarks},
		{"for another key", set("receiver_public_key", `"`+receiver+`"`), ErrKeyMismatch},
		{"another sender", set("sender_public_key", `"`+receiver+`"`), ErrDamaged},
		{"another nonce", set("encryption_nonce", `"`+sender+`"`), ErrDamaged},
		{"no prefix", set("a", `"text"`), ErrPrefix},
		{"empty", set("a", `""`), ErrPrefix},
		{"three characters", set("a", `"ENC"`), ErrPrefix},
		{"nothing sealed", set("a", `"ENC_"`), ErrDamaged},
		{"no hex", set("a", `"ENC_zz"`), ErrDamaged},
		{"odd hex", set("a", `"ENC_`+strings.Repeat("0", 65)+`"`), ErrDamaged},
		{"zeros", set("a", `"ENC_`+strings.Repeat("0", 64)+`"`), ErrDamaged},
		{"not UTF-8", notUTF8.Bytes(), ErrText},
	} {
		plain, _, err := Open(worker, c.doc, ToWorker)
		if !errors.Is(err, c.want) || plain != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "text\"") {
			t.Errorf("%s: %v quotes the content", c.name, err)
		}
	}
	for _, bad := range []string{``, `[]`, `"x"`, `{"a":"b"`, `{} {}`, strings.Repeat("[", 1000)} {
		if _, _, err := Open(worker, []byte(bad), ToWorker); err == nil {
			t.Errorf("%.20q opened", bad)
		}
		if _, err := s.Seal([]byte(bad)); err == nil {
			t.Errorf("%.20q sealed", bad)
		}
	}
	if _, _, err := Open(worker, sealed, ToApp); !errors.Is(err, ErrDamaged) {
		t.Errorf("other direction: %v, want %v", err, ErrDamaged)
	}
}

// Padding is looked at only behind a right id, so this takes the keys.
func TestPadding(t *testing.T) {
	k := newMessageKeys([32]byte{1}, "n", ToWorker)
	for _, c := range []struct {
		p    byte
		good bool
	}{{0, false}, {15, false}, {16, true}, {32, true}, {33, false}, {255, false}} {
		// The pad is chosen freely: seal by hand.
		padded := make([]byte, 32)
		padded[0] = c.p
		if _, err := k.unseal(sealPadded(k, padded)); (err == nil) != c.good {
			t.Errorf("padding of %d in 32 bytes: %v, want good %t", c.p, err, c.good)
		}
	}
}

func TestPublicKeySpellings(t *testing.T) {
	want := (&Seed{9}).Public()
	for _, text := range []string{hex.EncodeToString(want[:]), strings.ToUpper(hex.EncodeToString(want[:])),
		base64.StdEncoding.EncodeToString(want[:]), string(want[:])} {
		if got, err := ParsePublicKey(text); err != nil || got != want {
			t.Errorf("%q: %x (%v), want %x", text, got, err, want)
		}
	}
	for _, n := range []int{0, 31, 33, 43, 45, 63, 65} {
		if _, err := ParsePublicKey(strings.Repeat("0", n)); err == nil {
			t.Errorf("%d characters are a key", n)
		}
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	seed := Seed{0xab, 0xcd}
	if text := fmt.Sprintf("%v %x %+v %#v %s %d", seed, &seed, struct{ S Seed }{seed}, seed, seed, seed); strings.Contains(text, "ab") || strings.Contains(text, "171") {
		t.Errorf("printed %s", text)
	}
}

func form(t testing.TB, fields ...string) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "file" {
			part, _ := w.CreateFormFile("file", "a.wav")
			part.Write([]byte(fields[i+1]))
			continue
		}
		w.WriteField(fields[i], fields[i+1])
	}
	w.Close()
	return w.FormDataContentType(), b.Bytes()
}

func TestForm(t *testing.T) {
	app, worker := &Seed{1}, &Seed{2}
	public, to := app.Public(), worker.Public()
	keys, _ := marks{sender: public, receiver: to, nonce: "n"}.keys(worker, ToWorker)
	seal := func(text string) string {
		return strings.Trim(string(keys.sealText(nil, []byte(text), fillRandom)), `"`)
	}
	mark := []string{"is_encrypted", "v1", "sender_public_key", string(public[:]), "receiver_public_key", hex.EncodeToString(to[:]), "encryption_nonce", "n"}
	good := append([]string{"model", "m", "file", seal("RIFF\x00\xff"), "temperature", seal("0.5"), "language", "DEC_en", "max_tokens", "7"}, mark...)
	kind, body := form(t, good...)
	plain, sender, err := OpenForm(worker, kind, body)
	if err != nil || sender != public {
		t.Fatal(err)
	}
	_, boundary, _ := strings.Cut(kind, "boundary=")
	read, err := multipart.NewReader(bytes.NewReader(plain), boundary).ReadForm(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if v := read.Value; len(v) != 4 || v["model"][0] != "m" || v["temperature"][0] != "0.5" || v["language"][0] != "en" || v["max_tokens"][0] != "7" {
		t.Errorf("fields %v", v)
	}
	if f := read.File["file"][0]; f.Filename != "a.wav" || f.Size != 6 {
		t.Errorf("file %s of %d bytes", f.Filename, f.Size)
	}
	for _, c := range []struct {
		name   string
		fields []string
		want   error
	}{
		{"unmarked", good[:10], ErrUnmarked},
		{"number in the clear", append([]string{"temperature", "0.5"}, mark...), ErrPrefix},
		{"file in the clear", append([]string{"file", "RIFF"}, mark...), ErrPrefix},
		{"damaged", append([]string{"file", seal("x")[:70]}, mark...), ErrDamaged},
		{"text not UTF-8", append([]string{"prompt", seal("\xff")}, mark...), ErrText},
		{"no nonce", mark[:6], ErrMarks},
		{"mark twice", append([]string{"encryption_nonce", "n"}, mark...), ErrMarks},
	} {
		kind, body := form(t, c.fields...)
		if plain, _, err := OpenForm(worker, kind, body); !errors.Is(err, c.want) || plain != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for _, cut := range []int{0, 10, len(body) / 2, len(body) - 4} {
		if _, _, err := OpenForm(worker, kind, body[:cut]); err == nil {
			t.Errorf("form of %d bytes cut at %d opened", len(body), cut)
		}
	}
	if _, _, err := OpenForm(worker, "application/json", body); err == nil {
		t.Error("a form without a boundary opened")
	}
}
