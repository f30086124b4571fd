package devnet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/engine/enginetest"
)

func TestStartSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	engine := enginetest.New(t, enginetest.Fast()).URL
	for _, c := range []struct {
		name string
		c    Config
		want string
	}{
		{"listen", Config{Listen: "nonsense", Engine: engine}, "want host:port"},
		{"taken", Config{Listen: taken.Addr().String(), Engine: engine}, taken.Addr().String() + " is taken by another program"},
		{"engine", Config{Engine: "http://127.0.0.1:1"}, "leave --engine out"},
		{"engine's model", Config{Engine: engine, Model: "nobody"}, `serves [fake/model], not "nobody"`},
		{"model", Config{Engine: EngineBuiltin, Model: "nobody"}, `not "nobody"`},
		{"too many", Config{Workers: 1000}, "at most 64"},
		{"directory", Config{Engine: engine, Data: "/proc/nonsense"}, "/proc/nonsense"},
	} {
		if n, err := Start(t.Context(), c.c); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
			if err == nil {
				n.Stop()
			}
		}
	}
}

func TestStartCanBeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := Config{Listen: "127.0.0.1:0", Engine: enginetest.New(t, enginetest.Fast()).URL}
	c.Progress = func(string) { cancel() } // at the first step
	if _, err := Start(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
}

// A directory can be used again, and keeps its vendor of machines: peers of
// the last run would still believe those of this one.
func TestDirectoryIsUsedAgain(t *testing.T) {
	dir := t.TempDir()
	engine := enginetest.New(t, enginetest.Fast()).URL
	var roots [2]string
	for i := range roots {
		n, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Engine: engine, Data: dir})
		if err != nil {
			t.Fatal(err)
		}
		info, err := ReadInfo(dir)
		if want := "fake/model@unpinned:" + strings.Repeat("0", 64); info.FullModel != want {
			t.Errorf("the model of a foreign engine is %s, want %s", info.FullModel, want)
		}
		if err != nil || info.BaseURL != n.Info().BaseURL {
			t.Errorf("network.json: %+v, %v", info, err)
		}
		b, err := os.ReadFile(info.TestRoot)
		if err != nil {
			t.Fatal(err)
		}
		roots[i] = string(b)
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := n.Stop(); err != nil {
			t.Errorf("stopping again: %v", err)
		}
	}
	if roots[0] != roots[1] {
		t.Error("the second run made another test root")
	}
}

func TestTemporaryDirectoryIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	n, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Engine: enginetest.New(t, enginetest.Fast()).URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(n.Info().Data, InfoFile)); err != nil {
		t.Error(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestFilesOfSecretsAreTheOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	n, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Engine: enginetest.New(t, enginetest.Fast()).URL, Data: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Stop()
	for _, name := range []string{tokenFile, authorityDir, configDir, logDir, InfoFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %o, want nothing for others", name, mode)
		}
	}
}

// The built-in engine's model is named by the file that is really served.
func TestBuiltinModelIsPinned(t *testing.T) {
	file, err := os.ReadFile("../engine/builtin/cocoon-demo-3m.gguf")
	if err != nil {
		t.Fatal(err)
	}
	var n Network
	n.config.Progress = func(string) {}
	if _, err := n.planEngine(&plan{}, EngineBuiltin); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(file))
	if want := n.info.Model + "@" + sum[:12] + ":" + sum; n.info.FullModel != want {
		t.Errorf("got %s, want %s", n.info.FullModel, want)
	}
}

// Cores are shared out, and everybody has at least one.
func TestShareOfCores(t *testing.T) {
	all := runtime.GOMAXPROCS(0)
	for roles, want := range map[int]int{0: all, 1: all, all: 1, 3*all + 1: 1} {
		if got := shareOfCores(roles); got != want {
			t.Errorf("%d roles on %d cores: %d each, want %d", roles, all, got, want)
		}
	}
}
