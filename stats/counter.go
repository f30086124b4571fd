package stats

import (
	"encoding/json"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Windows are the averaging windows of a counter, in the order in which they
// follow the total in JSON (roles §2.12).
var Windows = [6]time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 24 * time.Hour}

// tick is how coarsely the moment of an event is remembered: 5 % of the
// shortest window, so that Add costs no logarithms.
const tick = 50 * time.Millisecond

// Values are a counter's seven numbers: the total since start, then one
// per-second rate for each of [Windows].
type Values [7]float64

// Counter counts events and remembers how fast they came.
//
// Each window's rate is an exponentially decayed sum whose time constant is
// the window, divided by the window in seconds. The zero Counter is ready and
// uses time.Now. Safe for concurrent use.
type Counter struct {
	now   func() time.Time
	total atomic.Int64
	since atomic.Int64 // start of the current tick, unix nanoseconds; 0 before the first event

	mu   sync.Mutex // guards the fields below
	seen int64      // part of total that is already in sums
	sums [len(Windows)]float64
}

// NewCounter returns a counter that reads the time from now; nil means
// time.Now.
func NewCounter(now func() time.Time) *Counter { return &Counter{now: now} }

// Inc counts one event.
func (c *Counter) Inc() { c.Add(1) }

// Add counts n at the present moment. It costs one clock reading and one
// atomic add; every 50 ms one caller also folds the past into the rates.
func (c *Counter) Add(n int64) {
	now := c.clock()
	if c.due(now) && c.mu.TryLock() {
		c.fold(now)
		c.mu.Unlock()
	}
	c.total.Add(n)
}

// Total is the sum of everything added.
func (c *Counter) Total() int64 { return c.total.Load() }

// Values reads the total and the rates as of now.
func (c *Counter) Values() Values { return c.scaled(1) }

// MarshalJSON writes [total, 1s, 10s, 1m, 10m, 1h, 1d].
func (c *Counter) MarshalJSON() ([]byte, error) { return json.Marshal(c.Values()) }

func (c *Counter) scaled(unit float64) Values {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	if c.due(now) {
		c.fold(now)
	}
	pending := c.total.Load() - c.seen
	v := Values{float64(c.seen+pending) / unit}
	for i, w := range Windows {
		v[i+1] = (c.sums[i] + float64(pending)) / w.Seconds() / unit
	}
	return v
}

// due says whether the tick that began at since is over. A clock that stepped
// back ends it too, or the counter would stand still until it caught up.
func (c *Counter) due(now int64) bool {
	since := c.since.Load()
	return now-since >= int64(tick) || now < since
}

// fold moves what came in the tick that began at since into the decayed sums
// and begins a new tick. The events are dated to the middle of their tick.
// The caller holds mu.
func (c *Counter) fold(now int64) {
	age := max(now-c.since.Load(), 0)
	total := c.total.Load()
	fresh := float64(total - c.seen)
	for i, w := range Windows {
		c.sums[i] = c.sums[i]*math.Exp(-float64(age)/float64(w)) +
			fresh*math.Exp(-float64(max(age-int64(tick)/2, 0))/float64(w))
	}
	c.seen = total
	c.since.Store(now)
}

func (c *Counter) clock() int64 {
	if c.now == nil {
		return time.Now().UnixNano()
	}
	return c.now().UnixNano()
}

// Timer is a [Counter] of durations; its values are seconds, and its rates
// seconds per second: how many were busy on average.
type Timer struct{ c Counter }

// NewTimer returns a timer that reads the time from now; nil means time.Now.
func NewTimer(now func() time.Time) *Timer { return &Timer{Counter{now: now}} }

// Add counts a duration that ended now.
func (t *Timer) Add(d time.Duration) { t.c.Add(int64(d)) }

// Total is the sum of all durations.
func (t *Timer) Total() time.Duration { return time.Duration(t.c.Total()) }

// Values reads total seconds and the rates as of now.
func (t *Timer) Values() Values { return t.c.scaled(float64(time.Second)) }

// MarshalJSON writes seven numbers in seconds, like [Counter.MarshalJSON].
func (t *Timer) MarshalJSON() ([]byte, error) { return json.Marshal(t.Values()) }
