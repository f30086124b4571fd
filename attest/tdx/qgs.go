package tdx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// The host's quote generation service (QGS of Intel's DCAP) listens on a vsock
// port. One request, one answer, each behind its length in four bytes, most
// significant first; everything else is little-endian:
//
//	 0 major, minor version  2 + 2      request  16 report's size     4
//	 4 type                  4                   20 size of a list    4
//	 8 size of the message   4                   24 report, list
//	12 error, 0 is none      4          answer   16 size of an id     4
//	                                             20 quote's size      4
//	                                             24 id, quote
const (
	qgsMajor    = 1
	qgsRequest  = 0
	qgsAnswer   = 1
	qgsHeader   = 24 // both messages up to their variable parts
	qgsMaxReply = 64 * 1024
)

// reportBytes is the size of a TDREPORT.
const reportBytes = 1024

// connection is one to the quoting service.
type connection interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

var past = time.Unix(1, 0) // a deadline that ends what is under way

// askHost sends a report and returns the quote that the service makes of it.
func askHost(conn io.ReadWriter, report []byte) ([]byte, error) {
	if _, err := conn.Write(qgsAsk(report)); err != nil {
		return nil, err
	}
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n < qgsHeader || n > qgsMaxReply {
		return nil, fmt.Errorf("answer of %d bytes, want %d to %d", n, qgsHeader, qgsMaxReply)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, err
	}
	return qgsQuote(b)
}

func qgsAsk(report []byte) []byte {
	le := binary.LittleEndian
	size := uint32(qgsHeader + len(report))
	b := binary.BigEndian.AppendUint32(nil, size)
	b = le.AppendUint16(le.AppendUint16(b, qgsMajor), 0)
	for _, v := range []uint32{qgsRequest, size, 0, uint32(len(report)), 0} {
		b = le.AppendUint32(b, v)
	}
	return append(b, report...)
}

// qgsQuote takes the quote out of an answer.
func qgsQuote(b []byte) ([]byte, error) {
	r := reader{b: b}
	major := r.u16("major version")
	r.u16("minor version")
	kind, size, failure := r.u32("type"), r.u32("size"), r.u32("error")
	id, quote := r.u32("size of id"), r.u32("size of quote")
	r.take("id", id)
	out := r.take("quote", quote)
	switch {
	case r.err != nil:
		return nil, r.err
	case major != qgsMajor || kind != qgsAnswer || size != len(b):
		return nil, fmt.Errorf("message of version %d, type %d and size %d, want %d, %d and %d", major, kind, size, qgsMajor, qgsAnswer, len(b))
	case failure != 0:
		return nil, fmt.Errorf("error %#x", failure)
	case len(r.b) > 0:
		return nil, fmt.Errorf("%d bytes behind the quote", len(r.b))
	case len(out) == 0:
		return nil, errors.New("no quote in the answer")
	}
	return out, nil
}
