package main

import (
	"errors"
	"fmt"
	"strings"
)

// A plan is the schema with its types resolved.
type plan struct {
	decls   []*decl            // those with a Go type, in schema order
	bare    map[string]*decl   // by name; the newest generation
	classes map[string][]*decl // by result, two constructors or more
	order   []string           // of classes
	byID    map[uint32]*decl
}

func newPlan(decls []*decl) (*plan, error) {
	p := &plan{bare: map[string]*decl{}, classes: map[string][]*decl{}, byID: map[uint32]*decl{}}
	seen := map[string]bool{}
	for _, d := range decls {
		if d.family == builtins {
			continue
		}
		if old := p.byID[d.id]; old != nil || seen[goType(d)] {
			return nil, fmt.Errorf("%s: declared twice, or its id %08x is taken", d.name, d.id)
		}
		p.decls, p.byID[d.id], seen[goType(d)] = append(p.decls, d), d, true
		if d.function {
			continue
		}
		if !d.base {
			p.bare[d.name] = d
		}
		if p.classes[d.result] = append(p.classes[d.result], d); len(p.classes[d.result]) == 2 {
			p.order = append(p.order, d.result)
		}
	}
	return p, p.check()
}

// check refuses what the emitter does not write: unknown types, types that
// contain themselves (which reading could then follow without end), elements
// without bytes, and flags that come too late.
func (p *plan) check() error {
	var errs []error
	for _, d := range p.decls {
		flags := false
		for _, f := range d.fields {
			flags = flags || f.name == "flags" && f.typ == "#"
			if f.optional && (!flags || f.vector || f.bit < 0 || f.bit > 30) {
				errs = append(errs, fmt.Errorf("%s.%s: optional without flags before it", d.name, f.name))
			}
			if err := p.checkType(f.typ, nil); err != nil {
				errs = append(errs, fmt.Errorf("%s.%s: %w", d.name, f.name, err))
			} else if f.vector && p.minSize(f.typ) == 0 {
				errs = append(errs, fmt.Errorf("%s.%s: elements without bytes", d.name, f.name))
			}
		}
	}
	return errors.Join(errs...)
}

func (p *plan) checkType(typ string, path []string) error {
	if _, ok := scalars[typ]; ok {
		return nil
	}
	for _, outer := range path {
		if outer == typ {
			return fmt.Errorf("%s contains itself", typ)
		}
	}
	inner := p.classes[typ]
	if len(inner) < 2 {
		inner = nil
	}
	if d := p.bare[typ]; d != nil {
		inner = []*decl{d}
	}
	if inner == nil {
		return fmt.Errorf("type %s is unknown, or boxed with a single constructor", typ)
	}
	for _, d := range inner {
		for _, f := range d.fields {
			if err := p.checkType(f.typ, append(path, typ)); err != nil {
				return err
			}
		}
	}
	return nil
}

// minSize is the least number of bytes a value of the type takes.
func (p *plan) minSize(typ string) int {
	if s, ok := scalars[typ]; ok {
		return s.size
	}
	if p.isClass(typ) {
		return 4
	}
	n := 0
	for _, f := range p.bare[typ].fields {
		switch {
		case f.optional:
		case f.vector:
			n += 4
		default:
			n += p.minSize(f.typ)
		}
	}
	return n
}

func (p *plan) isClass(typ string) bool { return len(p.classes[typ]) > 1 }

// emptyOf is the constructor without fields that stands for a nil field, or
// nil if the class has none.
func (p *plan) emptyOf(class string) *decl {
	for _, d := range p.classes[class] {
		if len(d.fields) == 0 {
			return d
		}
	}
	return nil
}

// initials are the words written in capitals throughout.
var initials = map[string]string{"Id": "ID", "Url": "URL", "Http": "HTTP", "Tcp": "TCP"}

// goName turns client.runQueryEx or request_id into ClientRunQueryEx or
// RequestID.
func goName(name string) string {
	var out strings.Builder
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return r == '.' || r == '_' }) {
		for _, word := range humps(strings.ToUpper(part[:1]) + part[1:]) {
			if up, ok := initials[word]; ok {
				word = up
			}
			out.WriteString(word)
		}
	}
	return out.String()
}

// humps splits BlockIdExt into Block, Id, Ext.
func humps(s string) (out []string) {
	from := 0
	for i := 1; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' {
			out, from = append(out, s[from:i]), i
		}
	}
	return append(out, s[from:])
}

func goType(d *decl) string {
	if d.base {
		return goName(d.name) + "Base"
	}
	return goName(d.name)
}

func goClass(result string) string { return goName(result) + "Class" }
