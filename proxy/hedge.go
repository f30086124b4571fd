package proxy

import (
	"slices"
	"time"

	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/tl"
)

// A request whose first answer is late may be given to a second worker, where
// the operator allows that (market.Hedge has the rules). Whoever answers first
// serves it. The other is cancelled and paid nothing: it has delivered nothing.
// So the client's reservation need not grow. If the second is late too, the
// first is given up and a third takes the second's place.

const (
	// maxHedged bounds the workers that such a request is given to.
	maxHedged = 6
	// hedgeAgain is when to look again for a second worker that was not to be had.
	hedgeAgain = time.Second
	// unknownShare of the time left passes before a second worker is asked when nobody
	// knows how long first answers take.
	unknownShare = 3
)

// orNone makes zero the market's word for never.
func orNone(share float64) float64 {
	if share <= 0 {
		return -1
	}
	return share
}

func (p *Proxy) maxAttempts() int {
	if p.cfg.HedgeShare > 0 {
		return maxHedged
	}
	return maxAttempts
}

// watch sets the time at which the first answer is late.
func (r *request) watch(offer *market.Offer) {
	if r.p.cfg.HedgeShare <= 0 || r.wishes.NoFallbacks {
		return
	}
	after := r.p.market.HedgeAfter(offer, r.want())
	if after == 0 {
		after = time.Until(r.deadline) / unknownShare
	}
	if r.hedge == nil {
		r.hedge = time.AfterFunc(after, r.late)
	} else {
		r.hedge.Reset(after)
	}
}

// late asks a second worker.
func (r *request) late() {
	r.event(func(l *later) {
		if r.state != sent || r.muted || r.gone || len(r.tried)+2 > maxHedged {
			return
		}
		first := r.offer
		want := r.want()
		if r.second != nil {
			first = r.second.offer
			want.Exclude = append(slices.Clone(r.tried), r.offer)
		}
		offer, why := r.p.market.Hedge(want, first)
		if offer == nil {
			r.hedge.Reset(hedgeAgain)
			return
		}
		a, err := r.ask(offer, why)
		if err != nil {
			r.done(&a, market.Neutral, market.Took{}, l)
			r.hedge.Reset(hedgeAgain)
			return
		}
		if r.second != nil {
			r.drop(&r.attempt, hopeless(r.p.now().Sub(r.sentAt)), l)
			r.promote()
		}
		r.second = &a
		r.p.stats.hedged.Inc()
		r.watch(offer)
	})
}

// hopeless is how an attempt went that has lasted so long without an answer.
func hopeless(took time.Duration) market.Outcome {
	if took > 5*time.Second {
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
		r.dropSecond(blame(a.code), l)
		return
	}
	if !a.first || r.state != sent {
		r.dropSecond(market.Failed, l)
		return
	}
	if h, err := parseHead(a.body); err != nil || h.status == 502 || h.status == 503 {
		r.dropSecond(market.Failed, l)
		return
	}
	slow := r.attempt
	r.promote()
	r.drop(&slow, market.Overtaken, l)
	r.answerFirst(a, l)
}
