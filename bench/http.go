package bench

import (
	"bytes"
	"errors"
	"io"
	"strconv"
)

// reader reads HTTP/1.1 messages from a connection with one buffer and no
// allocation per message. It understands just what the load generator and
// the fake engine need: a head, then a body by Content-Length or in chunks.
type reader struct {
	src io.Reader
	buf []byte
	// buf[r:w] has been read from src and not yet consumed.
	r, w int
}

// maxHead bounds the first line and headers of a message.
const maxHead = 64 << 10

var errMalformed = errors.New("malformed HTTP")

// fill reads more, growing the buffer up to maxHead.
func (r *reader) fill() error {
	if r.r > 0 {
		copy(r.buf, r.buf[r.r:r.w])
		r.w -= r.r
		r.r = 0
	}
	if r.w == len(r.buf) {
		if r.w >= maxHead {
			return errMalformed
		}
		r.buf = append(r.buf, make([]byte, max(4096, len(r.buf)))...)
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	return err
}

// head returns the first line and the headers, up to and including the empty
// line. The bytes are valid until the next call.
func (r *reader) head() ([]byte, error) {
	for from := r.r; ; {
		if i := bytes.Index(r.buf[from:r.w], []byte("\r\n\r\n")); i >= 0 {
			head := r.buf[r.r : from+i+4]
			r.r = from + i + 4
			return head, nil
		}
		scanned := max(r.w-r.r-3, 0)
		if err := r.fill(); err != nil {
			return nil, err
		}
		from = r.r + scanned
	}
}

// framing tells how long a body is and whether the connection lives on.
type framing struct {
	length  int // -1: until the connection closes
	chunked bool
	close   bool
}

// framingOf reads the headers of a head; none is the length without a header
// about it: 0 for a request, -1 for an answer.
func framingOf(head []byte, none int) (framing, error) {
	f := framing{length: none}
	_, lines, _ := bytes.Cut(head, []byte("\r\n"))
	for len(lines) > 2 {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case len(name) == 14 && bytes.EqualFold(name, []byte("Content-Length")):
			n, err := strconv.Atoi(string(value))
			if err != nil || n < 0 {
				return f, errMalformed
			}
			f.length = n
		case len(name) == 17 && bytes.EqualFold(name, []byte("Transfer-Encoding")):
			f.chunked = bytes.EqualFold(value, []byte("chunked"))
		case len(name) == 10 && bytes.EqualFold(name, []byte("Connection")):
			f.close = bytes.EqualFold(value, []byte("close"))
		}
	}
	return f, nil
}

// body hands the pieces of a body to got as they arrive.
func (r *reader) body(f framing, got func([]byte)) error {
	switch {
	case f.chunked:
		return r.chunks(got)
	case f.length >= 0:
		return r.exactly(f.length, got)
	}
	for {
		got(r.buf[r.r:r.w])
		r.r = r.w
		if err := r.fill(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (r *reader) exactly(n int, got func([]byte)) error {
	for n > 0 {
		if r.r == r.w {
			if err := r.fill(); err != nil {
				return unexpected(err)
			}
		}
		m := min(n, r.w-r.r)
		got(r.buf[r.r : r.r+m])
		r.r += m
		n -= m
	}
	return nil
}

func (r *reader) chunks(got func([]byte)) error {
	for {
		line, err := r.line()
		if err != nil {
			return unexpected(err)
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
		if err != nil {
			return errMalformed
		}
		if n == 0 {
			return r.trailer()
		}
		if err := r.exactly(int(n), got); err != nil {
			return err
		}
		if line, err = r.line(); err != nil || len(line) != 0 {
			return errMalformed
		}
	}
}

func (r *reader) trailer() error {
	for {
		if line, err := r.line(); err != nil || len(line) == 0 {
			return unexpected(err)
		}
	}
}

// line returns the next line without its end.
func (r *reader) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(r.buf[r.r:r.w], '\n'); i >= 0 {
			line := bytes.TrimSuffix(r.buf[r.r:r.r+i], []byte("\r"))
			r.r += i + 1
			return line, nil
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
