package ratls_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/attest"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/wire"
)

// stages are where a peer can stop, after it has done its part so far. Each
// returns when it does nothing more, with its connection open.
func stages(shown *tls.Certificate) map[string]func(nc net.Conn, listens bool) {
	ctx := context.Background()
	solve := func(nc net.Conn, listens bool) {
		if listens {
			wire.Challenge(ctx, nc, 0)
		} else {
			wire.Solve(ctx, nc, 28)
		}
	}
	finish := func(nc net.Conn, listens bool) *tls.Conn {
		solve(nc, listens)
		settings := crook{shown: shown, protos: []string{ratls.SessionProtocol}}.settings()
		tc := tls.Client(nc, settings)
		if listens {
			tc = tls.Server(nc, settings)
		}
		tc.Handshake() // if it fails, the stage is an earlier one
		return tc
	}
	begun := func(b []byte) func(net.Conn, bool) {
		return func(nc net.Conn, listens bool) { finish(nc, listens).Write(b) }
	}
	record := ratls.Record(make([]byte, 1000), nil)
	return map[string]func(net.Conn, bool){
		"at once":             func(net.Conn, bool) {},
		"in the work":         func(nc net.Conn, _ bool) { nc.Write([]byte{0x91, 0x12}) },
		"after the work":      solve,
		"in the hello":        func(nc net.Conn, listens bool) { solve(nc, listens); nc.Write([]byte{22, 3, 1, 1, 0, 1}) },
		"in TLS":              func(nc net.Conn, listens bool) { solve(nc, listens); halfTLS(nc, listens, shown) },
		"before its record":   begun(nil),
		"in the length":       begun(record[:2]),
		"in the head":         begun(record[:6]),
		"in the evidence":     begun(record[:100]),
		"before the last one": begun(record[:len(record)-1]),
		"in the GPUs":         begun(append(binary.LittleEndian.AppendUint32(nil, 1<<18), 0, 0, 0, 0, 0, 1)),
	}
}

// halfTLS loses everything of a handshake but the first flight.
func halfTLS(nc net.Conn, listens bool, shown *tls.Certificate) {
	first := &firstFlight{Conn: nc}
	settings := crook{shown: shown, protos: []string{ratls.SessionProtocol}}.settings()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if listens {
		tls.Server(first, settings).HandshakeContext(ctx)
	} else {
		tls.Client(first, settings).HandshakeContext(ctx)
	}
	nc.SetDeadline(time.Time{})
}

// firstFlight writes once, and does not close.
type firstFlight struct {
	net.Conn
	wrote bool
}

func (f *firstFlight) Write(b []byte) (int, error) {
	if f.wrote {
		return len(b), nil
	}
	f.wrote = true
	return f.Conn.Write(b)
}

func (f *firstFlight) Close() error { return nil }

// A peer that never finishes is let go, wherever it stops and whoever dialed.
func TestPeersThatNeverFinish(t *testing.T) {
	a := authority(t)
	shown := node(t, a.Machine("x"), nil).Identity.Certificate()
	for name, stop := range stages(shown) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			judging := node(t, a.Machine("judge"), trusting(t, "x"))
			judging.HandshakeTimeout = time.Second
			l := listen(t, judging)
			nc := dialRaw(t, l)
			stop(nc, false)
			nc.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadAll(nc); isTimeout(err) {
				t.Error("listening: still connected")
			}
			if _, n, _ := l.Counts(); n != 0 {
				t.Errorf("listening: %d accepted", n)
			}
			l.Close()

			sl, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer sl.Close()
			stopped := make(chan net.Conn, 1)
			go func() {
				if nc, err := sl.Accept(); err == nil {
					stop(nc, true)
					stopped <- nc
				}
			}()
			if c, err := ratls.Dial(t.Context(), sl.Addr().String(), judging); err == nil {
				c.Close()
				t.Error("dialing: connected")
			}
			(<-stopped).Close()
		})
	}
}

// However many peers stop at their record, they hold no more than the places
// for negotiations, and whoever is honest still gets in.
func TestManyStopAtTheirRecord(t *testing.T) {
	const limit = 16
	l, client := everybody(t, func(c *ratls.Config) { c.MaxHalfOpen, c.Log, c.Difficulty = limit, nil, -1 })
	echo(t, l)
	shown := node(t, attest.NoPlatform{}, nil).Identity.Certificate()
	for range 4 * limit {
		tc := rawTLS(t, l.Addr().String(), shown)
		tc.Write(binary.LittleEndian.AppendUint32(nil, 1<<18))
		if n, _, _ := l.Counts(); n > limit {
			t.Fatalf("%d in negotiation, limit %d", n, limit)
		}
	}
	c, err := ratls.Dial(t.Context(), l.Addr().String(), client)
	if err != nil {
		t.Fatalf("an honest peer: %v", err)
	}
	defer c.Close()
	if err := talk(t, c); err != nil {
		t.Errorf("an honest peer: %v", err)
	}
}
