package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A record is what stores keep: a batch of events, chained to the record
// before it and signed.
//
//	version:1 kind:1 first:8 count:4 previous:32 events… signature:64
//
// Numbers are big-endian; first is the number of the first event, in a
// snapshot that of the last event it covers. The record's hash is SHA-256 over
// recordTag and everything but the signature; the next record's previous is
// this hash. The signature is Ed25519 over signTag and the hash: 58 bytes, so
// that it can never pass for one over a payment's 32-byte cell hash, which the same key makes.
//
// A snapshot's first record has as previous the hash of the log's record it
// stands after; so has the first log record behind it, as if there were no snapshot.
const (
	recordVersion = 1
	recordTag     = "cocoon ledger record\n"
	signTag       = "cocoon ledger signature 1\n"

	sealHead = 1 + 1 + 8 + 4 + 32
	sealTail = ed25519.SignatureSize

	// maxBatch bounds the events of one record, maxRecord its bytes.
	maxBatch  = 4096
	maxRecord = 64 << 20
)

type recordKind uint8

const (
	logRecord recordKind = 1 + iota
	snapshotRecord
)

// ErrDamaged means that stored records were altered or lost: nothing of them
// is used. Restore the newest copy of the store; never start with an older
// one unless it is the newest there is, for peers and the chain remember more.
var ErrDamaged = errors.New("ledger: the store is damaged")

// Record is a sealed batch of events as a store keeps it.
type Record struct {
	// First and Last are the numbers of its events; in a snapshot both are the last event it covers.
	First, Last uint64
	// Data is the record; stores treat it as opaque.
	Data []byte
}

// seal makes a record out of events and gives its hash.
func seal(kind recordKind, key ed25519.PrivateKey, previous Hash, first uint64, events []Event) (Record, Hash, error) {
	b := make([]byte, 0, sealHead+sealTail+96*len(events))
	b = append(b, recordVersion, byte(kind))
	b = binary.BigEndian.AppendUint64(b, first)
	b = binary.BigEndian.AppendUint32(b, uint32(len(events)))
	b = append(b, previous[:]...)
	var err error
	for i := range events {
		if b, err = events[i].append(b); err != nil {
			return Record{}, Hash{}, err
		}
	}
	h := hashRecord(b)
	b = append(b, ed25519.Sign(key, signedText(h))...)
	last := first
	if kind == logRecord {
		last = first + uint64(len(events)) - 1
	}
	return Record{first, last, b}, h, nil
}

func hashRecord(unsigned []byte) Hash {
	h := sha256.New()
	h.Write([]byte(recordTag))
	h.Write(unsigned)
	return Hash(h.Sum(nil))
}

func signedText(h Hash) []byte { return append([]byte(signTag), h[:]...) }

// opened is a record taken apart.
type opened struct {
	kind      recordKind
	first     uint64
	previous  Hash
	hash      Hash
	signature []byte
	events    []Event
}

func (o *opened) last() uint64 {
	if o.kind == snapshotRecord {
		return o.first
	}
	return o.first + uint64(len(o.events)) - 1
}

func (o *opened) signedBy(key ed25519.PublicKey) bool {
	return ed25519.Verify(key, signedText(o.hash), o.signature)
}

// openRecord takes a record apart. It says nothing about its signature or its place.
func openRecord(b []byte) (*opened, error) {
	if len(b) < sealHead+sealTail || len(b) > maxRecord {
		return nil, fmt.Errorf("a record of %d bytes, want %d to %d", len(b), sealHead+sealTail, maxRecord)
	}
	if b[0] != recordVersion {
		return nil, fmt.Errorf("a record of version %d, this program reads %d: use a newer program", b[0], recordVersion)
	}
	body, count := b[:len(b)-sealTail], binary.BigEndian.Uint32(b[10:])
	o := &opened{kind: recordKind(b[1]), first: binary.BigEndian.Uint64(b[2:]), previous: Hash(b[14:sealHead]),
		hash: hashRecord(body), signature: b[len(body):]}
	if o.kind != logRecord && o.kind != snapshotRecord || count == 0 || count > maxBatch || o.first > math.MaxInt64 || o.kind == logRecord && o.first == 0 {
		return nil, fmt.Errorf("a record of kind %d, first %d, %d events", b[1], o.first, count)
	}
	rest := body[sealHead:]
	o.events = make([]Event, min(int(count), len(rest)/3)) // the shortest event has three bytes
	if len(o.events) < int(count) {
		return nil, fmt.Errorf("%d bytes cannot hold %d events", len(rest), count)
	}
	for i := range o.events {
		e, err := &o.events[i], error(nil)
		if rest, err = e.decode(rest); err != nil {
			return nil, fmt.Errorf("event %d of the record from %d: %w", i, o.first, err)
		}
		if o.kind == logRecord {
			e.Seq = o.first + uint64(i)
		}
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes too many in the record from %d", len(rest), o.first)
	}
	return o, nil
}

// chain follows records and demands that each stands behind the one before,
// and that the last of a snapshot and the last of all are signed: through the
// hashes these vouch for everything before them.
type chain struct {
	key  ed25519.PublicKey
	last uint64 // event
	head Hash   // of the last log record

	begun     bool
	snapshot  Hash   // of the last snapshot record; zero once it has ended
	carried   uint64 // events of the snapshot so far
	unchecked *opened
}

// follow checks the record's place.
func (c *chain) follow(o *opened) error {
	c.unchecked = o
	if o.kind == snapshotRecord {
		return c.followSnapshot(o)
	}
	switch {
	case c.snapshot != Hash{}:
		return errors.New("a snapshot has no end")
	case o.first != c.last+1:
		return fmt.Errorf("event %d follows event %d: some are missing", o.first, c.last)
	case o.previous != c.head:
		return fmt.Errorf("the record from event %d does not continue the one before it: hash %.8s…, want %.8s…", o.first, o.previous, c.head)
	}
	for i := range o.events {
		if k := o.events[i].Kind; k >= CarriedClient && k <= CarriedEnd {
			return fmt.Errorf("event %d is a %s, which belongs into snapshots", o.events[i].Seq, o.events[i].Kind)
		}
	}
	c.begun, c.last, c.head = true, o.last(), o.hash
	return nil
}

func (c *chain) followSnapshot(o *opened) error {
	switch {
	case c.snapshot == Hash{} && c.begun:
		return fmt.Errorf("a snapshot behind event %d: it must come first", c.last)
	case c.snapshot == Hash{}:
		c.begun, c.last, c.head, c.carried = true, o.first, o.previous, 0
	case o.first != c.last || o.previous != c.snapshot:
		return errors.New("the records of a snapshot do not continue each other")
	}
	c.snapshot = o.hash
	c.carried += uint64(len(o.events))
	if end := &o.events[len(o.events)-1]; end.Kind == CarriedEnd {
		if uint64(end.Tokens) != c.carried-1 {
			return fmt.Errorf("a snapshot of %d events says that it has %d", c.carried-1, end.Tokens)
		}
		c.snapshot = Hash{}
		return c.end()
	}
	return nil
}

// end demands that nothing was left open, and checks the last signature.
func (c *chain) end() error {
	switch {
	case c.snapshot != Hash{}:
		return errors.New("a snapshot has no end")
	case c.unchecked != nil && !c.unchecked.signedBy(c.key):
		return errors.New("the signature is not that of the proxy's key: the store is another proxy's, or was altered")
	}
	return nil
}
