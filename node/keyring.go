package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/keys"
	"github.com/opencocoon/cocoon/seal"
	"github.com/opencocoon/cocoon/settlement"
	"github.com/opencocoon/cocoon/wallet"
)

// Secrets of the roles: names of plain files, and in a sealed store.
const (
	WalletKey  = "wallet.key"  // of the node wallet
	ProxyKey   = "proxy.key"   // signs a proxy's promises and its ledger
	ManagerKey = "manager.key" // signs a key manager's registrations
	keysFile   = "keys.json"   // the private keys of field encryption
	secretFile = "secret"      // what a client shares with proxies
)

// SealedFile is the sealed store in a data directory.
const SealedFile = "sealed.json"

// lockFile is held by who works in a data directory.
const lockFile = "lock"

// holding is which secrets a role keeps, and which images may.
type holding struct {
	*Common
	role  string // its verb
	data  string
	names []string
	// listed says whether the registry lists an image for this role. Nil: it
	// lists none.
	listed func(*contract.Root, attest.Hash) bool
}

// keeper is a role that keeps secrets.
type keeper interface{ holding() *holding }

func (s *Proxy) holding() *holding {
	return &holding{&s.Common, "proxy", s.Data, []string{ProxyKey, WalletKey}, func(r *contract.Root, h attest.Hash) bool { return r.AllowsProxyImage(h) }}
}

func (s *Worker) holding() *holding {
	return &holding{&s.Common, "worker", s.Data, []string{WalletKey}, func(r *contract.Root, h attest.Hash) bool { return r.AllowsWorkerImage(h) }}
}

func (s *Keys) holding() *holding {
	return &holding{&s.Common, "keys", s.Data, []string{ManagerKey, WalletKey, keysFile},
		func(r *contract.Root, h attest.Hash) bool { return h != attest.Hash{} && h == r.KeyManagerImage }}
}

func (s *Client) holding() *holding {
	return &holding{&s.Common, "client", s.Data, []string{WalletKey, secretFile}, nil}
}

func (h *holding) path(name string) string { return filepath.Join(h.data, name) }

