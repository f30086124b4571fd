package openai

import "bytes"

// Piece is a part of an answer's body that holds at most one document. Its
// slices are valid during the call that hands it out and must not be changed.
type Piece struct {
	// Raw is the bytes as they came, with field names, line ends and comments.
	Raw []byte
	// JSON is the document inside, as far as the framing tells: whoever reads
	// it must still be ready for a syntax error. Nil if there is none.
	JSON []byte
	// Done marks the end marker [DONE] of event streams.
	Done bool

	from, to int // span of the document inside Raw
}

// AppendWith appends the piece to dst with its document replaced by doc, which
// must be on one line. A piece without a document is appended as it is.
func (p Piece) AppendWith(dst, doc []byte) []byte {
	if p.JSON == nil {
		return append(dst, p.Raw...)
	}
	dst = append(dst, p.Raw[:p.from]...)
	dst = append(dst, doc...)
	return append(dst, p.Raw[p.to:]...)
}

// Splitter cuts an answer body into pieces while it arrives. Every byte fed
// comes out exactly once and in order, each piece as early as its last byte is
// known. Its memory is bounded: a document above the limit comes out raw, in
// several pieces without JSON. Not for concurrent use.
type Splitter struct {
	framing Framing
	max     int
	buf     []byte // start of a piece whose end has not come
	over    bool   // the piece at hand outgrew max; it leaves raw
	started bool   // something has been emitted (a BOM counts only before)
	lines   lineScanner
	values  valueScanner
}

// NewSplitter returns a splitter for one body. A maxDocument of 0 or less means
// 8 MiB.
func NewSplitter(f Framing, maxDocument int) *Splitter {
	if maxDocument <= 0 {
		maxDocument = 8 << 20
	}
	return &Splitter{framing: f, max: maxDocument}
}

// Feed takes the next bytes of the body and emits what they complete. Chunk is
// not kept.
func (s *Splitter) Feed(chunk []byte, emit func(Piece)) {
	data, at := chunk, 0
	held := len(s.buf) > 0 // data is all of buf
	if held {
		at = len(s.buf)
		s.buf = append(s.buf, chunk...)
		data = s.buf
	}
	for at < len(data) {
		end, complete := s.scan(data, at)
		if !complete {
			break
		}
		s.emit(data[:end], emit)
		data, at, held = data[end:], 0, false
	}
	switch {
	case len(data) == 0:
		s.buf = s.buf[:0]
	case s.over || len(data) > s.max:
		s.over = true
		s.started = true
		emit(Piece{Raw: data})
		s.buf = s.buf[:0]
	case !held:
		s.buf = append(s.buf[:0], data...) // a plain move if data is the tail of buf
	}
	if cap(s.buf) > 64<<10 && len(s.buf) == 0 {
		s.buf = nil
	}
}

// Close ends the body and emits what is left. A last event or line without its
// end still counts as a document: engines differ, and usage sits at the end.
func (s *Splitter) Close(emit func(Piece)) {
	if len(s.buf) > 0 {
		s.emit(s.buf, emit)
		s.buf = nil
	}
}

func (s *Splitter) scan(data []byte, from int) (end int, complete bool) {
	switch s.framing {
	case SSE:
		return s.lines.event(data, from)
	case NDJSON:
		if i := bytes.IndexByte(data[from:], '\n'); i >= 0 {
			return from + i + 1, true
		}
		return len(data), false
	}
	return s.values.value(data, from)
}

func (s *Splitter) emit(raw []byte, emit func(Piece)) {
	p := Piece{Raw: raw}
	if !s.over {
		s.fill(&p)
	}
	s.over, s.started = false, true
	emit(p)
}

// fill finds the document in a complete piece.
func (s *Splitter) fill(p *Piece) {
	switch s.framing {
	case SSE:
		p.findData(s.started)
	case NDJSON:
		p.setJSON(0, len(p.Raw))
	default:
		if !s.values.text {
			p.setJSON(0, len(p.Raw))
		}
	}
}

// setJSON takes Raw[from:to] without white space around it.
func (p *Piece) setJSON(from, to int) {
	for from < to && isSpace(p.Raw[from]) {
		from++
	}
	for from < to && isSpace(p.Raw[to-1]) {
		to--
	}
	p.from, p.to = from, to
	switch doc := p.Raw[from:to]; string(doc) {
	case "":
	case "[DONE]":
		p.Done = true
	default:
		p.JSON = doc
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

var bom = []byte("\xef\xbb\xbf")

// findData joins the values of the event's data fields.
func (p *Piece) findData(started bool) {
	raw, at := p.Raw, 0
	if !started && bytes.HasPrefix(raw, bom) {
		at = len(bom)
	}
	var joined []byte
	fields, from, to := 0, 0, 0
	for at < len(raw) {
		eol := at
		for eol < len(raw) && raw[eol] != '\n' && raw[eol] != '\r' {
			eol++
		}
		if value, ok := dataField(raw[at:eol]); ok {
			if fields == 1 {
				joined = append(joined, raw[from:to]...)
			}
			if fields > 0 {
				joined = append(append(joined, '\n'), value...)
			} else {
				from = eol - len(value)
			}
			to = eol
			fields++
		}
		at = eol + 1
	}
	switch {
	case fields == 1:
		p.setJSON(from, to)
	case fields > 1:
		whole := Piece{Raw: joined}
		whole.setJSON(0, len(joined))
		p.JSON, p.Done, p.from, p.to = whole.JSON, whole.Done, from, to
	}
}

// dataField returns the value of a "data" line, less one leading blank.
func dataField(line []byte) ([]byte, bool) {
	if !bytes.HasPrefix(line, []byte("data")) {
		return nil, false
	}
	value := line[4:]
	if len(value) == 0 {
		return value, true
	}
	if value[0] != ':' {
		return nil, false
	}
	value = value[1:]
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	return value, true
}
