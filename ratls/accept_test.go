package ratls

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/opencocoon/cocoon/attest"
)

// flaky fails a few times, as accepting does when descriptors run out.
type flaky struct {
	net.Listener
	left atomic.Int32
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, errors.New("too many open files")
	}
	return f.Listener.Accept()
}

func TestAcceptLoopSurvives(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &flaky{Listener: inner}
	f.left.Store(3)
	cfg := (&Config{Policy: &attest.Policy{}}).withDefaults()
	l := serveOn(f, cfg, func(_ context.Context, nc net.Conn) (*Conn, error) { return &Conn{nc, &Peer{}}, nil })
	defer l.Close()
	nc, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
