package wire

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/tl"
)

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
	asking    atomic.Int64 // clock at the last ping, which is its id; 0 once it is answered
	trip      atomic.Int64 // smoothed round trip in nanoseconds; 0 unknown

	mu       sync.Mutex // guards all below; taken before Budget.mu
	wake     sync.Cond  // for the writing goroutine: pending, flush or err changed
	pending  []byte     // frames not yet given to the writing goroutine
	spare    []byte     // the writer's previous buffer, empty
	resting  bool       // all that is pending may wait for company, until:
	restOver *time.Timer
	inflight int // bytes the writing goroutine has yet to write
	batchCap int // capacity of the buffer it writes from
	room     chan struct{}
	outSeq   uint32
	queries  map[int64]chan<- reply
	timer    *time.Timer
	pinged   int64  // lastHeard at the time of the last ping
	lastSeq  uint32 // outSeq when the timer last looked
	started  bool
	flush    error // reason of an end that is near: see endSoon
	flushBy  int64 // clock at which it comes anyway
	err      error // reason of the end; nil while open
	refusal  error // what calls get once flush or err is set

	done      chan struct{} // closed when err is set
	writeDone chan struct{}
	readDone  chan struct{}
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

// SendSoon is Send for what nobody waits for: it leaves with the next message,
// or alone after five milliseconds, and so seldom costs either side a wake-up.
func (c *Conn) SendSoon(o tl.Object) error {
	return c.queue(outgoing{kind: idPacket, body: o, soon: true})
}

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
	c.endSoon(err, flushLimit)
	c.silent.Store(true)
}

// endSoon refuses further messages and ends the connection when all is
// written, or after the limit.
func (c *Conn) endSoon(err error, limit time.Duration) {
	if c.err != nil || c.flush != nil {
		return
	}
	c.flush, c.flushBy, c.resting = err, c.clock()+int64(limit), false
	c.refusal = refusal(err)
	c.timer.Reset(limit)
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
	if c.restOver != nil {
		c.restOver.Stop()
	}
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
