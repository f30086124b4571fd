package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"syscall"
)

func (c *Conn) readLoop() {
	defer close(c.readDone)
	var err error
	for err == nil {
		err = c.readOne()
	}
	c.fail(whyReadEnded(err))
	err = c.Err()
	c.logEnd(err)
	c.handler.Closed(c, err)
}

func (c *Conn) readOne() error {
	p, err := c.in.next()
	if err != nil {
		return err
	}
	if c.in.more { // else it came with the frame before
		c.in.more = false
		c.heard()
	}
	m, err := parse(p)
	if err != nil || c.silent.Load() {
		return err
	}
	c.dispatch(m)
	return nil
}

func (c *Conn) dispatch(m message) {
	switch m.kind {
	case idPacket:
		c.handler.Packet(c, m.data)
	case idQuery:
		c.accept(m)
	case idQueryAnswer:
		c.resolve(m.id, reply{data: m.data})
	case idQueryError:
		text := m.data[:min(len(m.data), maxErrorText)]
		c.resolve(m.id, reply{err: &QueryError{Code: m.code, Message: string(text)}})
	case idPing:
		// Its failure ends nothing here: either the connection has ended, and the next read says
		// so, or it is being flushed, and what is queued must still go out.
		c.queue(outgoing{kind: idPong, id: m.id})
	case idPong:
		c.ponged(m.id)
	}
	// a late tcp.connect or tcp.connected is ignored
}

func whyReadEnded(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w in the middle of a frame", ErrPeerClosed)
	case errors.Is(err, io.EOF):
		return ErrPeerClosed
	case errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w: %w", ErrPeerClosed, err)
	}
	return err
}

// logEnd makes what a peer did wrong visible and the ordinary end quiet.
func (c *Conn) logEnd(err error) {
	level := slog.LevelDebug
	for _, wrong := range []error{ErrProtocol, ErrSlowPeer, ErrIdle, ErrBudget} {
		if errors.Is(err, wrong) {
			level = slog.LevelWarn
		}
	}
	c.cfg.Log.Log(context.Background(), level, "connection closed", "remote", c.nc.RemoteAddr(), "reason", err)
}
