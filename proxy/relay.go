package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/market"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
	"github.com/opencocoon/cocoon/wire"
)

// relay passes on a part that is not the last one, in the bytes it came in.
func (r *request) relay(w *worker, data []byte) {
	r.event(func(l *later) {
		switch {
		case r.isSecond(w):
			r.dropSecond(market.Failed, l)
		case r.worker != w:
		case r.state != answering:
			r.broken(l)
		default:
			part, _ := partBody(data)
			r.sawBody(part)
			r.sendPart(data, part)
		}
	})
}

// partBody is the body in a part of which isPlainPart holds.
func partBody(data []byte) ([]byte, error) {
	r := tl.NewReader(data[requestIDTo:])
	return r.Bytes("answer"), r.Err()
}

func (r *request) sendPart(data, part []byte) {
	switch {
	case r.gone || r.muted:
	case r.client.version == 0:
		r.send(&tl.ClientQueryAnswerPart{Answer: part, RequestID: r.id})
	default:
		asClientPart(data, r.id)
		r.client.conn.SendRaw(data)
	}
}

// sawBody counts, and remembers how the body ends so that an error can follow it.
func (r *request) sawBody(b []byte) {
	r.bytesOut += len(b)
	if len(b) > 0 {
		r.lastAt = r.p.now()
	}
	switch n := len(b); {
	case n >= 2:
		r.tail = [2]byte(b[n-2:])
	case n == 1:
		r.tail = [2]byte{r.tail[1], b[0]}
	}
}

// answer takes any other message of the worker.
func (r *request) answer(w *worker, a answer) {
	r.event(func(l *later) {
		switch {
		case r.isSecond(w):
			r.secondAnswered(a, l)
		case r.worker != w:
		case a.failed:
			r.answerFailed(a, l)
		case a.first != (r.state == sent):
			r.broken(l)
		case a.first:
			r.answerFirst(a, l)
		default:
			r.answerPart(a, l)
		}
	})
}

// answerFailed is the worker's own word that it cannot. Before the first
// answer another may. 621 says that the request itself is wrong: that is believed of two,
// or where there is no other. What a worker says it had delivered by then is booked.
func (r *request) answerFailed(a answer, l *later) {
	why, how := workerRefused(a.code, a.text), r.blame(&r.attempt, a.code)
	if a.code == wire.CodeCancelled && !r.muted { // nobody has cancelled it
		why = workerLost()
	}
	switch {
	case r.state == answering:
		r.finish(why, larger(a.info.TokensUsed, r.progress), how, l)
	case r.muted || a.code == wire.CodeTimeout && r.second == nil && time.Until(r.deadline) < r.limit/8: // nobody has time any more
		r.finish(why, tl.TokensUsed{}, how, l)
	case a.code == wire.CodeProtocol:
		r.calledWrong(why, l)
	default:
		r.workerFailed(why, how, l)
	}
}

// blame is what the market makes of a worker's own word that it cannot.
func (r *request) blame(a *attempt, code int32) market.Outcome {
	switch code {
	case wire.CodeProtocol:
		if r.state == sent {
			return market.Neutral
		}
	case wire.CodeError:
		switch {
		case r.state != sent:
		case r.bound.rest: // which takes an engine of some kinds; others are as good for all else
			return market.Neutral
		default:
			return market.Declined
		}
	case wire.CodeTimeout:
		if r.p.now().Sub(a.sentAt) > a.limit/2 {
			return market.Late
		}
	case wire.CodeCancelled:
		if r.muted {
			return market.Neutral
		}
	}
	return market.Failed
}

func larger(a, b tl.TokensUsed) tl.TokensUsed {
	if b.TotalTokensUsed > a.TotalTokensUsed {
		return b
	}
	return a
}

// answerFirst passes on the head. From now on the request stays with its worker.
func (r *request) answerFirst(a answer, l *later) {
	h, err := parseHead(a.body)
	if err != nil {
		r.p.log.Warn("worker sent a malformed answer", "worker", r.worker.text, "error", err)
		r.broken(l)
		return
	}
	if r.elsewhere(h.status, l) {
		return
	}
	if h.status < http.StatusBadRequest {
		r.vindicate()
	}
	r.stopAwaiting()
	r.dropSecond(market.Overtaken, l)
	r.state, r.firstAt, r.status, r.framing = answering, r.p.now(), h.status, h.framing
	r.lastAt = r.firstAt
	r.forgetQuery()
	r.sawBody(h.payload)
	if a.final {
		r.succeed(a, h.rewrite(true, r.started, r.firstAt, r.whyThis()...), true, l)
		return
	}
	if !r.muted {
		r.sendFirst(h.rewrite(false, r.started, r.firstAt, r.whyThis()...), l)
	}
}

