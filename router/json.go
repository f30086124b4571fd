package router

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// Problems collects everything that is wrong with settings, so that a person
// fixes it in one go.
type Problems []string

func (p *Problems) add(path, format string, args ...any) {
	*p = append(*p, path+": "+fmt.Sprintf(format, args...))
}

// fields are the members that an object may have.
type fields map[string]func(path string, raw json.RawMessage)

// object reads a JSON object. A key that is unknown or occurs twice is a
// problem: it is not what its writer believes.
func (p *Problems) object(path string, raw json.RawMessage, known fields) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		p.add(path, "want an object")
		return
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			p.add(path, "malformed JSON")
			return
		}
		key := t.(string) // a key is always a string
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			p.add(path+"."+key, "malformed JSON")
			return
		}
		set, ok := known[key]
		switch {
		case !ok:
			p.add(path+"."+key, "unknown key")
		case seen[key]:
			p.add(path+"."+key, "the key occurs twice")
		case string(value) != "null":
			set(path+"."+key, value)
		}
		seen[key] = true
	}
}

// array reads a JSON array and hands on each element.
func (p *Problems) array(path string, raw json.RawMessage, each func(path string, raw json.RawMessage)) {
	var elements []json.RawMessage
	if json.Unmarshal(raw, &elements) != nil {
		p.add(path, "want a list")
		return
	}
	for i, e := range elements {
		each(fmt.Sprintf("%s[%d]", path, i), e)
	}
}

// scalar is a member that encoding/json reads into v; want names the type.
func scalar[T any](p *Problems, v *T, want string) func(string, json.RawMessage) {
	return func(path string, raw json.RawMessage) {
		if json.Unmarshal(raw, v) != nil {
			p.add(path, "want %s", want)
		}
	}
}

func (p *Problems) text(v *string) func(string, json.RawMessage) { return scalar(p, v, "a string") }
func (p *Problems) flag(v *bool) func(string, json.RawMessage)   { return scalar(p, v, "true or false") }
func (p *Problems) number(v *int) func(string, json.RawMessage) {
	return scalar(p, v, "a whole number")
}
func (p *Problems) perhaps(v **int) func(string, json.RawMessage) {
	return scalar(p, v, "a whole number")
}

// digests reads one value or a list of them, each in hexadecimal.
func digests[T Digest](p *Problems, to *[]T, listOnly bool) func(string, json.RawMessage) {
	one := func(path string, raw json.RawMessage) {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			p.add(path, "want a string in hexadecimal")
			return
		}
		if v, err := parseDigest[T](text); err != nil {
			p.add(path, "%v", err)
		} else {
			*to = append(*to, v)
		}
	}
	return func(path string, raw json.RawMessage) {
		if len(raw) > 0 && raw[0] == '"' && !listOnly {
			one(path, raw)
			return
		}
		p.array(path, raw, one)
	}
}

// Digest is a value that lists hold: an image hash, or a register, a launch
// measurement or a root key's id.
type Digest interface{ ~[32]byte | ~[48]byte }

func parseDigest[T Digest](text string) (v T, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(v) {
		return v, fmt.Errorf("%q is not %d hexadecimal digits", text, 2*len(v))
	}
	for i := range b {
		v[i] = b[i]
	}
	return v, nil
}

// Error joins the problems in one line.
func (p Problems) Error() string { return strings.Join(p, "; ") }
