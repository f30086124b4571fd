package wallet

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// KeyFile is a person's wallet on disk: JSON that only its owner may read. The
// secret in it may be locked with a passphrase.
//
//	{"kind": "cocoon wallet", "version": "v5r1", "network": -239, "address": "UQ…",
//	 "words": "…" or "seed": "…" or "sealed": {"kdf": "pbkdf2-sha512", "rounds": …, "salt": …, "box": …}}
//
// A sealed secret is AES-256-GCM under a key made from the passphrase; the box
// is its nonce and ciphertext, and the address is authenticated with it.
type KeyFile struct {
	Version Version
	Network Network
	// Mnemonic is zero in a file made from a bare key.
	Mnemonic Mnemonic
	Key      Key
}

// Wallet is the wallet that the file opens.
func (f *KeyFile) Wallet() (*Wallet, error) { return New(f.Key, f.Version, f.Network) }

// ErrPassphrase means that a key file is locked and the passphrase, if one was
// given, is not the one it was locked with.
var ErrPassphrase = errors.New("wrong passphrase")

const (
	keyFileKind = "cocoon wallet"
	// kdfRounds makes a guess cost about a third of a second on a laptop's core.
	kdfRounds = 600_000
	// maxKDFRounds keeps a file from holding its reader for minutes.
	maxKDFRounds = 20_000_000
	maxKeyFile   = 64 << 10
)

type keyFileJSON struct {
	Kind    string      `json:"kind"`
	Version string      `json:"version"`
	Network Network     `json:"network"`
	Address string      `json:"address"`
	Words   string      `json:"words,omitempty"`
	Seed    string      `json:"seed,omitempty"`
	Sealed  *sealedJSON `json:"sealed,omitempty"`
}

type sealedJSON struct {
	KDF    string `json:"kdf"`
	Rounds int    `json:"rounds"`
	Salt   []byte `json:"salt"`
	Box    []byte `json:"box"`
}

// Save writes the file, for its owner's eyes; it never replaces one. With an
// empty passphrase the secret is in the clear.
func (f *KeyFile) Save(path, passphrase string) error {
	w, err := f.Wallet()
	if err != nil {
		return err
	}
	j := keyFileJSON{Kind: keyFileKind, Version: f.Version.String(), Network: f.Network, Address: w.Address().String()}
	if f.Mnemonic.IsZero() {
		j.Seed = f.Key.Seed()
	} else {
		j.Words = f.Mnemonic.Reveal()
	}
	if passphrase != "" {
		if err := j.seal(passphrase, kdfRounds); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return err
	}
	return writePrivate(path, append(text, '\n'))
}

// LoadKeyFile reads a key file. Passphrase is asked for if it is locked; nil
// gives [ErrPassphrase] then. Files that others may read are refused.
func LoadKeyFile(path string, passphrase func() (string, error)) (*KeyFile, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	f, err := parseKeyFile(text, passphrase)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return f, nil
}

func parseKeyFile(text []byte, passphrase func() (string, error)) (*KeyFile, error) {
	var j keyFileJSON
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	// The decoder's errors name fields and offsets and, of what is in strings,
	// nothing.
	if err := d.Decode(&j); err != nil {
		return nil, fmt.Errorf("not a wallet's key file: %w", err)
	}
	if j.Kind != keyFileKind {
		return nil, fmt.Errorf("kind is %q, want %q", clip(j.Kind), keyFileKind)
	}
	version, err := ParseVersion(j.Version)
	if err != nil {
		return nil, err
	}
	if j.Sealed != nil {
		if err := j.unseal(passphrase); err != nil {
			return nil, err
		}
	}
	f := &KeyFile{Version: version, Network: j.Network}
	if err := f.secret(&j); err != nil {
		return nil, err
	}
	w, err := f.Wallet()
	if err != nil {
		return nil, err
	}
	if got := w.Address().String(); got != j.Address {
		return nil, fmt.Errorf("its secret opens wallet %s, the file says %q: one of them was changed", got, clip(j.Address))
	}
	return f, nil
}

func (f *KeyFile) secret(j *keyFileJSON) (err error) {
	switch {
	case (j.Words == "") == (j.Seed == ""):
		return errors.New("want words, or a seed, or one of them sealed")
	case j.Words == "":
		f.Key, err = ParseKey(j.Seed)
		return err
	}
	if f.Mnemonic, err = ParseMnemonic(j.Words); err != nil {
		return err
	}
	f.Key, err = f.Mnemonic.Key()
	return err
}

// seal moves the secret into a locked box.
func (j *keyFileJSON) seal(passphrase string, rounds int) error {
	s := &sealedJSON{KDF: "pbkdf2-sha512", Rounds: rounds, Salt: make([]byte, 16)}
	nonce := make([]byte, 12)
	rand.Read(s.Salt)
	rand.Read(nonce)
	aead, err := s.cipher(passphrase)
	if err != nil {
		return err
	}
	secret := "words " + j.Words
	if j.Words == "" {
		secret = "seed " + j.Seed
	}
	s.Box = aead.Seal(nonce, nonce, []byte(secret), []byte(j.Address))
	j.Words, j.Seed, j.Sealed = "", "", s
	return nil
}

func (j *keyFileJSON) unseal(ask func() (string, error)) error {
	if j.Words != "" || j.Seed != "" {
		return errors.New("a secret is both sealed and in the clear")
	}
	s := j.Sealed
	if s.KDF != "pbkdf2-sha512" || s.Rounds < 1 || s.Rounds > maxKDFRounds || len(s.Box) < 12 {
		return fmt.Errorf("sealed by %q with %d rounds, want pbkdf2-sha512 with 1 to %d", clip(s.KDF), s.Rounds, maxKDFRounds)
	}
	if ask == nil {
		return fmt.Errorf("%w: the file is locked", ErrPassphrase)
	}
	passphrase, err := ask()
	if err != nil {
		return err
	}
	aead, err := s.cipher(passphrase)
	if err != nil {
		return err
	}
	secret, err := aead.Open(nil, s.Box[:12], s.Box[12:], []byte(j.Address))
	if err != nil {
		return ErrPassphrase
	}
	kind, value, _ := strings.Cut(string(secret), " ")
	if kind == "words" {
		j.Words = value
	} else {
		j.Seed = value
	}
	return nil
}

func (s *sealedJSON) cipher(passphrase string) (cipher.AEAD, error) {
	key, err := pbkdf2.Key(sha512.New, passphrase, s.Salt, s.Rounds, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
