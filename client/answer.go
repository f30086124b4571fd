package client

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// answer is an answer that has begun, on its way to the caller. It must be
// read to its end or closed. Not for concurrent use.
type answer struct {
	c       *Client
	rq      *request
	k       *call
	head    *tl.HTTPResponse
	framing openai.Framing
	sealed  *unsealer // nil unless the request was encrypted here
	debug   *debugger // nil unless wished
	resumer *resumer  // nil unless another worker may go on
	begun   time.Time
	pending *taken     // taken already and not yet returned by next
	cost    *coin.Nano // nil until the answer has ended, and if nobody knows
	tail    [2]byte
	over    bool
}

func newAnswer(c *Client, rq *request, k *call, t taken) *answer {
	a := &answer{c: c, rq: rq, k: k, head: t.head, begun: c.cfg.Now(), pending: &t}
	a.framing = openai.FramingOf(header(t.head, "Content-Type"))
	if rq.opener != nil {
		a.sealed = newUnsealer(c, rq.opener, a.framing)
		a.open(a.pending)
	}
	if rq.options.Debug {
		a.debug = newDebugger(a)
	}
	return a
}

func (a *answer) status() int { return int(a.head.StatusCode) }

// setHeader writes the answer's headers for the caller: all that came, but for
// those that belong to one connection, those that this gateway decides, and
// cookies, which no worker has any business to set here.
func (a *answer) setHeader(h http.Header) {
	for _, from := range a.head.Headers {
		name := http.CanonicalHeaderKey(from.Name)
		forged := (name == headerWorker || name == headerWhy) && !a.k.link.market // such a proxy passes on whatever a worker says
		if !keptBack[name] && !forged && openai.IsHeaderName(name) && openai.IsHeaderValue(from.Value) {
			h[name] = append(h[name], from.Value)
		}
	}
	h["X-Cocoon-Client-Start"] = []string{unixText(a.rq.start)}
	h["X-Cocoon-Client-End"] = []string{unixText(a.c.cfg.Now())}
	h[headerAttestation] = []string{a.k.link.levelName()}
	if a.sealed != nil {
		h[headerEncryption] = []string{EncryptionV1}
	}
	a.explain(h)
	a.setCost(h)
}

// headerCost tells what an answer costs, in nanoTON: a header of an answer that
// is all there, a trailer of one that comes in parts.
const headerCost = "X-Cocoon-Cost-Nanoton"

// trailers are the headers that stand behind an answer.
func (a *answer) trailers() []string {
	if a.resumer != nil {
		return []string{headerCost, headerResumed}
	}
	return []string{headerCost}
}

func (a *answer) setCost(h http.Header) {
	if a.cost == nil && a.pending != nil && a.resumer == nil {
		a.cost = a.pending.cost
	}
	if by := a.resumer.workers(); by != "" {
		h[headerResumed] = []string{by}
	}
	if a.cost != nil {
		h[headerCost] = []string{strconv.FormatInt(int64(*a.cost), 10)}
	}
}

var keptBack = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Proxy-Authenticate": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true, "Content-Length": true, "Date": true,
	"Set-Cookie": true, "X-Request-Id": true, headerCost: true, headerAttestation: true, headerIgnored: true, headerEncryption: true, headerResumed: true, tl.HeaderContinues: true,
	"Access-Control-Allow-Origin": true, "Access-Control-Allow-Credentials": true, "Access-Control-Allow-Headers": true,
	"Access-Control-Allow-Methods": true, "Access-Control-Expose-Headers": true, "Access-Control-Max-Age": true,
}

// unixText is Unix seconds with six decimals, as in the network's own headers.
func unixText(t time.Time) string {
	b := strconv.AppendInt(make([]byte, 0, 24), t.UnixMicro(), 10)
	if len(b) < 7 {
		return "0.000000" // only a test's clock stands at 1970
	}
	whole := len(b) - 6
	return string(b[:whole]) + "." + string(b[whole:])
}