// elsewhere moves a request whose engine is down, or calls it wrong, to another worker,
// if one is free at this moment; else the engine's own answer is as good as any.
func (r *request) elsewhere(status int32, l *later) bool {
	how, ok := r.doubt(status)
	if !ok || r.muted || r.gone {
		return false
	}
	if first := r.attempt; how == market.Neutral {
		r.doubted, r.wrong = &first, engineSays(status)
	}
	if r.second != nil {
		r.giveUp(status, how, l)
		return r.promote()
	}
	if len(r.tried)+1 >= maxAttempts {
		return false
	}
	want := r.want()
	want.Exclude = r.asked()
	offer, why := r.pick(want)
	if offer == nil {
		return false
	}
	r.giveUp(status, how, l)
	if !r.give(offer, why, l) && r.state != ended {
		r.dispatch(l)
	}
	return true
}

// doubt says whether an answer of that status is worth another worker, and what it
// says of this one. An engine that is down or overloaded is; so is one that calls the request wrong or
// fails over it, once: that may be the request, and it may be what a worker says of everything.
func (r *request) doubt(status int32) (how market.Outcome, ok bool) {
	switch {
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable:
		return market.Failed, true
	case status == http.StatusTooManyRequests:
		return market.Declined, true
	}
	return market.Neutral, status >= http.StatusBadRequest && r.doubted == nil && !r.wishes.NoFallbacks
}

// giveUp leaves a worker whose engine is of no help.
func (r *request) giveUp(status int32, how market.Outcome, l *later) {
	w := r.worker
	w.cancel(r.workerID)
	w.release(r.workerID)
	w.pay(r, r.workerID, 0)
	r.leave(how, l)
	r.failure = engineSays(status)
	r.p.stats.retried.Inc()
}

func (r *request) sendFirst(head []byte, l *later) {
	var o tl.Object = &tl.ClientQueryAnswerEx{RequestID: r.id, Answer: head}
	if r.client.version == 0 {
		o = &tl.ClientQueryAnswer{Answer: head, RequestID: r.id}
	}
	if r.send(o) {
		r.state = sent // nothing of it has reached the client
		r.fail(tooLarge(len(head)), l)
		return
	}
	r.shown = true
}

// answerPart is a part that is the last one, or one in the older form.
func (r *request) answerPart(a answer, l *later) {
	r.sawBody(a.body)
	if a.final {
		r.succeed(a, a.body, false, l)
		return
	}
	if r.gone || r.muted {
		return
	}
	var o tl.Object = &tl.ClientQueryAnswerPartEx{RequestID: r.id, Answer: a.body}
	if r.client.version == 0 {
		o = &tl.ClientQueryAnswerPart{Answer: a.body, RequestID: r.id}
	}
	r.send(o)
}

// succeed books and, when that is durable, passes on the last message.
func (r *request) succeed(a answer, body []byte, first bool, l *later) {
	if busy := a.info.WorkerEndTime - a.info.WorkerStartTime; busy > 0 && busy <= maxTimeout.Seconds() { // false for what is no number
		r.busy = time.Duration(busy * float64(time.Second))
	}
	r.settle(a.info.TokensUsed, l, func(booked int64, err error, l *later) {
		if r.muted {
			body, first = nil, false
		}
		if err != nil {
			r.sendError(unbooked(), !first, &tl.ProxyQueryFinalInfo{})
			r.close(false, 0, market.Neutral, l)
			return
		}
		a.info.TokensUsed = charged(a.info.TokensUsed, booked)
		if r.send(r.last(body, first, &a.info)) {
			r.sendError(tooLarge(len(body)), !first, &a.info)
		}
		r.close(true, booked, r.outcome(), l)
	})
}

// outcome is Served, unless the engine is down or failed: failing fast must not
// attract work. A plain 500 is held against nobody, because a question may cause it.
func (r *request) outcome() market.Outcome {
	switch {
	case r.status == 502 || r.status == 503:
		return market.Failed
	case r.status >= 500 || r.status == 429 || r.muted:
		return market.Neutral
	}
	return market.Served
}

// last is the message that ends a request well.
func (r *request) last(body []byte, first bool, info *tl.ProxyQueryFinalInfo) tl.Object {
	switch used := info.TokensUsed; {
	case r.client.version == 0 && first:
		return &tl.ClientQueryAnswer{Answer: body, IsCompleted: true, RequestID: r.id, RequestTokensUsed: used}
	case r.client.version == 0:
		return &tl.ClientQueryAnswerPart{Answer: body, IsCompleted: true, RequestID: r.id, RequestTokensUsed: used}
	case first:
		return &tl.ClientQueryAnswerEx{RequestID: r.id, Answer: body, Flags: 1, FinalInfo: r.finalInfo(info)}
	}
	return &tl.ClientQueryAnswerPartEx{RequestID: r.id, Answer: body, Flags: 1, FinalInfo: r.finalInfo(info)}
}

