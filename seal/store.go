package seal

import (
	"bytes"
	"cmp"
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
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/opencocoon/cocoon/atomicfile"
)

// Store is a file of secrets under one random master key. The master key lies
// in the file once for each image and machine that may open it, encrypted by
// what that one's [Source] gives. It is safe for concurrent use, by several
// processes too: each change begins with what is on disk.
//
// Its host can delete it or bring back an older copy, and cannot read it,
// change it, or take one secret out. A store that is gone must not be made
// anew without being asked, as that is a new identity: keep copies.
type Store struct {
	path    string
	sealing [32]byte // this image's

	mu      sync.Mutex // guards the rest
	master  [32]byte
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
	Slot
	Master []byte `json:"master"`
}

// Slot says who can open a store. Nothing proves it: whoever writes the file
// can write another. It is for people.
type Slot struct {
	Image   string    `json:"image,omitempty"` // hash of the image, if it was known
	Binding string    `json:"binding"`         // what its key depends on
	Made    time.Time `json:"made,omitzero"`
}

// Info is what anybody can read of a store.
type Info struct {
	ID    string `json:"id"`
	Slots []Slot `json:"slots"`
}

const (
	format       = 1
	maxStore     = 1 << 20
	keyName      = "cocoon store" // of the sealing key
	labelSlot    = "cocoon seal slot"
	labelSecrets = "cocoon seal secrets"
)

// Inspect reads what anybody can read of the store at path.
func Inspect(path string) (Info, error) {
	file, err := readStore(path)
	return file.info(), err
}

// Open opens the store at path. fs.ErrNotExist means that there is none,
// ErrSealed that another image or machine made it, ErrAway that nobody can tell
// now.
func Open(ctx context.Context, path string, source Source) (*Store, error) {
	file, err := readStore(path)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path}
	if s.sealing, err = source.Key(ctx, keyName); err != nil {
		return nil, err
	}
	return s, s.adopt(file)
}

// Create makes an empty store at path; fs.ErrExist means that there is one.
func Create(ctx context.Context, path string, source Source) (*Store, error) {
	s := &Store{path: path, secrets: map[string][]byte{}}
	var err error
	if s.sealing, err = source.Key(ctx, keyName); err != nil {
		return nil, err
	}
	unlock, err := lockStore(path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, cmp.Or(err, fs.ErrExist))
	}
	id := make([]byte, 32)
	rand.Read(id)
	rand.Read(s.master[:])
	s.file = storeFile{Format: format, ID: hex.EncodeToString(id)}
	s.file.admit(describe(source, time.Now()), s.sealing, s.master)
	return s, s.write()
}

// adopt takes what a file holds for true, if this image can open it.
func (s *Store) adopt(file storeFile) error {
	i := file.slotOf(s.sealing)
	if i < 0 {
		return &SealedError{s.path, file.info()}
	}
	master, _ := file.master(i, s.sealing)
	secrets, err := file.open(master)
	if err != nil {
		return fmt.Errorf("%s: the secrets are damaged: %w: bring back a copy of the file", s.path, err)
	}
	s.file, s.master, s.secrets = file, master, secrets
	return nil
}

// slotOf is the place of the slot that a sealing key opens, -1 if none does.
func (f *storeFile) slotOf(sealing [32]byte) int {
	return slices.IndexFunc(f.Slots, func(slot slot) bool {
		master, err := decrypt(sealing[:], labelSlot, f.ID, slot.Master)
		return err == nil && len(master) == 32
	})
}

func (f *storeFile) master(i int, sealing [32]byte) (master [32]byte, err error) {
	b, err := decrypt(sealing[:], labelSlot, f.ID, f.Slots[i].Master)
	copy(master[:], b)
	return master, err
}

// open decrypts the secrets.
func (f *storeFile) open(master [32]byte) (secrets map[string][]byte, err error) {
	text, err := decrypt(master[:], labelSecrets, f.ID, f.Secrets)
	if err == nil {
		secrets = map[string][]byte{}
		err = json.Unmarshal(text, &secrets)
	}
	return secrets, err
}

// admit adds the master key for a sealing key, in place of what it had.
func (f *storeFile) admit(who Slot, sealing, master [32]byte) {
	for i := f.slotOf(sealing); i >= 0; i = f.slotOf(sealing) {
		f.Slots = slices.Delete(f.Slots, i, i+1)
	}
	f.Slots = append(f.Slots, slot{who, encrypt(sealing[:], labelSlot, f.ID, master[:])})
}

