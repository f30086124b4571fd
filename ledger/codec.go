package ledger

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
)

// An event in bytes is its fields that are not zero, each behind its tag, in
// ascending order, and a zero at the end:
//
//	tag:uvarint value … 0
//	number   uvarint
//	hash     32 bytes
//	text     length+1:uvarint bytes, or 0 workchain:int8 32 bytes for a raw address
//
// There is exactly one encoding of an event: signatures are over it, and an
// export in JSON is turned back into it to check them. A new field takes a new
// tag; a reader that does not know it refuses the event.

// Limits of what is read back; nothing that is written comes near.
const (
	maxText = 1 << 16 // bytes of a text or memo
	addrLen = 33      // workchain and hash
)

var errEvent = errors.New("malformed event")

// walk visits every field with its tag. Both directions use it, so they cannot disagree.
func (e *Event) walk(w fieldWalker) {
	number(w, 1, &e.Kind)
	number(w, 2, &e.Time)
	number(w, 3, &e.Generation)
	w.text(4, &e.Client)
	w.text(5, &e.Worker)
	number(w, 6, &e.Tokens)
	number(w, 7, &e.Chain)
	number(w, 8, &e.Reported)
	number(w, 9, &e.State)
	number(w, 10, &e.Balance)
	number(w, 11, &e.Stake)
	number(w, 12, &e.Debt)
	number(w, 13, &e.Unlock)
	number(w, 14, &e.LT)
	w.hash(15, &e.Hash)
	number(w, 16, &e.Note)
	number(w, 17, &e.Last)
	w.hash(18, &e.Session)
	number(w, 19, &e.Params)
	w.text(20, &e.Contract)
	number(w, 21, &e.Price)
	number(w, 22, &e.Fee)
	number(w, 23, &e.Paid)
	number(w, 24, &e.Staked)
	w.bytes(25, &e.Memo)
}

type fieldWalker interface {
	number(tag uint64, v *uint64, highest uint64)
	hash(tag uint64, v *Hash)
	text(tag uint64, v *string)
	bytes(tag uint64, v *[]byte)
}

// number carries a field of any integer type; none of them may be negative.
func number[T ~uint8 | ~int32 | ~uint32 | ~int64 | ~uint64](w fieldWalker, tag uint64, v *T) {
	u := uint64(*v)
	highest := uint64(math.MaxUint64)
	switch any(*v).(type) {
	case Kind, State:
		highest = math.MaxUint8
	case int32:
		highest = math.MaxInt32
	case uint32:
		highest = math.MaxUint32
	case uint64:
	default:
		highest = math.MaxInt64
	}
	w.number(tag, &u, highest)
	*v = T(u)
}

// append writes the event behind b.
func (e *Event) append(b []byte) ([]byte, error) {
	w := encoder{b: b}
	e.walk(&w)
	if w.err != nil {
		return b, fmt.Errorf("ledger: event %s: %w", e.Kind, w.err)
	}
	return append(w.b, 0), nil
}

type encoder struct {
	b   []byte
	err error
}

func (w *encoder) number(tag uint64, v *uint64, highest uint64) {
	if *v > highest {
		w.err = fmt.Errorf("field %d is negative", tag)
	}
	if *v != 0 {
		w.b = binary.AppendUvarint(binary.AppendUvarint(w.b, tag), *v)
	}
}

func (w *encoder) hash(tag uint64, v *Hash) {
	if *v != (Hash{}) {
		w.b = append(binary.AppendUvarint(w.b, tag), v[:]...)
	}
}

func (w *encoder) text(tag uint64, v *string) {
	if *v == "" {
		return
	}
	if len(*v) > maxText {
		w.err = fmt.Errorf("field %d has %d bytes, want at most %d", tag, len(*v), maxText)
		return
	}
	w.b = binary.AppendUvarint(w.b, tag)
	if a, ok := packAddress(*v); ok {
		w.b = append(append(w.b, 0), a[:]...)
		return
	}
	w.b = append(binary.AppendUvarint(w.b, uint64(len(*v))+1), *v...)
}

