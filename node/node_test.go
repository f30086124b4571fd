package node

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/model"
)

const (
	owner = "UQAuz15H1ZHrZ_psVrAra7HealMIVeFq0wguqlmFno1f3B-m"
	root  = "EQBT4hy4vMEZ9uxSCuhw_gBKh9_AwmHXLe7Wo0O4Vh-4kRjJ"
)

func common() Common {
	return Common{Listen: "127.0.0.1:0", Registry: "registry.json", RootAddress: root, OwnerAddress: owner}
}

// onChain is a network with a chain.
func onChain(c *Common) { c.Registry, c.TONConfig = "", "global.config.json" }

func goodClient() *Client { return &Client{Common: common()} }
func goodProxy() *Proxy   { return &Proxy{Common: common(), WorkersListen: ":1", ClientsListen: ":2"} }
func goodWorker() *Worker {
	return &Worker{Common: common(), Engine: "127.0.0.1:8000", Model: "a@b:c"}
}

func goodKeys() *Keys { return &Keys{Common: common(), KeysListen: ":3", Data: "d"} }

func TestGoodSettings(t *testing.T) {
	for _, r := range []Role{goodClient(), goodProxy(), goodWorker(), goodKeys(), &Engine{Listen: "127.0.0.1:0"}} {
		if err := r.Check(); err != nil {
			t.Errorf("%T: %v", r, err)
		}
	}
}

