package market

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// waiting fills one place of one worker and lets the named clients queue, in order.
func waiting(t *testing.T, limit int, clients string) (*Market, *Offer, []*Waiter) {
	t.Helper()
	c := &clock{time.Unix(1_700_000_000, 0)}
	m := New(Config{Seed: 1, QueueLimit: limit, Now: c.now})
	o := offer(m, 1000, 1)
	m.Pick(anyone)
	var list []*Waiter
	for _, name := range clients {
		list = append(list, enqueue(t, m, string(name)))
	}
	return m, o, list
}

func enqueue(t *testing.T, m *Market, client string) *Waiter {
	t.Helper()
	w := &Waiter{Want: Want{Model: "m", MaxCoefficient: 4000, Client: client}}
	if dropped, err := m.Enqueue(w); err != nil || dropped != nil {
		t.Fatalf("%s: dropped %v, %v", client, dropped, err)
	}
	return w
}

// drain ends the running request again and again and says who was served.
func drain(m *Market, o *Offer) (order string) {
	for {
		grants := m.Done(o, Served, Took{First: 1, Total: 1})
		if len(grants) == 0 {
			return order
		}
		for _, g := range grants {
			order += g.Waiter.Client
		}
	}
}

func TestTurns(t *testing.T) {
	for _, x := range [][2]string{
		{"", ""}, {"a", "a"}, {"aaa", "aaa"}, {"ab", "ab"}, {"aaab", "abaa"}, {"aaabbc", "abcaba"}, {"abcabc", "abcabc"},
	} {
		m, o, _ := waiting(t, 10, x[0])
		if got := drain(m, o); got != x[1] {
			t.Errorf("%q was served as %q, want %q", x[0], got, x[1])
		}
	}
}

// While all can be served soon the first to come is the first served; then turns count, also those had meanwhile.
func TestTurnsOfShortQueue(t *testing.T) {
	for _, x := range []struct {
		patience       time.Duration
		clients, order string
	}{
		{0, "aaab", "abaa"}, // nobody knows how long is soon
		{20 * time.Second, "aa", "aa"},
		{time.Minute, "ab", "ab"},
		{time.Minute, "aab", "aab"},
		{time.Minute, "aaab", "aaba"}, // 8 and 16 of 60 s are short, 24 s are not
		{time.Minute, "aabab", "aabba"},
		{10 * time.Minute, "aaaaab", "aaaaab"},
	} {
		m, o, _ := waiting(t, 20, "")
		m.Done(o, Served, Took{First: time.Second, Total: 8 * time.Second})
		m.Pick(anyone)
		for _, client := range x.clients {
			w := &Waiter{Want: Want{Model: "m", MaxCoefficient: 4000, Client: string(client)}, Patience: x.patience}
			if _, err := m.Enqueue(w); err != nil {
				t.Fatalf("%q with %s: %v", x.clients, x.patience, err)
			}
		}
		if got := drain(m, o); got != x.order {
			t.Errorf("%q with %s was served as %q, want %q", x.clients, x.patience, got, x.order)
		}
	}
}

// Though a full queue is short, who fills it locks nobody out.
func TestShortQueueLeavesRoom(t *testing.T) {
	m, o, _ := waiting(t, 4, "")
	m.Done(o, Served, Took{First: time.Second, Total: time.Second})
	m.Pick(anyone)
	for i, client := range "aaaab" {
		w := &Waiter{Want: Want{Model: "m", MaxCoefficient: 4000, Client: string(client)}, Patience: time.Hour}
		dropped, err := m.Enqueue(w)
		if err != nil || (dropped != nil) != (i == 4) {
			t.Errorf("%c: dropped %v, %v", client, dropped, err)
		}
	}
	if got := drain(m, o); got != "aaba" {
		t.Errorf("served %q, want aaba", got)
	}
}

// A turn that was not used is given back, though it came before its time.
func TestShortQueueGivesBack(t *testing.T) {
	m, o, _ := waiting(t, 20, "")
	m.Done(o, Served, Took{First: time.Second, Total: 8 * time.Second})
	m.Pick(anyone)
	join := func(client string) *Waiter {
		w := &Waiter{Want: Want{Model: "m", MaxCoefficient: 4000, Client: client}, Patience: time.Minute}
		if _, err := m.Enqueue(w); err != nil {
			t.Fatal(err)
		}
		return w
	}
	join("b")
	first := join("a")
	if next := first.line.next; !m.Cancel(first) || first.began != 0 || next != first.cost {
		t.Fatalf("the turn of a began at %v and the next would at %v, want 0 and %v", first.began, next, first.cost)
	}
	if again := join("a"); again.began != 0 {
		t.Errorf("a's turn begins at %v after one that was given back, want 0", again.began)
	}
	if got := drain(m, o); got != "ba" {
		t.Errorf("served %q, want ba", got)
	}
}

