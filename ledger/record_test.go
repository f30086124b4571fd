package ledger

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

var everyField = Event{Seq: 7, Time: 1, Kind: Settled, Generation: 2, Client: fmt.Sprintf("0:%064x", 3), Worker: "w", Tokens: 4, Chain: 5, Reported: 6,
	State: Closing, Balance: 7, Stake: 8, Debt: 9, Unlock: 10, LT: 1 << 63, Hash: Hash{1}, Note: 11, Last: 12, Session: Hash{2},
	Params: 1<<32 - 1, Contract: fmt.Sprintf("-1:%064x", 4), Price: 13, Fee: 14, Paid: 15, Staked: 16, Memo: []byte{0, 1}}

// No field is forgotten, in bytes or in JSON.
func TestEventRoundTrip(t *testing.T) {
	v := reflect.ValueOf(everyField)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("the test's event lacks %s", v.Type().Field(i).Name)
		}
	}
	b, err := everyField.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var got Event
	rest, err := got.decode(append(b, 9))
	if got.Seq = everyField.Seq; err != nil || !reflect.DeepEqual(got, everyField) || !bytes.Equal(rest, []byte{9}) {
		t.Errorf("%+v, rest %d, %v", got, rest, err)
	}
	text, err := json.Marshal(&everyField)
	if err != nil {
		t.Fatal(err)
	}
	var back Event
	if err := strictJSON(text, &back); err != nil || !reflect.DeepEqual(back, everyField) {
		t.Errorf("%s: %+v, %v", text, back, err)
	}
	if _, err := (&Event{Kind: Settled, Tokens: -1}).append(nil); err == nil {
		t.Error("a negative number is written")
	}
}

