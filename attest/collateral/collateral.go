// Package collateral keeps what vendors publish about their processors and
// GPUs, so that judging a peer seldom waits for another machine: [Cache] in
// memory and on disk, until it ends by its own word, asking for it anew ahead
// of time.
//
// What is kept is not trusted for that. It is signed, and verifiers check it
// each time. What the statements are, and where they come from, is the business
// of attest/tdx, attest/snp and attest/nvidia.
package collateral

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencocoon/cocoon/atomicfile"
)

// Max bounds one answer, in bytes. The largest today are under 100 kB.
const Max = 1 << 20

// Read reads an answer of at most [Max] bytes.
func Read(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, Max+1))
	if len(b) > Max {
		return nil, fmt.Errorf("collateral of more than %d bytes", Max)
	}
	return b, err
}

// ReadFile reads an answer from a file.
func ReadFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f)
}

// Disk keeps answers over restarts.
//
//   - Read returns an answer that Write kept and when it was fetched, zero if
//     that is not known.
//   - Write must leave the old answer or the new one, whatever happens.
//   - Names are those that the cache's user gives; all methods may be called
//     from several goroutines.
type Disk[T any] interface {
	Read(name string) (answer T, fetched time.Time, err error)
	Write(name string, answer T, fetched time.Time) error
	Remove(name string)
}

// Files is a directory with one file for each answer, dated when it was
// fetched. The directory must exist.
type Files string

// Read implements [Disk].
func (f Files) Read(name string) ([]byte, time.Time, error) {
	info, err := os.Stat(f.path(name))
	if err != nil {
		return nil, time.Time{}, err
	}
	b, err := ReadFile(f.path(name))
	return b, info.ModTime(), err
}

// Write implements [Disk].
func (f Files) Write(name string, answer []byte, fetched time.Time) error {
	if err := atomicfile.Replace(f.path(name), answer, 0o644); err != nil {
		return err
	}
	return os.Chtimes(f.path(name), fetched, fetched)
}

// Remove implements [Disk].
func (f Files) Remove(name string) { os.Remove(f.path(name)) }

// path keeps names inside the directory.
func (f Files) path(name string) string { return filepath.Join(string(f), filepath.Base(name)) }
