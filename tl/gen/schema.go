package main

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// A decl is one constructor or function of the schema.
type decl struct {
	family   string
	name     string // "client.runQueryEx"
	text     string // normalised, without #id: what the id is computed from
	id       uint32
	explicit bool // the id stands in the schema
	function bool
	base     bool
	doc      []string
	fields   []field
	result   string // "client.QueryAnswerEx"
}

type field struct {
	name     string // "final_info"
	typ      string // "client.queryFinalInfo", without flags and vector
	doc      string
	vector   bool
	optional bool
	bit      int // of the field "flags", if optional
}

// builtins are declared for their ids alone and get no Go type.
const builtins = "builtin"

// parser goes through the schema line by line.
type parser struct {
	out      []*decl
	family   string
	function bool
	base     bool
	doc      []string
	code     []string          // of the declaration that is open
	notes    map[string]string // field comments of it
}

func parse(schema string) ([]*decl, error) {
	p := &parser{notes: map[string]string{}}
	for i, line := range strings.Split(schema, "\n") {
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	if len(p.code) > 0 {
		return nil, fmt.Errorf("no ; after %q", p.code[0])
	}
	return p.out, nil
}

func (p *parser) line(line string) error {
	code, note, noted := strings.Cut(line, "//")
	code, note = strings.TrimSpace(code), strings.TrimSpace(note)
	switch {
	case code == "---functions---" || code == "---types---":
		p.function = code == "---functions---"
	case code != "":
		return p.declaration(code, note)
	case strings.HasPrefix(note, "@"):
		return p.directive(note)
	case noted && len(p.code) == 0:
		p.doc = append(p.doc, note)
	case len(p.code) == 0:
		p.doc = nil
	}
	return nil
}

func (p *parser) directive(text string) error {
	switch words := strings.Fields(text); {
	case len(words) == 2 && words[0] == "@family":
		p.family = words[1]
	case text == "@base":
		p.base = true
	default:
		return fmt.Errorf("unknown directive %q", text)
	}
	p.doc = nil
	return nil
}

func (p *parser) declaration(code, note string) error {
	code, end := strings.CutSuffix(code, ";")
	p.code = append(p.code, code)
	if note != "" {
		p.notes[lastField(code)] = note
	}
	if !end {
		return nil
	}
	d, err := newDecl(strings.Join(p.code, " "), p.notes)
	if err != nil {
		return err
	}
	d.family, d.function, d.base, d.doc = p.family, p.function, p.base, p.doc
	p.out = append(p.out, d)
	p.base, p.doc, p.code, p.notes = false, nil, nil, map[string]string{}
	return nil
}

// lastField is the name in the last "name:type" of a line.
func lastField(code string) string {
	head := code[:max(strings.LastIndex(code, ":"), 0)]
	return head[strings.LastIndexAny(head, " \t")+1:]
}

// newDecl reads one declaration without comments and semicolon.
func newDecl(code string, notes map[string]string) (*decl, error) {
	words := strings.Fields(strings.NewReplacer("(", "", ")", "", "{", "", "}", "").Replace(code))
	d := &decl{}
	name, id, explicit := strings.Cut(words[0], "#")
	words[0], d.name, d.explicit = name, name, explicit
	d.text = strings.Join(words, " ")
	d.id = crc32.ChecksumIEEE([]byte(d.text))
	if explicit {
		n, err := strconv.ParseUint(id, 16, 32)
		if err != nil {
			return nil, fmt.Errorf("%s: id %q is not hexadecimal", name, id)
		}
		d.id = uint32(n)
	}
	if len(words) < 3 || words[len(words)-2] != "=" {
		if !strings.HasSuffix(d.text, "= Vector t") {
			return nil, fmt.Errorf("%s: no result type", name)
		}
	}
	d.result = words[len(words)-1]
	d.fields = newFields(words[1:], notes)
	return d, nil
}

// newFields reads the words between the name and "=". Words without a colon
// occur in built-in declarations only, and behind "vector".
func newFields(words []string, notes map[string]string) (out []field) {
	for i, w := range words {
		name, typ, ok := strings.Cut(w, ":")
		if !ok {
			continue
		}
		f := field{name: name, doc: notes[name]}
		if flag, rest, found := strings.Cut(typ, "?"); found {
			f.optional, typ = true, rest
			f.bit, _ = strconv.Atoi(strings.TrimPrefix(flag, "flags."))
		}
		if typ == "vector" && i+1 < len(words) {
			f.vector, typ = true, words[i+1]
		}
		f.typ = typ
		out = append(out, f)
	}
	return out
}
