package client

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/tl"
)

// resumer goes on with a stream that breaks.
type resumer struct {
	a       *answer
	origin  *origin
	splicer *splicer
	head    *tl.HTTPResponse // of the part at hand
	broken  []stretch
	useless []*call // answers that could not be the rest
	lost    *taken  // the end of the part at hand, when it broke
	sent    int64   // tokens of the answer that were in its prompt
	spent   int64   // and of all that was delivered before it
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
	a.resumer = &resumer{a: a, origin: o, head: a.head, splicer: newSplicer(a.rq.path == pathChat, &a.c.memory, a.c.cfg.MaxBody, o.unfit)}
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
		rq.shun = append(rq.shun, workerOf(b.head))
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
		r.useless = append(r.useless, b.k)
		return nil, openai.BadGateway(openai.CodeBadAnswer, "%s", why)
	}
	return b, nil
}

// unfitAnswer says why an answer cannot be the rest of another.
func unfitAnswer(b *answer, begun bool) string {
	switch {
	case b.head.StatusCode != http.StatusOK:
		if c, err := openai.ReadChunk(bytes.Join(b.pending.chunks, nil)); b.refusedHere() && err == nil && c.Failed != nil {
			return c.Failed.Message
		}
		return fmt.Sprintf("another worker answered with status %d", b.head.StatusCode)
	case b.framing != openai.SSE:
		return "another worker does not answer with a stream"
	case begun && header(b.head, tl.HeaderContinues) == "":
		return "another worker does not say that its engine goes on with answers that others began"
	}
	return ""
}

// adopt makes the part that has begun the one at hand.
func (r *resumer) adopt(b *answer, lost *taken, have int64, sent int) {
	a, s, why := r.a, r.splicer, *lost.failed.as
	r.broken = append(r.broken, stretch{k: a.k, head: r.head, final: lost.final, why: &why, at: a.c.cfg.Now(), sent: r.sent, tokens: s.tokens()})
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
