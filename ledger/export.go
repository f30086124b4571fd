package ledger

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// An export is lines of JSON. A record is one line {"record":…} with its seal,
// and behind it one line per event.
//
//	{"record":{"kind":"log","first":7,"events":1,"previous":"9c01…","signature":"…"}}
//	{"seq":7,"time":1793000000000,"kind":"settled","generation":1,"client":"0:…","worker":"0:…","tokens":42}
//
// Nothing of a seal is left out, so whoever has the proxy's public key can check an export by itself.

type recordLine struct {
	Record *sealLine `json:"record"`
}

type sealLine struct {
	Kind      string `json:"kind"`
	First     uint64 `json:"first"`
	Events    int    `json:"events"`
	Previous  Hash   `json:"previous"`
	Signature []byte `json:"signature"`
}

var recordKinds = map[recordKind]string{logRecord: "log", snapshotRecord: "snapshot"}

// Export writes every movement that the store still has, the oldest first. It runs beside
// whatever goes on and ends with what is durable as it gets there.
func (l *Ledger) Export(w io.Writer) error {
	if l.cfg.Store == nil {
		return errors.New("ledger: nothing to export: this ledger has no store")
	}
	return Export(l.cfg.Store, w)
}

// Export writes every movement of a store, of a ledger that is stopped perhaps.
func Export(s Store, w io.Writer) error {
	b := bufio.NewWriter(w)
	out := json.NewEncoder(b)
	err := s.History(func(rec Record) error {
		o, err := openRecord(rec.Data)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return o.export(out)
	})
	if err != nil {
		return fmt.Errorf("ledger: export: %w", err)
	}
	return b.Flush()
}

// export writes the lines of a record.
func (o *opened) export(out *json.Encoder) error {
	if err := out.Encode(recordLine{&sealLine{recordKinds[o.kind], o.first, len(o.events), o.previous, o.signature}}); err != nil {
		return err
	}
	for i := range o.events {
		if err := out.Encode(&o.events[i]); err != nil {
			return err
		}
	}
	return nil
}

// Summary is what an audit found to be true.
type Summary struct {
	Records, Events uint64
	// Complete is false where the oldest movements are missing and a snapshot stands for them.
	Complete bool
	// Moved is the tokens that requests moved from clients to workers.
	Moved       uint64
	Generations []GenerationSummary
}

// GenerationSummary is a generation at the end of an audit. Used, what its clients used, is what its workers earned.
type GenerationSummary struct {
	Generation
	Clients, Workers int
	Used, Committed  uint64
	ClientsCharged   uint64
	WorkersPaid      uint64
}

// Audit reads an export and does the sums. It demands that every record is
// signed by the key and continues the one before it, that no event is missing, that
// every movement is possible after those before it, that no counter ever went
// back, and that what clients used is what workers earned.
func Audit(r io.Reader, key ed25519.PublicKey) (Summary, error) {
	a := auditor{lines: bufio.NewScanner(r), chain: chain{key: key}, state: newState()}
	a.lines.Buffer(nil, 4*maxText)
	for a.lines.Scan() {
		if err := a.record(); err != nil {
			return a.sum, fmt.Errorf("ledger: audit: line %d: %w", a.line, err)
		}
	}
	if err := errors.Join(a.lines.Err(), a.chain.end(), a.balance()); err != nil {
		return a.sum, fmt.Errorf("ledger: audit: %w", err)
	}
	if a.sum.Records == 0 {
		return a.sum, errors.New("ledger: audit: the export is empty")
	}
	return a.sum, nil
}

type auditor struct {
	lines *bufio.Scanner
	line  int
	text  []byte // of the record at hand
	chain chain
	state *state
	sum   Summary
}

// record checks one record whose first line was just read.
func (a *auditor) record() error {
	a.text = a.text[:0]
	a.read()
	var head recordLine
	if err := strictJSON(a.lines.Bytes(), &head); err != nil || head.Record == nil {
		return fmt.Errorf("want a record: %w", errors.Join(err, errEvent))
	}
	o, err := a.rebuild(head.Record)
	if err != nil {
		return err
	}
	if !o.signedBy(a.chain.key) {
		return errors.New("the record is not signed by the proxy's key, or was altered")
	}
	if a.sum.Records == 0 {
		a.sum.Complete = o.kind == logRecord
	}
	if err := a.chain.follow(o); err != nil {
		return err
	}
	if o.kind == snapshotRecord {
		a.state.seq = o.first
	}
	a.sum.Records++
	for i := range o.events {
		e := &o.events[i]
		if err := a.state.apply(e); err != nil {
			return err
		}
		a.sum.Events++
		if e.Kind == Settled {
			a.sum.Moved += uint64(e.Tokens)
		}
	}
	return nil
}

// rebuild makes the bytes that were signed out of the lines, and reads them back.
func (a *auditor) rebuild(s *sealLine) (*opened, error) {
	kind := logRecord
	if s.Kind == recordKinds[snapshotRecord] {
		kind = snapshotRecord
	}
	b := append([]byte{recordVersion, byte(kind)}, binary.BigEndian.AppendUint64(nil, s.First)...)
	b = binary.BigEndian.AppendUint32(b, uint32(s.Events))
	b = append(b, s.Previous[:]...)
	for i := range s.Events {
		if !a.lines.Scan() {
			return nil, fmt.Errorf("event %d of %d is missing", i+1, s.Events)
		}
		a.read()
		var e Event
		err := strictJSON(a.lines.Bytes(), &e)
		if err == nil && kind == logRecord && e.Seq != s.First+uint64(i) {
			err = fmt.Errorf("event %d, want %d", e.Seq, s.First+uint64(i))
		}
		if err == nil {
			b, err = e.append(b)
		}
		if err != nil {
			return nil, err
		}
	}
	o, err := openRecord(append(b, s.Signature...))
	if err != nil {
		return nil, err
	}
	// The signature covers what we read. Others read JSON in other ways: with a
	// name twice, say, or another spelling of it beside.
	var text bytes.Buffer
	if err := o.export(json.NewEncoder(&text)); err != nil {
		return nil, err
	}
	if !bytes.Equal(text.Bytes(), a.text) {
		return nil, errors.New("the record's lines are not as an export writes them: they were altered")
	}
	return o, nil
}

// read takes the line at hand.
func (a *auditor) read() {
	a.line++
	a.text = append(append(a.text, a.lines.Bytes()...), '\n')
}

func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// balance does the sums over all accounts.
func (a *auditor) balance() error {
	var problems []error
	for _, g := range a.state.generations {
		g.check(func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) })
		s := GenerationSummary{Generation: g.Generation, Clients: len(g.clients), Workers: len(g.workers)}
		s.Used, _ = g.sum()
		for c := range maps.Values(g.clients) {
			s.Committed += uint64(c.used.chain)
			s.ClientsCharged += uint64(c.snapshot().Charged)
		}
		for w := range maps.Values(g.workers) {
			s.WorkersPaid += uint64(w.snapshot().Paid)
		}

		a.sum.Generations = append(a.sum.Generations, s)
	}
	slices.SortFunc(a.sum.Generations, func(x, y GenerationSummary) int { return int(x.Number) - int(y.Number) })
	return errors.Join(problems...)
}
