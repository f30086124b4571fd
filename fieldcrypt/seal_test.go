package fieldcrypt

import (
	"bytes"
	"errors"
	"mime/multipart"
	"strings"
	"testing"
)

// An answer opens only if all of it was sealed by the one who was asked, for
// the one who asks. One thing is changed at a time.
func TestReplyRefuses(t *testing.T) {
	app, worker, other := &Seed{1}, &Seed{2}, &Seed{3}
	reply := sealer(t, app, worker, ToWorker).Reply()
	seal := func(from, to *Seed, d Direction, doc string) string {
		sealed, err := sealer(t, from, to, d).Seal([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		return string(sealed)
	}
	const doc = `{"a":"text","n":1,"tool_calls":[{"arguments":"{}"}],"model":"m"}`
	good := seal(worker, app, ToApp, doc)
	if plain, err := reply.Open([]byte(good)); err != nil || string(plain) != doc {
		t.Fatalf("opened %s (%v), want %s", plain, err, doc)
	}
	at := strings.Index(good, "ENC_") + 44
	for _, c := range []struct {
		name, doc string
		want      error
	}{
		{"no marks", doc, ErrUnmarked},
		{"no JSON", "nonsense", nil},
		{"no object", `["a"]`, nil},
		{"a mark is missing", strings.Replace(good, "encryption_nonce", "encryption_noNce", 1), ErrMarks},
		{"from another", seal(other, app, ToApp, doc), ErrKeyMismatch},
		{"for another", seal(worker, other, ToApp, doc), ErrKeyMismatch},
		{"of the other direction", seal(worker, app, ToWorker, doc), ErrDamaged},
		{"another nonce", strings.Replace(good, `"encryption_nonce":"`, `"encryption_nonce":"A`, 1), ErrDamaged},
		{"a bit", good[:at] + string('0'+('1'-good[at]&1)) + good[at+1:], ErrDamaged},
		{"a text marked as clear", strings.Replace(good, `"n":1`, `"n":1,"b":"DEC_hello"`, 1), ErrClear},
		{"a text that is clear", strings.Replace(good, `"n":1`, `"n":1,"b":"hello"`, 1), ErrPrefix},
		{"a short text", strings.Replace(good, `"n":1`, `"n":1,"b":"x"`, 1), ErrPrefix},
	} {
		plain, err := reply.Open([]byte(c.doc))
		if err == nil || plain != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %s, %v, want %v", c.name, plain, err, c.want)
		}
	}
}

// A sealed form opens to the same form, and shows nothing but what may stay clear.
func TestSealForm(t *testing.T) {
	app, worker := &Seed{1}, &Seed{2}
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	file, _ := w.CreateFormFile("file", "voice.wav")
	file.Write([]byte("RIFF\x00\xff hidden"))
	for _, f := range [][2]string{{"model", "shown"}, {"max_tokens", "7"}, {"temperature", "0.25"}, {"stream", "true"}, {"prompt", "hidden"}, {"is_encrypted", "lie"}} {
		w.WriteField(f[0], f[1])
	}
	w.Close()
	s := sealer(t, app, worker, ToWorker)
	sealed, err := s.SealForm(w.FormDataContentType(), body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"shown": true, "voice.wav": true, "hidden": false, "0.25": false, "RIFF": false, "lie": false, "true": false} {
		if got := bytes.Contains(sealed, []byte(text)); got != want {
			t.Errorf("%q is shown: %t, want %t", text, got, want)
		}
	}
	plain, from, err := OpenForm(worker, w.FormDataContentType(), sealed)
	if err != nil || from != app.Public() {
		t.Fatalf("%v", err)
	}
	read, err := multipart.NewReader(bytes.NewReader(plain), w.Boundary()).ReadForm(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if v := read.Value; len(v) != 5 || v["prompt"][0] != "hidden" || v["stream"][0] != "true" || v["temperature"][0] != "0.25" || v["max_tokens"][0] != "7" {
		t.Errorf("fields %v", v)
	}
	if f := read.File["file"][0]; f.Filename != "voice.wav" || f.Size != 13 {
		t.Errorf("file %s of %d bytes", f.Filename, f.Size)
	}
	for _, kind := range []string{"", "application/json", "multipart/form-data"} {
		if _, err := s.SealForm(kind, body.Bytes()); err == nil {
			t.Errorf("%q: sealed as a form", kind)
		}
	}
}

// What somebody else has encrypted passes; with one text left clear it does not.
func TestCheck(t *testing.T) {
	s, err := NewSealer(&Seed{1}, (&Seed{2}).Public(), ToWorker)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := s.Seal([]byte(`{"model":"m","max_tokens":3,"messages":[{"role":"user","content":"secret"}],"stop":[""]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(sealed); err != nil {
		t.Error(err)
	}
	for spoil, want := range map[string]error{
		`"x":"secret",`: ErrClear, `"x":"DEC_secret",`: ErrClear, `"x":["ENC_secret"],`: ErrDamaged, `"x":{"y":"ENC_00"},`: ErrDamaged, `"x":"",`: ErrClear, `"timeout":"clear",`: nil,
	} {
		if err := Check([]byte("{" + spoil + string(sealed[1:]))); !errors.Is(err, want) {
			t.Errorf("with %s: %v, want %v", spoil, err, want)
		}
	}
	key := `{"receiver_public_key":"` + strings.Repeat("ab", 32) + `","prompt":"secret"}`
	if err := Check([]byte(key)); !errors.Is(err, ErrUnmarked) {
		t.Errorf("a key alone: %v, want %v", err, ErrUnmarked)
	}

	const kind = "multipart/form-data; boundary=b"
	part := func(name, content string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + content + "\r\n"
	}
	form, err := s.SealForm(kind, []byte(part("model", "m")+part("file", "secret")+"--b--\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckForm(kind, form); err != nil {
		t.Error(err)
	}
	for spoil, want := range map[string]error{part("prompt", "secret"): ErrClear, part("is_encrypted", "v1"): ErrMarks, "--b\r\n\r\nsecret\r\n": ErrClear} {
		if err := CheckForm(kind, append([]byte(spoil), form...)); !errors.Is(err, want) {
			t.Errorf("with %q: %v, want %v", spoil, err, want)
		}
	}
	if err := CheckForm(kind, []byte(part("receiver_public_key", strings.Repeat("ab", 32))+"--b--\r\n")); !errors.Is(err, ErrUnmarked) {
		t.Errorf("a form with a key alone: %v, want %v", err, ErrUnmarked)
	}
}
