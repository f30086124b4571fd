package proxy

import (
	"errors"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

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
	if r.promote() {
		return
	}
	if r.spent() {
		r.fail(why, l)
		return
	}
	r.p.stats.retried.Inc()
	r.dispatch(l)
}

// calledWrong takes a worker's word that the request is wrong to a worker of another owner, once,
// best one that has served: who says so of everything would otherwise be the end of all that comes to it.
func (r *request) calledWrong(why *refusal, l *later) {
	first := r.attempt
	if r.doubted != nil || r.spent() {
		r.finish(why, tl.TokensUsed{}, market.Neutral, l)
		return
	}
	r.doubted, r.wrong = &first, why
	if want := r.want(); r.second == nil {
		want.Exclude = r.asked()
		if r.p.market.Quote(want).Verdict != market.Chosen {
			r.finish(why, tl.TokensUsed{}, market.Neutral, l)
			return
		}
	}
	r.workerFailed(why, market.Neutral, l)
}

// vindicate holds it against a worker that called the request wrong, when another serves it.
func (r *request) vindicate() {
	if a := r.doubted; a != nil {
		r.doubted, r.wrong = nil, nil
		r.p.market.Contradict(a.offer, r.p.now().Sub(a.sentAt))
	}
}

// workerGone is the loss of the worker's connection.
func (r *request) workerGone(w *worker) {
	r.event(func(l *later) {
		switch {
		case r.worker == w:
			r.workerFailed(workerLost(), market.Failed, l)
		case r.isSecond(w):
			r.dropSecond(market.Failed, l)
		}
	})
}

// workerBroke is a message that cannot be read, or comes out of order.
func (r *request) workerBroke(w *worker) {
	r.event(func(l *later) {
		switch {
		case r.worker == w:
			r.broken(l)
		case r.isSecond(w):
			r.dropSecond(market.Failed, l)
		}
	})
}

func (r *request) broken(l *later) {
	r.worker.cancel(r.workerID)
	r.workerFailed(badAnswer(), market.Failed, l)
}

// stalled is how long nothing may have come of an answer that runs out of time. One that
// still went on is merely long, and that is nobody's fault.
const stalled = 5 * time.Second

// fail ends the request with an error of ours. What the worker had reported by then is booked.
func (r *request) fail(why *refusal, l *later) {
	how := market.Neutral
	switch {
	case why.code != wire.CodeTimeout || r.muted:
	case r.state == sent:
		how = market.Late
	case r.state == answering && r.p.now().Sub(r.lastAt) > stalled:
		how = market.Failed
	}
	if r.worker != nil {
		r.worker.cancel(r.workerID)
	}
	r.finish(why, r.progress, how, l)
}

// finish books what was used, ends the answer with an error, and closes.
func (r *request) finish(why *refusal, used tl.TokensUsed, how market.Outcome, l *later) {
	begun := r.state == answering
	if r.wrong != nil && !begun && !r.muted { // nobody has shown that it is not
		why = r.wrong
	}
	r.stopAwaiting()
	r.dropSecond(market.Neutral, l)
	if !begun {
		used = tl.TokensUsed{}
	}
	r.settle(used, l, func(booked int64, err error, l *later) {
		if err != nil {
			why = unbooked()
		}
		r.sendError(why, begun, &tl.ProxyQueryFinalInfo{TokensUsed: charged(used, booked)})
		r.close(false, booked, how, l)
	})
}

