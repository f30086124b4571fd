package keys

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wire"
)

// Who gets keys, and what everybody else hears. One thing is changed at a time.
func TestAdmission(t *testing.T) {
	askProxy, askWorker := &tl.KeyManagerGetProxyPrivateKeys{}, &tl.KeyManagerGetWorkerPrivateKeys{}
	for _, c := range []struct {
		name    string
		verdict *attest.Verdict
		ask     tl.Object
		bend    func(*Config)
		root    func(*contract.Root)
		keys    int
		code    int32 // of the refusal
	}{
		{"proxy", verdict(proxyImage), askProxy, nil, nil, 1, 0},
		{"worker", verdict(workerImage), askWorker, nil, nil, 0, 0},
		{"worker, as in the reference", verdict(workerImage), askWorker, func(c *Config) { c.ServeWorkers = true }, nil, 1, 0},
		{"worker asks as a proxy", verdict(workerImage), askProxy, nil, nil, 0, wire.CodeError},
		{"proxy asks as a worker", verdict(proxyImage), askWorker, func(c *Config) { c.ServeWorkers = true }, nil, 0, wire.CodeError},
		{"another image", verdict([32]byte{9}), askProxy, nil, nil, 0, wire.CodeError},
		{"the key manager's own image", verdict(managerImage), askProxy, nil, nil, 0, wire.CodeError},
		{"no image", verdict([32]byte{}), askProxy, nil, func(r *contract.Root) { r.ProxyImages[[32]byte{}] = struct{}{} }, 0, wire.CodeError},
		{"no verdict", nil, askProxy, nil, nil, 0, wire.CodeError},
		{"no trust", &attest.Verdict{ImageHash: proxyImage}, askProxy, nil, nil, 0, wire.CodeError},
		{"not listed any more", verdict(proxyImage), askProxy, nil, func(r *contract.Root) { r.ProxyImages = nil }, 0, wire.CodeError},
		{"checks off outside a test network", verdict([32]byte{9}), askProxy, func(c *Config) { c.CheckImages = false }, nil, 0, wire.CodeError},
		{"checks off", nil, askProxy, func(c *Config) { c.CheckImages = false }, func(r *contract.Root) { r.IsTest = true }, 1, 0},
		{"another question", verdict(proxyImage), &tl.ClientGetWorkerTypesV2{}, nil, nil, 0, wire.CodeFailure},
		{"the older question", verdict(proxyImage), &tl.KeyManagerGetProxyPrivateKeysBase{}, nil, nil, 0, wire.CodeFailure},
		{"too long a question", verdict(proxyImage), trailing{askProxy}, nil, nil, 0, wire.CodeFailure},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, c.bend, func(r *rig) {
				if c.root != nil {
					r.chain.change(c.root)
				}
				conn := r.caller(c.verdict)
				for range 2 { // the connection goes on
					keys, err := wire.Ask[tl.KeyManagerPrivateKeys](r.t.Context(), conn, c.ask)
					var refused *wire.QueryError
					if errors.As(err, &refused) != (c.code != 0) || c.code != 0 && refused.Code != c.code {
						t.Fatalf("%v, want code %d", err, c.code)
					}
					if err != nil {
						continue
					}
					if len(keys.Keys) != c.keys {
						t.Fatalf("%d keys, want %d", len(keys.Keys), c.keys)
					}
					if e := r.entries()[0]; c.keys > 0 && (keys.Keys[0].PrivateKey != tl.Int256(e.seed) || int64(keys.Keys[0].ValidUntilUtime) != e.expires) {
						t.Error("another key, or another time")
					}
				}
			})
		})
	}
}

// trailing is a query with something behind it.
type trailing struct{ tl.Object }

func (x trailing) SizeTL() int              { return x.Object.SizeTL() + 4 }
func (x trailing) AppendTL(b []byte) []byte { return append(x.Object.AppendTL(b), 0, 0, 0, 0) }

