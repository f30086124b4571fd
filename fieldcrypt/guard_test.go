package fieldcrypt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"mime/multipart"
	"strings"
	"testing"
)

// A file takes any bytes, so nothing but the id can tell that one was changed.
func TestChangedFile(t *testing.T) {
	app, worker := &Seed{1}, &Seed{2}
	const kind, content = "multipart/form-data; boundary=b", "twenty bytes of sound"
	plain := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n" + content + "\r\n--b--\r\n"
	sealed, err := sealer(t, app, worker, ToWorker).SealForm(kind, []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.Index(sealed, []byte(prefixSealed)) + prefixLength + 2*(idSize+48) // of the text in hex
	if opened, _, err := OpenForm(worker, kind, sealed); err != nil || !bytes.Contains(opened, []byte(content)) {
		t.Fatalf("%q, %v", opened, err)
	}
	for _, at := range []int{end - 1, end - 32, end - 2*(idSize+48)} {
		changed := bytes.Clone(sealed)
		if changed[at]++; changed[at] == '9'+1 {
			changed[at] = 'a'
		} else if changed[at] > 'f' {
			changed[at] = '0'
		}
		if _, _, err := OpenForm(worker, kind, changed); !errors.Is(err, ErrDamaged) {
			t.Errorf("digit %d from the end changed: %v, want %v", end-at, err, ErrDamaged)
		}
	}
}

// Whoever has the keys can make the id of nothing. That opens to nothing.
func TestNothingSealed(t *testing.T) {
	keys := newMessageKeys([32]byte{1}, "nonce", ToWorker)
	for _, padded := range [][]byte{nil, {}} {
		if text, err := keys.open([]byte(prefixSealed + hex.EncodeToString(keys.id(padded)))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q, %v, want %v", text, err, ErrDamaged)
		}
	}
}

// Forms are bounded in parts, and whatever is sealed in bytes.
func TestBounds(t *testing.T) {
	app, worker := &Seed{1}, &Seed{2}
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := range maxParts + 1 {
		w.WriteField(fmt.Sprint(i), "")
	}
	w.Close()
	if _, err := sealer(t, app, worker, ToWorker).SealForm(w.FormDataContentType(), body.Bytes()); err == nil {
		t.Error("a form of 129 parts was sealed")
	}
	large := "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n" + strings.Repeat("x", maxSealed/2+1) + "\r\n--b--\r\n"
	if _, err := sealer(t, app, worker, ToWorker).SealForm("multipart/form-data; boundary=b", []byte(large)); !errors.Is(err, errTooLong) {
		t.Errorf("a form that is too long when sealed: %v", err)
	}
	long := func(dst, _ []byte) ([]byte, error) { return append(dst, make([]byte, maxSealed)...), nil }
	if _, err := rewrite([]byte(`{"x":""}`), nil, "{", long); !errors.Is(err, errTooLong) {
		t.Errorf("a document that is too long when sealed: %v", err)
	}
}

// Only the marks at the top are marks; those below are the document's own. What
// is no UTF-8 is sealed as every reader of JSON has it.
func TestSealedDetails(t *testing.T) {
	app, worker := &Seed{1}, &Seed{2}
	for doc, want := range map[string]string{
		`{"a":{"is_encrypted":"yes","encryption_nonce":1}}`: `{"a":{"is_encrypted":"yes","encryption_nonce":1}}`,
		"{\"a\":\"b\xffc\"}": `{"a":"b` + "\uFFFD" + `c"}`,
	} {
		sealed, err := sealer(t, app, worker, ToWorker).Seal([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if plain, _, err := Open(worker, sealed, ToWorker); err != nil || string(plain) != want {
			t.Errorf("%q becomes %q, %v, want %q", doc, plain, err, want)
		}
	}
}
