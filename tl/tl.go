// Package tl holds every message of the network as a Go type, and the byte
// form they travel in.
//
// The types come from schema/cocoon.tl through the generator in gen; one file
// per family, named *_gen.go. Each has the same four duties: AppendTL writes
// it, SizeTL says how long that will be, DecodeTL reads it, TLName names it.
// Start with [Decode] for bytes of an unknown kind, [Unmarshal] when only one
// kind will do, and [Marshal] or AppendTL for writing. Nothing here uses
// reflection, and reading allocates only what it returns.
//
// Bytes are untrusted: reading never panics, bounds each allocation by the
// bytes that are really there, and reports the first wrong field as an
// [*Error]. Contents never appear in errors or in the String of a message.
//
// In memory a decoded message takes at most a small multiple (about six) of
// its encoded length.
//
// Two generations of the schema live side by side. Where a later release gave
// a declaration a new id, the newer one has the plain Go name and the older
// one the suffix Base. The objects under cocoon.* are this project's own; see
// [FlagExtensions].
package tl

//go:generate go run ./gen -schema schema/cocoon.tl -out .

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Object is a constructor or a function of the schema. The generated types
// implement it by pointer; a value is not safe for concurrent change.
type Object interface {
	// TLID is the constructor id.
	TLID() uint32
	// TLName is the name in the schema, "client.runQueryEx".
	TLName() string
	// SizeTL is the exact length of what AppendTL adds, in bytes.
	SizeTL() int
	// AppendTL appends the boxed form: id, then fields.
	AppendTL(b []byte) []byte
	// DecodeTL reads the fields; the id has been read already. It replaces
	// whatever the object held.
	DecodeTL(r *Reader) error
}

// Int256 is 32 raw bytes in wire order: a request id, a hash or a key.
type Int256 [32]byte

// FlagExtensions is the bit of client.params, worker.params and proxy.params
// flags that says "knows the cocoon.* objects". A side uses them only when it
// has both sent and received the bit.
const FlagExtensions = 1 << 30

// Names for cocoon.features. A feature is used only when both sides list it.
const (
	FeatureCancel   = "cancel"   // cocoon.cancelQuery stops a running request
	FeatureProgress = "progress" // cocoon.queryProgress reports tokens while answering
	FeatureQueue    = "queue"    // cocoon.queuePosition reports waiting
	FeatureMarket   = "market"   // cocoon.runQuery carries wishes, cocoon.getBook and cocoon.whyIdle ask for the market
	FeatureFacts    = "facts"    // cocoon.facts of workers and, in cocoon.runNeeding, of requests; cocoon.getBookWithFacts
)

// Headers by which a client asks for the rest of a chat's answer that another
// worker began, and a worker says that its engine goes on where the last message
// ends: one that does not know how would begin anew.
const (
	HeaderContinue  = "X-Cocoon-Continue"  // in the request
	HeaderContinues = "X-Cocoon-Continues" // in the answer
)

// ErrUnknown means that the bytes begin with an id the schema does not have,
// as those of a newer peer may. The connection can go on.
var ErrUnknown = errors.New("unknown constructor")

// Error tells which field of which object could not be read.
type Error struct {
	Object string // outermost object, "http.request"; empty if its id is unknown
	Field  string // path in it, "headers[3].name"; empty for the object as a whole
	Offset int    // where the field begins, in bytes from the start of the input
	Err    error  // what is wrong with it
}

func (e *Error) Error() string {
	where := e.Object
	if e.Field != "" {
		where += "." + e.Field
	}
	if where != "" {
		where += " "
	}
	return fmt.Sprintf("tl: %sat byte %d: %v", where, e.Offset, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Marshal returns the boxed form of o in a slice of exactly its size.
func Marshal(o Object) []byte {
	return o.AppendTL(make([]byte, 0, o.SizeTL()))
}

// Decode reads one boxed object of any kind that fills b completely. Fields
// of type bytes point into b, which therefore belongs to the result. An id
// outside the schema gives an error that wraps [ErrUnknown].
func Decode(b []byte) (Object, error) {
	r := Reader{b: b}
	id := r.Uint32("")
	o := decodeBoxed(&r, id)
	if o == nil {
		r.fail("", 0, fmt.Errorf("%w %#08x", ErrUnknown, id))
		return nil, r.err
	}
	if err := r.finish(o.TLName()); err != nil {
		return nil, err
	}
	return o, nil
}

// Unmarshal reads one boxed object of exactly the kind of into, filling b
// completely. On error into holds nothing of use.
func Unmarshal(b []byte, into Object) error {
	r := NewReader(b)
	if id := r.Uint32(""); id != into.TLID() {
		r.fail("", 0, fmt.Errorf("constructor is %#08x, want %#08x", id, into.TLID()))
	}
	if err := r.end(into.TLName()); err != nil {
		return err
	}
	if err := into.DecodeTL(r); err != nil {
		return err
	}
	return r.finish(into.TLName())
}

// PeekID returns the constructor id in front of b, or 0 if b is too short.
func PeekID(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}
