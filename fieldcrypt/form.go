package fieldcrypt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"unicode/utf8"
)

// maxParts bounds a form; the API's largest has about a dozen parts.
const maxParts = 128

var errForm = errors.New("form is cut off or malformed")

// part is one part of a form, as it came.
type part struct {
	*multipart.Part
	content []byte
}

// file reports whether the part holds bytes rather than a text.
func (p part) file() bool { return p.FileName() != "" || p.FormName() == "file" }

// OpenForm opens a multipart/form-data request body of the given Content-Type.
// All parts are texts to it, files and numbers included; names, file names and
// types are clear. The result has the same boundary and no marks.
func OpenForm(own *Seed, contentType string, body []byte) (plain []byte, sender PublicKey, err error) {
	boundary, parts, err := readForm(contentType, body)
	if err != nil {
		return nil, sender, err
	}
	m, err := formMarks(parts)
	if err != nil {
		return nil, sender, err
	}
	keys, err := m.keys(own, ToWorker)
	if err != nil {
		return nil, sender, err
	}
	out := bytes.NewBuffer(make([]byte, 0, len(body)))
	if err := keys.openParts(out, boundary, parts); err != nil {
		return nil, sender, err
	}
	return out.Bytes(), m.sender, nil
}

func readForm(contentType string, body []byte) (boundary string, parts []part, err error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return "", nil, errForm
	}
	parts, err = readParts(multipart.NewReader(bytes.NewReader(body), params["boundary"]))
	return params["boundary"], parts, err
}

// readParts keeps no more than the body holds.
func readParts(form *multipart.Reader) (parts []part, err error) {
	for {
		p, err := form.NextRawPart()
		switch {
		case err == io.EOF:
			return parts, nil
		case err != nil:
			return nil, errForm
		case len(parts) == maxParts:
			return nil, fmt.Errorf("form has more than %d parts", maxParts)
		}
		content, err := io.ReadAll(p)
		if err != nil {
			return nil, errForm
		}
		parts = append(parts, part{p, content})
	}
}

func formMarks(parts []part) (marks, error) {
	found := map[string]string{}
	for _, p := range parts {
		name := p.FormName()
		if _, twice := found[name]; twice && isMark(name) {
			return marks{}, fmt.Errorf("%w: %s is there twice", ErrMarks, name)
		}
		if isMark(name) {
			found[name] = string(p.content)
		}
	}
	return readMarks(func(name string) (string, bool, bool) {
		text, ok := found[name]
		return text, ok, ok
	})
}

func (k *messageKeys) openParts(out io.Writer, boundary string, parts []part) error {
	w, err := writeParts(out, boundary, parts, func(p part) ([]byte, error) {
		content, err := k.open(p.content)
		if err == nil && !p.file() && !utf8.Valid(content) {
			err = ErrText
		}
		return content, err
	})
	if err != nil {
		return err
	}
	return w.Close()
}

// writeParts copies a form without its marks, with the content of the parts that
// are not clear changed. The form is not closed.
func writeParts(out io.Writer, boundary string, parts []part, change func(part) ([]byte, error)) (*multipart.Writer, error) {
	w := multipart.NewWriter(out)
	if w.SetBoundary(boundary) != nil {
		return nil, errForm
	}
	for _, p := range parts {
		if isMark(p.FormName()) {
			continue
		}
		content := p.content
		if !clearNames[p.FormName()] {
			var err error
			if content, err = change(p); err != nil {
				return nil, err
			}
		}
		to, err := w.CreatePart(p.Header)
		if err != nil {
			return nil, err
		}
		to.Write(content) // into memory
	}
	return w, nil
}

// SealForm returns a multipart/form-data body with its parts sealed under a
// fresh nonce: texts, numbers and files. The boundary stays, names of parts and
// files stay clear. The result is about twice as long, at most 64 MiB.
func (s *Sealer) SealForm(contentType string, body []byte) ([]byte, error) {
	boundary, parts, err := readForm(contentType, body)
	if err != nil {
		return nil, err
	}
	keys, nonce := s.message()
	out := bytes.NewBuffer(make([]byte, 0, 2*len(body)+1<<10))
	w, err := writeParts(out, boundary, parts, func(p part) ([]byte, error) {
		if out.Len()+2*len(p.content) > maxSealed {
			return nil, errTooLong
		}
		sealed := keys.seal(p.content, s.random)
		return hex.AppendEncode([]byte(prefixSealed), sealed), nil
	})
	if err != nil {
		return nil, err
	}
	for _, m := range s.marks(nonce) {
		if err := w.WriteField(m[0], m[1]); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return out.Bytes(), err
}
