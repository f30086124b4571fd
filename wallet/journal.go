package wallet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencocoon/cocoon/atomicfile"
)

// journal is what a driver knows, on disk. It is a file of lines
//
//	crc32c:8 hexadecimal digits, blank, a record as JSON, newline
//
// and the rule that makes sending exact is: a line is on disk before anything
// depends on it. A message is in it before Enqueue returns, an order before it
// is sent, an outcome before anybody hears of it.
//
// A last line that is cut short or does not fit its checksum was never depended
// on, and is dropped. The same before a good line is damage, and refused: what
// stands there may be an order.
type journal struct {
	dir   string
	file  *os.File
	held  *os.File // the lock
	end   int64
	small int64 // size after the last rewrite
	// broken: what is on disk after end is unknown. The next write begins a
	// new file.
	broken bool
	// fault, in tests, is called at each point where a crash differs from a
	// crash elsewhere; its error stands for the disk's.
	fault     func(point string) error
	rewriteAt int64 // rewriteAt, or less in tests
}

const (
	journalName = "wallet.journal"
	lockName    = "wallet.lock"
	// rewriteAt is when a journal is long enough to be written anew with what
	// still matters.
	rewriteAt = 256 << 10
)

// ErrDamaged means that a journal is not what was written. Restore it from a
// copy: one that is too old does no harm, since the chain tells what has been
// sent since; none at all forgets what waits to be sent.
var ErrDamaged = errors.New("journal is damaged")

func openJournal(dir string, fault func(string) error) (*journal, []record, error) {
	if fault == nil {
		fault = func(string) error { return nil }
	}
	j := &journal{dir: dir, fault: fault, rewriteAt: rewriteAt}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("wallet journal: %w", err)
	}
	records, err := j.open()
	if err != nil {
		j.close()
		return nil, nil, fmt.Errorf("wallet journal %s: %w", j.path(), err)
	}
	return j, records, nil
}

func (j *journal) path() string { return filepath.Join(j.dir, journalName) }

func (j *journal) open() (records []record, err error) {
	// The lock is on a file of its own, since the journal's is replaced.
	if j.held, err = os.OpenFile(filepath.Join(j.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err := lock(j.held); err != nil {
		return nil, fmt.Errorf("in use by another process: %w", err)
	}
	if j.file, err = os.OpenFile(j.path(), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(j.path())
	if err != nil {
		return nil, err
	}
	records, good, err := readJournal(text)
	if err != nil {
		return nil, err
	}
	j.end = int64(good)
	if good < len(text) {
		if err := j.file.Truncate(j.end); err != nil {
			return nil, err
		}
	}
	return records, errors.Join(j.file.Sync(), atomicfile.SyncDir(j.dir))
}

func (j *journal) close() error {
	var err error
	for _, f := range []*os.File{j.file, j.held} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	j.file, j.held = nil, nil
	return err
}

// append makes a record durable, or leaves the journal as it was.
func (j *journal) append(r *record) error {
	line, err := r.line()
	if err != nil {
		return err
	}
	if err := j.write(line); err != nil {
		return fmt.Errorf("wallet journal %s cannot be written: %w", j.path(), err)
	}
	j.end += int64(len(line))
	return nil
}

func (j *journal) write(line []byte) error {
	if j.file == nil {
		return os.ErrClosed
	}
	err := j.fault("write")
	if err == nil {
		_, err = j.file.WriteAt(line, j.end)
	}
	if err != nil {
		// Half a line would be dropped on the next start, and overwritten
		// before; one that came whole must not be believed.
		j.broken = j.file.Truncate(j.end) != nil
		return err
	}
	if err = j.fault("sync"); err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		// After a failed sync the system may think that all is written. The
		// line is taken back as far as that is possible: a crash before the
		// next write may still bring it to life.
		j.file.Truncate(j.end)
		j.broken = true
		return err
	}
	return j.fault("done")
}

// rewrite replaces the journal by these records.
func (j *journal) rewrite(records []record) error {
	var text []byte
	for i := range records {
		line, err := records[i].line()
		if err != nil {
			return err
		}
		text = append(text, line...)
	}
	file, err := j.replace(text)
	if err != nil {
		return fmt.Errorf("wallet journal %s cannot be written anew: %w", j.path(), err)
	}
	j.file.Close()
	j.file, j.end, j.small, j.broken = file, int64(len(text)), int64(len(text)), false
	return nil
}

func (j *journal) replace(text []byte) (*os.File, error) {
	if j.file == nil {
		return nil, os.ErrClosed
	}
	file, err := os.OpenFile(j.path()+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync()); err == nil {
		err = j.fault("rename")
	}
	if err == nil {
		err = os.Rename(j.path()+".new", j.path())
	}
	if err == nil {
		// From here the new file is the journal: writing to the old would lose.
		err = errors.Join(j.fault("renamed"), atomicfile.SyncDir(j.dir))
		if err != nil {
			j.broken = true
		}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// long says that a rewrite is worth it.
func (j *journal) long() bool { return j.end > j.rewriteAt && j.end > 4*j.small }
