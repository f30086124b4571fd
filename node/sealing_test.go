package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/keys"
	"github.com/opencocoon/cocoon/seal"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/wallet"
)

// simulated makes a vendor's directory.
func simulated(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	a, err := insecure.NewAuthority()
	if err == nil {
		err = a.Save(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// sealedKeys is a key manager, which keeps secrets of every kind but one.
func sealedKeys(vendor, data, image string) *Keys {
	k := goodKeys()
	k.Data, k.SimulatedTDX, k.SimulatedImage, k.Seal = data, vendor, image, SealSimulated
	return k
}

func TestSealingSettings(t *testing.T) {
	enclave := strings.Repeat("ab", 32)
	for _, c := range []struct {
		change func(*Keys)
		want   string // empty: good
	}{
		{func(k *Keys) { k.Seal = SealSNP }, ""},
		{func(k *Keys) { k.Seal = SealAuto }, ""},
		{func(k *Keys) { k.Seal, k.SealEnclaves, k.SealMinSVN = SealSGX, []string{enclave}, 3 }, ""},
		{func(k *Keys) {
			k.Seal, k.SealEnclaves, k.SealService = SealSGX, []string{enclave}, "vsock:2:12346"
			k.SealImages = []string{enclave}
		}, ""},
		{func(k *Keys) { k.Seal, k.SimulatedTDX, k.SimulatedImage = SealSimulated, "d", "i" }, ""},
		{func(k *Keys) { k.Seal = "tpm" }, `seal "tpm": want sgx`},
		{func(k *Keys) { k.Seal = SealSGX }, "seal_enclaves: missing"},
		{func(k *Keys) { k.Seal, k.SealEnclaves = SealSGX, []string{"abcd"} }, "seal_enclaves: "},
		{func(k *Keys) { k.Seal, k.SealImages = SealSNP, []string{"abcd"} }, "seal_images: "},
		{func(k *Keys) { k.Seal, k.SealService = SealSNP, "vsock:host:1" }, "seal_service: "},
		{func(k *Keys) { k.Seal, k.SealMinSVN = SealSNP, 65536 }, "seal_min_svn 65536"},
		{func(k *Keys) { k.Seal = SealSimulated }, "needs insecure_simulated_tdx"},
		{func(k *Keys) { k.Seal, k.SimulatedTDX, k.SimulatedImage = SealAuto, "d", "i" }, "this machine is simulated"},
		{func(k *Keys) { k.SealEnclaves = []string{enclave} }, "they mean something with seal"},
	} {
		k := goodKeys()
		c.change(k)
		err := k.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", k.Sealing, err, c.want)
		}
	}
	w, cl := goodWorker(), goodClient()
	w.Seal, w.Data, cl.Seal = SealSNP, "d", SealSNP
	for _, r := range []Role{w, cl} {
		if err := r.Check(); err == nil || !strings.Contains(err.Error(), "nothing to seal") {
			t.Errorf("%T: %v, want to hear that there is nothing to seal", r, err)
		}
	}
}

// Who gives the keys follows the guest, or is refused.
func TestSealingSource(t *testing.T) {
	enclave := strings.Repeat("ab", 32)
	for _, c := range []struct {
		seal     string
		enclaves []string
		kind     attest.Kind
		want     string
	}{
		{SealAuto, nil, attest.KindSEVSNP, "*seal.SNP"},
		{SealSNP, nil, attest.KindSEVSNP, "*seal.SNP"},
		{SealAuto, []string{enclave}, attest.KindTDX, "*seal.SGX"},
		{SealSGX, []string{enclave}, attest.KindTDX, "*seal.SGX"},
		{SealAuto, nil, attest.KindTDX, "names no sealing enclave"},
		{SealSNP, nil, attest.KindTDX, "of another vendor"},
		{SealSGX, []string{enclave}, attest.KindSEVSNP, "of another vendor"},
		{SealAuto, nil, attest.KindNone, "of another vendor"},
	} {
		k := goodKeys()
		k.Seal, k.SealEnclaves, k.SealMinSVN, k.SimulatedTDX = c.seal, c.enclaves, 7, "no such vendor"
		s, err := k.source(c.kind)
		if got := fmt.Sprintf("%T %v", s, err); !strings.Contains(got, c.want) {
			t.Errorf("%s in a %s guest: %s, want %s", c.seal, c.kind, got, c.want)
		}
		if sgx, ok := s.(*seal.SGX); ok && (len(sgx.Wanted) != 1 || sgx.Wanted[0][0] != 0xab || sgx.MinSVN != 7 || sgx.Verifier.TestRoots != nil || sgx.Dial == nil || sgx.Report == nil) {
			t.Errorf("%+v", sgx)
		}
	}
	k := goodKeys()
	k.Seal = SealAuto
	if _, err := k.sealer(t.Context()); !errors.Is(err, tdx.ErrNotGuest) {
		t.Errorf("outside a guest: %v, want ErrNotGuest", err)
	}
}

// Whatever the role keeps is there again, and no plain file is.
func TestSealedKeyring(t *testing.T) {
	vendor, data := simulated(t), t.TempDir()
	role := sealedKeys(vendor, data, "keys 1")
	var first []string
	for range 2 {
		k, release, err := role.holding().begin(t.Context(), Env{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := role.holding().begin(t.Context(), Env{}); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("twice at a time: %v", err)
		}
		manager, err := k.key(ManagerKey)
		walletKey, err2 := k.key(WalletKey)
		secret, err3 := k.secret()
		if err := errors.Join(err, err2, err3); err != nil {
			t.Fatal(err)
		}
		blob, err := k.blob(keysFile).Load()
		if first == nil {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("keys before there are any: %q, %v", blob, err)
			}
			blob = []byte("a day's keys")
			if err := k.blob(keysFile).Save(blob); err != nil {
				t.Fatal(err)
			}
		}
		now := []string{manager.Seed(), walletKey.Seed(), secret, string(blob)}
		if first == nil {
			first = now
		}
		if !slices.Equal(now, first) || now[0] == now[1] {
			t.Error("other secrets at the second start")
		}
		for name, key := range map[string]wallet.Key{ManagerKey: manager, WalletKey: walletKey} {
			if public, err := ReadPublicKey(data, name); err != nil || !public.Equal(key.Public()) {
				t.Errorf("%s from outside: %x, %v", name, public, err)
			}
		}
		release()
	}
	if plain, err := role.holding().plain(); err != nil || len(plain) > 0 {
		t.Errorf("plain files: %v, %v", plain, err)
	}
}

// What would make another node of it, or leave keys in the clear, is refused.
func TestSealedStartRefuses(t *testing.T) {
	vendor := simulated(t)
	for _, c := range []struct {
		name   string
		change func(t *testing.T, data string, role *Keys)
		want   string
	}{
		{"plain files", func(t *testing.T, data string, _ *Keys) {
			if _, err := wallet.NodeKey(filepath.Join(data, WalletKey)); err != nil {
				t.Fatal(err)
			}
		}, "cocoon seal import keys"},
		{"settings without seal", func(_ *testing.T, _ string, role *Keys) { role.Seal = "" }, "set seal"},
		{"another image", func(_ *testing.T, _ string, role *Keys) { role.SimulatedImage = "keys 2" },
			"by its own word of image " + insecure.ImageHash("keys 1").String() + ": let that one hand it over: here `cocoon seal request keys"},
		{"the store gone", func(t *testing.T, data string, _ *Keys) {
			if err := os.Remove(filepath.Join(data, SealedFile)); err != nil {
				t.Fatal(err)
			}
		}, "shows that there was one: bring back a copy"},
		{"the store damaged", func(t *testing.T, data string, _ *Keys) {
			if err := os.WriteFile(filepath.Join(data, SealedFile), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "unexpected end"},
		{"the vendor gone", func(_ *testing.T, _ string, role *Keys) { role.SimulatedTDX = "no such vendor" }, "no such"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := t.TempDir()
			role := sealedKeys(vendor, data, "keys 1")
			if _, err := PublicKey(t.Context(), role, WalletKey); err != nil {
				t.Fatal(err)
			}
			c.change(t, data, role)
			before, _ := os.ReadFile(filepath.Join(data, SealedFile))
			if k, release, err := role.holding().begin(t.Context(), Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v, want an error with %q", k, err, c.want)
				release()
			}
			if after, _ := os.ReadFile(filepath.Join(data, SealedFile)); !bytes.Equal(before, after) {
				t.Error("the store was changed")
			}
		})
	}
}

// A service that is away is waited for, and nothing is made meanwhile.
func TestSealingServiceAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		env := Env{Log: slog.New(slog.NewTextHandler(&log, nil))}
		begun, calls := time.Now(), 0
		back := func() error {
			if calls++; time.Since(begun) < time.Minute {
				return fmt.Errorf("seal: %w: refused", seal.ErrAway)
			}
			return nil
		}
		if err := patiently(t.Context(), env, back); err != nil || calls < 3 || calls > 20 {
			t.Errorf("%v after %d tries", err, calls)
		}
		if n := strings.Count(log.String(), "trying again"); n != calls-1 {
			t.Errorf("%d lines of progress for %d tries", n, calls)
		}
		begun = time.Now()
		err := patiently(t.Context(), env, func() error { return seal.ErrAway })
		if took := time.Since(begun); !errors.Is(err, seal.ErrAway) || !strings.Contains(err.Error(), "no secret was made or lost") || took < sealPatience || took > sealPatience+time.Minute {
			t.Errorf("%v after %v", err, took)
		}
		calls = 0
		refused := errors.New("the sealing enclave is not wanted")
		if err := patiently(t.Context(), env, func() error { calls++; return refused }); err != refused || calls != 1 {
			t.Errorf("a refusal: %v after %d tries, want it at once", err, calls)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Second / 2); cancel() }()
		if err := patiently(ctx, env, func() error { return seal.ErrAway }); !errors.Is(err, context.Canceled) {
			t.Errorf("a stop: %v", err)
		}
	})
}

