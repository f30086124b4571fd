package fieldcrypt

import (
	"crypto/cipher"
	"encoding/json"
	"errors"
	"testing"
)

func sealPadded(k *messageKeys, padded []byte) []byte {
	id := k.id(padded)
	block, iv := k.cipher(id)
	out := make([]byte, len(padded))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, padded)
	return append(id, out...)
}

// Bytes of a peer open or are refused; what opens seals and opens again.
func FuzzDecrypt(f *testing.F) {
	v := readVectors(f)
	for _, n := range v.Negative {
		f.Add([]byte(n.Request))
	}
	f.Add([]byte(v.Request.Encrypted))
	f.Add([]byte(v.DecMarker.Request))
	f.Add([]byte(` { "is_encrypted" : [ "DEC_" , 1e5 ] } `))
	app, worker := v.app(f), v.worker(f)
	back := sealer(f, worker, app, ToApp)
	back.random = fixed(nil) // a corpus of inputs, not of dice
	f.Fuzz(func(t *testing.T, doc []byte) {
		plain, _, err := Open(worker, doc, ToWorker)
		if err != nil {
			plain = doc
		} else if !json.Valid(plain) {
			t.Fatalf("opened to no JSON: %q", plain)
		}
		sealed, err := back.Seal(plain)
		if err != nil {
			return
		}
		if !json.Valid(sealed) {
			t.Fatalf("sealed to no JSON: %q", sealed)
		}
		if _, _, err := Open(app, sealed, ToApp); err != nil {
			t.Fatalf("sealed, but %v: %q", err, sealed)
		}
	})
}

func FuzzDecryptForm(f *testing.F) {
	kind, body := form(f, "model", "m", "file", "ENC_00", "is_encrypted", "v1")
	f.Add(kind, body)
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nDEC_b\r\n--x--"))
	worker := &Seed{2}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		if plain, _, err := OpenForm(worker, kind, body); err != nil && plain != nil {
			t.Fatal("a refusal with content")
		}
	})
}

// A peer's answer opens completely or is refused; nothing of it is clear text.
func FuzzReply(f *testing.F) {
	v := readVectors(f)
	app, worker := v.app(f), v.worker(f)
	f.Add([]byte(v.Answer.Encrypted))
	f.Add([]byte(v.DecMarker.Request))
	f.Add([]byte(`{"is_encrypted":"v1","a":"DEC_x"}`))
	reply := sealer(f, app, worker, ToWorker).Reply()
	f.Fuzz(func(t *testing.T, doc []byte) {
		plain, err := reply.Open(doc)
		switch {
		case err != nil && plain != nil:
			t.Fatal("a refusal with content")
		case err == nil && !json.Valid(plain):
			t.Fatalf("opened to no JSON: %q", plain)
		}
		if again, _, err2 := Open(app, doc, ToApp); err == nil && (err2 != nil || string(again) != string(plain)) {
			t.Fatalf("Open says %q (%v), want %q", again, err2, plain)
		}
	})
}

// What is sealed as a form opens as one.
func FuzzSealForm(f *testing.F) {
	kind, body := form(f, "model", "m", "file", "x", "temperature", "0.5")
	f.Add(kind, body)
	worker := &Seed{2}
	s := sealer(f, &Seed{1}, worker, ToWorker)
	s.random = fixed(nil)
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		sealed, err := s.SealForm(kind, body)
		if err != nil {
			return
		}
		if _, _, err := OpenForm(worker, kind, sealed); err != nil && !errors.Is(err, ErrText) {
			t.Fatalf("sealed, but %v: %q", err, sealed)
		}
	})
}
