package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// conn is one keep-alive connection of the load generator.
type conn struct {
	net.Conn
	reader
	unwatch func() bool
}

// Close closes the connection; a request in progress fails.
func (c *conn) Close() error {
	c.unwatch()
	return c.Conn.Close()
}

// dial opens a connection that closes when ctx ends.
func (t *target) dial(ctx context.Context) (*conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	if t.tls {
		nc = tls.Client(nc, &tls.Config{ServerName: t.host})
	}
	unwatch := context.AfterFunc(ctx, func() { nc.Close() })
	return &conn{Conn: nc, reader: reader{src: nc}, unwatch: unwatch}, nil
}

// do sends the request and reads the answer; keep tells whether the
// connection can be used again.
func (c *conn) do(request []byte, deadline time.Time, got func([]byte)) (status int, keep bool, err error) {
	if err := c.SetDeadline(deadline); err != nil {
		return 0, false, err
	}
	if _, err := c.Write(request); err != nil {
		return 0, false, err
	}
	head, err := c.head()
	if err != nil {
		return 0, false, unexpected(err)
	}
	if len(head) < 12 || !bytes.HasPrefix(head, []byte("HTTP/1.")) {
		return 0, false, errMalformed
	}
	status, err = strconv.Atoi(string(head[9:12]))
	if err != nil {
		return 0, false, errMalformed
	}
	f, err := framingOf(head, -1)
	if err != nil {
		return status, false, err
	}
	err = c.body(f, got)
	return status, err == nil && !f.close && (f.chunked || f.length >= 0), err
}

// errorKind names what went wrong in a few words that can be counted.
func errorKind(status int, err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, errMalformed):
		return "malformed answer"
	case errors.Is(err, errNoDone):
		return "stream without [DONE]"
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return "connection closed"
	case err != nil:
		var op *net.OpError
		if errors.As(err, &op) {
			return op.Op + " failed"
		}
		return "other"
	default:
		return fmt.Sprintf("status %d", status)
	}
}
