package client

import (
	"bytes"
	"encoding/json"

	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/openai"
)

// unsealer opens an answer to a request that was encrypted here, document by
// document as it arrives, and writes the framing anew. Only what the worker has
// sealed for this request becomes part of the answer: a document without marks,
// a text marked as clear, or text around documents ends it with an error. What a
// hop says in the place of an answer is clear, and passes as what it is: a
// document with nothing but an error. Not for concurrent use.
type unsealer struct {
	c       *Client
	opener  *fieldcrypt.Opener
	framing openai.Framing
	split   *openai.Splitter
	limit   int
	held    int64 // bytes in split, taken from the client's memory
	out     []byte
	failed  *failure // nothing follows it
}

// maxSealedDocument bounds a sealed document; worker's own limit is 8 MiB before
// it is sealed, and sealing makes it twice as long and more.
const maxSealedDocument = 32 << 20

func newUnsealer(c *Client, o *fieldcrypt.Opener, f openai.Framing) *unsealer {
	limit := max(maxSealedDocument, c.cfg.MaxBuffered)
	return &unsealer{c: c, opener: o, framing: f, limit: limit, split: openai.NewSplitter(f, limit)}
}

// rewrite opens what t holds and completes. A failure in t stands behind what
// came before it; one of ours takes its place.
func (u *unsealer) rewrite(t *taken) {
	if u == nil {
		return
	}
	u.out = nil
	for _, chunk := range t.chunks {
		u.feed(chunk)
	}
	if t.end && u.failed == nil {
		u.split.Close(u.piece)
	}
	t.chunks = nil
	if len(u.out) > 0 {
		t.chunks = [][]byte{u.out}
	}
	if u.failed != nil {
		t.failed = u.failed
	}
	if t.end || t.failed != nil {
		u.release()
	}
}

func (u *unsealer) feed(chunk []byte) {
	switch {
	case u.failed != nil:
	case !u.c.memory.take(int64(len(chunk))):
		u.failed = &failure{as: outOfMemory()}
	default:
		u.held += int64(len(chunk))
		u.split.Feed(chunk, u.piece)
	}
}

// release gives the memory back. It may be called again.
func (u *unsealer) release() {
	if u != nil {
		u.c.memory.give(u.held)
		u.held = 0
	}
}

func (u *unsealer) piece(p openai.Piece) {
	size := min(int64(len(p.Raw)), u.held)
	u.held -= size
	u.c.memory.give(size)
	switch {
	case u.failed != nil:
	case p.Done:
		u.out = openai.AppendDocument(u.out, u.framing, []byte("[DONE]"))
	case p.JSON != nil:
		u.document(p.JSON)
	case len(p.Raw) > u.limit:
		u.fail("is too long to be opened")
	case u.framing == openai.SSE && bytes.HasPrefix(p.Raw, []byte(":")):
		u.out = append(u.out, ":\n\n"...) // keeps idle connections open; its words are nobody's
	case u.framing != openai.SSE && len(bytes.TrimSpace(p.Raw)) > 0:
		u.fail("is not encrypted")
	}
}

func (u *unsealer) document(doc []byte) {
	plain, err := u.opener.Open(doc)
	switch {
	case err == nil:
		u.out = openai.AppendDocument(u.out, u.framing, plain)
	case isErrorDocument(doc):
		var line bytes.Buffer
		json.Compact(&line, doc) // valid: it was parsed
		u.out = openai.AppendDocument(u.out, u.framing, line.Bytes())
	default:
		u.fail("is not what the worker has encrypted for this request (" + err.Error() + ")")
	}
}

func (u *unsealer) fail(why string) {
	u.failed = badAnswer("the request was encrypted, but a part of the answer " + why)
}

// isErrorDocument says whether a document is an error object and nothing else.
func isErrorDocument(doc []byte) bool {
	o, err := openai.ParseObject(doc)
	if err != nil || o.Len() != 1 {
		return false
	}
	e := o.Get("error")
	return e != nil && e[0] == '{'
}
