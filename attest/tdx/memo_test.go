package tdx

import (
	"encoding/binary"
	"errors"
	"testing"
)

func TestMemo(t *testing.T) {
	var m memo
	asked := 0
	good := func() error { asked++; return nil }
	for _, c := range []struct {
		parts [][]byte
		asked int
	}{
		{[][]byte{[]byte("ab"), []byte("c")}, 1},
		{[][]byte{[]byte("ab"), []byte("c")}, 1},
		{[][]byte{[]byte("a"), []byte("bc")}, 2}, // the same bytes, cut elsewhere
		{[][]byte{[]byte("abc")}, 3},
		{nil, 4},
	} {
		if err := m.once(good, c.parts...); err != nil || asked != c.asked {
			t.Errorf("%q: asked %d times, %v, want %d", c.parts, asked, err, c.asked)
		}
	}
	// A failure is not remembered, and does not undo a success.
	bad := errors.New("bad")
	for range 2 {
		if err := m.once(func() error { asked++; return bad }, []byte("x")); err != bad {
			t.Errorf("error %v, want the check's", err)
		}
	}
	if asked != 6 {
		t.Errorf("asked %d times, want a failure to be asked again", asked)
	}
	for i := range uint32(2 * maxMemo) {
		m.once(good, binary.LittleEndian.AppendUint32(nil, i))
	}
	if len(m.good) > maxMemo {
		t.Errorf("%d remembered, want at most %d", len(m.good), maxMemo)
	}
}
