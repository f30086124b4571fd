package proxy

import (
	"slices"
	"time"

	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/tl"
)

// A request whose first answer is late may be given to a second worker: soon, where
// the operator pays for that with more work (market.Hedge has the rules), and in any case
// when it is overdue, so that a worker that hangs costs its caller some time and not the answer. Whoever
// answers first serves it. The other is cancelled and paid nothing: it has delivered nothing.
// So the client's reservation need not grow, and a deployed worker, which knows no cancelling and
// works on, costs nobody but its owner. If the second is late too, the first is given up and a third takes its place.

// hedgeAgain is when to look again for a second worker that was not to be had.
const hedgeAgain = time.Second

// orNone makes zero the market's word for never.
func orNone(share float64) float64 {
	if share <= 0 {
		return -1
	}
	return share
}

// watch sets the time at which the attempt's first answer is late.
func (r *request) watch(a *attempt) {
	if r.wishes.NoFallbacks {
		return
	}
	want, left := r.want(), time.Until(r.deadline)
	after, overdue := r.p.market.HedgeAfter(a.offer, want), r.p.market.Overdue(a.offer, want, left)
	if overdue > 0 {
		a.overdue = time.Now().Add(overdue)
	}
	if after == 0 || overdue > 0 && overdue < after {
		after = overdue
	}
	if after > 0 {
		r.lateIn(after)
	}
}

// lateIn calls late then, and at no time that was set before.
func (r *request) lateIn(after time.Duration) {
	if r.hedge == nil {
		r.hedge = time.AfterFunc(after, r.late)
	} else {
		r.hedge.Reset(after)
	}
}

func (a *attempt) isOverdue() bool { return !a.overdue.IsZero() && !time.Now().Before(a.overdue) }

// latest is the attempt that was made last.
func (r *request) latest() *attempt {
	if r.second != nil {
		return r.second
	}
	return &r.attempt
}

// asked lists all workers that have had the request.
func (r *request) asked() []*market.Offer {
	list := append(slices.Clone(r.tried), r.offer)
	if r.second != nil {
		list = append(list, r.second.offer)
	}
	return list
}

// late asks a second worker, or waits for one.
func (r *request) late() {
	r.event(func(l *later) {
		if r.state != sent || r.muted || r.gone || r.waiter != nil || len(r.asked()) >= maxAttempts {
			return
		}
		last, want := r.latest(), r.want()
		want.Exclude = r.asked()
		overdue := last.isOverdue()
		if overdue {
			want.Alive = last.sentAt
		}
		pick := func(want market.Want) (*market.Offer, market.Decision) { return r.p.market.Hedge(want, last.offer) }
		if overdue {
			pick = r.pick
		}
		offer, why := pick(want)
		switch {
		case offer != nil:
			r.askSecond(offer, why, l)
		case overdue && why.Verdict == market.Busy:
			want.Alive = time.Time{}
			r.awaitSecond(want, l)
		default:
			r.lateIn(hedgeAgain)
		}
	})
}

// awaitSecond takes a turn in the queue for a second worker, while the first may still answer.
func (r *request) awaitSecond(want market.Want, l *later) {
	w := &market.Waiter{Want: want, Ref: r}
	dropped, err := r.p.market.Enqueue(w)
	if err != nil {
		r.lateIn(hedgeAgain)
		return
	}
	r.waiter = w
	l.dropped, l.match = dropped, r.model
}

// stopAwaiting leaves the queue, if the request is there for a second worker. Should one
// be given to it at this moment, granted passes it on.
func (r *request) stopAwaiting() {
	if r.state != waiting && r.waiter != nil {
		r.p.market.Cancel(r.waiter)
		r.waiter = nil
	}
}

// askSecond gives the request to a second worker, or to a third in the place of the first.
func (r *request) askSecond(offer *market.Offer, why market.Decision, l *later) {
	a, err := r.ask(offer, why)
	if err != nil {
		r.done(&a, market.Neutral, market.Took{}, l)
		r.lateIn(hedgeAgain)
		return
	}
	if r.second != nil {
		slow := r.attempt
		r.promote()
		r.drop(&slow, slow.lateness(), l)
	}
	r.second = &a
	r.p.stats.hedged.Inc()
	r.watch(r.second)
}

// lateness is how an attempt went that had not answered when another did.
func (a *attempt) lateness() market.Outcome {
	if a.isOverdue() {
		return market.Late
	}
	return market.Overtaken
}

func (r *request) isSecond(w *worker) bool { return r.second != nil && r.second.worker == w }

// promote makes the second attempt the only one, if there is one.
func (r *request) promote() bool {
	if r.second == nil {
		return false
	}
	r.attempt, r.second = *r.second, nil
	r.progress = tl.TokensUsed{} // that was the other's
	return true
}

// dropSecond ends the second attempt, if there is one.
func (r *request) dropSecond(how market.Outcome, l *later) {
	if a := r.second; a != nil {
		r.second = nil
		r.drop(a, how, l)
		if r.state == sent {
			r.lateIn(hedgeAgain) // for another one
		}
	}
}

// drop ends an attempt that nobody waits for any more.
func (r *request) drop(a *attempt, how market.Outcome, l *later) {
	a.worker.cancel(a.workerID)
	a.worker.release(a.workerID)
	a.worker.pay(r, a.workerID, 0)
	took := r.p.now().Sub(a.sentAt)
	r.done(a, how, market.Took{First: took}, l)
}

// secondAnswered takes a message of the second worker. Its first answer, if it
// is one that could be passed on, decides the race.
func (r *request) secondAnswered(a answer, l *later) {
	if a.failed {
		r.dropSecond(r.blame(r.second, a.code), l)
		return
	}
	if !a.first || r.state != sent {
		r.dropSecond(market.Failed, l)
		return
	}
	h, err := parseHead(a.body)
	if err != nil {
		r.dropSecond(market.Failed, l)
		return
	}
	if how, ok := r.doubt(h.status); ok && how != market.Neutral { // the first may still do better
		r.dropSecond(how, l)
		return
	}
	slow := r.attempt
	r.promote()
	r.drop(&slow, slow.lateness(), l)
	r.answerFirst(a, l)
}
