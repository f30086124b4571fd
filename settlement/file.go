package settlement

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencocoon/cocoon/atomicfile"
)

// saveRecord replaces a record by v.
func saveRecord(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return atomicfile.Replace(path, sumLine(text), 0o600)
}

var errDamaged = errors.New("damaged")

// loadRecord reads into v what saveRecord wrote; a file that is not there
// leaves v alone.
func loadRecord(path string, v any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	content, ok := summed(bytes.TrimSuffix(text, []byte("\n")))
	if !ok {
		return fmt.Errorf("%s: %w: it does not fit its checksum. It says what was counted and promised: restore it, or move it away to begin anew", path, errDamaged)
	}
	if err := json.Unmarshal(content, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumLine is a line with its checksum in front.
func sumLine(text []byte) []byte {
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(text, castagnoli), text)
}

func summed(line []byte) (content []byte, ok bool) {
	if len(line) < 9 || line[8] != ' ' {
		return nil, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	return line[9:], err == nil && uint32(sum) == crc32.Checksum(line[9:], castagnoli)
}

// lines is a file that lines with checksums are added to. A torn line at its
// end, of a crash, is cut off when it is opened.
type lines struct {
	file *os.File
	end  int64
}

// openLines hands each good line to take.
func openLines(path string, take func(line []byte) error) (*lines, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &lines{file: file}
	if err := l.read(take); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
	}
	return l, nil
}

func (l *lines) read(take func([]byte) error) error {
	text, err := os.ReadFile(l.file.Name())
	if err != nil {
		return err
	}
	for number := 1; int(l.end) < len(text); number++ {
		line, _, whole := bytes.Cut(text[l.end:], []byte("\n"))
		content, ok := summed(line)
		if !whole {
			break
		}
		if !ok {
			return fmt.Errorf("damaged: line %d does not fit its checksum", number)
		}
		if err := take(content); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		l.end += int64(len(line)) + 1
	}
	return l.file.Truncate(l.end)
}

// add makes values durable, or leaves the file as it was.
func (l *lines) add(values ...any) error {
	var text []byte
	for _, v := range values {
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		text = append(text, sumLine(line)...)
	}
	_, err := l.file.WriteAt(text, l.end)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", l.file.Name(), err), l.file.Truncate(l.end))
	}
	l.end += int64(len(text))
	return nil
}

// readLines reads a file of lines without opening it for writing. A torn line
// at the end may be one that is just being written.
func readLines[T any](dir, name string, each func(T) error) error {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	for number := 1; ; number++ {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		content, ok := summed(line)
		if !whole {
			return nil
		}
		if !ok {
			return fmt.Errorf("%s: damaged: line %d does not fit its checksum", name, number)
		}
		var v T
		if err := json.Unmarshal(content, &v); err != nil {
			return fmt.Errorf("%s: line %d: %w", name, number, err)
		}
		if err := each(v); err != nil {
			return err
		}
		text = rest
	}
}
