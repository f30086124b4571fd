package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/seal"
)

// Whoever has the store open loses nothing of what others write to it.
func TestStoreIsShared(t *testing.T) {
	a := authority(t)
	path := filepath.Join(t.TempDir(), "sealed.json")
	one := open(t, path, a.Sealing("proxy 1"))
	two := open(t, path, a.Sealing("proxy 1"))
	if x, y := secret(t, one, "wallet"), secret(t, two, "wallet"); !bytes.Equal(x, y) {
		t.Error("two made two secrets of one name")
	}
	if err := errors.Join(one.Replace("keys", []byte("1")), two.Replace("more", []byte("2")), one.Replace("keys", []byte("3"))); err != nil {
		t.Fatal(err)
	}
	again := open(t, path, a.Sealing("proxy 1"))
	if got := again.Names(); !slices.Equal(got, []string{"keys", "more", "wallet"}) || string(again.Value("keys")) != "3" {
		t.Errorf("%v, keys %q", got, again.Value("keys"))
	}
	if again.Value("none") != nil {
		t.Error("a value of nothing")
	}
	value := again.Value("keys")
	value[0] = 'x'
	if string(again.Value("keys")) != "3" {
		t.Error("a caller's copy is the store's")
	}
}

// A slot that is added while the store is open stays.
func TestHandOverBesideARunningNode(t *testing.T) {
	u := newUpgrade(t)
	g := u.grant(t, u.ask(t, newImage))
	if _, err := seal.Accept(t.Context(), u.path, g, seal.Named(u.new.Sealing(newImage), "ab\x1b[31mcd"), u.policy, u.now); err != nil {
		t.Fatal(err)
	}
	want := secret(t, u.store, "made later")
	if got := secret(t, open(t, u.path, u.new.Sealing(newImage)), "made later"); !bytes.Equal(got, want) {
		t.Error("the new image finds another secret")
	}
	info, err := seal.Inspect(u.path)
	if err != nil || info.ID != u.store.ID() || len(info.Slots) != 2 || info.Slots[1].Image != "ab[31mcd" || !strings.Contains(info.Slots[1].Binding, newImage) || !info.Slots[1].Made.Equal(u.now.UTC().Truncate(time.Second)) {
		t.Errorf("%+v, %v", info, err)
	}
	// And once more, which does not add a second one.
	if _, err := seal.Accept(t.Context(), u.path, g, u.new.Sealing(newImage), u.policy, u.now); err != nil {
		t.Fatal(err)
	}
	if info, _ := seal.Inspect(u.path); len(info.Slots) != 2 {
		t.Errorf("%d slots, want 2", len(info.Slots))
	}
}

func TestForget(t *testing.T) {
	u := newUpgrade(t)
	g := u.grant(t, u.ask(t, newImage))
	if _, err := seal.Accept(t.Context(), u.path, g, u.new.Sealing(newImage), u.policy, u.now); err != nil {
		t.Fatal(err)
	}
	taken, another := open(t, u.path, u.new.Sealing(newImage)), open(t, u.path, u.new.Sealing(newImage))
	want := secret(t, taken, "wallet")
	if gone, err := taken.Forget(); err != nil || gone != 1 {
		t.Fatalf("%d, %v, want 1 slot gone", gone, err)
	}
	var sealed *seal.SealedError
	if _, err := seal.Open(t.Context(), u.path, u.old.Sealing(oldImage)); !errors.Is(err, seal.ErrSealed) || !errors.As(err, &sealed) || len(sealed.Info.Slots) != 1 {
		t.Errorf("the old image: %v, want ErrSealed", err)
	}
	if err := u.store.Replace("keys", []byte("of the old image")); !errors.Is(err, seal.ErrSealed) {
		t.Errorf("the old image writes: %v, want ErrSealed", err)
	}
	// The same image in another process finds the new master key by itself.
	if err := another.Replace("keys", []byte("1")); err != nil {
		t.Error(err)
	}
	if got := secret(t, open(t, u.path, u.new.Sealing(newImage)), "wallet"); !bytes.Equal(got, want) {
		t.Error("another secret")
	}
	if _, err := seal.Accept(t.Context(), u.path, g, u.new.Sealing(newImage), u.policy, u.now); !errors.Is(err, seal.ErrRefused) || !strings.Contains(err.Error(), "ask again") {
		t.Errorf("an old grant: %v, want a refusal", err)
	}
}

// What the host does to the file while the store is open.
func TestHostChangesTheFile(t *testing.T) {
	a := authority(t)
	path := filepath.Join(t.TempDir(), "sealed.json")
	s := open(t, path, a.Sealing("proxy 1"))
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := secret(t, s, "wallet")
	for name, file := range map[string][]byte{"deleted": nil, "brought back": old} {
		os.Remove(path)
		if file != nil {
			os.WriteFile(path, file, 0o600)
		}
		if err := s.Replace("keys", []byte(name)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := secret(t, open(t, path, a.Sealing("proxy 1")), "wallet"); !bytes.Equal(got, want) {
			t.Errorf("%s: another secret", name)
		}
	}
	other := filepath.Join(t.TempDir(), "sealed.json")
	open(t, other, a.Sealing("proxy 1"))
	text, _ := os.ReadFile(other)
	for name, file := range map[string]struct{ text, want string }{
		"another store": {string(text), "another in its place"},
		"garbage":       {"{", "unexpected end"},
	} {
		os.WriteFile(path, []byte(file.text), 0o600)
		if err := s.Replace("keys", []byte("x")); err == nil || !strings.Contains(err.Error(), file.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, file.want)
		}
		if now, _ := os.ReadFile(path); string(now) != file.text {
			t.Errorf("%s was overwritten", name)
		}
		if string(s.Value("keys")) == "x" {
			t.Errorf("%s: what was not stored is told", name)
		}
	}
}

func TestCreateAndOpen(t *testing.T) {
	a := authority(t)
	path := filepath.Join(t.TempDir(), "sealed.json")
	if _, err := seal.Open(t.Context(), path, a.Sealing("proxy 1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want fs.ErrNotExist", err)
	}
	open(t, path, a.Sealing("proxy 1"))
	if _, err := seal.Create(t.Context(), path, a.Sealing("proxy 2")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v, want fs.ErrExist", err)
	}
}

// What nobody could read back is not written.
func TestStoreFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sealed.json")
	source := authority(t).Sealing("proxy 1")
	s := open(t, path, source)
	want := secret(t, s, "wallet")
	if err := s.Replace("keys", make([]byte, 1<<20)); err == nil {
		t.Error("a megabyte was stored")
	}
	if got := secret(t, open(t, path, source), "wallet"); !bytes.Equal(got, want) {
		t.Error("another secret")
	}
}

// The names of images in a file are not a way to a person's terminal.
func TestInspectCleans(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sealed.json")
	open(t, path, authority(t).Sealing("proxy 1"))
	text, _ := os.ReadFile(path)
	var file map[string]any
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	slot := file["slots"].([]any)[0].(map[string]any)
	slot["image"], slot["binding"] = strings.Repeat("a\x07", 1000), "x\n\x1b]0;y"
	text, _ = json.Marshal(file)
	os.WriteFile(path, text, 0o600)
	info, err := seal.Inspect(path)
	if err != nil || info.Slots[0].Image != strings.Repeat("a", 100) || info.Slots[0].Binding != "x]0;y" {
		t.Errorf("%+v, %v", info, err)
	}
}

var _ seal.Source = (*insecure.Sealing)(nil)
