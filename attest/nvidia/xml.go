package nvidia

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	maxDocument = 1 << 20
	maxDepth    = 16
	maxNodes    = 20_000
	maxDeclared = 16 // namespaces by one element; each costs time with every element inside
)

// element is an element of an XML document, with the prefixes that were
// written. What the canonical form leaves out or we do not need is refused:
// document types, instructions, comments, attributes of the xml prefix.
type element struct {
	prefix, name string
	space        string // namespace of the element
	declared     []xml.Attr
	attrs        []attribute
	children     []any // *element or string
	parent       *element
}

type attribute struct{ prefix, space, name, value string }

// parseXML reads a document that is at most maxDocument long.
func parseXML(document []byte) (*element, error) {
	if len(document) > maxDocument {
		return nil, fmt.Errorf("XML of %d bytes, want at most %d", len(document), maxDocument)
	}
	p := xmlParser{d: xml.NewDecoder(bytes.NewReader(document))}
	for {
		token, err := p.d.RawToken()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = p.take(token)
		}
		if err != nil {
			return nil, fmt.Errorf("XML: %w", err)
		}
	}
	if p.at != nil || p.root == nil {
		return nil, errors.New("XML: the document is not one whole element")
	}
	return p.root, p.root.resolve()
}

type xmlParser struct {
	d            *xml.Decoder
	root, at     *element
	depth, nodes int
}

func (p *xmlParser) take(token xml.Token) error {
	switch t := token.(type) {
	case xml.StartElement:
		return p.open(t)
	case xml.EndElement:
		if p.at == nil || t.Name.Space != p.at.prefix || t.Name.Local != p.at.name {
			return fmt.Errorf("</%s> closes nothing", t.Name.Local)
		}
		p.at, p.depth = p.at.parent, p.depth-1
	case xml.CharData:
		if p.at != nil {
			p.at.children = append(p.at.children, string(t))
		} else if len(bytes.TrimSpace(t)) > 0 {
			return errors.New("text outside the element")
		}
	case xml.ProcInst:
		if t.Target != "xml" || p.root != nil {
			return fmt.Errorf("instruction %q", t.Target)
		}
	default:
		return fmt.Errorf("%T, want elements and text only", token)
	}
	return nil
}

func (p *xmlParser) open(t xml.StartElement) error {
	if p.nodes, p.depth = p.nodes+1+len(t.Attr), p.depth+1; p.nodes > maxNodes || p.depth > maxDepth {
		return errors.New("too many or too deep elements")
	}
	if p.at == nil && p.root != nil {
		return errors.New("a second element")
	}
	e := &element{prefix: t.Name.Space, name: t.Name.Local, parent: p.at}
	for _, a := range t.Attr {
		switch {
		case a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns":
			if e.declared = append(e.declared, a); len(e.declared) > maxDeclared {
				return fmt.Errorf("<%s> declares more than %d namespaces", e.name, maxDeclared)
			}
		case a.Name.Space == "xml":
			return fmt.Errorf("attribute xml:%s", a.Name.Local)
		default:
			e.attrs = append(e.attrs, attribute{prefix: a.Name.Space, name: a.Name.Local, value: a.Value})
		}
	}
	if p.at == nil {
		p.root = e
	} else {
		p.at.children = append(p.at.children, e)
	}
	p.at = e
	return nil
}

// lookup finds what a prefix stands for; "" is the default namespace.
func (e *element) lookup(prefix string) (string, bool) {
	for ; e != nil; e = e.parent {
		for _, d := range e.declared {
			if declares(d) == prefix {
				return d.Value, true
			}
		}
	}
	return "", prefix == ""
}

// declares is the prefix that xmlns="…" or xmlns:p="…" declares.
func declares(d xml.Attr) string {
	if d.Name.Space == "" {
		return ""
	}
	return d.Name.Local
}

// resolve gives names their namespaces and refuses what is declared or set
// twice.
func (e *element) resolve() error {
	for i, d := range e.declared {
		if slices.ContainsFunc(e.declared[:i], func(o xml.Attr) bool { return o.Name == d.Name }) || d.Value == "" {
			return fmt.Errorf("XML: <%s> declares %q twice or as nothing", e.name, declares(d))
		}
	}
	var ok bool
	if e.space, ok = e.lookup(e.prefix); !ok {
		return fmt.Errorf("XML: prefix %q is not declared", e.prefix)
	}
	for i := range e.attrs {
		a := &e.attrs[i]
		if a.prefix == "" {
			continue // has no namespace, whatever the default
		}
		if a.space, ok = e.lookup(a.prefix); !ok {
			return fmt.Errorf("XML: prefix %q is not declared", a.prefix)
		}
	}
	slices.SortFunc(e.attrs, func(a, b attribute) int {
		return cmp.Or(strings.Compare(a.space, b.space), strings.Compare(a.name, b.name))
	})
	for i := 1; i < len(e.attrs); i++ {
		if e.attrs[i].space == e.attrs[i-1].space && e.attrs[i].name == e.attrs[i-1].name {
			return fmt.Errorf("XML: <%s> has attribute %q twice", e.name, e.attrs[i].name)
		}
	}
	for _, child := range e.elements() {
		if err := child.resolve(); err != nil {
			return err
		}
	}
	return nil
}

func (e *element) elements() (list []*element) {
	for _, c := range e.children {
		if child, ok := c.(*element); ok {
			list = append(list, child)
		}
	}
	return list
}

// find returns the children of that name.
func (e *element) find(space, name string) (list []*element) {
	for _, c := range e.elements() {
		if c.space == space && c.name == name {
			list = append(list, c)
		}
	}
	return list
}

// only returns the child of that name, and an error unless there is just one.
func (e *element) only(space, name string) (*element, error) {
	list := e.find(space, name)
	if len(list) != 1 {
		return nil, fmt.Errorf("%d elements %s in %s, want 1", len(list), name, e.name)
	}
	return list[0], nil
}

// attr returns an attribute, or "".
func (e *element) attr(space, name string) string {
	for _, a := range e.attrs {
		if a.space == space && a.name == name {
			return a.value
		}
	}
	return ""
}

func (e *element) text() string {
	var b strings.Builder
	for _, c := range e.children {
		if s, ok := c.(string); ok {
			b.WriteString(s)
		}
	}
	return b.String()
}
