// Package disk keeps a ledger in a directory of this machine.
//
// Start with [Open]. Records are appended to segments, each write is synced
// before it is acknowledged, and checksums tell a write that a crash cut off,
// which is dropped, from damage, which is refused. A snapshot is written beside the log and takes its
// place by a rename. Segments before the snapshot are kept, as the history
// that an export and an audit read, unless the operator does not want them.
//
//	lock                       held while the store is open
//	snapshot-<event>           the sum of all events up to this one
//	log-<event>                records from this event on, up to the next segment
//	….new                      being written; removed when the store is opened
//
// What a record says is the business of package ledger.
package disk

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/opencocoon/cocoon/ledger"
)

// Options of a store. The zero value is fine.
type Options struct {
	// SegmentSize is the bytes of the log after which a new segment begins; 0 is 64 MiB.
	SegmentSize int64
	// DropHistory removes the movements before each snapshot instead of keeping
	// them. Then an audit starts from the snapshot.
	DropHistory bool
	// FS is the file system; nil is the machine's own.
	FS FS
}

// Store is a ledger's store in a directory. Its methods are safe for concurrent use.
type Store struct {
	dir string
	opt Options
	fs  FS

	lock  io.Closer
	looks bool // nothing is written

	compacting sync.Mutex   // one compaction at a time; taken before all others
	files      sync.RWMutex // held for reading while files are read, for writing while some are removed

	mu       sync.Mutex // guards all below; held while a record is written
	snapshot uint64     // the event it goes up to; 0 is none
	segments []segment  // oldest first; the last one is written to
	active   File
	last     uint64 // event that is stored
	err      error  // of the first failed write
}

// segment is a file of the log.
type segment struct {
	first uint64
	size  int64 // up to the last acknowledged record
}

var _ ledger.Store = (*Store)(nil)

// Open opens the ledger in dir, which is made if it is not there. It drops
// what a crash left of a write that was never acknowledged. Errors are
// [ledger.ErrHeld], and [ledger.ErrDamaged] where acknowledged records cannot be read.
func Open(dir string, o Options) (*Store, error) {
	if o.SegmentSize <= 0 {
		o.SegmentSize = 64 << 20
	}
	if o.FS == nil {
		o.FS = OS{}
	}
	s := &Store{dir: dir, opt: o, fs: o.FS}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("ledger in %s: %w", dir, err), s.Close())
	}
	return s, nil
}

// Look opens the ledger in dir for reading, as it stands now, beside the proxy
// that writes it or without one. It changes nothing there; appending and
// compacting fail.
func Look(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = OS{}
	}
	s := &Store{dir: dir, opt: o, fs: o.FS, looks: true, err: errLooks}
	err := s.list()
	if err == nil && len(s.segments) == 0 {
		err = errors.New("there is no ledger")
	}
	if err == nil {
		s.last = s.snapshot
		err = s.openLast()
	}
	if err != nil {
		return nil, fmt.Errorf("ledger in %s: %w", dir, err)
	}
	return s, nil
}

var errLooks = errors.New("the ledger was opened for reading")

func (s *Store) open() (err error) {
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return err
	}
	if s.lock, err = s.fs.Lock(s.path("lock")); err != nil {
		return err
	}
	if err := s.list(); err != nil {
		return err
	}
	s.last = s.snapshot
	if len(s.segments) == 0 {
		return s.rotate()
	}
	return s.openLast()
}

func (s *Store) path(name string) string         { return filepath.Join(s.dir, name) }
func (s *Store) logPath(first uint64) string     { return s.path(fmt.Sprintf("log-%020d", first)) }
func (s *Store) snapshotPath(upto uint64) string { return s.path(fmt.Sprintf("snapshot-%020d", upto)) }

