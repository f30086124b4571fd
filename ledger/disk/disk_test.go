package disk_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ledger/disk"
	"github.com/opencocoon/cocoon/ledger/storetest"
)

type place struct {
	dir string
	opt disk.Options
}

func (p place) Open() (ledger.Store, error) {
	s, err := disk.Open(p.dir, p.opt)
	if err != nil {
		return nil, err // not s: a nil *Store in an interface is not nil
	}
	return s, nil
}

func (p place) Look() (ledger.Store, error) {
	s, err := disk.Look(p.dir, p.opt)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func TestStore(t *testing.T) {
	for name, opt := range map[string]disk.Options{"one segment": {}, "tiny segments": {SegmentSize: 300}} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Place { return place{t.TempDir(), opt} }, storetest.Options{})
		})
	}
}

func openIn(t *testing.T, dir string, o disk.Options) *disk.Store {
	t.Helper()
	s, err := disk.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fill books n times 1 to n tokens and closes; it returns the sum.
func fill(t *testing.T, dir string, n int) (sum int64) {
	t.Helper()
	s := openIn(t, dir, disk.Options{})
	l := storetest.Load(t, s, 1, storetest.Credit)
	for i := range int64(n) {
		if err := storetest.Book(l, "c", "w", i+1); err != nil {
			t.Fatal(err)
		}
		sum += i + 1
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return sum
}

func used(t *testing.T, dir string) int64 {
	t.Helper()
	s := openIn(t, dir, disk.Options{})
	l := storetest.Load(t, s, 1, storetest.Credit)
	defer l.Close()
	if err := l.Check(); err != nil {
		t.Error(err)
	}
	var sum int64
	for _, c := range l.Clients() {
		sum += c.Used.DB
	}
	return sum
}

func theLog(t *testing.T, dir string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "log-*"))
	if err != nil || len(list) != 1 {
		t.Fatalf("logs %v, %v", list, err)
	}
	return list[0]
}

