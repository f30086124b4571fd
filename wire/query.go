package wire

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/opencocoon/cocoon/tl"
)

const (
	maxErrorText = 4 << 10
	maxErrorCode = 1<<22 - 1
	queryCost    = 1 << 10 // what an open query takes besides its data, roughly
)

// Query is a question of the peer.
type Query struct {
	// Data is a boxed function. It belongs to the handler.
	Data []byte

	c        *Conn
	id       int64
	cost     int64
	answered atomic.Bool
}

// Answer sends the result. An answer too large to send becomes an error at
// the peer instead of a silence. Only the first Answer or Fail counts.
func (q *Query) Answer(o tl.Object) {
	err := q.finish(outgoing{kind: idQueryAnswer, id: q.id, body: o})
	if errors.Is(err, ErrTooLarge) {
		q.c.queue(queryError(q.id, CodeError, "answer too large for one frame"))
	}
}

// Fail refuses the query. A handler that does not know the function says
// Fail(0, "Lost promise"), as the reference does.
func (q *Query) Fail(code int32, message string) {
	q.finish(queryError(q.id, code, message))
}

func (q *Query) finish(m outgoing) error {
	if q.answered.Swap(true) {
		return nil
	}
	q.c.asked.Add(-q.cost)
	return q.c.queue(m)
}

func queryError(id int64, code int32, text string) outgoing {
	code = max(-maxErrorCode, min(code, maxErrorCode))
	return outgoing{kind: idQueryError, id: id, code: code, raw: []byte(text[:min(len(text), maxErrorText)])}
}

// accept hands a query to the handler, unless the peer has asked more than it
// let us answer: queries would otherwise pile up without bound.
func (c *Conn) accept(m message) {
	q := &Query{Data: m.data, c: c, id: m.id, cost: int64(len(m.data) + queryCost)}
	if c.asked.Add(q.cost) > int64(c.cfg.MaxQueued) {
		q.Fail(CodeError, "too many queries without an answer; wait for some")
		return
	}
	c.handler.Query(c, q)
}

type reply struct {
	data []byte
	err  error
}

// Ask sends a query and waits for the boxed result, which belongs to the
// caller. A refusal is a [*QueryError]; [ErrClosed] comes as soon as the
// connection is lost. It must not be called from a handler.
func (c *Conn) Ask(ctx context.Context, fn tl.Object) ([]byte, error) {
	answer := make(chan reply, 1)
	id := c.expect(answer)
	defer c.forget(id)
	if err := c.queue(outgoing{kind: idQuery, id: id, body: fn}); err != nil {
		return nil, err
	}
	select {
	case r := <-answer:
		return r.result(fn)
	case <-ctx.Done():
		return nil, fmt.Errorf("wire: ask %s: %w", fn.TLName(), ctx.Err())
	case <-c.done:
	}
	select { // a peer may answer and close in one breath
	case r := <-answer:
		return r.result(fn)
	default:
		return nil, refusal(c.Err())
	}
}

func (r reply) result(fn tl.Object) ([]byte, error) {
	if r.err != nil {
		return nil, fmt.Errorf("wire: ask %s: %w", fn.TLName(), r.err)
	}
	return r.data, nil
}

// Ask asks c and decodes the result.
func Ask[T any, PT interface {
	*T
	tl.Object
}](ctx context.Context, c *Conn, fn tl.Object) (*T, error) {
	data, err := c.Ask(ctx, fn)
	if err != nil {
		return nil, err
	}
	result := new(T)
	if err := tl.Unmarshal(data, PT(result)); err != nil {
		return nil, fmt.Errorf("wire: answer to %s: %w", fn.TLName(), err)
	}
	return result, nil
}

// expect registers an answer under an id that nobody can guess: one side of
// the network matches answers over all its connections.
func (c *Conn) expect(answer chan<- reply) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var b [8]byte
		rand.Read(b[:])
		id := int64(binary.LittleEndian.Uint64(b[:]))
		if _, taken := c.queries[id]; !taken {
			c.queries[id] = answer
			return id
		}
	}
}

func (c *Conn) forget(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.queries, id)
}

// resolve delivers a reply. One that nobody waits for, or a second one, is
// dropped: the asker may have given up.
func (c *Conn) resolve(id int64, r reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, waiting := c.queries[id]; waiting {
		delete(c.queries, id)
		answer <- r
	}
}
