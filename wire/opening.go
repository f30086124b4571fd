package wire

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// Client makes the dialer's opening exchange on nc, within ctx and at most
// Config.Idle. On error nc is closed; else the connection waits for Start, and
// is ended by its idle limit if that never comes.
func Client(ctx context.Context, nc net.Conn, h Handler, cfg Config) (*Conn, error) {
	var id [8]byte
	rand.Read(id[:])
	return open(ctx, nc, h, cfg.withDefaults(true), func() error {
		if _, err := nc.Write(openingFrame(idConnect, id)); err != nil {
			return err
		}
		_, err := readOpening(nc, idConnected) // the reference does not compare the id either
		return err
	})
}

// Server makes the listener's opening exchange on nc; else as [Client].
func Server(ctx context.Context, nc net.Conn, h Handler, cfg Config) (*Conn, error) {
	return open(ctx, nc, h, cfg.withDefaults(false), func() error {
		id, err := readOpening(nc, idConnect)
		if err != nil {
			return err
		}
		_, err = nc.Write(openingFrame(idConnected, id))
		return err
	})
}

func open(ctx context.Context, nc net.Conn, h Handler, cfg Config, exchange func() error) (*Conn, error) {
	limited, cancel := context.WithTimeoutCause(ctx, cfg.Idle, fmt.Errorf("%w: limit %v", ErrIdle, cfg.Idle))
	defer cancel()
	if err := within(limited, nc, exchange); err != nil {
		nc.Close()
		return nil, fmt.Errorf("wire: opening exchange with %v: %w", nc.RemoteAddr(), whyReadEnded(err))
	}
	return newConn(nc, h, cfg), nil
}

// The first frame is 20 bytes in either direction, so an unfinished opening
// exchange needs no buffer worth mentioning, however many there are.
func openingFrame(kind uint32, id [8]byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, 12) // length 12, frame 0
	b = binary.LittleEndian.AppendUint32(b, kind)
	return append(b, id[:]...)
}

func readOpening(r io.Reader, kind uint32) (id [8]byte, err error) {
	want := openingFrame(kind, id)
	for i := 0; i < 12; i += 4 { // a wrong word is refused without waiting for the rest
		var got [4]byte
		if _, err := io.ReadFull(r, got[:]); err != nil {
			return id, err
		}
		if string(got[:]) != string(want[i:i+4]) {
			return id, violation("first frame has %x at byte %d, want %x", got, i, want[i:i+4])
		}
	}
	_, err = io.ReadFull(r, id[:])
	return id, err
}

// within runs f, interrupting what it does on nc when ctx ends.
func within(ctx context.Context, nc net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(longAgo) })
	err := f()
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}

var longAgo = time.Unix(1, 0)
