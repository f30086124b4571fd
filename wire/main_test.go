package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// No test may leave a goroutine behind: a connection that ends, ends wholly.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leftover(5 * time.Second); code == 0 && left != "" {
		fmt.Println("goroutines left behind:\n" + left)
		code = 1
	}
	os.Exit(code)
}

func leftover(patience time.Duration) string {
	buf := make([]byte, 1<<20)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		var left []string
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "cocoon/wire.(") {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
	}
}

// inbox is a Handler that keeps what comes. Queries go to onQuery.
type inbox struct {
	packets chan []byte
	closed  chan error
	onQuery func(*Conn, *Query)
}

func newInbox() *inbox {
	return &inbox{packets: make(chan []byte, 1000), closed: make(chan error, 10)}
}

func (h *inbox) Packet(_ *Conn, data []byte) { h.packets <- data }
func (h *inbox) Closed(_ *Conn, err error)   { h.closed <- err }
func (h *inbox) Query(c *Conn, q *Query) {
	if h.onQuery == nil {
		q.Fail(0, "Lost promise")
		return
	}
	h.onQuery(c, q)
}

// pipe and loopback each give two connected ends.
func pipe(testing.TB) (net.Conn, net.Conn) { return net.Pipe() }

func loopback(t testing.TB) (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return dialed, accepted
}

// connected returns a started client and server that end with the test.
func connected(t testing.TB, ends func(testing.TB) (net.Conn, net.Conn), client, server Handler, cfg Config) (*Conn, *Conn) {
	near, far := ends(t)
	type result struct {
		c   *Conn
		err error
	}
	accepted := make(chan result, 1)
	go func() {
		s, err := Server(t.Context(), far, server, cfg)
		accepted <- result{s, err}
	}()
	c, err := Client(t.Context(), near, client, cfg)
	r := <-accepted
	if err != nil || r.err != nil {
		t.Fatalf("opening exchange: client %v, server %v", err, r.err)
	}
	c.Start()
	r.c.Start()
	t.Cleanup(func() {
		c.Close(nil)
		r.c.Close(nil)
		c.Wait()
		r.c.Wait()
	})
	return c, r.c
}

// rawPeer is the other end of a Server, spoken to byte by byte.
type rawPeer struct {
	t   testing.TB
	nc  net.Conn
	seq uint32
}

// facing starts a server and returns it with a peer that has opened properly.
func facing(t testing.TB, h Handler, cfg Config) (*Conn, *rawPeer) {
	near, far := net.Pipe()
	p := &rawPeer{t: t, nc: near, seq: 1}
	go near.Write(openingFrame(idConnect, [8]byte{7}))
	served := make(chan *Conn, 1)
	go func() {
		c, err := Server(t.Context(), far, h, cfg)
		if err != nil {
			t.Error(err)
			return
		}
		c.Start()
		served <- c
	}()
	if got := p.read(20); string(got) != string(openingFrame(idConnected, [8]byte{7})) {
		t.Fatalf("opening answer %x", got)
	}
	c := <-served
	t.Cleanup(func() { near.Close(); c.Close(nil); c.Wait() })
	return c, p
}

func (p *rawPeer) read(n int) []byte {
	p.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(p.nc, b); err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return b
}

// frame reads one frame and returns its payload.
func (p *rawPeer) frame() []byte {
	p.t.Helper()
	h := p.read(8)
	return p.read(int(binary.LittleEndian.Uint32(h)))
}

// send frames a payload and writes it.
func (p *rawPeer) send(payload []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(framed(p.seq, payload)); err != nil {
		p.t.Fatalf("write: %v", err)
	}
	p.seq++
}

func framed(seq uint32, payload []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	return append(binary.LittleEndian.AppendUint32(b, seq), payload...)
}

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error is %v, want %v", got, want)
	}
}

// blob is an application object of about n bytes.
func blob(n int) *tl.ProxySignedPayment { return &tl.ProxySignedPayment{Data: make([]byte, n)} }

func timeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