// Place tells everybody the turn that drain then gives.
func TestPlace(t *testing.T) {
	const clients = "aaabbcadda"
	m, o, list := waiting(t, 20, clients)
	want := map[*Waiter]int{}
	for _, w := range list {
		want[w], _ = m.Place(w)
	}
	for turn := 1; ; turn++ {
		grants := m.Done(o, Served, Took{First: 1, Total: 1})
		if len(grants) == 0 {
			break
		}
		if w := grants[0].Waiter; want[w] != turn {
			t.Errorf("a waiter of %s was told place %d and served as %d", w.Client, want[w], turn)
		}
		if n, _ := m.Place(grants[0].Waiter); n != 0 {
			t.Errorf("a served waiter has place %d", n)
		}
	}
}

func TestPlaceEstimate(t *testing.T) {
	m, o, _ := waiting(t, 20, "")
	m.Done(o, Served, Took{First: time.Second, Total: 8 * time.Second})
	m.Pick(anyone)
	offer(m, 9000, 3)
	a, b := enqueue(t, m, "a"), enqueue(t, m, "b")
	if n, wait := m.Place(a); n != 1 || wait != 4*time.Second {
		t.Errorf("first: place %d, %s, want 1 and 8 s over half of 4 places: half of the offers are too dear", n, wait)
	}
	if n, wait := m.Place(b); n != 2 || wait != 8*time.Second {
		t.Errorf("second: place %d, %s", n, wait)
	}
}

// A client that fills the queue does not lock others out, and fairness never drops an equal.
func TestFullQueue(t *testing.T) {
	m, o, list := waiting(t, 4, "aaaa")
	b := &Waiter{Want: Want{Model: "m", MaxCoefficient: 4000, Client: "b"}}
	if dropped, err := m.Enqueue(b); err != nil || dropped != list[3] {
		t.Errorf("b dropped %v, %v, want the last of a", dropped, err)
	}
	b2 := &Waiter{Want: b.Want}
	if dropped, err := m.Enqueue(b2); err != nil || dropped != list[2] {
		t.Errorf("b dropped %v, %v, want the third of a", dropped, err)
	}
	for _, client := range []string{"a", "b"} {
		if dropped, err := m.Enqueue(&Waiter{Want: Want{Model: "m", Client: client}}); !errors.Is(err, ErrQueueFull) || dropped != nil {
			t.Errorf("%s: dropped %v, %v, want a full queue", client, dropped, err)
		}
	}
	if m.Cancel(list[3]) {
		t.Error("a dropped waiter was still waiting")
	}
	if got := drain(m, o); got != "abab" {
		t.Errorf("served %q", got)
	}
}

func TestCancel(t *testing.T) {
	m, o, list := waiting(t, 10, "abcabc")
	for _, i := range []int{0, 1, 4} {
		if !m.Cancel(list[i]) || m.Cancel(list[i]) {
			t.Errorf("cancelling %d", i)
		}
	}
	if got := drain(m, o); got != "cac" && got != "acc" {
		t.Errorf("served %q", got)
	}
	if m.Cancel(list[2]) {
		t.Error("a served waiter was cancelled")
	}
}

// One who cannot pay the free offer does not block those behind.
func TestPoorWaiterDoesNotBlock(t *testing.T) {
	m, _, _ := waiting(t, 10, "")
	poor := &Waiter{Want: Want{Model: "m", MaxCoefficient: 1000, Client: "a"}}
	rich := &Waiter{Want: Want{Model: "m", MaxCoefficient: 9000, Client: "a"}}
	for _, w := range []*Waiter{poor, rich} {
		if _, err := m.Enqueue(w); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.Match("m"); len(got) != 0 {
		t.Errorf("%d grants with nothing free", len(got))
	}
	offer(m, 5000, 5)
	got := m.Match("")
	if len(got) != 1 || got[0].Waiter != rich || got[0].Decision.Coefficient != 5000 {
		t.Errorf("%+v", got)
	}
	if n, _ := m.Place(poor); n != 1 {
		t.Errorf("the poor one has place %d", n)
	}
}

// A rest that ends by itself is noticed by Match.
func TestMatchAfterRest(t *testing.T) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	m := New(Config{Now: c.now})
	bad := offer(m, 1000, 5)
	for range 3 {
		m.Pick(anyone)
		c.t = c.t.Add(10 * time.Millisecond)
		m.Done(bad, Failed, Took{First: 0, Total: time.Millisecond})
	}
	m.Add(Terms{Model: "m", Coefficient: 1, Limit: 1, Key: "disabled, so that bad is no last resort"})
	w := enqueue(t, m, "a")
	if got := m.Match("m"); len(got) != 0 {
		t.Errorf("%+v during the rest", got)
	}
	c.t = c.t.Add(2 * time.Second)
	if got := m.Match("m"); len(got) != 1 || got[0].Waiter != w {
		t.Errorf("%+v after the rest", got)
	}
}

