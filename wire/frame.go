package wire

import (
	"encoding/binary"
	"errors"
	"io"
)

const (
	headerSize = 8
	minPayload = 4
	maxPayload = 1 << 24

	readWindow = 8 << 10  // bytes read ahead; frames up to this size need no other buffer
	progress   = 64 << 10 // what counts as a sign of life within a larger frame
)

// frameReader cuts a stream into payloads.
type frameReader struct {
	src  io.Reader
	buf  []byte // buf[r:w] has arrived and is not yet used
	r, w int
	more bool   // the source was read since this was last cleared
	seq  uint32 // expected next; the field is an i32 that wraps, as this does
	max  int    // largest payload accepted

	// hold is told how much memory the frame being read takes, 0 at its end;
	// an error refuses it.
	hold func(int) error
	// alive is called whenever a peer has shown progress on a large frame, so
	// that a long transfer over a thin line is not taken for silence.
	alive func()
}

func newFrameReader(src io.Reader, max int) *frameReader {
	return &frameReader{
		src: src, buf: make([]byte, readWindow), max: max,
		hold: func(int) error { return nil }, alive: func() {},
	}
}

// next returns the next payload in memory of its own. The error is io.EOF
// only between two frames.
func (f *frameReader) next() ([]byte, error) {
	n, err := f.header()
	if err != nil {
		return nil, err
	}
	if n > len(f.buf) {
		return f.large(n)
	}
	if err := f.fill(n); err != nil {
		return nil, inFrame(err)
	}
	p := make([]byte, n)
	f.r += copy(p, f.buf[f.r:f.w])
	return p, nil
}

// header judges the length as soon as it is there: a peer that announces
// nonsense need not be waited for.
func (f *frameReader) header() (int, error) {
	if err := f.fill(4); err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint32(f.buf[f.r:])
	if n < minPayload || uint64(n) > uint64(f.max) {
		return 0, violation("frame of %d bytes, want %d to %d", n, minPayload, f.max)
	}
	if err := f.fill(headerSize); err != nil {
		return 0, inFrame(err)
	}
	if seq := binary.LittleEndian.Uint32(f.buf[f.r+4:]); seq != f.seq {
		return 0, violation("frame number %d, want %d", int32(seq), int32(f.seq))
	}
	f.seq++
	f.r += headerSize
	return int(n), nil
}

// fill waits until n unread bytes are in the window.
func (f *frameReader) fill(n int) error {
	have := f.w - f.r
	if have >= n {
		return nil
	}
	if f.r > 0 {
		copy(f.buf, f.buf[f.r:f.w])
		f.r, f.w = 0, have
	}
	got, err := io.ReadAtLeast(f.src, f.buf[f.w:], n-have)
	f.w += got
	f.more = true
	if err == io.EOF && have > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// large reads a payload that exceeds the window. It waits for a full window
// before it takes any memory, and has never more than four times what came:
// memory follows what the peer has sent, not what it has announced.
func (f *frameReader) large(n int) ([]byte, error) {
	if err := f.fill(len(f.buf)); err != nil {
		return nil, inFrame(err)
	}
	defer f.hold(0)
	var p []byte
	for len(p) < n {
		if len(p) == cap(p) {
			size := min(n, 4*max(readWindow, len(p)))
			if err := f.hold(size); err != nil {
				return nil, err
			}
			p = append(make([]byte, 0, size), p...)
		}
		room := p[len(p):min(cap(p), len(p)+progress)]
		got := copy(room, f.buf[f.r:f.w])
		f.r += got
		if _, err := io.ReadFull(f.src, room[got:]); err != nil {
			return nil, inFrame(err)
		}
		p = p[:len(p)+len(room)]
		f.alive()
	}
	return p, nil
}

func inFrame(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
