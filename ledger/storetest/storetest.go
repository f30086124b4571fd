// Package storetest holds every store of package ledger to its duties.
//
// Start with [Run]. A store passes when it keeps and yields what [ledger.Store]
// says, and when a ledger on it, closed and opened at any point of a random
// history, is what an independent model says it must be.
package storetest

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/opencocoon/cocoon/ledger"
)

// Key signs the records of all tests.
var Key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{5}, 32))

// Place is where one ledger is kept. Open may be called again after Close, and finds the same.
type Place interface {
	Open() (ledger.Store, error)
}

// Looking is a place that can be read beside the store that writes it.
type Looking interface {
	Place
	Look() (ledger.Store, error)
}

// Options say what a store cannot do.
type Options struct {
	// Shared: opening twice gives the same store, so there is nothing to hold.
	Shared bool
}

// Run tests the stores that places make. Each call of place must give an empty one.
func Run(t *testing.T, place func(t *testing.T) Place, o Options) {
	t.Run("keeps what was appended", func(t *testing.T) { testKeeps(t, place(t)) })
	t.Run("compacts", func(t *testing.T) { testCompacts(t, place(t)) })
	t.Run("compacts beside appends", func(t *testing.T) { testCompactsBeside(t, place(t)) })
	t.Run("a failed compaction changes nothing", func(t *testing.T) { testFailedCompaction(t, place(t)) })
	if !o.Shared {
		t.Run("is held once", func(t *testing.T) { testHeld(t, place(t)) })
	}
	if _, ok := place(t).(Looking); ok {
		t.Run("is looked at", func(t *testing.T) { testLooks(t, place(t).(Looking)) })
	}
	t.Run("empty", func(t *testing.T) { testEmpty(t, place(t)) })
	t.Run("ledger", func(t *testing.T) { testLedger(t, place(t)) })
	t.Run("many at once", func(t *testing.T) { testManyAtOnce(t, place(t)) })
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("history %d", seed), func(t *testing.T) { History(t, place(t), seed, 300) })
	}
}

// record makes one of n events behind event last. Stores do not look inside.
func record(last uint64, n int) ledger.Record {
	first := last + 1
	return ledger.Record{First: first, Last: last + uint64(n), Data: bytes.Repeat(fmt.Appendf(nil, "events from %d;", first), 1+n*3)}
}

func snapshotRecord(upto uint64, part int) ledger.Record {
	return ledger.Record{First: upto, Last: upto, Data: fmt.Appendf(nil, "snapshot at %d, part %d", upto, part)}
}

func open(t *testing.T, p Place) ledger.Store {
	t.Helper()
	s, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func reopen(t *testing.T, p Place, s ledger.Store) ledger.Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, p)
}

func load(t *testing.T, s ledger.Store, upto uint64) (list []ledger.Record) {
	t.Helper()
	if err := s.Load(upto, collect(&list)); err != nil {
		t.Fatal(err)
	}
	return list
}

func collect(list *[]ledger.Record) func(ledger.Record) error {
	return func(r ledger.Record) error {
		r.Data = slices.Clone(r.Data)
		*list = append(*list, r)
		return nil
	}
}

func same(t *testing.T, what string, got, want []ledger.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i].First != want[i].First || got[i].Last != want[i].Last || !bytes.Equal(got[i].Data, want[i].Data) {
			t.Fatalf("%s: record %d is of events %d to %d with %d bytes, want %d to %d with %d", what, i,
				got[i].First, got[i].Last, len(got[i].Data), want[i].First, want[i].Last, len(want[i].Data))
		}
	}
}

func appendAll(t *testing.T, s ledger.Store, list []ledger.Record) {
	t.Helper()
	for _, r := range list {
		if err := s.Append(r); err != nil {
			t.Fatal(err)
		}
	}
}

// records makes a run of them behind event last.
func records(last uint64, n int) (list []ledger.Record) {
	for i := range n {
		r := record(last, 1+i*7%5)
		list, last = append(list, r), r.Last
	}
	return list
}

func testKeeps(t *testing.T, p Place) {
	s := open(t, p)
	list := records(0, 50)
	appendAll(t, s, list[:20])
	same(t, "while open", load(t, s, 0), list[:20])
	s = reopen(t, p, s)
	same(t, "opened again", load(t, s, 0), list[:20])
	appendAll(t, s, list[20:])
	s = reopen(t, p, s)
	same(t, "opened once more", load(t, s, 0), list)
	same(t, "up to an event", load(t, s, list[30].Last), list[:31])
	stop := errors.New("enough")
	if err := s.Load(0, func(ledger.Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Load hides the error of who reads: %v", err)
	}
	var history []ledger.Record
	if err := s.History(collect(&history)); err != nil {
		t.Fatal(err)
	}
	same(t, "history", history, list)
}

func snapshotOf(upto uint64) []ledger.Record {
	return []ledger.Record{snapshotRecord(upto, 1), snapshotRecord(upto, 2), snapshotRecord(upto, 3)}
}

func yieldSnapshot(list []ledger.Record, err error) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		for _, r := range list {
			if !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(ledger.Record{}, err)
		}
	}
}

