package wallet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"github.com/opencocoon/cocoon/ton"
)

// Hash is a hash that prints and marshals in hexadecimal.
type Hash [32]byte

func (h Hash) String() string { return fmt.Sprintf("%x", h[:]) }

// MarshalText is the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("hash of %d digits, want %d", len(text), 2*len(h))
	}
	for i := range h {
		v, err := strconv.ParseUint(string(text[2*i:2*i+2]), 16, 8)
		if err != nil {
			return errors.New("hash: not hexadecimal")
		}
		h[i] = byte(v)
	}
	return nil
}

// TxID names a transaction, for JSON.
type TxID struct {
	LT   uint64 `json:"lt"`
	Hash Hash   `json:"hash"`
}

func (t TxID) chain() ton.TxID        { return ton.TxID{LT: t.LT, Hash: t.Hash} }
func idOfTx(t ton.TxID) TxID          { return TxID{LT: t.LT, Hash: Hash(t.Hash)} }
func (t TxID) is(other ton.TxID) bool { return t == idOfTx(other) }

// record is one line: exactly one of its fields is set.
type record struct {
	Open   *opening  `json:"open,omitempty"`
	Accept *accepted `json:"accept,omitempty"`
	Sign   *signing  `json:"sign,omitempty"`
	Seen   *seen     `json:"seen,omitempty"`
	Cancel uint64    `json:"cancel,omitempty"`
	// Done is only in journals that were written anew.
	Done *finished `json:"done,omitempty"`
}

// opening is the first line.
type opening struct {
	Format int    `json:"format"`
	Wallet string `json:"wallet"`
}

const journalFormat = 1

// accepted is a message in the queue.
type accepted struct {
	ID uint64 `json:"id"`
	At int64  `json:"at"` // unix seconds, this machine's clock
	// Cell is the message as orders will carry it, a bag of cells.
	Cell []byte `json:"cell"`
}

// signing is an order that may be sent from now on. Its body follows from
// these, as signatures are deterministic.
type signing struct {
	Seqno uint32   `json:"seqno"`
	Until uint32   `json:"until"`
	At    int64    `json:"at"`
	IDs   []uint64 `json:"ids"`
}

// seen is what the transactions up to one have shown.
type seen struct {
	Tx       TxID      `json:"tx"`
	Seqno    uint32    `json:"seqno"` // of the next order
	Outcomes []Outcome `json:"outcomes,omitempty"`
}

// finished is a message that is no longer in the queue.
type finished struct {
	Outcome
	Accepted int64 `json:"accepted"`
	Value    int64 `json:"value"`
	Cell     Hash  `json:"cell"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r *record) line() ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %s\n", checksum(text), text), nil
}

func checksum(text []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) }

// readJournal returns the records and how long they are in all; what is left
// is a torn line.
func readJournal(text []byte) (records []record, good int, err error) {
	for number := 1; good < len(text); number++ {
		line, _, _ := bytes.Cut(text[good:], []byte("\n"))
		content, ok := checked(line, good+len(line) < len(text))
		if !ok {
			if holdsRecord(text[good:]) {
				return nil, 0, fmt.Errorf("%w: line %d does not fit its checksum", ErrDamaged, number)
			}
			return records, good, nil
		}
		var r record
		d := json.NewDecoder(bytes.NewReader(content))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil || r.fields() != 1 {
			return nil, 0, fmt.Errorf("%w: line %d is not a record (%v): written by a newer version?", ErrDamaged, number, err)
		}
		records = append(records, r)
		good += len(line) + 1
	}
	return records, good, nil
}

// holdsRecord says whether a good line begins anywhere, be it that the newline
// before it is what was damaged. One write is one line, so a torn one holds none.
func holdsRecord(text []byte) bool {
	mark := []byte(" {")
	for at := bytes.Index(text, mark); at >= 0; {
		if at >= 8 {
			line, _, ended := bytes.Cut(text[at-8:], []byte("\n"))
			if _, ok := checked(line, ended); ok {
				return true
			}
		}
		next := bytes.Index(text[at+1:], mark)
		if next < 0 {
			return false
		}
		at += 1 + next
	}
	return false
}

func checked(line []byte, ended bool) (content []byte, ok bool) {
	if !ended || len(line) < 10 || line[8] != ' ' {
		return nil, false
	}
	return line[9:], string(line[:8]) == checksum(line[9:])
}

func (r *record) fields() (n int) {
	for _, set := range []bool{r.Open != nil, r.Accept != nil, r.Sign != nil, r.Seen != nil, r.Cancel != 0, r.Done != nil} {
		if set {
			n++
		}
	}
	return n
}
