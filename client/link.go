package client

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/ratls"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

const (
	// maxQueued lets a few of the largest requests wait to be written; big
	// ones go one after another, see send.
	maxQueued = 64 << 20
	bigQuery  = 256 << 10
)

// link is one connection to a proxy and what runs on it.
type link struct {
	c    *Client
	addr string
	conn *wire.Conn
	peer *ratls.Peer          // judged
	trip func() time.Duration // round trip to the proxy, 0 unknown

	// Set by the handshake, constant once authorised is set.
	authorised atomic.Bool
	root       *contract.Root // the snapshot that this connection was made under
	version    int32          // of the protocol
	key        ed25519.PublicKey
	proxy      *address.Address // its contract
	contract   *address.Address // ours with it
	account    *account
	canCancel  bool
	market     bool // it knows wishes and tells of its market
	facts      bool // and what requests take and workers can do
	upSince    time.Time

	table   table     // models it serves
	quality quality   // how it has done
	pay     chan bool // a payment waits to be verified

	outstanding atomic.Int64
	big         chan struct{} // full while a big query is queued

	mu       sync.Mutex // guards below
	calls    map[tl.Int256]*call
	left     map[tl.Int256]*call // nobody waits for them any more, but they cost
	idle     chan struct{}       // if not nil, closed when calls becomes empty
	closed   bool
	unwanted error // why the proxy is not trusted any more, nil if it is
}

func newLink(c *Client, addr string, conn *wire.Conn) *link {
	peer, _ := conn.Peer().(*ratls.Peer)
	if peer == nil {
		peer = &ratls.Peer{}
	}
	return &link{c: c, addr: addr, conn: conn, peer: peer, trip: conn.RTT, calls: map[tl.Int256]*call{}, left: map[tl.Int256]*call{}, pay: make(chan bool, 1),
		big: make(chan struct{}, 1), table: table{asking: make(chan struct{}, 1)}}
}

// level is what the proxy's verdict rests on, in words.
func (l *link) level() string {
	if l.peer.Verdict == nil {
		return "not judged"
	}
	return l.peer.Judged().Level.String()
}

func (l *link) distrusted() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unwanted
}

// levelName is the same, as settings name it.
func (l *link) levelName() string { return levelName(l.peer.Judged()) }

func (l *link) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// handler receives what proxies send; the connection's Data says which.
type handler struct{}

// Packet sorts by kind. What we do not know a newer proxy may send; what we
// know and cannot read means that the proxy is broken, and every further
// message would be a guess.
func (handler) Packet(conn *wire.Conn, data []byte) {
	l := conn.Data.(*link)
	object, err := tl.Decode(data)
	if errors.Is(err, tl.ErrUnknown) {
		return
	}
	if err != nil {
		conn.Close(fmt.Errorf("proxy sent a malformed message: %w", err))
		return
	}
	switch m := object.(type) {
	case *tl.ProxyClientRequestPayment:
		if l.authorised.Load() { // before that nothing can be owed
			l.account.counted(m.DbTokens, m.MaxTokens)
			l.owed(m.SignedPayment)
		}
	case *tl.ProxySignedPayment:
		if l.authorised.Load() {
			l.owed(m)
		}
	case *tl.CocoonQueuePosition:
		if k := l.lookup(m.RequestID); k != nil {
			k.position.Store(m.Position)
		}
	default:
		if part, ok := readPart(object); ok {
			l.receive(part)
		}
	}
}

// Query refuses: no proxy has anything to ask a client.
func (handler) Query(_ *wire.Conn, q *wire.Query) { q.Fail(0, "Lost promise") }

// Closed fails what was running; callers who have seen nothing yet get
// another proxy.
func (handler) Closed(conn *wire.Conn, _ error) {
	l := conn.Data.(*link)
	l.mu.Lock()
	calls, left := l.calls, l.left
	l.calls, l.left, l.closed = nil, nil, true
	l.mu.Unlock()
	l.c.lost(l)
	for _, k := range calls {
		l.ended(k)
		k.spend.Lost()
		k.fail(connectionLost())
	}
	for _, k := range left {
		k.spend.Lost()
	}
}

