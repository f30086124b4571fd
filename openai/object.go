package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// MaxMembers bounds the members of an [Object]. The API's largest request has
// about forty.
const MaxMembers = 512

var errNotObject = errors.New("not a JSON object")

// DuplicateError says that an object names a member twice. Readers disagree on
// which of the two counts, so neither does.
type DuplicateError struct{ Name string }

func (e *DuplicateError) Error() string { return fmt.Sprintf("member %q occurs twice", e.Name) }

// Object is a JSON object whose members can be read, replaced and removed while
// all other bytes, white space and order included, stay as they were. Its
// slices belong to the text it was parsed from. Not for concurrent use.
type Object struct {
	text    []byte
	open    int // offset behind the opening brace
	shut    int // offset of the closing brace
	next    int // while parsing: offset where the next segment begins
	members []member
	changed bool
}

// member is one "name": value. Its segment runs from behind the comma or brace
// before it to the comma or brace behind it.
type member struct {
	name       []byte // unquoted
	head, tail []byte // segment before and after the value
	value      []byte
}

// ParseObject reads text, which must be one valid JSON object with at most
// [MaxMembers] members, all names different, and nothing behind it. Text must
// not change while the object is in use.
func ParseObject(text []byte) (*Object, error) {
	o := &Object{text: text, members: make([]member, 0, 8)}
	at := skipSpace(text, 0)
	if at >= len(text) || text[at] != '{' {
		if _, err := skipValue(text, at, 0); err != nil {
			return nil, err
		}
		return nil, errNotObject
	}
	o.open, o.next = at+1, at+1
	end, err := walkObject(text, at, 0, o.add)
	if err != nil {
		return nil, err
	}
	if skipSpace(text, end) != len(text) {
		return nil, errSyntax
	}
	o.shut = end - 1
	return o, nil
}

// Elements are the elements of a JSON array as they are written, which must be
// valid, as one of [Object.Get] is; anything else has none.
func Elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if len(array) == 0 || array[0] != '[' {
			return
		}
		for i := skipSpace(array, 1); i < len(array) && array[i] != ']'; {
			end, err := skipValue(array, i, 1)
			if err != nil || !yield(array[i:end]) {
				return
			}
			if i = skipSpace(array, end); i < len(array) && array[i] == ',' {
				i = skipSpace(array, i+1)
			}
		}
	}
}

func (o *Object) add(name, nameEnd, value, end int) error {
	if len(o.members) == MaxMembers {
		return fmt.Errorf("JSON object has more than %d members", MaxMembers)
	}
	comma := skipSpace(o.text, end) // or the closing brace
	m := member{name: o.text[name+1 : nameEnd-1], head: o.text[o.next:value], value: o.text[value:end], tail: o.text[end:comma]}
	o.next = comma + 1
	if bytes.IndexByte(m.name, '\\') >= 0 {
		var plain string
		if err := json.Unmarshal(o.text[name:nameEnd], &plain); err != nil {
			return errSyntax
		}
		m.name = []byte(plain)
	}
	if o.find(string(m.name)) != nil {
		return &DuplicateError{string(m.name)}
	}
	o.members = append(o.members, m)
	return nil
}

func (o *Object) find(name string) *member {
	for i := range o.members {
		if string(o.members[i].name) == name {
			return &o.members[i]
		}
	}
	return nil
}

// Get returns the raw JSON of a member's value, nil if there is none. A null is
// returned as "null".
func (o *Object) Get(name string) []byte {
	if m := o.find(name); m != nil {
		return m.value
	}
	return nil
}

// Len returns the number of members.
func (o *Object) Len() int { return len(o.members) }

// Remove takes a member out, if it is there.
func (o *Object) Remove(name string) {
	for i := range o.members {
		if string(o.members[i].name) == name {
			o.members = append(o.members[:i], o.members[i+1:]...)
			o.changed = true
			return
		}
	}
}

// Set replaces a member's value by raw, which must be valid JSON, or appends
// the member.
func (o *Object) Set(name string, raw []byte) {
	o.changed = true
	if m := o.find(name); m != nil {
		m.value = raw
		return
	}
	quoted, _ := json.Marshal(name) // a string: cannot fail
	o.members = append(o.members, member{name: []byte(name), head: append(quoted, ':'), value: raw})
}

// Bytes returns the object's text. If nothing was changed that is the very
// slice it was parsed from.
func (o *Object) Bytes() []byte {
	if !o.changed {
		return o.text
	}
	out := make([]byte, 0, len(o.text)+64)
	out = append(out, o.text[:o.open]...)
	for i, m := range o.members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, m.head...)
		out = append(out, m.value...)
		out = append(out, m.tail...)
	}
	return append(out, o.text[o.shut:]...)
}
