package openai

import "encoding/json"

// lineScanner finds the blank line that ends an event. Lines end in LF, CR LF
// or CR.
type lineScanner struct {
	filled bool // the line at hand has bytes
	cr     bool // the byte before was CR
}

func (l *lineScanner) event(data []byte, from int) (end int, complete bool) {
	for i := from; i < len(data); i++ {
		c := data[i]
		if c == '\n' && l.cr {
			l.cr = false // second half of CR LF
			continue
		}
		l.cr = c == '\r'
		if c != '\n' && c != '\r' {
			l.filled = true
			continue
		}
		if l.filled {
			l.filled = false
			continue
		}
		// Blank line. A LF that follows its CR belongs here if it has come;
		// waiting for it would hold the event back.
		if l.cr && i+1 < len(data) && data[i+1] == '\n' {
			l.cr = false
			i++
		}
		return i + 1, true
	}
	return len(data), false
}

// valueScanner finds the end of one bare JSON value by counting brackets. It
// accepts more than JSON; the reader of the document checks. Once something
// cannot begin a value, all the rest is text.
type valueScanner struct {
	depth   int
	inside  bool // a value has begun
	str     bool // inside a string
	escaped bool
	scalar  bool // the value is a number or a literal
	text    bool
}

func (v *valueScanner) value(data []byte, from int) (end int, complete bool) {
	if v.text {
		return len(data), true
	}
	for i := from; i < len(data); i++ {
		c := data[i]
		switch {
		case v.str:
			v.inString(c)
			if !v.str && v.depth == 0 {
				return v.finish(data, i+1), true
			}
		case !v.inside:
			if !isSpace(c) && !v.begin(c) {
				v.text = true
				return len(data), true
			}
		case v.scalar:
			if isSpace(c) {
				return v.finishScalar(data, i), true
			}
		case c == '"':
			v.str = true
		case c == '{' || c == '[':
			v.depth++
		case c == '}' || c == ']':
			if v.depth--; v.depth == 0 {
				return v.finish(data, i+1), true
			}
		}
	}
	return len(data), false
}

func (v *valueScanner) begin(c byte) bool {
	v.inside = true
	switch {
	case c == '{' || c == '[':
		v.depth = 1
	case c == '"':
		v.str = true
	case c == '-' || c >= '0' && c <= '9' || c == 't' || c == 'f' || c == 'n':
		v.scalar = true
	default:
		return false
	}
	return true
}

func (v *valueScanner) inString(c byte) {
	switch {
	case v.escaped:
		v.escaped = false
	case c == '\\':
		v.escaped = true
	case c == '"':
		v.str = false
	}
}

// finish takes the white space behind the value that has come, up to the end of
// its line, and is ready for the next value.
func (v *valueScanner) finish(data []byte, end int) int {
	*v = valueScanner{text: v.text}
	for end < len(data) && isSpace(data[end]) {
		end++
		if data[end-1] == '\n' {
			break
		}
	}
	return end
}

func (v *valueScanner) finishScalar(data []byte, end int) int {
	if !json.Valid(data[:end]) { // text that happens to begin like a value
		v.text = true
		return len(data)
	}
	return v.finish(data, end)
}
