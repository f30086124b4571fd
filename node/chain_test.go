package node

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xssnick/tonutils-go/liteclient"
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
		key, err := os.ReadFile(filepath.Join(s.Dir, FaucetFile))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, string(key))
	}
	if seed, err := hex.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(seed) != 32 || keys[0] != keys[1] {
		t.Errorf("faucet keys differ between two runs of one chain, or are malformed: %v", err)
	}
}
