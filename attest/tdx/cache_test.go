package tdx_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/attest/insecure"
	"github.com/opencocoon/cocoon/attest/tdx"
)

// counted is a source that can be switched off.
type counted struct {
	tdx.Collateral
	asked int
	down  bool
}

func (c *counted) Get(ctx context.Context, part tdx.Part) (tdx.Statement, error) {
	c.asked++
	if c.down {
		return tdx.Statement{}, errDown
	}
	return c.Collateral.Get(ctx, part)
}

// keeper is a cache whose source is counted, in a bubble of synthetic time.
type keeper struct {
	*testing.T
	src   *counted
	cache tdx.Collateral
}

func newKeeper(t *testing.T, life time.Duration, dir string) *keeper {
	t.Helper()
	a, err := insecure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(insecure.Collateral{NextUpdate: time.Now().Add(life)}); err != nil {
		t.Fatal(err)
	}
	src := &counted{Collateral: a}
	return &keeper{t, src, tdx.Cached(src, dir, nil)}
}

// get asks for a part and then checks how often the source has been asked.
func (k *keeper) get(wantAsked int, wantErr error) {
	k.Helper()
	s, err := k.cache.Get(k.Context(), tdx.QEIdentity)
	synctest.Wait()
	if !errors.Is(err, wantErr) || (err == nil) != (len(s.Body) > 0) {
		k.Errorf("error %v, want %v", err, wantErr)
	}
	if k.src.asked != wantAsked {
		k.Errorf("the source was asked %d times, want %d", k.src.asked, wantAsked)
	}
}

func TestCacheRefreshesAheadOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, 30*24*time.Hour, "")
		k.get(1, nil)
		k.get(1, nil)
		time.Sleep(23 * time.Hour)
		k.get(1, nil)
		time.Sleep(time.Hour)
		k.get(2, nil) // a day old: served, and asked for again
		k.get(2, nil)
		k.src.down = true
		time.Sleep(24 * time.Hour)
		k.get(3, nil) // the source is down: what is there is good for weeks
		k.get(3, nil) // and the source is left in peace for a while
		time.Sleep(time.Minute)
		k.get(4, nil)
		time.Sleep(30 * 24 * time.Hour)
		k.get(5, errDown) // expired
		k.get(5, errDown)
		k.src.down = false
		time.Sleep(time.Minute)
		k.get(6, nil) // expired as well, and passed on for the verifier to say so
		k.get(7, nil)
	})
}

func TestCacheRefreshesAtHalfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, 2*time.Hour, "")
		k.get(1, nil)
		time.Sleep(59 * time.Minute)
		k.get(1, nil)
		time.Sleep(time.Minute)
		k.get(2, nil)
	})
}

func TestCacheSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		k := newKeeper(t, 30*24*time.Hour, dir)
		k.get(1, nil)
		k.src.down = true
		k.cache = tdx.Cached(k.src, dir, nil)
		k.get(1, nil) // from the disk
		time.Sleep(24 * time.Hour)
		k.get(2, nil) // and asked for again when it is old
		k.get(2, nil)
		time.Sleep(31 * 24 * time.Hour)
		k.cache = tdx.Cached(k.src, dir, nil)
		k.get(3, errDown) // what is on the disk has expired
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 2 {
			t.Errorf("%d files, %v, want the part and its chain", len(entries), err)
		}
	})
}

// Whoever answers with a login page is not kept.
func TestCacheKeepsNoNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, time.Hour, t.TempDir())
		honest := k.src.Collateral
		k.src.Collateral = tdx.Answers{tdx.QEIdentity: {Body: []byte("<html>")}}
		k.get(1, nil)
		k.src.Collateral = honest
		k.get(2, nil)
		k.get(2, nil)
	})
}

func TestCacheOfASourceThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, time.Hour, "")
		k.src.down = true
		k.get(1, errDown)
		k.get(1, errDown)
		time.Sleep(time.Minute)
		k.src.down = false
		k.get(2, nil)
	})
}

type slow struct {
	tdx.Collateral
	release chan struct{}
}

func (s slow) Get(ctx context.Context, part tdx.Part) (tdx.Statement, error) {
	<-s.release
	return s.Collateral.Get(ctx, part)
}

func TestCacheWhoseCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, time.Hour, "")
		release := make(chan struct{})
		k.cache = tdx.Cached(slow{k.src, release}, "", nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.cache.Get(ctx, tdx.QEIdentity); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the caller's deadline", err)
		}
		close(release)
		k.get(1, nil) // the fetch went on without its first caller
	})
}
