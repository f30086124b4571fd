package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/seal"
)

// upgrade is a store of the old image on one machine, and the new image on
// another.
type upgrade struct {
	path     string
	old, new *insecure.Authority
	store    *seal.Store
	policy   *attest.Policy
	now      time.Time
}

const (
	oldImage = "proxy 1"
	newImage = "proxy 2"
)

func newUpgrade(t testing.TB) *upgrade {
	a := authority(t)
	path := filepath.Join(t.TempDir(), "sealed.json")
	return &upgrade{path, a, a, open(t, path, a.Sealing(oldImage)), wants(a, oldImage, newImage), time.Now()}
}

// wants is a policy for simulated machines with these images.
func wants(a *insecure.Authority, images ...string) *attest.Policy {
	return &attest.Policy{
		Verifiers: map[attest.Kind]attest.Verifier{attest.KindTDX: a.Verifier()},
		Images: func(h attest.Hash) bool {
			return slices.ContainsFunc(images, func(image string) bool { return insecure.ImageHash(image) == h })
		},
	}
}

func (u *upgrade) ask(t testing.TB, image string) *seal.Request {
	t.Helper()
	r, err := seal.Ask(t.Context(), u.path, u.new.Sealing(image), u.new.Machine(image), u.now)
	if err != nil {
		t.Fatal(err)
	}
	return over(t, r)
}

func (u *upgrade) grant(t testing.TB, r *seal.Request) *seal.Grant {
	t.Helper()
	g, v, err := u.store.Grant(t.Context(), r, u.policy, u.old.Machine(oldImage), u.now)
	if err != nil || !v.Trusted {
		t.Fatalf("%v, verdict %+v", err, v)
	}
	return over(t, g)
}

// over carries a statement through a file, as the host does.
func over[T any](t testing.TB, v *T) *T {
	t.Helper()
	path := filepath.Join(t.TempDir(), "carried.json")
	into := new(T)
	if err := errors.Join(seal.WriteFile(path, v), seal.ReadFile(path, into)); err != nil {
		t.Fatal(err)
	}
	return into
}

// Both images open the store afterwards, and the secrets are the same.
func TestHandOver(t *testing.T) {
	u := newUpgrade(t)
	want := secret(t, u.store, "wallet")
	if _, err := seal.Open(t.Context(), u.path, u.new.Sealing(newImage)); !errors.Is(err, seal.ErrSealed) {
		t.Fatalf("before: %v, want ErrSealed", err)
	}
	g := u.grant(t, u.ask(t, newImage))
	if _, err := seal.Accept(t.Context(), u.path, g, u.new.Sealing(newImage), u.policy, u.now); err != nil {
		t.Fatal(err)
	}
	for _, image := range []string{oldImage, newImage} {
		if got := secret(t, open(t, u.path, u.new.Sealing(image)), "wallet"); !bytes.Equal(got, want) {
			t.Errorf("%s finds another secret", image)
		}
	}
	text, _ := json.Marshal(g)
	for _, s := range [][]byte{want, []byte("wallet")} {
		if bytes.Contains(text, s) {
			t.Errorf("the grant shows %q", s)
		}
	}
}

func TestGrantRefuses(t *testing.T) {
	u := newUpgrade(t)
	for _, c := range []struct {
		name   string
		change func(*seal.Request)
		policy *attest.Policy
		now    time.Time
		want   string
	}{
		{"an image that nobody wants", nil, wants(u.old, oldImage), u.now, attestImage},
		{"a machine of another vendor", nil, wants(authority(t), newImage), u.now, "chain"},
		{"no policy", nil, &attest.Policy{}, u.now, "evidence"},
		{"yesterday's", nil, u.policy, u.now.Add(25 * time.Hour), "make a new one"},
		{"tomorrow's", nil, u.policy, u.now.Add(-time.Hour), "make a new one"},
		{"another recipient", func(r *seal.Request) { r.Recipient[0] ^= 1 }, u.policy, u.now, "changed on the way"},
		{"another store", func(r *seal.Request) { r.Store = strings.Repeat("0", 64) }, u.policy, u.now, "changed on the way"},
		{"another name", func(r *seal.Request) { r.Request = "00" }, u.policy, u.now, "changed on the way"},
		{"another date", func(r *seal.Request) { r.Made = r.Made.Add(time.Second) }, u.policy, u.now, "changed on the way"},
		{"another key", func(r *seal.Request) { r.Key[0] ^= 1 }, u.policy, u.now, "changed on the way"},
		{"no key", func(r *seal.Request) { r.Key = nil }, u.policy, u.now, "changed on the way"},
		{"no signature", func(r *seal.Request) { r.Signature = nil }, u.policy, u.now, "changed on the way"},
		{"no evidence", func(r *seal.Request) { r.Evidence = nil }, u.policy, u.now, "changed on the way"},
		{"another format", func(r *seal.Request) { r.Format = 2 }, u.policy, u.now, "format 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := u.ask(t, newImage)
			if c.change != nil {
				c.change(r)
			}
			g, _, err := u.store.Grant(t.Context(), r, c.policy, u.old.Machine(oldImage), c.now)
			if g != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v, want an error with %q", g, err, c.want)
			}
		})
	}
}

