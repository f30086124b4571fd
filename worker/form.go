package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strconv"

	"github.com/opencocoon/cocoon/wire"
)

const (
	// maxParts bounds a form; the API's largest has about a dozen parts.
	maxParts = 128
	// maxField bounds a part that is read here; files are only passed over.
	maxField = 64 << 10
)

// readForm checks a multipart body (RFC 7578) and leaves its bytes alone.
func (r *request) readForm(model string) *refusal {
	r.form = true
	kind, params, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return badRequest("content type, want multipart/form-data with a boundary")
	}
	fields, err := formFields(multipart.NewReader(bytes.NewReader(r.body), params["boundary"]))
	if err != nil {
		return badRequest("form: %v", err)
	}
	switch {
	case fields["model"] == nil:
		return badRequest("field %q, want the name of a model; it is missing", "model")
	case *fields["model"] != model:
		return badRequest("field %q, want %q, the model served here", "model", model)
	case fields["file"] == nil:
		return badRequest("field %q, want a file; it is missing", "file")
	case fields["is_encrypted"] != nil:
		return &refusal{wire.CodeError, "worker: cannot find private key"}
	}
	r.stream = fields["stream"] != nil && (*fields["stream"] == "true" || *fields["stream"] == "1")
	return r.formLimit(fields)
}

func (r *request) formLimit(fields map[string]*string) *refusal {
	for _, name := range []string{"max_completion_tokens", "max_tokens"} {
		if fields[name] == nil {
			continue
		}
		n, err := strconv.ParseInt(*fields[name], 10, 64)
		if err != nil {
			return badRequest("field %q, want a whole number", name)
		}
		r.limit = max(n, 0)
	}
	return nil
}

var (
	errPartName  = errors.New("a part has no name")
	errPartTwice = errors.New("a field occurs twice")
	errPartLong  = errors.New("a field is longer than 64 KiB")
	errPartMany  = errors.New("more than 128 parts")
	errPartCut   = errors.New("cut off or malformed")
)

// formFields reads the text fields; a file is present with an empty value.
// A name that ends in [] may repeat, as the API's lists do, and is not kept.
// Errors carry nothing of the form.
func formFields(form *multipart.Reader) (map[string]*string, error) {
	fields := map[string]*string{}
	for range maxParts {
		part, err := form.NextPart()
		if err == io.EOF {
			return fields, nil
		}
		if err != nil {
			return nil, errPartCut
		}
		name := part.FormName()
		if name == "" {
			return nil, errPartName
		}
		if fields[name] != nil && isOurs(name) {
			return nil, errPartTwice
		}
		value, err := readField(part)
		if err != nil {
			return nil, err
		}
		fields[name] = &value
	}
	return nil, errPartMany
}

// isOurs names the fields that decide something here: two of them would let
// worker and engine read different ones.
func isOurs(name string) bool {
	switch name {
	case "model", "file", "stream", "max_tokens", "max_completion_tokens":
		return true
	}
	return false
}

func readField(part *multipart.Part) (string, error) {
	if part.FileName() != "" || part.FormName() == "file" {
		return "", nil
	}
	b, err := io.ReadAll(io.LimitReader(part, maxField+1))
	switch {
	case err != nil:
		return "", errPartCut
	case len(b) > maxField:
		return "", errPartLong
	}
	return string(b), nil
}

func unescape(raw []byte) (string, bool) {
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}
