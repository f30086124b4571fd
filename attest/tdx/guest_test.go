package tdx

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path"
	"strings"
	"testing"
)

// kernel plays the report interface of a guest: writing inblob raises the
// generation, outblob is a function of it.
type kernel struct {
	provider string
	files    map[string][]byte
	fail     error
	removed  int
}

func (k *kernel) MkdirTemp(dir, _ string) (string, error) {
	k.files = map[string][]byte{"generation": []byte("0\n"), "provider": []byte(k.provider + "\n")}
	return path.Join(dir, "entry1"), k.fail
}

func (k *kernel) ReadFile(name string) ([]byte, error) {
	b, ok := k.files[path.Base(name)]
	if !ok {
		return nil, os.ErrNotExist
	}
	return b, nil
}

func (k *kernel) WriteFile(name string, b []byte) error {
	k.files[path.Base(name)] = b
	k.files["generation"] = []byte("1\n")
	k.files["outblob"] = append([]byte("quote of "), b...)
	return nil
}

func (k *kernel) RemoveAll(string) error                { k.removed++; return nil }
func (k *kernel) ReadDir(string) ([]os.DirEntry, error) { return nil, nil }

func TestGuestQuote(t *testing.T) {
	k := &kernel{provider: "tdx_guest"}
	data := [64]byte{1, 2, 3}
	got, err := (&Guest{tsm: k}).Quote(t.Context(), data)
	if err != nil || !bytes.Equal(got, append([]byte("quote of "), data[:]...)) {
		t.Errorf("%q, %v", got, err)
	}
	if k.removed != 1 {
		t.Errorf("%d entries removed, want the one that was made", k.removed)
	}
}

func TestGuestRefuses(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		name string
		ctx  context.Context
		k    *kernel
		want string
	}{
		{"another vendor's guest", t.Context(), &kernel{provider: "sev_guest"}, `provider is "sev_guest"`},
		{"a kernel that fails", t.Context(), &kernel{provider: "tdx_guest", fail: errors.New("busy")}, "busy"},
		{"a caller that left", ended, &kernel{provider: "tdx_guest"}, "canceled"},
	} {
		if _, err := (&Guest{tsm: c.k}).Quote(c.ctx, [64]byte{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestProvider(t *testing.T) {
	k := &kernel{provider: "tdx_guest"}
	if !providerIs(k, provider) || providerIs(&kernel{provider: "sev_guest"}, provider) || providerIs(&kernel{fail: errors.New("busy")}, provider) {
		t.Error("the kernel's provider is not told apart")
	}
	if k.removed != 1 {
		t.Errorf("%d entries removed, want the one that was made", k.removed)
	}
}

func TestNoGuestHere(t *testing.T) {
	_, noDevice := os.Stat(devicePath)
	if _, err := os.Stat("/sys/kernel/config/tsm/report"); err == nil || noDevice == nil {
		t.Skip("this machine is a guest")
	}
	if _, err := NewGuest(); !errors.Is(err, ErrNotGuest) {
		t.Errorf("error %v, want ErrNotGuest", err)
	}
}
