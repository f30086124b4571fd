package seal

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/tl"
)

// What a host carries between images may be anything.
func FuzzStatement(f *testing.F) {
	path := filepath.Join(f.TempDir(), "sealed.json")
	source := &SNP{Derive: func() ([32]byte, error) { return [32]byte{1}, nil }}
	store, err := Create(f.Context(), path, source)
	if err != nil {
		f.Fatal(err)
	}
	r, err := Ask(f.Context(), path, source, attest.NoPlatform{}, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	text, _ := json.Marshal(r)
	f.Add(text)
	f.Add([]byte(`{"format":1,"sealed":"AAAA"}`))
	anyone := &attest.Policy{AllowNone: true, AnyImage: true}
	f.Fuzz(func(t *testing.T, text []byte) {
		var r Request
		if json.Unmarshal(text, &r) == nil {
			if g, _, err := store.Grant(t.Context(), &r, anyone, attest.NoPlatform{}, time.Now()); err == nil {
				t.Errorf("granted without evidence: %v", g)
			}
		}
		var g Grant
		if json.Unmarshal(text, &g) == nil {
			if _, err := Accept(t.Context(), path, &g, source, anyone, time.Now()); err == nil {
				t.Error("accepted without evidence")
			}
		}
	})
}

// stream answers with bytes and swallows what is written.
type stream struct{ io.Reader }

func (stream) Write(p []byte) (int, error) { return len(p), nil }

// The host answers for the sealing service, and may answer anything.
func FuzzAnswer(f *testing.F) {
	body := tl.Marshal(&tl.PersistentKey{SgxQuote: []byte("quote"), EncryptedSecret: make([]byte, secretSize)})
	f.Add(append([]byte{byte(len(body)), 0, 0, 0}, body...))
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := roundTrip(stream{bytes.NewReader(b)}, nil)
		if len(frame) > maxFrame {
			t.Fatalf("a frame of %d bytes", len(frame))
		}
		answer := &tl.PersistentKey{}
		if err == nil && tl.Unmarshal(frame, answer) == nil && len(answer.EncryptedSecret) == secretSize {
			bigPoint(answer.EncryptedSecret[:pointSize])
		}
	})
}
