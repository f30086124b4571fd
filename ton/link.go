package ton

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/liteclient"
	"github.com/xssnick/tonutils-go/tl"
	tonapi "github.com/xssnick/tonutils-go/ton"
	"golang.org/x/time/rate"
)

const (
	// A lost server is tried again after backoffMin, then twice as long each
	// time, up to backoffMax; each wait is shortened at random by up to half,
	// so that clients of a server that restarts do not all come at once.
	backoffMin = 100 * time.Millisecond
	backoffMax = 30 * time.Second
)

func backoff(failures int) time.Duration {
	d := backoffOf(failures)
	return d - rand.N(d/2+1)
}

func backoffOf(failures int) time.Duration {
	if failures >= 10 {
		return backoffMax
	}
	return min(backoffMin<<max(0, failures-1), backoffMax)
}

// link is the connection to one liteserver, made anew whenever it is lost.
type link struct {
	Server
	cfg   *Config
	limit *rate.Limiter
	moved func() // told whenever the state has changed

	mu sync.Mutex // guards the rest
	// line is nil while there is no connection. err is then why, nil while the
	// first attempt since the start or since the loss is under way.
	line     *line
	err      error
	lines    int       // connections so far: tells one from the next
	failures int       // since the last answer
	rest     time.Time // not to be asked before, if there is another
	dropped  error     // set for good when the server has lied
	answered time.Time // last answer of any kind
}

// line is one connection; gone ends with it.
type line struct {
	pool *liteclient.ConnectionPool
	gone context.Context
	end  context.CancelFunc
}

// keep holds the connection until ctx ends or the server is dropped.
func (l *link) keep(ctx context.Context) {
	defer l.close()
	for attempt := 1; ctx.Err() == nil && !l.out(); attempt++ {
		line, err := l.connect(ctx)
		if err != nil {
			l.unreachable(err)
			pause(ctx, backoff(attempt))
			continue
		}
		since := time.Now()
		l.connected(line)
		select {
		case <-line.gone.Done():
		case <-ctx.Done():
		}
		line.pool.Stop()
		if l.lost(since) {
			attempt = 0
			continue
		}
		l.unreachable(errNoUse)
		pause(ctx, backoff(attempt))
	}
}

func (l *link) connect(ctx context.Context) (*line, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	gone, end := context.WithCancel(context.Background())
	pool := liteclient.NewConnectionPool()
	// The library's own way to connect again never ends, even when the pool is stopped.
	pool.SetOnDisconnect(func(string, string) { end() })
	if err := pool.AddConnection(ctx, l.Addr.String(), base64.StdEncoding.EncodeToString(l.Key[:])); err != nil {
		pool.Stop()
		end()
		return nil, err
	}
	return &line{pool: pool, gone: gone, end: end}, nil
}

func (l *link) connected(line *line) {
	l.mu.Lock()
	if l.err != nil {
		l.cfg.Log.Info("ton: liteserver is back", "server", l.Server)
	}
	l.line, l.err = line, nil
	l.lines++
	l.mu.Unlock()
	l.moved()
}

func (l *link) unreachable(err error) {
	l.mu.Lock()
	if l.err == nil {
		l.cfg.Log.Warn("ton: liteserver cannot be reached", "server", l.Server, "err", err)
	}
	l.err = err
	l.mu.Unlock()
	l.moved()
}

// lost notes the end of a connection, and says whether it had been of use.
func (l *link) lost(since time.Time) bool {
	l.mu.Lock()
	l.line = nil
	used := l.answered.After(since)
	l.mu.Unlock()
	l.moved()
	return used
}

func (l *link) close() {
	l.mu.Lock()
	if l.line != nil {
		l.line.pool.Stop()
		l.line.end()
	}
	l.line = nil
	l.mu.Unlock()
	l.moved()
}

func (l *link) out() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped != nil
}

// drop ends the use of a server that has lied.
func (l *link) drop(err error) {
	l.mu.Lock()
	if l.dropped == nil {
		l.dropped = err
		l.cfg.Log.Error("ton: liteserver is dropped for good: its answer does not follow from the block it names", "server", l.Server, "err", err)
	}
	line := l.line
	l.mu.Unlock()
	if line != nil {
		line.end()
	}
}

// failed notes that a query had no answer, or none of use. A line that has
// been silent since the query began is given up: it may lead nowhere, and
// TCP would take minutes to say so.
func (l *link) failed(line *line, since time.Time, silent bool) {
	l.mu.Lock()
	l.failures++
	l.rest = time.Now().Add(backoff(l.failures))
	dead := silent && l.line == line && l.answered.Before(since)
	l.mu.Unlock()
	if dead {
		l.cfg.Log.Warn("ton: liteserver does not answer", "server", l.Server)
		line.end()
	}
}

func (l *link) well() {
	l.mu.Lock()
	l.failures, l.rest = 0, time.Time{}
	l.mu.Unlock()
}

var (
	errSilent = errors.New("no answer in time")
	errLimit  = errors.New("no room within our own limit")
	errNoUse  = errors.New("its connection ended without a single answer")
)

// query asks the server one thing. The answer is of the type given, or the
// server's refusal as an error.
func query[T any](ctx context.Context, l *link, line *line, request tl.Serializable) (answer T, err error) {
	if err := l.limit.Wait(ctx); err != nil {
		return answer, fmt.Errorf("%w of %v queries a second: %w", errLimit, l.limit.Limit(), err)
	}
	// A connection that ends does not end its queries, in the library.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(line.gone, func() { cancel(liteclient.ErrNoActiveConnections) })()
	var reply tl.Serializable
	if err := line.pool.QueryLiteserver(ctx, request, &reply); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return answer, err
	}
	l.mu.Lock()
	l.answered = time.Now()
	l.mu.Unlock()
	switch reply := reply.(type) {
	case T:
		return reply, nil
	case tonapi.LSError:
		return answer, reply
	}
	return answer, fmt.Errorf("answer of type %T, want %T", reply, answer)
}

// after is a request that the server answers when it has a masterchain block.
func after(seqno uint32, wait time.Duration, request tl.Serializable) (tl.Serializable, error) {
	first, err := tl.Serialize(tonapi.WaitMasterchainSeqno{Seqno: int32(seqno), Timeout: int32(wait.Milliseconds())}, true)
	if err != nil {
		return nil, err
	}
	then, err := tl.Serialize(request, true)
	return tl.Raw(append(first, then...)), err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
