package ledger

import (
	"errors"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/coin"
)

// tallyRig is a tally, its clock and what was last saved.
type tallyRig struct {
	*Tally
	t      *testing.T
	now    time.Time
	saved  TallyState
	saves  int
	broken error
}

func newTallyRig(t *testing.T, l Limits) *tallyRig {
	r := &tallyRig{t: t, now: time.Unix(1_900_000_000, 0)}
	r.open(l, TallyState{})
	return r
}

func (r *tallyRig) open(l Limits, s TallyState) {
	r.Tally = NewTally(TallyConfig{Limits: l, Now: func() time.Time { return r.now }, Save: func(s TallyState) error {
		if r.broken == nil {
			r.saved, r.saves = s, r.saves+1
		}
		return r.broken
	}}, s)
}

func (r *tallyRig) reserve(key string, estimate, most int64) *Spend {
	r.t.Helper()
	s, err := r.Reserve(Spending{Account: "c", Key: key, Price: 10, Estimate: estimate, Most: most, Until: r.now.Add(time.Minute)})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *tallyRig) claims(total int64, good bool) {
	r.t.Helper()
	var inflated *InflatedError
	if err := r.Accept("c", total); (err == nil) != good || err != nil && !errors.As(err, &inflated) {
		r.t.Errorf("a claim of %d: %v, want good %v", total, err, good)
	}
}

func (r *tallyRig) answered(total int64) { r.Answered("c", total, r.Ask("c")) }

// A total that was on its way while requests ended does not hold them: it ends
// no doubt, or what was lost before would be forgotten.
func TestTallyLateWord(t *testing.T) {
	r := newTallyRig(t, Limits{})
	r.Adopt("c", 0, 0)
	r.reserve("", 10, 40).Lost() // 20, in truth
	r.now = r.now.Add(2 * time.Minute)
	asked := r.Ask("c")
	r.reserve("", 10, 40).End(30)
	r.Answered("c", 20, asked)
	r.Said("c", 20)
	r.claims(50, true) // but bounds it: all that was in doubt is in the 20
	r.claims(51, false)
	r.answered(50)
	r.claims(50, true)
	r.claims(51, false)
}

// A charge is believed up to what was counted and what may be under way.
func TestTallyRefusesInflatedClaims(t *testing.T) {
	r := newTallyRig(t, Limits{})
	r.claims(1, false) // nobody has been met
	r.Adopt("c", 100, 50)
	r.claims(150, true)
	r.claims(151, false)
	r.answered(151) // ends no doubt
	r.claims(150, true)
	r.Said("c", 120) // nor does what nobody asked for
	r.claims(150, true)
	r.answered(120)
	r.claims(120, true)
	r.claims(121, false)
	r.Adopt("c", 0, 1000) // known already
	r.claims(121, false)
	s := r.reserve("", 10, 40)
	r.claims(160, true)
	r.claims(161, false)
	s.End(30)
	r.claims(150, true)
	r.claims(151, false)
	r.reserve("", 10, 40).End(1000) // reports are cut to the bound
	r.claims(190, true)
	r.claims(191, false)
	r.reserve("", 10, 40).End(-5)
	r.claims(190, true)
	r.claims(191, false)
}

// An answer whose end was never heard may be claimed, within its bound, and
// only until the proxy has said what it was when nobody works on it any more.
func TestTallyDoubt(t *testing.T) {
	r := newTallyRig(t, Limits{})
	r.Adopt("c", 0, 0)
	r.reserve("", 10, 40).Lost()
	other := r.reserve("", 10, 40)
	r.now = r.now.Add(2 * time.Minute)
	r.answered(25) // while another runs: it might count that one
	r.claims(65, true)
	r.claims(66, false)
	other.End(5)
	if got := r.Count("c"); got != (Counted{Used: 5, Doubt: 25, Said: 25, Heard: r.now}) {
		t.Errorf("%+v", got)
	}
	r.answered(31)
	r.claims(30, true)
	r.claims(31, false)
	r.answered(25)
	r.claims(25, true)
	r.claims(26, false)

	r.reserve("", 10, 40).Lost()
	r.answered(25) // a worker may still be at it
	r.claims(65, true)
	r.now = r.now.Add(time.Minute)
	r.answered(10) // it has forgotten some; we have not
	if got := r.Count("c"); got != (Counted{Used: 25, Said: 10, Heard: r.now}) {
		t.Errorf("%+v", got)
	}
}

