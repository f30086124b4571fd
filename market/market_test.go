package market

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// clock is a time that tests set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func market(seed uint64) (*Market, *clock) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	return New(Config{Seed: seed, Now: c.now}), c
}

func offer(m *Market, coefficient uint32, limit int) *Offer {
	return m.Add(Terms{Model: "m", Coefficient: coefficient, Limit: limit, Version: 4, Enabled: true, Key: fmt.Sprint(coefficient)})
}

var anyone = Want{Model: "m", MaxCoefficient: 4000, Client: "c"}

func TestVerdicts(t *testing.T) {
	type setup func(m *Market) (exclude []*Offer)
	for _, x := range []struct {
		name string
		do   setup
		want Verdict
		says string
	}{
		{"nothing known", func(m *Market) []*Offer { return nil }, UnknownModel, "m: 0 offers, 0 free, 0 at or below 4000; unknown model"},
		{"other model", func(m *Market) []*Offer { m.Add(Terms{Model: "x", Enabled: true}); return nil }, UnknownModel, ""},
		{"left", func(m *Market) []*Offer { m.Remove(offer(m, 1000, 1)); return nil }, NoWorker, "m: 0 offers, 0 free, 0 at or below 4000; no worker"},
		{"disabled", func(m *Market) []*Offer { m.SetEnabled(offer(m, 1000, 1), false); return nil }, NoWorker, ""},
		{"one", func(m *Market) []*Offer { offer(m, 1000, 1); return nil }, Chosen, "price 1000, 0 of 1 running"},
		{"free of charge", func(m *Market) []*Offer { offer(m, 0, 1); return nil }, Chosen, "price 0"},
		{"at the ceiling", func(m *Market) []*Offer { offer(m, 4000, 1); return nil }, Chosen, ""},
		{"busy", func(m *Market) []*Offer { offer(m, 1000, 1); m.Pick(anyone); return nil }, Busy, "1 offers, 0 free, 1 at or below 4000; busy"},
		{"too dear", func(m *Market) []*Offer { offer(m, 5000, 1); offer(m, 4001, 1); return nil }, TooDear, "the cheapest free one costs 4001"},
		{"too dear and busy", func(m *Market) []*Offer {
			o := offer(m, 5000, 1)
			m.Pick(Want{Model: "m", MaxCoefficient: 9000})
			_ = o
			return nil
		}, TooDear, "costs 5000"},
		{"cheap busy, dear free", func(m *Market) []*Offer { offer(m, 1000, 1); m.Pick(anyone); offer(m, 5000, 1); return nil }, Busy, ""},
		{"dear disabled", func(m *Market) []*Offer { m.SetEnabled(offer(m, 5000, 1), false); return nil }, NoWorker, ""},
		{"excluded", func(m *Market) []*Offer { return []*Offer{offer(m, 1000, 1)} }, NoWorker, ""},
		{"one excluded", func(m *Market) []*Offer { o := offer(m, 1000, 1); offer(m, 2000, 1); return []*Offer{o} }, Chosen, "price 2000"},
		{"became dear", func(m *Market) []*Offer { m.SetCoefficient(offer(m, 1000, 1), 5000); return nil }, TooDear, "costs 5000"},
		{"became cheap", func(m *Market) []*Offer { m.SetCoefficient(offer(m, 5000, 1), 1000); return nil }, Chosen, "price 1000"},
		{"enabled again", func(m *Market) []*Offer {
			o := offer(m, 1000, 1)
			m.SetEnabled(o, false)
			m.SetEnabled(o, true)
			return nil
		}, Chosen, ""},
	} {
		m, _ := market(1)
		w := anyone
		w.Exclude = x.do(m)
		o, d := m.Pick(w)
		if d.Verdict != x.want || (o != nil) != (x.want == Chosen) || !strings.Contains(d.String(), x.says) {
			t.Errorf("%s: %s, want %s %q", x.name, d, x.want, x.says)
		}
	}
}

func TestVersionFilter(t *testing.T) {
	m, _ := market(1)
	m.Add(Terms{Model: "m", Coefficient: 1000, Limit: 9, Version: 2, Enabled: true})
	w := anyone
	w.MinVersion = 3
	if o, d := m.Pick(w); o != nil || d.Verdict != NoWorker {
		t.Errorf("an old worker was chosen: %s", d)
	}
	m.Add(Terms{Model: "m", Coefficient: 3000, Limit: 9, Version: 3, Enabled: true})
	if o, d := m.Pick(w); o == nil || d.Coefficient != 3000 {
		t.Errorf("%s, want the new worker at 3000", d)
	}
}

