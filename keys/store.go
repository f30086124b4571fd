package keys

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/opencocoon/cocoon/fieldcrypt"

	"github.com/opencocoon/cocoon/atomicfile"
)

// Store keeps a key manager's keys, as one blob that holds secrets.
//
//   - Load must return what the last Save that returned nil has stored, or
//     fs.ErrNotExist if there was none.
//   - Save must be durable when it returns nil, and leave the old blob in force
//     otherwise. Data must not be kept.
type Store interface {
	Load() (data []byte, err error)
	Save(data []byte) error
}

// File is a store in a file for its owner alone (mode 0600). It is not encrypted
// by itself, so the disk below it must be: sealed to the machine, or encrypted
// with a key that only the machine gets.
type File string

// maxStored bounds a store; a day's keys take 5 kB.
const maxStored = 1 << 20

// Load implements [Store].
func (f File) Load() ([]byte, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
		return nil, fmt.Errorf("%s: others may read it (mode %04o), want 0600: chmod 600 it", f, info.Mode().Perm())
	case info.Size() > maxStored:
		return nil, fmt.Errorf("%s: %d bytes, want at most %d", f, info.Size(), maxStored)
	}
	data := make([]byte, info.Size())
	_, err = file.ReadAt(data, 0)
	return data, err
}

// Save implements [Store]. The new blob appears whole or not at all. What a crash
// left half done goes with the next one: it holds keys that may have been erased since.
func (f File) Save(data []byte) error {
	half := string(f) + ".new"
	if err := os.Remove(half); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp, err := os.OpenFile(half, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(half) // fails once renamed, as it should
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(half, string(f)); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(string(f)))
}

// stored is the blob. A member that a reader does not know is an error: it may
// be why a key must not be used.
type stored struct {
	Format int         `json:"format"`
	Keys   []storedKey `json:"keys"`
}

type storedKey struct {
	Private    string `json:"private"`
	Type       uint8  `json:"type"`
	Created    int64  `json:"created"`
	Expires    int64  `json:"expires"`
	Registered bool   `json:"registered"`
}

const storeFormat = 1

func encode(keys []*entry) []byte {
	s := stored{Format: storeFormat, Keys: []storedKey{}}
	for _, e := range keys {
		s.Keys = append(s.Keys, storedKey{hex.EncodeToString(e.seed[:]), e.kind, e.created, e.expires, e.registered})
	}
	data, _ := json.Marshal(s) // texts and numbers: cannot fail
	return append(data, '\n')
}

func save(to Store, keys []*entry) error {
	data := encode(keys)
	defer clear(data)
	return to.Save(data)
}

func load(from Store) ([]*entry, error) {
	data, err := from.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	defer clear(data)
	return decode(data)
}

// Check says whether a key manager could start from a store.
func Check(s Store) error {
	list, err := load(s)
	for _, e := range list {
		e.forget()
	}
	return err
}

// decode reads a blob. Its errors quote nothing of it.
func decode(data []byte) (keys []*entry, err error) {
	var s stored
	if err := strictly(data, &s); err != nil {
		return nil, errors.New("keys: the store is damaged: it is not as it was written")
	}
	if s.Format != storeFormat {
		return nil, fmt.Errorf("keys: the store has format %d, want %d", s.Format, storeFormat)
	}
	seen := map[fieldcrypt.PublicKey]bool{}
	for i, k := range s.Keys {
		e := &entry{kind: k.Type, created: k.Created, expires: k.Expires, registered: k.Registered}
		raw, err := hex.DecodeString(k.Private)
		if err != nil || len(raw) != len(e.seed) || k.Created < 0 || k.Expires <= k.Created || k.Expires >= 1<<32 {
			return nil, fmt.Errorf("keys: the store is damaged: key %d is not as it was written", i+1)
		}
		copy(e.seed[:], raw)
		clear(raw)
		if e.public = e.seed.Public(); seen[e.public] {
			return nil, fmt.Errorf("keys: the store is damaged: key %d is there twice", i+1)
		}
		seen[e.public] = true
		keys = append(keys, e)
	}
	return keys, nil
}

// strictly decodes one JSON value with nothing unknown in it and nothing behind it.
func strictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows")
	}
	return nil
}