// Under a load that never ends, with answers that break off now and then, what
// the proxy may claim stays near what was used, and is never less.
func TestTallyDoubtUnderLoad(t *testing.T) {
	r := newTallyRig(t, Limits{})
	r.Adopt("c", 0, 0)
	truth := int64(0) // the proxy's total
	running := r.reserve("", 10, 1000)
	for i := range int64(50) {
		next := r.reserve("", 10, 1000)
		if truth += 10 + i%3; i%5 == 0 {
			running.Lost()
		} else {
			running.End(10 + i%3)
		}
		running = next
		r.claims(truth, true)
		asked := r.Ask("c")
		r.now = r.now.Add(20 * time.Second)
		r.Answered("c", truth, asked)
		r.claims(truth, true)
		// Those of the last minute are in doubt in full, those before by what they cost.
		if got := r.Count("c"); got.Used+got.Doubt-truth > 1000 || got.Running != 1000 {
			t.Fatalf("round %d: %+v, and %d were used", i, got, truth)
		}
	}
	r.now = r.now.Add(2 * time.Minute)
	r.answered(truth)
	r.claims(truth+1000, true)
	r.claims(truth+1001, false)
	running.End(1)
	if r.answered(truth + 1); r.Count("c").Doubt != 0 {
		t.Errorf("%+v at rest", r.Count("c"))
	}
}

// A total that was long on its way says nothing about answers that broke off meanwhile.
func TestTallyLateAnswer(t *testing.T) {
	r := newTallyRig(t, Limits{})
	r.Adopt("c", 0, 0)
	r.reserve("", 10, 40).Lost()
	asked := r.Ask("c") // nothing is booked yet, and somebody may be at work
	r.now = r.now.Add(2 * time.Minute)
	r.reserve("", 10, 40).Lost()
	r.reserve("", 10, 1000)
	r.Answered("c", 0, asked)
	r.claims(1080, true)
	r.claims(1081, false)
}

// However many answers break off, they are remembered in little room.
func TestTallyManyDoubts(t *testing.T) {
	r := newTallyRig(t, Limits{})
	r.Adopt("c", 0, 0)
	for range 3 * maxFresh {
		r.reserve("", 1, 2).Lost()
	}
	if a := r.accounts["c"]; a.doubt != 6*maxFresh || len(a.fresh) != maxFresh || a.ripe(r.now) != 0 || a.ripe(r.now.Add(time.Minute)) != a.doubt {
		t.Errorf("a doubt of %d in %d parts", a.doubt, len(a.fresh))
	}
}

// After a crash no honest charge is refused, and after an end in order none
// that is not.
func TestTallySurvives(t *testing.T) {
	r := newTallyRig(t, Limits{Hour: 1000})
	r.Adopt("c", 0, 0)
	for range 10 {
		r.reserve("k", 1, 20).End(7)
	}
	if r.saves != 1 {
		t.Errorf("%d saves for ten requests, want one with room for more", r.saves)
	}
	clean := r.State()
	r.open(Limits{Hour: 1000}, r.saved)
	r.claims(70, true)
	if got := r.Count("c"); got.Used+got.Doubt < 70 || got.Used+got.Doubt > 1000 {
		t.Errorf("after a crash %+v", got)
	}
	r.open(Limits{Hour: 1000}, clean)
	r.claims(70, true)
	r.claims(71, false)
	if all, by := r.Hour(); all != 700 || by["k"] != 700 {
		t.Errorf("hour: %d, %v, want 700", all, by)
	}
	r.broken = errors.New("disk full")
	if _, err := r.Reserve(Spending{Account: "c", Most: 5}); !errors.Is(err, r.broken) {
		t.Errorf("without a disk: %v", err)
	}
	if got := r.Count("c"); got.Running != 0 {
		t.Errorf("a refused request is set aside: %+v", got)
	}
}

// What would go beyond a limit is refused before it is sent, whatever else runs.
func TestTallyLimits(t *testing.T) {
	r := newTallyRig(t, Limits{Request: 500, Hour: 1500, KeyHour: 800})
	r.Adopt("c", 0, 0)
	refused := func(key string, estimate int64, what string, spent coin.Nano) {
		t.Helper()
		_, err := r.Reserve(Spending{Account: "c", Key: key, Price: 10, Estimate: estimate, Most: estimate})
		var limit *LimitError
		if !errors.As(err, &limit) || limit.What != what || limit.Spent != spent || limit.Wants != coin.Nano(10*estimate) {
			t.Errorf("%s asks for %d: %+v, want a refusal by %s with %d spent", key, estimate, err, what, spent)
		}
	}
	refused("a", 51, "request", 0)
	one := r.reserve("a", 50, 50)
	refused("a", 31, "key", 500)
	one.End(20)
	r.reserve("a", 50, 50).End(50)
	refused("a", 11, "key", 700)
	two := r.reserve("b", 50, 50)
	refused("b", 31, "hour", 1200)
	two.Lost() // counts as spent in full
	refused("b", 31, "hour", 1200)
	r.now = r.now.Add(59 * time.Minute)
	refused("b", 31, "hour", 1200)
	r.now = r.now.Add(2 * time.Minute)
	r.reserve("a", 50, 50).End(1)
}