// bytes writes what is no text in its form all the same, never as an address.
func (w *encoder) bytes(tag uint64, v *[]byte) {
	if len(*v) > maxText {
		w.err = fmt.Errorf("field %d has %d bytes, want at most %d", tag, len(*v), maxText)
	} else if len(*v) > 0 {
		w.b = append(binary.AppendUvarint(binary.AppendUvarint(w.b, tag), uint64(len(*v))+1), *v...)
	}
}

// decode reads one event and returns the bytes behind it.
func (e *Event) decode(b []byte) ([]byte, error) {
	r := decoder{b: b}
	*e = Event{}
	r.tag = r.uvarint()
	e.walk(&r)
	switch {
	case r.err == nil && r.tag != 0:
		r.err = fmt.Errorf("%w: field %d is unknown or out of order", errEvent, r.tag)
	case r.err == nil && (e.Kind == 0 || int(e.Kind) >= len(kindNames) || int(e.State) >= len(stateNames)):
		r.err = fmt.Errorf("%w: %s in state %s", errEvent, e.Kind, e.State)
	}
	return r.b, r.err
}

// decoder holds the tag of the next field; 0 is the end.
type decoder struct {
	b   []byte
	tag uint64
	err error
}

func (r *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 { // cut off, too long, or longer than it has to be
		r.fail("a number is cut off or not in its shortest form")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *decoder) fail(why string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errEvent, why)
	}
	r.b, r.tag = nil, 0
}

func (r *decoder) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail("it is cut off")
		return make([]byte, min(n, addrLen))
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// next is the tag behind a field of the given tag.
func (r *decoder) next(tag uint64) {
	if r.err != nil {
		return
	}
	if r.tag = r.uvarint(); r.tag != 0 && r.tag <= tag {
		r.fail("its fields are out of order")
	}
}

func (r *decoder) number(tag uint64, v *uint64, highest uint64) {
	if r.tag != tag {
		return
	}
	if *v = r.uvarint(); r.err == nil && (*v == 0 || *v > highest) {
		*v = 0
		r.fail("a number is out of range")
	}
	r.next(tag)
}

func (r *decoder) hash(tag uint64, v *Hash) {
	if r.tag != tag {
		return
	}
	if copy(v[:], r.take(32)); *v == (Hash{}) {
		r.fail("a hash is zero")
	}
	r.next(tag)
}

func (r *decoder) text(tag uint64, v *string) {
	if r.tag != tag {
		return
	}
	switch n := r.uvarint(); {
	case r.err != nil:
	case n == 0:
		a := r.take(addrLen)
		if a[0] != 0 && a[0] != 0xff {
			r.fail("an address is of no known chain")
		}
		*v = unpackAddress(a)
	case n == 1 || n-1 > maxText:
		r.fail("a text is empty or too long")
	default:
		*v = string(r.take(n - 1))
		if _, packed := packAddress(*v); packed {
			r.fail("an address is not packed")
		}
	}
	r.next(tag)
}

func (r *decoder) bytes(tag uint64, v *[]byte) {
	if r.tag != tag {
		return
	}
	if n := r.uvarint(); n < 2 || n-1 > maxText {
		r.fail("a memo is empty or too long")
	} else {
		*v = append([]byte(nil), r.take(n-1)...)
	}
	r.next(tag)
}

// packAddress turns "0:" or "-1:" and 64 lower hex digits into 33 bytes.
func packAddress(s string) (a [addrLen]byte, ok bool) {
	chain, digits, _ := strings.Cut(s, ":")
	if len(digits) != 64 || chain != "0" && chain != "-1" {
		return a, false
	}
	if chain == "-1" {
		a[0] = 0xff
	}
	for i := range 32 {
		high, low := nibble(digits[2*i]), nibble(digits[2*i+1])
		if high > 15 || low > 15 {
			return a, false
		}
		a[1+i] = high<<4 | low
	}
	return a, true
}

// nibble is 16 or more for anything but a lower-case hex digit.
func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 16
}

func unpackAddress(a []byte) string {
	b := append(make([]byte, 0, 3+64), "0:"...)
	if a[0] != 0 {
		b = append(b[:0], "-1:"...)
	}
	return string(hex.AppendEncode(b, a[1:]))
}