// list finds the files and removes what was left half done.
func (s *Store) list() error {
	names, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var stale []string
	for _, name := range names {
		kind, number, _ := strings.Cut(name, "-")
		n, err := strconv.ParseUint(number, 10, 64)
		switch {
		case strings.HasSuffix(name, ".new"):
			stale = append(stale, name)
		case err != nil:
		case kind == "log":
			s.segments = append(s.segments, segment{first: n})
		case kind == "snapshot":
			if n < s.snapshot {
				stale = append(stale, name)
				continue
			}
			if s.snapshot > 0 {
				stale = append(stale, filepath.Base(s.snapshotPath(s.snapshot)))
			}
			s.snapshot = n
		}
	}
	for _, name := range stale {
		if s.looks {
			break // another process's, in the middle of it perhaps
		}
		if err := s.fs.Remove(s.path(name)); err != nil {
			return err
		}
	}
	slices.SortFunc(s.segments, func(a, b segment) int { return int(a.first) - int(b.first) })
	return nil
}

// openLast finds the end of each segment that the snapshot does not cover, and
// in the last one cuts off what was not acknowledged.
func (s *Store) openLast() error {
	for i := range s.segments {
		g := &s.segments[i]
		if g.first > s.last+1 {
			return fmt.Errorf("%w: events %d to %d are missing before %s: restore the newest copy", ledger.ErrDamaged, s.last+1, g.first-1, s.logPath(g.first))
		}
		if err := s.measure(g, i == len(s.segments)-1); err != nil {
			return fmt.Errorf("%s: %w", s.logPath(g.first), err)
		}
	}
	return nil
}

