package ratls

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/opencocoon/cocoon/attest"
)

func TestSessionRecordRoundTrip(t *testing.T) {
	for name, r := range map[string]record{
		"empty":   {},
		"wants":   {wants: true},
		"both":    {wants: true, evidence: []byte("evidence"), gpu: []byte("gpu")},
		"GPUs":    {gpu: []byte("gpu")},
		"largest": {evidence: make([]byte, attest.MaxEvidence), gpu: make([]byte, MaxGPUEvidence)},
	} {
		var b bytes.Buffer
		if err := r.write(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b.WriteString("frame")
		for _, keep := range []keeps{{}, {evidence: true}, {gpu: true}, {true, true}} {
			in := bytes.NewReader(b.Bytes())
			got, err := readRecord(iotest.OneByteReader(in), keep)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			kept := func(part []byte, keep bool) []byte {
				if keep {
					return part
				}
				return nil
			}
			if got.wants != r.wants || !bytes.Equal(got.evidence, kept(r.evidence, keep.evidence)) || !bytes.Equal(got.gpu, kept(r.gpu, keep.gpu)) {
				t.Errorf("%s, keeping %+v: something else came back", name, keep)
			}
			if got.gpuHash != sha256.Sum256(r.gpu) {
				t.Errorf("%s, keeping %+v: hash of other evidence", name, keep)
			}
			if rest, _ := io.ReadAll(in); string(rest) != "frame" {
				t.Errorf("%s: left %q, want what follows the record", name, rest)
			}
		}
	}
	for name, r := range map[string]record{
		"evidence": {evidence: make([]byte, attest.MaxEvidence+1)},
		"GPUs":     {gpu: make([]byte, MaxGPUEvidence+1)},
	} {
		if err := r.write(io.Discard); err == nil {
			t.Errorf("%s one byte too long was written", name)
		}
	}
}

// Every length is checked before anything of that length is read.
func TestSessionRecordRefusals(t *testing.T) {
	head := func(length uint32, flags byte, n uint32) []byte {
		b := append(binary.LittleEndian.AppendUint32(nil, length), flags)
		return binary.LittleEndian.AppendUint32(b, n)
	}
	for name, b := range map[string][]byte{
		"nothing":                 {},
		"half a length":           {5, 0},
		"shorter than its head":   head(4, 0, 0),
		"no body":                 head(5, 0, 0)[:8],
		"largest and one":         head(maxRecord+1, 0, 0),
		"2^32-1":                  head(1<<32-1, 0, 0),
		"evidence of 2^32-1":      head(maxRecord, 0, 1<<32-1),
		"evidence one too long":   append(head(recordHead+attest.MaxEvidence+1, 0, attest.MaxEvidence+1), make([]byte, attest.MaxEvidence+1)...),
		"evidence beyond the end": append(head(recordHead+1, 0, 2), 1, 2),
		"GPUs one too long":       append(head(recordHead+MaxGPUEvidence+1, 0, 0), make([]byte, MaxGPUEvidence+1)...),
		"evidence cut short":      append(head(recordHead+2, 0, 2), 1),
		"GPUs cut short":          append(head(recordHead+2, 0, 0), 1),
	} {
		for _, keep := range []keeps{{}, {true, true}} {
			if _, err := readRecord(bytes.NewReader(b), keep); err == nil {
				t.Errorf("%s, keeping %+v: accepted", name, keep)
			}
		}
	}
}

// A peer that announces much and sends little costs little.
func TestSessionRecordTakesMemoryAsItComes(t *testing.T) {
	head := binary.LittleEndian.AppendUint32(append(binary.LittleEndian.AppendUint32(nil, maxRecord), 0), attest.MaxEvidence)
	const times = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		if _, err := readRecord(bytes.NewReader(append(head, 1, 2, 3)), keeps{true, true}); err == nil {
			t.Fatal("accepted")
		}
	}
	runtime.ReadMemStats(&after)
	if cost := (after.TotalAlloc - before.TotalAlloc) / times; cost > 8<<10 {
		t.Errorf("%d bytes for a record of which three bytes came", cost)
	}
}

func FuzzSessionRecord(f *testing.F) {
	for _, r := range []record{{}, {wants: true, evidence: []byte("evidence"), gpu: []byte("gpu")}} {
		var b bytes.Buffer
		r.write(&b)
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		r, err := readRecord(in, keeps{true, true})
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := r.write(&again); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		used := b[:len(b)-in.Len()]
		if used[4]&^recordWants != 0 {
			return // flags that we do not know are not repeated
		}
		if !bytes.Equal(again.Bytes(), used) {
			t.Fatalf("written again: %x, want %x", again.Bytes(), used)
		}
	})
}
