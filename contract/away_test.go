package contract

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/ton/localnet"
)

// A node that starts while the chain is away goes on with what it has seen
// before, within the registry's age, and follows the chain when it is back.
func TestRecall(t *testing.T) {
	s := serve(t)
	root := founded(t, 3)
	d, err := root.Deploy(OurCodes().Root)
	if err != nil {
		t.Fatal(err)
	}
	s.deploy(d, Ton)
	first, err := Follow(t.Context(), s.client, d.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := first.Record()
	seen := time.Unix(r.Time, 0)
	if v := ViewOf(first); v.Away() || v.Seen != r.Time || v.GoodUntil != r.Time+7200 || v.Since() != "" {
		t.Errorf("view %+v, want the chain there and good for two hours", v)
	}
	addr := s.server.Addr().String()
	if err := s.server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Follow(t.Context(), s.client, d.Address, nil); !errors.Is(err, ton.ErrUnreachable) {
		t.Errorf("without a record: %v", err)
	}
	for _, x := range []struct {
		name   string
		change func(*Record)
		now    time.Time
		want   string
	}{
		{"another registry", func(r *Record) { r.Registry = "0:" + strings.Repeat("1", 64) }, seen, "of another"},
		{"cut off", func(r *Record) { r.Data = r.Data[:len(r.Data)-1] }, seen, "cannot be read"},
		{"no registry", func(r *Record) { r.Data = OurCodes().Root.ToBOC() }, seen, "as remembered"},
		{"from the future", func(*Record) {}, seen.Add(-time.Hour), "clock is slow"},
		{"too old", func(*Record) {}, seen.Add(MaxAge + time.Second), "longer ago than the 2h0m0s"},
	} {
		wrong := r
		wrong.Data = bytes.Clone(r.Data)
		x.change(&wrong)
		if _, err := Recall(s.client, d.Address, wrong, x.now, nil); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", x.name, err, x.want)
		}
	}
	o, err := Recall(s.client, d.Address, r, seen.Add(MaxAge), nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.Root().Version != root.Version || !o.AsOf().Time.Equal(seen) || o.AsOf().Seqno != r.Block {
		t.Errorf("in force is %+v as of %+v, want what was remembered", o.Root(), o.AsOf())
	}
	if again := o.Record(); !bytes.Equal(again.Data, r.Data) || again.Time != r.Time {
		t.Errorf("remembered again it is another: %+v", again)
	}
	o.run(t)
	if v := ViewOf(o); !v.Away() || v.Why == "" || !strings.Contains(v.Since(), "away since ") {
		t.Errorf("view %+v, want the chain away", v)
	}
	changed := o.Changed()
	s.say(root.Owner, d.Address, Ton, &ChangePrice{1, 30, 10})
	if s.server, err = localnet.Listen(s.chain, addr); err != nil {
		t.Fatal(err)
	}
	changes(t, changed)
	if o.Root().PricePerToken != 30 {
		t.Errorf("in force is %+v, want the chain's", o.Root())
	}
}

// Setting the clock back makes a registry no younger.
func TestRegistryAgesBySteadyClock(t *testing.T) {
	o := &OnChain{asOf: ton.Block{Time: time.Now()}, readAt: time.Now().Add(-MaxAge - time.Minute)}
	var stale *StaleError
	if err := Stale(o, time.Now().Add(-time.Hour)); !errors.As(err, &stale) || stale.Age <= MaxAge {
		t.Errorf("%v, want it stale: it was read more than two hours ago", err)
	}
	if ViewOf(NewMemory(&Root{})) != nil {
		t.Error("a registry without a chain has a view of one")
	}
}
