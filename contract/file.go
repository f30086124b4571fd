package contract

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// maxFileBytes bounds a registry file; a large one has some hundred kilobytes.
const maxFileBytes = 16 << 20

// Memory is a registry that its owner sets. The zero value is not usable: see [NewMemory].
type Memory struct {
	mu      sync.Mutex // guards the two below
	root    *Root
	changed chan struct{}
}

// NewMemory returns a registry holding this snapshot.
func NewMemory(r *Root) *Memory { return &Memory{root: r, changed: make(chan struct{})} }

// Root is the newest snapshot.
func (m *Memory) Root() *Root {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.root
}

// Changed is closed when the snapshot is replaced.
func (m *Memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Set replaces the snapshot and wakes everybody who waits for a change.
func (m *Memory) Set(r *Root) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.root = r
	close(m.changed)
	m.changed = make(chan struct{})
}

// File is a registry read from a file, for networks without a chain. It
// watches the file while [File.Run] runs. Bad new content is reported and the
// old stays in force: a slip of the pen must not stop a network.
type File struct {
	*Memory
	path string
	log  *slog.Logger
	sum  [32]byte // of the content last looked at, good or bad
	seen os.FileInfo
}

// OpenFile reads the registry file once; nil log discards warnings.
func OpenFile(path string, log *slog.Logger) (*File, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &File{path: path, log: log}
	root, err := f.read()
	if err != nil {
		return nil, err
	}
	f.Memory = NewMemory(root)
	return f, nil
}

// Run looks at the file every interval (0 is every two seconds) until ctx ends.
func (f *File) Run(ctx context.Context, interval time.Duration) error {
	if interval <= 0 {
		interval = 2 * time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := f.Reload(); err != nil {
				f.log.Error("registry: new content refused, the old stays in force", "file", f.path, "error", err)
			}
		}
	}
}

// Reload takes the file's content if it has changed and is good. The same bad
// content is reported once. Not for use beside Run.
func (f *File) Reload() error {
	info, err := os.Stat(f.path)
	if err == nil && f.seen != nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() {
		return nil
	}
	before := f.sum
	root, err := f.read()
	if f.sum == before {
		return nil
	}
	if err != nil {
		return err
	}
	old := f.Root()
	if err := root.follows(old); err != nil {
		return err
	}
	if root.Version == old.Version {
		f.log.Warn("registry: content changed under the same version: peers cannot tell", "file", f.path, "version", root.Version)
	}
	f.log.Info("registry: new content", "file", f.path, "version", root.Version)
	f.Set(root)
	return nil
}

func (f *File) read() (*Root, error) {
	file, err := os.Open(f.path)
	if err != nil {
		f.seen, f.sum = nil, sha256.Sum256([]byte(err.Error()))
		return nil, fmt.Errorf("registry: %w", err)
	}
	defer file.Close()
	f.seen, _ = file.Stat()
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = errors.New("file is larger than 16 MiB")
	}
	f.sum = sha256.Sum256(content)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", f.path, err)
	}
	root, unknown, err := Parse(bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")))
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", f.path, err)
	}
	for _, key := range unknown {
		f.log.Warn("registry: unknown member, ignored", "file", f.path, "member", key)
	}
	return root, nil
}
