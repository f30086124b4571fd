package ratls

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/attest"
)

// moody makes fake evidence, or does not.
type moody struct {
	asked atomic.Int32
	down  atomic.Bool
}

func (m *moody) Kind() attest.Kind { return attest.KindFakeTDX }
func (m *moody) Quote(_ context.Context, data [64]byte) ([]byte, error) {
	m.asked.Add(1)
	if m.down.Load() {
		return nil, errors.New("quoting enclave does not answer")
	}
	return data[:], nil
}

// run keeps an identity fresh within a bubble of fake time.
func run(t *testing.T, f func(id *Identity, platform *moody)) { runWith(t, nil, f) }

func runWith(t *testing.T, opts *IdentityOptions, f func(id *Identity, platform *moody)) {
	synctest.Test(t, func(t *testing.T) {
		platform := &moody{}
		id, err := NewIdentity(t.Context(), platform, opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- id.Run(ctx) }()
		f(id, platform)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v, want the end of its context", err)
		}
	})
}

func TestIdentityRenewsAtHalfLife(t *testing.T) {
	run(t, func(id *Identity, platform *moody) {
		for day := range 7 {
			first := id.Certificate()
			time.Sleep(10 * time.Hour) // before 12 h less a tenth
			synctest.Wait()
			if day == 0 && id.Certificate() != first {
				t.Error("renewed within 10 hours")
			}
			time.Sleep(14 * time.Hour)
			synctest.Wait()
			if id.Certificate() == first {
				t.Fatalf("day %d: still the certificate of the day before", day)
			}
			if left := time.Until(id.Certificate().Leaf.NotAfter); left < 10*time.Hour {
				t.Errorf("day %d: %v left, want at least 10 h", day, left)
			}
		}
		if n := platform.asked.Load(); n < 14 || n > 17 {
			t.Errorf("%d quotes in a week, want about two a day", n)
		}
	})
}

// A platform that fails for hours costs nothing while the certificate lives.
func TestIdentityRenewalRetries(t *testing.T) {
	run(t, func(id *Identity, platform *moody) {
		first := id.Certificate()
		platform.down.Store(true)
		time.Sleep(20 * time.Hour)
		synctest.Wait()
		if id.Certificate() != first || time.Now().After(first.Leaf.NotAfter) {
			t.Error("the certificate should be the first, and valid")
		}
		platform.down.Store(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if id.Certificate() == first {
			t.Error("not renewed although the platform is back")
		}
	})
}

// A machine that slept, or whose clock was set, has a certificate that every
// peer refuses: it must not wait for half a day of its own timer.
func TestIdentityFollowsTheClock(t *testing.T) {
	for _, jump := range []time.Duration{30 * time.Hour, -time.Hour} {
		var set atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
		runWith(t, &IdentityOptions{Now: now}, func(id *Identity, _ *moody) {
			set.Store(int64(jump))
			time.Sleep(time.Minute)
			synctest.Wait()
			if leaf := id.Certificate().Leaf; now().After(leaf.NotAfter) || now().Before(leaf.NotBefore) {
				t.Errorf("a minute after a jump of %v: valid %v to %v, now is %v", jump, leaf.NotBefore, leaf.NotAfter, now())
			}
		})
	}
}

func TestIdentityNeedsItsPlatform(t *testing.T) {
	platform := &moody{}
	platform.down.Store(true)
	if _, err := NewIdentity(t.Context(), platform, nil); err == nil {
		t.Error("an identity without the evidence that its platform owes")
	}
}

func TestJitter(t *testing.T) {
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		d := jitter(time.Hour)
		least, most = min(least, d), max(most, d)
	}
	if least < 54*time.Minute || most > 66*time.Minute || most-least < time.Minute {
		t.Errorf("an hour becomes %v to %v, want within a tenth and spread", least, most)
	}
}
