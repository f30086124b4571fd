package ledger

import (
	"errors"
	"iter"
	"slices"
	"sync"
)

// Store keeps the records of one ledger. It does not look into them.
//
//   - Load must yield exactly the acknowledged records, in order: the newest snapshot if there
//     is one, then every record behind it. Where it stops at an event, it must yield no record after that one's.
//   - Append must be atomic and durable: once it has returned nil the record survives a crash of
//     process and machine; one that was not acknowledged is there as a whole or not at all.
//   - After an error of Append every later Append must fail too, and Load after
//     opening the store anew says what is there.
//   - Compact must put the snapshot in the place of everything up to the event, at once: a crash leaves
//     the one or the other. It runs beside Append. What it replaces may be kept as history.
//   - History must yield what is still kept, from the oldest record on; it may begin with a snapshot.
//   - At most one store may be open for a ledger at a time, on any machine: opening a second
//     must fail with [ErrHeld], and one that has lost its hold must not append.
//   - Append is called by one goroutine at a time; all others must be safe beside it.
type Store interface {
	Load(upto uint64, yield func(Record) error) error
	Append(Record) error
	Compact(upto uint64, snapshot iter.Seq2[Record, error]) error
	History(yield func(Record) error) error
	Close() error
}

// ErrHeld means that another process has the ledger open: stop it first.
var ErrHeld = errors.New("ledger: another process has this ledger open")

// Memory is a store that ends with the process, for tests and simulations.
// What it holds survives Close, and with it the ledger may be opened again. The zero value is empty.
type Memory struct {
	mu       sync.Mutex // guards all below
	snapshot []Record
	log      []Record
	history  []Record
	err      error // of the first failed Append
	// Fault is asked before each Append with the record; its error is the store's. Nil never fails.
	Fault func(Record) error
}

// Load yields what is there.
func (m *Memory) Load(upto uint64, yield func(Record) error) error {
	m.mu.Lock()
	all := slices.Concat(m.snapshot, m.log)
	m.mu.Unlock()
	return yieldAll(all, upto, yield)
}

func yieldAll(all []Record, upto uint64, yield func(Record) error) error {
	for _, r := range all {
		if upto != 0 && r.Last > upto {
			return nil
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// Append keeps the record.
func (m *Memory) Append(r Record) error {
	m.mu.Lock()
	fault := m.Fault
	m.mu.Unlock()
	var err error
	if fault != nil {
		err = fault(r)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
	}
	if m.err == nil {
		m.log = append(m.log, r)
	}
	return m.err
}

// Compact replaces the log up to the event.
func (m *Memory) Compact(upto uint64, snapshot iter.Seq2[Record, error]) error {
	var list []Record
	for r, err := range snapshot {
		if err != nil {
			return err
		}
		list = append(list, r)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i, _ := slices.BinarySearchFunc(m.log, upto, func(r Record, n uint64) int {
		if r.Last <= n {
			return -1
		}
		return 1
	})
	m.history = append(m.history, m.log[:i]...)
	m.snapshot, m.log = list, slices.Clone(m.log[i:])
	return nil
}

// History yields every record there ever was.
func (m *Memory) History(yield func(Record) error) error {
	m.mu.Lock()
	all := slices.Concat(m.history, m.log)
	m.mu.Unlock()
	return yieldAll(all, 0, yield)
}

// Close forgets a failure, as a new process would.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = nil
	return nil
}
