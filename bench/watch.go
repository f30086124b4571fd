package bench

import (
	"bytes"
	"time"
)

// bodyWatch looks at an answer's body as it arrives: when it began, the times
// an [Engine] stamped into it, and whether it ended as a stream should.
type bodyWatch struct {
	relay  *Histogram
	from   time.Time // chunks that arrive earlier do not count
	stream bool
	first  time.Time
	stamps int64
	tail   [16]byte // the last bytes
	value  int64    // of the stamp being read
	digits int      // of it so far; -1 outside a stamp
}

func (b *bodyWatch) reset(stream bool) {
	*b = bodyWatch{relay: b.relay, from: b.from, stream: stream, digits: -1}
}

func (b *bodyWatch) piece(p []byte) {
	if !b.stream || len(p) == 0 {
		return
	}
	now := time.Now()
	if b.first.IsZero() {
		b.first = now
	}
	b.keepTail(p)
	for len(p) > 0 {
		if b.digits < 0 {
			i := bytes.IndexByte(p, stampMark)
			if i < 0 {
				return
			}
			p, b.value, b.digits = p[i+1:], 0, 0
			continue
		}
		b.digit(p[0], now)
		p = p[1:]
	}
}

// digit reads one byte of a stamp: unix nanoseconds, 19 digits.
func (b *bodyWatch) digit(c byte, now time.Time) {
	if c < '0' || c > '9' {
		b.digits = -1
		return
	}
	b.value = b.value*10 + int64(c-'0')
	if b.digits++; b.digits < 19 {
		return
	}
	b.digits = -1
	b.stamps++
	if !now.Before(b.from) { // also of streams that began before: they are in full flow
		b.relay.Record(time.Duration(now.UnixNano() - b.value))
	}
}

func (b *bodyWatch) keepTail(p []byte) {
	if n := len(b.tail); len(p) >= n {
		copy(b.tail[:], p[len(p)-n:])
	} else {
		copy(b.tail[:], b.tail[len(p):])
		copy(b.tail[n-len(p):], p)
	}
}

func (b *bodyWatch) done() bool { return bytes.Contains(b.tail[:], []byte("[DONE]")) }
