package node

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/keys"
	"github.com/opencocoon/cocoon/seal"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/wallet"
)

// Vault is the sealed store of a node, for a person who looks after it. The
// node may run meanwhile, except for Import.
type Vault struct {
	h  *holding
	by *sealer
}

// OpenVault finds the store by a role's settings, which must have seal.
func OpenVault(ctx context.Context, role Role) (*Vault, error) {
	k, ok := role.(keeper)
	if !ok {
		return nil, fmt.Errorf("%T keeps no secrets", role)
	}
	h := k.holding()
	if h.Seal == "" {
		return nil, errors.New("seal: missing: the settings leave this node's secrets in plain files; say who seals them")
	}
	by, err := h.sealer(ctx)
	return &Vault{h, by}, err
}

// Path is where the store is.
func (v *Vault) Path() string { return v.h.path(SealedFile) }

// Image is the hash of the image that runs here, empty if it is not known.
func (v *Vault) Image() string { return v.by.image }

// VaultStatus is how the secrets of a node lie on disk.
type VaultStatus struct {
	Path string `json:"path"`
	// Exists says whether there is a store, Opens whether this image opens it.
	Exists bool `json:"exists"`
	Opens  bool `json:"opens"`
	// Image runs here; its key depends on Binding.
	Image   string `json:"image,omitempty"`
	Binding string `json:"binding"`
	seal.Info
	// Secrets are the names of what is in it, with the public halves of keys.
	Secrets []VaultSecret `json:"secrets"`
	// Plain are secrets beside it that are in files of their own.
	Plain []string `json:"plain_files"`
}

// VaultSecret is the name of a secret.
type VaultSecret struct {
	Name   string `json:"name"`
	Public string `json:"public_key,omitempty"`
}

// Status looks, and changes nothing.
func (v *Vault) Status(ctx context.Context) (*VaultStatus, error) {
	s := &VaultStatus{Path: v.Path(), Image: v.by.image, Binding: v.by.Binding(), Info: seal.Info{Slots: []seal.Slot{}}, Secrets: []VaultSecret{}}
	plain, err := v.h.plain()
	if err != nil {
		return nil, err
	}
	s.Plain = append([]string{}, plain...)
	info, err := seal.Inspect(v.Path())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.Exists, s.Info = true, info
	store, err := seal.Open(ctx, v.Path(), v.by.Source)
	if errors.Is(err, seal.ErrSealed) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.Opens = true
	k := &keyring{holding: v.h, store: store}
	for _, name := range store.Names() {
		secret := VaultSecret{Name: name}
		if strings.HasSuffix(name, ".key") {
			key, err := k.key(name)
			if err != nil {
				return nil, err
			}
			secret.Public = hex.EncodeToString(key.Public())
		}
		s.Secrets = append(s.Secrets, secret)
	}
	return s, nil
}

