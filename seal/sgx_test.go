package seal

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/tl"
)

// vectors are values of the reference's protocol (wire.md 7).
type vectors struct {
	Crypto map[string]string `json:"crypto"`
}

func load(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/seal.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil || len(v.Crypto) < 10 {
		t.Fatalf("%v, %d values", err, len(v.Crypto))
	}
	return v.Crypto
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}

func scalar(t *testing.T, s string) *ecdh.PrivateKey {
	t.Helper()
	key, err := ecdh.P256().NewPrivateKey(unhex(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestVectors(t *testing.T) {
	v := load(t)
	client := scalar(t, v["client_private_scalar_be"])
	public := littlePoint(client.PublicKey())
	if got := hex.EncodeToString(public); got != v["client_public_xy_le"] {
		t.Errorf("public key %s, want %s", got, v["client_public_xy_le"])
	}
	data := bound(public)
	if got := hex.EncodeToString(data[:]); got != v["tdx_report_data"] {
		t.Errorf("report data %s, want %s", got, v["tdx_report_data"])
	}
	key, err := unwrap(client, unhex(t, v["encrypted_secret"]))
	if got := hex.EncodeToString(key[:]); err != nil || got != v["persistent_key"] {
		t.Errorf("key %s, %v, want %s", got, err, v["persistent_key"])
	}
	frame := unhex(t, v["request_frame"])
	ask := &tl.GetPersistentKey{}
	if err := tl.Unmarshal(frame[4:], ask); err != nil || string(ask.KeyName) != v["key_name"] || !bytes.Equal(ask.PublicKey, public) {
		t.Fatalf("request %q, %v", ask.KeyName, err)
	}
	if got := tl.Marshal(ask); !bytes.Equal(got, frame[4:]) || int(binary.LittleEndian.Uint32(frame)) != len(got) {
		t.Error("a request that was read is written otherwise")
	}
	answer := unhex(t, v["response_frame_with_placeholder_quote"])
	got := &tl.PersistentKey{}
	if err := tl.Unmarshal(answer[4:], got); err != nil || hex.EncodeToString(got.EncryptedSecret) != v["encrypted_secret"] {
		t.Errorf("answer: %v", err)
	}
}

// enclave answers requests as the reference's does, on a simulated processor;
// lie may change what it says.
type enclave struct {
	measurement byte // the first of its MRENCLAVE; 0 is 1
	svn         uint16
	edit        func(*insecure.EnclaveDraft)
	lie         func(stated *[64]byte, answer *tl.PersistentKey)
	mangle      func(frame []byte) []byte
	silent      bool
}

func (e *enclave) serve(t *testing.T) *SGX {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "seal")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			stream, err := listener.Accept()
			if err != nil {
				return
			}
			go e.answer(stream)
		}
	}()
	return &SGX{
		Verifier: vendor(t).Verifier(),
		Dial:     Dial(socket),
		Report: func(data [64]byte) ([]byte, error) {
			return append(make([]byte, 128), append(data[:], make([]byte, 832)...)...), nil
		},
		Wanted: [][32]byte{{1}},
		MinSVN: 2,
	}
}

// authority is the vendor of all simulated processors here.
var authority *insecure.Authority

func vendor(t *testing.T) *insecure.Authority {
	if authority == nil {
		var err error
		if authority, err = insecure.NewAuthority(); err != nil {
			t.Fatal(err)
		}
	}
	return authority
}

func (e *enclave) answer(stream net.Conn) {
	defer stream.Close()
	var size [4]byte
	io.ReadFull(stream, size[:])
	frame := make([]byte, binary.LittleEndian.Uint32(size[:]))
	ask := &tl.GetPersistentKey{}
	if _, err := io.ReadFull(stream, frame); err != nil || tl.Unmarshal(frame, ask) != nil {
		return
	}
	if e.silent {
		io.Copy(io.Discard, stream)
		return
	}
	reported, public := bound(ask.PublicKey), ask.PublicKey
	theirs, err := bigPoint(public)
	if err != nil || !bytes.Equal(ask.TdxReport[128:192], reported[:]) {
		return
	}
	ours, _ := ecdh.P256().GenerateKey(rand.Reader)
	cipher, err := wrapping(ours, theirs)
	if err != nil {
		return
	}
	key := sha256.Sum256(ask.KeyName) // no processor here: the name alone
	cipher.XORKeyStream(key[:], key[:])
	secret := append(littlePoint(ours.PublicKey()), key[:]...)
	answer := &tl.PersistentKey{EncryptedSecret: secret}
	first, second := sha256.Sum256(public), sha256.Sum256(secret)
	stated := [64]byte(slices.Concat(first[:], second[:]))
	if e.lie != nil {
		e.lie(&stated, answer)
	}
	if answer.SgxQuote == nil {
		answer.SgxQuote, _ = authority.Enclave([32]byte{max(e.measurement, 1)}, max(e.svn, 2), stated, e.edit)
	}
	body := tl.Marshal(answer)
	out := append(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body...)
	if e.mangle != nil {
		out = e.mangle(out)
	}
	stream.Write(out)
}