// plainKeys is a key manager that has run with plain files.
func plainKeys(t *testing.T) (data string, seeds map[string]string) {
	t.Helper()
	data, seeds = t.TempDir(), map[string]string{}
	for _, name := range []string{ManagerKey, WalletKey} {
		key, err := wallet.NodeKey(filepath.Join(data, name))
		if err != nil {
			t.Fatal(err)
		}
		seeds[name] = key.Seed()
	}
	blob := `{"format":1,"keys":[{"private":"` + strings.Repeat("5a", 32) + `","type":1,"created":1,"expires":9,"registered":true}]}` + "\n"
	if err := keys.File(filepath.Join(data, keysFile)).Save([]byte(blob)); err != nil {
		t.Fatal(err)
	}
	seeds[keysFile] = blob
	return data, seeds
}

func vault(t *testing.T, role Role) *Vault {
	t.Helper()
	v, err := OpenVault(t.Context(), role)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The node is the same one afterwards, and its files are gone.
func TestImport(t *testing.T) {
	data, want := plainKeys(t)
	role := sealedKeys(simulated(t), data, "keys 1")
	v := vault(t, role)
	if s, err := v.Status(t.Context()); err != nil || s.Exists || s.Opens || len(s.Plain) != 3 {
		t.Errorf("before: %+v, %v", s, err)
	}
	moved, err := v.Import(t.Context())
	if err != nil || len(moved) != 3 {
		t.Fatalf("%v, %v", moved, err)
	}
	for name := range want {
		if exists, _ := filepath.Glob(filepath.Join(data, name)); exists != nil {
			t.Errorf("%s is still there", name)
		}
	}
	k, release, err := role.holding().begin(t.Context(), Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, name := range []string{ManagerKey, WalletKey} {
		if key, err := k.key(name); err != nil || key.Seed() != want[name] {
			t.Errorf("%s is another: %v", name, err)
		}
	}
	if blob, err := k.blob(keysFile).Load(); err != nil || string(blob) != want[keysFile] {
		t.Errorf("the keys are others: %v", err)
	}
	if err := keys.Check(k.blob(keysFile)); err != nil {
		t.Error(err)
	}
}

func TestImportOfAClient(t *testing.T) {
	data := t.TempDir()
	want, err := settlement.Secret(filepath.Join(data, secretFile))
	if err != nil {
		t.Fatal(err)
	}
	c := goodClient()
	c.Data, c.SimulatedTDX, c.SimulatedImage, c.Seal = data, simulated(t), "client 1", SealSimulated
	if _, err := vault(t, c).Import(t.Context()); err != nil {
		t.Fatal(err)
	}
	k, err := c.holding().keyring(t.Context(), Env{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.secret(); err != nil || got != want {
		t.Errorf("another secret: %v", err)
	}
}

// Nothing is replaced and nothing removed if anything is not as it should be.
func TestImportRefuses(t *testing.T) {
	vendor := simulated(t)
	for _, c := range []struct {
		name   string
		change func(t *testing.T, data string, role *Keys)
		want   string
	}{
		{"nothing to import", func(_ *testing.T, data string, _ *Keys) {
			for _, name := range []string{ManagerKey, WalletKey, keysFile} {
				os.Remove(filepath.Join(data, name))
			}
		}, "nothing to import"},
		{"a running node", func(t *testing.T, _ string, role *Keys) {
			release, err := role.holding().hold()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(release)
		}, "another process works in this directory"},
		{"a key that others may read", func(_ *testing.T, data string, _ *Keys) { os.Chmod(filepath.Join(data, WalletKey), 0o644) }, "others may read it"},
		{"a key that is none", func(_ *testing.T, data string, _ *Keys) {
			os.WriteFile(filepath.Join(data, WalletKey), []byte("key"), 0o600)
		}, "64 hexadecimal digits"},
		{"damaged keys", func(_ *testing.T, data string, _ *Keys) {
			os.WriteFile(filepath.Join(data, keysFile), []byte("{"), 0o600)
		}, "damaged"},
		{"a store with another key", func(t *testing.T, data string, role *Keys) {
			store, err := seal.Create(t.Context(), filepath.Join(data, SealedFile), vault(t, role).by.Source)
			if err == nil {
				_, err = store.Secret(WalletKey, 32)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "holds another one already; nothing was imported"},
		{"a store of another image", func(t *testing.T, data string, role *Keys) {
			if _, err := seal.Create(t.Context(), filepath.Join(data, SealedFile), vault(t, sealedKeys(vendor, data, "keys 2")).by.Source); err != nil {
				t.Fatal(err)
			}
		}, "sealed by another image or machine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, _ := plainKeys(t)
			role := sealedKeys(vendor, data, "keys 1")
			c.change(t, data, role)
			before := files(t, data)
			if moved, err := vault(t, role).Import(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v, want an error with %q", moved, err, c.want)
			}
			for name, text := range before {
				if after := files(t, data)[name]; after != text {
					t.Errorf("%s has changed", name)
				}
			}
		})
	}
	plain := goodKeys()
	if _, err := OpenVault(t.Context(), plain); err == nil || !strings.Contains(err.Error(), "seal: missing") {
		t.Errorf("without seal: %v", err)
	}
	if _, err := OpenVault(t.Context(), &Engine{}); err == nil {
		t.Error("an engine keeps secrets")
	}
}

// An import that was interrupted is done again.
func TestImportTwice(t *testing.T) {
	data, _ := plainKeys(t)
	role := sealedKeys(simulated(t), data, "keys 1")
	kept := files(t, data)
	if _, err := vault(t, role).Import(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{ManagerKey, keysFile} { // as if they had not been removed yet
		if err := os.WriteFile(filepath.Join(data, name), []byte(kept[name]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if moved, err := vault(t, role).Import(t.Context()); err != nil || !slices.Equal(moved, []string{ManagerKey, keysFile}) {
		t.Errorf("%v, %v", moved, err)
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, f := range list {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[f.Name()] = string(text)
	}
	return found
}

// Images of this role's list take part, and those that settings name, as one
// that was struck off before it could hand over. Nobody else does, least of all
// by another role's list.
func TestHandOverByRegistry(t *testing.T) {
	vendor, data := simulated(t), t.TempDir()
	before, after := insecure.ImageHash("proxy 1"), insecure.ImageHash("proxy 2")
	who, err := contract.ParseAddress(owner)
	if err != nil {
		t.Fatal(err)
	}
	list := &contract.Root{Owner: who, StructVersion: 4, ProxyImages: map[[32]byte]struct{}{after: {}}, WorkerImages: map[[32]byte]struct{}{insecure.ImageHash("proxy 3"): {}}}
	registry := filepath.Join(t.TempDir(), "registry.json")
	if err := contract.WriteFile(registry, list); err != nil {
		t.Fatal(err)
	}
	role := func(image string, more ...string) *Proxy {
		s := goodProxy()
		s.Data, s.Registry, s.SimulatedTDX, s.SimulatedImage = data, registry, vendor, image
		s.Seal, s.SealImages = SealSimulated, more
		return s
	}
	if _, err := PublicKey(t.Context(), role("proxy 1"), WalletKey); err != nil {
		t.Fatal(err)
	}
	old := vault(t, role("proxy 1"))
	third, err := vault(t, role("proxy 3")).Request(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, v, err := old.Grant(t.Context(), Env{}, third); !errors.Is(err, seal.ErrRefused) || v == nil || v.ImageHash != insecure.ImageHash("proxy 3") {
		t.Errorf("an image that is not listed: %v, want a refusal", err)
	}
	r, err := vault(t, role("proxy 2")).Request(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g, _, err := old.Grant(t.Context(), Env{}, r)
	if err != nil {
		t.Fatal(err)
	}
	yes := func(_ *attest.Verdict, err error) error { return err }
	if err := vault(t, role("proxy 2")).Accept(t.Context(), Env{}, g, yes); !errors.Is(err, seal.ErrRefused) {
		t.Errorf("from an image that is no longer listed: %v, want a refusal", err)
	}
	successor := vault(t, role("proxy 2", before.String()))
	no := errors.New("no")
	if err := successor.Accept(t.Context(), Env{}, g, func(v *attest.Verdict, err error) error { return no }); err != no {
		t.Errorf("%v, want what the person said", err)
	}
	if s, err := successor.Status(t.Context()); err != nil || s.Opens {
		t.Errorf("after a no: %+v, %v", s, err)
	}
	if err := successor.Accept(t.Context(), Env{}, g, yes); err != nil {
		t.Fatal(err)
	}
	if s, err := successor.Status(t.Context()); err != nil || !s.Opens || len(s.Slots) != 2 || s.Slots[1].Image != after.String() {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := successor.Request(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing to ask for") {
		t.Errorf("a request for what is open: %v", err)
	}
	if gone, err := successor.Forget(t.Context()); err != nil || gone != 1 {
		t.Errorf("forget: %d, %v", gone, err)
	}
}

// What real hardware has sealed does not go to a machine that anybody can make.
func TestGenuineBelievesNoSimulation(t *testing.T) {
	a := Attestation{SimulatedTDX: simulated(t), SimulatedImage: "keys 1", Fake: true, NoAttestation: true}
	p, err := a.genuine().policy(func(attest.Hash) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	if p.AllowFake || p.AllowNone || p.Verifiers[attest.KindTDX].(*tdx.Verifier).TestRoots != nil {
		t.Errorf("%+v", p)
	}
	if a.SimulatedTDX == "" {
		t.Error("the settings themselves were changed")
	}
}

// The name of an image is read from its own evidence.
func TestImageOf(t *testing.T) {
	a, err := insecure.Load(simulated(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := imageOf(t.Context(), a.Machine("keys 1")), insecure.ImageHash("keys 1").String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := imageOf(t.Context(), attest.NoPlatform{}); got != "" {
		t.Errorf("%q of a machine that shows nothing", got)
	}
}
