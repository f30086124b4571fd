package stats

import (
	"encoding/json"
	"math"
	"sync"
	"testing"
	"time"
)

// clock is a clock that a test moves.
type clock struct{ t time.Time }

func newClock() *clock                { return &clock{time.Unix(1_800_000_000, 0)} }
func (c *clock) now() time.Time       { return c.t }
func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }
func near(got, want, tol float64) bool {
	return math.Abs(got-want) <= tol*math.Max(1e-9, math.Abs(want))
}

func TestCounterReachesTheRate(t *testing.T) {
	clk := newClock()
	c := NewCounter(clk.now)
	for range 600 * 100 { // 100 events per second for ten minutes
		c.Inc()
		clk.pass(10 * time.Millisecond)
	}
	v := c.Values()
	if v[0] != 60000 || c.Total() != 60000 {
		t.Fatalf("total is %v and %d, want 60000", v[0], c.Total())
	}
	for i, w := range Windows {
		want := 100 * (1 - math.Exp(-600/w.Seconds()))
		if !near(v[i+1], want, 0.05) {
			t.Errorf("%v rate is %v, want about %v", w, v[i+1], want)
		}
	}
}

func TestCounterForgetsByItsWindow(t *testing.T) {
	clk := newClock()
	c := NewCounter(clk.now)
	c.Add(1000)
	clk.pass(10 * time.Second)
	v := c.Values()
	for i, w := range Windows {
		want := 1000 * math.Exp(-10/w.Seconds()) / w.Seconds()
		if !near(v[i+1], want, 0.05) {
			t.Errorf("%v rate 10 s after the events is %v, want about %v", w, v[i+1], want)
		}
	}
	if again := c.Values(); again != v {
		t.Errorf("reading changed the values: %v, then %v", v, again)
	}
	clk.pass(time.Minute)
	c.Add(1) // an event after a silence must not date the older ones to now
	if v := c.Values(); v[0] != 1001 || !near(v[1], 1, 0.05) {
		t.Errorf("after a minute of silence: total %v, 1 s rate %v; want 1001 and 1", v[0], v[1])
	}
}

func TestCounterClockSteppingBack(t *testing.T) {
	clk := newClock()
	c := NewCounter(clk.now)
	c.Add(5)
	clk.pass(-time.Hour)
	c.Add(5)
	for i, x := range c.Values() {
		if math.IsNaN(x) || math.IsInf(x, 0) || x < 0 {
			t.Errorf("value %d is %v after the clock stepped back", i, x)
		}
	}
}

func TestCounterJSONAndTimer(t *testing.T) {
	clk := newClock()
	c, d := NewCounter(clk.now), NewTimer(clk.now)
	c.Add(3)
	d.Add(1500 * time.Millisecond)
	b, err := json.Marshal(map[string]any{"queries": c, "time": d})
	want := `{"queries":[3,3,0.3,0.05,0.005,0.0008333333333333334,0.00003472222222222222],` +
		`"time":[1.5,1.5,0.15,0.025,0.0025,0.0004166666666666667,0.00001736111111111111]}`
	if err != nil || string(b) != want {
		t.Errorf("got %s, %v\nwant %s", b, err, want)
	}
	if d.Total() != 1500*time.Millisecond {
		t.Errorf("timer total is %v, want 1.5s", d.Total())
	}
}

func TestCounterLosesNothingUnderContention(t *testing.T) {
	var c Counter
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10_000 {
				c.Inc()
			}
		})
		wg.Go(func() { c.Values() })
	}
	wg.Wait()
	if got := c.Values()[0]; got != 80_000 {
		t.Errorf("total is %v, want 80000", got)
	}
}

func BenchmarkCounterInc(b *testing.B) {
	var c Counter
	for b.Loop() {
		c.Inc()
	}
}