// An image that is struck from the list gets no more keys over the connection that
// it has.
func TestListChangesMidConnection(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		conn := r.caller(verdict(proxyImage))
		ask := func() error {
			_, err := wire.Ask[tl.KeyManagerPrivateKeys](r.t.Context(), conn, &tl.KeyManagerGetProxyPrivateKeys{})
			return err
		}
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		r.chain.change(func(r *contract.Root) { r.ProxyImages = set([32]byte{8}) })
		if err := ask(); err == nil {
			t.Error("keys for an image that is not listed any more")
		}
	})
}

// Other types are made on demand, registered, and nobody gets them.
func TestOtherTypes(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		f := r.follower(nil)
		public, err := r.m.Generate(7)
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if _, ok := f.Private(public); ok || f.Count() != 1 {
			t.Errorf("a proxy got a key of type 7, %d keys in all", f.Count())
		}
		if s := r.m.Snapshot(); len(s.Keys) != 2 || !s.Keys[1].Registered || s.Keys[1].Type != 7 || s.Status.Usable != 1 {
			t.Errorf("%+v", s.Keys)
		}
	})
}

func TestManyConnections(t *testing.T) {
	inBubble(t, func(c *Config) { c.MaxConnections = 2 }, func(r *rig) {
		first := r.caller(verdict(proxyImage))
		r.caller(verdict(proxyImage))
		nc, _, err := r.dial(r.t.Context(), verdict(proxyImage))
		if err != nil {
			t.Fatal(err)
		}
		pass(0)
		if n := r.m.Snapshot().Callers; n != 2 {
			t.Errorf("%d connections, want two", n)
		}
		if _, err := nc.Read(make([]byte, 1)); err == nil {
			t.Error("the third is spoken to")
		}
		first.Close(nil)
		first.Wait()
		pass(time.Second)
		r.caller(verdict(proxyImage))
	})
}

// What proxies hold follows the key manager, and does not need it until the keys'
// time is over.
func TestFollower(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		pass(90 * time.Minute)
		f := r.follower(nil)
		pass(time.Second)
		for _, e := range r.entries() {
			if got, ok := f.Private(e.public); !ok || got != [32]byte(e.seed) {
				t.Error("a key is missing, or another")
			}
		}
		if s := f.Status(); s.Keys != 2 || s.Address != managerAt || s.Trouble != "" || time.Since(s.Asked) > time.Second {
			t.Errorf("%+v", s)
		}
		if _, ok := f.Private([32]byte{1}); ok {
			t.Error("a key that nobody has")
		}
		first := r.entries()[0]
		pass(time.Hour)
		if f.Count() != 3 {
			t.Errorf("%d keys, want the third", f.Count())
		}
		r.stop() // and it stays away
		pass(time.Minute)
		if s := f.Status(); s.Keys != 3 || s.Trouble == "" {
			t.Errorf("%+v, want keys and why there are no news", s)
		}
		pass(time.Until(time.Unix(first.expires, 0)) - time.Second)
		if _, ok := f.Private(first.public); !ok {
			t.Error("a key is gone before its time")
		}
		pass(time.Second)
		if _, ok := f.Private(first.public); ok || f.Count() != 2 {
			t.Error("a key is used after its time")
		}
		pass(expireEvery)
		f.mu.Lock()
		if len(f.held) != 2 {
			t.Errorf("%d keys in memory, want the expired one overwritten", len(f.held))
		}
		f.mu.Unlock()
	})
}

// A network whose key manager moves, changes or goes.
func TestFollowerAndRegistry(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		f := r.follower(nil)
		pass(time.Second)
		r.chain.change(func(r *contract.Root) { r.KeyManager = "10.0.0.2:1" })
		pass(time.Minute)
		if s := f.Status(); s.Keys != 1 || s.Address != "10.0.0.2:1" || !strings.Contains(s.Trouble, "nobody listens") {
			t.Errorf("moved to where nobody is: %+v", s)
		}
		r.chain.change(func(r *contract.Root) { r.KeyManager = "" })
		pass(time.Minute)
		if s := f.Status(); s.Keys != 1 || s.Address != "" || s.Trouble != "" {
			t.Errorf("without a key manager: %+v", s)
		}
		r.chain.change(func(r *contract.Root) { r.KeyManager = managerAt })
		pass(time.Second)
		if s := f.Status(); s.Keys != 1 || s.Trouble != "" {
			t.Errorf("back: %+v", s)
		}
		r.chain.change(func(r *contract.Root) { r.KeyManagerKey, r.KeyManager = bytes.Repeat([]byte{5}, 32), "10.0.0.2:1" })
		pass(time.Second)
		if f.Count() != 0 {
			t.Error("the keys of a key manager that was replaced are still used")
		}
	})
}

