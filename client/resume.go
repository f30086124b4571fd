package client

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// A stream may break behind its first byte: its worker or proxy is lost, its
// engine fails or stands still. Where the caller allows it, another worker goes
// on, with what was delivered as the beginning of its answer. That is done here
// and not in the proxy, because nobody else may hold what was asked and
// answered; so it also works for encrypted requests, and when the proxy is what
// was lost. Each part is paid for what it delivered, and what was delivered is
// paid once more, as a part of the next one's prompt.

// maxResumes bounds how often one answer is gone on with.
const maxResumes = 2

const (
	// headerContinue marks a request that goes on with a chat. A worker answers
	// it, with headerContinues, only if it knows its engine to write on where
	// the last message ends: others would begin anew. Both are on our own
	// workers' words only.
	headerContinue  = "X-Cocoon-Continue"
	headerContinues = "X-Cocoon-Continues"
	// headerResumed names, behind an answer, the workers that went on with it.
	headerResumed = "X-Cocoon-Resumed"
)

// origin is what a request was made of, kept so that another can be made.
type origin struct {
	body   []byte
	header http.Header // what travels of it
	mode   string      // of encryption
	memory int64       // taken from the client's budget
	unfit  string      // why no other can be made; then the rest is empty
}

// mayResume keeps what is needed to go on with the answer, if the caller allows it.
func (rq *request) mayResume(mode string, h http.Header, body []byte) {
	c := rq.client
	allowed := c.cfg.Resume
	if p := rq.options.Provider; p != nil && p.HasResume {
		allowed = p.Resume
	}
	if !allowed || !rq.options.Stream || rq.path == pathTranscriptions {
		return
	}
	o := &origin{mode: mode, header: http.Header{}}
	rq.origin = o
	if rq.options.Encrypted {
		o.unfit = "the app has encrypted it itself"
		return
	}
	if o.unfit = openai.CannotContinue(rq.path == pathChat, body); o.unfit != "" {
		return
	}
	if !c.memory.take(int64(len(body))) {
		o.unfit = "this gateway holds as much as it may"
		return
	}
	o.body, o.memory = body, int64(len(body))
	for _, name := range c.forwarded {
		if v := h[name]; v != nil {
			o.header[name] = v
		}
	}
}

// goesOn says whether another worker may go on with the answer, however little
// of it there is.
func (rq *request) goesOn() bool { return rq.rest || rq.origin != nil }

// release forgets it. It may be called again, and of nil.
func (o *origin) release(c *Client) {
	if o != nil {
		c.memory.give(o.memory)
		o.body, o.memory = nil, 0
	}
}

// stretch is a part of an answer that broke off.
type stretch struct {
	k      *call
	worker string
	final  *tl.ClientQueryFinalInfo // nil if it was not told
	why    *openai.Error
	at     time.Time
	sent   int64 // tokens of the answer that were in its prompt
	tokens int64 // that it delivered
}

// resumer goes on with a stream that breaks.
type resumer struct {
	a       *answer
	origin  *origin
	splicer *splicer
	head    *tl.HTTPResponse // of the part at hand
	broken  []stretch
	lost    *taken // the end of the part at hand, when it broke
	sent    int64  // tokens of the answer that were in its prompt
	spent   int64  // and of all that was delivered before it
}

// resumable lets the answer be gone on with, as far as its caller allows.
func (a *answer) resumable() {
	o := a.rq.origin
	if o == nil {
		return
	}
	if a.framing != openai.SSE || a.head.StatusCode != http.StatusOK {
		o.release(a.c)
		return
	}
	a.resumer = &resumer{a: a, origin: o, head: a.head, splicer: newSplicer(a.rq.path == pathChat, &a.c.memory, o.unfit)}
	a.resumer.splicer.before = a.resumer.usage
}

// release gives back what was kept. It may be called again, and of nil.
func (r *resumer) release() {
	if r != nil {
		r.splicer.release()
		r.origin.release(r.a.c)
	}
}

// follow looks at what came and replaces it by what the caller gets. If the
// stream has broken it keeps that for recover, and nothing of it is passed on.
func (r *resumer) follow(t *taken) {
	s := r.splicer
	over := t.end || t.failed != nil
	out := s.feed(t.chunks, over && t.failed == nil)
	if t.chunks = nil; len(out) > 0 {
		t.chunks = [][]byte{out}
	}
	if s.astray && !over {
		r.a.k.abandon()
		over = true
	}
	if !over {
		return
	}
	if s.wasComplete(t.failed != nil) {
		r.complete(t)
		return
	}
	if t.failed == nil {
		e := s.broke
		if e == nil {
			e = openai.BadGateway(openai.CodeBadAnswer, "the answer ended before its end")
		}
		t.failed = &failure{as: e}
	}
	r.lost = &taken{end: true, final: t.final, cost: t.cost, failed: t.failed}
	t.end, t.failed, t.final, t.cost = false, nil, nil, nil
}

