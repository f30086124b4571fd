package proxy

import (
	"time"

	"github.com/opencocoon/cocoon/stats"
)

// counters of the whole proxy; names as in roles.md section 4.11.
type counters struct {
	queries, success, failed, rejected, retried, hedged  *stats.Counter
	bytesIn, bytesOut                                    *stats.Counter
	total, prompt, cached, completion, reasoning, booked *stats.Counter
	time, workerTime                                     *stats.Timer
}

func (c *counters) init(now func() time.Time) {
	for _, x := range []**stats.Counter{&c.queries, &c.success, &c.failed, &c.rejected, &c.retried, &c.hedged, &c.bytesIn, &c.bytesOut,
		&c.total, &c.prompt, &c.cached, &c.completion, &c.reasoning, &c.booked} {
		*x = stats.NewCounter(now)
	}
	c.time, c.workerTime = stats.NewTimer(now), stats.NewTimer(now)
}

// maxCounted is the most that statistics take from one report, so that lies
// cannot make a counter overflow.
const maxCounted = 1 << 40

// count notes a request that has ended. One that no worker was given is a rejection.
func (c *counters) count(r *request, success bool) {
	if !r.given {
		c.rejected.Inc()
		return
	}
	c.queries.Inc()
	if success {
		c.success.Inc()
	} else {
		c.failed.Inc()
	}
	c.bytesIn.Add(int64(r.bytesIn))
	c.bytesOut.Add(int64(r.bytesOut))
	c.time.Add(r.p.now().Sub(r.started))
	c.workerTime.Add(r.busy)
	if r.used.TotalTokensUsed > 0 {
		c.total.Add(min(r.used.TotalTokensUsed, maxCounted))
		c.prompt.Add(min(r.used.PromptTokensUsed, maxCounted))
		c.cached.Add(min(r.used.CachedTokensUsed, maxCounted))
		c.completion.Add(min(r.used.CompletionTokensUsed, maxCounted))
		c.reasoning.Add(min(r.used.ReasoningTokensUsed, maxCounted))
	}
}

// workerCounters are those of one connection.
type workerCounters struct {
	queries, success *stats.Counter
	time, workerTime *stats.Timer
}

func (c *workerCounters) init(now func() time.Time) {
	c.queries, c.success = stats.NewCounter(now), stats.NewCounter(now)
	c.time, c.workerTime = stats.NewTimer(now), stats.NewTimer(now)
}

func (w *worker) count(r *request, success bool) {
	w.stats.queries.Inc()
	if success {
		w.stats.success.Inc()
	}
	w.stats.time.Add(w.p.now().Sub(r.sentAt))
	w.stats.workerTime.Add(r.busy)
}
