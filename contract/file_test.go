package contract

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xssnick/tonutils-go/tvm/cell"
)

func TestRecordedRegistry(t *testing.T) {
	r := recorded(t)
	if !r.IsTest || r.StructVersion != 1 || r.UniqueID != 13 || r.ProxyDelay != 600 || r.ClientDelay != 300 || r.MinClientStake != Ton || r.MinProxyStake != Ton || r.Multipliers.Prompt != 10000 {
		t.Errorf("fixed values: %+v", r)
	}
	if r.PricePerToken != 2 || r.WorkerFeePerToken != 1 || r.Version != 3 || r.ParamsVersion != 1 || r.LastProxySeqno != 1 {
		t.Errorf("numbers: %+v", r)
	}
	want := ProxyEntry{1, netip.MustParseAddrPort("127.0.0.1:11001"), netip.MustParseAddrPort("127.0.0.1:11002")}
	if len(r.Proxies) != 1 || r.Proxies[0] != want {
		t.Errorf("proxies %v, want %v", r.Proxies, want)
	}
	if len(r.ProxyImages) != 1 || len(r.WorkerImages) != 1 || len(r.Models) != 0 {
		t.Errorf("%d proxy, %d worker images, %d models", len(r.ProxyImages), len(r.WorkerImages), len(r.Models))
	}
}

func TestLenient(t *testing.T) {
	r, unknown, err := Parse([]byte(`{"version":"7","params_version":true,"price_per_token":null,"model_types":["a@b","c"],"@type":"rootConfig.pseudo","prise":1,
		"registered_public_keys":[{"public_key":"+2fQ/M0zjyDg1JV9noKtwQHS41E6RIo6tGBS7huIxYE=","key_type":"1","expire_at":2000000000}],
		"registered_proxies":[{"seqno":"2","address":"[1.2.3.4:5]"}],"key_manager_address":"10.0.0.3:13001",
		"root_owner_address":"0:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"}`))
	if err != nil {
		t.Fatal(err)
	}
	if r.Version != 7 || r.ParamsVersion != 1 || r.Proxies[0].Seqno != 2 || r.KeyManager != "10.0.0.3:13001" {
		t.Errorf("%+v", r)
	}
	if k := r.PublicKeys[0]; len(k.Key) != ed25519.PublicKeySize || k.Type != 1 || k.ExpireAt != 2000000000 {
		t.Errorf("%+v", k)
	}
	if !r.AllowsModel("a") || !r.AllowsModel("c") || r.AllowsModel("a@b") {
		t.Error("model_types admits the wrong models")
	}
	if len(unknown) != 1 || unknown[0] != "prise" {
		t.Errorf("unknown %q", unknown)
	}
}

