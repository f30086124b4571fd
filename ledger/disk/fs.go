package disk

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencocoon/cocoon/ledger"
)

// FS is what a store asks of a file system. It is a seam: tests put one there
// that fills up, tears writes and crashes.
//
//   - What File.Sync has acknowledged must survive a crash, and so must names that SyncDir has.
//   - Rename must replace the target at once.
//   - Lock must fail with [ledger.ErrHeld] while another process has the lock; it ends with its holder.
type FS interface {
	MkdirAll(dir string) error
	ReadDir(dir string) (names []string, err error)
	OpenFile(name string, flag int) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	SyncDir(dir string) error
	Lock(name string) (io.Closer, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Size() (int64, error)
}

// OS is the machine's own file system. Only the operator may read what it makes.
type OS struct{}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	i, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}

// MkdirAll implements FS.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

// ReadDir implements FS.
func (OS) ReadDir(dir string) (names []string, err error) {
	list, err := os.ReadDir(dir)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names, err
}

// OpenFile implements FS.
func (OS) OpenFile(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir implements FS.
func (OS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(syncDir(f), f.Close())
}

// Lock implements FS.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := lockFile(name)
	if err != nil && held(err) {
		return nil, fmt.Errorf("%w (%s)", ledger.ErrHeld, name)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}
