package client

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/openai"
	"github.com/opencocoon/cocoon/wire"
)

// attempts bounds how many connections one request may go through.
const attempts = 6

// ask sends a request and returns its answer once that has begun. Until then a
// lost connection or a proxy that has no room sends the request to another
// proxy; after it, never: the caller may have acted on what it saw, and would
// pay twice. The error is ctx's, or a *failure.
func (c *Client) ask(ctx context.Context, rq *request) (a *answer, err error) {
	c.active.Add(1)
	c.counts.queries.Inc()
	if a, err = c.reach(ctx, rq); err != nil {
		rq.origin.release(c)
		c.counts.failed.Inc()
		c.active.Add(-1)
		return nil, err
	}
	a.resumable()
	return a, nil
}

// reach is ask without the books about requests. The query is gone afterwards.
func (c *Client) reach(ctx context.Context, rq *request) (a *answer, err error) {
	defer rq.release()
	if old := c.tooOld(); old != nil {
		return nil, old
	}
	l, err := c.pick(ctx, rq, true)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		rq.tried = append(rq.tried, l)
		began := c.cfg.Now()
		a, err = c.try(ctx, rq, l)
		l.learn(began, a, err)
		elsewhere, wait := retryable(a, err)
		elsewhere = elsewhere && (!rq.wishes.NoFallbacks || untouched(a, err))
		if !elsewhere || attempt == attempts || ctx.Err() != nil {
			return c.unknownKey(rq, a, err)
		}
		next, noneLeft := c.pick(ctx, rq, wait)
		if noneLeft != nil {
			return c.unknownKey(rq, a, err)
		}
		if a != nil {
			a.drop()
		}
		c.counts.retried.Inc()
		l = next
	}
}

// retryable says whether another proxy may do better, and whether to wait for
// one to connect.
func retryable(a *answer, err error) (elsewhere, wait bool) {
	if a != nil {
		return a.refusedHere(), false
	}
	f, ok := err.(*failure)
	return ok && f.elsewhere, ok && f.lost
}

// untouched says that no worker has had the request, as far as the proxy tells.
// A lost connection tells nothing.
func untouched(a *answer, err error) bool {
	if a != nil {
		return a.head.StatusCode != 502 && a.head.StatusCode != 504
	}
	f, ok := err.(*failure)
	return ok && !f.lost && f.code != 0
}

// refusedHere tells a proxy's own refusal, which carries the network's code,
// from an engine's answer. That a proxy does not know a model says nothing
// about the others.
func (a *answer) refusedHere() bool {
	text := header(a.head, headerError)
	if a.head.StatusCode < 400 || text == "" {
		return false
	}
	code, err := strconv.ParseInt(text, 10, 32)
	return err == nil && (goesElsewhere(int32(code)) || a.head.StatusCode == 404)
}

// headerError is how a proxy marks its own refusals.
const headerError = "X-Cocoon-Error"

// try runs the request on one link until its answer begins.
func (c *Client) try(ctx context.Context, rq *request, l *link) (*answer, error) {
	left := rq.left()
	if left <= 0 {
		return nil, timedOut(0)
	}
	k, f := l.begin(ctx, rq, left)
	if f != nil {
		return nil, f
	}
	t, err := k.next(ctx)
	if err != nil {
		k.abandon()
		return nil, err
	}
	if t.failed != nil && (t.head == nil || !rq.goesOn()) { // nothing was passed on yet, so it can be the whole answer
		k.discard()
		return nil, c.explain(ctx, rq, l, t)
	}
	if !rq.fulfilled(t.head) {
		k.abandon()
		return nil, &failure{as: openai.BadGateway(openai.CodeBadAnswer, "the answer is not of the model '%s' but of '%.200s'", rq.options.Pin, header(t.head, headerModel))}
	}
	a := newAnswer(c, rq, k, t)
	if p := a.pending; p.failed != nil && len(p.chunks) == 0 && !rq.goesOn() {
		return nil, p.failed // it cannot be opened, and the caller has seen nothing of it
	}
	return a, nil
}

// explain gives a refusal its exact meaning. Proxies of the reference refuse a
// model that they do not know with the code for "wrong request".
func (c *Client) explain(ctx context.Context, rq *request, l *link, t taken) *failure {
	f := *t.failed
	if t.head != nil {
		f.elsewhere, f.lost = false, false // the answer had begun, and work was done
	}
	if f.code == wire.CodeProtocol && t.head == nil {
		ctx, cancel := context.WithTimeout(ctx, rq.left())
		l.refresh(ctx, tableFresh)
		cancel()
		if rq.options.Pin != "" || !l.table.has(rq.options.Model) { // proxies of the reference know no revisions
			f.as, f.elsewhere = openai.ModelNotFound(rq.model()), true
		}
	}
	return &f
}

// awayPatience is how long a request waits for a proxy while the chain is away:
// one that is not connected by then hardly will be soon.
const awayPatience = 2 * time.Second

// pick chooses among the ready connections that were not tried. With wait set
// it waits for one to become ready.
func (c *Client) pick(ctx context.Context, rq *request, wait bool) (*link, error) {
	var timeout <-chan time.Time
	for {
		if c.closed.Load() {
			return nil, &failure{as: openai.Unavailable(openai.CodeNoProxy, retryAfter, "this gateway is shutting down")}
		}
		ready, more := c.readyLinks()
		if l := choose(ready, rq); l != nil {
			return l, nil
		}
		if !wait {
			return nil, c.noProxy(ready, rq)
		}
		if timeout == nil {
			patience := min(c.cfg.ProxyWait, rq.left())
			if !contract.AwaySince(c.cfg.Registry).IsZero() {
				patience = min(patience, awayPatience)
			}
			timer := time.NewTimer(patience)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-more:
		case <-timeout:
			return nil, c.noProxy(ready, rq)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// retryUnconnected is when to try again without a proxy.
const retryUnconnected = 5 * time.Second

func (c *Client) noProxy(ready []*link, rq *request) *failure {
	if len(ready) == 0 {
		return c.unconnected()
	}
	why := "no connected proxy is left to ask"
	if rq.options.Encrypted {
		why = "no connected proxy carries encrypted requests (protocol version 3)"
	}
	if rq.binding() {
		why = "no connected proxy knows the wishes in provider, and they forbid an answer against them; drop only, ignore and allow_fallbacks, or connect to other proxies"
	}
	return &failure{as: openai.Unavailable(openai.CodeNoProxy, retryUnconnected, "%s", why)}
}

func (l *link) usable(rq *request) bool {
	return !slices.Contains(rq.tried, l) && (!rq.options.Encrypted || l.version >= versionKeys) && (l.market || !rq.binding())
}