func TestParseRefusals(t *testing.T) {
	const owner = `"root_owner_address":"0:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"`
	for text, want := range map[string]string{
		`[]`: "want a JSON object", `null`: "want a JSON object", ``: "want a JSON object", `{`: "want a JSON object",
		`{}`:                                                       "root_owner_address",
		`{"root_owner_address":"EQ"}`:                              `root_owner_address: address "EQ"`,
		`{"version":-1,` + owner + `}`:                             "version: got -1, want an integer from 0 to 2147483647",
		`{"version":1.5,` + owner + `}`:                            "version: got 1.5",
		`{"version":2147483648,` + owner + `}`:                     "version: got 2147483648",
		`{"version":{},` + owner + `}`:                             "version: got {}",
		`{"proxy_hashes":["AA=="],` + owner + `}`:                  `proxy_hashes: got "AA==", want base64 of 32 bytes`,
		`{"proxy_hashes":"AA==",` + owner + `}`:                    "proxy_hashes: got a JSON string",
		`{"worker_hashes":[7],` + owner + `}`:                      "worker_hashes: got 7",
		`{"registered_proxies":[{"address":"a:1"}],` + owner + `}`: "registered_proxies[0].address",
		`{"registered_public_keys":[{"public_key":"","key_type":1}],` + owner + `}`: "registered_public_keys",
		`{"proxy_sc_code":"zz",` + owner + `}`:                                      "proxy_sc_code",
		`{"client_sc_code":"b5ee9c72",` + owner + `}`:                               "client_sc_code",
		`{"key_manager_address":"here",` + owner + `}`:                              "key_manager_address",
		`{"price_per_token":1,"worker_fee_per_token":2,` + owner + `}`:              "worker fee is 2",
		`{"version":"x","params_version":"y",` + owner + `}`:                        "params_version",
	} {
		if _, _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestWriteAndReadBack(t *testing.T) {
	r := recorded(t)
	r.Models[ModelHash("m@c:h")] = struct{}{}
	r.PublicKeys = []PublicKey{{public(seed(3)), 1, 2000000000}}
	r.KeyManager = "10.0.0.3:13001"
	path := filepath.Join(t.TempDir(), "root.json")
	if err := WriteFile(path, r); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := f.Root()
	if got.Owner.String() != r.Owner.String() || got.Version != r.Version || got.PricePerToken != r.PricePerToken ||
		len(got.Proxies) != 1 || got.Proxies[0] != r.Proxies[0] || !got.AllowsModel("m@c:h") || got.KeyManager != r.KeyManager ||
		!got.PublicKeys[0].Key.Equal(r.PublicKeys[0].Key) || len(got.WorkerImages) != 1 || len(got.ProxyImages) != 1 {
		t.Errorf("read back %+v, want %+v", got, r)
	}
	for _, c := range [][2]*cell.Cell{{got.ProxyCode, r.ProxyCode}, {got.WorkerCode, r.WorkerCode}, {got.ClientCode, r.ClientCode}} {
		if !bytes.Equal(c[0].Hash(), c[1].Hash()) {
			t.Error("a code cell changed on the way")
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%d files left, want 1 (%v)", len(entries), err)
	}
	r.WorkerFeePerToken = r.PricePerToken + 1
	if err := WriteFile(path, r); err == nil {
		t.Error("a fee above the price was written")
	}
}

// Good new content wakes those who wait; bad or older content changes nothing.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.json")
	r := recorded(t)
	if err := WriteFile(path, r); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	f, err := OpenFile(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what, want string) {
		t.Helper()
		changed := f.Changed()
		err := f.Reload()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
		if f.Root().Version != 3 {
			t.Errorf("%s replaced the snapshot", what)
		}
		select {
		case <-changed:
			t.Errorf("%s woke those who wait", what)
		default:
		}
		if err := f.Reload(); err != nil {
			t.Errorf("%s is reported twice: %v", what, err)
		}
	}
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte(`{"version": 4`))
	refused("half a file", "want a JSON object")
	os.Remove(path)
	refused("no file", "no such file")
	r.Version = 2
	if err := WriteFile(path, r); err != nil {
		t.Fatal(err)
	}
	refused("an older version", "version is 2, want at least 3")
	r.Version, r.ParamsVersion = 9, 0
	if err := WriteFile(path, r); err != nil {
		t.Fatal(err)
	}
	refused("older parameters", "params_version is 0, want at least 1")

	changed := f.Changed()
	r.Version, r.ParamsVersion = 4, 1
	if err := WriteFile(path, r); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was woken")
	}
	if f.Root().Version != 4 {
		t.Errorf("version %d, want 4", f.Root().Version)
	}
}

func TestRunWatchesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.json")
	r := recorded(t)
	if err := WriteFile(path, r); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		f, err := OpenFile(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx, 0) }()
		changed := f.Changed()
		r.Version = 8
		if err := WriteFile(path, r); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Error("no change seen within a minute")
		}
		stop()
		if err := <-done; err != nil || f.Root().Version != 8 {
			t.Errorf("version %d, %v", f.Root().Version, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("testdata/recorded_registry.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"version":"1","registered_proxies":[{"seqno":1,"address":"1.2.3.4:5"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, _, err := Parse(data); err == nil && r.Check() != nil {
			t.Errorf("accepted an unusable registry: %v", r.Check())
		}
	})
}

// The names are those that operators know.
func TestRootJSON(t *testing.T) {
	text, err := json.Marshal(recorded(t))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got["owner_address"] != "0QBgPMq7ye2WRcudRHK_-yjHwMXjeN-UCzAuoo06TR6hmgHV" || got["price_per_token"] != 2.0 || got["cached_tokens_price_multiplier"] != 10000.0 {
		t.Errorf("%s", text)
	}
	want := map[string]any{"seqno": 1.0, "address_for_clients": "[127.0.0.1:11002]", "address_for_workers": "[127.0.0.1:11001]"}
	if p := got["registered_proxies"].([]any); len(p) != 1 || !reflect.DeepEqual(p[0], want) {
		t.Errorf("proxies %v, want %v", p, want)
	}
	if hash := got["worker_hashes"].([]any)[0].(string); hash != strings.ToUpper(hash) || len(hash) != 64 {
		t.Errorf("worker hash %s, want 64 digits of upper-case hex", hash)
	}
}
