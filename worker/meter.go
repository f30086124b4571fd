package worker

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
)

const (
	// maxStreamDocument and maxPlainDocument bound what is kept of a document
	// until its end has come. A longer one passes unread and is estimated.
	maxStreamDocument = 1 << 20
	maxPlainDocument  = 8 << 20
	// maxSample bounds what is kept of the first document.
	maxSample = 4 << 10
	// promptSlack is what a prompt may hold beyond the bytes of its request:
	// the template's own words, and images fetched by address.
	promptSlack = 64 << 10
	// textSlack is how many tokens may leave no text before that is odd, and
	// maxUnseen how many are believed: no model writes more in one answer.
	textSlack = 64 << 10
	maxUnseen = 1 << 20
)

// meter reads an answer's body as it passes, counts, and writes costs into it.
//
// What the engine reports counts: each counter's highest value, as in the
// network (wire.md §5.5). Three things bound it. A prompt has no more tokens
// than its request has bytes (plus slack), a completion no more than the
// caller's own limit, and parts no more than their whole. A completion that
// merely looks large for the text is noted and not cut, because hidden
// reasoning and special tokens leave no bytes; only one beyond all reason is.
// An engine that reports nothing gets an estimate, marked as such: a delivered
// answer is never free. Not for concurrent use.
type meter struct {
	price   price
	request *request
	framing openai.Framing
	split   *openai.Splitter
	// free is set for an answer with an error status: it costs nothing.
	free bool

	seen   ledger.Usage // highest counts reported
	told   bool         // something countable was reported
	done   bool         // the answer is complete
	marked bool         // an estimated usage has been written
	object bool         // a valid JSON object has passed, as far as looked at
	odd    oddity

	text   int64  // bytes of generated text so far
	heard  int64  // those of them in documents that could be read
	deltas int64  // documents that carried some
	prompt int64  // estimate, 0 until somebody asks
	sample []byte // first document, whose names an added one repeats

	out  []byte
	tail [2]byte // last bytes that left
}

func newMeter(p price, r *request, framing openai.Framing, free bool) *meter {
	limit := maxStreamDocument
	if framing == openai.Plain {
		limit = maxPlainDocument
	}
	return &meter{price: p, request: r, framing: framing, free: free, split: openai.NewSplitter(framing, limit)}
}

// feed takes the next bytes of the engine's body and returns those for the
// caller: the same, with costs added. The result is valid until the next call.
func (m *meter) feed(chunk []byte) []byte {
	m.out = m.out[:0]
	m.split.Feed(chunk, m.piece)
	return m.leave()
}

// close ends a complete body.
func (m *meter) close() []byte {
	m.out = m.out[:0]
	m.done = true
	m.split.Close(m.piece)
	if m.request.stream {
		m.markEstimate()
	}
	return m.leave()
}

// abort ends a body that broke off. Half a document is dropped, so that the
// error behind it can be read.
func (m *meter) abort(e *openai.Error) []byte {
	m.out = m.out[:0]
	m.endLine()
	m.write(openai.ErrorEvent(m.framing, e))
	return m.leave()
}

func (m *meter) piece(p openai.Piece) {
	switch {
	case p.Done:
		m.markEstimate()
		m.write(p.Raw)
	case p.JSON != nil:
		m.document(p)
	default:
		if m.framing == openai.Plain || len(p.Raw) > maxStreamDocument {
			m.text += inked(p.Raw) // no JSON, or too long to read
		}
		m.write(p.Raw)
	}
}

func (m *meter) document(p openai.Piece) {
	if n := m.request.spoken(p.JSON); n > 0 {
		m.text += n
		m.heard += n
		m.deltas++
	}
	doc := m.priced(p.JSON)
	if m.sample == nil {
		m.sample = append([]byte{}, p.JSON[:min(len(p.JSON), maxSample)]...)
	}
	if doc == nil {
		m.write(p.Raw)
		return
	}
	if m.framing != openai.Plain && bytes.IndexByte(doc, '\n') >= 0 {
		doc = oneLine(doc)
	}
	m.out = p.AppendWith(m.out, doc)
}

