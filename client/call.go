package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// holdLimit is how much of an answer that is no stream is collected before it
// is passed on. Up to here a failure can still become a proper error answer.
const holdLimit = 1 << 20

// call is one running query on one link: what has arrived of its answer and
// was not yet taken. The link's reading goroutine delivers, the caller takes.
type call struct {
	link     *link
	id       tl.Int256
	timer    *time.Timer
	position atomic.Int32 // last known place in the proxy's queue
	wake     chan struct{}

	// Of the money, on the goroutine that reads the link: see money.go.
	spend  *ledger.Spend
	price  price
	worth  coin.Nano // what it can cost by its own limits
	sawEnd bool
	usage  openai.Usage // the highest that passed

	mu     sync.Mutex // guards below
	stream bool       // pass on each part at once
	begun  bool       // the head was taken
	head   *tl.HTTPResponse
	chunks [][]byte
	held   int
	end    bool
	final  *tl.ClientQueryFinalInfo
	cost   *coin.Nano // once it is known
	failed *failure
	gone   bool // the caller has left: keep nothing
}

func newCall(l *link, stream bool) *call {
	return &call{link: l, stream: stream, wake: make(chan struct{}, 1)}
}

// deliver adds a part. A failure it returns ends the call.
func (k *call) deliver(p part) *failure {
	cost := k.settle(&p)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cost = cost
	if p.failure != nil {
		k.failLocked(p.failure)
		return nil
	}
	data := p.data
	switch {
	case p.first && k.head != nil:
		return badAnswer("the proxy began the answer twice")
	case !p.first && k.head == nil:
		return badAnswer("the proxy sent a part of an answer before its head")
	case p.first:
		head, f := readHead(p.data)
		if f != nil {
			return f
		}
		k.head, data = head, head.Payload
		k.stream = !refusal(head) && (k.stream || openai.FramingOf(header(head, "Content-Type")) != openai.Plain)
	}
	if f := k.hold(data); f != nil {
		return f
	}
	k.end, k.final = p.end, p.final
	if k.ready() {
		k.signal()
	}
	return nil
}

// refusal says whether an answer is a proxy's own no. Its words decide what is
// done next, so it is taken whole, also where a stream was asked for.
func refusal(head *tl.HTTPResponse) bool {
	return head.StatusCode >= 400 && header(head, headerError) != ""
}

// hold keeps a chunk for the caller, within the limits.
func (k *call) hold(data []byte) *failure {
	if len(data) == 0 || k.gone {
		return nil
	}
	if k.held+len(data) > k.link.c.cfg.MaxBuffered || !k.link.c.memory.take(int64(len(data))) {
		return &failure{as: slowReader(k.held)}
	}
	k.chunks = append(k.chunks, data)
	k.held += len(data)
	return nil
}

// paid is what the call has cost, nil if that is not known (yet).
func (k *call) paid() *coin.Nano {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cost
}

// atMost is what it has cost, and what it can have cost while that is not known.
func (k *call) atMost() coin.Nano {
	if cost := k.paid(); cost != nil {
		return *cost
	}
	return k.worth
}

// fail ends the call. What the caller has not taken is dropped.
func (k *call) fail(f *failure) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failLocked(f)
}

func (k *call) failLocked(f *failure) {
	if k.end || k.failed != nil {
		return
	}
	if f.as.Code == openai.CodeSlowReader {
		k.release()
	}
	k.failed = f
	k.signal()
}

func (k *call) release() {
	k.link.c.memory.give(int64(k.held))
	k.chunks, k.held = nil, 0
}

func (k *call) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// expire is our own timer; the proxy's comes 5 % earlier and says more.
func (k *call) expire() {
	if !k.link.leave(k) {
		return
	}
	k.link.cancel(k)
	k.fail(timedOut(k.position.Load()))
}

// abandon ends the call because its caller has left.
func (k *call) abandon() {
	if k.link.leave(k) {
		k.link.cancel(k)
	}
	k.discard()
}

func (k *call) discard() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone = true
	k.release()
}

// ready says whether there is something to take. The caller holds mu.
func (k *call) ready() bool {
	switch {
	case k.end || k.failed != nil:
		return true
	case k.head == nil:
		return false
	case k.stream:
		return k.held > 0 || !k.begun
	}
	return k.held >= min(holdLimit, k.link.c.cfg.MaxBuffered/2)
}

// taken is what next hands over.
type taken struct {
	head   *tl.HTTPResponse // the same every time
	chunks [][]byte
	end    bool // nothing follows
	final  *tl.ClientQueryFinalInfo
	cost   *coin.Nano
	failed *failure
}

// next waits until there is something to take. In a stream, the first time it
// may be the head alone.
func (k *call) next(ctx context.Context) (taken, error) {
	for {
		if t, ok := k.poll(); ok {
			return t, nil
		}
		select {
		case <-k.wake:
		case <-ctx.Done():
			return taken{}, ctx.Err()
		}
	}
}

func (k *call) poll() (t taken, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.ready() {
		return t, false
	}
	t = taken{k.head, k.chunks, k.end, k.final, k.cost, k.failed}
	k.release()
	// Whatever was passed on can no longer become another answer.
	k.begun, k.stream = k.head != nil, k.stream || k.head != nil
	return t, true
}