// Whoever is not the key manager of the registry is asked nothing.
func TestFollowerChecksTheManager(t *testing.T) {
	for _, c := range []struct {
		name string
		bend func(r *rig)
		keys int
		want string
	}{
		{"good", func(r *rig) {}, 1, ""},
		{"another image", func(r *rig) { r.image = [32]byte{8} }, 0, "the registry wants"},
		{"a proxy's image", func(r *rig) { r.image = proxyImage }, 0, "the registry wants"},
		{"no image is listed", func(r *rig) {
			r.image = [32]byte{}
			r.chain.change(func(r *contract.Root) { r.KeyManagerImage = [32]byte{} })
		}, 0, "lists no image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, nil, func(r *rig) {
				c.bend(r)
				f := r.follower(func(cfg *FollowerConfig) { cfg.CheckImages = false }) // it is no test network
				pass(5 * time.Second)
				if s := f.Status(); s.Keys != c.keys || !strings.Contains(s.Trouble, c.want) || (c.want == "") != (s.Trouble == "") {
					t.Errorf("%+v, want %d keys and %q", s, c.keys, c.want)
				}
			})
		})
	}
	if _, err := NewFollower(FollowerConfig{}); err == nil {
		t.Error("a follower of nothing")
	}
	inBubble(t, nil, func(r *rig) { // the listener may run behind a router that reports no verdict
		f := r.follower(func(cfg *FollowerConfig) {
			dial := cfg.Dial
			cfg.Dial = func(ctx context.Context, a string) (net.Conn, *ratls.Peer, error) {
				nc, _, err := dial(ctx, a)
				return nc, nil, err
			}
		})
		pass(5 * time.Second)
		if f.Count() != 0 {
			t.Error("keys from somebody without a verdict")
		}
	})
}

// Whoever is not judged, or not trusted, or of another image, is not the key manager.
func TestCheckManager(t *testing.T) {
	root := testRoot(t)
	for name, peer := range map[string]*ratls.Peer{
		"nobody": nil, "not judged": {}, "not trusted": {Verdict: &attest.Verdict{ImageHash: managerImage}}, "another": {Verdict: verdict(proxyImage)},
	} {
		if checkManager(root, peer) == nil {
			t.Errorf("%s: believed", name)
		}
	}
	if err := checkManager(root, &ratls.Peer{Verdict: verdict(managerImage)}); err != nil {
		t.Error(err)
	}
}

// stale is a registry that was last seen on the chain three hours ago.
type stale struct{ contract.Registry }

func (stale) AsOf() ton.Block { return ton.Block{Time: time.Now().Add(-3 * time.Hour)} }

// By an old registry nobody is known: an image may have been struck since.
func TestStaleRegistry(t *testing.T) {
	inBubble(t, func(c *Config) { c.Registry = stale{c.Registry} }, func(r *rig) {
		if _, err := wire.Ask[tl.KeyManagerPrivateKeys](r.t.Context(), r.caller(verdict(proxyImage)), &tl.KeyManagerGetProxyPrivateKeys{}); err == nil {
			t.Error("keys were given out by a registry of three hours ago")
		}
	})
}