func TestKey(t *testing.T) {
	s := (&enclave{}).serve(t)
	for _, name := range []string{"app", "disk_encryption", strings.Repeat("n", 256)} {
		got, err := s.Key(t.Context(), name)
		if want := sha256.Sum256([]byte(name)); err != nil || got != want {
			t.Errorf("%.20s: %x, %v, want %x", name, got, err, want)
		}
	}
	for _, name := range []string{"", strings.Repeat("n", 257)} {
		if _, err := s.Key(t.Context(), name); err == nil {
			t.Errorf("a name of %d bytes was accepted", len(name))
		}
	}
}

func TestKeyRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		enclave enclave
		want    string
	}{
		{"another enclave", enclave{measurement: 2}, "none of the 1 that are wanted"},
		{"an old enclave", enclave{edit: func(d *insecure.EnclaveDraft) { d.About.ISVSVN = 1 }}, "security version 1"},
		{"an enclave of Intel's enemy", enclave{edit: func(d *insecure.EnclaveDraft) { d.Quoting.MRSigner[0]++ }}, "quoting enclave is"},
		{"a debug enclave", enclave{edit: func(d *insecure.EnclaveDraft) { d.About.Attributes[0] |= 2 }}, "debug is"},
		{"a quote that is none", enclave{lie: func(_ *[64]byte, a *tl.PersistentKey) { a.SgxQuote = []byte("quote") }}, "format is"},
		{"no quote", enclave{lie: func(_ *[64]byte, a *tl.PersistentKey) { a.SgxQuote = []byte{} }}, "format is"},
		{"for another request", enclave{lie: func(e *[64]byte, _ *tl.PersistentKey) { e[0] ^= 1 }}, "another request"},
		{"for another secret", enclave{lie: func(e *[64]byte, _ *tl.PersistentKey) { e[63] ^= 1 }}, "another request"},
		{"another key of the enclave", enclave{lie: func(_ *[64]byte, a *tl.PersistentKey) { a.EncryptedSecret[0] ^= 1 }}, "another request"},
		{"a short secret", enclave{lie: func(_ *[64]byte, a *tl.PersistentKey) { a.EncryptedSecret = a.EncryptedSecret[:95] }}, "95 bytes"},
		{"a long secret", enclave{lie: func(_ *[64]byte, a *tl.PersistentKey) { a.EncryptedSecret = append(a.EncryptedSecret, 0) }}, "97 bytes"},
		{"no secret", enclave{lie: func(_ *[64]byte, a *tl.PersistentKey) { a.EncryptedSecret = nil }}, "0 bytes"},
		{"a point off the curve", enclave{lie: offCurve}, "the enclave's key"},
		{"trailing bytes", enclave{mangle: func(f []byte) []byte { f[0] += 4; return append(f, 0, 0, 0, 0) }}, "sealing service"},
		{"another message", enclave{mangle: func(f []byte) []byte { f[4] ^= 1; return f }}, "sealing service"},
		{"a huge frame", enclave{mangle: func(f []byte) []byte { return []byte{255, 255, 255, 255} }}, "a frame of 4294967295 bytes"},
		{"a frame that is a little too large", enclave{mangle: func(f []byte) []byte { return []byte{0x99, 0x40, 0, 0} }}, "a frame of 16537 bytes"},
		{"half a frame", enclave{mangle: func(f []byte) []byte { return f[:20] }}, "EOF"},
		{"no answer", enclave{mangle: func(f []byte) []byte { return nil }}, "no answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if key, err := c.enclave.serve(t).Key(t.Context(), "app"); err == nil || !strings.Contains(err.Error(), c.want) || key != [32]byte{} {
				t.Errorf("%v, want an error with %q and no key", err, c.want)
			}
		})
	}
}

// Who names no enclave believes none.
func TestKeyWithoutWanted(t *testing.T) {
	s := (&enclave{}).serve(t)
	s.Wanted = nil
	if key, err := s.Key(t.Context(), "app"); err == nil || !strings.Contains(err.Error(), "none of the 0") || key != [32]byte{} {
		t.Errorf("%v, want a refusal", err)
	}
}