// What a crash can leave of a write that nobody was told of is dropped, and
// the rest is there. After that the store can be written again.
func TestTornTails(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 5)
	whole, err := os.ReadFile(theLog(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, dir, 1)
	longer, err := os.ReadFile(theLog(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string, content []byte) {
		t.Helper()
		d := t.TempDir()
		if err := os.WriteFile(filepath.Join(d, filepath.Base(theLog(t, dir))), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := used(t, d); got != 15 {
			t.Errorf("%s: %d tokens, want 15", name, got)
		}
		if fill(t, d, 2); used(t, d) != 18 {
			t.Errorf("%s: cannot be written again", name)
		}
	}
	tail := longer[len(whole):]
	for n := 0; n < len(tail); n += 9 {
		try(fmt.Sprintf("%d of %d bytes", n, len(tail)), longer[:len(whole)+n])
	}
	for _, n := range []int{1, 28, 100, 512, 5000} {
		try(fmt.Sprintf("%d zeros", n), append(bytes.Clone(whole), make([]byte, n)...))
	}
}

// A disk that got only some of a write's sectors leaves holes of zeros, or an end.
func TestHoles(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, disk.Options{})
	dense := make([]byte, 3000)
	for i := range dense {
		dense[i] = byte(1 + i%255)
	}
	for i := range uint64(2) {
		if err := s.Append(ledger.Record{First: i + 1, Last: i + 1, Data: dense}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	whole, err := os.ReadFile(theLog(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	second := (len(whole) + 16) / 2
	for from := (second/512 + 1) * 512; from < len(whole); from += 512 {
		for _, to := range []int{min(from+512, len(whole)), len(whole), 0} {
			b := bytes.Clone(whole)
			if to > 0 {
				clear(b[from:to])
			} else {
				b = b[:from]
			}
			if err := os.WriteFile(theLog(t, dir), b, 0o600); err != nil {
				t.Fatal(err)
			}
			s := openIn(t, dir, disk.Options{})
			n := 0
			if err := s.Load(0, func(ledger.Record) error { n++; return nil }); err != nil || n != 1 {
				t.Errorf("hole from %d to %d: %d records, %v, want 1", from, to, n, err)
			}
			if err := s.Append(ledger.Record{First: 2, Last: 2, Data: dense[:100]}); err != nil {
				t.Fatal(err)
			}
			s.Close()
			n = 0
			if s = openIn(t, dir, disk.Options{}); s.Load(0, func(ledger.Record) error { n++; return nil }) != nil || n != 2 {
				t.Errorf("hole from %d to %d: %d records after another write, want 2", from, to, n)
			}
			s.Close()
		}
	}
}

// Damage to anything that was acknowledged is refused, with its place and advice.
func TestDamageIsRefused(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 5)
	log := theLog(t, dir)
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(log, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := disk.Open(dir, disk.Options{})
		if err == nil {
			err = s.Load(0, func(ledger.Record) error { return nil })
			s.Close()
		}
		if !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("%s: %v, want %v", name, err, ledger.ErrDamaged)
			return
		}
		if !strings.Contains(err.Error(), log) || !strings.Contains(err.Error(), "newest copy") && !strings.Contains(err.Error(), "not a file") {
			t.Errorf("%s: %v does not say where and what to do", name, err)
		}
	}
	for i := 0; i < len(whole); i += 3 {
		if i >= 8 && i < 16 { // version and kind, see below
			continue
		}
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		refused(fmt.Sprintf("byte %d of %d", i, len(whole)), b)
	}
	refused("a hole in the middle", append(append(bytes.Clone(whole[:300]), make([]byte, 700)...), whole[300:]...))
	newer := bytes.Clone(whole)
	newer[11] = 2
	if err := os.WriteFile(log, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Open(dir, disk.Options{}); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("a newer format: %v", err)
	}
}

// A segment that is gone is missed.
func TestMissingSegment(t *testing.T) {
	dir := t.TempDir()
	l := storetest.Load(t, openIn(t, dir, disk.Options{SegmentSize: 1}), 1, storetest.Credit)
	for range 5 {
		if err := storetest.Book(l, "c", "w", 1); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	list, _ := filepath.Glob(filepath.Join(dir, "log-*"))
	if len(list) < 5 {
		t.Fatalf("segments %v", list)
	}
	if err := os.Remove(list[2]); err != nil {
		t.Fatal(err)
	}
	if s, err := disk.Open(dir, disk.Options{}); err == nil {
		_, err = ledger.New(ledger.Config{Store: s, Key: storetest.Key})
		if s.Close(); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("%v, want %v", err, ledger.ErrDamaged)
		}
	} else if !errors.Is(err, ledger.ErrDamaged) {
		t.Errorf("%v, want %v", err, ledger.ErrDamaged)
	}
}

// A backup that is taken in the middle of work is a ledger of its own.
func TestBackupWhileRunning(t *testing.T) {
	s := openIn(t, t.TempDir(), disk.Options{SegmentSize: 2000})
	l := storetest.Load(t, s, 1, storetest.Credit)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			if err := storetest.Book(l, "c", "w", 1); err != nil {
				t.Error(err)
			}
			if i == 100 {
				if err := l.Compact(); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	least := int64(0)
	for range 5 {
		for _, c := range l.Clients() {
			least = c.Used.DB
		}
		dir := filepath.Join(t.TempDir(), "copy")
		if err := s.Backup(dir); err != nil {
			t.Fatal(err)
		}
		if got := used(t, dir); got < least {
			t.Errorf("%d tokens in the copy, %d were booked before", got, least)
		}
		if err := s.Backup(dir); err == nil {
			t.Error("a copy over a copy")
		}
	}
	<-done
}

// Without history an audit starts from the snapshot, and the disk stays small.
func TestDropHistory(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, disk.Options{DropHistory: true})
	l := storetest.Load(t, s, 1, storetest.Credit)
	for i := range 100 {
		if err := storetest.Book(l, "c", "w", 1); err != nil {
			t.Fatal(err)
		}
		if i%10 == 9 {
			if err := l.Compact(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := storetest.Book(l, "c", "w", 1); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := l.Export(&b); err != nil {
		t.Fatal(err)
	}
	sum, err := ledger.Audit(&b, storetest.Key.Public().(ed25519.PublicKey))
	if err != nil || sum.Complete || sum.Moved != 1 || sum.Generations[0].Used != 101 {
		t.Errorf("%+v, %v", sum, err)
	}
	names, _ := os.ReadDir(dir)
	if len(names) != 3 {
		t.Errorf("%d files, want lock, snapshot and log", len(names))
	}
	l.Close()
	if got := used(t, dir); got != 101 {
		t.Errorf("%d tokens, want 101", got)
	}
}
