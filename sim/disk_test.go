package sim

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/disk"
)

// platter is a node's disk with the manners of a real one: what was written and
// not synced may be lost in a crash, or half there. It can be full, and the
// machine can stop at any operation.
type platter struct {
	r *rand.Rand

	mu      sync.Mutex // guards all below
	names   map[string]*inode
	durable map[string]*inode // as of the last SyncDir
	stopped bool
	full    bool
	stopIn  int // operations until the machine stops; 0 is never
	locked  bool
}

type inode struct {
	data, synced []byte
	last         int // where the last unsynced write began
}

var errFull = errors.New("no space left on device")

func newPlatter(r *rand.Rand) *platter {
	return &platter{r: r, names: map[string]*inode{}, durable: map[string]*inode{}}
}

// step counts an operation that changes something. part asks for a part of a
// write before it fails.
func (p *platter) step(grows bool) (part bool, err error) {
	if p.stopped {
		return false, errDead
	}
	if p.stopIn > 0 {
		if p.stopIn--; p.stopIn == 0 {
			p.stopped = true
			return true, errDead
		}
	}
	if p.full && grows {
		return true, errFull
	}
	return false, nil
}

// crash leaves what a machine without power leaves, by lot.
func (p *platter) crash() {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.durable
	if p.r.IntN(2) == 0 {
		from = p.names // names may survive without having been synced
	}
	left := map[string]*inode{}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		f := from[name]
		data := f.synced
		switch p.r.IntN(4) {
		case 1: // everything that was written
			data = f.data
		case 2: // a part of the last write
			if len(f.data) > len(f.synced) {
				last := min(f.last, len(f.data))
				data = f.data[:max(len(f.synced), last+p.r.IntN(len(f.data)-last+1))]
				if p.r.IntN(2) == 0 { // and holes for the rest, in whole sectors
					data = append(slices.Clone(data[:max(len(f.synced), len(data)/512*512)]), make([]byte, max(0, len(f.data)-max(len(f.synced), len(data)/512*512)))...)
				}
			}
		case 3: // the size of the last write and not its bytes
			data = append(slices.Clone(f.synced), make([]byte, max(0, len(f.data)-len(f.synced)))...)
		}
		left[name] = &inode{data: slices.Clone(data), synced: slices.Clone(data)}
	}
	p.names, p.durable = left, maps.Clone(left)
	p.stopped, p.stopIn, p.locked = false, 0, false
}

// copy is a backup, or puts one back.
func (p *platter) copy() map[string]*inode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cloneFiles(p.names)
}

func cloneFiles(files map[string]*inode) map[string]*inode {
	out := map[string]*inode{}
	for name, f := range files {
		out[name] = &inode{data: slices.Clone(f.data), synced: slices.Clone(f.data)}
	}
	return out
}

func (p *platter) restore(files map[string]*inode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names = cloneFiles(files)
	p.durable = maps.Clone(p.names)
	p.stopped, p.stopIn, p.locked = false, 0, false
}

func (p *platter) MkdirAll(string) error { return nil }

func (p *platter) ReadDir(dir string) (names []string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(p.names)) {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

func (p *platter) OpenFile(name string, flag int) (disk.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.names[name]
	switch {
	case !ok && flag&os.O_CREATE == 0:
		return nil, os.ErrNotExist
	case !ok || flag&os.O_TRUNC != 0:
		if _, err := p.step(true); err != nil {
			return nil, err
		}
		f = &inode{}
		p.names[name] = f
	}
	return &handle{p, f}, nil
}

func (p *platter) change(f func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.step(false); err != nil {
		return err
	}
	f()
	return nil
}

func (p *platter) Rename(from, to string) error {
	return p.change(func() { p.names[to] = p.names[from]; delete(p.names, from) })
}
func (p *platter) Remove(name string) error { return p.change(func() { delete(p.names, name) }) }
func (p *platter) SyncDir(string) error {
	return p.change(func() { p.durable = maps.Clone(p.names) })
}

func (p *platter) Lock(string) (io.Closer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.locked {
		return nil, ledger.ErrHeld
	}
	p.locked = true
	return unlock{p}, nil
}

type unlock struct{ p *platter }

func (u unlock) Close() error {
	u.p.mu.Lock()
	defer u.p.mu.Unlock()
	u.p.locked = false
	return nil
}

type handle struct {
	p *platter
	f *inode
}

func (h *handle) ReadAt(b []byte, off int64) (int, error) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	if off >= int64(len(h.f.data)) {
		return 0, io.EOF
	}
	n := copy(b, h.f.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(b []byte, off int64) (int, error) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	part, err := h.p.step(true)
	if err != nil {
		if !part {
			return 0, err
		}
		b = b[:h.p.r.IntN(len(b)+1)]
	}
	if grow := int(off) + len(b) - len(h.f.data); grow > 0 {
		h.f.data = append(h.f.data, make([]byte, grow)...)
	}
	h.f.last = int(off)
	return copy(h.f.data[off:], b), err
}

func (h *handle) Truncate(size int64) error {
	return h.p.change(func() {
		if size < int64(len(h.f.data)) {
			h.f.data = h.f.data[:size]
		}
	})
}

func (h *handle) Sync() error {
	return h.p.change(func() { h.f.synced = slices.Clone(h.f.data); h.f.last = len(h.f.data) })
}

func (h *handle) Size() (int64, error) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	return int64(len(h.f.data)), nil
}

func (h *handle) Close() error { return nil }
