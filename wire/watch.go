package wire

import (
	"fmt"
	"time"
)

// Time on a connection is kept coarsely: frames only note when they came, and
// one timer per connection looks now and then whether something is overdue.

// clock is nanoseconds since shortly before the connection began; never 0.
func (c *Conn) clock() int64 { return int64(time.Since(c.born)) + 1 }

func (c *Conn) heard() { c.lastHeard.Store(c.clock()) }

func (c *Conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	now := c.clock()
	if err := c.overdue(now); err != nil {
		c.failLocked(err)
		return
	}
	c.shrink()
	if c.pingDue(now) {
		c.pingLocked(now)
	}
	if c.err == nil {
		c.timer.Reset(c.nextTick(now))
	}
}

// Ping asks the peer for a sign of life, from which the round trip is measured. Either side may.
func (c *Conn) Ping() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.flush == nil {
		c.pingLocked(c.clock())
	}
}

func (c *Conn) pingLocked(now int64) {
	c.asking.Store(now)
	ping := outgoing{kind: idPing, id: now}
	c.queueLocked(&ping, 0, ping.size(0))
}

// ponged measures the round trip of the last ping. A shorter one counts at once, for what makes
// longer ones is mostly what else was to be written.
func (c *Conn) ponged(id int64) {
	if id == 0 || !c.asking.CompareAndSwap(id, 0) {
		return // late, or never asked for
	}
	took, known := max(c.clock()-id, 1), c.trip.Load()
	if known > 0 && took > known {
		took = known + (took-known)/8
	}
	c.trip.Store(took)
	if c.cfg.OnRTT != nil {
		c.cfg.OnRTT(time.Duration(took))
	}
}

// RTT is the smoothed round trip of pings; 0 until one was answered.
func (c *Conn) RTT() time.Duration { return time.Duration(c.trip.Load()) }

func (c *Conn) overdue(now int64) error {
	if c.flush != nil && now >= c.flushBy {
		return c.flush
	}
	if quiet := time.Duration(now - c.lastHeard.Load()); quiet >= c.cfg.Idle {
		return fmt.Errorf("%w: limit %v", ErrIdle, c.cfg.Idle)
	}
	if since := c.writing.Load(); since != 0 && time.Duration(now-since) >= c.cfg.Stall {
		return fmt.Errorf("%w: took nothing for %v", ErrSlowPeer, c.cfg.Stall)
	}
	return nil
}

// pingDue says, once per silence, that it has lasted long enough for a ping. A
// listener pings only who is being sent something.
func (c *Conn) pingDue(now int64) bool {
	last, sends := c.lastHeard.Load(), c.outSeq != c.lastSeq
	if c.lastSeq = c.outSeq; c.cfg.listens && !sends {
		return false
	}
	if c.cfg.PingAfter < 0 || c.pinged == last || now-last < int64(c.cfg.PingAfter) {
		return false
	}
	c.pinged = last
	return true
}

// nextTick is how long nothing can become overdue, in the worst case.
func (c *Conn) nextTick(now int64) time.Duration {
	last := c.lastHeard.Load()
	next := min(last+int64(c.cfg.Idle), now+int64(c.cfg.Stall)/2)
	if c.cfg.PingAfter > 0 && !c.cfg.listens && c.pinged != last {
		next = min(next, last+int64(c.cfg.PingAfter))
	}
	if c.flush != nil {
		next = min(next, c.flushBy)
	}
	return max(time.Duration(next-now), time.Millisecond)
}
