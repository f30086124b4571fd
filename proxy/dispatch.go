package proxy

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// dispatch gives the request to the best worker there is, or lets it wait, or fails it.
func (r *request) dispatch(l *later) {
	for {
		offer, d := r.pick(r.want())
		if offer == nil {
			r.noOffer(d, l)
			return
		}
		if r.give(offer, d, l) || r.state == ended {
			return
		}
	}
}

// pick leaves newcomers alone once some have failed the request, or one has called it
// wrong: there may be any number of those. Where one has hung, others may too: best is who
// has served since.
func (r *request) pick(want market.Want) (*market.Offer, market.Decision) {
	if !want.Alive.IsZero() || len(want.Exclude) >= newcomers || r.doubted != nil {
		want.Proven = true
		if offer, d := r.p.market.Pick(want); offer != nil {
			return offer, d
		}
		if want.Alive = (time.Time{}); len(want.Exclude) >= newcomers {
			if offer, d := r.p.market.Pick(want); offer != nil {
				return offer, d
			}
		}
		want.Proven = false
	}
	return r.p.market.Pick(want)
}

func (r *request) want() market.Want {
	want := market.Want{Model: r.model, Pin: r.pin, MaxCoefficient: r.ceiling, Exclude: r.tried, Client: r.client.account, PromptBytes: r.bytesIn, MaxTokens: r.longest, Whole: r.bound.whole,
		Deadline: r.deadline, Affinity: r.affinity, Wishes: r.wishes,
		Context: r.needs.Context, Needs: market.Capability(r.needs.Can), Region: r.needs.Region}
	if r.doubted != nil { // its owner's other workers would say the same
		want.Ignore = append([]string{r.doubted.offer.Key}, want.Ignore...)
	}
	if r.encrypted {
		want.MinVersion = versionKeys
	}
	return want
}

// give hands the request to one worker. False means that it could not be sent
// there and another may be tried.
func (r *request) give(offer *market.Offer, why market.Decision, l *later) bool {
	var err error
	r.state = sent
	r.attempt, err = r.ask(offer, why)
	if err == nil {
		r.given = true
		r.watch(&r.attempt)
		return true
	}
	if err == errNoRoom {
		r.failure = queueFull()
	}
	r.leave(market.Neutral, l)
	if errors.Is(err, wire.ErrTooLarge) {
		r.fail(tooLarge(len(r.query)), l)
	}
	return false
}

// ask sends the question to one worker. With an error nothing was sent, and
// the offer is still to be given back.
func (r *request) ask(offer *market.Offer, why market.Decision) (attempt, error) {
	w := offer.Ref.(*worker)
	a := attempt{worker: w, offer: offer, decision: why, sentAt: r.p.now()}
	rand.Read(a.workerID[:])
	if !w.requests.add(a.workerID, r) {
		return a, errClosing
	}
	w.telling.Lock()
	defer w.telling.Unlock()
	s, err := w.owed()
	if !w.conn.Fits(len(r.query)) {
		err = errNoRoom
	}
	if err == nil {
		message := w.runQuery(r, &a, s.Payment)
		err = w.conn.Send(message) // it is encoded then
		if q, ok := message.(*tl.ProxyRunQueryEx); ok {
			clear(q.PrivateKey[:])
		}
	}
	if err != nil {
		w.release(a.workerID)
		r.p.log.Debug("request not sent to worker", "worker", w.text, "error", err)
	}
	return a, err
}

var errClosing = errors.New("worker is just leaving")

// errNoRoom keeps one large question too many from ending the connection, and
// with it the answers of everybody else.
var errNoRoom = errors.New("too much waits to be written to the worker")

// leave gives the worker's place back.
func (r *request) leave(how market.Outcome, l *later) {
	r.stopAwaiting()
	first := r.firstAt
	if first.IsZero() {
		first = r.p.now()
	}
	r.done(&r.attempt, how, market.Took{First: first.Sub(r.sentAt), Tokens: r.tokens()}, l)
	r.attempt, r.progress = attempt{}, tl.TokensUsed{} // the next worker is paid for its own work only
}

// done tells the market how an attempt went.
func (r *request) done(a *attempt, how market.Outcome, took market.Took, l *later) {
	took.Total, took.Prompt, took.Price = r.p.now().Sub(a.sentAt), r.bytesIn, uint32(a.price)
	l.grants = append(l.grants, r.p.market.Done(a.offer, how, took)...)
	r.tried = append(r.tried, a.offer)
}

// tokens is how long the answer was, by the worker's report, as its model
// counts; 0 when it has not told. No token takes less than a byte on the wire.
func (r *request) tokens() int64 {
	m := r.p.terms.Load().Multipliers
	n := ledger.Raw(r.used.CompletionTokensUsed, r.price, m.Completion) + ledger.Raw(r.used.ReasoningTokensUsed, r.price, m.Reasoning)
	return min(n, int64(r.bytesOut))
}

// runQuery is the request as this worker's version has it.
func (w *worker) runQuery(r *request, a *attempt, payment []byte) tl.Object {
	w.mu.Lock()
	price := int64(min(w.price, r.ceiling)) // it may have risen since the market chose
	w.mu.Unlock()
	a.price = price
	timeout := time.Until(r.deadline).Seconds() * workerShare
	a.limit = time.Duration(timeout * float64(time.Second))
	if w.version == 0 {
		return &tl.ProxyRunQuery{Query: r.query, SignedPayment: signed(payment), Coefficient: price, Timeout: timeout, RequestID: a.workerID}
	}
	q := &tl.ProxyRunQueryEx{Query: r.query, SignedPayment: signed(payment), Coefficient: price, Timeout: timeout, RequestID: a.workerID,
		Flags: 1, EnableDebug: r.debug}
	if w.version >= versionKeys {
		q.Flags |= 2
		q.PrivateKey = r.private // zeros: not encrypted
	}
	return q
}
