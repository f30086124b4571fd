package market

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// known is a market without chance, in which every offer has answered so often that its speed is known.
func known(t *testing.T) (*Market, *clock) {
	t.Helper()
	m, c := market(1)
	m.cfg.Without = Probes
	return m, c
}

// teach lets an offer answer ten times with a given time to the first answer and time a token.
func teach(m *Market, o *Offer, first, token time.Duration) {
	for range 10 {
		m.mu.Lock()
		o.running++
		o.pool.running++
		m.mu.Unlock()
		m.Done(o, Served, Took{First: first, Total: first + 100*token, Tokens: 100, Prompt: 1024})
	}
}

// Callers get what they ask for: one row for each wish.
func TestWishes(t *testing.T) {
	const cheap, quick, fluent = "cheap", "quick", "fluent"
	for _, x := range []struct {
		name string
		want Want
		who  string
		why  Verdict
		way  Way
	}{
		{"price", Want{Wishes: Wishes{Sort: Price}}, cheap, Chosen, ByScore},
		{"latency", Want{Wishes: Wishes{Sort: Latency}}, quick, Chosen, ByScore},
		{"throughput", Want{Wishes: Wishes{Sort: Throughput}}, fluent, Chosen, ByScore},
		{"latency within a price", Want{MaxCoefficient: 1000, Wishes: Wishes{Sort: Latency}}, cheap, Chosen, ByScore},
		{"quick enough", Want{Wishes: Wishes{Sort: Price, MaxLatency: 100 * time.Millisecond}}, quick, Chosen, ByScore},
		{"nobody is quick enough", Want{Wishes: Wishes{Sort: Price, MaxLatency: time.Millisecond}}, cheap, Chosen, ByScore},
		{"order", Want{Wishes: Wishes{Order: []string{"nobody", fluent, cheap}}}, fluent, Chosen, ByOrder},
		{"order, too dear", Want{MaxCoefficient: 1000, Wishes: Wishes{Order: []string{fluent}}}, cheap, Chosen, ByScore},
		{"order, no fallbacks", Want{MaxCoefficient: 1000, Wishes: Wishes{Order: []string{fluent}, NoFallbacks: true}}, "", TooDear, 0},
		{"order of strangers, no fallbacks", Want{Wishes: Wishes{Order: []string{"nobody"}, NoFallbacks: true}}, "", NoWorker, 0},
		{"only", Want{Wishes: Wishes{Only: []string{fluent, quick}, Sort: Price}}, quick, Chosen, ByScore},
		{"only strangers", Want{Wishes: Wishes{Only: []string{"nobody"}}}, "", NoWorker, 0},
		{"only, too dear", Want{MaxCoefficient: 1000, Wishes: Wishes{Only: []string{fluent}}}, "", TooDear, 0},
		{"ignore", Want{Wishes: Wishes{Ignore: []string{cheap, quick}}}, fluent, Chosen, ByScore},
		{"ignore all", Want{Wishes: Wishes{Ignore: []string{cheap, quick, fluent}}}, "", NoWorker, 0},
		{"tools", Want{Needs: Tools}, fluent, Chosen, ByScore},
		{"pictures", Want{Needs: Vision}, cheap, Chosen, ByScore}, // nobody knows what it can do
		{"pictures, but not from the unknown", Want{Needs: Vision, Wishes: Wishes{Ignore: []string{cheap}}}, "", NoWorker, 0},
		{"long", Want{Context: 30_000, Wishes: Wishes{Ignore: []string{cheap}}}, quick, Chosen, ByScore},
		{"longest", Want{Context: 32_768, Wishes: Wishes{Ignore: []string{cheap}}}, quick, Chosen, ByScore},
		{"too long", Want{Context: 32_769, Wishes: Wishes{Ignore: []string{cheap}}}, "", NoWorker, 0},
		{"revision", Want{Pin: "m@b"}, quick, Chosen, ByScore},
		{"unknown revision", Want{Pin: "m@c"}, "", UnknownModel, 0},
		{"version", Want{MinVersion: 5}, "", NoWorker, 0},
	} {
		m, _ := known(t)
		add := func(terms Terms, first, token time.Duration) {
			terms.Model, terms.Limit, terms.Version, terms.Enabled = "m", 10, 4, true
			teach(m, m.Add(terms), first, token)
		}
		add(Terms{Key: cheap, Coefficient: 1000}, 200*time.Millisecond, 20*time.Millisecond)
		add(Terms{Key: quick, Coefficient: 2500, FullModel: "m@b:11", Context: 32_768, Has: Known}, 50*time.Millisecond, 15*time.Millisecond)
		add(Terms{Key: fluent, Coefficient: 3000, FullModel: "m@a:22", Context: 8192, Has: Known | Tools}, 200*time.Millisecond, 8*time.Millisecond)
		x.want.Model = "m"
		if x.want.MaxCoefficient == 0 {
			x.want.MaxCoefficient = 4000
		}
		if x.name == "tools" {
			x.want.Ignore = []string{cheap}
		}
		o, d := m.Pick(x.want)
		got := ""
		if o != nil {
			got = o.Key
		}
		if got != x.who || d.Verdict != x.why || d.Why != x.way {
			t.Errorf("%s: %q: %s, want %q, %s, %s", x.name, got, d, x.who, x.why, x.way)
		}
	}
}