// finalInfo translates the worker's to the client's version.
func (r *request) finalInfo(w *tl.ProxyQueryFinalInfo) tl.ClientQueryFinalInfo {
	info := tl.ClientQueryFinalInfo{TokensUsed: w.TokensUsed}
	if r.debug {
		info.Flags |= 1
		info.ProxyDebug = r.debugText()
		if json.Valid([]byte(w.WorkerDebug)) { // reference clients die of anything else
			info.WorkerDebug = w.WorkerDebug
		}
	}
	if r.client.version >= 2 {
		info.Flags |= 2
		info.ProxyStartTime, info.ProxyEndTime = unix(r.started), unix(r.p.now())
		info.WorkerStartTime, info.WorkerEndTime = w.WorkerStartTime, w.WorkerEndTime
	}
	return info
}

func (r *request) debugText() string {
	first := 0.0
	if !r.firstAt.IsZero() {
		first = unix(r.firstAt)
	}
	why := []byte("null")
	if r.worker != nil {
		why, _ = json.Marshal(r.decision.String()) // a string: cannot fail
	}
	return fmt.Sprintf(`{"type":"proxy_stats","start_time":%.6f,"answer_receive_start_at":%.6f,"answer_receive_end_at":%.6f,"decision":%s}`, unix(r.started), first, unix(r.p.now()), why)
}

// refuse is the error of a request that was not admitted.
func (r *request) refuse(why *refusal) { r.sendError(why, false, &tl.ProxyQueryFinalInfo{}) }

// sendError ends the answer with an error, in the form that every client
// survives: an HTTP answer of its own or, when one has begun, a last piece in that answer's framing.
func (r *request) sendError(why *refusal, begun bool, info *tl.ProxyQueryFinalInfo) {
	if r.client.version == 0 {
		r.send(r.legacyError(why, begun, info))
		return
	}
	body := append(why.JSON(), '\n')
	if begun {
		body = append(r.separator(), openai.ErrorEvent(r.framing, why.Error)...)
	} else {
		r.send(&tl.ClientQueryAnswerEx{RequestID: r.id, Answer: why.head(r.started, r.p.now())})
	}
	r.send(&tl.ClientQueryAnswerPartEx{RequestID: r.id, Answer: body, Flags: 1, FinalInfo: r.finalInfo(info)})
}

func (r *request) legacyError(why *refusal, begun bool, info *tl.ProxyQueryFinalInfo) tl.Object {
	if begun {
		return &tl.ClientQueryAnswerPartError{ErrorCode: why.code, Error: why.Message, RequestID: r.id, RequestTokensUsed: info.TokensUsed}
	}
	return &tl.ClientQueryAnswerError{ErrorCode: why.code, Error: why.Message, RequestID: r.id, RequestTokensUsed: info.TokensUsed}
}

// separator ends the line, or the event, in which the body broke off.
func (r *request) separator() []byte {
	switch {
	case r.bytesOut == 0 || r.framing != openai.SSE && r.tail[1] == '\n' || r.tail == [2]byte{'\n', '\n'}:
		return nil
	case r.framing == openai.SSE && r.tail[1] != '\n':
		return []byte("\n\n")
	}
	return []byte("\n")
}

// progressed notes and passes on what an answer has cost so far. It never goes
// back. One that costs more than was set aside for it ends where the client's money does.
func (r *request) progressed(w *worker, m *tl.CocoonQueryProgress) {
	r.event(func(l *later) {
		if r.worker != w || r.state != answering || checkTokens(&m.TokensUsed) != nil || m.TokensUsed.TotalTokensUsed < r.progress.TotalTokensUsed {
			return
		}
		r.progress = charged(m.TokensUsed, r.believed(m.TokensUsed.TotalTokensUsed))
		if r.client.features.Load()&featureProgress != 0 && !r.muted {
			r.send(&tl.CocoonQueryProgress{RequestID: r.id, TokensUsed: r.progress})
		}
		var short *ledger.BalanceError
		if errors.As(r.p.book.Extend(r.hold, r.progress.TotalTokensUsed), &short) {
			r.fail(unpaid("the answer costs more than was set aside for it, and the client cannot pay more: pay in, or lower max_tokens"), l)
		}
	})
}
