package main

import "slices"

// class writes the interface over the constructors of one result type, with
// the functions that fields of that type need.
func (w *writer) class(result string) {
	c := goClass(result)
	w.p("// %s is any constructor of %s.", c, result)
	switch empty := w.emptyOf(result); {
	case !w.isField(result):
	case empty != nil:
		w.p("// A nil field is written as [%s].", goType(empty))
	default:
		w.p("// A field of it must be set before writing: nil has no encoding and panics.")
	}
	w.p("type %s interface {\nObject\nis%s()\n}\n", c, c)
	for _, d := range w.classes[result] {
		w.p("func (*%s) is%s() {}", goType(d), c)
	}
	w.p("")
	if w.isField(result) {
		w.classDecode(result)
		w.classAppend(result)
	}
}

// isField tells whether any declaration has a field of the class.
func (w *writer) isField(result string) bool {
	return slices.ContainsFunc(w.decls, func(d *decl) bool {
		return slices.ContainsFunc(d.fields, func(f field) bool { return f.typ == result })
	})
}

func (w *writer) classDecode(result string) {
	w.p("func decode%s(r *Reader, field string) %[1]s {", goClass(result))
	w.p("at := r.off\nid := r.Uint32(field)\nif !r.ok() {\nreturn nil\n}")
	w.p("switch id {")
	for _, d := range w.classes[result] {
		w.p("case %#08x:\nm := new(%s)\nif m.DecodeTL(r) != nil {\nr.in(field)\n}\nreturn m", d.id, goType(d))
	}
	w.p("}\nr.wrongClass(field, at, %q)\nreturn nil\n}\n", result)
}

func (w *writer) classAppend(result string) {
	c, otherwise := goClass(result), ""
	if empty := w.emptyOf(result); empty != nil {
		otherwise = "if m == nil {\nm = (*" + goType(empty) + ")(nil)\n}\n"
	}
	w.p("func append%s(b []byte, m %[1]s) []byte {\n%sreturn m.AppendTL(b)\n}\n", c, otherwise)
	w.p("func size%s(m %[1]s) int {\n%sreturn m.SizeTL()\n}\n", c, otherwise)
}

// registry writes the switch over all ids.
func (w *writer) registry() {
	w.p("// decodeBoxed reads the fields of the object with that id; nil if there is none.")
	w.p("func decodeBoxed(r *Reader, id uint32) Object {\nswitch id {")
	for _, d := range w.decls {
		w.p("case %#08x:\nm := new(%s)\nm.DecodeTL(r)\nreturn m", d.id, goType(d))
	}
	w.p("}\nreturn nil\n}")
}
