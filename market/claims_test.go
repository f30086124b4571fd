package market

import (
	"slices"
	"testing"
	"time"
)

// Who says that he can comes before who says nothing, unless he is much worse; who cannot is never asked.
func TestClaims(t *testing.T) {
	const able, silent, unable = "able", "silent", "unable"
	for _, x := range []struct {
		name                 string
		able, silent, unable uint32 // prices, 0 is not there
		want                 Want
		who                  string
	}{
		{"able, though dearer", 1200, 1000, 500, Want{Needs: Tools}, able},
		{"silent, as able is far dearer", 3500, 1000, 500, Want{Needs: Tools}, silent},
		{"silent, as able is too dear", 1200, 1000, 500, Want{Needs: Tools, MaxCoefficient: 1100}, silent},
		{"silent alone", 0, 1000, 500, Want{Needs: Tools}, silent},
		{"nobody", 0, 0, 500, Want{Needs: Tools}, ""},
		{"long", 1200, 1000, 500, Want{Context: 20_000}, able},
		{"longer than any", 1200, 0, 500, Want{Context: 40_000}, ""},
		{"so long that only the silent may", 1200, 1000, 500, Want{Context: 40_000}, silent},
		{"short is everybody's", 1200, 1000, 500, Want{Context: 1000}, unable},
		{"both", 1200, 1000, 500, Want{Context: 20_000, Needs: Tools | Vision}, able},
		{"by price", 1200, 1000, 500, Want{Needs: Tools, Wishes: Wishes{Sort: Price}}, able},
		{"ignored", 1200, 1000, 500, Want{Needs: Tools, Wishes: Wishes{Ignore: []string{able}}}, silent},
	} {
		m, _ := known(t)
		add := func(key string, price uint32, claims Claims) {
			if price == 0 {
				return
			}
			o := m.Add(Terms{Model: "m", Key: key, Coefficient: price, Limit: 10, Enabled: true})
			m.SetClaims(o, claims)
			teach(m, o, 100*time.Millisecond, 10*time.Millisecond)
		}
		add(able, x.able, Claims{Context: 32_768, Has: Known | Tools | Vision})
		add(silent, x.silent, Claims{})
		add(unable, x.unable, Claims{Context: 8192, Has: Known})
		x.want.Model = "m"
		if x.want.MaxCoefficient == 0 {
			x.want.MaxCoefficient = 4000
		}
		o, d := m.Pick(x.want)
		if got := keyOf(o); got != x.who || o == nil && d.Verdict != NoWorker {
			t.Errorf("%s: %q, want %q: %s", x.name, got, x.who, d)
		}
	}
}

func keyOf(o *Offer) string {
	if o == nil {
		return ""
	}
	return o.Key
}

// What a worker says may change while it serves, and forgets nothing else.
func TestClaimsChange(t *testing.T) {
	m, _ := known(t)
	o := m.Add(Terms{Model: "m", Key: "a", Coefficient: 1000, Limit: 2, Enabled: true})
	teach(m, o, time.Millisecond, time.Millisecond)
	need := Want{Model: "m", MaxCoefficient: 4000, Context: 50_000, Proven: true}
	for i, context := range []int{0, 32_768, 65_536, 1000, 0} {
		m.SetClaims(o, Claims{Context: context})
		got, d := m.Pick(need)
		if ok := context == 0 || context >= need.Context; (got != nil) != ok {
			t.Errorf("step %d, a context of %d: %s", i, context, d)
		}
		if got != nil {
			m.Done(got, Neutral, Took{})
		}
	}
	// Who waits is served when a worker says that it can.
	m.SetClaims(o, Claims{})
	m.Pick(Want{Model: "m", MaxCoefficient: 4000})
	m.Pick(Want{Model: "m", MaxCoefficient: 4000})
	if _, err := m.Enqueue(&Waiter{Want: need}); err != nil {
		t.Fatal(err)
	}
	other := m.Add(Terms{Model: "m", Key: "b", Coefficient: 1000, Limit: 2, Enabled: true, Context: 1000})
	teach(m, other, time.Millisecond, time.Millisecond)
	if grants := m.Match("m"); len(grants) != 0 {
		t.Errorf("%d requests were given to a worker that cannot serve them", len(grants))
	}
	m.SetClaims(other, Claims{Context: 65_536})
	if grants := m.Match("m"); len(grants) != 1 || grants[0].Offer != other {
		t.Errorf("grants %v, want one", grants)
	}
}