// plain are the secrets that lie in files of their own.
func (h *holding) plain() (found []string, err error) {
	for _, name := range h.names {
		switch _, err := os.Lstat(h.path(name)); {
		case err == nil:
			found = append(found, name)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return found, nil
}

// hold keeps a second process out of the data directory.
func (h *holding) hold() (release func(), err error) {
	f, err := os.OpenFile(h.path(lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(errors.New("another process works in this directory: stop it first"), f.Close())
	}
	return func() { f.Close() }, nil
}

// keyring is where a node's secrets are: each in a file of its own, or all in
// a sealed store.
type keyring struct {
	*holding
	store *seal.Store // nil: plain files
	// kept says how, for people.
	kept string
}

// keyring opens the secrets of a role, or prepares to make them. It waits a
// while for who seals.
func (h *holding) keyring(ctx context.Context, env Env) (*keyring, error) {
	if err := os.MkdirAll(h.data, 0o700); err != nil {
		return nil, err
	}
	if h.Seal == "" {
		return h.plainKeyring()
	}
	found, err := h.plain()
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		return nil, fmt.Errorf("%s in plain files, and settings say seal %s: move them into the sealed store with `cocoon seal import %s`, with the same settings",
			strings.Join(found, ", "), h.Seal, h.role)
	}
	by, err := h.sealer(ctx)
	if err != nil {
		return nil, err
	}
	k := &keyring{holding: h, kept: "sealed to " + by.Binding()}
	err = patiently(ctx, env, func() (err error) {
		k.store, err = h.open(ctx, by)
		return err
	})
	return k, err
}

// begin opens the secrets for a role that is about to run, and keeps other
// processes out of its directory until release.
func (h *holding) begin(ctx context.Context, env Env) (k *keyring, release func(), err error) {
	if err = os.MkdirAll(h.data, 0o700); err == nil {
		release, err = h.hold()
	}
	if err == nil {
		if k, err = h.keyring(ctx, env); err != nil {
			release()
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("data %s: %w", h.data, err)
	}
	if h.Seal != "" {
		env.log().Info("this node's secrets are sealed", "store", k.store.ID(), "kept", k.kept)
	}
	return k, release, nil
}

func (h *holding) plainKeyring() (*keyring, error) {
	if _, err := os.Lstat(h.path(SealedFile)); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds this node's secrets, and settings do not say by whom it is sealed: set seal; without it the node would become another", SealedFile)
	}
	return &keyring{holding: h, kept: "plain files in the data directory"}, nil
}

// open opens the store, and makes one only where there cannot have been one.
func (h *holding) open(ctx context.Context, by *sealer) (*seal.Store, error) {
	store, err := seal.Open(ctx, h.path(SealedFile), by.Source)
	var sealed *seal.SealedError
	switch {
	case errors.As(err, &sealed):
		return nil, h.explain(sealed)
	case !errors.Is(err, fs.ErrNotExist):
		return store, err
	}
	if trace := h.trace(); trace != "" {
		return nil, fmt.Errorf("%s is gone, and %s shows that there was one: bring back a copy; to begin anew, as another node, move the directory away", SealedFile, trace)
	}
	return seal.Create(ctx, h.path(SealedFile), by.Source)
}

// trace is what secrets have left in the directory, empty if nothing.
func (h *holding) trace() string {
	for _, pattern := range []string{"*.pub", "wallet", ledgerDir} {
		if found, _ := filepath.Glob(h.path(pattern)); len(found) > 0 {
			return filepath.Base(found[0])
		}
	}
	return ""
}

// explain says what to do about a store that this image cannot open.
func (h *holding) explain(e *seal.SealedError) error {
	var images []string
	for _, s := range e.Info.Slots {
		if s.Image != "" {
			images = append(images, s.Image)
		}
	}
	who := "of an unknown image"
	if len(images) > 0 {
		who = "of image " + strings.Join(images, ", ")
	}
	return fmt.Errorf("%w, by its own word %s: let that one hand it over: here `cocoon seal request %[3]s --out request.json`, there `cocoon seal grant %[3]s request.json --out grant.json`, "+
		"and here `cocoon seal accept %[3]s grant.json`, each with its node's --config", e, who, h.role)
}

// sealPatience is how long a start waits for the sealing service.
const sealPatience = 2 * time.Minute

// patiently tries again while whoever seals is away. Nothing is made meanwhile:
// a key that cannot be read now is not gone.
func patiently(ctx context.Context, env Env, try func() error) error {
	begun := time.Now()
	for wait := time.Second; ; wait = min(2*wait, 15*time.Second) {
		err := try()
		if !errors.Is(err, seal.ErrAway) {
			return err
		}
		if time.Since(begun) >= sealPatience {
			return fmt.Errorf("%w; it was tried for %v: mend the service on the host and start again; no secret was made or lost", err, sealPatience)
		}
		env.log().Warn("the secrets of this node cannot be opened yet; trying again", "in", wait, "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// key is the key of a name, made if there is none.
func (k *keyring) key(name string) (wallet.Key, error) {
	if k.store == nil {
		return wallet.NodeKey(k.path(name))
	}
	seed, err := k.store.Secret(name, ed25519.SeedSize)
	if err != nil {
		return wallet.Key{}, err
	}
	key := wallet.KeyOf(ed25519.NewKeyFromSeed(seed))
	return key, k.publish(name, key.Public())
}

// publish leaves the public half beside the store, for who looks at the
// directory from outside.
func (k *keyring) publish(name string, key ed25519.PublicKey) error {
	path, text := k.path(publicName(name)), hex.EncodeToString(key)+"\n"
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

func publicName(name string) string { return strings.TrimSuffix(name, ".key") + ".pub" }

// secret is what a client shares with proxies, made if there is none.
func (k *keyring) secret() (string, error) {
	if k.store == nil {
		return settlement.Secret(k.path(secretFile))
	}
	if k.store.Value(secretFile) == nil {
		if err := k.store.Import(secretFile, []byte(rand.Text()+rand.Text())); err != nil {
			return "", err
		}
	}
	secret := string(k.store.Value(secretFile))
	return secret, settlement.CheckSecret(secret)
}

// blob is a secret that changes.
func (k *keyring) blob(name string) keys.Store {
	if k.store == nil {
		return keys.File(k.path(name))
	}
	return sealedBlob{k.store, name}
}

type sealedBlob struct {
	store *seal.Store
	name  string
}

// Load implements [keys.Store].
func (b sealedBlob) Load() ([]byte, error) {
	if data := b.store.Value(b.name); data != nil {
		return data, nil
	}
	return nil, fs.ErrNotExist
}

// Save implements [keys.Store].
func (b sealedBlob) Save(data []byte) error { return b.store.Replace(b.name, data) }

// PublicKey is the public half of a key that a role keeps; the key is made if
// it is missing.
func PublicKey(ctx context.Context, role Role, name string) (ed25519.PublicKey, error) {
	k, ok := role.(keeper)
	if !ok {
		return nil, fmt.Errorf("%T keeps no keys", role)
	}
	ring, err := k.holding().keyring(ctx, Env{})
	if err != nil {
		return nil, err
	}
	key, err := ring.key(name)
	return key.Public(), err
}

// ReadPublicKey is the public half of a key in a data directory, which need
// not be open: a plain file, or what a sealed store has left beside it.
func ReadPublicKey(data, name string) (ed25519.PublicKey, error) {
	path := filepath.Join(data, name)
	_, err := os.Lstat(path)
	if err == nil {
		key, err := wallet.NodeKey(path)
		return key.Public(), err
	}
	text, err2 := os.ReadFile(filepath.Join(data, publicName(name)))
	if err2 != nil {
		return nil, errors.Join(err, err2)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%s: want a public key, 64 hexadecimal digits", filepath.Join(data, publicName(name)))
	}
	return key, nil
}
