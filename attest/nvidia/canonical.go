package nvidia

import (
	"bytes"
	"encoding/xml"
	"slices"
	"strings"
)

// canonical is the canonical form (W3C Canonical XML 1.1, inclusive, without
// comments) of the element and what is in it except the element skip. For the
// subset of XML that parseXML accepts, versions 1.0 and 1.1 are the same.
func (e *element) canonical(skip *element) []byte {
	// The element at the top shows all namespaces that it can see.
	scope := map[string]string{}
	for up := e.parent; up != nil; up = up.parent {
		for _, d := range up.declared {
			if _, nearer := scope[declares(d)]; !nearer {
				scope[declares(d)] = d.Value
			}
		}
	}
	top := *e
	for prefix, space := range scope {
		if !slices.ContainsFunc(e.declared, func(d xml.Attr) bool { return declares(d) == prefix }) {
			top.declared = append(slices.Clip(top.declared), declaration(prefix, space))
		}
	}
	var b bytes.Buffer
	top.write(&b, skip, map[string]string{})
	return b.Bytes()
}

func declaration(prefix, space string) xml.Attr {
	if prefix == "" {
		return xml.Attr{Name: xml.Name{Local: "xmlns"}, Value: space}
	}
	return xml.Attr{Name: xml.Name{Space: "xmlns", Local: prefix}, Value: space}
}

// write appends the canonical form; shown is what the elements around it have
// declared.
func (e *element) write(b *bytes.Buffer, skip *element, shown map[string]string) {
	tag := qualified(e.prefix, e.name)
	b.WriteString("<" + tag)
	own := map[string]string{}
	for prefix, space := range shown {
		own[prefix] = space
	}
	declared := slices.SortedFunc(slices.Values(e.declared), func(x, y xml.Attr) int { return strings.Compare(declares(x), declares(y)) })
	for _, d := range declared {
		if old, ok := own[declares(d)]; ok && old == d.Value {
			continue // superfluous
		}
		own[declares(d)] = d.Value
		b.WriteString(" " + qualified(d.Name.Space, d.Name.Local) + `="` + escapeAttr.Replace(d.Value) + `"`)
	}
	for _, a := range e.attrs {
		b.WriteString(" " + qualified(a.prefix, a.name) + `="` + escapeAttr.Replace(a.value) + `"`)
	}
	b.WriteString(">")
	for _, c := range e.children {
		switch c := c.(type) {
		case string:
			b.WriteString(escapeText.Replace(c))
		case *element:
			if c != skip {
				c.write(b, skip, own)
			}
		}
	}
	b.WriteString("</" + tag + ">")
}

func qualified(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + ":" + name
}

var (
	escapeText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#xD;")
	escapeAttr = strings.NewReplacer("&", "&amp;", "<", "&lt;", `"`, "&quot;", "\t", "&#x9;", "\n", "&#xA;", "\r", "&#xD;")
)
