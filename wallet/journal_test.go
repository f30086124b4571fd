package wallet

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencocoon/cocoon/coin"
)

// sampleJournal is what a driver wrote in a short life.
func sampleJournal(t testing.TB) []byte {
	t.Helper()
	n := newNode(newWorld(t), 1)
	n.fund(n.driver.Address(), 50*coin.TON)
	for i := range 6 {
		n.enqueue(letter(byte(i), uint64(i), coin.TON))
	}
	n.settle()
	n.enqueue(letter(1, 99, coin.TON)).Cancel()
	n.enqueue(letter(1, 100, coin.TON))
	text, err := os.ReadFile(n.driver.journal.path())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Cut anywhere, a journal is what was written before; nothing is invented.
func TestTornJournal(t *testing.T) {
	text := sampleJournal(t)
	all, good, err := readJournal(text)
	if err != nil || good != len(text) || len(all) < 10 {
		t.Fatalf("%d records in %d of %d bytes, %v", len(all), good, len(text), err)
	}
	for cut := range len(text) {
		records, good, err := readJournal(text[:cut])
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if want := bytes.LastIndexByte(text[:cut], '\n') + 1; good != want || len(records) != bytes.Count(text[:cut], []byte("\n")) {
			t.Fatalf("cut at %d: %d records in %d bytes, want %d", cut, len(records), good, want)
		}
	}
	for _, tail := range []string{"\n", "garbage", "\x00\x00\x00\x00", "00000000 {}\n", strings.Repeat("\x00", 4096)} {
		records, good, err := readJournal(append(bytes.Clone(text), tail...))
		if err != nil || len(records) != len(all) || good != len(text) {
			t.Errorf("with %q behind: %d records in %d bytes, %v", tail[:1], len(records), good, err)
		}
	}
}

// A changed byte is found, wherever it is; only in the last line it may be a
// write that was cut short.
func TestDamagedJournal(t *testing.T) {
	text := sampleJournal(t)
	lastLine := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
	for at := range len(text) {
		bad := bytes.Clone(text)
		bad[at] ^= 1
		_, good, err := readJournal(bad)
		if damaged := errors.Is(err, ErrDamaged); damaged != (at < lastLine) || err == nil && good > lastLine {
			t.Fatalf("byte %d changed: %v, %d good bytes", at, err, good)
		}
	}
}

func TestRefusedJournals(t *testing.T) {
	n := newNode(newWorld(t), 1)
	n.driver.Close()
	lines := func(records ...record) string {
		var b strings.Builder
		for i := range records {
			line, err := records[i].line()
			if err != nil {
				t.Fatal(err)
			}
			b.Write(line)
		}
		return b.String()
	}
	first := record{Open: &opening{Format: journalFormat, Wallet: n.driver.address.StringRaw()}}
	m := letter(1, 1, 1)
	m.ID = 7
	a, err := m.accepted()
	if err != nil {
		t.Fatal(err)
	}
	accept := record{Accept: a}
	for name, c := range map[string]struct{ text, want string }{
		"no beginning":     {lines(accept), "does not begin"},
		"newer":            {lines(record{Open: &opening{Format: 2, Wallet: first.Open.Wallet}}), "newer version"},
		"another wallet":   {lines(record{Open: &opening{Format: 1, Wallet: "0:00"}}), "belongs to wallet"},
		"twice":            {lines(first, accept, accept), "accepted twice"},
		"unknown message":  {lines(first, record{Sign: &signing{IDs: []uint64{1}}}), "not in the queue"},
		"another seqno":    {lines(first, accept, record{Sign: &signing{Seqno: 4, IDs: []uint64{7}}}), "at 0"},
		"back in time":     {lines(first, record{Seen: &seen{Seqno: 3}}, record{Seen: &seen{Seqno: 2}}), "come after"},
		"cancelled orders": {lines(first, accept, record{Sign: &signing{IDs: []uint64{7}}}, record{Cancel: 7}), "cannot be"},
		"no cell":          {lines(first, record{Accept: &accepted{ID: 1, Cell: []byte{1}}}), "message 1"},
		"two in one":       {lines(first, record{Accept: a, Cancel: 7}), "not a record"},
		"none in one":      {lines(first, record{}), "not a record"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, journalName), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := n.config()
		cfg.Dir = dir
		d, err := Open(cfg)
		if err == nil {
			d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want %q and the file's name", name, err, c.want)
		}
	}
}

// Written anew, a journal says the same.
func TestRewrite(t *testing.T) {
	n := newNode(newWorld(t), 1)
	n.small = true
	n.driver.Close()
	n.open()
	n.fund(n.driver.Address(), 100*coin.TON)
	var handles []*Handle
	var letters []Message
	for i := range 40 {
		m := letter(byte(i), uint64(i), coin.TON)
		letters, handles = append(letters, m), append(handles, n.enqueue(m))
		if i%3 == 0 {
			n.step()
		}
	}
	if n.driver.journal.small == 0 {
		t.Fatal("the journal was never written anew")
	}
	before := n.driver.state
	if err := n.driver.journal.rewrite(before.records()); err != nil {
		t.Fatal(err)
	}
	n.kill("")
	n.revive()
	after := n.driver.state
	if len(after.queue) != len(before.queue) || len(after.done) != len(before.done) || len(after.drafts) != len(before.drafts) ||
		after.cursor != before.cursor || after.seqno != before.seqno || after.waiting() != before.waiting() ||
		after.spentSince(n.begin.Add(-1)) != before.spentSince(n.begin.Add(-1)) {
		t.Errorf("read back %+v, wrote %+v", after, before)
	}
	for i := range after.drafts {
		if after.drafts[i].hash != before.drafts[i].hash {
			t.Error("an order became another")
		}
	}
	n.settle()
	for i := range letters {
		n.exactly(n.driver.Find(handles[i].ID()), letters[i])
	}
}

// What the reader takes, it writes again as it was; and no journal, however
// odd, breaks the state.
func FuzzJournal(f *testing.F) {
	text := sampleJournal(f)
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add([]byte("00000000 {}\n"))
	records, _, err := readJournal(text)
	if err != nil {
		f.Fatal(err)
	}
	wallet := records[0].Open.Wallet
	f.Fuzz(func(t *testing.T, data []byte) {
		records, good, err := readJournal(data)
		if err != nil {
			return
		}
		if good > len(data) {
			t.Fatalf("%d good bytes of %d", good, len(data))
		}
		s := newState(wallet)
		for i := range records {
			if s.apply(&records[i]) != nil {
				return
			}
		}
		again := newState(wallet)
		for _, r := range s.records() {
			line, err := r.line()
			if err != nil {
				t.Fatal(err)
			}
			back, _, err := readJournal(line)
			if err != nil || len(back) != 1 {
				t.Fatalf("a record does not come back: %v", err)
			}
			if err := again.apply(&back[0]); err != nil {
				t.Fatalf("the shortest journal is refused: %v", err)
			}
		}
		if len(again.queue) != len(s.queue) || again.seqno != s.seqno || len(again.drafts) != len(s.drafts) {
			t.Errorf("read back %d messages at %d, wrote %d at %d", len(again.queue), again.seqno, len(s.queue), s.seqno)
		}
	})
}

// The checksum keeps a fuzzer out; this one writes it itself.
func FuzzRecord(f *testing.F) {
	text := sampleJournal(f)
	records, _, err := readJournal(text)
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		f.Add(line[9:])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		s := newState(records[0].Open.Wallet)
		for i := range records[:5] {
			if err := s.apply(&records[i]); err != nil {
				t.Fatal(err)
			}
		}
		line := append([]byte(checksum(content)+" "), append(content, '\n')...)
		got, _, err := readJournal(line)
		for i := range got {
			if err == nil {
				err = s.apply(&got[i])
			}
		}
		if err != nil {
			return
		}
		for _, r := range s.records() {
			if _, err := r.line(); err != nil {
				t.Errorf("cannot be written: %v", err)
			}
		}
	})
}
