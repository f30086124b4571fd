package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/opencocoon/cocoon/ledger"
)

// A file is a header and frames, all numbers big-endian:
//
//	header  "COCOONLG" version:uint32 kind:uint32
//	frame   length:uint32 first:uint64 last:uint64 crc:uint32 crc:uint32 data
//
// The first checksum, CRC-32C, is over the frame's length, first and last, the second over its data, so
// that a damaged length cannot make what follows look like the end.
//
// Versions: 1 is the only one so far. A later program that writes another must
// go on reading this one; testdata/v1 is there to see to that.
const (
	magic      = "COCOONLG"
	version    = 1
	headerSize = 16
	frameSize  = 28
	maxData    = 64 << 20 // a record's limit in package ledger

	logFile      = 1
	snapshotFile = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func header(kind uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte(magic), version)
	return binary.BigEndian.AppendUint32(b, kind)
}

func checkHeader(f File, kind uint32) error {
	b := make([]byte, headerSize)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch v := binary.BigEndian.Uint32(b[8:]); {
	case string(b[:8]) != magic:
		return fmt.Errorf("%w: not a file of a ledger", ledger.ErrDamaged)
	case v != version:
		return fmt.Errorf("format version %d, this program reads %d: use the newer program that wrote it", v, version)
	case binary.BigEndian.Uint32(b[12:]) != kind:
		return fmt.Errorf("%w: a file of kind %d, want %d", ledger.ErrDamaged, binary.BigEndian.Uint32(b[12:]), kind)
	}
	return nil
}

func frame(r ledger.Record) []byte {
	b := make([]byte, 0, frameSize+len(r.Data))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Data)))
	b = binary.BigEndian.AppendUint64(b, r.First)
	b = binary.BigEndian.AppendUint64(b, r.Last)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(r.Data, castagnoli))
	return append(b, r.Data...)
}

var (
	errShort = errors.New("it is cut off")
	errSum   = errors.New("its checksum is wrong")
)

// readFrame reads the frame at off in a file of the given size.
func readFrame(f io.ReaderAt, off, size int64) (r ledger.Record, next int64, err error) {
	var h [frameSize]byte
	if size-off < frameSize {
		return r, 0, errShort
	}
	if _, err := f.ReadAt(h[:], off); err != nil {
		return r, 0, err
	}
	length := int64(binary.BigEndian.Uint32(h[:]))
	if binary.BigEndian.Uint32(h[20:]) != crc32.Checksum(h[:20], castagnoli) || length > maxData {
		return r, 0, errSum
	}
	if size-off-frameSize < length {
		return r, 0, errShort
	}
	r = ledger.Record{First: binary.BigEndian.Uint64(h[4:]), Last: binary.BigEndian.Uint64(h[12:]), Data: make([]byte, length)}
	if _, err := f.ReadAt(r.Data, off+frameSize); err != nil {
		return r, 0, err
	}
	if binary.BigEndian.Uint32(h[24:]) != crc32.Checksum(r.Data, castagnoli) {
		return r, 0, errSum
	}
	return r, off + frameSize + length, nil
}

// damaged says where, and what to do.
func damaged(off int64, err error) error {
	return fmt.Errorf("%w at byte %d: %w; restore the newest copy of the directory, and stop the proxy's key if there is none", ledger.ErrDamaged, off, err)
}

// scan finds where the acknowledged frames of a log end, and the last event in them. What
// is behind the end of the last segment may only be the remains of one write.
func scan(f File, isLast bool) (end int64, last uint64, err error) {
	size, err := f.Size()
	if err != nil {
		return 0, 0, err
	}
	b := newBuffered(f, size)
	off := int64(headerSize)
	for off < size {
		r, next, err := readFrame(b, off, size)
		if err == nil {
			off, last = next, r.Last
			continue
		}
		if !errors.Is(err, errShort) && !errors.Is(err, errSum) {
			return 0, 0, err
		}
		if !isLast {
			return 0, 0, damaged(off, err)
		}
		rest := make([]byte, size-off)
		if _, err := f.ReadAt(rest, off); err != nil {
			return 0, 0, err
		}
		if !torn(rest, off, err) {
			return 0, 0, damaged(off, err)
		}
		return off, last, nil
	}
	return off, last, nil
}

// torn says whether the bytes at the end of a log are what a crash left of one
// write, and not a record that was acknowledged and then damaged. A write that
// was cut off ends early, or has holes: blocks that the disk never got, which
// read as zeros. Nothing valid can follow it.
func torn(rest []byte, off int64, why error) bool {
	for i := 1; i+frameSize <= len(rest); i++ {
		if _, _, err := readFrame(bytes.NewReader(rest), int64(i), int64(len(rest))); err == nil {
			return false
		}
	}
	return errors.Is(why, errShort) || hasHole(rest, off)
}

// hasHole looks for a sector of nothing but zeros. No record has one: records
// are dense, and end with a signature.
func hasHole(rest []byte, off int64) bool {
	const sector = 512
	for from := 0; from < len(rest); {
		to := min(len(rest), from+sector-int(off+int64(from))%sector)
		if part := rest[from:to]; (len(part) >= 32 || to == len(rest) && len(part) >= 8) && len(bytes.Trim(part, "\x00")) == 0 {
			return true
		}
		from = to
	}
	return false
}

// buffered reads a file from front to back in large pieces.
type buffered struct {
	f    io.ReaderAt
	size int64
	b    []byte
	off  int64
}

func newBuffered(f io.ReaderAt, size int64) *buffered { return &buffered{f: f, size: size} }

// ReadAt implements io.ReaderAt within the size.
func (b *buffered) ReadAt(p []byte, off int64) (int, error) {
	if off < b.off || off+int64(len(p)) > b.off+int64(len(b.b)) {
		n := min(max(int64(len(p)), 1<<20), b.size-off)
		if n < int64(len(p)) {
			return 0, io.ErrUnexpectedEOF
		}
		b.b = make([]byte, n)
		b.off = off
		if _, err := b.f.ReadAt(b.b, off); err != nil {
			b.b = nil
			return 0, err
		}
	}
	return copy(p, b.b[off-b.off:]), nil
}