// Import moves secrets from plain files into the store, which it makes if
// there is none, and removes the files once the store was read back. Nothing is
// replaced; one that was interrupted can be done again. The disk may keep what
// was in a file that is removed.
func (v *Vault) Import(ctx context.Context) (moved []string, err error) {
	found, err := v.h.plain()
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is nothing to import: none of %s is in %s", strings.Join(v.h.names, ", "), v.h.data)
	}
	release, err := v.h.hold()
	if err != nil {
		return nil, fmt.Errorf("data %s: %w", v.h.data, err)
	}
	defer release()
	values := map[string][]byte{}
	for _, name := range found {
		if values[name], err = v.h.read(name); err != nil {
			return nil, err
		}
	}
	if err := v.take(ctx, values); err != nil {
		return nil, err
	}
	for _, name := range found {
		if err := os.Remove(v.h.path(name)); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// read is a secret in a plain file, in the form of the store.
func (h *holding) read(name string) ([]byte, error) {
	switch {
	case strings.HasSuffix(name, ".key"):
		key, err := wallet.NodeKey(h.path(name))
		if err != nil {
			return nil, err
		}
		return key.Private().Seed(), nil
	case name == secretFile:
		secret, err := settlement.Secret(h.path(name))
		return []byte(secret), err
	}
	file := keys.File(h.path(name))
	if err := keys.Check(file); err != nil {
		return nil, err
	}
	return file.Load()
}

// take stores values and reads them back.
func (v *Vault) take(ctx context.Context, values map[string][]byte) error {
	store, err := seal.Open(ctx, v.Path(), v.by.Source)
	if errors.Is(err, fs.ErrNotExist) {
		store, err = seal.Create(ctx, v.Path(), v.by.Source)
	}
	if err != nil {
		return v.explained(err)
	}
	for name, value := range values {
		if old := store.Value(name); old != nil && !bytes.Equal(old, value) {
			return fmt.Errorf("%s: the store holds another one already; nothing was imported: move the file away if it is not this node's", v.h.path(name))
		}
	}
	for name, value := range values {
		if err := store.Import(name, value); err != nil {
			return err
		}
	}
	back, err := seal.Open(ctx, v.Path(), v.by.Source)
	if err != nil {
		return err
	}
	k := &keyring{holding: v.h, store: back}
	for name, value := range values {
		if !bytes.Equal(back.Value(name), value) {
			return fmt.Errorf("%s: the store does not give back what was put into it; the plain files stay", v.Path())
		}
		if strings.HasSuffix(name, ".key") {
			if _, err := k.key(name); err != nil { // which leaves its public half outside
				return err
			}
		}
	}
	return nil
}

func (v *Vault) explained(err error) error {
	var sealed *seal.SealedError
	if errors.As(err, &sealed) {
		return v.h.explain(sealed)
	}
	return err
}

// Request asks for the store on behalf of this image.
func (v *Vault) Request(ctx context.Context) (*seal.Request, error) {
	_, err := seal.Open(ctx, v.Path(), v.by.Source)
	switch {
	case err == nil:
		return nil, fmt.Errorf("%s: this image can open it: there is nothing to ask for", v.Path())
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: bring the store here first, from the data directory of the node that has it", err)
	case !errors.Is(err, seal.ErrSealed):
		return nil, err
	}
	return seal.Ask(ctx, v.Path(), v.by.Source, v.by.platform, time.Now())
}

// Grant judges a request by whom the registry lists for this role, and answers
// it. The verdict is for showing, and may be nil.
func (v *Vault) Grant(ctx context.Context, env Env, r *seal.Request) (*seal.Grant, *attest.Verdict, error) {
	store, err := seal.Open(ctx, v.Path(), v.by.Source)
	if err != nil {
		return nil, nil, v.explained(err)
	}
	policy, err := v.policy(ctx, env)
	if err != nil {
		return nil, nil, err
	}
	return store.Grant(ctx, r, policy, v.by.platform, time.Now())
}

// Accept judges who granted, asks whether to go on, and takes the store over.
func (v *Vault) Accept(ctx context.Context, env Env, g *seal.Grant, ask func(*attest.Verdict, error) error) error {
	policy, err := v.policy(ctx, env)
	if err != nil {
		return err
	}
	verdict, err := g.Judge(ctx, policy, time.Now())
	if err := ask(verdict, err); err != nil {
		return err
	}
	_, err = seal.Accept(ctx, v.Path(), g, v.by.Source, policy, time.Now())
	return err
}

// Forget makes this image the only one that opens the store.
func (v *Vault) Forget(ctx context.Context) (gone int, err error) {
	store, err := seal.Open(ctx, v.Path(), v.by.Source)
	if err != nil {
		return 0, v.explained(err)
	}
	return store.Forget()
}

// policy is who may take part in a hand-over: images that the registry lists
// for this role now, and those that the settings name. Genuine hardware hands
// nothing to a simulated machine.
func (v *Vault) policy(ctx context.Context, env Env) (*attest.Policy, error) {
	more, err := hashes(v.h.SealImages)
	if err != nil {
		return nil, err
	}
	b := &base{}
	if err := v.h.openRegistry(ctx, env, b, nil); err != nil {
		return nil, err
	}
	defer b.close()
	root := b.registry.Root()
	a := v.h.genuine()
	if v.h.Seal == SealSimulated {
		a.SimulatedTDX = v.h.SimulatedTDX
	}
	if a.Rules, err = v.h.ownRules(); err != nil {
		return nil, err
	}
	return a.policy(func(h attest.Hash) bool {
		return v.h.listed != nil && v.h.listed(root, h) || slices.Contains(more, h)
	})
}

// ownRules are those for machines of the node's own kind. What settings ask of
// its peers' images, GPUs and weights, and which peers alone are served, is
// about others; a machine that is struck off is struck off here too.
func (a *Attestation) ownRules() (attest.Rules, error) {
	r := attest.Rules{Require: min(a.Require, attest.LevelImage), AllowUnknownTCB: a.AllowUnknownTCB,
		Statuses: a.Statuses, Advisories: a.Advisories, DenyPlatforms: a.DenyPlatforms}
	if a.DenyPlatformsFile == "" {
		return r, nil
	}
	b, err := os.ReadFile(a.DenyPlatformsFile)
	if err != nil {
		return r, fmt.Errorf("deny_platforms_file: %w", err)
	}
	ids, err := readStruck(b)
	if err != nil {
		return r, fmt.Errorf("deny_platforms_file %s: %w", a.DenyPlatformsFile, err)
	}
	r.DenyPlatforms = slices.Concat(r.DenyPlatforms, ids)
	return r, nil
}
