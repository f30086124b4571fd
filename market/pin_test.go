package market

import "testing"

// A request that names a revision goes to that revision alone, and waits only if it is there.
func TestPin(t *testing.T) {
	m, _ := market(1)
	old := m.Add(Terms{Model: "m", FullModel: "m@old:00", Coefficient: 1000, Limit: 1, Enabled: true})
	dear := m.Add(Terms{Model: "m", FullModel: "m@new:11", Coefficient: 5000, Limit: 1, Enabled: true})
	for _, c := range []struct {
		pin  string
		max  uint32
		want *Offer
		says Verdict
	}{
		{"m@old", 4000, old, Chosen}, {"m@old:00", 4000, old, Chosen}, {"m@new", 9000, dear, Chosen},
		{"m@new", 4000, nil, TooDear}, {"m@absent", 9000, nil, UnknownModel}, {"m@old:11", 9000, nil, UnknownModel}, {"m@ol", 9000, nil, UnknownModel},
	} {
		o, d := m.Pick(Want{Model: "m", Pin: c.pin, MaxCoefficient: c.max})
		if o != c.want || d.Verdict != c.says || d.Model != c.pin {
			t.Errorf("%s at %d: %v, want %v", c.pin, c.max, d, c.says)
		}
		if o != nil {
			m.Done(o, Neutral, Took{})
		}
	}
	first, _ := m.Pick(Want{Model: "m", Pin: "m@old", MaxCoefficient: 9000})
	if _, d := m.Pick(Want{Model: "m", Pin: "m@old", MaxCoefficient: 9000}); d.Verdict != Busy {
		t.Errorf("while it runs another: %v, want busy although a dearer revision is free", d)
	}
	waiter := &Waiter{Want: Want{Model: "m", Pin: "m@old", MaxCoefficient: 9000, Client: "c"}}
	if _, err := m.Enqueue(waiter); err != nil {
		t.Fatal(err)
	}
	if grants := m.Match("m"); len(grants) != 0 {
		t.Errorf("the free revision was given to one who wants another: %v", grants[0].Decision)
	}
	grants := m.Done(first, Neutral, Took{})
	if len(grants) != 1 || grants[0].Waiter != waiter || grants[0].Offer != old {
		t.Errorf("grants %v, want the one who waits for it", grants)
	}
}
