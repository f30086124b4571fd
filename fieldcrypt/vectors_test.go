package fieldcrypt

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// vectors is testdata/v1_encryption.json.
type vectors struct {
	ClientSeed        string `json:"client_seed"`
	ClientPublicKey   string `json:"client_public_key"`
	ReceiverSeed      string `json:"receiver_seed"`
	ReceiverPublicKey string `json:"receiver_public_key"`
	Shared            string `json:"x25519_shared"`
	Strings           []struct {
		Plaintext, Nonce, Direction, Blob, Field string
		EncryptionNonce                          string `json:"encryption_nonce"`
		EncryptKey                               string `json:"encrypt_key"`
		MacKey                                   string `json:"mac_key"`
		Padded                                   string `json:"padded_plaintext"`
		MsgID                                    string `json:"msg_id"`
	}
	Request, Answer struct {
		Clear, Encrypted string
		NonceRaw         string `json:"nonce_raw"`
	}
	DecMarker struct {
		Request       string
		DecryptedUser string `json:"decrypted_user"`
	} `json:"dec_marker"`
	Negative []struct{ Name, Request, Expect, Why string }
}

func readVectors(t testing.TB) *vectors {
	t.Helper()
	raw, err := os.ReadFile("testdata/v1_encryption.json")
	if err != nil {
		t.Fatal(err)
	}
	v := &vectors{}
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
	if len(v.Strings) != 6 || len(v.Negative) != 6 {
		t.Fatalf("%d strings and %d refusals, want 6 and 6", len(v.Strings), len(v.Negative))
	}
	return v
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v *vectors) app(t testing.TB) *Seed {
	s := Seed(unhex(t, v.ClientSeed))
	return &s
}

func (v *vectors) worker(t testing.TB) *Seed {
	s := Seed(unhex(t, v.ReceiverSeed))
	return &s
}

// fixed fills nonces and padding as the vectors do.
func fixed(nonce []byte) func([]byte) {
	return func(b []byte) {
		if len(b) == len(nonce) {
			copy(b, nonce)
			return
		}
		for i := range b {
			b[i] = 0xa5
		}
	}
}

func TestAgreement(t *testing.T) {
	v := readVectors(t)
	app, worker := v.app(t), v.worker(t)
	if got := app.Public(); hex.EncodeToString(got[:]) != v.ClientPublicKey {
		t.Errorf("public key %x, want %s", got, v.ClientPublicKey)
	}
	for _, pair := range [][2]*Seed{{app, worker}, {worker, app}} {
		got, err := agree(pair[0], pair[1].Public())
		if err != nil || hex.EncodeToString(got[:]) != v.Shared {
			t.Errorf("secret %x (%v), want %s", got, err, v.Shared)
		}
	}
}

func TestStrings(t *testing.T) {
	v := readVectors(t)
	shared := [32]byte(unhex(t, v.Shared))
	for _, c := range v.Strings {
		k := newMessageKeys(shared, c.EncryptionNonce, Direction(c.Direction[0]))
		if hex.EncodeToString(k.encrypt[:]) != c.EncryptKey || hex.EncodeToString(k.mac[:]) != c.MacKey {
			t.Fatalf("%q: keys differ", c.Plaintext)
		}
		if got := hex.EncodeToString(k.id(unhex(t, c.Padded))); got != c.MsgID {
			t.Errorf("%q: id %s, want %s", c.Plaintext, got, c.MsgID)
		}
		if got := string(k.sealText(nil, []byte(c.Plaintext), fixed(nil))); got != `"`+c.Field+`"` {
			t.Errorf("%q: sealed %s, want %s", c.Plaintext, got, c.Field)
		}
		if got, err := k.open([]byte(c.Field)); err != nil || string(got) != c.Plaintext {
			t.Errorf("opened %q (%v), want %q", got, err, c.Plaintext)
		}
	}
}

func TestDocuments(t *testing.T) {
	v := readVectors(t)
	app, worker := v.app(t), v.worker(t)
	for _, c := range []struct {
		name                    string
		from, to                *Seed
		d                       Direction
		clear, encrypted, nonce string
	}{
		{"request", app, worker, ToWorker, v.Request.Clear, v.Request.Encrypted, v.Request.NonceRaw},
		{"answer", worker, app, ToApp, v.Answer.Clear, v.Answer.Encrypted, v.Answer.NonceRaw},
	} {
		plain, sender, err := Open(c.to, []byte(c.encrypted), c.d)
		if err != nil || string(plain) != c.clear || sender != c.from.Public() {
			t.Errorf("%s: opened %s (%v), want %s", c.name, plain, err, c.clear)
		}
		s, err := NewSealer(c.from, c.to.Public(), c.d)
		if err != nil {
			t.Fatal(err)
		}
		s.random = fixed(unhex(t, c.nonce))
		sealed, err := s.Seal([]byte(c.clear))
		var got, want any
		json.Unmarshal([]byte(c.encrypted), &want)
		if json.Unmarshal(sealed, &got) != nil || err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: sealed %s (%v), want the members of %s", c.name, sealed, err, c.encrypted)
		}
		// The vectors sort members; so sorted, every byte is the same.
		if again, _ := json.Marshal(got); string(again) != c.encrypted {
			t.Errorf("%s: sealed and sorted %s, want %s", c.name, again, c.encrypted)
		}
	}
}

// The app that has sealed the vectors' request reads their answer, and no
// other document of theirs.
func TestReplyOpensTheAnswer(t *testing.T) {
	v := readVectors(t)
	reply := sealer(t, v.app(t), v.worker(t), ToWorker).Reply()
	if plain, err := reply.Open([]byte(v.Answer.Encrypted)); err != nil || string(plain) != v.Answer.Clear {
		t.Errorf("opened %s (%v), want %s", plain, err, v.Answer.Clear)
	}
	if plain, err := reply.Open([]byte(v.Request.Encrypted)); err == nil {
		t.Errorf("its own request opened as an answer: %s", plain)
	}
}

func TestClearTextInASealedRequest(t *testing.T) {
	v := readVectors(t)
	plain, _, err := Open(v.worker(t), []byte(v.DecMarker.Request), ToWorker)
	var got struct{ User string }
	if err != nil || json.Unmarshal(plain, &got) != nil || got.User != v.DecMarker.DecryptedUser {
		t.Errorf("user %q (%v), want %q", got.User, err, v.DecMarker.DecryptedUser)
	}
}

func TestVectorRefusals(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.Negative {
		if plain, _, err := Open(v.worker(t), []byte(c.Request), ToWorker); err == nil || plain != nil {
			t.Errorf("%s: opened, want a refusal: %s", c.Name, c.Why)
		}
	}
}
