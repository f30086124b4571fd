package market

import (
	"strings"
	"testing"
	"time"
)

// An idle worker is told the real reason.
func TestWhy(t *testing.T) {
	ask := func(m *Market, w Want, n int) {
		for range n {
			if o, _ := m.Pick(w); o != nil {
				m.Done(o, Served, Took{First: 100 * time.Millisecond, Total: 1100 * time.Millisecond, Tokens: 100, Prompt: 1024})
			}
		}
	}
	for _, x := range []struct {
		name string
		do   func(m *Market, c *clock, idle *Offer)
		want Cause
		says string
	}{
		{"gone", func(m *Market, _ *clock, idle *Offer) { m.Remove(idle) }, IsGone, "gone"},
		{"disabled", func(m *Market, _ *clock, idle *Offer) { m.SetEnabled(idle, false) }, IsDisabled, "disabled"},
		{"no demand", func(m *Market, _ *clock, _ *Offer) {}, NoDemand, "nobody has asked"},
		{"demand long ago", func(m *Market, c *clock, _ *Offer) {
			ask(m, anyone, 10)
			c.t = c.t.Add(2 * demandLasts)
		}, NoDemand, "nobody has asked"},
		{"too dear", func(m *Market, _ *clock, _ *Offer) {
			w := anyone
			w.MaxCoefficient = 1400
			ask(m, w, 10)
		}, IsTooDear, "10 of 10 requests in the last 0s accept only less than 1500; they went from 1000 on"},
		{"unfit", func(m *Market, _ *clock, _ *Offer) {
			w := anyone
			w.Needs = Tools
			ask(m, w, 10)
		}, IsUnfit, "need a version, revision, context or capability"},
		{"outbid", func(m *Market, _ *clock, _ *Offer) { ask(m, anyone, 10) }, IsOutbid, "price 1500 and 0.82 times the usual time; none of 10 requests in the last 0s, they went for 1000 and 1.00; it would win at 118"},
		{"slower", func(m *Market, _ *clock, idle *Offer) {
			ask(m, anyone, 20)
			m.SetCoefficient(idle, 1000)
			teach(m, idle, time.Second, 100*time.Millisecond)
			m.models["m"].recent = recent{}
			ask(m, anyone, 50)
		}, IsSlower, "slower: price 1000"},
		{"resting", func(m *Market, c *clock, idle *Offer) {
			w := anyone
			w.Only = []string{idle.Key}
			for range 3 {
				m.Pick(w)
				c.t = c.t.Add(time.Second)
				m.Done(idle, Failed, Took{Total: time.Millisecond})
			}
		}, IsResting, "resting after 3 failures in a row until 2023-11-14T22:13:2"},
		{"unreliable", func(m *Market, c *clock, idle *Offer) {
			m.SetCoefficient(idle, 900)
			w := anyone
			w.Only = []string{idle.Key}
			for i := range 40 {
				m.Pick(w)
				c.t = c.t.Add(time.Second)
				m.Done(idle, []Outcome{Failed, Served}[i%2], Took{First: 100 * time.Millisecond, Total: 1100 * time.Millisecond, Tokens: 100, Prompt: 1024})
			}
			m.models["m"].recent = recent{} // its own work is long ago
			ask(m, anyone, 10)
		}, IsUnreliable, "unreliable: it lost"},
		{"works", func(m *Market, _ *clock, idle *Offer) {
			m.SetCoefficient(idle, 500)
			ask(m, anyone, 10)
		}, Works, "works: 10 of 10 requests"},
		{"full", func(m *Market, _ *clock, idle *Offer) {
			w := anyone
			w.Only = []string{idle.Key}
			m.Pick(w)
			m.Pick(w)
		}, IsFull, "full"},
	} {
		m, c := known(t)
		m.Add(Terms{Model: "m", Coefficient: 1000, Limit: 100, Enabled: true, Key: "winner", Has: Known | Tools})
		idle := m.Add(Terms{Model: "m", Coefficient: 1500, Limit: 2, Enabled: true, Key: "idle", Has: Known})
		x.do(m, c, idle)
		if r := m.Why(idle); r.Cause != x.want || !strings.Contains(r.String(), x.says) {
			t.Errorf("%s: %s (%s), want %s, %q", x.name, r, r.Cause, x.want, x.says)
		}
	}
}

// What the answer promises holds: at the price named the worker gets work, a tenth above it does not.
func TestWouldWinAt(t *testing.T) {
	m, _ := known(t)
	winner, idle := offer(m, 1000, 100), offer(m, 2000, 100)
	teach(m, winner, 100*time.Millisecond, 10*time.Millisecond)
	teach(m, idle, 150*time.Millisecond, 15*time.Millisecond)
	pick := func() *Offer {
		o, _ := m.Pick(anyone)
		m.Done(o, Neutral, Took{})
		return o
	}
	for range 200 {
		if pick() != winner {
			t.Fatal("the dearer and slower one won")
		}
	}
	at := m.Why(idle).WouldWinAt
	if at == 0 || at >= 1000 {
		t.Fatalf("would win at %d, want less than the faster one's 1000", at)
	}
	won := func(price uint32) (n int) {
		m.SetCoefficient(idle, price)
		for range 100 {
			if pick() == idle {
				n++
			}
		}
		return n
	}
	if n := won(at * 13 / 10); n != 0 {
		t.Errorf("at %d it won %d of 100", at*13/10, n)
	}
	if n := won(at); n == 0 {
		t.Errorf("at %d it won none of 100", at)
	}
}

// Where all asked for the cheapest, nobody knows a mark that would win; who is as cheap and fast was unlucky all the same.
func TestWhyUnluckyByPrice(t *testing.T) {
	m, _ := market(1)
	a := m.Add(Terms{Model: "m", Key: "a", Coefficient: 1000, Limit: 10, Enabled: true})
	b := m.Add(Terms{Model: "m", Key: "b", Coefficient: 1000, Limit: 10, Enabled: true})
	o, _ := m.Pick(Want{Model: "m", MaxCoefficient: 4000, Wishes: Wishes{Sort: Price}})
	m.Done(o, Neutral, Took{})
	if o == a {
		a = b
	}
	if r := m.Why(a); r.Cause != IsUnlucky {
		t.Errorf("%s", r)
	}
}