// complete ends an answer of which at most the tail was lost: the usage, and
// the mark of the end.
func (r *resumer) complete(t *taken) {
	t.end, t.failed = true, nil
	if s := r.splicer; !s.done && s.unfit == "" {
		s.done = true
		t.chunks = append(t.chunks, openai.AppendDocument(nil, openai.SSE, []byte("[DONE]")))
	}
}

// recover goes on with the broken answer on another worker, or says in the end
// of the answer why not. The error is ctx's.
func (r *resumer) recover(ctx context.Context) (*taken, error) {
	lost := r.lost
	r.lost = nil
	text, less := r.splicer.beginning()
	have := r.spent + r.splicer.tokens() - less
	why := r.forbids(lost.failed)
	if why == "" {
		body, left, err := openai.Continue(r.splicer.chat, r.origin.body, text, have)
		switch {
		case err != nil:
			why = "no request for the rest could be made"
		case left == 0: // all that it may have is there
			return r.atLimit(lost), nil
		default:
			b, err := r.ask(ctx, body, left, have, text != "", lost)
			if err == nil {
				r.adopt(b, lost, have, len(text))
				return &taken{}, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			why = openai.AsError(err).Message
		}
	}
	e := *lost.failed.as
	e.Message = fmt.Sprintf("%s; the answer was not resumed: %s", e.Message, why)
	lost.failed = &failure{as: &e}
	return lost, nil
}

// forbids says why a failure must end the answer, empty if it need not.
func (r *resumer) forbids(f *failure) string {
	e := f.as
	switch {
	case r.splicer.unfit != "":
		return r.splicer.unfit
	case e.Code == openai.CodeSlowReader:
		return "another worker is not read faster"
	case e.Code == openai.CodeTimeout || r.a.rq.left() <= 0:
		return "its time is over"
	case e.Type == openai.TypeInvalidRequest || e.Status >= 400 && e.Status < 500:
		return "another worker would refuse it too"
	case len(r.broken) >= maxResumes:
		return fmt.Sprintf("it broke %d times", len(r.broken)+1)
	case r.a.c.closed.Load():
		return "this gateway is shutting down"
	}
	return ""
}

// ask sends the request for the rest and returns the answer that has begun.
func (r *resumer) ask(ctx context.Context, body []byte, left, have int64, begun bool, lost *taken) (*answer, error) {
	c, old := r.a.c, r.a.rq
	rq := *old
	rq.query, rq.memory, rq.tried, rq.origin, rq.opener = nil, 0, nil, nil, nil
	rq.options.Encrypted, rq.options.ReceiverPublicKey = false, [32]byte{}
	rq.rest, rq.begun = true, begun && rq.path == pathChat
	if left > 0 {
		rq.options.MaxTokens = left
	} else {
		rq.options.MaxTokens = max(rq.options.MaxTokens-have, 1)
	}
	rq.before = r.cost(lost)
	rq.shun = nil
	for _, b := range r.broken {
		rq.shun = append(rq.shun, b.worker)
	}
	if !lost.failed.lost { // a worker is not to blame for its proxy
		rq.shun = append(rq.shun, workerOf(r.head))
	}
	rq.shun = slices.DeleteFunc(rq.shun, func(name string) bool { return name == "" })
	body, bad := rq.seal(r.origin.mode, r.origin.header, body)
	if bad == nil {
		bad = rq.encode(r.origin.header, body)
	}
	if bad != nil {
		return nil, bad
	}
	b, err := c.reach(ctx, &rq)
	if err != nil {
		return nil, err
	}
	if why := unfitAnswer(b, rq.begun); why != "" {
		b.drop()
		return nil, openai.BadGateway(openai.CodeBadAnswer, "%s", why)
	}
	return b, nil
}

// unfitAnswer says why an answer cannot be the rest of another.
func unfitAnswer(b *answer, begun bool) string {
	switch {
	case b.head.StatusCode != http.StatusOK:
		return fmt.Sprintf("another worker answered with status %d", b.head.StatusCode)
	case b.framing != openai.SSE:
		return "another worker does not answer with a stream"
	case begun && header(b.head, headerContinues) == "":
		return "another worker does not say that its engine goes on with answers that others began"
	}
	return ""
}

// adopt makes the part that has begun the one at hand.
func (r *resumer) adopt(b *answer, lost *taken, have int64, sent int) {
	a, s, why := r.a, r.splicer, *lost.failed.as
	r.broken = append(r.broken, stretch{k: a.k, worker: workerOf(r.head), final: lost.final, why: &why, at: a.c.cfg.Now(), sent: r.sent, tokens: s.tokens()})
	if lost.final != nil {
		a.c.counts.addTokens(&lost.final.TokensUsed)
	}
	r.spent, r.sent, r.head = have, have, b.head
	if sent == 0 {
		r.sent = 0
	}
	s.next(sent)
	a.sealed.release()
	a.k, a.sealed, a.pending = b.k, b.sealed, b.pending
	a.c.counts.resumed.Inc()
	a.c.cfg.Log.Info("stream resumed", "model", a.rq.options.Model, "proxy", a.k.link.addr, "after", why.Code)
}

// atLimit ends an answer that has all the tokens it may have.
func (r *resumer) atLimit(lost *taken) *taken {
	s := r.splicer
	s.finished, s.done = true, true
	out := openai.AppendDocument(nil, openai.SSE, openai.Ending(s.chat, s.head))
	return &taken{chunks: [][]byte{openai.AppendDocument(out, openai.SSE, []byte("[DONE]"))}, end: true, final: lost.final, cost: lost.cost}
}

// usage is what the broken parts used, by the prompt that the part at hand has.
// Of one that is known to have cost nothing nothing counts.
func (r *resumer) usage(prompt int64) (u openai.Usage) {
	total, prompts := coin.Nano(0), coin.Nano(0)
	known := true
	for _, b := range r.broken {
		cost := b.k.paid()
		if known = known && cost != nil; cost != nil {
			total = total.Add(*cost)
			if b.final != nil {
				used := &b.final.TokensUsed
				prompts = prompts.Add(min(b.k.price.perToken.Times(max(used.PromptTokensUsed, 0)+max(used.CachedTokensUsed, 0)), *cost))
			}
		}
		if cost == nil || *cost > 0 {
			u.PromptTokens += max(prompt-r.sent+b.sent, 0)
			u.CompletionTokens += b.tokens
		}
	}
	if known {
		all, in, out := int64(total), int64(prompts), int64(total-prompts)
		u.TotalCost, u.PromptTotalCost, u.CompletionTotalCost = &all, &in, &out
	}
	return u
}

// cost is what the parts have cost that are over, with what one could have cost
// of which that is not known.
func (r *resumer) cost(lost *taken) (sum coin.Nano) {
	for _, b := range r.broken {
		sum = sum.Add(b.k.atMost())
	}
	if lost.cost != nil {
		return sum.Add(*lost.cost)
	}
	return sum.Add(r.a.k.atMost())
}

// total adds what the broken parts cost, nil if nobody knows.
func (r *resumer) total(last *coin.Nano) *coin.Nano {
	if r == nil {
		return last
	}
	if last == nil {
		last = r.a.k.paid() // it may have come after nobody waited any more
	}
	if last == nil || len(r.broken) == 0 {
		return last
	}
	sum := *last
	for _, b := range r.broken {
		cost := b.k.paid()
		if cost == nil {
			return nil
		}
		sum = sum.Add(*cost)
	}
	return &sum
}

// workers names those that went on with the answer, in their order.
func (r *resumer) workers() string {
	if r == nil || len(r.broken) == 0 {
		return ""
	}
	var list []string
	for _, b := range r.broken[1:] {
		list = append(list, cmp.Or(b.worker, "unknown"))
	}
	return strings.Join(append(list, cmp.Or(workerOf(r.head), "unknown")), ", ")
}

// workerOf is who gave an answer, as the proxy says, behind whatever the worker
// may have said itself.
func workerOf(head *tl.HTTPResponse) (name string) {
	for _, h := range head.Headers {
		if strings.EqualFold(h.Name, headerWorker) {
			name = h.Value
		}
	}
	return name
}

// brokenRecord is a part that broke off, in a debug record.
type brokenRecord struct {
	Worker string     `json:"worker,omitempty"`
	Proxy  string     `json:"proxy"`
	Why    string     `json:"why"` // the error's code
	At     float64    `json:"resumed_at"`
	Tokens int64      `json:"tokens"` // delivered, at least
	Cost   *coin.Nano `json:"cost_nanoton"`
}

func (r *resumer) records() (list []brokenRecord) {
	if r == nil {
		return nil
	}
	for _, b := range r.broken {
		list = append(list, brokenRecord{b.worker, b.k.link.addr, b.why.Code, unixFloat(b.at), b.tokens, b.k.paid()})
	}
	return list
}