// begin sends a query and returns the call that collects its answer. It ends
// at the latest when left has passed.
func (l *link) begin(ctx context.Context, rq *request, left time.Duration) (*call, *failure) {
	k := newCall(l, rq.options.Stream)
	rand.Read(k.id[:])
	if f := k.reserve(rq); f != nil {
		return nil, f
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		k.spend.End(0)
		return nil, connectionLost()
	}
	l.calls[k.id] = k
	l.outstanding.Add(1)
	k.timer = time.AfterFunc(left, k.expire) // may strike at once; it then waits for mu
	l.mu.Unlock()
	if err := l.send(ctx, rq.message(l, k.id, left), len(rq.query), left); err != nil {
		if l.take(k) || l.returned(k.id) != nil {
			k.spend.End(0) // it was never on its way
		}
		k.discard()
		return nil, sendFailure(err)
	}
	return k, nil
}

// send queues a query. Big ones queue one behind another, so that together
// they cannot outgrow the connection's limit.
func (l *link) send(ctx context.Context, query tl.Object, size int, left time.Duration) error {
	if size > bigQuery {
		ctx, cancel := context.WithTimeout(ctx, left)
		defer cancel()
		select {
		case l.big <- struct{}{}:
			defer func() { <-l.big }()
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := l.conn.Room(ctx); err != nil {
			return err
		}
	}
	return l.conn.Send(query)
}

func sendFailure(err error) *failure {
	switch {
	case errors.Is(err, wire.ErrTooLarge):
		return &failure{as: openai.TooLarge(1<<24-frameReserve, -1)}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{as: openai.Timeout("the proxy did not take the request in time")}
	}
	return connectionLost()
}

func (l *link) lookup(id tl.Int256) *call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[id]
}

// take removes a call and reports whether it was still running: exactly one
// of answer, timeout, caller and loss ends a call.
func (l *link) take(k *call) bool {
	l.mu.Lock()
	running := l.calls[k.id] == k
	if running {
		delete(l.calls, k.id)
		if len(l.calls) == 0 && l.idle != nil {
			close(l.idle)
			l.idle = nil
		}
	}
	l.mu.Unlock()
	if running {
		l.ended(k)
	}
	return running
}

func (l *link) ended(k *call) {
	if k.timer != nil {
		k.timer.Stop()
	}
	l.outstanding.Add(-1)
}

// cancel tells the proxy that nobody waits any more. A proxy of the reference
// has no ear for it; its answer will find no call and be dropped.
func (l *link) cancel(k *call) {
	if l.canCancel {
		l.conn.Send(&tl.CocoonCancelQuery{RequestID: k.id}) // fails only with the connection
	}
}

// receive hands a part to its call. One for a call that has ended, or never
// was, is dropped: it may have been on its way when we gave up.
func (l *link) receive(p part) {
	k := l.lookup(p.id)
	if k == nil || p.end && !l.take(k) {
		l.c.counts.late.Inc()
		if p.end {
			if k := l.returned(p.id); k != nil {
				k.settleLate(&p)
			}
		}
		return
	}
	f := k.deliver(p)
	switch {
	case f == nil:
	case p.end:
		k.fail(f)
	case l.leave(k):
		l.cancel(k)
		k.fail(f)
	}
}

// drained waits until nothing runs here, at most limit.
func (l *link) drained(limit time.Duration) {
	l.mu.Lock()
	if l.closed || len(l.calls) == 0 {
		l.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	l.idle = idle
	l.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-idle:
	case <-l.conn.Done():
	case <-timer.C:
	}
}

const (
	statusEvery = 15 * time.Second
	tableEvery  = 5 * time.Second
	// verifyEvery bounds the work that a stream of payments can cause.
	verifyEvery = time.Second
)

// maintain keeps a ready connection's model table and payments fresh until
// the connection ends.
func (l *link) maintain(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the connection, which ends with ctx
		<-l.conn.Done()
		cancel()
	}()
	tables, status := time.NewTicker(tableEvery), time.NewTicker(statusEvery)
	defer tables.Stop()
	defer status.Stop()
	l.refresh(ctx, 0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tables.C:
			l.giveUp()
			l.refresh(ctx, 0)
		case <-status.C:
			l.pollPayment(ctx)
		case <-l.pay:
			l.verifyPending()
			sleep(ctx, verifyEvery)
		}
	}
}
