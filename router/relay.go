package router

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// stream is one side of a connection through the router.
//
//   - CloseWrite must tell the other end that nothing follows, and leave the
//     way back open.
//   - abort must end it so that the other end can tell it from an orderly end.
type stream interface {
	io.ReadWriteCloser
	SetWriteDeadline(time.Time) error
	CloseWrite() error
	abort()
}

// tcp is a TCP connection, counted or not.
type tcp interface {
	net.Conn
	CloseWrite() error
	SetLinger(seconds int) error
}

// plain is the side of a program on this machine.
type plain struct{ tcp }

// abort resets the connection: what was received so far is not all there is.
func (c plain) abort() {
	_ = c.SetLinger(0)
	_ = c.Close() // closing ends it whatever it says
}

// attested is the side of a peer.
type attested struct{ *tls.Conn }

func (c attested) under() plain { return plain{c.NetConn().(tcp)} }

// CloseWrite says it twice: peers of the network wait for the end of the TCP
// stream and ignore TLS's own word, which others want to see lest somebody on
// the way cuts the stream short.
func (c attested) CloseWrite() error {
	if err := c.Conn.CloseWrite(); err != nil {
		return err
	}
	return c.under().CloseWrite()
}

func (c attested) Close() error { return c.under().Close() }
func (c attested) abort()       { c.under().abort() }

// pieces are what a direction holds at a time: a TLS record at most. A reader
// that does not read stops the writer through them; nothing else is kept.
var pieces = sync.Pool{New: func() any { return new([16 << 10]byte) }}

var (
	errIdle    = errors.New("nothing came or could be delivered for too long")
	errStopped = errors.New("the router stops")
)

// relay carries bytes between local and remote until both directions have
// ended in order, and returns nil; or until one fails, idle passes without
// progress, or ctx ends, which resets both sides and returns the cause.
func relay(ctx context.Context, local, remote stream, idle time.Duration, out, in *atomic.Int64) error {
	if ctx.Err() != nil { // before a single byte passes
		local.abort()
		remote.abort()
		return context.Cause(ctx)
	}
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	stop := context.AfterFunc(ctx, func() { local.abort(); remote.abort() })
	quiet := watch(idle, func() { cut(errIdle) })
	defer quiet.timer.Stop()
	var both sync.WaitGroup
	carry := func(to, from stream, count *atomic.Int64) {
		switch err := pump(to, from, quiet, count); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			cut(errIdle)
		case err != nil:
			cut(err)
		}
	}
	both.Go(func() { carry(remote, local, out) })
	carry(local, remote, in)
	both.Wait()
	if !stop() {
		return context.Cause(ctx)
	}
	return errors.Join(local.Close(), remote.Close())
}

// pump copies one direction and ends it when its source has ended.
func pump(to, from stream, quiet *quietness, count *atomic.Int64) error {
	piece := pieces.Get().(*[16 << 10]byte)
	defer pieces.Put(piece)
	for {
		n, err := from.Read(piece[:])
		if n > 0 {
			if werr := to.SetWriteDeadline(quiet.touch()); werr != nil {
				return werr
			}
			if _, werr := to.Write(piece[:n]); werr != nil {
				return werr
			}
			quiet.touch()
			count.Add(int64(n))
		}
		if err == io.EOF {
			return to.CloseWrite()
		}
		if err != nil {
			return err
		}
	}
}

// quietness calls back when nothing has moved for a while.
type quietness struct {
	after time.Duration
	last  atomic.Int64 // when something moved, in ns since start
	start time.Time
	timer *time.Timer
}

func watch(after time.Duration, call func()) *quietness {
	q := &quietness{after: after, start: time.Now()}
	armed := make(chan struct{})
	q.timer = time.AfterFunc(after, func() {
		<-armed
		if left := q.after - (time.Since(q.start) - time.Duration(q.last.Load())); left > 0 {
			q.timer.Reset(left)
			return
		}
		call()
	})
	close(armed)
	return q
}

// touch notes that something moves, and returns by when the next must.
func (q *quietness) touch() time.Time {
	now := time.Now()
	q.last.Store(int64(now.Sub(q.start)))
	return now.Add(q.after)
}
