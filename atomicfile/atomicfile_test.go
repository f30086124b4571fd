package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

func is(t *testing.T, path, want string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm() != mode && runtime.GOOS != "windows" {
		t.Errorf("mode %04o, want %04o", info.Mode().Perm(), mode)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for i, mode := range []fs.FileMode{0o600, 0o644, 0o600} {
		want := fmt.Sprint("content ", i)
		if err := Replace(path, []byte(want), mode); err != nil {
			t.Fatal(err)
		}
		is(t, path, want, mode)
	}
}

// What stands in the way stays as it is, and nothing is left behind.
func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := Create(path, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("second"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v, want ErrExist", err)
	}
	is(t, path, "first", 0o600)
	if err := Replace(filepath.Join(dir, "none", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v, want ErrNotExist", err)
	}
	if err := Replace(dir, []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if err := SyncDir(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncDir of nothing: %v", err)
	}
}

// One of many wins, and what the file says is his whole.
func TestCreateOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var wins [8]bool
	var all sync.WaitGroup
	for i := range wins {
		all.Go(func() {
			err := Create(path, fmt.Append(nil, "of ", i), 0o600)
			if wins[i] = err == nil; err != nil && !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	won := -1
	for i, w := range wins {
		if w && won >= 0 {
			t.Errorf("%d and %d both won", won, i)
		} else if w {
			won = i
		}
	}
	is(t, path, fmt.Sprint("of ", won), 0o600)
}