// share picks n times, ending each request at once, and counts who got them.
func share(m *Market, w Want, n int) map[uint32]int {
	got := map[uint32]int{}
	for range n {
		o, d := m.Pick(w)
		if o == nil {
			got[math.MaxUint32]++
			continue
		}
		got[d.Coefficient]++
		m.Done(o, Served, Took{First: time.Millisecond, Total: time.Millisecond})
	}
	return got
}

func TestCheapestFirst(t *testing.T) {
	m, _ := market(1)
	offer(m, 1000, 10)
	offer(m, 1200, 10)
	offer(m, 3000, 10)
	if got := share(m, anyone, 1000); got[1000] < 950 || got[3000] > 0 {
		t.Errorf("idle workers: %v, want all but a few probes for the cheapest, and none for the dearest", got)
	}
}

// Near-ties spread: equal idle workers share evenly, whoever came first.
func TestEqualsShare(t *testing.T) {
	for seed := range uint64(5) {
		m, _ := market(seed)
		count := map[*Offer]int{}
		for range 10 {
			offer(m, 1000, 100)
		}
		for range 5000 {
			o, _ := m.Pick(anyone)
			count[o]++
			m.Done(o, Served, Took{First: time.Millisecond, Total: time.Millisecond})
		}
		for o, n := range count {
			if n < 400 || n > 600 {
				t.Errorf("seed %d: offer %d got %d of 5000, want about 500", seed, o.serial, n)
			}
		}
	}
}

// Load weighs: when nothing ends, places fill in proportion to the limits, and
// a dearer worker gets work before a cheap one is quite full.
func TestLoadSpreads(t *testing.T) {
	m, _ := market(1)
	small, large, dear := offer(m, 1000, 10), offer(m, 1000, 100), offer(m, 2500, 10)
	for range 88 {
		m.Pick(anyone)
	}
	if s, l := m.Info(small).Running, m.Info(large).Running; s < 6 || s > 10 || l < 70 {
		t.Errorf("after 88: %d of 10 and %d of 100 running", s, l)
	}
	for range 22 {
		m.Pick(anyone)
	}
	if d := m.Info(dear).Running; d < 1 {
		t.Errorf("the dearer worker has %d requests beside two that are nearly full", d)
	}
	for range 10 {
		m.Pick(anyone)
	}
	if o, d := m.Pick(anyone); o != nil || d.Verdict != Busy {
		t.Errorf("request 121 of 120: %s", d)
	}
}

// The slower of two equals gets less, but not nothing once the faster is loaded.
func TestSlownessWeighs(t *testing.T) {
	m, _ := market(1)
	fast, slow := offer(m, 1000, 10), offer(m, 1000, 10)
	for range 50 {
		for _, o := range []*Offer{fast, slow} {
			first := 100 * time.Millisecond
			if o == slow {
				first = time.Second
			}
			m.mu.Lock()
			o.running++
			m.mu.Unlock()
			m.Done(o, Served, Took{First: first, Total: first})
		}
	}
	if got, _ := m.Pick(anyone); got != fast {
		t.Error("the slow one was chosen with both idle")
	}
	for range 15 {
		m.Pick(anyone)
	}
	f, s := m.Info(fast).Running, m.Info(slow).Running
	if f <= s || s == 0 {
		t.Errorf("%d on the fast, %d on the slow", f, s)
	}
}