const attestImage = "image hash"

// A peer that proves nothing gets nothing, though a listener's policy may
// serve it.
func TestGrantNeedsEvidence(t *testing.T) {
	u := newUpgrade(t)
	r, err := seal.Ask(t.Context(), u.path, u.new.Sealing(newImage), attest.NoPlatform{}, u.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := u.store.Grant(t.Context(), r, &attest.Policy{AllowNone: true, AnyImage: true}, u.old.Machine(oldImage), u.now); err == nil || !strings.Contains(err.Error(), "level") {
		t.Errorf("%v, want a refusal of its level", err)
	}
	r, err = seal.Ask(t.Context(), u.path, u.new.Sealing(newImage), insecure.Fake{}, u.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := u.store.Grant(t.Context(), r, &attest.Policy{AllowFake: true, Images: func(attest.Hash) bool { return true }}, u.old.Machine(oldImage), u.now); err == nil || !strings.Contains(err.Error(), "level") {
		t.Errorf("%v, want a refusal of its level", err)
	}
}

func TestGrantForAnotherStore(t *testing.T) {
	u, other := newUpgrade(t), newUpgrade(t)
	if _, _, err := u.store.Grant(t.Context(), other.ask(t, newImage), wants(other.new, newImage), u.old.Machine(oldImage), u.now); err == nil || !strings.Contains(err.Error(), "is for store") {
		t.Errorf("%v, want a refusal of the store", err)
	}
}

func TestAcceptRefuses(t *testing.T) {
	u := newUpgrade(t)
	before, err := os.ReadFile(u.path)
	if err != nil {
		t.Fatal(err)
	}
	good := u.grant(t, u.ask(t, newImage))
	for _, c := range []struct {
		name   string
		change func(*seal.Grant)
		image  string
		policy *attest.Policy
		want   string
	}{
		{"granted by an image that nobody wants", nil, newImage, wants(u.old, newImage), attestImage},
		{"granted by a machine of another vendor", nil, newImage, wants(authority(t), oldImage), "chain"},
		{"for another image", nil, "proxy 3", u.policy, "another image"},
		{"another secret", func(g *seal.Grant) { g.Sealed[len(g.Sealed)-1] ^= 1 }, newImage, u.policy, "changed on the way"},
		{"another store", func(g *seal.Grant) { g.Store = strings.Repeat("0", 64) }, newImage, u.policy, "changed on the way"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := over(t, good)
			if c.change != nil {
				c.change(g)
			}
			if _, err := seal.Accept(t.Context(), u.path, g, u.new.Sealing(c.image), c.policy, u.now); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with %q", err, c.want)
			}
			if after, _ := os.ReadFile(u.path); !bytes.Equal(before, after) {
				t.Error("the store was changed")
			}
		})
	}
}

// A store and a grant that a host makes up itself are refused: whoever made
// them would know the secrets.
func TestAcceptForgedStore(t *testing.T) {
	u := newUpgrade(t)
	r := u.ask(t, newImage)
	forger := authority(t)
	forged := open(t, filepath.Join(t.TempDir(), "forged.json"), forger.Sealing(oldImage))
	r.Store = forged.ID()
	if g, _, err := forged.Grant(t.Context(), r, &attest.Policy{AllowNone: true, AnyImage: true}, forger.Machine(oldImage), u.now); err == nil {
		t.Fatalf("a changed request was granted: %v", g)
	}
	mine := &upgrade{filepath.Join(t.TempDir(), "mine.json"), forger, u.new, nil, wants(u.new, newImage), u.now}
	mine.store = open(t, mine.path, forger.Sealing(oldImage))
	g := mine.grant(t, mine.ask(t, newImage))
	if _, err := seal.Accept(t.Context(), mine.path, g, u.new.Sealing(newImage), u.policy, u.now); err == nil || !strings.Contains(err.Error(), "chain") {
		t.Errorf("%v, want a refusal of the granting machine", err)
	}
}
