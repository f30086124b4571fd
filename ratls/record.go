package ratls

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/opencocoon/cocoon/attest"
)

// MaxGPUEvidence bounds the evidence of a machine's GPUs, in bytes. Report and
// certificates are at most 13 kB for each of up to 16.
const MaxGPUEvidence = 1 << 18

// record is what one end proves for a connection. Numbers are little-endian.
//
//	length       4   of what follows
//	flags        1   bit 0: the other end's evidence is wanted
//	evidence     4 + n, at most attest.MaxEvidence; empty if there is none
//	GPU evidence to the end, at most MaxGPUEvidence
type record struct {
	wants    bool
	evidence []byte   // nil if empty, or if it was not kept
	gpu      []byte   // likewise
	gpuHash  [32]byte // of what came
}

// keeps is which parts of a record somebody will look at.
type keeps struct{ evidence, gpu bool }

const (
	recordHead  = 1 + 4
	maxRecord   = recordHead + attest.MaxEvidence + MaxGPUEvidence
	recordWants = 1 << 0
)

func (r *record) write(w io.Writer) error {
	if n, m := len(r.evidence), len(r.gpu); n > attest.MaxEvidence || m > MaxGPUEvidence {
		return fmt.Errorf("own evidence of %d bytes and %d of the GPUs, want at most %d and %d", n, m, attest.MaxEvidence, MaxGPUEvidence)
	}
	var flags byte
	if r.wants {
		flags |= recordWants
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(recordHead+len(r.evidence)+len(r.gpu)))
	b = append(b, flags)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.evidence)))
	b = append(append(b, r.evidence...), r.gpu...)
	_, err := w.Write(b)
	return err
}

// readRecord reads one record and not a byte more. Memory is taken as bytes
// arrive, not as the peer announces them, and only for what is kept.
func readRecord(r io.Reader, keep keeps) (*record, error) {
	var head [4 + recordHead]byte
	if _, err := io.ReadFull(r, head[:4]); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length < recordHead || length > maxRecord {
		return nil, fmt.Errorf("record of %d bytes, want %d to %d", length, recordHead, maxRecord)
	}
	if _, err := io.ReadFull(r, head[4:]); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	n := binary.LittleEndian.Uint32(head[5:])
	if n > attest.MaxEvidence || n > length-recordHead {
		return nil, fmt.Errorf("record: evidence of %d bytes, want at most %d", n, min(attest.MaxEvidence, length-recordHead))
	}
	m := length - recordHead - n
	if m > MaxGPUEvidence {
		return nil, fmt.Errorf("record: evidence of GPUs of %d bytes, want at most %d", m, MaxGPUEvidence)
	}
	out := &record{wants: head[4]&recordWants != 0}
	return out, out.readBody(r, int64(n), int64(m), keep)
}

func (out *record) readBody(r io.Reader, n, m int64, keep keeps) (err error) {
	if out.evidence, err = readPart(r, n, keep.evidence); err != nil {
		return fmt.Errorf("record: evidence: %w", err)
	}
	hash := sha256.New()
	if out.gpu, err = readPart(io.TeeReader(r, hash), m, keep.gpu); err != nil {
		return fmt.Errorf("record: evidence of GPUs: %w", err)
	}
	out.gpuHash = [32]byte(hash.Sum(nil))
	return nil
}

// readPart reads n bytes and returns them if they are kept; nil for none.
func readPart(r io.Reader, n int64, keep bool) ([]byte, error) {
	if n == 0 || !keep {
		_, err := io.CopyN(io.Discard, r, n)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, n))
	if err == nil && int64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}