// Without fallbacks a request that has failed once is not given to another worker.
func TestNoFallbacksAfterFailure(t *testing.T) {
	m, _ := known(t)
	a := offer(m, 1000, 1)
	offer(m, 2000, 1)
	w := anyone
	w.NoFallbacks, w.Exclude = true, []*Offer{a}
	if o, d := m.Pick(w); o != nil || d.Verdict != NoWorker {
		t.Errorf("%s", d)
	}
}

// Traits never hide an offer that would do, whatever its terms.
func TestTraitsHideNobody(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		o := Terms{Version: int32(r.IntN(12)), Context: r.IntN(300_000) * r.IntN(2), Has: Capability(r.IntN(64)), FullModel: fmt.Sprintf("m@%d:%d", r.IntN(20), r.IntN(2))}
		w := Want{MinVersion: int32(r.IntN(12)), Context: r.IntN(300_000) * r.IntN(2), Needs: Capability(r.IntN(64)) &^ Known}
		if r.IntN(2) == 0 {
			w.Pin = fmt.Sprint("m@", r.IntN(20), [...]string{"", ":0"}[r.IntN(2)])
		}
		if w.accepts(&Offer{Terms: o}) && o.traits()&w.needs() != w.needs() {
			t.Fatalf("%+v would do for %+v, and its traits %x hide it from %x", o, w, o.traits(), w.needs())
		}
	}
}

// A decision says who was second.
func TestSecond(t *testing.T) {
	m, _ := known(t)
	offer(m, 1000, 10)
	offer(m, 1500, 10)
	offer(m, 3000, 10)
	if _, d := m.Pick(anyone); d.Coefficient != 1000 || d.Second.Coefficient != 1500 || d.Second.Score <= d.Score || d.Second.Key != "1500" {
		t.Errorf("%+v", d)
	}
	if d := m.Quote(anyone); d.Verdict != Chosen || d.Running != 1 {
		t.Errorf("quote: %s", d)
	}
	if n := m.Models()[0].Running; n != 1 {
		t.Errorf("%d running after a pick and a quote, want 1", n)
	}
}

// A long question goes to the worker that reads fast, a short one to the one that is cheap.
func TestSizeCounts(t *testing.T) {
	m, _ := known(t)
	reads, cheap := offer(m, 1300, 10), offer(m, 1000, 10)
	for i := range 30 {
		kilos := 1 + i%10
		for _, o := range []*Offer{reads, cheap} {
			first := 100*time.Millisecond + time.Duration(kilos)*20*time.Millisecond
			if o == cheap {
				first = 100*time.Millisecond + time.Duration(kilos)*200*time.Millisecond
			}
			m.mu.Lock()
			o.running++
			o.pool.running++
			m.mu.Unlock()
			m.Done(o, Served, Took{First: first, Total: first + time.Second, Tokens: 100, Prompt: kilos * 1024})
		}
	}
	short, long := anyone, anyone
	short.PromptBytes, long.PromptBytes = 200, 60*1024
	if o, d := m.Pick(short); o != cheap {
		t.Errorf("short: %s", d)
	}
	if o, d := m.Pick(long); o != reads {
		t.Errorf("long: %s", d)
	}
}

