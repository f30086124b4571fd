package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"math"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// debugger adds the debug record to an answer whose caller wished for it:
//
//   - one JSON document: as its member "debug"
//   - an event stream: as one more chunk without choices, before [DONE]
//   - lines of JSON, or anything else: as a line {"debug":…} at the end
//
// To do so it keeps the last document of the first form, and [DONE], until the
// final info is there. An answer that failed gets none.
type debugger struct {
	a        *answer
	splitter *openai.Splitter
	out      []byte
	held     []byte       // raw bytes from the held piece on
	last     openai.Piece // held document of a plain answer
	done     bool
	firstAt  time.Time
}

func newDebugger(a *answer) *debugger {
	return &debugger{a: a, splitter: openai.NewSplitter(a.framing, 0), firstAt: a.begun}
}

func (d *debugger) rewrite(chunks [][]byte, t *taken) [][]byte {
	d.out = nil
	for _, chunk := range chunks {
		d.splitter.Feed(chunk, d.piece)
	}
	if t.end || t.failed != nil {
		d.splitter.Close(d.piece)
	}
	switch {
	case t.failed != nil:
		d.letGo()
	case t.end:
		d.finish(t.final)
	}
	if len(d.out) == 0 {
		return nil
	}
	return [][]byte{d.out}
}

func (d *debugger) piece(p openai.Piece) {
	switch {
	case d.a.framing == openai.SSE && (p.Done || d.done):
		d.done = true
		d.held = append(d.held, p.Raw...)
	case d.a.framing == openai.Plain && p.JSON != nil:
		d.letGo()
		d.held = bytes.Clone(p.Raw)
		d.last = p
		d.last.Raw, d.last.JSON = d.held[:len(d.held):len(d.held)], bytes.Clone(p.JSON)
	case d.held != nil:
		d.held = append(d.held, p.Raw...)
	default:
		d.out = append(d.out, p.Raw...)
	}
}

func (d *debugger) letGo() {
	d.out = append(d.out, d.held...)
	d.held, d.last = nil, openai.Piece{}
}

func (d *debugger) finish(info *tl.ClientQueryFinalInfo) {
	record := d.record(info)
	d.a.c.debug.keep(d.a.rq.options.GUID, record)
	if d.a.framing == openai.SSE {
		d.out = openai.AppendDocument(d.out, openai.SSE, d.chunk(record))
		d.letGo()
		return
	}
	if doc, err := openai.ParseObject(d.last.JSON); err == nil {
		doc.Set("debug", record)
		rest := d.held[len(d.last.Raw):]
		d.out = append(d.last.AppendWith(d.out, doc.Bytes()), rest...)
		return
	}
	d.letGo()
	if n := len(d.out); n > 0 && d.out[n-1] != '\n' {
		d.out = append(d.out, '\n')
	}
	d.out = openai.AppendDocument(d.out, openai.NDJSON, append(append([]byte(`{"debug":`), record...), '}'))
}

// chunk wraps the record so that SDKs take it for a chunk that says nothing,
// like the one with the usage.
func (d *debugger) chunk(record []byte) []byte {
	kind := "chat.completion.chunk"
	if d.a.rq.path == pathCompletions {
		kind = "text_completion"
	}
	doc, _ := json.Marshal(struct {
		ID      string          `json:"id"`
		Object  string          `json:"object"`
		Created int64           `json:"created"`
		Model   string          `json:"model"`
		Choices []struct{}      `json:"choices"`
		Debug   json.RawMessage `json:"debug"`
	}{"debug", kind, d.a.begun.Unix(), d.a.rq.options.Model, []struct{}{}, record})
	return doc
}

// hopRecord is one hop's times in Unix seconds.
type hopRecord struct {
	Type    string  `json:"type"`
	Start   float64 `json:"start_time"`
	FirstAt float64 `json:"answer_receive_start_at,omitempty"`
	EndAt   float64 `json:"answer_receive_end_at"`
}

// record is the debug object: ours, and what the other hops said of themselves.
func (d *debugger) record(info *tl.ClientQueryFinalInfo) []byte {
	if info == nil {
		info = &tl.ClientQueryFinalInfo{}
	}
	record, err := json.Marshal(struct {
		Client hopRecord       `json:"client"`
		Proxy  json.RawMessage `json:"proxy"`
		Worker json.RawMessage `json:"worker"`
		Broken []brokenRecord  `json:"broken,omitempty"` // parts of which the stream before was made
	}{
		hopRecord{"client_stats", unixFloat(d.a.rq.start), unixFloat(d.firstAt), unixFloat(d.a.c.cfg.Now())},
		hop(info.ProxyDebug, "proxy_stats", info.ProxyStartTime, info.ProxyEndTime),
		hop(info.WorkerDebug, "worker_stats", info.WorkerStartTime, info.WorkerEndTime),
		d.a.resumer.records(),
	})
	if err != nil {
		return []byte("{}")
	}
	return record
}

// maxHopRecord bounds what a peer may add to an answer.
const maxHopRecord = 64 << 10

func hop(text, kind string, start, end float64) json.RawMessage {
	if text != "" && len(text) <= maxHopRecord {
		var compact bytes.Buffer // one line, whatever the peer wrote
		if json.Compact(&compact, []byte(text)) == nil {
			return compact.Bytes()
		}
	}
	if math.IsNaN(start+end) || math.IsInf(start+end, 0) {
		start, end = 0, 0
	}
	raw, _ := json.Marshal(hopRecord{Type: kind, Start: start, EndAt: end})
	return raw
}

func unixFloat(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// debugStore keeps the newest records by the hash of their guid.
type debugStore struct {
	mu      sync.Mutex
	records map[[32]byte][]byte
	order   [][32]byte
}

const maxDebugRecords = 256

func (s *debugStore) keep(guid string, record []byte) {
	if guid == "" {
		return
	}
	key := sha256.Sum256([]byte(guid))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		s.records = map[[32]byte][]byte{}
	}
	if _, again := s.records[key]; !again {
		s.order = append(s.order, key)
	}
	s.records[key] = record
	if len(s.order) > maxDebugRecords {
		delete(s.records, s.order[0])
		s.order = s.order[1:]
	}
}

// find returns the record of a guid, or "{}".
func (s *debugStore) find(guid string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if record := s.records[sha256.Sum256([]byte(guid))]; record != nil {
		return record
	}
	return []byte("{}")
}
