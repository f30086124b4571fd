package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/liteclient"

	"github.com/opencocoon/cocoon/wallet"
)

func TestChainSettings(t *testing.T) {
	good := Chain{Listen: "127.0.0.1:0", GlobalConfig: "global.config.json"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	bad := Chain{Listen: "[::1]:0", Interval: -1}
	err := bad.Check()
	for _, want := range []string{"listen", "global_config", "interval"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check() = %v, want a word on %s", err, want)
		}
	}
}

// The chain announces itself by its files, and the same chain is there again
// after a restart.
func TestChainRuns(t *testing.T) {
	dir := t.TempDir()
	s := &Chain{Listen: "127.0.0.1:0", Dir: filepath.Join(dir, "chain"), GlobalConfig: filepath.Join(dir, "global.config.json")}
	var keys []string
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		err := s.Run(ctx, Env{Ready: func(string) {
			cfg, err := liteclient.GetConfigFromFile(s.GlobalConfig)
			if err != nil || len(cfg.Liteservers) != 1 {
				t.Errorf("configuration: %v, %+v", err, cfg)
			}
			cancel()
		}})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		file, err := wallet.LoadKeyFile(filepath.Join(s.Dir, FaucetFile), nil)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, file.Key.Seed())
	}
	if keys[0] != keys[1] {
		t.Error("the faucet's key differs between two runs of one chain")
	}
}

// A chain in memory is another each time, and so is its faucet.
func TestChainInMemoryHasItsOwnFaucet(t *testing.T) {
	s := &Chain{Listen: "127.0.0.1:0", GlobalConfig: filepath.Join(t.TempDir(), "global.config.json")}
	key := filepath.Join(filepath.Dir(s.GlobalConfig), FaucetFile)
	if err := os.WriteFile(key, []byte("of another time"), 0o644); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		err := s.Run(ctx, Env{Ready: func(string) {
			file, err := wallet.LoadKeyFile(key, nil)
			if err != nil {
				t.Error(err)
			} else {
				seen[file.Key.Seed()] = true
			}
			cancel()
		}})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 2 {
		t.Errorf("two chains have %d faucets, want 2", len(seen))
	}
}
