package tl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

var (
	errFlags = errors.New("flags word has bit 31 set")
	errBool  = errors.New("word is neither boolTrue nor boolFalse")
)

// Reader takes values from the front of a byte slice. The first failure
// sticks: later reads return zero values and Err tells what went wrong. The
// field argument of its methods names the value in that error.
type Reader struct {
	b   []byte
	off int
	err *Error
}

// NewReader reads from b, which byte values taken from it will point into.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err is the first failure, an *Error, or nil.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Len is the number of bytes not yet read.
func (r *Reader) Len() int { return len(r.b) - r.off }

// Uint32 reads four bytes.
func (r *Reader) Uint32(field string) uint32 {
	if !r.need(field, 4) {
		return 0
	}
	v := binary.LittleEndian.Uint32(r.b[r.off:])
	r.off += 4
	return v
}

// Int32 reads an int.
func (r *Reader) Int32(field string) int32 { return int32(r.Uint32(field)) }

// Int64 reads a long.
func (r *Reader) Int64(field string) int64 {
	if !r.need(field, 8) {
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b[r.off:])
	r.off += 8
	return int64(v)
}

// Float64 reads a double; any bit pattern is one.
func (r *Reader) Float64(field string) float64 {
	return math.Float64frombits(uint64(r.Int64(field)))
}

// Flags reads a # word. Bit 31 is an error, as it is at every other peer;
// unknown lower bits are kept.
func (r *Reader) Flags(field string) uint32 {
	at := r.off
	v := r.Uint32(field)
	if v>>31 != 0 {
		r.fail(field, at, errFlags)
		return 0
	}
	return v
}

// Bool reads boolTrue or boolFalse.
func (r *Reader) Bool(field string) bool {
	at := r.off
	switch r.Uint32(field) {
	case idTrue:
		return true
	case idFalse:
		return false
	}
	r.fail(field, at, errBool)
	return false
}

// Int256 reads 32 raw bytes.
func (r *Reader) Int256(field string) (v Int256) {
	if r.need(field, len(v)) {
		r.off += copy(v[:], r.b[r.off:])
	}
	return v
}

// Bytes reads a byte string. The result points into the input and is nil
// when empty; appending to it copies.
func (r *Reader) Bytes(field string) []byte {
	at := r.off
	head, n := r.bytesHeader(field)
	pad := -(head + n) & 3 // by the header that came, which may be longer than needed
	// n is compared before it is added to: it may be near 2^56.
	if left := r.Len() - head; r.err == nil && (n > left || n+pad > left) {
		r.fail(field, at, fmt.Errorf("needs %d bytes and padding, %d are left", n, left))
	}
	if r.err != nil {
		return nil
	}
	from := r.off + head
	r.off = from + n + pad
	if n == 0 {
		return nil
	}
	return r.b[from : from+n : from+n]
}

// String reads a string into memory of its own. It may hold any bytes.
func (r *Reader) String(field string) string { return string(r.Bytes(field)) }

// Count reads the length of a vector whose elements take at least minSize
// bytes each, and refuses one that the bytes left cannot hold.
func (r *Reader) Count(field string, minSize int) int {
	at := r.off
	n := r.Uint32(field)
	if most := r.Len() / max(minSize, 1); r.err == nil && uint64(n) > uint64(most) {
		r.fail(field, at, fmt.Errorf("claims %d elements, the bytes left hold at most %d", n, most))
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// bytesHeader looks at the header of a byte string: how long it is and how
// many bytes follow. It moves nothing.
//
//	n <= 253      | n        |
//	n <  2^24     | fe | n:3 |
//	beyond        | ff | n:7 |
//
// Longer forms than necessary are accepted, as they are at every other peer.
func (r *Reader) bytesHeader(field string) (head, n int) {
	if !r.need(field, 4) { // no string takes less than a word
		return 0, 0
	}
	switch b := r.b[r.off:]; b[0] {
	case 0xfe:
		return 4, int(binary.LittleEndian.Uint32(b) >> 8)
	case 0xff:
		if !r.need(field, 8) {
			return 0, 0
		}
		return 8, int(min(binary.LittleEndian.Uint64(b)>>8, math.MaxInt))
	default:
		return 1, int(b[0])
	}
}

func (r *Reader) need(field string, n int) bool {
	if r.err == nil && r.Len() < n {
		r.fail(field, r.off, fmt.Errorf("needs %d bytes, %d are left", n, r.Len()))
	}
	return r.err == nil
}

func (r *Reader) fail(field string, at int, err error) {
	if r.err == nil {
		r.err = &Error{Field: field, Offset: at, Err: err}
	}
}

func (r *Reader) ok() bool { return r.err == nil }

// in puts the field that holds the failed object in front of the path.
func (r *Reader) in(field string) {
	if r.err.Field != "" {
		field += "." + r.err.Field
	}
	r.err.Field = field
}

// inElement is in for an element of a vector.
func (r *Reader) inElement(field string, i int) { r.in(fmt.Sprintf("%s[%d]", field, i)) }

// end closes the reading of one object; the outermost name stays.
func (r *Reader) end(object string) error {
	if r.err == nil {
		return nil
	}
	r.err.Object = object
	return r.err
}

// finish is end for the object that must fill the input.
func (r *Reader) finish(object string) error {
	if n := r.Len(); n != 0 {
		r.fail("", r.off, fmt.Errorf("%d bytes too many behind the object", n))
	}
	return r.end(object)
}

// wrongClass reports a constructor that the field's type does not have.
func (r *Reader) wrongClass(field string, at int, class string) {
	r.fail(field, at, fmt.Errorf("id is no constructor of %s", class))
}
