package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/opencocoon/cocoon/tl"
)

// The tcp.* objects, written and read by hand because every message of the
// network is inside one of them.
const (
	idPing        = 0xbbe9627c // id
	idPong        = 0x0bd4302c // id
	idPacket      = 0x9c17baf8 // data
	idQueryAnswer = 0xc048c311 // id, data
	idQueryError  = 0x4cd2f602 // id, code, message
	idQuery       = 0x3af51908 // id, data
	idConnected   = 0x636d41d6 // id
	idConnect     = 0xa57c4261 // id
)

func hasID(kind uint32) bool { return kind != idPacket }

func hasData(kind uint32) bool {
	return kind == idPacket || kind == idQuery || kind == idQueryAnswer || kind == idQueryError
}

func known(kind uint32) bool {
	return hasData(kind) || kind == idPing || kind == idPong || kind == idConnect || kind == idConnected
}

// message is any tcp.* object that was received.
type message struct {
	kind uint32
	id   int64
	code int32
	data []byte // points into the payload
}

func parse(p []byte) (m message, err error) {
	if len(p) < 4 {
		return m, violation("message of %d bytes", len(p))
	}
	m.kind, p = binary.LittleEndian.Uint32(p), p[4:]
	if !known(m.kind) {
		return m, violation("message of unknown kind %#08x", m.kind)
	}
	if hasID(m.kind) {
		if len(p) < 8 {
			return m, violation("message %#08x ends in its id", m.kind)
		}
		m.id, p = int64(binary.LittleEndian.Uint64(p)), p[8:]
	}
	if m.kind == idQueryError {
		if len(p) < 4 {
			return m, violation("message %#08x ends in its code", m.kind)
		}
		m.code, p = int32(binary.LittleEndian.Uint32(p)), p[4:]
	}
	if hasData(m.kind) {
		var ok bool
		if m.data, p, ok = cutBytes(p); !ok {
			return m, violation("message %#08x ends in its data", m.kind)
		}
	}
	if len(p) != 0 {
		return m, violation("message %#08x has %d bytes too many", m.kind, len(p))
	}
	return m, nil
}

// cutBytes takes a TL byte string off the front of p. As in the reference,
// lengths need not be written in the shortest form and padding may hold
// anything, but it must be there.
func cutBytes(p []byte) (data, rest []byte, ok bool) {
	if len(p) < 4 {
		return nil, nil, false
	}
	header, n := 1, uint64(p[0])
	switch p[0] {
	case 0xfe:
		header, n = 4, uint64(binary.LittleEndian.Uint32(p)>>8)
	case 0xff:
		if len(p) < 8 {
			return nil, nil, false
		}
		header, n = 8, binary.LittleEndian.Uint64(p)>>8
	}
	if n > uint64(len(p)-header) {
		return nil, nil, false
	}
	end := header + int(n)
	padded := (end + 3) &^ 3
	if padded > len(p) {
		return nil, nil, false
	}
	return p[header:end:end], p[padded:], true
}

// outgoing is a tcp.* object to be sent. Its data is an object not yet
// encoded, or bytes.
type outgoing struct {
	kind uint32
	id   int64
	code int32
	body tl.Object
	raw  []byte
	soon bool // may wait for company
}

func (m *outgoing) dataSize() int {
	if m.body != nil {
		return m.body.SizeTL()
	}
	return len(m.raw)
}

// size is the length of the payload whose data has the given length.
func (m *outgoing) size(data int) int {
	n := 4
	if hasID(m.kind) {
		n += 8
	}
	if m.kind == idQueryError {
		n += 4
	}
	if hasData(m.kind) {
		n += tl.SizeBytes(data)
	}
	return n
}

// append adds the whole frame to b. The inner object is written in place, so
// a message is copied once on its way from its fields to the socket.
func (m *outgoing) append(b []byte, seq uint32, data, size int) ([]byte, error) {
	start := len(b)
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(size))
	b = le.AppendUint32(b, seq)
	b = le.AppendUint32(b, m.kind)
	if hasID(m.kind) {
		b = le.AppendUint64(b, uint64(m.id))
	}
	if m.kind == idQueryError {
		b = le.AppendUint32(b, uint32(m.code))
	}
	if hasData(m.kind) {
		b = tl.AppendBytesHeader(b, data)
		if m.body != nil {
			b = m.body.AppendTL(b)
		} else {
			b = append(b, m.raw...)
		}
		b = tl.AppendBytesPadding(b, data)
	}
	if got := len(b) - start - headerSize; got != size {
		return b[:start], fmt.Errorf("wire: %s wrote %d bytes after announcing %d", m.name(), got, size)
	}
	return b, nil
}

// name says what is being sent, for errors.
func (m *outgoing) name() string {
	if m.body != nil {
		return m.body.TLName()
	}
	return fmt.Sprintf("message %#08x", tl.PeekID(m.raw))
}