func TestRefusedSettings(t *testing.T) {
	client := func(change func(*Client)) Role { c := goodClient(); change(c); return c }
	proxy := func(change func(*Proxy)) Role { c := goodProxy(); change(c); return c }
	keyManager := func(change func(*Keys)) Role { k := goodKeys(); change(k); return k }
	worker := func(change func(*Worker)) Role { c := goodWorker(); change(c); return c }
	for _, c := range []struct {
		role Role
		want string
	}{
		{client(func(c *Client) { c.Registry = "" }), "ton_config or, without a chain, registry"},
		{client(func(c *Client) { c.Listen = "10000" }), "listen"},
		{client(func(c *Client) { c.OwnerAddress = "" }), "owner_address: missing"},
		{client(func(c *Client) { c.RootAddress = "EQ" }), "root_contract_address: "},
		{client(func(c *Client) { c.WalletAddress = "x" }), "node_wallet_address"},
		{client(func(c *Client) { c.Via = "router" }), "connect_to_proxy_via"},
		{client(func(c *Client) { c.Timeout = -1 }), "cannot be negative"},
		{client(func(c *Client) { c.Encryption = "yes" }), "encryption"},
		{client(func(c *Client) { c.Fake, c.NoAttestation = true, true }), "exclude each other"},
		{client(func(c *Client) { c.SimulatedImage = "x" }), "needs insecure_simulated_tdx"},
		{proxy(func(c *Proxy) { c.WorkersListen = "" }), "workers_listen or, behind a router, workers_rpc_port"},
		{proxy(func(c *Proxy) { c.ClientRPCPort = 5 }), "clients_listen or"},
		{proxy(func(c *Proxy) { c.ClientsListen, c.ClientRPCPort = "", 70000 }), "client_rpc_port 70000"},
		{proxy(func(c *Proxy) { c.ClientsListen = "x" }), "clients_listen"},
		{proxy(func(c *Proxy) { c.Difficulty = 65 }), "pow_difficulty"},
		{proxy(func(c *Proxy) { c.QueueWait = -1 }), "queue_wait"},
		{proxy(func(c *Proxy) { onChain(&c.Common) }), "data: missing: with ton_config a proxy settles"},
		{proxy(func(c *Proxy) { onChain(&c.Common); c.ChargeFrom, c.Store = "2", "postgres" }), "data: missing: with ton_config a proxy settles"},
		{proxy(func(c *Proxy) { c.Data = "d" }), "data: there is nothing to settle"},
		{proxy(func(c *Proxy) { c.LastPayoutFrom = "1" }), "nothing is settled without data"},
		{worker(func(c *Worker) { c.Engine = "" }), "engine: missing"},
		{worker(func(c *Worker) { c.Engine = "ftp://x" }), "engine: address"},
		{worker(func(c *Worker) { c.Model = "a" }), "name@commit:hash"},
		{worker(func(c *Worker) { c.Coefficient = -1 }), "coefficient -1"},
		{worker(func(c *Worker) { c.ModelFile = "m.tar" }), "model_file or model_dir are checked"},
		{worker(func(c *Worker) { c.Model, c.ModelFile, c.ModelDir = goodModel, "m.tar", "m" }), "exclude each other"},
		{worker(func(c *Worker) { c.MaxActiveRequests = -1 }), "cannot be negative"},
		{worker(func(c *Worker) { c.Via = "router" }), "connect_to_proxy_via"},
		{client(func(c *Client) { c.Data = "d" }), "data: there is nothing to pay"},
		{client(func(c *Client) { c.MaxTopUpDay = "3" }), "nothing is paid without data"},
		{client(func(c *Client) { c.MaxHour = "0" }), "max_hour_cost"},
		{client(func(c *Client) { c.MaxRequest = "a lot" }), "max_request_cost"},
		{client(func(c *Client) { onChain(&c.Common); c.Data, c.WalletAddress = "d", owner }), "node_wallet_address"},
		{client(func(c *Client) { onChain(&c.Common); c.Data, c.Secret = "d", "secret" }), "can be guessed"},
		{client(func(c *Client) { onChain(&c.Common); c.Data, c.CloseAfter = "d", -1 }), "close_after"},
		{worker(func(c *Worker) { c.PayoutIdle = "1" }), "nothing is kept without data"},
		{worker(func(c *Worker) { c.Data, c.MaxUnpaid = "d", "-1" }), "max_unpaid"},
		{keyManager(func(k *Keys) { k.KeysListen = "" }), "keys_listen or, behind a router, rpc_port"},
		{keyManager(func(k *Keys) { k.RPCPort = 7 }), "exactly one"},
		{keyManager(func(k *Keys) { k.KeysListen, k.RPCPort = "", 70000 }), "rpc_port 70000"},
		{keyManager(func(k *Keys) { k.KeysListen = "x" }), "keys_listen"},
		{keyManager(func(k *Keys) { k.Data = "" }), "data: missing"},
		{keyManager(func(k *Keys) { k.Difficulty = 65 }), "pow_difficulty"},
		{keyManager(func(k *Keys) { k.RegisterAfter = -1 }), "register_after"},
		{proxy(func(c *Proxy) { c.Via = "router" }), "connect_to_proxy_via"},
		{&Engine{Listen: "x"}, "listen"},
		{&Engine{Listen: "x:1", Bench: true, ModelFile: "m"}, "exclude each other"},
	} {
		err := c.role.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "; ") {
			t.Errorf("%T: got %v, want just %q", c.role, err, c.want)
		}
	}
	if err := (&Worker{}).Check(); err == nil || strings.Count(err.Error(), "; ") != 5 {
		t.Errorf("an empty worker: %v, want all six problems at once", err)
	}
}

var goodModel = "a@b:" + strings.Repeat("00", 32)

// A worker whose files are not those of its model's name announces nothing.
func TestWorkerRefusesOtherWeights(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "weights"), []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	a, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := model.Pack(t.Context(), a, "a", "b", t.TempDir(), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*Worker)
		want   string
	}{
		{func(c *Worker) { c.ModelDir = dir }, "not served"},
		{func(c *Worker) { c.ModelFile = packed.Tar }, "not served"},
		{func(c *Worker) { c.ModelFile = packed.Sum }, "not a packed archive"},
		{func(c *Worker) { c.ModelFile = "absent" }, "no such file"},
		// The right files get past, to the registry that is not there.
		{func(c *Worker) { c.Model, c.ModelDir = packed.ID.String(), dir }, "registry"},
		{func(c *Worker) { c.Model, c.ModelFile = packed.ID.String(), packed.Tar }, "registry"},
	} {
		w := goodWorker()
		w.Model, w.Registry = goodModel, filepath.Join(dir, "registry.absent")
		c.change(w)
		if err := w.Check(); err != nil {
			t.Fatal(err)
		}
		if err := w.Run(t.Context(), Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s%s: %v, want an error with %q", w.ModelFile, w.ModelDir, err, c.want)
		}
	}
}

func TestTokenIsMadeOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	var tokens [8]string
	var wg sync.WaitGroup
	for i := range tokens {
		wg.Go(func() { tokens[i], _ = Token(file) })
	}
	wg.Wait()
	for _, token := range tokens {
		if len(token) < 20 || token != tokens[0] {
			t.Fatalf("processes that start together have tokens of %d and %d characters that differ", len(token), len(tokens[0]))
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: want a file for its owner alone", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := os.WriteFile(file, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Token(file); err == nil || strings.Contains(err.Error(), "short\n") {
		t.Errorf("a short token: %v", err)
	}
	if _, err := Token("/nonexistent/token"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestAPIKeysFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("# ours\n one \n\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if keys, err := readLines(file); err != nil || strings.Join(keys, ",") != "one,two" {
		t.Errorf("got %q, %v", keys, err)
	}
	if err := os.WriteFile(file, []byte("# none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readLines(file); err == nil {
		t.Error("an empty file of keys would leave the API open")
	}
}

// A node that was not told otherwise shows real evidence or none, and believes
// no test root.
func TestInsecureModesAreOptIn(t *testing.T) {
	var a Attestation
	if _, err := a.platform(true); !errors.Is(err, tdx.ErrNotGuest) {
		t.Skipf("this machine is a TDX guest: %v", err)
	} else if !strings.Contains(err.Error(), "--insecure") {
		t.Errorf("the error does not say what to do: %v", err)
	}
	policy, err := a.policy(nil)
	if err != nil || policy.AllowFake || policy.AllowNone || policy.AllowUnknownTCB || len(policy.Verifiers) != 2 || judgeOf(policy).TestRoots != nil || judgeOf(policy).Roots != nil {
		t.Errorf("the policy of a node without settings is %+v, %v", policy, err)
	}
	dir := t.TempDir()
	authority, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.Save(dir); err != nil {
		t.Fatal(err)
	}
	// Who only judges needs no private key of the vendor.
	if err := os.Remove(filepath.Join(dir, insecure.AuthorityFile)); err != nil {
		t.Fatal(err)
	}
	a.SimulatedTDX = dir
	if policy, err = a.policy(nil); err != nil || judgeOf(policy).TestRoots == nil || judgeOf(policy).TestCollateral == nil {
		t.Errorf("the policy with a test root is %+v, %v", policy, err)
	}
}

func judgeOf(p *attest.Policy) *tdx.Verifier { return p.Verifiers[attest.KindTDX].(*tdx.Verifier) }

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"90s": 90 * time.Second, "1.5": 1500 * time.Millisecond, "120": 2 * time.Minute} {
		if d, err := ParseDuration(text); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(d), err)
		}
	}
	if _, err := ParseDuration("soon"); err == nil {
		t.Error(`"soon" was accepted`)
	}
}

func TestEngineServesAndStops(t *testing.T) {
	for _, e := range []*Engine{{Listen: "127.0.0.1:0"}, {Listen: "127.0.0.1:0", Bench: true}} {
		ctx, cancel := context.WithCancel(t.Context())
		ready, ended := make(chan string, 1), make(chan error, 1)
		go func() { ended <- e.Run(ctx, Env{Ready: func(url string) { ready <- url }}) }()
		resp, err := http.Get(<-ready + "/v1/models")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(b), `"id"`) {
			t.Errorf("%+v: %d %s", e, resp.StatusCode, b)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	}
	if err := (&Engine{Listen: "127.0.0.1:0", ModelFile: "/nonexistent"}).Run(t.Context(), Env{}); err == nil {
		t.Error("a missing model file was accepted")
	}
}