// The book says what the model's workers can do together.
func TestModelClaims(t *testing.T) {
	m, _ := market(1)
	add := func(on bool, c Claims) {
		m.Add(Terms{Model: "m", Limit: 1, Enabled: on, Context: c.Context, Has: c.Has, Region: c.Region})
	}
	add(true, Claims{8192, Known | Tools, "us"})
	add(true, Claims{32_768, Known | Vision, "eu"})
	add(true, Claims{0, 0, "eu"})
	add(false, Claims{1 << 20, Known | Audio, "asia"})
	i := m.Models()[0]
	if i.Longest != 32_768 || i.Has != Known|Tools|Vision || !slices.Equal(i.Regions, []string{"eu", "us"}) {
		t.Errorf("%d, %b, %v", i.Longest, i.Has, i.Regions)
	}
}

// Near workers are preferred as long as nothing better is known: by measured round
// trip, by region where none is measured, and not any more once they have answered.
func TestDistance(t *testing.T) {
	for _, x := range []struct {
		name   string
		rtt    [2]time.Duration // 0 is not measured
		region [2]string
		taught [2]time.Duration // time to the first answer, 0 has not answered
		caller string
		want   int // 0 or 1; 2 is either
		sort   Sort
		mostly bool
	}{
		{name: "nothing known", want: 2},
		{name: "measured", rtt: [2]time.Duration{250 * time.Millisecond, 5 * time.Millisecond}, want: 1},
		{name: "measured, by latency", rtt: [2]time.Duration{250 * time.Millisecond, 5 * time.Millisecond}, want: 1, sort: Latency},
		{name: "region, among the few that are looked at", mostly: true, region: [2]string{"us-east", "eu-west"}, caller: "eu", want: 1},
		{name: "no caller's region", region: [2]string{"us-east", "eu-west"}, want: 2},
		{name: "measured wins over region", rtt: [2]time.Duration{5 * time.Millisecond, 250 * time.Millisecond}, region: [2]string{"us", "eu"}, caller: "eu", want: 0},
		{name: "answers win over both", rtt: [2]time.Duration{5 * time.Millisecond, 200 * time.Millisecond}, region: [2]string{"eu", "us"}, caller: "eu",
			taught: [2]time.Duration{400 * time.Millisecond, 200 * time.Millisecond}, want: 1},
	} {
		m, _ := known(t)
		usual := m.Add(Terms{Model: "m", Key: "usual", Coefficient: 9000, Limit: 4, Enabled: true})
		for range 20 {
			usual.running++
			usual.pool.running++
			m.Done(usual, Served, Took{First: 200 * time.Millisecond, Total: 300 * time.Millisecond, Tokens: 10, Prompt: 100})
		}
		var two [2]*Offer
		for i := range two {
			two[i] = m.Add(Terms{Model: "m", Key: string(rune('a' + i)), Coefficient: 1000, Limit: 4, Enabled: true, Region: x.region[i]})
			if x.rtt[i] > 0 {
				m.SetRTT(two[i], x.rtt[i])
			}
			if x.taught[i] > 0 {
				teach(m, two[i], x.taught[i], 10*time.Millisecond)
			}
		}
		got := [2]int{}
		for range 40 {
			o, _ := m.Pick(Want{Model: "m", MaxCoefficient: 4000, Region: x.caller, Wishes: Wishes{Sort: x.sort}})
			got[o.Key[0]-'a']++
			m.Done(o, Neutral, Took{})
		}
		if x.want == 2 && (got[0] == 0 || got[1] == 0) || x.want < 2 && !x.mostly && got[1-x.want] > 0 || x.mostly && got[x.want] < 2*got[1-x.want] {
			t.Errorf("%s: %v of 40, want %d", x.name, got, x.want)
		}
	}
}
