package disk_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/disk"
	"github.com/opencocoon/cocoon/ledger/storetest"
)

// machine is a file system in memory with the manners of a real one: what was
// written and not synced may be lost in a crash, or half there. It counts
// operations, and can fail one of them or stop at it.
type machine struct {
	mu      sync.Mutex // guards all below
	names   map[string]*inode
	durable map[string]*inode // as of the last SyncDir
	ops     int
	at      int   // the operation that goes wrong; 0 is none
	fault   fault // how
	stopped bool
	holder  *int
}

type inode struct {
	data   []byte
	synced []byte
	last   int // where the last unsynced write began
}

type fault int

const (
	crash      fault = iota // nothing happens any more
	fails                   // this one operation fails
	shortWrite              // it fails, and half of a write is done
)

var errCrash = errors.New("the machine has stopped")

func newMachine() *machine {
	return &machine{names: map[string]*inode{}, durable: map[string]*inode{}}
}

// step counts an operation that changes something. half asks for half of a write before the failure.
func (m *machine) step() (half bool, err error) {
	if m.stopped {
		return false, errCrash
	}
	if m.ops++; m.ops != m.at {
		return false, nil
	}
	switch m.fault {
	case crash:
		m.stopped = true
		return true, errCrash
	case shortWrite:
		return true, errors.New("no space left on device")
	}
	return false, errors.New("input/output error")
}

// outcomes are the disks that a crash may leave.
const outcomes = 8

// rebooted is the machine after a crash, with one of the possible outcomes.
func (m *machine) rebooted(outcome int) *machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := newMachine()
	from := m.durable
	if outcome&1 != 0 {
		from = m.names // names may survive without having been synced
	}
	for name, f := range from {
		data := f.synced
		switch outcome >> 1 {
		case 1: // everything that was written
			data = f.data
		case 2: // half of the last write
			data = f.data[:max(len(f.synced), (f.last+len(f.data))/2)]
			if len(f.data) < len(f.synced) {
				data = f.data
			}
		case 3: // the size of the last write and not its bytes
			data = append(slices.Clone(f.synced), make([]byte, max(0, len(f.data)-len(f.synced)))...)
		}
		n.names[name] = &inode{data: slices.Clone(data), synced: slices.Clone(data)}
	}
	n.durable = maps.Clone(n.names)
	return n
}

func (m *machine) MkdirAll(string) error { return nil }

