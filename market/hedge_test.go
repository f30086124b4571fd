package market

import (
	"testing"
	"time"
)

// A second worker may be asked when nearly all first answers of the first would have come.
func TestHedgeAfter(t *testing.T) {
	m, _ := known(t)
	o := offer(m, 1000, 10)
	if after := m.HedgeAfter(o, anyone); after != 0 {
		t.Errorf("after %s for a worker that nobody knows, want never", after)
	}
	steady, fickle := offer(m, 1001, 10), offer(m, 1002, 10)
	for i := range 40 {
		teach(m, steady, 100*time.Millisecond, 10*time.Millisecond)
		teach(m, fickle, []time.Duration{50, 400}[i%2]*time.Millisecond, 10*time.Millisecond)
	}
	a, b := m.HedgeAfter(steady, anyone), m.HedgeAfter(fickle, anyone)
	if a < 110*time.Millisecond || a > 250*time.Millisecond {
		t.Errorf("steady: after %s, want a little more than the usual 100 ms", a)
	}
	if b < 400*time.Millisecond || b < 2*a {
		t.Errorf("fickle: after %s, want more than its slow answers' 400 ms", b)
	}
	w := anyone
	w.NoFallbacks = true
	if after := m.HedgeAfter(steady, w); after != 0 {
		t.Errorf("without fallbacks: after %s, want never", after)
	}
}

// Second workers cost at most their share of the requests, and never the place of one who waits.
func TestHedgeBudget(t *testing.T) {
	m, _ := known(t)
	a, b := offer(m, 1000, 1000), offer(m, 3000, 1000)
	if o, d := m.Hedge(anyone, a); o != nil {
		t.Errorf("a second worker before any request: %s", d)
	}
	hedged := 0
	const requests = 5000
	for range requests {
		first, _ := m.Pick(anyone)
		if o, _ := m.Hedge(anyone, first); o != nil {
			if o == first {
				t.Fatal("the second worker is the first")
			}
			hedged++
			m.Done(o, Overtaken, Took{First: time.Second, Total: time.Second})
		}
		m.Done(first, Served, Took{First: 1, Total: 2, Tokens: 1})
	}
	if want := requests / 50; hedged < want-1 || hedged > want {
		t.Errorf("%d second workers for %d requests, want %d", hedged, requests, want)
	}
	for range 1000 { // none of this is the worker's fault, so that it still is asked
		m.Pick(anyone)
	}
	if i := m.Info(b); i.Failures != 0 || i.Lost != 0 {
		t.Errorf("being overtaken counts as failure: %+v", i)
	}
	m.mu.Lock()
	m.models["m"].queue.root = (&Waiter{}).sum()
	m.mu.Unlock()
	if o, _ := m.Hedge(anyone, a); o != nil {
		t.Error("a second worker was asked while others wait")
	}
	none := New(Config{HedgeShare: -1})
	x := offer(none, 1000, 10)
	teach(none, x, 1, 1)
	if none.HedgeAfter(x, anyone) != 0 {
		t.Error("a market without second workers names a time")
	}
}

// Whoever is overtaken over and over is known to be slow, though it never answered.
func TestOvertakenIsRemembered(t *testing.T) {
	m, _ := known(t)
	a, b := offer(m, 1000, 10), offer(m, 1050, 10)
	teach(m, a, 100*time.Millisecond, 10*time.Millisecond)
	teach(m, b, 100*time.Millisecond, 10*time.Millisecond)
	before := m.Info(a).First
	for range 20 {
		o, _ := m.Pick(Want{Model: "m", MaxCoefficient: 4000, Wishes: Wishes{Only: []string{a.Key}}})
		m.Done(o, Overtaken, Took{First: 3 * time.Second, Total: 3 * time.Second, Prompt: 1024})
	}
	if after := m.Info(a).First; after < 5*before {
		t.Errorf("first answer %s after it was overtaken at 3 s twenty times, %s before", after, before)
	}
	if o, d := m.Pick(anyone); o != b {
		t.Errorf("%s", d)
	}
}

// A request is overdue in time for another worker, and not before an honest one could have answered.
func TestOverdue(t *testing.T) {
	m, _ := known(t)
	o := offer(m, 1000, 10)
	if after := m.Overdue(o, anyone, time.Minute); after != 20*time.Second {
		t.Errorf("where nobody knows anything after %s of a minute, want a third", after)
	}
	for range 10 {
		teach(m, o, 500*time.Millisecond, 10*time.Millisecond) // 100 tokens: 1.5 s in all
	}
	whole := anyone
	whole.Whole = true
	short := whole
	short.MaxTokens = 10
	no := anyone
	no.NoFallbacks = true
	for _, x := range []struct {
		name        string
		w           Want
		left        time.Duration
		least, most time.Duration
	}{
		{"a stream", anyone, time.Minute, shortestLate, 6 * time.Second},
		{"a stream with little time", anyone, 4 * time.Second, time.Second, 2 * time.Second},
		{"a stream with too little time", anyone, 600 * time.Millisecond, 0, 0},
		{"in one piece, of any length", whole, time.Minute, 9 * time.Second, 40 * time.Second},
		{"in one piece, and short", short, time.Minute, shortestLate, 6 * time.Second},
		{"a stream with all the time", anyone, time.Hour, shortestLate, 10 * time.Second},
		{"no fallbacks", no, time.Minute, 0, 0},
	} {
		if after := m.Overdue(o, x.w, x.left); after < x.least || after > x.most {
			t.Errorf("%s: after %s of %s, want %s to %s", x.name, after, x.left, x.least, x.most)
		}
	}
}

// Workers that have made everything slow do not make a request wait past its time.
func TestOverdueWhereAllIsSlow(t *testing.T) {
	m, _ := known(t)
	o, slow := offer(m, 1000, 10), offer(m, 1001, 10)
	for range 20 {
		teach(m, slow, 300*time.Second, 10*time.Second)
	}
	for _, left := range []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute} {
		if after := m.Overdue(o, anyone, left); after <= 0 || after > left*2/3 {
			t.Errorf("after %s of %s, want a third for another", after, left)
		}
	}
}