// Who served a beginning gets what goes on with it, unless it is much worse.
func TestAffinity(t *testing.T) {
	m, _ := known(t)
	for i := range 10 {
		o := m.Add(Terms{Model: "m", Coefficient: 1000, Limit: 10, Enabled: true, Key: fmt.Sprint(i)})
		teach(m, o, 100*time.Millisecond, 10*time.Millisecond)
	}
	w := anyone
	w.Affinity = [16]byte{1}
	first, d := m.Pick(w)
	if d.Why == ByAffinity {
		t.Errorf("the first of a conversation: %s", d)
	}
	m.Done(first, Served, Took{First: 100 * time.Millisecond, Total: 1100 * time.Millisecond, Tokens: 100, Prompt: 1024})
	for range 5 {
		if o, d := m.Pick(w); o != first || d.Why != ByAffinity {
			t.Fatalf("the next of the conversation went elsewhere: %s", d)
		}
		m.Done(first, Served, Took{First: 100 * time.Millisecond, Total: 1100 * time.Millisecond, Tokens: 100, Prompt: 1024})
	}
	other := w
	other.Affinity = [16]byte{2}
	elsewhere := 0
	for range 20 {
		o, _ := m.Pick(other)
		if o != first {
			elsewhere++
		}
		other.Affinity[1]++
		m.Done(o, Served, Took{First: 100 * time.Millisecond, Total: 1100 * time.Millisecond, Tokens: 100, Prompt: 1024})
	}
	if elsewhere < 10 {
		t.Errorf("%d of 20 other conversations went elsewhere", elsewhere)
	}
	m.SetCoefficient(first, 3000)
	if o, d := m.Pick(w); o == first {
		t.Errorf("it is three times as dear now: %s", d)
	}
}

// What is remembered of conversations is bounded.
func TestAffinityIsBounded(t *testing.T) {
	m, _ := known(t)
	o := offer(m, 1000, 10)
	w := anyone
	for i := range 3 * maxServed {
		w.Affinity = [16]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}
		m.Pick(w)
		m.Done(o, Neutral, Took{})
	}
	s := &m.models["m"].served
	if n := len(s.now) + len(s.before); n > 2*maxServed || n < maxServed {
		t.Errorf("%d conversations are remembered, want %d to %d", n, maxServed, 2*maxServed)
	}
}

// A worker that nobody knows gets a few requests, and one that is dear none.
func TestProbes(t *testing.T) {
	m, c := market(1)
	teach(m, offer(m, 1000, 100), 100*time.Millisecond, 10*time.Millisecond)
	slow := offer(m, 1010, 100)
	teach(m, slow, time.Second, 100*time.Millisecond)
	fresh, dear := offer(m, 1150, 100), offer(m, 2000, 100)
	count := func(n int) map[*Offer]int {
		got := map[*Offer]int{}
		for range n {
			c.t = c.t.Add(10 * time.Millisecond)
			o, _ := m.Pick(anyone)
			got[o]++
			m.Done(o, Neutral, Took{})
		}
		return got
	}
	got := count(5000)
	if got[fresh] < 50 || got[fresh] > 200 || got[dear] > 0 {
		t.Errorf("of 5000 the unknown one got %d, want about 100; the dear one %d, want none", got[fresh], got[dear])
	}
	if got[slow] > 10 {
		t.Errorf("a worker known to be slow got %d", got[slow])
	}
	teach(m, fresh, 100*time.Millisecond, 10*time.Millisecond)
	c.t = c.t.Add(2 * probeAfter)
	if got := count(5000); got[slow] == 0 {
		t.Error("a worker that was slow long ago is never tried again")
	}
}

// Who served what is forgotten with the worker, and not kept for others to fill memory with.
func TestAffinityForgetsWhoHasGone(t *testing.T) {
	m, _ := known(t)
	offer(m, 1000, 10)
	for i := range 100 {
		o := offer(m, 10, 1)
		w := anyone
		w.Affinity = [16]byte{1, byte(i)}
		if got, d := m.Pick(w); got != o {
			t.Fatal(d)
		}
		m.Remove(o)
		m.Done(o, Neutral, Took{})
	}
	if s := m.models["m"].served; len(s.now)+len(s.before) != 0 {
		t.Errorf("%d workers that have gone are kept", len(s.now)+len(s.before))
	}
}
