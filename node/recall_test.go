package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/contract"
)

// What a node has seen is believed only as it wrote it: it says whom to trust.
func TestSeenIsTheNodesOwn(t *testing.T) {
	t.Parallel()
	ring := func(role string) *keyring {
		h := &holding{Common: &Common{}, role: role, data: t.TempDir(), names: []string{WalletKey}}
		k, err := h.keyring(t.Context(), Env{})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	alice, bob := ring("client"), ring("client")
	open := func(k *keyring, name string) *seen {
		s, err := k.seen(name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	mine := open(alice, registrySeen)
	var got contract.Record
	if err := mine.Load(&got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("at first: %v", err)
	}
	want := contract.Record{Registry: "0:1", Block: 7, Time: 1700000000, Data: []byte{1, 2}}
	if err := mine.Save(want); err != nil {
		t.Fatal(err)
	}
	if err := mine.Load(&got); err != nil || got.Block != 7 || string(got.Data) != "\x01\x02" {
		t.Errorf("%+v, %v", got, err)
	}
	good, err := os.ReadFile(mine.path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(mine.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	refused := func(name string, s *seen, text []byte) {
		t.Helper()
		if err := os.WriteFile(s.path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Load(&got); err == nil || !strings.Contains(err.Error(), "not written by this node") {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
	for i := range good[:len(good)-1] {
		changed := append([]byte(nil), good...)
		changed[i] ^= 1
		refused("a changed byte", mine, changed)
	}
	refused("cut off", mine, good[:len(good)-2])
	refused("empty", mine, nil)
	refused("another node's", open(bob, registrySeen), good)
	refused("of another file", open(alice, "other.seen"), good)
}

// A node that cannot start without the chain says exactly why.
func TestNoStartWithoutTheChain(t *testing.T) {
	t.Parallel()
	_, root, config := localChain(t)
	wire, config := through(t, config)
	wire.set(true, false)
	common := Common{Listen: "127.0.0.1:0", TONConfig: config, InsecureUnsigned: true, RootAddress: root.String(), OwnerAddress: owner, Attestation: Attestation{NoAttestation: true}}
	worker := &Worker{Common: common, Engine: "http://127.0.0.1:1", Model: "m@a:b", AnyProxyImage: true}
	start := func(now func() time.Time) error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		return worker.Run(ctx, Env{Now: now})
	}
	says := func(err error, want ...string) {
		t.Helper()
		for _, w := range append(want, "chain unreachable") {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%v, want %q in it", err, w)
			}
		}
	}
	says(start(nil), "a node with data could start")
	worker.Data = filepath.Join(t.TempDir(), "data")
	says(start(nil), "nor can it start with what was seen before", "no such file")
	wire.set(false, false)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- worker.Run(ctx, Env{}) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for there := false; !there; <-tick.C {
		_, err := os.Stat(filepath.Join(worker.Data, registrySeen))
		there = err == nil
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	wire.set(true, false)
	says(start(func() time.Time { return time.Now().Add(contract.MaxAge + time.Minute) }), "longer ago than the 2h0m0s")
	says(start(func() time.Time { return time.Now().Add(-time.Hour) }), "this machine's clock is slow")
}
