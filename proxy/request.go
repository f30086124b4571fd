package proxy

import (
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

const (
	maxAttempts = 3         // workers that one request is given to at most
	maxTimeout  = time.Hour // of a request
	// workerShare of the remaining time goes to the worker, so that its verdict comes before ours.
	workerShare = 0.95
)

// request is one question of a client, from admission to its last message.
//
//	waiting ─▶ sent ─▶ answering ─▶ ended
//	   ▲        │ worker failed, time left
//	   └────────┘
//
// Every event takes mu, acts and, having released it, does what touches other
// requests (type later). Under mu the locks of tables, market, ledger and connections
// are taken, one at a time; none of them ever takes mu.
type request struct {
	p        *Proxy
	client   *client
	id       tl.Int256 // the client's
	model    string
	ceiling  uint32
	debug    bool
	started  time.Time
	deadline time.Time

	mu       sync.Mutex // guards all below
	state    state
	query    []byte // until the first answer
	hold     *ledger.Hold
	timer    *time.Timer // the whole
	patience *time.Timer // the queue
	waiter   *market.Waiter
	verdict  market.Decision // why it waits
	position int             // the client was told

	worker   *worker
	workerID tl.Int256
	offer    *market.Offer
	sentAt   time.Time
	tried    []*market.Offer
	failure  *refusal // of the last worker
	given    bool     // to any worker: then payments follow

	firstAt  time.Time
	status   int32
	framing  openai.Framing
	tail     [2]byte // last bytes of the body
	progress tl.TokensUsed
	used     tl.TokensUsed // as reported, once it has ended
	busy     time.Duration // the worker's own time
	bytesIn  int
	bytesOut int

	gone  bool // the client has left: nothing can be sent
	muted bool // the client has cancelled: only the end is sent
}

type state int

const (
	waiting state = iota
	sent
	answering
	ended
)

// later is what an event leaves to be done without its request's lock.
type later struct {
	grants  []market.Grant
	dropped *market.Waiter
	match   string // model whose queue has grown
}

func (l *later) do(p *Proxy) {
	if l.dropped != nil {
		l.dropped.Ref.(*request).abort(queueFull())
	}
	if l.match != "" {
		l.grants = append(l.grants, p.market.Match(l.match)...)
	}
	p.serve(l.grants)
}

// serve gives those who waited their workers.
func (p *Proxy) serve(grants []market.Grant) {
	for _, g := range grants {
		g.Waiter.Ref.(*request).granted(g)
	}
}

// event runs f under the lock, unless the request has ended.
func (r *request) event(f func(l *later)) {
	var l later
	r.mu.Lock()
	if r.state != ended {
		f(&l)
	}
	r.mu.Unlock()
	l.do(r.p)
}

// run takes a question of a client that is ready.
func (c *client) run(q *tl.ClientRunQueryEx) {
	r := &request{p: c.p, client: c, id: q.RequestID, model: q.ModelName, ceiling: uint32(q.MaxCoefficient),
		debug: q.Flags&1 != 0 && q.EnableDebug, started: c.p.now(), query: q.Query, bytesIn: len(q.Query)}
	if !c.requests.add(r.id, r) {
		c.p.log.Warn("client uses a request id twice, ignored", "client", c.text)
		return
	}
	r.event(func(l *later) {
		if why := r.admit(q); why != nil {
			r.p.stats.rejected.Inc()
			r.state = ended
			c.requests.remove(r.id)
			r.refuse(why)
			return
		}
		r.timer = time.AfterFunc(time.Until(r.deadline), r.expire)
		r.dispatch(l)
	})
}

// admit checks and reserves, in the order of wire.md section 4.4. What it has
// taken when it returns nil is given back by close.
func (r *request) admit(q *tl.ClientRunQueryEx) *refusal {
	p := r.p
	account, err := p.book.OpenClient(r.client.account)
	switch {
	case err != nil:
		return &refusal{wire.CodeNotReady, openai.Unavailable(openai.CodeInternal, retrySoon, "no room for another account now")}
	case q.MaxTokens < 0:
		return badRequest("max_tokens is %d, want 0 or more", q.MaxTokens)
	case account.Available() < int64(q.MaxTokens):
		return unpaid("client balance is too low: %d tokens available, max_tokens is %d", account.Available(), q.MaxTokens)
	case uint32(q.MinConfigVersion) > p.terms.Load().Version:
		return &refusal{wire.CodeError, openai.Unavailable(openai.CodeNoProxy, retrySoon, "active config version is too low: the proxy has %d, the client wants %d", p.terms.Load().Version, uint32(q.MinConfigVersion))}
	case account.State != ledger.Open:
		return &refusal{wire.CodeNotReady, openai.PaymentRequired("client is closing")}
	case q.Flags&2 != 0 && q.PublicKey != tl.Int256{}:
		return &refusal{wire.CodeError, openai.BadRequest("receiver_public_key", openai.CodeInvalidValue, "unknown public key")}
	case !(q.Timeout > 0):
		return badRequest("timeout is %v, want more than 0 seconds", q.Timeout)
	case r.client.requests.len() > p.cfg.MaxPerClient:
		return &refusal{wire.CodeNotReady, openai.TooManyRequests(retrySoon, "%d requests run on this connection; wait for some", p.cfg.MaxPerClient)}
	}
	if err := checkRequest(q.Query); err != nil {
		return badRequest("proxy: not an HTTP request: %v", err)
	}
	r.deadline = time.Now().Add(time.Duration(min(q.Timeout, maxTimeout.Seconds()) * float64(time.Second)))
	return r.take(q)
}

// take takes everything that a running request occupies, or nothing.
func (r *request) take(q *tl.ClientRunQueryEx) *refusal {
	p := r.p
	need, err := ledger.Need(int64(q.MaxTokens), len(q.Query), int64(r.ceiling))
	if err != nil {
		return badRequest("%v", err)
	}
	if why, ok := p.begin(); !ok {
		return stopping(why)
	}
	if p.held.Add(int64(len(r.query))) > p.cfg.MaxHeld {
		p.held.Add(-int64(len(r.query)))
		p.end()
		return queueFull()
	}
	if r.hold, err = p.book.Reserve(r.client.account, need); err != nil {
		p.held.Add(-int64(len(r.query)))
		p.end()
		return unpaid("%v", err)
	}
	return nil
}

// dispatch gives the request to the best worker there is, or lets it wait, or fails it.
func (r *request) dispatch(l *later) {
	for {
		offer, d := r.p.market.Pick(r.want())
		if offer == nil {
			r.noOffer(d, l)
			return
		}
		if r.give(offer, l) || r.state == ended {
			return
		}
	}
}

func (r *request) want() market.Want {
	return market.Want{Model: r.model, MaxCoefficient: r.ceiling, Exclude: r.tried, Client: r.client.account}
}

// give hands the request to one worker. False means that it could not be sent
// there and another may be tried.
func (r *request) give(offer *market.Offer, l *later) bool {
	w := offer.Ref.(*worker)
	rand.Read(r.workerID[:])
	r.state, r.worker, r.offer, r.sentAt = sent, w, offer, r.p.now()
	if !w.requests.add(r.workerID, r) {
		r.leave(market.Neutral, l) // it is just closing
		return false
	}
	s, err := r.p.book.WorkerStatus(w.account)
	if err == nil {
		err = w.conn.Send(w.runQuery(r, s.Payment))
	}
	if err == nil {
		r.given = true
		return true
	}
	w.release(r.workerID)
	r.leave(market.Neutral, l)
	if errors.Is(err, wire.ErrTooLarge) {
		r.fail(tooLarge(len(r.query)), l)
	} else {
		r.p.log.Debug("request not sent to worker", "worker", w.text, "error", err)
	}
	return false
}

// leave gives the worker's place back.
func (r *request) leave(how market.Outcome, l *later) {
	now := r.p.now()
	first := now.Sub(r.sentAt)
	if !r.firstAt.IsZero() {
		first = r.firstAt.Sub(r.sentAt)
	}
	l.grants = append(l.grants, r.p.market.Done(r.offer, how, first, now.Sub(r.sentAt))...)
	r.tried = append(r.tried, r.offer)
	r.offer, r.worker = nil, nil
}

// runQuery is the request as this worker's version has it.
func (w *worker) runQuery(r *request, payment []byte) tl.Object {
	w.mu.Lock()
	price := int64(w.price)
	w.mu.Unlock()
	timeout := time.Until(r.deadline).Seconds() * workerShare
	if w.version == 0 {
		return &tl.ProxyRunQuery{Query: r.query, SignedPayment: signed(payment), Coefficient: price, Timeout: timeout, RequestID: r.workerID}
	}
	q := &tl.ProxyRunQueryEx{Query: r.query, SignedPayment: signed(payment), Coefficient: price, Timeout: timeout, RequestID: r.workerID,
		Flags: 1, EnableDebug: r.debug}
	if w.version >= 3 {
		q.Flags |= 2 // with a key of zeros: not encrypted
	}
	return q
}

// noOffer fails the request or lets it wait, if waiting can help.
func (r *request) noOffer(d market.Decision, l *later) {
	canWait := d.Verdict == market.Busy || d.Verdict == market.NoWorker && r.failure == nil
	switch {
	case !canWait && r.failure != nil:
		r.fail(r.failure, l)
	case !canWait || r.muted:
		r.fail(noOffer(d), l)
	default:
		r.enqueue(d, l)
	}
}

func (r *request) enqueue(d market.Decision, l *later) {
	w := &market.Waiter{Want: r.want(), Ref: r}
	dropped, err := r.p.market.Enqueue(w)
	if err != nil {
		r.fail(queueFull(), l)
		return
	}
	r.state, r.waiter, r.verdict, r.position = waiting, w, d, 0
	r.patience = time.AfterFunc(r.p.cfg.QueueWait, r.waitOver)
	r.tellPosition()
	l.dropped, l.match = dropped, r.model // something may have become free between the pick and now
}

// tellPosition tells a client that knows how where its request stands.
func (r *request) tellPosition() {
	if r.gone || r.client.features.Load()&featureQueue == 0 {
		return
	}
	n, wait := r.p.market.Place(r.waiter)
	if n == 0 || n == r.position {
		return
	}
	r.position = n
	r.client.conn.Send(&tl.CocoonQueuePosition{RequestID: r.id, Position: int32(n), WaitSeconds: wait.Seconds()})
}

// granted ends the wait.
func (r *request) granted(g market.Grant) {
	var l later
	r.mu.Lock()
	if r.state == waiting && r.waiter == g.Waiter {
		r.patience.Stop()
		if !r.give(g.Offer, &l) && r.state != ended {
			r.dispatch(&l)
		}
	} else { // ended meanwhile: the place goes to the next
		l.grants = r.p.market.Done(g.Offer, market.Neutral, 0, 0)
	}
	r.mu.Unlock()
	l.do(r.p)
}

// waitOver ends the patience of the queue.
func (r *request) waitOver() {
	r.event(func(l *later) {
		if r.state == waiting && r.p.market.Cancel(r.waiter) {
			r.fail(noOffer(r.verdict), l)
		}
	})
}

// expire ends the time of the whole request.
func (r *request) expire() {
	r.event(func(l *later) {
		r.stopWaiting()
		r.fail(timedOut(), l)
	})
}

// abort fails the request for a reason from outside.
func (r *request) abort(why *refusal) {
	r.event(func(l *later) {
		r.stopWaiting()
		r.fail(why, l)
	})
}

// stopWaiting leaves the queue. Should a grant be on its way at this moment,
// granted finds the request ended and passes the place on.
func (r *request) stopWaiting() {
	if r.state == waiting {
		r.p.market.Cancel(r.waiter)
	}
}

// cancel is the client's word that nobody wants the answer any more. The
// worker stops and reports what it has delivered, and that is booked.
func (r *request) cancel() { r.event(r.stopWork) }

// callerGone is cancel without anybody left to read the end.
func (r *request) callerGone() {
	r.event(func(l *later) {
		r.gone = true
		r.stopWork(l)
	})
}

func (r *request) stopWork(l *later) {
	r.muted = true
	if r.state == waiting {
		r.stopWaiting()
		r.fail(cancelled(), l)
		return
	}
	r.worker.cancel(r.workerID)
}

// cancel tells a worker that knows how to stop.
func (w *worker) cancel(id tl.Int256) {
	if w.features.Load()&featureCancel != 0 {
		w.conn.Send(&tl.CocoonCancelQuery{RequestID: id})
	}
}

// spent says whether there is no time for another attempt.
func (r *request) spent() bool {
	return len(r.tried) >= maxAttempts || r.muted || r.gone || time.Until(r.deadline) < 10*time.Millisecond
}

// workerFailed moves the request to another worker if no answer has begun,
// and fails it otherwise.
func (r *request) workerFailed(why *refusal, how market.Outcome, l *later) {
	if r.state == answering {
		r.finish(why, r.progress, how, l)
		return
	}
	w := r.worker
	w.release(r.workerID)
	w.pay(r, r.workerID, 0)
	r.leave(how, l)
	r.failure = why
	if r.spent() {
		r.fail(why, l)
		return
	}
	r.p.stats.retried.Inc()
	r.dispatch(l)
}

// workerGone is the loss of the worker's connection.
func (r *request) workerGone(w *worker) {
	r.event(func(l *later) {
		if r.worker == w {
			r.workerFailed(workerLost(), market.Failed, l)
		}
	})
}

// workerBroke is a message that cannot be read, or comes out of order.
func (r *request) workerBroke(w *worker) {
	r.event(func(l *later) {
		if r.worker == w {
			r.broken(l)
		}
	})
}

func (r *request) broken(l *later) {
	r.worker.cancel(r.workerID)
	r.workerFailed(badAnswer(), market.Failed, l)
}

// fail ends the request with an error of ours. What the worker had reported by then is booked.
func (r *request) fail(why *refusal, l *later) {
	how := market.Neutral
	if r.state == sent && why.code == wire.CodeTimeout {
		how = market.Late
	}
	if r.worker != nil {
		r.worker.cancel(r.workerID)
	}
	r.finish(why, r.progress, how, l)
}

// finish books what was used, ends the answer with an error, and closes.
func (r *request) finish(why *refusal, used tl.TokensUsed, how market.Outcome, l *later) {
	begun := r.state == answering
	if !begun {
		used = tl.TokensUsed{}
	}
	booked := r.settle(used)
	r.sendError(why, begun, &tl.ProxyQueryFinalInfo{TokensUsed: used})
	r.close(false, booked, how, l)
}

// settle books, before anybody is told.
func (r *request) settle(report tl.TokensUsed) (booked int64) {
	r.used = report
	used := report.TotalTokensUsed
	if r.worker == nil || used <= 0 {
		if err := r.p.book.Release(r.hold); err != nil {
			r.p.log.Error("ledger", "client", r.client.text, "error", err)
		}
		return 0
	}
	booked, err := r.p.book.Settle(r.hold, r.worker.account, used)
	if err != nil { // the contract was changed under it: the old accounts are gone
		r.p.log.Error("ledger", "client", r.client.text, "worker", r.worker.text, "error", err)
		r.p.book.Release(r.hold)
		return 0
	}
	r.p.stats.booked.Add(booked)
	if booked < used {
		r.p.log.Warn("worker reports more than the client can pay", "worker", r.worker.text, "client", r.client.text, "reported", used, "booked", booked)
	}
	return booked
}

// close gives everything back and sends the payments. The request has ended.
func (r *request) close(success bool, booked int64, how market.Outcome, l *later) {
	r.state = ended
	r.timer.Stop()
	if r.patience != nil {
		r.patience.Stop()
	}
	r.forgetQuery()
	r.client.requests.remove(r.id)
	if w := r.worker; w != nil {
		w.count(r, success)
		w.pay(r, r.workerID, booked)
		w.release(r.workerID)
		r.leave(how, l)
	}
	if r.given {
		r.payClient(booked)
	}
	r.p.stats.count(r, success)
	r.p.end()
}

func (r *request) forgetQuery() {
	r.p.held.Add(-int64(len(r.query)))
	r.query = nil
}

// pay tells the worker what the request brought.
func (w *worker) pay(r *request, id tl.Int256, booked int64) {
	s, err := w.p.book.WorkerStatus(w.account)
	if err != nil {
		w.p.log.Error("payment", "worker", w.text, "error", err)
		return
	}
	w.conn.Send(&tl.ProxyWorkerRequestPayment{RequestID: id, SignedPayment: signed(s.Payment), DbTokens: s.DB, MaxTokens: s.Max,
		RequestTokens: booked, RequestClientOwner: r.client.text})
}

// payClient tells the client what the request cost.
func (r *request) payClient(booked int64) {
	s, err := r.p.book.ClientStatus(r.client.account)
	if err != nil {
		r.p.log.Error("payment", "client", r.client.text, "error", err)
		return
	}
	r.send(&tl.ProxyClientRequestPayment{RequestID: r.id, SignedPayment: signed(s.Payment), DbTokens: s.DB, MaxTokens: s.Max, RequestTokens: booked})
}

// send passes a message to the client, if it is there. The connection's own end tells of any failure but one.
func (r *request) send(o tl.Object) (doesNotFit bool) {
	return !r.gone && errors.Is(r.client.conn.Send(o), wire.ErrTooLarge)
}