// offCurve changes the point and vouches for the change, as a service would
// that has an enclave of its own.
func offCurve(stated *[64]byte, a *tl.PersistentKey) {
	a.EncryptedSecret[0] ^= 1
	hash := sha256.Sum256(a.EncryptedSecret)
	copy(stated[32:], hash[:])
}

// A processor that is out of order seals nothing, one that nobody speaks for
// only where that is allowed.
func TestKeyTCB(t *testing.T) {
	s := (&enclave{}).serve(t)
	if err := authority.Publish(insecure.Collateral{TCBStatus: "OutOfDate"}); err != nil {
		t.Fatal(err)
	}
	defer authority.Publish(insecure.Collateral{})
	s.AllowUnknownTCB = true
	if _, err := s.Key(t.Context(), "app"); err == nil || !strings.Contains(err.Error(), "OutOfDate") {
		t.Errorf("out of date: %v", err)
	}
	s.Verifier.TestCollateral = nil
	if _, err := s.Key(t.Context(), "app"); err != nil {
		t.Errorf("unknown, which is allowed: %v", err)
	}
	s.AllowUnknownTCB = false
	if _, err := s.Key(t.Context(), "app"); err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("unknown: %v", err)
	}
}

func TestKeyWithoutGuest(t *testing.T) {
	s := (&enclave{}).serve(t)
	for name, report := range map[string]func([64]byte) ([]byte, error){
		"no report":      func([64]byte) ([]byte, error) { return nil, errors.New("no guest") },
		"a short report": func([64]byte) ([]byte, error) { return make([]byte, 1023), nil },
	} {
		s.Report = report
		if _, err := s.Key(t.Context(), "app"); err == nil || !strings.Contains(err.Error(), "TD report") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Dial = Dial("vsock:2")
	s.Report = func([64]byte) ([]byte, error) { return make([]byte, 1024), nil }
	if _, err := s.Key(t.Context(), "app"); err == nil || !strings.Contains(err.Error(), DefaultService) {
		t.Errorf("%v, want an error that shows how an address looks", err)
	}
}

// A service that never answers is left when the caller's time is over.
func TestKeySilence(t *testing.T) {
	s := (&enclave{silent: true}).serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Key(ctx, "app"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the deadline", err)
	}
}

// A service that is away makes nothing, and is told apart from one that is
// refused: who waits for the one must not wait for the other.
func TestServiceAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sealed.json")
	e := &enclave{}
	s := e.serve(t)
	away := *s
	away.Dial = Dial(filepath.Join(t.TempDir(), "nobody"))
	if _, err := Create(t.Context(), path, &away); !errors.Is(err, ErrAway) {
		t.Errorf("create: %v, want ErrAway", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a store was made: %v", err)
	}
	store, err := Create(t.Context(), path, s)
	if err == nil {
		_, err = store.Secret("wallet", 32)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, &away); !errors.Is(err, ErrAway) || errors.Is(err, ErrSealed) {
		t.Errorf("open: %v, want ErrAway", err)
	}
	unwanted := *s
	unwanted.Wanted = nil
	if _, err := Open(t.Context(), path, &unwanted); err == nil || errors.Is(err, ErrAway) || errors.Is(err, ErrSealed) {
		t.Errorf("an enclave that is not wanted: %v", err)
	}
	again, err := Open(t.Context(), path, s)
	if err != nil || !bytes.Equal(again.Value("wallet"), store.Value("wallet")) {
		t.Errorf("when it is back: %v", err)
	}
}

func TestDerivedKeys(t *testing.T) {
	s := &SNP{Derive: func() ([32]byte, error) { return [32]byte{7}, nil }}
	app, err := s.Key(t.Context(), "app")
	disk, err2 := s.Key(t.Context(), "disk_encryption")
	again, err3 := s.Key(t.Context(), "app")
	if errors.Join(err, err2, err3) != nil || app == disk || app != again || app == [32]byte{7} {
		t.Errorf("%x, %x, %x, %v", app, disk, again, errors.Join(err, err2, err3))
	}
	if _, err := s.Key(t.Context(), ""); err == nil {
		t.Error("no name was accepted")
	}
	if _, err := (&SNP{}).Key(t.Context(), "app"); err == nil || !strings.Contains(err.Error(), "no SEV-SNP guest") {
		t.Skipf("this is a SEV-SNP guest: %v", err)
	}
}
