package worker

import (
	"time"

	"github.com/opencocoon/cocoon/stats"
	"github.com/opencocoon/cocoon/tl"
)

// counters count since the start, with rates (roles.md §5.8).
type counters struct {
	queries, success, failed *stats.Counter
	received, sent           *stats.Counter // bytes of requests and answers
	time                     *stats.Timer
	total, prompt, cached    *stats.Counter // adjusted tokens
	completion, reasoning    *stats.Counter
	estimated, odd, cut      *stats.Counter // answers
}

func newCounters(now func() time.Time) counters {
	c := func() *stats.Counter { return stats.NewCounter(now) }
	return counters{
		queries: c(), success: c(), failed: c(), received: c(), sent: c(), time: stats.NewTimer(now),
		total: c(), prompt: c(), cached: c(), completion: c(), reasoning: c(), estimated: c(), odd: c(), cut: c(),
	}
}

func (c *counters) begin(requestBytes int) {
	c.queries.Inc()
	c.received.Add(int64(requestBytes))
}

func (c *counters) end(j *job) {
	if j.ok {
		c.success.Inc()
	} else {
		c.failed.Inc()
	}
	c.time.Add(j.w.cfg.Now().Sub(j.started))
	c.sent.Add(j.out)
	if j.meter == nil {
		return
	}
	c.spend(j.tokens())
	if j.begun && !j.ok {
		c.cut.Inc()
	}
	if j.meter.estimated() {
		c.estimated.Inc()
	}
	if j.meter.odd != 0 {
		c.odd.Inc()
	}
}

func (c *counters) spend(t tl.TokensUsed) {
	c.total.Add(t.TotalTokensUsed)
	c.prompt.Add(t.PromptTokensUsed)
	c.cached.Add(t.CachedTokensUsed)
	c.completion.Add(t.CompletionTokensUsed)
	c.reasoning.Add(t.ReasoningTokensUsed)
}
