package nvidia

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// reader takes pieces from the front of b; the first failure sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("nvidia: "+format, args...)
	}
}

func (r *reader) take(what string, n int) []byte {
	if r.err == nil && n > len(r.b) {
		r.fail("%s needs %d bytes, %d are left", what, n, len(r.b))
	}
	if r.err != nil {
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

// number reads n bytes, little end first; n is at most 4.
func (r *reader) number(what string, n int) int {
	var wide [4]byte
	copy(wide[:], r.take(what, n))
	return int(binary.LittleEndian.Uint32(wide[:]))
}

func (r *reader) want(what string, want ...byte) {
	if got := r.take(what, len(want)); got != nil && !bytes.Equal(got, want) {
		r.fail("%s is %x, want %x", what, got, want)
	}
}

func (r *reader) equal(what string, got, want int) {
	if got != want {
		r.fail("%s is %d, want %d", what, got, want)
	}
}

func (r *reader) end(what string) {
	if len(r.b) > 0 {
		r.fail("%d bytes are left in the %s", len(r.b), what)
	}
}
