package openai

import (
	"bufio"
	"bytes"
	"mime"
	"net/textproto"
	"strings"
)

// maxParts bounds the parts of a form; the API's largest has about a dozen.
const maxParts = 128

func formBoundary(contentType string) (isForm bool, boundary string) {
	const form = "multipart/form-data"
	if len(contentType) < len(form) || !strings.EqualFold(contentType[:len(form)], form) {
		return false, ""
	}
	_, params, _ := mime.ParseMediaType(contentType)
	return true, params["boundary"]
}

// readForm reads the options from a multipart/form-data body (RFC 7578) and
// cuts out the network's own parts.
//
//	--B CRLF headers CRLF CRLF bytes CRLF --B CRLF … CRLF --B-- CRLF
func (o *Options) readForm(boundary string, body []byte) ([]byte, *Error) {
	if boundary == "" || len(boundary) > 70 { // RFC 2046 §5.1.1
		return nil, BadRequest("", CodeUnsupportedMedia, "multipart/form-data without a usable boundary")
	}
	parts, forward, err := splitForm(boundary, body)
	if err != nil {
		return nil, err
	}
	for _, f := range fields { // in this order, not the form's
		for _, p := range parts {
			if p.name != f.name {
				continue
			}
			if err := f.read(o, value{name: f.name, raw: bytes.TrimSpace(p.content), text: true}); err != nil {
				return nil, err
			}
		}
	}
	if o.Pin != "" {
		return nil, BadRequest("model", CodeInvalidValue, "a form cannot ask for a revision of a model: want the name before @ alone")
	}
	return forward, nil
}

type formPart struct {
	name    string
	content []byte
}

func splitForm(boundary string, body []byte) (parts []formPart, forward []byte, err *Error) {
	delimiter := []byte("--" + boundary)
	at := findDelimiter(body, delimiter, 0)
	if at < 0 {
		return nil, nil, BadRequest("", CodeInvalidValue, "form has no part: its boundary does not occur in the body")
	}
	forward = append(make([]byte, 0, len(body)), body[:at]...)
	for {
		from := at + len(delimiter)
		if bytes.HasPrefix(body[from:], []byte("--")) {
			return parts, append(forward, body[at:]...), nil
		}
		next := findDelimiter(body, delimiter, from)
		if next < 0 {
			return nil, nil, BadRequest("", CodeInvalidValue, "form is cut off: its closing boundary is missing")
		}
		if len(parts) == maxParts {
			return nil, nil, BadRequest("", CodeInvalidValue, "form has more than %d parts", maxParts)
		}
		p, err := readPart(body[from:next])
		if err != nil {
			return nil, nil, err
		}
		for _, other := range parts {
			if f := fieldNamed(p.name); f != nil && other.name == p.name {
				return nil, nil, BadRequest(p.name, CodeDuplicate, "duplicate parameter: '%s' occurs twice", p.name)
			}
		}
		parts = append(parts, p)
		if f := fieldNamed(p.name); f == nil || !f.private {
			forward = append(forward, body[at:next]...)
		}
		at = next
	}
}

// findDelimiter finds a delimiter at the start of a line, from offset from on.
func findDelimiter(body, delimiter []byte, from int) int {
	for from <= len(body) {
		i := bytes.Index(body[from:], delimiter)
		if i < 0 {
			return -1
		}
		at := from + i
		rest := body[at+len(delimiter):]
		if (at == 0 || body[at-1] == '\n') && (len(rest) == 0 || bytes.IndexByte([]byte("\r\n \t-"), rest[0]) >= 0) {
			return at
		}
		from = at + 1
	}
	return -1
}

// readPart reads what lies between two delimiters: the rest of the delimiter's
// line, headers, an empty line, content and the line end before the next.
func readPart(b []byte) (formPart, *Error) {
	malformed := BadRequest("", CodeInvalidValue, "form part is malformed: want headers, an empty line and content")
	eol := bytes.IndexByte(b, '\n')
	if eol < 0 || len(bytes.TrimSpace(b[:eol])) > 0 {
		return formPart{}, malformed
	}
	b = b[eol+1:]
	end, gap := bytes.Index(b, []byte("\r\n\r\n")), 4
	if lf := bytes.Index(b, []byte("\n\n")); end < 0 || lf >= 0 && lf < end {
		end, gap = lf, 2
	}
	if end < 0 || end > 16<<10 {
		return formPart{}, malformed
	}
	reader := textproto.NewReader(bufio.NewReader(bytes.NewReader(b[:end+gap])))
	header, err := reader.ReadMIMEHeader()
	if err != nil {
		return formPart{}, malformed
	}
	_, params, err := mime.ParseMediaType(header.Get("Content-Disposition"))
	if err != nil || params["name"] == "" {
		return formPart{}, BadRequest("", CodeInvalidValue, "form part without a name in its Content-Disposition")
	}
	content := bytes.TrimSuffix(bytes.TrimSuffix(b[end+gap:], []byte("\n")), []byte("\r"))
	return formPart{params["name"], content}, nil
}
