package localnet

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/xssnick/tonutils-go/tvm/cell"
)

// journal keeps a chain on disk as what came from outside: execution being
// deterministic, that is all there is to know. The file is a list of records
//
//	length:uint32  crc32:uint32  payload           (big endian)
//
// the first of which holds the settings that the chain began with, and each
// further one a block: its time, the masterchain block's root hash, and the
// messages. A record is on disk before its block is visible to anybody, so a
// crash loses only what nobody saw; a torn last record is cut off. A nil
// journal keeps nothing.
type journal struct {
	file  *os.File
	path  string
	end   int64
	found []byte // the first record, nil for a new journal
}

// founding is the first record.
type founding struct {
	Seed     []byte `json:"seed"`
	GlobalID int32  `json:"global_id"`
	Supply   uint64 `json:"supply"`
	Params   []byte `json:"params"`
	Genesis  uint32 `json:"genesis"` // Unix time
}

const maxRecord = 64 << 20

func openJournal(cfg *Config) (*journal, error) {
	if cfg.Dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("localnet: %w", err)
	}
	j := &journal{path: filepath.Join(cfg.Dir, "chain.journal")}
	file, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("localnet: %w", err)
	}
	j.file = file
	if err := lock(file); err != nil {
		file.Close()
		return nil, fmt.Errorf("localnet: %s is in use by another process: %w", j.path, err)
	}
	record, err := readRecord(bufio.NewReader(file))
	if err == nil {
		j.found, j.end = record, int64(8+len(record))
		err = j.adopt(cfg)
	} else if errors.Is(err, errTorn) {
		err = nil // nothing was ever completed
	}
	if err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

// adopt makes an existing chain's settings the ones to run with.
func (j *journal) adopt(cfg *Config) error {
	var f founding
	if err := json.Unmarshal(j.found, &f); err != nil || len(f.Seed) != len(cfg.Seed) {
		return fmt.Errorf("localnet: %s does not begin as a journal does: move it away to start a new chain", j.path)
	}
	seed := [32]byte(f.Seed)
	if cfg.Seed != ([32]byte{}) && cfg.Seed != seed {
		return fmt.Errorf("localnet: %s holds a chain with another seed: leave Seed empty or move it away", j.path)
	}
	if cfg.GlobalID != 0 && cfg.GlobalID != f.GlobalID {
		return fmt.Errorf("localnet: %s holds a chain with global id %d, asked for %d", j.path, f.GlobalID, cfg.GlobalID)
	}
	cfg.Seed, cfg.GlobalID, cfg.Supply, cfg.Params = seed, f.GlobalID, f.Supply, f.Params
	return nil
}

// begin writes the first record of a new journal, or reads the time of an
// old one's genesis.
func (j *journal) begin(cfg *Config, now *uint32) error {
	if j.found != nil {
		var f founding
		err := json.Unmarshal(j.found, &f)
		*now = f.Genesis
		return err
	}
	record, err := json.Marshal(founding{Seed: cfg.Seed[:], GlobalID: cfg.GlobalID, Supply: cfg.Supply, Params: cfg.Params, Genesis: *now})
	if err != nil {
		return err
	}
	return j.write(record)
}

// append makes a block durable.
func (j *journal) append(d *draft, rootHash []byte) error {
	if j == nil {
		return nil
	}
	record := binary.BigEndian.AppendUint32(nil, d.now)
	record = append(record, rootHash...)
	for _, message := range d.inputs {
		boc := message.ToBOC()
		record = binary.BigEndian.AppendUint32(record, uint32(len(boc)))
		record = append(record, boc...)
	}
	return j.write(record)
}

func (j *journal) write(record []byte) error {
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(record)))
	frame = binary.BigEndian.AppendUint32(frame, crc32.ChecksumIEEE(record))
	_, err := j.file.WriteAt(append(frame, record...), j.end)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("localnet: keep the chain: %w", err)
	}
	j.end += int64(len(frame) + len(record))
	return nil
}

var errTorn = errors.New("record is incomplete or damaged")

func readRecord(r io.Reader) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, errTorn
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxRecord {
		return nil, errTorn
	}
	var record bytes.Buffer // grows with what is really there
	if size == 0 {          // a file system may leave zeros where a write was torn
		return nil, errTorn
	}
	if n, _ := io.CopyN(&record, r, int64(size)); n != int64(size) || crc32.ChecksumIEEE(record.Bytes()) != binary.BigEndian.Uint32(head[4:]) {
		return nil, errTorn
	}
	return record.Bytes(), nil
}

// replay runs a journal's blocks again and cuts off a torn end. A block that
// comes out different from what it was is an error: the file was changed, or
// was written by a version that executes differently.
func (c *Chain) replay(j *journal) error {
	r := bufio.NewReader(io.NewSectionReader(j.file, j.end, 1<<62))
	for {
		record, err := readRecord(r)
		if err != nil {
			break
		}
		if err := c.replayBlock(record); err != nil {
			return fmt.Errorf("localnet: %s: block %d: %w", j.path, len(c.world.blocks), err)
		}
		j.end += int64(8 + len(record))
	}
	return j.cut()
}

// cut removes a torn last record. What a crash cannot leave behind, a bad
// record with more after it, is damage, and nothing is removed.
func (j *journal) cut() error {
	info, err := j.file.Stat()
	if err != nil {
		return fmt.Errorf("localnet: %w", err)
	}
	head := make([]byte, 4)
	if n, _ := j.file.ReadAt(head, j.end); n == len(head) {
		size := int64(binary.BigEndian.Uint32(head))
		if size > 0 && j.end+8+size < info.Size() {
			return fmt.Errorf("localnet: %s is damaged at byte %d, in the middle: restore it from a copy or move it away", j.path, j.end)
		}
	}
	return j.rewind(j.end)
}

func (c *Chain) replayBlock(record []byte) error {
	if len(record) < 36 {
		return errTorn
	}
	want, rest := record[4:36], record[36:]
	if err := c.openAt(binary.BigEndian.Uint32(record)); err != nil {
		return err
	}
	for len(rest) >= 4 {
		size := int(binary.BigEndian.Uint32(rest))
		if size > len(rest)-4 {
			return errTorn
		}
		message, err := cell.FromBOC(rest[4 : 4+size])
		if err != nil {
			return err
		}
		if _, err := c.accept(message); err != nil {
			return err
		}
		rest = rest[4+size:]
	}
	id, err := c.seal()
	if err == nil && !bytes.Equal(id.RootHash, want) {
		err = fmt.Errorf("comes out as %x, was %x: the file was changed or written by another version; move it away to start a new chain", id.RootHash, want)
	}
	return err
}

func (j *journal) mark() int64 {
	if j == nil {
		return 0
	}
	return j.end
}

// rewind forgets everything after a mark.
func (j *journal) rewind(mark int64) error {
	if j == nil {
		return nil
	}
	if err := j.file.Truncate(mark); err != nil {
		return fmt.Errorf("localnet: rewind the journal: %w", err)
	}
	j.end = mark
	return j.file.Sync()
}

func (j *journal) close() error {
	if j == nil || j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
