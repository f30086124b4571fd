package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/node"
)

// A devnet writes settings structs as files for role processes: each of their
// keys must be a setting of the verb that reads them.
func TestEverySettingIsAFlagOrSecret(t *testing.T) {
	for _, c := range []struct {
		verb func() *cobra.Command
		role any
	}{{clientVerb, node.Client{}}, {proxyVerb, node.Proxy{}}, {workerVerb, node.Worker{}}, {keysVerb, node.Keys{}}, {engineVerb, node.Engine{}}} {
		cmd := c.verb()
		for _, key := range keys(reflect.TypeOf(c.role)) {
			name := strings.ReplaceAll(key, "_", "-")
			if cmd.Flags().Lookup(name) == nil && !slices.Contains(secretNames, name) {
				t.Errorf("cocoon %s: %s is no flag", cmd.Name(), key)
			}
		}
	}
}

// keys are the JSON names of a struct, with those of structs inside it.
func keys(s reflect.Type) (names []string) {
	for i := range s.NumField() {
		if f := s.Field(i); f.Anonymous {
			names = append(names, keys(f.Type)...)
		} else {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

func TestFilesOfADevnetAreReadBack(t *testing.T) {
	want := node.Worker{
		Common: node.Common{
			Listen: "127.0.0.1:1", Registry: "r.json", RootAddress: "root", OwnerAddress: "owner", ControlTokenFile: "token",
			Attestation: node.Attestation{SimulatedTDX: "dir", SimulatedImage: "image", Rules: attest.Rules{AllowUnknownTCB: true}},
		},
		Engine: "http://127.0.0.1:2", EngineKey: "hush", Model: "a@b:c", Coefficient: 0, MaxActiveRequests: 7, ProxyConnections: 3, AnyProxyImage: true,
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got node.Worker
	cmd := &cobra.Command{Use: "worker"}
	s := workerSettings(cmd, &got)
	*s.config = filepath.Join(t.TempDir(), "worker.json")
	if err := os.WriteFile(*s.config, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.load(nil).err(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

// Operators bring the files that they have.
func TestReferenceFilesAreUnderstood(t *testing.T) {
	file := func(name string) string { return filepath.Join("testdata", "reference", name+"-config.json") }
	load := func(s *settings, name string) {
		t.Helper()
		*s.config = file(name)
		if err := s.load(nil).err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(s.idle) == 0 {
			t.Errorf("%s: nothing is said about keys without effect", name)
		}
	}
	var c node.Client
	load(clientSettings(&cobra.Command{}, &c), "client")
	if c.Listen != "127.0.0.1:10000" || c.ProxyConnections != 1 || c.Via != "127.0.0.1:8216" || c.OwnerAddress == "" || c.RootAddress == "" {
		t.Errorf("client: %+v", c)
	}
	var p node.Proxy
	load(proxySettings(&cobra.Command{}, &p), "proxy")
	if p.Listen != "127.0.0.1:11000" || p.WorkersRPCPort != 11101 || p.ClientRPCPort != 11102 {
		t.Errorf("proxy: %+v", p)
	}
	var w node.Worker
	load(workerSettings(&cobra.Command{}, &w), "worker")
	if w.Engine != "127.0.0.1:8000" || w.Coefficient != 1000 || w.MaxActiveRequests != 60 || !strings.HasPrefix(w.Model, "Qwen/Qwen3-8B@") {
		t.Errorf("worker: %+v", w)
	}
	// Such a file names the chain, and with it nothing is missing: the
	// proxy's database has its place.
	if p.Data == "" {
		t.Error("the proxy has no data directory")
	}
	for _, r := range []node.Role{&c, &p, &w} {
		if err := r.Check(); err != nil {
			t.Errorf("%T: %v", r, err)
		}
	}
}