// settle books and goes on with then, under the lock, once the booking is
// durable: nobody is told of anything that a crash could undo. A booking waits for a disk, and whoever brought
// the last message reads for many requests, so it waits elsewhere; meanwhile
// every other event passes this request by. An error means that nothing can be vouched for.
func (r *request) settle(report tl.TokensUsed, l *later, then func(booked int64, err error, l *later)) {
	r.used = report
	used := int64(0)
	if r.worker != nil {
		used = r.believed(report.TotalTokensUsed)
	}
	if used <= 0 {
		if err := r.p.book.Release(r.hold); err != nil {
			r.p.log.Error("ledger", "client", r.client.text, "error", err)
		}
		then(0, nil, l)
		return
	}
	r.state = settling
	r.timer.Reset(bookingLimit)
	hold, w := r.hold, r.worker
	r.p.bookings.Go(func() {
		booked, err := r.book(hold, w, used)
		var l later
		r.mu.Lock()
		then(booked, err, &l)
		r.mu.Unlock()
		l.do(r.p)
	})
}

// book is called without the request's lock.
func (r *request) book(hold *ledger.Hold, w *worker, used int64) (booked int64, err error) {
	booked, err = r.p.book.Settle(hold, w.account, used)
	if errors.Is(err, ledger.ErrAccount) && w.reopen() == nil {
		booked, err = r.p.book.Settle(hold, w.account, used)
	}
	if err != nil {
		r.p.log.Error("ledger", "client", r.client.text, "worker", w.text, "error", err)
		r.p.book.Release(hold)
		if errors.Is(err, ledger.ErrSpent) || errors.Is(err, ledger.ErrAccount) { // the contract was changed under it: the old accounts are gone
			err = nil
		}
		return 0, err
	}
	r.p.stats.booked.Add(booked)
	if booked < used {
		r.p.log.Warn("worker reports more than the client can pay", "worker", w.text, "client", r.client.text, "reported", used, "booked", booked)
	}
	return booked, nil
}

// close gives everything back and sends the payments. The request has ended.
func (r *request) close(success bool, booked int64, how market.Outcome, l *later) {
	r.state = ended
	r.timer.Stop()
	if r.patience != nil {
		r.patience.Stop()
	}
	if r.hedge != nil {
		r.hedge.Stop()
	}
	r.forgetQuery()
	r.client.requests.remove(r.id)
	r.p.limits.End(r.client.account, booked)
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
	r.letGoQuery()
	r.query = nil
	clear(r.private[:])
}

// owed is the state of the worker's account. The ledger may have dropped one
// that was never used, to make room.
func (w *worker) owed() (ledger.Status, error) {
	s, err := w.p.book.WorkerStatus(w.account)
	if errors.Is(err, ledger.ErrAccount) && w.reopen() == nil {
		s, err = w.p.book.WorkerStatus(w.account)
	}
	return s, err
}

func (w *worker) reopen() error {
	_, err := w.p.book.OpenWorker(w.account)
	return err
}

// pay tells the worker what the request brought.
func (w *worker) pay(r *request, id tl.Int256, booked int64) {
	w.telling.Lock()
	defer w.telling.Unlock()
	s, err := w.owed()
	if err != nil {
		w.p.log.Error("payment", "worker", w.text, "error", err)
		return
	}
	w.conn.SendSoon(&tl.ProxyWorkerRequestPayment{RequestID: id, SignedPayment: signed(s.Payment), DbTokens: s.DB, MaxTokens: s.Max,
		RequestTokens: booked, RequestClientOwner: r.client.text})
}

// payClient tells the client what the request cost.
func (r *request) payClient(booked int64) {
	r.client.telling.Lock()
	defer r.client.telling.Unlock()
	s, err := r.p.book.ClientStatus(r.client.account)
	if err != nil {
		r.p.log.Error("payment", "client", r.client.text, "error", err)
		return
	}
	if r.gone {
		return
	}
	r.client.conn.SendSoon(&tl.ProxyClientRequestPayment{RequestID: r.id, SignedPayment: signed(s.Payment), DbTokens: s.DB, MaxTokens: s.Max, RequestTokens: booked})
}

// send passes a message to the client, if it is there. The connection's own end tells of any failure but one.
func (r *request) send(o tl.Object) (doesNotFit bool) {
	return !r.gone && errors.Is(r.client.conn.Send(o), wire.ErrTooLarge)
}
