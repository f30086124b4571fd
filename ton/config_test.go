package ton

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	someKey  = "n4VDnSCUuSpjnCyUk9e3QOOd6o0ItSWYbTnW3Wnn8wk="
	someHash = "F6OpKZKqvqeFp6CQmFomXNMfMj2EnaUSOXN+Mh+wVWk="
)

// globalConfig has the shape of the main network's; its parts can be replaced.
const globalConfig = `{
	"@type": "config.global",
	"dht": {"@type": "dht.config.global", "k": 6, "a": 3, "static_nodes": {"@type": "dht.nodes", "nodes": []}},
	"liteservers": [
		{"ip": -2018135749, "port": 53312, "id": {"@type": "pub.ed25519", "key": "` + someKey + `"}},
		{"ip": 2130706433, "port": 4443, "id": {"@type": "pub.ed25519", "key": "` + someKey + `"}},
		{"ip": 2130706433, "port": 4443, "id": {"@type": "pub.ed25519", "key": "` + someKey + `"}}
	],
	"validator": {
		"@type": "validator.config.global",
		"zero_state": {"workchain": -1, "shard": -9223372036854775808, "seqno": 0, "root_hash": "` + someHash + `", "file_hash": "` + someHash + `"},
		"init_block": {"workchain": -1, "shard": -9223372036854775808, "seqno": 45968221, "root_hash": "` + someHash + `", "file_hash": "` + someHash + `"},
		"hardforks": []
	}
}`

func TestParseNetwork(t *testing.T) {
	n, err := ParseNetwork([]byte(globalConfig))
	if err != nil {
		t.Fatal(err)
	}
	if len(n.Servers) != 2 || n.Servers[0].String() != "135.181.177.59:53312" || n.Servers[1].String() != "127.0.0.1:4443" {
		t.Errorf("servers = %v, want two, the double once", n.Servers)
	}
	if n.Init.SeqNo != 45968221 || n.Zero.SeqNo != 0 || len(n.Init.RootHash) != 32 {
		t.Errorf("blocks = %+v, %+v", n.Init, n.Zero)
	}
}

func TestBadNetworks(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"no JSON":           {globalConfig, "hello", "not a global.config.json"},
		"empty":             {globalConfig, "", "not a global.config.json"},
		"cut off":           {`"hardforks": []`, "", "not a global.config.json"},
		"another file":      {globalConfig, `{"name": "cocoon"}`, "no liteservers"},
		"key too short":     {someKey, "AAAA", "liteserver 0: its key is not 32 bytes"},
		"key not base64":    {someKey, "***", "not 32 bytes in base64"},
		"key of other kind": {"pub.ed25519", "pub.aes", `"pub.aes", want pub.ed25519`},
		"port zero":         {"53312", "0", "liteserver 0: port 0"},
		"port too high":     {"53312", "70000", "port 70000"},
		"ip too large":      {"-2018135749", "99999999999", "ip 99999999999"},
		"ip as text":        {"-2018135749", `"1.2.3.4"`, "not a global.config.json"},
		"short hash":        {someHash, "AAAA", "hashes of 3 and 3 bytes"},
		"no blocks":         {`"zero_state"`, `"zero_skate"`, "validator.zero_state"},
		"basechain block":   {`"workchain": -1`, `"workchain": 0`, "workchain 0"},
	} {
		_, err := ParseNetwork([]byte(strings.ReplaceAll(globalConfig, test.old, test.new)))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, test.want)
		}
	}
	// All problems are told at once.
	both := strings.NewReplacer("53312", "0", `"zero_state"`, `"x"`).Replace(globalConfig)
	if _, err := ParseNetwork([]byte(both)); err == nil || !strings.Contains(err.Error(), "port 0") || !strings.Contains(err.Error(), "zero_state") {
		t.Errorf("two problems: %v", err)
	}
}

func TestReadNetwork(t *testing.T) {
	path := filepath.Join(t.TempDir(), "global.config.json")
	if _, err := ReadNetwork(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("no file: %v", err)
	}
	if _, err := ReadNetwork(""); err == nil {
		t.Error("no path: no error")
	}
	if err := os.WriteFile(path, []byte(strings.Repeat(" ", maxConfig+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadNetwork(path); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a huge file: %v", err)
	}
}

func TestConfig(t *testing.T) {
	n, err := ParseNetwork([]byte(globalConfig))
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Network: n}
	if err := cfg.fill(); err != nil {
		t.Fatal(err)
	}
	if cfg.Rate == 0 || cfg.Burst == 0 || cfg.Pace == 0 || cfg.MaxAge == 0 || cfg.Deadline < cfg.Timeout || cfg.Timeout == 0 || cfg.InsecureUnsigned {
		t.Errorf("defaults = %+v: a public network is asked gently and believed by signatures only", cfg)
	}
	local := *n
	local.Servers = n.Servers[1:]
	cfg = Config{Network: &local}
	if err := cfg.fill(); err != nil || cfg.Rate != 0 || cfg.Pace != 0 {
		t.Errorf("a server on this machine: rate %v, pace %v, %v; want no limit", cfg.Rate, cfg.Pace, err)
	}
	for name, bad := range map[string]Config{
		"Timeout": {Network: n, Timeout: -time.Second}, "MaxAge": {Network: n, MaxAge: -1}, "Rate": {Network: n, Rate: -1}, "Burst": {Network: n, Burst: -1},
	} {
		if err := bad.fill(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("negative %s: %v", name, err)
		}
	}
}

// Whatever the file holds, it is refused or gives a network that can be used.
func FuzzParseNetwork(f *testing.F) {
	f.Add([]byte(globalConfig))
	f.Add([]byte(`{"liteservers":[{}],"validator":{}}`))
	f.Add([]byte(`{"liteservers":null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := ParseNetwork(text)
		if err != nil {
			if n != nil || strings.TrimSpace(err.Error()) == "" {
				t.Errorf("%v with %+v", err, n)
			}
			return
		}
		if len(n.Servers) == 0 || !json.Valid(text) || len(n.Zero.RootHash) != 32 || len(n.Init.FileHash) != 32 {
			t.Errorf("accepted: %+v", n)
		}
		for _, s := range n.Servers {
			if !s.Addr.IsValid() || s.Addr.Port() == 0 {
				t.Errorf("server %v", s)
			}
		}
		cfg := Config{Network: n, InsecureUnsigned: true}
		if err := cfg.fill(); err != nil {
			t.Error(err)
		}
	})
}

func TestExitCodesInWords(t *testing.T) {
	for text, want := range map[string]int32{
		"cannot apply external message to current state : External message was not accepted\nCannot run message on account: inbound external message rejected by transaction AB12:\nexitcode=33, steps=22, gas_used=0\nVM Log (truncated):": 33,
		"the contract ended with exit code -14 before accepting it": -14,
	} {
		if e := refused(text); !e.Ran || e.ExitCode != want {
			t.Errorf("%q = %+v, want exit code %d", text, e, want)
		}
	}
	if e := refused("Failed to unpack account state"); e.Ran || e.Reason == "" || strings.Contains(refused(strings.Repeat("long ", 1000)).Error(), strings.Repeat("long ", 100)) {
		t.Errorf("without a code: %+v", e)
	}
}