func testCompacts(t *testing.T, p Place) {
	s := open(t, p)
	list := records(0, 30)
	appendAll(t, s, list[:20])
	upto := list[11].Last
	if err := s.Compact(upto, yieldSnapshot(snapshotOf(upto), nil)); err != nil {
		t.Fatal(err)
	}
	want := slices.Concat(snapshotOf(upto), list[12:20])
	same(t, "compacted", load(t, s, 0), want)
	s = reopen(t, p, s)
	same(t, "opened again", load(t, s, 0), want)
	appendAll(t, s, list[20:])
	upto = list[29].Last
	if err := s.Compact(upto, yieldSnapshot(snapshotOf(upto), nil)); err != nil {
		t.Fatal(err)
	}
	last := record(upto, 2)
	appendAll(t, s, []ledger.Record{last})
	s = reopen(t, p, s)
	same(t, "all of it", load(t, s, 0), append(snapshotOf(upto), last))
	same(t, "up to the snapshot", load(t, s, upto), snapshotOf(upto))
	var history []ledger.Record
	if err := s.History(collect(&history)); err != nil {
		t.Fatal(err)
	}
	same(t, "history", history, append(slices.Clone(list), last))
}

func testFailedCompaction(t *testing.T, p Place) {
	s := open(t, p)
	list := records(0, 10)
	appendAll(t, s, list)
	broken := errors.New("broken")
	if err := s.Compact(list[5].Last, yieldSnapshot(snapshotOf(list[5].Last), broken)); !errors.Is(err, broken) {
		t.Errorf("Compact: %v, want the snapshot's own error", err)
	}
	same(t, "after it", load(t, s, 0), list)
	s = reopen(t, p, s)
	same(t, "opened again", load(t, s, 0), list)
	appendAll(t, s, []ledger.Record{record(list[9].Last, 1)})
}

func testCompactsBeside(t *testing.T, p Place) {
	s := open(t, p)
	list := records(0, 200)
	appendAll(t, s, list[:10])
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; i < 10; i++ {
			upto := list[i].Last
			if err := s.Compact(upto, yieldSnapshot(snapshotOf(upto), nil)); err != nil {
				t.Error(err)
			}
			if err := s.Load(upto, func(ledger.Record) error { return nil }); err != nil {
				t.Error(err)
			}
		}
	})
	appendAll(t, s, list[10:])
	wg.Wait()
	want := slices.Concat(snapshotOf(list[9].Last), list[10:])
	same(t, "while open", load(t, s, 0), want)
	s = reopen(t, p, s)
	same(t, "opened again", load(t, s, 0), want)
}

func testHeld(t *testing.T, p Place) {
	s := open(t, p)
	if second, err := p.Open(); !errors.Is(err, ledger.ErrHeld) {
		t.Errorf("a second store opens: %v, want %v", err, ledger.ErrHeld)
		if err == nil {
			second.Close()
		}
	}
	appendAll(t, s, records(0, 1))
	reopen(t, p, s)
}

func testLooks(t *testing.T, p Looking) {
	s := open(t, p)
	list := records(0, 20)
	appendAll(t, s, list[:10])
	upto := list[5].Last
	if err := s.Compact(upto, yieldSnapshot(snapshotOf(upto), nil)); err != nil {
		t.Fatal(err)
	}
	appendAll(t, s, list[10:15])
	for _, beside := range []bool{true, false} {
		if !beside {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		l, err := p.Look()
		if err != nil {
			t.Fatal(err)
		}
		same(t, "looked at", load(t, l, 0), slices.Concat(snapshotOf(upto), list[6:15]))
		var history []ledger.Record
		if err := l.History(collect(&history)); err != nil {
			t.Fatal(err)
		}
		same(t, "history", history, list[:15])
		if err := l.Append(list[15]); err == nil {
			t.Error("who looks can append")
		}
		if err := l.Compact(list[10].Last, yieldSnapshot(snapshotOf(list[10].Last), nil)); err == nil {
			t.Error("who looks can compact")
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	s = open(t, p)
	appendAll(t, s, list[15:])
	same(t, "afterwards", load(t, s, 0), slices.Concat(snapshotOf(upto), list[6:]))
}

func testEmpty(t *testing.T, p Place) {
	s := open(t, p)
	same(t, "an empty store", load(t, s, 0), nil)
	s = reopen(t, p, s)
	same(t, "and again", load(t, s, 0), nil)
}