func TestNoQueue(t *testing.T) {
	m := New(Config{QueueLimit: -1})
	if _, err := m.Enqueue(&Waiter{Want: anyone}); !errors.Is(err, ErrQueueFull) {
		t.Error(err)
	}
	if strings.Contains(fmt.Sprint(m.Match("")), "Waiter") {
		t.Error("a grant from an empty queue")
	}
}

// Everybody who waits is served, dropped or cancelled, exactly once.
func TestQueueRandom(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		m := New(Config{Seed: seed, QueueLimit: 8})
		offers := []*Offer{offer(m, 1000, 2), offer(m, 3000, 1)}
		in, out := map[*Waiter]bool{}, 0
		var running []*Offer
		leave := func(w *Waiter, how string) {
			if !in[w] {
				t.Fatalf("seed %d: %s one who was not waiting", seed, how)
			}
			delete(in, w)
			out++
		}
		granted := func(grants []Grant) {
			for _, g := range grants {
				leave(g.Waiter, "served")
				running = append(running, g.Offer)
			}
		}
		for range 3000 {
			switch k := r.IntN(10); {
			case k < 5:
				w := &Waiter{Want: Want{Model: "m", MaxCoefficient: uint32(1000 + 2000*r.IntN(2)), Client: fmt.Sprint(r.IntN(4))}}
				if o, _ := m.Pick(w.Want); o != nil {
					running = append(running, o)
				} else if dropped, err := m.Enqueue(w); err == nil {
					if in[w] = true; dropped != nil {
						leave(dropped, "dropped")
					}
				}
			case k < 8 && len(running) > 0:
				o := running[0]
				running = running[1:]
				granted(m.Done(o, Served, Took{First: 1, Total: 1}))
			case k == 8:
				for w := range in {
					if n, _ := m.Place(w); n < 1 || n > len(in) {
						t.Fatalf("seed %d: place %d of %d", seed, n, len(in))
					}
					if !m.Cancel(w) {
						t.Fatalf("seed %d: could not cancel", seed)
					}
					leave(w, "cancelled")
					break
				}
			default:
				o := offers[r.IntN(2)]
				m.SetEnabled(o, r.IntN(3) > 0)
				granted(m.Match("m"))
			}
			if n := m.models["m"].queue.len(); n != len(in) || n > 8 {
				t.Fatalf("seed %d: %d in the queue, want %d", seed, n, len(in))
			}
		}
		if out == 0 {
			t.Errorf("seed %d: nobody ever waited", seed)
		}
	}
}

// A client that offers twice the usual price gets two turns for each of one who offers the usual.
func TestWhoPaysMoreWaitsLess(t *testing.T) {
	m, o, _ := waiting(t, 100, "")
	m.Done(o, Served, Took{First: time.Second, Total: time.Second}) // now the usual price is known: 1000
	m.Pick(anyone)
	for i := range 12 {
		for _, client := range []string{"rich", "poor"} {
			w := &Waiter{Want: Want{Model: "m", MaxCoefficient: 1000, Client: client}}
			if client == "rich" {
				w.MaxCoefficient = 9000 // no more than twice as much counts
			}
			if _, err := m.Enqueue(w); err != nil {
				t.Fatal(i, client, err)
			}
		}
	}
	rich := 0
	for range 9 {
		g := m.Done(o, Neutral, Took{})
		if g[0].Waiter.Client == "rich" {
			rich++
		}
	}
	if rich != 6 {
		t.Errorf("of the first nine the rich one got %d, want 6", rich)
	}
}

// One who always has a single request waiting does not overtake one with many.
func TestOneAtATimeIsNoTrick(t *testing.T) {
	m, o, _ := waiting(t, 100, "")
	m.Done(o, Served, Took{First: 1, Total: 1}) // now the usual price is known
	m.Pick(anyone)
	for range 20 {
		enqueue(t, m, "a")
	}
	enqueue(t, m, "b")
	got := map[string]int{}
	for range 20 {
		for _, g := range m.Done(o, Served, Took{First: 1, Total: 1}) {
			got[g.Waiter.Client]++
			if g.Waiter.Client == "b" {
				enqueue(t, m, "b")
			}
		}
	}
	if got["a"] < 9 || got["b"] < 9 {
		t.Errorf("served %v, want turns", got)
	}
}

