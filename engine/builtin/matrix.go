package builtin

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync"
)

// kind is how a tensor's numbers are stored, in GGUF's numbering.
type kind uint32

const (
	f32 kind = 0
	f16 kind = 1
	q8  kind = 8 // q8_0: blocks of an f16 scale and 32 signed bytes
)

const (
	q8Block = 32
	q8Bytes = 2 + q8Block
)

// bytes returns the size of rows × cols numbers.
func (k kind) bytes(rows, cols int) (uint64, error) {
	n := uint64(rows) * uint64(cols)
	switch {
	case k == f32:
		return 4 * n, nil
	case k == f16:
		return 2 * n, nil
	case k == q8 && cols%q8Block == 0:
		return n / q8Block * q8Bytes, nil
	case k == q8:
		return 0, fmt.Errorf("q8_0 rows of %d numbers, want a multiple of %d", cols, q8Block)
	}
	return 0, fmt.Errorf("kind %d, want 0 (f32), 1 (f16) or 8 (q8_0); convert the model to one of these", k)
}

// half widens a 16-bit float. Infinities, which weights never hold, come out
// as large numbers.
func half(h uint16) float32 {
	const rebias = 0x1p112
	return math.Float32frombits(uint32(h&0x8000)<<16|uint32(h&0x7fff)<<13) * rebias
}

// row is one row's bytes.
func (t *tensor) row(i int) []byte {
	n := len(t.data) / t.rows
	return t.data[i*n:][:n:n]
}

// widen writes row i as 32-bit numbers.
//
//go:norace
func (t *tensor) widen(dst []float32, i int) {
	row := t.row(i)
	switch t.kind {
	case f32:
		for j := range dst {
			dst[j] = math.Float32frombits(binary.LittleEndian.Uint32(row[4*j:]))
		}
	case f16:
		for j := range dst {
			dst[j] = half(binary.LittleEndian.Uint16(row[2*j:]))
		}
	case q8:
		for ; len(row) >= q8Bytes && len(dst) >= q8Block; row, dst = row[q8Bytes:], dst[q8Block:] {
			scale := half(binary.LittleEndian.Uint16(row))
			for j, b := range row[2:q8Bytes] {
				dst[j] = scale * float32(int8(b))
			}
		}
	}
}

// worthwhile is how many multiplications a goroutine must get to earn its start.
const worthwhile = 1 << 18

// mul sets dst to x times the transposed matrix: n vectors of t.cols numbers
// become n vectors of t.rows numbers.
func (t *tensor) mul(dst, x []float32, n int) {
	workers := min(runtime.GOMAXPROCS(0)-1, t.rows*t.cols*n/worthwhile)
	if workers <= 1 {
		t.mulRows(dst, x, n, 0, t.rows)
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { t.mulRows(dst, x, n, t.rows*w/workers, t.rows*(w+1)/workers) })
	}
	wg.Wait()
}

func (t *tensor) mulRows(dst, x []float32, n, from, to int) {
	if n == 1 && t.kind == q8 {
		for i := from; i < to; i++ {
			dst[i] = dotQ8(t.row(i), x)
		}
		return
	}
	wide := make([]float32, t.cols)
	for i := from; i < to; i++ {
		t.widen(wide, i)
		for j := range n {
			dst[j*t.rows+i] = dot(wide, x[j*t.cols:][:t.cols])
		}
	}
}

// dot uses eight sums so that additions need not wait for each other. The race
// detector, which would make it ten times slower, learns nothing here: weights
// are read-only and vectors belong to one sequence.
//
//go:norace
func dot(a, b []float32) float32 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(a) >= 8 && len(b) >= 8 {
		x, y := (*[8]float32)(a), (*[8]float32)(b)
		s0 += x[0] * y[0]
		s1 += x[1] * y[1]
		s2 += x[2] * y[2]
		s3 += x[3] * y[3]
		s4 += x[4] * y[4]
		s5 += x[5] * y[5]
		s6 += x[6] * y[6]
		s7 += x[7] * y[7]
		a, b = a[8:], b[8:]
	}
	for i, v := range a {
		s0 += v * b[i]
	}
	return (s0 + s1) + (s2 + s3) + (s4 + s5) + (s6 + s7)
}

// dotQ8 multiplies a q8_0 row with x without widening it first.
//
//go:norace
func dotQ8(row []byte, x []float32) float32 {
	var sum float32
	for len(row) >= q8Bytes && len(x) >= q8Block {
		w, y := (*[q8Block]byte)(row[2:]), (*[q8Block]float32)(x)
		var s0, s1, s2, s3 float32
		for j := 0; j < q8Block; j += 4 {
			s0 += float32(int8(w[j])) * y[j]
			s1 += float32(int8(w[j+1])) * y[j+1]
			s2 += float32(int8(w[j+2])) * y[j+2]
			s3 += float32(int8(w[j+3])) * y[j+3]
		}
		sum += half(binary.LittleEndian.Uint16(row)) * ((s0 + s1) + (s2 + s3))
		row, x = row[q8Bytes:], x[q8Block:]
	}
	return sum
}