func TestFailuresAreAvoidedThenTried(t *testing.T) {
	m, c := market(1)
	m.cfg.Without = Probes
	bad := offer(m, 1000, 10)
	good := offer(m, 1500, 10)
	pick := func() *Offer {
		t.Helper()
		o, d := m.Pick(anyone)
		if o == nil {
			t.Fatal(d)
		}
		return o
	}
	fail := func(o *Offer) {
		c.t = c.t.Add(10 * time.Millisecond)
		m.Done(o, Failed, Took{First: 0, Total: time.Millisecond})
	}
	serve := func(o *Offer) { m.Done(o, Served, Took{First: time.Millisecond, Total: time.Millisecond}) }
	o := pick()
	if o != bad {
		t.Fatal("the cheaper one was not chosen at first")
	}
	fail(o)
	for range 20 { // twice 1000 is more than 1500
		o := pick()
		if o != good {
			t.Fatal("a failed worker was chosen beside a good one that costs half as much again")
		}
		serve(o)
	}
	// Two more failures set it aside, even where it is alone affordable.
	cheap := anyone
	cheap.MaxCoefficient = 1000
	for range 2 {
		o, _ := m.Pick(cheap)
		fail(o)
	}
	if o, d := m.Pick(cheap); o != nil {
		t.Errorf("a worker that rests was chosen: %s", d)
	}
	c.t = c.t.Add(1300 * time.Millisecond) // one second and up to a fifth
	o, _ = m.Pick(cheap)
	if o != bad {
		t.Fatal("no trial after the rest")
	}
	if o, d := m.Pick(cheap); o != nil {
		t.Errorf("a second request during the trial: %s", d)
	}
	fail(o)
	c.t = c.t.Add(1300 * time.Millisecond)
	if o, d := m.Pick(cheap); o != nil {
		t.Errorf("the second rest is not longer: %s", d)
	}
	c.t = c.t.Add(1300 * time.Millisecond)
	o, _ = m.Pick(cheap)
	if o != bad {
		t.Fatal("no second trial")
	}
	serve(o)
	if i := m.Info(bad); i.Failures != 0 {
		t.Errorf("%d failures after a success", i.Failures)
	}
	for range 10 {
		if o, _ = m.Pick(cheap); o != bad {
			t.Fatal("a recovered worker gets nothing")
		}
		serve(o)
	}
	if pick() != bad {
		t.Error("a worker that has recovered and served ten is still avoided")
	}
}

// Fifty requests lost with one worker are one failure.
func TestOneDeathIsOneFailure(t *testing.T) {
	m, c := market(1)
	o := offer(m, 1000, 50)
	for range 50 {
		m.Pick(anyone)
	}
	c.t = c.t.Add(time.Second)
	for range 50 {
		m.Done(o, Failed, Took{First: 0, Total: time.Second})
	}
	if i := m.Info(o); i.Failures != 1 || i.Running != 0 {
		t.Errorf("%d failures, %d running", i.Failures, i.Running)
	}
}

// A late answer is a failure only if there was ample time, by the model's own measure.
func TestLate(t *testing.T) {
	for _, x := range []struct {
		usual, took time.Duration
		want        int
	}{
		{0, time.Hour, 0}, {time.Second, time.Millisecond, 0}, {time.Second, 5 * time.Second, 0}, {time.Second, 6 * time.Second, 1},
		{10 * time.Second, 40 * time.Second, 0}, {10 * time.Second, 41 * time.Second, 1},
	} {
		m, _ := market(1)
		o := offer(m, 1000, 10)
		if x.usual > 0 {
			m.Pick(anyone)
			m.Done(o, Served, Took{First: x.usual, Total: x.usual})
		}
		m.Pick(anyone)
		m.Done(o, Late, Took{First: 0, Total: x.took})
		if got := m.Info(o).Failures; got != x.want {
			t.Errorf("usual %s, took %s: %d failures, want %d", x.usual, x.took, got, x.want)
		}
	}
}

// When every worker rests, the one whose rest ends first is tried all the same, alone.
func TestLastResort(t *testing.T) {
	m, c := market(1)
	o := offer(m, 1000, 10)
	for range 3 {
		x, _ := m.Pick(anyone)
		c.t = c.t.Add(10 * time.Millisecond)
		m.Done(x, Failed, Took{First: 0, Total: time.Millisecond})
	}
	got, d := m.Pick(anyone)
	if got != o || !d.LastResort || !strings.Contains(d.String(), "last resort") {
		t.Errorf("%s", d)
	}
	if got, d := m.Pick(anyone); got != nil || d.Verdict != Busy {
		t.Errorf("two at once: %s", d)
	}
}

// The last resort is for those whom it suits: nobody gets another revision, or a
// worker that cannot carry a key, because nothing else is there.
func TestLastResortSuits(t *testing.T) {
	m, c := market(1)
	o := m.Add(Terms{Model: "m", FullModel: "m@old:00", Coefficient: 1000, Limit: 10, Version: 2, Enabled: true})
	other := m.Add(Terms{Model: "m", FullModel: "m@new:11", Coefficient: 1000, Limit: 10, Version: 3}) // of the revision, and not enabled
	for range 3 {
		x, _ := m.Pick(anyone)
		c.t = c.t.Add(10 * time.Millisecond)
		m.Done(x, Failed, Took{First: 0, Total: time.Millisecond})
	}
	for range 3 { // all that there are rest
		m.fail(other, c.t, 0)
		c.t = c.t.Add(10 * time.Millisecond)
	}
	for _, want := range []Want{
		{Model: "m", Pin: "m@new", MaxCoefficient: 9000}, {Model: "m", MinVersion: 3, MaxCoefficient: 9000}, {Model: "m", Exclude: []*Offer{o}, MaxCoefficient: 9000},
	} {
		if got, d := m.Pick(want); got != nil {
			t.Errorf("%+v: %s", want, d)
		}
	}
	if got, d := m.Pick(Want{Model: "m", Pin: "m@old", MinVersion: 2, MaxCoefficient: 9000}); got != o {
		t.Errorf("whom it suits: %s", d)
	}
}