// A request that cannot be served in time is refused at once, with how long it would take.
func TestTooLate(t *testing.T) {
	for _, x := range []struct {
		name     string
		left     time.Duration // until the deadline, 0 is none
		patience time.Duration
		want     time.Duration // that is said to be left, -1: it may wait
	}{
		{"any time", 0, 0, -1},
		{"in time", time.Minute, 0, -1},
		{"no time", 20 * time.Second, 0, 19 * time.Second}, // less the second until a first answer
		{"over", time.Nanosecond, 0, 0},
		{"patient", 0, time.Minute, -1},
		{"impatient", 0, 20 * time.Second, 20 * time.Second},
		{"impatient with time", time.Minute, 20 * time.Second, 20 * time.Second},
		{"patient without time", 20 * time.Second, time.Minute, 19 * time.Second},
	} {
		m, o, _ := waiting(t, 20, "")
		m.Done(o, Served, Took{First: time.Second, Total: 8 * time.Second})
		m.Pick(anyone)
		for range 3 {
			enqueue(t, m, "a")
		}
		w := &Waiter{Want: Want{Model: "m", MaxCoefficient: 4000, Client: "a"}, Patience: x.patience}
		if x.left > 0 {
			w.Deadline = m.cfg.Now().Add(x.left)
		}
		_, err := m.Enqueue(w)
		var late *LateError
		if errors.As(err, &late) != (x.want >= 0) || late != nil && (late.Left != x.want || late.Wait != 32*time.Second) {
			t.Errorf("%s: %v, want %s left of 32s", x.name, err, x.want)
		}
		if n := m.Models()[0].Waiting; (n == 3) != (x.want >= 0) {
			t.Errorf("%s: %d wait", x.name, n)
		}
	}
}

// The treap orders, counts and finds as a sorted list would.
func TestTurnsAgainstList(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 3))
		var root *Waiter
		var list []*Waiter
		for step := range 600 {
			if len(list) > 0 && r.IntN(3) == 0 {
				i := r.IntN(len(list))
				root = withoutTurn(root, list[i])
				list = append(list[:i:i], list[i+1:]...)
			} else {
				w := &Waiter{Want: Want{MaxCoefficient: uint32(r.IntN(20))}}
				w.tag, w.serial, w.chance = float64(r.IntN(8)), uint64(step), r.Uint64()
				root = withTurn(root, w)
				at := 0
				for at < len(list) && list[at].before(w) {
					at++
				}
				list = append(list[:at:at], append([]*Waiter{w}, list[at:]...)...)
			}
			if sizeOf(root) != len(list) || len(list) > 0 && lastTurn(root) != list[len(list)-1] {
				t.Fatalf("seed %d step %d: %d in the treap, want %d", seed, step, sizeOf(root), len(list))
			}
			if len(list) == 0 {
				continue
			}
			at, price := r.IntN(len(list)), uint32(r.IntN(22))
			if got := rank(root, list[at]); got != at {
				t.Fatalf("seed %d step %d: rank %d, want %d", seed, step, got, at)
			}
			var want *Waiter
			for _, w := range list[at+1:] {
				if w.MaxCoefficient >= price {
					want = w
					break
				}
			}
			if got := nextTurn(root, list[at], price); got != want {
				t.Fatalf("seed %d step %d: the next at %d is %v, want %v", seed, step, price, got, want)
			}
		}
	}
}

// BenchmarkQueue is one request that joins and one that is served, while many wait.
func BenchmarkQueue(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := New(Config{Seed: 1, QueueLimit: 2 * n})
			o := offer(m, 1000, 1)
			m.Pick(anyone)
			clients := make([]string, 100)
			for i := range clients {
				clients[i] = fmt.Sprint(i)
			}
			join := func(i int) {
				if _, err := m.Enqueue(&Waiter{Want: Want{Model: "m", MaxCoefficient: 4000, Client: clients[i%100]}}); err != nil {
					b.Fatal(err)
				}
			}
			for i := range n {
				join(i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				join(i)
				if g := m.Done(o, Served, Took{First: time.Millisecond, Total: time.Second, Tokens: 100}); len(g) != 1 {
					b.Fatal(len(g))
				}
				i++
			}
		})
	}
}