// What is over leaves no private key behind, where it was held.
func TestForgottenKeysAreOverwritten(t *testing.T) {
	now := time.Unix(1e9, 0)
	wiped := func(what string, s *fieldcrypt.Seed) {
		t.Helper()
		if *s != (fieldcrypt.Seed{}) {
			t.Errorf("%s: the private key is still there", what)
		}
	}
	held := func() (*Follower, *heldKey) {
		k := &heldKey{fieldcrypt.Seed{1}, now.Unix() + 60}
		return &Follower{cfg: FollowerConfig{Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)},
			held: map[fieldcrypt.PublicKey]*heldKey{k.seed.Public(): k}}, k
	}
	f, k := held()
	f.drop(func(*heldKey) bool { return true })
	wiped("dropped", &k.seed)
	f, k = held()
	f.take(nil)
	wiped("replaced", &k.seed)

	store := &disk{}
	m := &Manager{cfg: Config{Store: store, Log: slog.New(slog.DiscardHandler)}, kick: make(chan struct{}, 1)}
	e, never := newEntry(1, now, time.Hour), newEntry(1, now, time.Hour)
	m.keys = []*entry{e}
	store.fail(errors.New("disk is full"))
	if err := m.adopt([]*entry{e, never}, nil); err == nil || e.seed == (fieldcrypt.Seed{}) {
		t.Errorf("%v, and a key in force is gone: %v", err, e.seed == fieldcrypt.Seed{})
	}
	wiped("never stored", &never.seed)
	store.fail(nil)
	if err := m.Remove(e.public); err != nil {
		t.Fatal(err)
	}
	wiped("removed", &e.seed)
	last := newEntry(1, now, time.Hour)
	m.keys = []*entry{last}
	m.forgetAll()
	wiped("at the end", &last.seed)
}

// A proxy that asks as a worker does gets what workers get.
func TestFollowerAsWorker(t *testing.T) {
	for _, serve := range []bool{false, true} {
		inBubble(t, func(c *Config) { c.ServeWorkers = serve }, func(r *rig) {
			f := r.follower(func(cfg *FollowerConfig) {
				cfg.As = Worker
				cfg.Dial = func(ctx context.Context, _ string) (net.Conn, *ratls.Peer, error) {
					return r.dial(ctx, verdict(workerImage))
				}
			})
			pass(time.Second)
			if (f.Count() == 1) != serve || f.Status().Trouble != "" {
				t.Errorf("serve %t: %+v", serve, f.Status())
			}
		})
	}
}

// Control needs a POST and the token, and pages tell no private key.
func TestPages(t *testing.T) {
	inBubble(t, func(c *Config) { c.ControlToken = "0123456789abcdef" }, func(r *rig) {
		pass(time.Minute)
		call := func(method, path, token string) (int, string) {
			req := httptest.NewRequest(method, path, nil)
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			w := httptest.NewRecorder()
			r.m.Handler().ServeHTTP(w, req)
			return w.Code, w.Body.String()
		}
		public := r.publics()[0]
		name := hex.EncodeToString(public[:])
		for _, c := range []struct {
			method, path, token string
			status              int
			want                string
		}{
			{"POST", "/request/generatekey", "", 401, "token"},
			{"GET", "/request/generatekey", "0123456789abcdef", 405, "POST"},
			{"POST", "/request/generatekey?type=256", "0123456789abcdef", 409, "0 to 255"},
			{"POST", "/request/generatekey?type=3", "0123456789abcdef", 200, "result"},
			{"POST", "/request/generatekey", "0123456789abcdef", 200, "result"},
			{"POST", "/request/removekey", "0123456789abcdef", 400, "missing"},
			{"POST", "/request/removekey?key=zz", "0123456789abcdef", 409, "hexadecimal"},
			{"POST", "/request/removekey?key=" + strings.Repeat("0", 64), "0123456789abcdef", 409, "no such key"},
			{"GET", "/jsonstats", "", 200, name},
			{"GET", "/jsonstats", "", 200, `"check_hashes": true`},
			{"GET", "/stats", "", 200, "cocoon keys"},
			{"GET", "/metrics", "", 200, "cocoon_keys_live 3"},
			{"POST", "/request/removekey?key=" + name, "0123456789abcdef", 200, "erased"},
		} {
			status, body := call(c.method, c.path, c.token)
			if status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("%s %s: %d %.300s, want %d and %q", c.method, c.path, status, body, c.status, c.want)
			}
			for _, s := range r.secrets() {
				if strings.Contains(body, s) || strings.Contains(body, strings.ToUpper(s)) {
					t.Errorf("%s tells a private key", c.path)
				}
			}
		}
		if keys := r.entries(); len(keys) != 2 || keys[0].kind != 3 {
			t.Errorf("%d keys are left, want the two that were made", len(keys))
		}
	})
}

