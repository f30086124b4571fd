package tl

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzDecode wants no panic on any bytes, and that what decodes is the same
// message after encoding and decoding again.
func FuzzDecode(f *testing.F) {
	for _, b := range corpus(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := Decode(b)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || o != nil || e.Offset > len(b) {
				t.Fatalf("Decode = %v, %#v", o, err)
			}
			return
		}
		once := Marshal(o)
		if len(once) != o.SizeTL() || len(once) > len(b) {
			t.Fatalf("%s: %d bytes, SizeTL() = %d, from %d", o.TLName(), len(once), o.SizeTL(), len(b))
		}
		again, err := Decode(once)
		if err != nil {
			t.Fatalf("%s does not decode again: %v", o.TLName(), err)
		}
		if twice := Marshal(again); !bytes.Equal(once, twice) || again.TLID() != o.TLID() {
			t.Fatalf("%s changes:\n%x\n%x", o.TLName(), once, twice)
		}
	})
}

// FuzzReader lets the first bytes choose what to read from the rest.
func FuzzReader(f *testing.F) {
	f.Add([]byte{6, 6, 7}, []byte("\x01x\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7}, bytes.Repeat([]byte{1}, 100))
	f.Fuzz(func(t *testing.T, kinds, b []byte) {
		r := NewReader(b)
		for _, kind := range kinds {
			failed, left := r.Err() != nil, r.Len()
			readOne(t, r, kind)
			if r.Len() < 0 || r.Len() > left {
				t.Fatalf("%d bytes left after %d", r.Len(), left)
			}
			if failed && (r.Err() == nil || r.Len() != left) {
				t.Fatal("a failed reader goes on")
			}
		}
	})
}

func readOne(t *testing.T, r *Reader, kind byte) {
	left := r.Len()
	switch kind % 8 {
	case 0:
		r.Uint32("f")
	case 1:
		r.Int64("f")
	case 2:
		r.Float64("f")
	case 3:
		if v := r.Flags("f"); v>>31 != 0 {
			t.Fatal("flags with bit 31")
		}
	case 4:
		r.Bool("f")
	case 5:
		r.Int256("f")
	case 6:
		if v := r.Bytes("f"); len(v) > left || cap(v) != len(v) {
			t.Fatalf("%d bytes of %d, capacity %d", len(v), left, cap(v))
		}
	case 7:
		if n := r.Count("f", int(kind/8)); n > left/max(int(kind/8), 1) {
			t.Fatalf("%d elements of %d bytes in %d", n, kind/8, left)
		}
	}
}
