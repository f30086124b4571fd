package worker

import (
	"bytes"
	"errors"
	"mime"
	"strings"

	"github.com/opencocoon/cocoon/fieldcrypt"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// Requests sealed by the caller's app (current.md §3). The proxy sends the
// private key they were sealed for along with them; the engine sees clear text
// and no marks. Everything that the engine says, refusals included, is sealed
// for the app document by document. What we say ourselves in the place of an
// answer stays clear, as every hop's errors do: it holds nothing of theirs.

// unseal opens the body of in, if a key came with it. A body that is sealed but
// came without one meets the rules, which refuse it.
func (j *job) unseal(in *tl.HTTPRequest) *refusal {
	if j.query.Flags&flagPrivateKey == 0 || j.query.PrivateKey == (tl.Int256{}) {
		return nil
	}
	seed := fieldcrypt.Seed(j.query.PrivateKey)
	j.query.PrivateKey = tl.Int256{} // the job may last for hours, the key need not
	plain, app, err := openBody(&seed, contentType(in.Headers), in.Payload)
	if err != nil {
		return sealRefusal(err)
	}
	sealer, err := fieldcrypt.NewSealer(&seed, app, fieldcrypt.ToApp)
	if err != nil {
		return sealRefusal(err)
	}
	in.Payload, j.sealer = plain, sealer
	return nil
}

func contentType(headers []tl.HTTPHeader) string {
	for _, h := range headers {
		if strings.EqualFold(h.Name, "Content-Type") {
			return h.Value
		}
	}
	return ""
}

func openBody(seed *fieldcrypt.Seed, kind string, body []byte) ([]byte, fieldcrypt.PublicKey, error) {
	if media, _, _ := mime.ParseMediaType(kind); media == "multipart/form-data" {
		return fieldcrypt.OpenForm(seed, kind, body)
	}
	return fieldcrypt.Open(seed, body, fieldcrypt.ToWorker)
}

// sealRefusal gives each fault the network's code and words (current.md §3.5).
func sealRefusal(err error) *refusal {
	switch {
	case errors.Is(err, fieldcrypt.ErrUnmarked):
		return &refusal{wire.CodeError, "worker: key is provided, but request is unencrypted"}
	case errors.Is(err, fieldcrypt.ErrMarks), errors.Is(err, fieldcrypt.ErrKeyMismatch):
		return &refusal{wire.CodeError, "worker: " + clip(err.Error(), 300)}
	case errors.Is(err, fieldcrypt.ErrDamaged):
		return &refusal{0, "worker: " + err.Error()}
	}
	return badRequest("body: %v", err)
}

// envelope seals the documents of an answer on their way from the meter to the
// proxy. It writes the framing anew and lets nothing else of the engine's
// through: names of events and comments could say something too. What cannot be
// sealed, such as text that is no JSON, a document that is no object, or a very
// long one, ends the answer with an error rather than silently or in the clear.
// A nil envelope passes everything. Not for concurrent use.
type envelope struct {
	sealer  *fieldcrypt.Sealer
	framing openai.Framing
	limit   int
	split   *openai.Splitter
	broken  bool // something could not be sealed; nothing follows it
	out     []byte
}

func newEnvelope(s *fieldcrypt.Sealer, f openai.Framing) *envelope {
	if s == nil {
		return nil
	}
	limit := maxStreamDocument
	if f == openai.Plain {
		limit = maxPlainDocument
	}
	limit += maxSample // the meter's costs
	return &envelope{sealer: s, framing: f, limit: limit, split: openai.NewSplitter(f, limit)}
}

// feed returns what b completes. The result is valid until the next call.
func (e *envelope) feed(b []byte) []byte {
	if e == nil {
		return b
	}
	e.out = e.out[:0]
	e.split.Feed(b, e.piece)
	return e.out
}

// close ends the body with its last bytes.
func (e *envelope) close(last []byte) []byte {
	if e == nil {
		return last
	}
	e.feed(last)
	e.split.Close(e.piece)
	return e.out
}

func (e *envelope) failed() bool { return e != nil && e.broken }

func (e *envelope) piece(p openai.Piece) {
	switch {
	case e.broken:
	case p.Done:
		e.out = openai.AppendDocument(e.out, e.framing, []byte("[DONE]"))
	case p.JSON != nil:
		e.document(p.JSON)
	case len(p.Raw) > e.limit || e.framing != openai.SSE && len(bytes.TrimSpace(p.Raw)) > 0:
		e.broken = true
	case e.framing == openai.SSE && bytes.HasPrefix(p.Raw, []byte(":")):
		e.out = append(e.out, ":\n\n"...) // keeps idle connections open
	}
}

func (e *envelope) document(doc []byte) {
	sealed, err := e.sealer.Seal(doc)
	if err != nil {
		e.broken = true
		return
	}
	e.out = openai.AppendDocument(e.out, e.framing, sealed)
}

// feed takes bytes of the engine and returns those for the proxy.
func (j *job) feed(b []byte) []byte { return j.envelope.feed(j.meter.feed(b)) }

// closeBody ends a complete body.
func (j *job) closeBody() []byte { return j.envelope.close(j.meter.close()) }

// unsealed ends an answer that cannot be sealed.
func (j *job) unsealed() {
	e := badAnswer("the engine's answer cannot be encrypted: it is not JSON objects of bearable size")
	if !j.begun {
		j.answerWith(e)
		return
	}
	j.breakOff(nil, e)
}

// abort is the error event behind a body that broke off.
func (j *job) abort(e *openai.Error) []byte {
	if j.envelope != nil { // which ends every line it begins
		return openai.ErrorEvent(j.envelope.framing, e)
	}
	return j.meter.abort(e)
}
