package proxy

import (
	"time"

	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/tl"
)

// bookingLimit is how long a booking may take before its client is let go. It
// goes on: what it has cost is known when the store answers, or is opened again.
const bookingLimit = 30 * time.Second

// expire ends the time of the whole request, or of its booking.
func (r *request) expire() {
	if r.letGo() {
		return
	}
	r.event(func(l *later) {
		r.stopWaiting()
		r.fail(timedOut(), l)
	})
}

// letGo ends the answer of a request that is being booked, and says whether it is.
func (r *request) letGo() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != settling {
		return false
	}
	r.sendError(unbooked(), r.shown || r.muted, &tl.ProxyQueryFinalInfo{})
	r.gone = true
	return true
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
	again := r.muted
	r.muted = true
	r.stopAwaiting()
	r.dropSecond(market.Neutral, l)
	if r.state == waiting {
		r.stopWaiting()
		r.fail(cancelled(), l)
		return
	}
	if !again && r.worker.cancel(r.workerID) {
		r.timer.Reset(min(time.Until(r.deadline), cancelGrace))
	}
}

// cancelGrace is how long a worker that was told to stop may take to say what
// it has delivered. Without a limit it could keep the client's tokens reserved.
const cancelGrace = 10 * time.Second

// cancel tells a worker that knows how to stop.
func (w *worker) cancel(id tl.Int256) (told bool) {
	if told = w.features.Load()&featureCancel != 0; told {
		w.conn.Send(&tl.CocoonCancelQuery{RequestID: id})
	}
	return told
}