func TestDecodeRefuses(t *testing.T) {
	packed, _ := (&Event{Kind: Settled, Client: fmt.Sprintf("0:%064x", 3)}).append(nil)
	for name, b := range map[string][]byte{
		"nothing": {}, "no kind": {0}, "unknown kind": {1, 99, 0}, "no end": {1, 2}, "unknown field": {1, 2, 77, 1, 0},
		"order": {2, 1, 1, 2, 0}, "twice": {1, 2, 1, 2, 0}, "explicit zero": {1, 2, 2, 0, 0}, "long number": {1, 0x82, 0, 0},
		"negative": {1, 2, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}, "empty text": {1, 2, 4, 1, 0}, "cut text": {1, 2, 4, 9, 'a'},
		"state": {1, 2, 9, 3, 0}, "cut hash": {1, 2, 15, 1, 2}, "zero hash": append(append([]byte{1, 2, 15}, make([]byte, 32)...), 0),
		"chain of the address": bytes.Replace(packed, []byte{4, 0, 0}, []byte{4, 0, 5}, 1),
		"unpacked address":     append(append([]byte{1, 2, 4, 67}, fmt.Sprintf("0:%064x", 3)...), 0),
	} {
		var e Event
		if _, err := e.decode(b); !errors.Is(err, errEvent) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

func sampleRecord(t testing.TB) Record {
	rec, _, err := seal(logRecord, testKey, Hash{3}, 7, []Event{everyField, {Kind: Noted, Note: 1, Session: Hash{4}}})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// What reads as a record is written the same way again, and nothing else is accepted.
func FuzzRecord(f *testing.F) {
	f.Add(sampleRecord(f).Data)
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := openRecord(b)
		if err != nil {
			return
		}
		again, hash, err := seal(o.kind, testKey, o.previous, o.first, o.events)
		if err != nil || hash != o.hash || !bytes.Equal(again.Data[:len(b)-sealTail], b[:len(b)-sealTail]) {
			t.Errorf("a second encoding of the same events: %v", err)
		}
	})
}

// Any change of any byte of a record is found out.
func TestRecordIsSealed(t *testing.T) {
	rec := sampleRecord(t)
	public := testKey.Public().(ed25519.PublicKey)
	o, err := openRecord(rec.Data)
	if err != nil || !o.signedBy(public) || rec.First != 7 || rec.Last != 8 {
		t.Fatalf("%+v, %v", rec, err)
	}
	for i := range rec.Data {
		b := bytes.Clone(rec.Data)
		b[i] ^= 0x40
		if o, err := openRecord(b); err == nil && o.signedBy(public) {
			t.Errorf("byte %d was changed and nobody notices", i)
		}
	}
	for n := range rec.Data {
		if o, err := openRecord(rec.Data[:n]); err == nil && o.signedBy(public) {
			t.Errorf("cut to %d bytes and nobody notices", n)
		}
	}
}

// lived is a store with a few records of every kind, compacted once.
func lived(t *testing.T) *chained {
	c := onChain(t)
	c.deposit("c", 2000*20, 2000*20, 0)
	c.note()
	c.book("c", "w", 10)
	c.note()
	c.book("c", "v", 20)
	c.deposit("c", 2000*20, 2000*20, 10)
	return c
}

// A store that lost, doubled, swapped or took over records is damaged.
func TestDamagedStores(t *testing.T) {
	for name, change := range map[string]func([]Record) []Record{
		"the first is gone":   func(r []Record) []Record { return r[1:] },
		"a middle one":        func(r []Record) []Record { return append(r[:2:2], r[3:]...) },
		"one is there twice":  func(r []Record) []Record { return append(r[:3:3], r[2:]...) },
		"two are swapped":     func(r []Record) []Record { r[1], r[2] = r[2], r[1]; return r },
		"a byte is changed":   func(r []Record) []Record { r[2].Data = bytes.Clone(r[2].Data); r[2].Data[60] ^= 1; return r },
		"its place is forged": func(r []Record) []Record { r[len(r)-1].Last++; return r },
		"one is made up": func(r []Record) []Record {
			o, _ := openRecord(r[len(r)-1].Data)
			mine := ed25519.NewKeyFromSeed(make([]byte, 32))
			rec, _, _ := seal(logRecord, mine, o.hash, o.last()+1, []Event{{Kind: Settled, Generation: 1, Client: "c", Worker: "w", Tokens: 5}})
			return append(r, rec)
		},
		"an impossible movement": func(r []Record) []Record {
			o, _ := openRecord(r[len(r)-1].Data)
			rec, _, _ := seal(logRecord, testKey, o.hash, o.last()+1, []Event{{Kind: Settled, Generation: 9, Client: "c", Worker: "w", Tokens: 5}})
			return append(r, rec)
		},
		"a snapshot's event in the log": func(r []Record) []Record {
			o, _ := openRecord(r[len(r)-1].Data)
			rec, _, _ := seal(logRecord, testKey, o.hash, o.last()+1, []Event{{Kind: CarriedClient, Generation: 1, Client: "x", Tokens: 5}})
			return append(r, rec)
		},
	} {
		c := lived(t)
		s := &Memory{log: change(bytesCloned(c.store.log))}
		if _, err := New(Config{Store: s, Key: testKey}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want %v", name, err, ErrDamaged)
		}
	}
}

func bytesCloned(r []Record) []Record { return append([]Record(nil), r...) }

// A snapshot that lost a record, or is another's, is damaged.
func TestDamagedSnapshots(t *testing.T) {
	c := lived(t)
	c.must(c.Compact())
	c.book("c", "w", 3)
	good := func() *Memory { return &Memory{snapshot: bytesCloned(c.store.snapshot), log: bytesCloned(c.store.log)} }
	if _, err := New(Config{Store: good(), Key: testKey}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Memory){
		"its end is gone": func(m *Memory) {
			o, _ := openRecord(m.snapshot[0].Data)
			m.snapshot[0], _, _ = seal(snapshotRecord, testKey, o.previous, o.first, o.events[:len(o.events)-1])
		},
		"it is shorter than it says": func(m *Memory) {
			o, _ := openRecord(m.snapshot[0].Data)
			m.snapshot[0], _, _ = seal(snapshotRecord, testKey, o.previous, o.first, o.events[1:])
		},
		"it is not ours": func(m *Memory) {
			o, _ := openRecord(m.snapshot[0].Data)
			m.snapshot[0], _, _ = seal(snapshotRecord, ed25519.NewKeyFromSeed(make([]byte, 32)), o.previous, o.first, o.events)
		},
		"the log behind it is gone in part": func(m *Memory) { m.log = nil; m.log = append(m.log, sampleRecord(t)) },
		"it stands in the log":              func(m *Memory) { m.log = append(m.log, m.snapshot...) },
	} {
		m := good()
		change(m)
		if _, err := New(Config{Store: m, Key: testKey}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want %v", name, err, ErrDamaged)
		}
	}
}

// An auditor with nothing but the public key finds every change.
func TestAudit(t *testing.T) {
	c := lived(t)
	public := testKey.Public().(ed25519.PublicKey)
	var b bytes.Buffer
	c.must(c.Export(&b))
	text := b.String()
	sum, err := Audit(strings.NewReader(text), public)
	if err != nil || !sum.Complete || sum.Moved != 30 || len(sum.Generations) != 1 {
		t.Fatalf("%+v, %v\n%s", sum, err, text)
	}
	if g := sum.Generations[0]; g.Clients != 1 || g.Workers != 2 || g.Used != 30 || g.Committed != 10 || g.ClientsCharged != 10 {
		t.Errorf("%+v", g)
	}
	lines := strings.SplitAfter(text, "\n")
	for name, forged := range map[string]string{
		"another key":        "",
		"empty":              "\x00",
		"a number":           strings.Replace(text, `"tokens":20`, `"tokens":21`, 1),
		"a name":             strings.Replace(text, `"worker":"v"`, `"worker":"w"`, 1),
		"a field more":       strings.Replace(text, `"tokens":20`, `"tokens":20,"gift":1`, 1),
		"a line less":        strings.Join(lines[:len(lines)-2], ""),
		"a record less":      strings.Join(append(lines[:2:2], lines[4:]...), ""),
		"the beginning less": strings.Join(lines[2:], ""),
		"nonsense":           "hello\n" + text,
		"events of nobody":   strings.Join(lines[1:], ""),
		// Readers of JSON disagree on these, and the signature covers what ours takes.
		"another spelling beside": strings.Replace(text, `"tokens":20`, `"tokens":99,"Tokens":20`, 1),
		"a name twice":            strings.Replace(text, `"tokens":20`, `"tokens":99,"tokens":20`, 1),
		"two on a line":           strings.Replace(text, `"tokens":20}`, `"tokens":20}{"seq":9,"kind":"settled","tokens":99}`, 1),
		"another kind":            strings.Replace(text, `"kind":"log"`, `"kind":"draft"`, 1),
		"a remark":                strings.Replace(text, `}}`, `}} paid in full`, 1),
	} {
		key := public
		switch forged {
		case "":
			forged, key = text, ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
		case "\x00":
			forged = ""
		case text:
			t.Fatalf("%s: nothing was forged", name)
		}
		if sum, err := Audit(strings.NewReader(forged), key); err == nil {
			t.Errorf("%s: the audit finds nothing: %+v", name, sum)
		}
	}
}

// Where a snapshot is all there is of the past, the audit says so.
func TestAuditFromSnapshot(t *testing.T) {
	c := lived(t)
	c.must(c.Compact())
	c.book("c", "w", 3)
	c.store.history = c.store.snapshot
	var b bytes.Buffer
	c.must(c.Export(&b))
	sum, err := Audit(&b, testKey.Public().(ed25519.PublicKey))
	if err != nil || sum.Complete || sum.Moved != 3 || sum.Generations[0].Used != 33 {
		t.Errorf("%+v, %v", sum, err)
	}
}