// A worker that dies over and over does not come back with a clean record.
func TestCrashLoopIsRemembered(t *testing.T) {
	m, c := market(1)
	good := offer(m, 2000, 10)
	for i := range 4 {
		crash := m.Add(Terms{Model: "m", Coefficient: 100, Limit: 10, Version: 4, Enabled: true, Key: "crash"})
		o, d := m.Pick(anyone)
		if i < 3 != (o == crash) {
			t.Errorf("life %d: %s", i, d)
		}
		c.t = c.t.Add(10 * time.Millisecond)
		m.Remove(crash)
		if o == crash {
			m.Done(o, Failed, Took{First: 0, Total: time.Millisecond})
		} else {
			m.Done(good, Served, Took{First: 1, Total: 1})
		}
	}
	c.t = c.t.Add(rememberFor + time.Second)
	crash := m.Add(Terms{Model: "m", Coefficient: 100, Limit: 10, Version: 4, Enabled: true, Key: "crash"})
	if o, d := m.Pick(anyone); o != crash {
		t.Errorf("not forgiven after %s: %s", rememberFor, d)
	}
}

func TestModelsListing(t *testing.T) {
	m, _ := market(1)
	offer(m, 3000, 1)
	offer(m, 1000, 2)
	m.Pick(anyone)
	m.Remove(m.Add(Terms{Model: "gone", Enabled: true}))
	list := m.Models()
	if len(list) != 2 || list[0].Name != "gone" || len(list[0].Offers) != 0 || list[1].Name != "m" {
		t.Fatalf("%+v", list)
	}
	o := list[1].Offers
	if len(o) != 2 || o[0].Coefficient != 1000 || o[0].Running != 1 || o[0].Limit != 2 || o[1].Coefficient != 3000 {
		t.Errorf("%+v", o)
	}
	for i := range 3 * maxModels {
		m.Remove(m.Add(Terms{Model: fmt.Sprint("x", i)}))
	}
	if n := len(m.Models()); n > maxModels+1 {
		t.Errorf("%d models are remembered, want at most %d", n, maxModels)
	}
}

// The tree decides as a plain look at every offer would.
func TestAgainstPlainSearch(t *testing.T) {
	for seed := range uint64(20) {
		m, c := market(seed)
		m.cfg.Without = Probes
		if exact := seed%2 == 0; exact {
			m.cfg.Without |= Size | Affinity
		}
		r := rand.New(rand.NewPCG(seed, 1))
		var offers []*Offer
		var running []*Offer
		for step := range 2000 {
			c.t = c.t.Add(time.Duration(r.IntN(100)) * time.Millisecond)
			switch k := r.IntN(12); {
			case k == 0 && len(offers) < 60:
				offers = append(offers, m.Add(Terms{Model: "m", Coefficient: uint32(r.IntN(20)) * 100, Limit: 1 + r.IntN(3), Version: int32(r.IntN(5)), Enabled: r.IntN(4) > 0, Key: fmt.Sprint(r.IntN(9))}))
			case k == 1 && len(offers) > 0:
				i := r.IntN(len(offers))
				if m.Remove(offers[i]); r.IntN(2) == 0 {
					m.Remove(offers[i])
				}
				offers = append(offers[:i], offers[i+1:]...)
			case k == 2 && len(offers) > 0:
				m.SetEnabled(offers[r.IntN(len(offers))], r.IntN(3) > 0)
			case k == 3 && len(offers) > 0:
				m.SetCoefficient(offers[r.IntN(len(offers))], uint32(r.IntN(20))*100)
			case k < 7 && len(running) > 0:
				i := r.IntN(len(running))
				m.Done(running[i], Outcome(r.IntN(6)), Took{time.Duration(r.IntN(1000)), time.Duration(r.IntN(1000)), r.Int64N(50), r.IntN(5000), uint32(r.IntN(5000))})
				running = append(running[:i], running[i+1:]...)
			default:
				w := Want{Model: "m", MaxCoefficient: uint32(r.IntN(22)) * 100, MinVersion: int32(r.IntN(3)), Proven: r.IntN(4) == 0}
				for range r.IntN(3) {
					if len(offers) > 0 {
						w.Exclude = append(w.Exclude, offers[r.IntN(len(offers))])
					}
				}
				if p := m.models["m"]; p != nil {
					m.revive(p, c.t)
					p.checkOwners(t)
				}
				var best *Offer
				lowest, free := math.Inf(1), 0
				for _, o := range offers {
					if o.free() {
						free++
						if o.Coefficient <= w.MaxCoefficient && w.accepts(o) && float64(o.score[Balanced]) < lowest {
							best, lowest = o, float64(o.score[Balanced])
						}
					}
				}
				o, d := m.Pick(w)
				if o != nil {
					running = append(running, o)
				}
				if !d.LastResort && (o == nil) != (best == nil) || best != nil && (seed%2 == 0 && d.Score > lowest*nearTie || d.Score > lowest*looksAt*1.001 || o.Coefficient > w.MaxCoefficient || !w.accepts(o)) {
					t.Fatalf("seed %d step %d: %s, plain search finds %+v", seed, step, d, best)
				}
				if len(offers) > 0 && d.Free != free {
					t.Fatalf("seed %d step %d: %d free, want %d", seed, step, d.Free, free)
				}
			}
		}
	}
}