func (m *machine) ReadDir(dir string) (names []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

func (m *machine) OpenFile(name string, flag int) (disk.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.names[name]
	switch {
	case !ok && flag&os.O_CREATE == 0:
		return nil, os.ErrNotExist
	case !ok || flag&os.O_TRUNC != 0:
		if _, err := m.step(); err != nil {
			return nil, err
		}
		f = &inode{}
		m.names[name] = f
	}
	return &handle{m, f}, nil
}

func (m *machine) change(f func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.step(); err != nil {
		return err
	}
	f()
	return nil
}

func (m *machine) Rename(from, to string) error {
	return m.change(func() { m.names[to] = m.names[from]; delete(m.names, from) })
}
func (m *machine) Remove(name string) error { return m.change(func() { delete(m.names, name) }) }
func (m *machine) SyncDir(string) error {
	return m.change(func() { m.durable = maps.Clone(m.names) })
}

func (m *machine) Lock(string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holder != nil {
		return nil, ledger.ErrHeld
	}
	m.holder = new(int)
	return unlock{m}, nil
}

type unlock struct{ m *machine }

func (u unlock) Close() error {
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	u.m.holder = nil
	return nil
}

type handle struct {
	m *machine
	f *inode
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if off >= int64(len(h.f.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	half, err := h.m.step()
	if err != nil && half {
		p = p[:len(p)/2]
	}
	if err != nil && !half {
		return 0, err
	}
	if grow := int(off) + len(p) - len(h.f.data); grow > 0 {
		h.f.data = append(h.f.data, make([]byte, grow)...)
	}
	h.f.last = int(off)
	return copy(h.f.data[off:], p), err
}

func (h *handle) Truncate(size int64) error {
	return h.m.change(func() { h.f.data = h.f.data[:size] })
}

func (h *handle) Sync() error {
	return h.m.change(func() { h.f.synced = slices.Clone(h.f.data); h.f.last = len(h.f.data) })
}

func (h *handle) Size() (int64, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return int64(len(h.f.data)), nil
}

func (h *handle) Close() error { return nil }

// TestTheMachineLosesWhatWasNotSynced, or the tests below would show nothing.
func TestTheMachineLosesWhatWasNotSynced(t *testing.T) {
	m := newMachine()
	f, _ := m.OpenFile("d/a", os.O_CREATE|os.O_RDWR)
	f.WriteAt([]byte("old"), 0)
	f.Sync()
	m.SyncDir("d")
	f.WriteAt([]byte("news"), 3)
	for outcome, want := range map[int]string{0: "old", 2: "oldnews", 4: "oldne", 6: "old\x00\x00\x00\x00"} {
		if got := string(m.rebooted(outcome).names["d/a"].data); got != want {
			t.Errorf("outcome %d: %q, want %q", outcome, got, want)
		}
	}
}

// life is a short one with everything that writes: bookings, notes, a new
// segment, snapshots. It says what was acknowledged, and what was asked for without an answer.
func life(m *machine) (acknowledged, asked int64) {
	s, err := disk.Open("dir", disk.Options{FS: m, SegmentSize: 900})
	if err != nil {
		return 0, 0
	}
	defer s.Close()
	l, err := ledger.New(ledger.Config{Store: s, Key: storetest.Key})
	if err != nil {
		return 0, 0
	}
	if l.Begin(ledger.Terms{Params: 1, Contract: fmt.Sprintf("0:%064x", 1001), Price: 20, Fee: 18, Credit: storetest.Credit}) != nil {
		return 0, 0
	}
	for i := range int64(12) {
		if i%5 == 4 {
			l.Compact() // bookings go on when it fails, as they do beside Run
		}
		if i%4 == 3 {
			l.Commit()
		}
		tokens := i*i + 1
		if err := storetest.Book(l, "c", "w", tokens); err != nil {
			return acknowledged, tokens
		}
		acknowledged += tokens
	}
	return acknowledged, 0
}

// check opens what a crash or a failure left, and goes on with it.
func check(t *testing.T, what string, m *machine, acknowledged, asked int64) {
	t.Helper()
	s, err := disk.Open("dir", disk.Options{FS: m, SegmentSize: 900})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer s.Close()
	l, err := ledger.New(ledger.Config{Store: s, Key: storetest.Key})
	if err == nil {
		err = l.Begin(ledger.Terms{Params: 1, Contract: fmt.Sprintf("0:%064x", 1001), Price: 20, Fee: 18, Credit: storetest.Credit})
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	sum := func() (used int64) {
		for _, c := range l.Clients() {
			used += c.Used.DB
		}
		return used
	}
	if got := sum(); got != acknowledged && got != acknowledged+asked {
		t.Fatalf("%s: %d tokens are there, %d were acknowledged, %d more asked for", what, got, acknowledged, asked)
	}
	before := sum()
	if err := errors.Join(l.Check(), storetest.Book(l, "c", "w", 1000), l.Compact(), storetest.Book(l, "c", "w", 1000)); err != nil {
		t.Fatalf("%s: it does not go on: %v", what, err)
	}
	if got := sum(); got != before+2000 {
		t.Fatalf("%s: %d tokens, want %d", what, got, before+2000)
	}
}

// The machine stops at every single operation, and leaves each of the disks it
// could leave: all that was acknowledged is there, and nothing is half there.
func TestCrashAnywhere(t *testing.T) {
	whole := newMachine()
	sum, _ := life(whole)
	if sum != 518 || whole.ops < 50 {
		t.Fatalf("%d tokens in %d operations: the life is not what this test is for", sum, whole.ops)
	}
	for at := 1; at <= whole.ops; at++ {
		m := newMachine()
		m.at, m.fault = at, crash
		acknowledged, asked := life(m)
		for outcome := range outcomes {
			check(t, fmt.Sprintf("crash at %d, outcome %d", at, outcome), m.rebooted(outcome), acknowledged, asked)
		}
	}
	t.Logf("%d crash points, %d disks each", whole.ops, outcomes)
}

// Every single operation fails once, as on a full or broken disk: nothing that was acknowledged is lost, in
// the same process, after it, and after a crash.
func TestFailureAnywhere(t *testing.T) {
	whole := newMachine()
	life(whole)
	for at := 1; at <= whole.ops; at++ {
		for _, how := range []fault{fails, shortWrite} {
			m := newMachine()
			m.at, m.fault = at, how
			acknowledged, asked := life(m)
			for outcome := range outcomes {
				check(t, fmt.Sprintf("failure %d at %d, outcome %d", how, at, outcome), m.rebooted(outcome), acknowledged, asked)
			}
			m.at = 0
			check(t, fmt.Sprintf("failure %d at %d", how, at), m, acknowledged, asked)
		}
	}
}

// Whatever is in the file: it is refused, or read and then written behind; never a panic, never a change to
// what was read.
func FuzzLog(f *testing.F) {
	m := newMachine()
	life(m)
	for name, file := range m.names {
		if filepath.Base(name) == "log-00000000000000000001" {
			f.Add(file.data, uint64(1))
			f.Add(file.data[:len(file.data)-7], uint64(1))
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, first uint64) {
		m := newMachine()
		m.names[fmt.Sprintf("dir/log-%020d", first)] = &inode{data: content, synced: content}
		s, err := disk.Open("dir", disk.Options{FS: m})
		if err != nil {
			return
		}
		var before, after []ledger.Record
		if s.Load(0, func(r ledger.Record) error { before = append(before, r); return nil }) != nil {
			return
		}
		last := uint64(0)
		if len(before) > 0 {
			last = before[len(before)-1].Last
		}
		if s.Append(ledger.Record{First: last + 1, Last: last + 1, Data: []byte("more")}) != nil {
			return
		}
		s.Close()
		if s, err = disk.Open("dir", disk.Options{FS: m}); err != nil {
			t.Fatal(err)
		}
		if err := s.Load(0, func(r ledger.Record) error { after = append(after, r); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(after) != len(before)+1 {
			t.Errorf("%d records, then %d after one more was written", len(before), len(after))
		}
	})
}
