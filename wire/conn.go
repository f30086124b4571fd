package wire

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

// Handler gets what a peer sends. One Handler may serve many connections;
// [Conn.Data] tells them apart.
type Handler interface {
	// Packet receives one one-way message. It must not block: it runs on the
	// goroutine that reads the connection, in order of arrival. The data
	// belongs to the handler. A packet it does not know it must ignore.
	Packet(c *Conn, data []byte)
	// Query receives one query and must see to it that q is answered exactly
	// once, now or later. It must not block.
	Query(c *Conn, q *Query)
	// Closed is called once, after the last Packet and Query, with the reason.
	Closed(c *Conn, err error)
}

// Config sets the limits of a connection. The zero Config has the network's.
type Config struct {
	// Idle ends the connection when for so long no frame was completed.
	// Default 20 s for a dialer, 60 s for a listener. It also limits the
	// opening exchange.
	Idle time.Duration
	// PingAfter sends one ping into each silence of so long. Default 10 s for
	// a dialer; a listener's zero, and anything negative, means never.
	PingAfter time.Duration
	// Stall ends the connection when the peer takes nothing (64 KiB in the
	// middle of a longer message) for so long. Default 20 s.
	Stall time.Duration
	// MaxFrame is the largest payload in bytes, sent or received. Default and
	// maximum 16 MiB.
	MaxFrame int
	// MaxQueued bounds the bytes waiting to be written, and separately those
	// of the peer's queries not yet answered. Default 32 MiB.
	MaxQueued int
	// Budget is shared with other connections. Nil bounds each one only.
	Budget *Budget
	// Peer is returned by [Conn.Peer].
	Peer any
	// Log gets the reason of each disconnection. Nil discards.
	Log *slog.Logger
}

// flushLimit is how long [Conn.CloseAfterFlush] waits for the peer.
const flushLimit = 5 * time.Second

func (cfg Config) withDefaults(dialer bool) Config {
	idle, ping := 60*time.Second, time.Duration(-1)
	if dialer {
		idle, ping = 20*time.Second, 10*time.Second
	}
	setDefault(&cfg.Idle, idle)
	setDefault(&cfg.Stall, 20*time.Second)
	setDefault(&cfg.MaxFrame, maxPayload)
	setDefault(&cfg.MaxQueued, 32<<20)
	if cfg.PingAfter == 0 {
		cfg.PingAfter = ping
	}
	cfg.MaxFrame = min(cfg.MaxFrame, maxPayload)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// Conn is one framed connection. Its methods are safe for concurrent use.
type Conn struct {
	// Data is the role's own state for this connection; set it before Start.
	Data any

	nc      net.Conn
	handler Handler
	cfg     Config
	account *account
	born    time.Time

	in        *frameReader // used by the reading goroutine alone
	lastHeard atomic.Int64 // clock of the last complete frame
	writing   atomic.Int64 // clock at the start of the Write in progress; 0 for none
	asked     atomic.Int64 // bytes of the peer's queries not yet answered
	silent    atomic.Bool  // closing: what still arrives is read and dropped

	mu       sync.Mutex // guards all below; taken before Budget.mu
	wake     sync.Cond  // for the writing goroutine: pending, flush or err changed
	pending  []byte     // frames not yet given to the writing goroutine
	spare    []byte     // the writer's previous buffer, empty
	inflight int        // bytes the writing goroutine has yet to write
	batchCap int        // capacity of the buffer it writes from
	room     chan struct{}
	outSeq   uint32
	queries  map[int64]chan<- reply
	timer    *time.Timer
	pinged   int64 // lastHeard at the time of the last ping
	started  bool
	flush    error // reason to close once everything is written
	flushBy  int64 // clock at which to close anyway
	err      error // reason of the end; nil while open
	refusal  error // what calls get once flush or err is set

	done      chan struct{} // closed when err is set
	writeDone chan struct{}
	readDone  chan struct{}
}

// Client makes the dialer's opening exchange on nc. On error nc is closed.
// Until ctx ends or Config.Idle passes, whichever is first.
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

func newConn(nc net.Conn, h Handler, cfg Config) *Conn {
	c := &Conn{
		nc: nc, handler: h, cfg: cfg, born: time.Now(), in: newFrameReader(nc, cfg.MaxFrame),
		outSeq: 1, queries: map[int64]chan<- reply{}, done: make(chan struct{}),
		writeDone: make(chan struct{}), readDone: make(chan struct{}),
	}
	c.wake.L = &c.mu
	c.account = cfg.Budget.open(c.fail)
	c.in.seq = 1
	c.in.hold = func(n int) error { return c.account.set(holdRead, n) }
	c.in.alive = c.heard
	c.heard()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(c.nextTick(c.clock()), c.tick)
	go c.writeLoop()
	return c
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

// Start begins to read. From now on the handler is called; a Handler gets
// Closed only for a connection that was started.
func (c *Conn) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.started {
		c.started = true
		c.heard()
		go c.readLoop()
	}
}

// Send queues a one-way message. It never blocks and has no allocation of its
// own. The object is encoded before Send returns. [ErrTooLarge] concerns the
// message only; any other error means that the connection has ended.
func (c *Conn) Send(o tl.Object) error { return c.queue(outgoing{kind: idPacket, body: o}) }

// SendRaw is Send for a boxed object that is encoded already.
func (c *Conn) SendRaw(payload []byte) error {
	return c.queue(outgoing{kind: idPacket, raw: payload})
}

// Close ends the connection at once; what was queued may be lost. The error
// becomes the reason; nil stands for [ErrClosed]. It does not wait and may be
// called from a handler.
func (c *Conn) Close(err error) {
	if err == nil {
		err = ErrClosed
	}
	c.fail(err)
}

// CloseAfterFlush is Close once everything queued so far has been handed to
// the network, at the latest after five seconds. Nothing more can be sent and
// what arrives meanwhile is dropped.
func (c *Conn) CloseAfterFlush(err error) {
	if err == nil {
		err = ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.flush != nil {
		return
	}
	c.silent.Store(true)
	c.flush, c.flushBy = err, c.clock()+int64(flushLimit)
	c.refusal = refusal(err)
	c.timer.Reset(flushLimit)
	c.wake.Signal()
}

// Done is closed when the connection has ended for any reason. Handler.Closed
// may still be to come; see [Conn.Wait].
func (c *Conn) Done() <-chan struct{} { return c.done }

// Wait returns when nothing of the connection runs any more and
// Handler.Closed has returned. It does not end the connection, and must not
// be called from a handler.
func (c *Conn) Wait() {
	<-c.writeDone
	c.mu.Lock()
	started := c.started
	c.mu.Unlock()
	if started {
		<-c.readDone
	}
}

// Err is the reason why the connection ended, nil while it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Peer is Config.Peer.
func (c *Conn) Peer() any { return c.cfg.Peer }

// RemoteAddr is the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(err)
}

// failLocked ends the connection. Deadlines in the past free both goroutines
// without blocking; the writing one then closes the socket, which with TLS
// may take a moment.
func (c *Conn) failLocked(err error) {
	if c.err != nil {
		return
	}
	c.err, c.refusal = err, refusal(err)
	c.pending, c.spare = nil, nil
	c.timer.Stop()
	c.silent.Store(true)
	close(c.done)
	c.nc.SetDeadline(longAgo)
	c.wake.Signal()
}

func refusal(reason error) error {
	if errors.Is(reason, ErrClosed) {
		return fmt.Errorf("wire: %w", reason)
	}
	return fmt.Errorf("wire: %w: %w", ErrClosed, reason)
}