func TestFile(t *testing.T) {
	f := File(filepath.Join(t.TempDir(), "keys.json"))
	if keys, err := load(f); err != nil || keys != nil {
		t.Errorf("no file: %d keys, %v", len(keys), err)
	}
	want := []*entry{newEntry(1, time.Now(), time.Hour), newEntry(9, time.Now(), 2*time.Hour)}
	want[1].registered = true
	for range 2 { // a crash in the middle of the first leaves what it had written
		if err := os.WriteFile(string(f)+".new", encode(want)[:50], 0o644); err != nil {
			t.Fatal(err)
		}
		if err := save(f, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := load(f)
	if err != nil || len(got) != 2 || *got[0] != *want[0] || *got[1] != *want[1] {
		t.Errorf("%v, want the same keys", err)
	}
	left, _ := os.ReadDir(filepath.Dir(string(f)))
	info, err := os.Stat(string(f))
	if err != nil || info.Mode().Perm() != 0o600 || len(left) != 1 {
		t.Errorf("mode %v, %v, %d files", info.Mode(), err, len(left))
	}
	if runtime.GOOS == "windows" {
		return
	}
	os.Chmod(string(f), 0o640)
	if _, err := load(f); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("a file that others can read: %v", err)
	}
}

func TestConfiguration(t *testing.T) {
	good := func() Config {
		return Config{Listener: newDoor(), Registry: contract.NewMemory(testRoot(t)), Store: &disk{}, Key: managerKey}
	}
	for _, c := range []struct {
		want string
		bend func(*Config)
	}{
		{"listener", func(c *Config) { c.Listener = nil }}, {"registry", func(c *Config) { c.Registry = nil }},
		{"store", func(c *Config) { c.Store = nil }}, {"key has", func(c *Config) { c.Key = c.Key[:5] }},
		{"life is", func(c *Config) { c.Life = 8 * 24 * time.Hour }}, {"life is", func(c *Config) { c.Life, c.Every = 30*time.Second, 10*time.Second }},
		{"a key every", func(c *Config) { c.Every = 25 * time.Hour }}, {"a key every", func(c *Config) { c.Every = time.Millisecond }},
	} {
		cfg := good()
		c.bend(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want just %q", err, c.want)
		}
	}
	if _, err := New(good()); err != nil {
		t.Error(err)
	}
}

// A blob that decodes is written as it was read.
func FuzzDecodeStore(f *testing.F) {
	f.Add(encode(nil))
	f.Add(encode([]*entry{{kind: 1, created: 1, expires: 2, seed: fieldcrypt.Seed{5}}}))
	f.Add([]byte(`{"format":1,"keys":[{"private":"x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := decode(data)
		if err != nil {
			return
		}
		again, err := decode(encode(keys))
		if err != nil || len(again) != len(keys) {
			t.Fatalf("%v of %q", err, data)
		}
		for i := range keys {
			if *keys[i] != *again[i] {
				t.Fatalf("key %d differs", i)
			}
		}
	})
}

// Whatever the key manager answers, a follower takes it or not, and stands.
func FuzzFollowerTakes(f *testing.F) {
	f.Add(tl.Marshal(&tl.KeyManagerPrivateKeys{Keys: []tl.KeyManagerPrivateKey{{ValidUntilUtime: 1 << 30, PrivateKey: tl.Int256{1}}, {ValidUntilUtime: -1}}}))
	f.Add([]byte{1, 2, 3})
	follower, err := NewFollower(FollowerConfig{Registry: contract.NewMemory(testRoot(f)), Now: func() time.Time { return time.Unix(1000, 0) },
		Dial: func(context.Context, string) (net.Conn, *ratls.Peer, error) { return nil, nil, errors.New("no") }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var keys tl.KeyManagerPrivateKeys
		if tl.Unmarshal(data, &keys) != nil || len(keys.Keys) > 100 {
			return
		}
		follower.take(keys.Keys)
		for _, k := range keys.Keys {
			if k.PrivateKey != (tl.Int256{}) {
				t.Fatal("a private key was left in the message")
			}
		}
		for public := range follower.held {
			if private, ok := follower.Private(public); ok && (*fieldcrypt.Seed)(&private).Public() != fieldcrypt.PublicKey(public) {
				t.Fatal("another key")
			}
		}
	})
}