// measure finds where the segment ends, and with which event.
func (s *Store) measure(g *segment, isLast bool) error {
	f, err := s.openFile(s.logPath(g.first), logFile, isLast && !s.looks)
	if err != nil {
		return err
	}
	last := uint64(0)
	if isLast || !s.covered(g) {
		g.size, last, err = scan(f, isLast)
	} else {
		g.size, err = f.Size()
	}
	if err == nil && isLast && !s.looks {
		err = cut(f, g.size)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if s.last = max(s.last, last); isLast && !s.looks {
		s.active = f
		return nil
	}
	return f.Close()
}

// covered says whether the snapshot sums up all of a segment that is not the last one.
func (s *Store) covered(g *segment) bool {
	for _, next := range s.segments {
		if next.first > g.first {
			return next.first <= s.snapshot+1
		}
	}
	return false
}

// cut removes what a crash left behind the end, for good.
func cut(f File, end int64) error {
	size, err := f.Size()
	if err != nil || size == end {
		return err
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	return f.Sync()
}

// openFile opens a file and checks its header.
func (s *Store) openFile(name string, kind uint32, write bool) (File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := s.fs.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	if err := checkHeader(f, kind); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	return f, nil
}

// create makes a file that appears under its name when fill has written all of it, synced.
func (s *Store) create(name string, kind uint32, fill func(File) (int64, error)) (File, int64, error) {
	f, err := s.fs.OpenFile(name+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, 0, err
	}
	size := int64(headerSize)
	if _, err = f.WriteAt(header(kind), 0); err == nil && fill != nil {
		size, err = fill(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.fs.Rename(name+".new", name)
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// rotate begins a new segment behind the last event. mu is held, or the store is being opened.
func (s *Store) rotate() error {
	f, size, err := s.create(s.logPath(s.last+1), logFile, nil)
	if err != nil {
		return err
	}
	if s.active != nil {
		err = s.active.Close()
	}
	s.active = f
	s.segments = append(s.segments, segment{s.last + 1, size})
	return err
}

// Append writes a record and returns when it is on the disk.
func (s *Store) Append(r ledger.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = s.append(r)
	}
	return s.err
}

func (s *Store) append(r ledger.Record) error {
	if r.First != s.last+1 || r.Last < r.First {
		return fmt.Errorf("events %d to %d do not follow event %d", r.First, r.Last, s.last)
	}
	if s.segments[len(s.segments)-1].size >= s.opt.SegmentSize {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	g := &s.segments[len(s.segments)-1]
	b := frame(r)
	_, err := s.active.WriteAt(b, g.size)
	if err == nil {
		err = s.active.Sync()
	}
	if err != nil {
		// Nobody was told that it is stored; better it is not. Should this fail too,
		// the next start decides whether it is.
		return errors.Join(err, cut(s.active, g.size))
	}
	g.size += int64(len(b))
	s.last = r.Last
	return nil
}

// Load yields the snapshot and what is behind it.
func (s *Store) Load(upto uint64, yield func(ledger.Record) error) error {
	s.files.RLock()
	defer s.files.RUnlock()
	s.mu.Lock()
	snapshot, segments := s.snapshot, slices.Clone(s.segments)
	s.mu.Unlock()
	if snapshot > 0 {
		if err := s.read(s.snapshotPath(snapshot), snapshotFile, -1, yield); err != nil {
			return err
		}
	}
	return s.readLog(segments, snapshot, upto, yield)
}

var errEnough = errors.New("enough")

// readLog yields the records from behind one event up to another.
func (s *Store) readLog(segments []segment, after, upto uint64, yield func(ledger.Record) error) error {
	for i, g := range segments {
		if i+1 < len(segments) && segments[i+1].first <= after+1 {
			continue // all of it is in the snapshot
		}
		err := s.read(s.logPath(g.first), logFile, g.size, func(r ledger.Record) error {
			switch {
			case r.Last <= after:
				return nil
			case upto != 0 && r.Last > upto:
				return errEnough
			}
			return yield(r)
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read yields the records of a file of the given size; -1 is all of it.
func (s *Store) read(name string, kind uint32, size int64, yield func(ledger.Record) error) error {
	f, err := s.openFile(name, kind, false)
	if err != nil {
		return err
	}
	defer f.Close()
	if size < 0 {
		if size, err = f.Size(); err != nil {
			return err
		}
	}
	b := newBuffered(f, size)
	for off := int64(headerSize); off < size; {
		r, next, err := readFrame(b, off, size)
		if err != nil {
			return fmt.Errorf("%s: %w", name, damaged(off, err))
		}
		if err := yield(r); err != nil {
			return err
		}
		off = next
	}
	return nil
}

// History yields everything from the first movement on, or from the snapshot where what was before it was dropped.
func (s *Store) History(yield func(ledger.Record) error) error {
	s.files.RLock()
	s.mu.Lock()
	segments := slices.Clone(s.segments)
	s.mu.Unlock()
	if segments[0].first != 1 {
		s.files.RUnlock()
		return s.Load(0, yield)
	}
	defer s.files.RUnlock()
	return s.readLog(segments, 0, 0, yield)
}

// Compact writes a snapshot and, once it is on the disk, lets it take the place of what it sums up.
func (s *Store) Compact(upto uint64, snapshot iter.Seq2[ledger.Record, error]) error {
	if s.looks {
		return errLooks
	}
	s.compacting.Lock()
	defer s.compacting.Unlock()
	f, _, err := s.create(s.snapshotPath(upto), snapshotFile, func(f File) (int64, error) {
		off := int64(headerSize)
		for r, err := range snapshot {
			if err != nil {
				return 0, err
			}
			b := frame(r)
			if _, err := f.WriteAt(b, off); err != nil {
				return 0, err
			}
			off += int64(len(b))
		}
		return off, nil
	})
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	s.mu.Lock()
	old := s.snapshot
	s.snapshot = upto
	if s.err == nil && s.segments[len(s.segments)-1].size > headerSize && s.last >= s.segments[len(s.segments)-1].first {
		if err = s.rotate(); err != nil { // so that the old segment can go one day
			// The new one may be there under its name all the same. The next start would take it for the end
			// of the old one, so that nothing may be written behind that.
			s.err = err
		}
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.clean(old)
}

// clean removes the snapshot before, and history that is not wanted.
func (s *Store) clean(old uint64) error {
	s.files.Lock()
	defer s.files.Unlock()
	s.mu.Lock()
	var gone []string
	if old > 0 && old != s.snapshot {
		gone = append(gone, s.snapshotPath(old))
	}
	for s.opt.DropHistory && len(s.segments) > 1 && s.segments[1].first <= s.snapshot+1 {
		gone = append(gone, s.logPath(s.segments[0].first))
		s.segments = s.segments[1:]
	}
	s.mu.Unlock()
	for _, name := range gone {
		if err := s.fs.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// Close lets go of the directory.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = fmt.Errorf("ledger in %s is closed", s.dir)
	}
	var errs []error
	if s.active != nil {
		errs = append(errs, s.active.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	s.active, s.lock = nil, nil
	return errors.Join(errs...)
}
