package market

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"
)

// What a market has learned goes through JSON into the next one, and changes what that decides.
func TestRecall(t *testing.T) {
	m, c := known(t)
	good, bad, gone := offer(m, 1200, 10), offer(m, 1000, 10), offer(m, 1100, 10)
	teach(m, good, 100*time.Millisecond, 10*time.Millisecond)
	teach(m, bad, 900*time.Millisecond, 90*time.Millisecond)
	for range 3 {
		m.Pick(Want{Model: "m", MaxCoefficient: 1100, Wishes: Wishes{Only: []string{gone.Key}}})
		c.t = c.t.Add(time.Second)
		m.Done(gone, Failed, Took{Total: time.Millisecond})
	}
	m.Remove(gone)
	data, err := json.Marshal(m.Remembered())
	if err != nil {
		t.Fatal(err)
	}
	var records []Record
	if err := json.Unmarshal(data, &records); err != nil {
		t.Fatal(err)
	}
	if len(records) != 3 {
		t.Fatalf("%d records, want 3: %s", len(records), data)
	}

	next := New(Config{Seed: 1, Now: c.now, Without: Probes})
	next.Recall(records)
	if again, _ := json.Marshal(next.Remembered()); !bytes.Equal(data, again) {
		t.Errorf("remembered %s,\nrecalled and remembered again %s", data, again)
	}
	good, bad, gone = offer(next, 1200, 10), offer(next, 1000, 10), offer(next, 1100, 10)
	if i := next.Info(gone); i.Failures != 3 || i.Lost == 0 {
		t.Errorf("the failing one came back with %d failures, %v lost", i.Failures, i.Lost)
	}
	if i, j := next.Info(good), next.Info(bad); i.First >= j.First || i.Token >= j.Token || i.Token == 0 {
		t.Errorf("good: %s and %s, bad: %s and %s", i.First, i.Token, j.First, j.Token)
	}
	// One answer of the good one tells what is usual, and then all that was remembered counts.
	next.Pick(Want{Model: "m", MaxCoefficient: 4000, Wishes: Wishes{Only: []string{good.Key}}})
	next.Done(good, Served, Took{First: 100 * time.Millisecond, Total: 1100 * time.Millisecond, Tokens: 100, Prompt: 1024})
	if o, d := next.Pick(anyone); o != good {
		t.Errorf("%s, want the one remembered as fast", d)
	}
}

// Nonsense in the store does no harm.
func TestRecallRefuses(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	fine := Record{Model: "m", Key: "k", Seen: now.Add(-time.Hour), Token: Sums{5, 10, 1, 30, 2}, Start: Sums{5, 0, 1, 0, 0}, Lost: 0.5, First: 0.2}
	for name, change := range map[string]func(*Record){
		"no model":     func(r *Record) { r.Model = "" },
		"no key":       func(r *Record) { r.Key = "" },
		"long key":     func(r *Record) { r.Key = string(make([]byte, 600)) },
		"future":       func(r *Record) { r.Seen = now.Add(time.Hour) },
		"old":          func(r *Record) { r.Seen = now.Add(-2 * keepFor) },
		"not a number": func(r *Record) { r.Token[1] = math.NaN() },
		"infinite":     func(r *Record) { r.Start[2] = math.Inf(1) },
		"negative":     func(r *Record) { r.First = -1 },
		"lost":         func(r *Record) { r.Lost = 2 },
		"failures":     func(r *Record) { r.Failures = -1 },
	} {
		m := New(Config{Now: func() time.Time { return now }})
		r := fine
		change(&r)
		if m.Recall([]Record{r}); len(m.Remembered()) != 0 {
			t.Errorf("%s: was recalled", name)
		}
	}
	m := New(Config{Now: func() time.Time { return now }})
	var many []Record
	for i := range 2 * maxRemembered {
		r := fine
		r.Key = fmt.Sprint(i)
		r.Seen = r.Seen.Add(time.Duration(i) * time.Millisecond)
		many = append(many, r)
	}
	m.Recall(many)
	if n := len(m.Remembered()); n != maxRemembered {
		t.Errorf("%d of %d were recalled, want %d", n, len(many), maxRemembered)
	}
	if o := m.Add(Terms{Model: "m", Key: "0", Limit: 1}); o.lost != 0 {
		t.Error("the oldest was kept")
	}
	if o := m.Add(Terms{Model: "m", Key: fmt.Sprint(len(many) - 1), Limit: 1}); o.lost != 0.5 {
		t.Error("the newest was not kept")
	}
}

// A failing worker that rests for very long in a store made up by somebody is tried all the same.
func TestRecalledRestEnds(t *testing.T) {
	m, c := market(1)
	m.Recall([]Record{{Model: "m", Key: "1000", Seen: c.t.Add(-time.Second), Failures: 1 << 30, RetryAt: c.t.Add(1e6 * time.Hour)}})
	o := offer(m, 1000, 1)
	offer(m, 4000, 1)
	w := anyone
	w.MaxCoefficient = 1000
	if o, _ := m.Pick(w); o != nil {
		t.Error("no rest")
	}
	c.t = c.t.Add(3 * longestBackOff)
	if got, d := m.Pick(w); got != o {
		t.Errorf("after the rest: %s", d)
	}
}

// Numbers that each look fine can make nonsense together: a worker must neither become one that
// is never asked nor one that always is.
func TestRecalledNonsenseIsHarmless(t *testing.T) {
	for _, s := range []Sums{{1e-300, 1e9, 1e9, 1e9, 1e9}, {5e-324, 0, 1e9, 0, 0}, {1e9, 1e9, 1e-300, 0, 0}, {1, 0, 1e9, 1e9, 1e9}, {1, 1e9, 5e-324, 1e9, 0}, {1e-9, 1, 1, 1, 1}} {
		for _, first := range []float64{0, 1e-300, 1e9} {
			m, c := known(t)
			m.Recall([]Record{{Model: "m", Key: "1000", Seen: c.t.Add(-time.Second), Token: s, Start: s, First: first, Stray: first}})
			odd, usual := offer(m, 1000, 100), offer(m, 1001, 100)
			teach(m, usual, 100*time.Millisecond, 10*time.Millisecond)
			picks := map[*Offer]int{}
			for range 200 {
				o, d := m.Pick(anyone)
				if o == nil || math.IsNaN(d.Score) {
					t.Fatalf("%v, %v: %s", s, first, d)
				}
				picks[o]++
				if after := m.HedgeAfter(o, anyone); after < 0 {
					t.Errorf("%v: a second worker after %s", s, after)
				}
				m.Done(o, Served, Took{First: 100 * time.Millisecond, Total: 1100 * time.Millisecond, Tokens: 100, Prompt: 1024})
			}
			if i := m.Info(odd); picks[odd] == 0 && i.Token == 0 || i.Token < 0 || i.First < 0 {
				t.Errorf("%v, %v: %d picks, %+v", s, first, picks[odd], i)
			}
			for _, score := range odd.score {
				if math.IsNaN(float64(score)) || math.IsInf(float64(score), 0) {
					t.Errorf("%v, %v: scores %v", s, first, odd.score)
					break
				}
			}
		}
	}
}
