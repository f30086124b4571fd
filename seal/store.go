package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Store is a file of secrets under one random master key. The master key lies
// in the file once for each image and machine that may open it, encrypted by
// what that one's [Source] gives. It is safe for concurrent use by one
// process; two processes must not write one store.
//
// Its host can delete it or bring back an older copy, and cannot read it,
// change it, or take one secret out. A store that is gone is made anew with
// other secrets, which is a new identity: keep copies.
type Store struct {
	path   string
	master [32]byte

	mu      sync.Mutex // guards the rest
	file    storeFile
	secrets map[string][]byte
}

// storeFile is the file. Byte strings are in base64.
type storeFile struct {
	Format  int    `json:"format"` // 1
	ID      string `json:"id"`     // 32 random bytes in hex, the same for all copies
	Slots   []slot `json:"slots"`
	Secrets []byte `json:"secrets"` // encrypted map of names to values
}

// slot is the master key for one image on one machine.
type slot struct {
	Binding string `json:"binding"` // what it depends on, for people
	Master  []byte `json:"master"`
}

const (
	format       = 1
	maxStore     = 1 << 20
	keyName      = "cocoon store" // of the sealing key
	labelSlot    = "cocoon seal slot"
	labelSecrets = "cocoon seal secrets"
)

// Open opens the store at path, or makes an empty one if there is none.
// ErrSealed means that another image or machine made it.
func Open(ctx context.Context, path string, source Source) (*Store, error) {
	sealing, err := source.Key(ctx, keyName)
	if err != nil {
		return nil, err
	}
	file, err := readStore(path)
	if errors.Is(err, fs.ErrNotExist) {
		return create(path, source, sealing)
	}
	if err != nil {
		return nil, err
	}
	for _, slot := range file.Slots {
		if master, err := decrypt(sealing[:], labelSlot, file.ID, slot.Master); err == nil && len(master) == 32 {
			return file.open(path, [32]byte(master))
		}
	}
	return nil, fmt.Errorf("%s: %w: let the image that can open it hand it over: cocoon seal --help", path, ErrSealed)
}

func create(path string, source Source, sealing [32]byte) (*Store, error) {
	s := &Store{path: path, secrets: map[string][]byte{}}
	id := make([]byte, 32)
	rand.Read(id)
	rand.Read(s.master[:])
	s.file = storeFile{Format: format, ID: hex.EncodeToString(id)}
	s.file.admit(source, sealing, s.master)
	return s, s.write()
}

// open decrypts the secrets.
func (f storeFile) open(path string, master [32]byte) (*Store, error) {
	s := &Store{path: path, master: master, file: f}
	text, err := decrypt(master[:], labelSecrets, f.ID, f.Secrets)
	if err == nil {
		err = json.Unmarshal(text, &s.secrets)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: the secrets are damaged: %w: bring back a copy of the file", path, err)
	}
	return s, nil
}

// admit adds the master key for a source.
func (f *storeFile) admit(source Source, sealing, master [32]byte) {
	f.Slots = append(f.Slots, slot{source.Binding(), encrypt(sealing[:], labelSlot, f.ID, master[:])})
}

// Secret returns the secret of a name, size bytes; if there is none, a random
// one is made and is on disk when Secret returns.
func (s *Store) Secret(name string, size int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value, ok := s.secrets[name]; ok {
		if len(value) != size {
			return nil, fmt.Errorf("%s: secret %q has %d bytes, want %d", s.path, name, len(value), size)
		}
		return slices.Clone(value), nil
	}
	value := make([]byte, size)
	rand.Read(value)
	return slices.Clone(value), s.put(name, value)
}

// Import stores a secret that exists already, as a key that was a plain file.
// It replaces nothing.
func (s *Store) Import(name string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.secrets[name]; ok {
		return fmt.Errorf("%s holds a secret %q already; it is not replaced", s.path, name)
	}
	return s.put(name, slices.Clone(value))
}

func (s *Store) put(name string, value []byte) error {
	s.secrets[name] = value
	err := s.write()
	if err != nil {
		delete(s.secrets, name)
	}
	return err
}

// ID names the store, the same for all its copies.
func (s *Store) ID() string { return s.file.ID }

// write replaces the file; it is on disk when write returns.
func (s *Store) write() error {
	text, err := json.Marshal(s.secrets)
	if err != nil {
		return err
	}
	s.file.Secrets = encrypt(s.master[:], labelSecrets, s.file.ID, text)
	return s.file.write(s.path)
}

func (f *storeFile) write(path string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".sealed-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(text, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a new name in a directory durable, where the system can.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

func readStore(path string) (f storeFile, err error) {
	err = readJSON(path, &f)
	if err == nil && (f.Format != format || len(f.ID) != 64) {
		err = fmt.Errorf("%s is no sealed store of format %d", path, format)
	}
	return f, err
}

// readJSON reads a file of at most maxStore bytes.
func readJSON(path string, into any) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxStore+1))
	if err == nil && len(text) > maxStore {
		err = fmt.Errorf("more than %d bytes", maxStore)
	}
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// encrypt is AES-256-GCM with a random nonce in front, under a key for this
// purpose and this store alone.
func encrypt(key []byte, label, id string, plain []byte) []byte {
	return cipherFor(key, label, id).Seal(nil, nil, plain, []byte(id))
}

func decrypt(key []byte, label, id string, sealed []byte) ([]byte, error) {
	return cipherFor(key, label, id).Open(nil, nil, sealed, []byte(id))
}

func cipherFor(key []byte, label, id string) cipher.AEAD {
	sub, err := hkdf.Key(sha256.New, key, []byte(id), label, 32)
	if err != nil {
		panic("seal: " + err.Error()) // the length is a constant
	}
	block, err := aes.NewCipher(sub)
	if err != nil {
		panic("seal: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("seal: " + err.Error())
	}
	return aead
}