// describe is what a slot says of its source.
func describe(source Source, now time.Time) Slot {
	s := Slot{Binding: source.Binding(), Made: now.UTC().Truncate(time.Second)}
	if n, ok := source.(named); ok {
		s.Image = n.image
	}
	return s
}

// info is for people's eyes: what a terminal would obey is left out.
func (f *storeFile) info() Info {
	clean := func(text string) string {
		return strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return -1
			}
			return r
		}, text[:min(len(text), 200)])
	}
	i := Info{ID: f.ID, Slots: []Slot{}}
	for _, s := range f.Slots {
		i.Slots = append(i.Slots, Slot{clean(s.Image), clean(s.Binding), s.Made})
	}
	return i
}

// Secret returns the secret of a name, size bytes; if there is none, a random
// one is made and is on disk when Secret returns.
func (s *Store) Secret(name string, size int) ([]byte, error) {
	value := s.Value(name)
	if value == nil {
		value = make([]byte, size)
		rand.Read(value)
		err := s.change(func() error {
			if another, ok := s.secrets[name]; ok { // another process was first
				value = another
				return nil
			}
			s.secrets[name] = value
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(value) != size {
		return nil, fmt.Errorf("%s: secret %q has %d bytes, want %d", s.path, name, len(value), size)
	}
	return slices.Clone(value), nil
}

// Value returns the secret of a name, nil if there is none.
func (s *Store) Value(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.secrets[name])
}

// Names are those of all secrets, sorted.
func (s *Store) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.secrets))
}

// Import stores a secret that exists already, as a key that was a plain file.
// It replaces no other; the same again is no error.
func (s *Store) Import(name string, value []byte) error {
	return s.change(func() error {
		if old, ok := s.secrets[name]; ok && !bytes.Equal(old, value) {
			return fmt.Errorf("%s holds another secret %q already; it is not replaced", s.path, name)
		}
		s.secrets[name] = slices.Clone(value)
		return nil
	})
}

// Replace stores the newest value of a secret that changes. Copies of the file
// that somebody has kept still hold the older ones.
func (s *Store) Replace(name string, value []byte) error {
	return s.change(func() error {
		s.secrets[name] = slices.Clone(value)
		return nil
	})
}

// Forget makes this image the only one that can open the store, under a new
// master key, and says how many slots are gone. Older copies of the file open
// as before.
func (s *Store) Forget() (gone int, err error) {
	err = s.change(func() error {
		own := s.file.Slots[s.file.slotOf(s.sealing)].Slot
		gone = len(s.file.Slots) - 1
		rand.Read(s.master[:])
		s.file.Slots = nil
		s.file.admit(own, s.sealing, s.master)
		return nil
	})
	return gone, err
}

// change applies f to what is on disk now and writes that; if anything fails
// the store is as it was.
func (s *Store) change(f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := lockStore(s.path)
	if err != nil {
		return err
	}
	defer unlock()
	file, master, secrets := s.file, s.master, maps.Clone(s.secrets)
	if err = s.refresh(); err == nil {
		err = f()
	}
	if err == nil {
		err = s.write()
	}
	if err != nil {
		s.file, s.master, s.secrets = file, master, secrets
	}
	return err
}

// refresh adopts what other processes have written. What the file lacks, as
// one that was deleted or brought back from a copy, stays.
func (s *Store) refresh() error {
	file, err := readStore(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if file.ID != s.file.ID {
		return fmt.Errorf("%s is store %.16s…, it was %.16s…: somebody has put another in its place; it is left alone", s.path, file.ID, s.file.ID)
	}
	before := s.secrets
	if err := s.adopt(file); err != nil {
		return err
	}
	for name, value := range before {
		if _, ok := s.secrets[name]; !ok {
			s.secrets[name] = value
		}
	}
	return nil
}

// ID names the store, the same for all its copies.
func (s *Store) ID() string { return s.file.ID } // no change changes it

// lockStore keeps other processes from changing a store, whose own file is
// replaced by each change.
func lockStore(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	return func() { f.Close() }, nil
}

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
	if len(text) >= maxStore {
		return fmt.Errorf("%s: %d bytes, want less than %d: nobody could read it", path, len(text), maxStore)
	}
	return atomicfile.Replace(path, append(text, '\n'), 0o600)
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