// checkOwners compares what is known of each owner with a count.
func (p *pool) checkOwners(t *testing.T) {
	t.Helper()
	total := 0
	for key, w := range p.byKey {
		free := 0
		for i, o := range w.offers {
			if o.keyAt != i || o.Key != key {
				t.Fatalf("offer %d of %s is at %d and of %s", i, key, o.keyAt, o.Key)
			}
			if o.free() {
				free++
			}
		}
		if total += len(w.offers); free != w.free {
			t.Fatalf("%d offers of %s are free, %d are counted", free, key, w.free)
		}
	}
	if total != p.offers.len {
		t.Fatalf("owners have %d offers of %d", total, p.offers.len)
	}
}

// The same seed and calls give the same choices.
func TestSeedDecides(t *testing.T) {
	run := func(seed uint64) (log string) {
		m, _ := market(seed)
		for range 10 {
			offer(m, 1000, 5)
		}
		for range 30 {
			o, _ := m.Pick(anyone)
			log += fmt.Sprint(o.serial, " ")
		}
		return log
	}
	first, again, other := run(7), run(7), run(8)
	if first != again {
		t.Error("two runs under one seed differ")
	}
	if first == other {
		t.Error("two seeds give the same run")
	}
}

// BenchmarkPick is a decision and its end, BenchmarkQuote the decision alone.
func BenchmarkPick(b *testing.B)  { benchmarkPick(b, false) }
func BenchmarkQuote(b *testing.B) { benchmarkPick(b, true) }

func benchmarkPick(b *testing.B, quote bool) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := New(Config{Seed: 1})
			r := rand.New(rand.NewPCG(1, 1))
			for range n {
				m.Add(Terms{Model: "m", Coefficient: uint32(500 + r.IntN(5000)), Limit: 1 + r.IntN(60), Version: 4, Enabled: true})
			}
			ring := make([]*Offer, n) // about one request runs per offer
			i := 0
			w := Want{Model: "m", MaxCoefficient: 6000, PromptBytes: 3000, Client: "c"}
			for range 3 * n {
				if ring[i] != nil {
					m.Done(ring[i], Served, Took{First: time.Millisecond, Total: time.Second, Tokens: 100, Prompt: 1500})
				}
				ring[i], _ = m.Pick(w)
				i = (i + 1) % n
			}
			b.ReportAllocs()
			for b.Loop() {
				if quote {
					m.Quote(w)
					continue
				}
				if ring[i] != nil {
					m.Done(ring[i], Served, Took{First: time.Millisecond, Total: time.Second, Tokens: 100, Prompt: 1500})
				}
				ring[i], _ = m.Pick(w)
				i = (i + 1) % n
			}
		})
	}
}

