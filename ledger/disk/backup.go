package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Backup copies the ledger as it stands now into an empty directory, while it goes on
// being written. A copy is for disasters: a proxy that starts with one that
// is not the newest finds out from the chain and its peers, and refuses.
func (s *Store) Backup(dir string) error {
	s.files.RLock()
	defer s.files.RUnlock()
	if err := s.fs.MkdirAll(dir); err != nil {
		return err
	}
	names, err := s.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("backup into %s: it is not empty", dir)
	}
	s.mu.Lock()
	snapshot, segments := s.snapshot, slices.Clone(s.segments)
	s.mu.Unlock()
	if snapshot > 0 {
		if err := s.copyTo(dir, s.snapshotPath(snapshot), -1); err != nil {
			return err
		}
	}
	for _, g := range segments {
		if err := s.copyTo(dir, s.logPath(g.first), g.size); err != nil {
			return err
		}
	}
	return s.fs.SyncDir(dir)
}

// copyTo copies the first size bytes of a file, -1 for all.
func (s *Store) copyTo(dir, name string, size int64) error {
	from, err := s.fs.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer from.Close()
	if size < 0 {
		if size, err = from.Size(); err != nil {
			return err
		}
	}
	to, err := s.fs.OpenFile(filepath.Join(dir, filepath.Base(name)), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(to, 0), io.NewSectionReader(from, 0, size))
	if err == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}