// next waits for the next part of the body. The chunks may be empty; end means
// that nothing follows. The error is ctx's. A failure in mid-stream arrives as
// one last document in the body's own framing.
func (a *answer) next(ctx context.Context) (chunks [][]byte, end bool, err error) {
	t, err := a.receive(ctx)
	if err != nil {
		return nil, false, err
	}
	if a.resumer != nil && t.head != nil {
		a.resumer.follow(t)
	}
	chunks, end = t.chunks, t.end || t.failed != nil
	if a.debug != nil {
		chunks = a.debug.rewrite(chunks, t)
	}
	a.count(chunks)
	if t.failed != nil {
		chunks = append(chunks, a.errorEvent(t.failed.as))
	}
	if end {
		a.finish(t)
	}
	return chunks, end, nil
}

// receive waits for the next part, and first, where the stream has broken, for
// a worker that goes on.
func (a *answer) receive(ctx context.Context) (*taken, error) {
	if a.resumer != nil && a.resumer.lost != nil {
		return a.resumer.recover(ctx)
	}
	if t := a.pending; t != nil {
		a.pending = nil
		return t, nil
	}
	t, err := a.take(ctx)
	if err != nil {
		return nil, err
	}
	a.open(&t)
	return &t, nil
}

// take is the call's next. Where another worker could go on, one that stands
// still is as good as lost.
func (a *answer) take(ctx context.Context) (taken, error) {
	if a.resumer == nil || a.resumer.splicer.unfit != "" || len(a.resumer.broken) >= maxResumes {
		return a.k.next(ctx)
	}
	waiting, stop := context.WithTimeout(ctx, a.c.cfg.ResumeAfter)
	defer stop()
	t, err := a.k.next(waiting)
	if err != nil && ctx.Err() == nil {
		a.k.abandon()
		why := openai.BadGateway(openai.CodeConnectionLost, "nothing more of the answer came for %v", a.c.cfg.ResumeAfter)
		return taken{head: a.head, end: true, failed: &failure{as: why}}, nil
	}
	return t, err
}

// open decrypts what has come. A call whose answer cannot be opened ends: more
// of it is of no use.
func (a *answer) open(t *taken) {
	a.sealed.rewrite(t)
	if a.sealed != nil && a.sealed.failed != nil {
		a.k.abandon()
	}
}

func (a *answer) count(chunks [][]byte) {
	for _, chunk := range chunks {
		a.c.counts.bytesSent.Add(int64(len(chunk)))
		if n := len(chunk); n > 1 {
			a.tail = [2]byte(chunk[n-2:])
		} else if n == 1 {
			a.tail = [2]byte{a.tail[1], chunk[0]}
		}
	}
}

// errorEvent ends whatever line or event was cut off and adds the error.
func (a *answer) errorEvent(e *openai.Error) []byte {
	event := openai.ErrorEvent(a.framing, e)
	switch {
	case a.tail == [2]byte{}, a.tail == [2]byte{'\n', '\n'}, a.framing != openai.SSE && a.tail[1] == '\n':
		return event
	case a.framing == openai.SSE:
		return append([]byte("\n\n"), event...)
	}
	return append([]byte("\n"), event...)
}

func (a *answer) finish(t *taken) {
	a.over, a.cost = true, a.resumer.total(t.cost)
	a.resumer.release()
	a.c.active.Add(-1)
	took := a.c.cfg.Now().Sub(a.rq.start)
	a.c.counts.time.Add(took)
	outcome := a.head.StatusCode
	if t.failed != nil {
		outcome = int32(t.failed.as.StatusCode())
	}
	if outcome < 400 {
		a.c.counts.success.Inc()
	} else {
		a.c.counts.failed.Inc()
	}
	if t.final != nil {
		a.c.counts.addTokens(&t.final.TokensUsed)
		a.c.counts.addTimes(t.final)
	}
	a.c.cfg.Log.Debug("answered", "proxy", a.k.link.addr, "model", a.rq.options.Model, "status", outcome, "took", took)
}

// close ends an answer whose caller wants no more of it. After the end it does
// nothing.
func (a *answer) close() {
	if a.over {
		return
	}
	a.drop()
	a.c.active.Add(-1)
	a.c.counts.cancelled.Inc()
}

// drop lets an answer go that is not the request's last word.
func (a *answer) drop() {
	a.over = true
	a.k.abandon()
	a.sealed.release()
	a.resumer.release()
}