// Failures that were long forgiven make room for new ones.
func TestOldFailuresDoNotCrowdOutNewOnes(t *testing.T) {
	now := time.Unix(1000, 0)
	m := New(Config{Now: func() time.Time { return now }})
	fail := func(key string) {
		o := m.Add(Terms{Model: "m", Limit: 1, Key: key, Enabled: true})
		for range failuresToEject {
			now = now.Add(2 * longestBackOff)
			m.Pick(Want{Model: "m", MaxCoefficient: 1})
			m.Done(o, Failed, Took{First: 0, Total: 0})
		}
		m.Remove(o)
	}
	for n := range maxRemembered {
		fail(strconv.Itoa(n))
	}
	now = now.Add(2 * rememberFor)
	fail("new")
	if o := m.Add(Terms{Model: "m", Limit: 1, Key: "new", Enabled: true}); m.Info(o).Failures == 0 {
		t.Error("a failing worker came back with a clean record")
	}
}

// Who turns away what it offered to take, or calls a request wrong that another serves, is asked less,
// rests when it goes on, and is not one that has proven itself.
func TestRefusersAreLeftAlone(t *testing.T) {
	for name, refuse := range map[string]func(m *Market, o *Offer){
		"declined":     func(m *Market, o *Offer) { m.Done(o, Declined, Took{}) },
		"contradicted": func(m *Market, o *Offer) { m.Done(o, Neutral, Took{}); m.Contradict(o, 0) },
	} {
		m, c := known(t)
		cheap, good := offer(m, 10, 1000), offer(m, 2000, 1000)
		teach(m, good, 100*time.Millisecond, 10*time.Millisecond)
		refused := 0
		for range 100 {
			c.t = c.t.Add(10 * time.Millisecond)
			o, _ := m.Pick(anyone)
			if o == good {
				m.Done(o, Served, Took{First: 100 * time.Millisecond, Total: 1100 * time.Millisecond, Tokens: 100})
				continue
			}
			refused++
			refuse(m, o)
		}
		if refused == 0 || refused > failuresToEject {
			t.Errorf("%s: %d of 100 requests went to who refuses, want a few", name, refused)
		}
		if i := m.Info(cheap); i.Failures == 0 || i.Lost != 0 {
			t.Errorf("%s: %d failures in a row, %v lost", name, i.Failures, i.Lost)
		}
	}
}

// Those that have served and not failed since can be asked for.
func TestProven(t *testing.T) {
	m, c := known(t)
	offer(m, 10, 10)
	w := anyone
	w.Proven = true
	if o, _ := m.Pick(w); o != nil {
		t.Error("a newcomer has proven itself")
	}
	good := offer(m, 3000, 10)
	teach(m, good, 100*time.Millisecond, 10*time.Millisecond)
	for range 20 {
		if o, d := m.Pick(w); o != good {
			t.Fatal(d)
		}
		m.Done(good, Neutral, Took{})
	}
	c.t = c.t.Add(time.Second)
	if w.Alive = c.t; w.accepts(good) {
		t.Error("one that served long ago has served since")
	}
	w.Alive = time.Time{}
	m.Pick(w)
	m.Done(good, Failed, Took{})
	if o, _ := m.Pick(w); o != nil {
		t.Error("one that has just failed has proven itself")
	}
	m.Remove(good)
	if good = offer(m, 3000, 10); !(good.traits&hasServed != 0) {
		t.Error("what was proven is forgotten when the worker comes back")
	}
}

// One worker with a client of its own cannot tell the market what is usual: neither the price, by
// raising it after it was chosen or by paying it to itself, nor the time.
func TestUsualIsNotForSale(t *testing.T) {
	const huge = 999_999_999
	m, c := known(t)
	good, evil := offer(m, 1000, 100), offer(m, 10, 100)
	serve := func(o *Offer, price uint32, took time.Duration) {
		m.mu.Lock()
		o.running++
		o.pool.running++
		m.mu.Unlock()
		c.t = c.t.Add(took)
		m.Done(o, Served, Took{First: 100 * time.Millisecond, Total: took, Tokens: 100, Prompt: 1024, Price: price})
	}
	for range 100 {
		serve(good, 1000, time.Second)
	}
	m.SetCoefficient(evil, huge)
	for range 3 {
		serve(evil, 10, time.Second)   // chosen when it was cheap
		serve(evil, huge, time.Second) // by a friend
		serve(evil, 0, 100*time.Hour)
	}
	if i := m.Models()[0]; i.GoingRate < 500 || i.GoingRate > 2000 {
		t.Errorf("the going rate is %d, want about 1000", i.GoingRate)
	}
	for range 50 {
		serve(good, 1000, time.Second)
	}
	if i := m.Models()[0]; i.Service > 10*time.Second || i.GoingRate < 800 || i.GoingRate > 1300 {
		t.Errorf("after some honest work a request takes %s and costs %d", i.Service, i.GoingRate)
	}
}
