package ton_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xssnick/tonutils-go/tl"
	tonapi "github.com/xssnick/tonutils-go/ton"

	"github.com/opencocoon/cocoon/ton"
)

// until waits for what a client notices by itself.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(30 * time.Second)
	for !so() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not so in time: %s", what)
		}
	}
}

// While somebody waits for blocks, a chain that goes away is noticed without a
// question, with the time it was last heard of, and so is its return.
func TestOutage(t *testing.T) {
	for name, strike := range trouble {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, cables, client := pair(t)
			there := ton.OutageOf(client)
			if there.Away() {
				t.Fatalf("away at once: %v", there.Why)
			}
			before, last := time.Now(), client.Changed(ton.Block{Seqno: 1 << 30})
			for _, down := range cables {
				strike(down)
			}
			<-there.Gone
			o := ton.OutageOf(client)
			if !errors.Is(o.Why, ton.ErrUnreachable) || o.Since.Before(before.Add(-time.Second)) || o.Since.After(time.Now()) {
				t.Errorf("away since %v because %v, want since about %v", o.Since, o.Why, before)
			}
			until(t, "a second failure", func() bool { return ton.OutageOf(client).Why != o.Why })
			if again := ton.OutageOf(client); !again.Since.Equal(o.Since) {
				t.Errorf("away since %v, and before since %v", again.Since, o.Since)
			}
			for _, down := range cables {
				down.set(false, false)
			}
			<-o.Back // though nobody asks
			if ton.OutageOf(client).Away() {
				t.Error("it is back, and still away")
			}
			fund(t, c, stranger(1), "1")
			<-last
		})
	}
}

// A server that goes on showing the block of an hour ago is an outage, though it answers.
func TestOutageByAnOldHead(t *testing.T) {
	c := newChain(t)
	l := newLiar(t, serve(t, c))
	var ahead atomic.Int64 // of our clock, seconds
	client := dial(t, l.config(t, serve(t, c)), func(cfg *ton.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load()) * time.Second) }
	})
	old, ok := l.ask(t.Context(), tonapi.GetMasterchainInf{}).(tonapi.MasterchainInfo)
	if !ok {
		t.Fatal("no masterchain info")
	}
	l.tell(func(_, answer tl.Serializable) tl.Serializable {
		if _, ok := answer.(tonapi.MasterchainInfo); ok {
			return old
		}
		return answer
	})
	if _, err := client.Head(t.Context()); err != nil {
		t.Fatal(err)
	}
	client.Changed(ton.Block{Seqno: 1 << 30})
	ahead.Store(3600)
	until(t, "an outage", func() bool { return errors.Is(ton.OutageOf(client).Why, ton.ErrStale) })
	if _, err := c.Advance(time.Hour); err != nil {
		t.Fatal(err)
	}
	l.tell(nil)
	until(t, "the return", func() bool { return !ton.OutageOf(client).Away() })
}

// A client can be there before its chain.
func TestOpenBeforeTheChain(t *testing.T) {
	c := newChain(t)
	s := serve(t, c)
	cable := newCable(t, s.Addr())
	cable.set(false, true)
	client, err := ton.Open(ton.Config{Network: through(t, cable, s), InsecureUnsigned: true, Timeout: time.Second, Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	news := client.Changed(ton.Block{})
	if _, err := client.Account(t.Context(), stranger(1)); !errors.Is(err, ton.ErrUnreachable) || !ton.OutageOf(client).Away() {
		t.Errorf("%v, want the chain away", err)
	}
	cable.set(false, false)
	until(t, "an account", func() bool { _, err := client.Account(t.Context(), stranger(1)); return err == nil })
	<-news
	if ton.OutageOf(client).Away() {
		t.Error("still away")
	}
	if _, err := ton.Open(ton.Config{Network: network(t, s)}); err == nil {
		t.Error("a configuration without a block to trust is opened")
	}
}
