package proxy

import (
	"time"

	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/tl"
)

// noOffer fails the request or lets it wait, if waiting can help.
func (r *request) noOffer(d market.Decision, l *later) {
	if d.Verdict == market.UnknownModel && r.p.market.Empty() {
		// No worker has come yet since the proxy started, so it cannot know. To
		// let the request wait would make the caller's word a known model.
		d.Verdict = market.NoWorker
		r.fail(r.unserved(d), l)
		return
	}
	// Workers that a caller shuts out himself, or that say they cannot do it, do not become others by waiting.
	canWait := d.Verdict == market.Busy || d.Verdict == market.NoWorker && r.failure == nil && !r.shutsOut(d) && r.lacking(d) == ""
	switch {
	case !canWait && r.failure != nil:
		r.fail(r.failure, l)
	case !canWait || r.muted:
		r.fail(r.unserved(d), l)
	default:
		r.enqueue(d, l)
	}
}

func (r *request) enqueue(d market.Decision, l *later) {
	w := &market.Waiter{Want: r.want(), Patience: r.p.cfg.QueueWait, Ref: r}
	dropped, err := r.p.market.Enqueue(w)
	if err != nil {
		r.fail(r.noPlace(err), l)
		return
	}
	r.state, r.waiter, r.verdict, r.position = waiting, w, &d, 0
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
		r.waiter = nil
		if !r.give(g.Offer, g.Decision, &l) && r.state != ended {
			r.dispatch(&l)
		}
	} else if r.state == sent && r.waiter == g.Waiter { // as a second one
		r.waiter = nil
		r.askSecond(g.Offer, g.Decision, &l)
	} else { // ended meanwhile: the place goes to the next
		l.grants = r.p.market.Done(g.Offer, market.Neutral, market.Took{})
	}
	r.mu.Unlock()
	l.do(r.p)
}

// displaced has lost its turn to somebody whose comes before.
func (r *request) displaced(w *market.Waiter) {
	r.event(func(l *later) {
		switch {
		case r.waiter != w:
		case r.state == waiting:
			r.fail(queueFull(), l)
		default:
			r.waiter = nil
			r.lateIn(hedgeAgain)
		}
	})
}

// waitOver ends the patience of the queue.
func (r *request) waitOver() {
	r.event(func(l *later) {
		if r.state == waiting && r.p.market.Cancel(r.waiter) {
			r.fail(r.unserved(*r.verdict), l)
		}
	})
}