// priced reads a document's usage and returns the document with costs in it;
// nil leaves it as it is. A whole answer that tells no usage gets an estimate.
func (m *meter) priced(document []byte) []byte {
	whole := !m.request.stream && m.framing == openai.Plain && m.sample == nil
	if !whole && !hasUsage(document) {
		return nil
	}
	doc, err := openai.ParseObject(document)
	if err != nil {
		return nil
	}
	m.object = true
	if m.free {
		return nil
	}
	usage, err := openai.ParseObject(doc.Get("usage"))
	if err == nil {
		if u, ok := usage.ReadUsage(); ok {
			m.count(u)
			m.price.costs(m.price.adjust(m.bounded(m.seen))).into(usage)
			doc.Set("usage", usage.Bytes())
			return doc.Bytes()
		}
		m.odd |= oddUncountable
	}
	if whole && (doc.Get("choices") != nil || doc.Get("text") != nil) {
		m.done, m.marked = true, true
		doc.Set("usage", m.estimate())
		return doc.Bytes()
	}
	return nil
}

// hasUsage looks for a member "usage" that is an object; most chunks of a
// stream have none, or null. Inside a string its quotes would be escaped.
func hasUsage(document []byte) bool {
	for {
		_, rest, found := bytes.Cut(document, usageMember)
		if !found {
			return false
		}
		if i := skip(rest, 0); i < len(rest) && rest[i] == ':' {
			if i = skip(rest, i+1); i < len(rest) && rest[i] != 'n' {
				return true
			}
		}
		document = rest
	}
}

var usageMember = []byte(`"usage"`)

// count takes one report; each counter keeps its highest value.
func (m *meter) count(u openai.Usage) {
	if m.told && (u.PromptTokens < m.seen.Prompt || u.CompletionTokens < m.seen.Completion) {
		m.odd |= oddDecreasing
	}
	m.told = true
	m.seen.Prompt = max(m.seen.Prompt, u.PromptTokens)
	m.seen.Cached = max(m.seen.Cached, u.Cached())
	m.seen.Completion = max(m.seen.Completion, u.CompletionTokens)
	m.seen.Reasoning = max(m.seen.Reasoning, u.Reasoning())
}

// markEstimate adds a usage document to a stream that told none.
func (m *meter) markEstimate() {
	if m.told || m.marked || m.free || m.text == 0 {
		return
	}
	m.marked = true
	m.endLine()
	m.out = openai.AppendDocument(m.out, m.framing, m.usageDocument())
}

// usageDocument looks like the engine's own chunks, with no choices.
func (m *meter) usageDocument() []byte {
	b := []byte{'{'}
	if doc, err := openai.ParseObject(m.sample); err == nil {
		for _, name := range []string{"id", "object", "created", "model"} {
			if v := doc.Get(name); v != nil {
				b = append(append(append(append(b, '"'), name...), `":`...), oneLine(v)...)
				b = append(b, ',')
			}
		}
	}
	b = append(append(b, `"choices":[],"usage":`...), m.estimate()...)
	return append(b, '}')
}

func (m *meter) write(b []byte) { m.out = append(m.out, b...) }

// endLine makes what has left end where a new document may begin.
func (m *meter) endLine() {
	last := append(m.tail[:], m.out...)
	last = last[len(last)-2:]
	switch {
	case last[1] == 0:
	case m.framing == openai.SSE && !slices.Equal(last, []byte("\n\n")):
		m.write([]byte("\n\n"))
	case last[1] != '\n':
		m.write([]byte("\n"))
	}
}

func (m *meter) leave() []byte {
	if n := len(m.out); n >= 2 {
		m.tail = [2]byte(m.out[n-2:])
	} else if n == 1 {
		m.tail = [2]byte{m.tail[1], m.out[0]}
	}
	return m.out
}

// oneLine takes the line ends out of a valid document.
func oneLine(doc []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, doc) != nil {
		return doc
	}
	return b.Bytes()
}
