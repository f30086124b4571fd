package fieldcrypt

import (
	"bytes"
	"encoding/json"
	"errors"
)

// maxSealed bounds a sealed document: an empty string grows to 70 bytes.
const maxSealed = 64 << 20

var errTooLong = errors.New("the document is longer than 64 MiB when sealed")

// walk copies a JSON object without white space and with its texts changed. It
// looks at no syntax: openai.ParseObject has found the object valid and of
// bounded depth before.
type walk struct {
	in, out []byte
	at      int
	depth   int // objects and arrays around
	change  func(dst, text []byte) ([]byte, error)
}

// rewrite appends head, the opening brace and perhaps members, and then the
// members of doc without its marks to dst.
func rewrite(doc, dst []byte, head string, change func(dst, text []byte) ([]byte, error)) ([]byte, error) {
	w := walk{in: doc, out: append(dst, head...), change: change}
	w.space()
	w.at++
	if err := w.members(false); err != nil {
		return nil, err
	}
	return w.out, nil
}

func (w *walk) space() {
	for w.at < len(w.in) && (w.in[w.at] == ' ' || w.in[w.at] == '\n' || w.in[w.at] == '\r' || w.in[w.at] == '\t') {
		w.at++
	}
}

// members copies what is left of an object. Clear leaves its texts alone.
func (w *walk) members(clear bool) error {
	w.depth++
	defer func() { w.depth-- }()
	for {
		w.space()
		switch w.in[w.at] {
		case '}':
			w.at++
			w.out = append(w.out, '}')
			return nil
		case ',':
			w.at++
		default:
			if err := w.member(clear); err != nil {
				return err
			}
		}
	}
}

func (w *walk) member(clear bool) error {
	raw := w.text()
	name := string(unquote(raw))
	w.space()
	w.at++ // the colon
	before := len(w.out)
	if w.out[before-1] != '{' {
		w.out = append(w.out, ',')
	}
	w.out = append(append(w.out, raw...), ':')
	if err := w.value(clear || clearNames[name]); err != nil {
		return err
	}
	if w.depth == 1 && isMark(name) {
		w.out = w.out[:before]
	}
	return nil
}

func (w *walk) value(clear bool) error {
	w.space()
	switch c := w.in[w.at]; {
	case c == '{':
		w.at++
		w.out = append(w.out, c)
		return w.members(clear)
	case c == '[':
		w.at++
		w.out = append(w.out, c)
		return w.elements(clear)
	case c == '"' && !clear:
		var err error
		if w.out, err = w.change(w.out, unquote(w.text())); err == nil && len(w.out) > maxSealed {
			err = errTooLong
		}
		return err
	case c == '"':
		w.out = append(w.out, w.text()...)
	default:
		n := bytes.IndexAny(w.in[w.at:], ",]} \n\r\t")
		w.out = append(w.out, w.in[w.at:w.at+n]...)
		w.at += n
	}
	return nil
}

func (w *walk) elements(clear bool) error {
	w.depth++
	defer func() { w.depth-- }()
	for {
		w.space()
		switch c := w.in[w.at]; c {
		case ']':
			w.at++
			w.out = append(w.out, c)
			return nil
		case ',':
			w.at++
			w.out = append(w.out, c)
		default:
			if err := w.value(clear); err != nil {
				return err
			}
		}
	}
}

// text takes the string at hand, with its quotes.
func (w *walk) text() []byte {
	start := w.at
	for w.at++; w.in[w.at] != '"'; w.at++ {
		if w.in[w.at] == '\\' {
			w.at++
		}
	}
	w.at++
	return w.in[start:w.at]
}

// unquote reads a valid JSON string. What is no UTF-8 becomes U+FFFD, as every
// reader of the clear document would have it.
func unquote(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return bytes.ToValidUTF8(raw[1:len(raw)-1], []byte("\uFFFD"))
	}
	var s string
	json.Unmarshal(raw, &s) // valid: cannot fail
	return []byte(s)
}

// appendQuoted writes a JSON string with no more escapes than JSON demands.
func appendQuoted(dst, text []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
