package collateral_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/attest/collateral"
)

var errDown = errors.New("down")

// source answers with the moment until which the answer serves.
type source struct {
	asked atomic.Int32
	life  time.Duration
	err   error
	hold  chan struct{} // if any, answers wait for it
}

func (s *source) fetch(context.Context) ([]byte, error) {
	s.asked.Add(1)
	if s.hold != nil {
		<-s.hold
	}
	return []byte(time.Now().Add(s.life).Format(time.RFC3339)), s.err
}

func lifeOf(_ string, b []byte, fetched time.Time) (collateral.Life, error) {
	end, err := time.Parse(time.RFC3339, string(b))
	return collateral.Life{Ask: fetched.Add(end.Sub(fetched) / 2), End: end}, err
}

// However many ask at once, the source is asked once.
func TestOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{life: time.Hour, hold: make(chan struct{})}
		c := collateral.New(collateral.Options[[]byte]{Life: lifeOf})
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if b, err := c.Get(t.Context(), "x", s.fetch); err != nil || len(b) == 0 {
					t.Errorf("%q, %v", b, err)
				}
			})
		}
		synctest.Wait()
		close(s.hold)
		all.Wait()
		if n := s.asked.Load(); n != 1 {
			t.Errorf("the source was asked %d times by 100, want once", n)
		}
	})
}

// Names that peers choose cannot push out the others.
func TestChosenNamesMakeRoom(t *testing.T) {
	s := &source{life: time.Hour}
	c := collateral.New(collateral.Options[[]byte]{Life: lifeOf, Size: 10, Chosen: func(name string) bool { return strings.HasPrefix(name, "chip") }})
	get := func(name string, want int32) {
		t.Helper()
		if _, err := c.Get(t.Context(), name, s.fetch); err != nil || s.asked.Load() != want {
			t.Errorf("%s: %v, asked %d times, want %d", name, err, s.asked.Load(), want)
		}
	}
	get("list", 1)
	for i := range 100 {
		get(fmt.Sprint("chip", i), int32(2+i))
	}
	get("list", 101)
	get("chip99", 101)
	get("chip0", 102)
}

// What a failing source said before serves to its end, and for as long as the
// failure says nobody asks.
func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{life: time.Hour}
		c := collateral.New(collateral.Options[[]byte]{Life: lifeOf, Retry: func(err error) time.Duration {
			if errors.Is(err, errDown) {
				return 5 * time.Minute
			}
			return 0
		}})
		get := func(asked int32, want error) {
			t.Helper()
			_, err := c.Get(t.Context(), "x", s.fetch)
			synctest.Wait()
			if !errors.Is(err, want) || s.asked.Load() != asked {
				t.Errorf("%v, asked %d times; want %v, %d", err, s.asked.Load(), want, asked)
			}
		}
		get(1, nil)
		s.err = errDown
		time.Sleep(30 * time.Minute)
		get(2, nil)
		time.Sleep(4 * time.Minute)
		get(2, nil)
		time.Sleep(time.Minute)
		get(3, nil)
		time.Sleep(25 * time.Minute) // the answer has ended
		get(4, errDown)
		get(4, errDown)
		s.err = nil
		time.Sleep(5 * time.Minute)
		get(5, nil)
		c.Forget("x", errors.New("forged"))
		if _, err := c.Get(t.Context(), "x", s.fetch); err == nil || err.Error() != "forged" {
			t.Errorf("after it was forgotten: %v", err)
		}
		time.Sleep(time.Minute)
		get(6, nil)
	})
}

// A disk keeps what it was given over a restart; one that fails costs nothing
// but that, and what Close has closed asks nobody ahead of time.
func TestDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := &source{life: time.Hour}
		open := func(dir string) *collateral.Cache[[]byte] {
			return collateral.New(collateral.Options[[]byte]{Life: lifeOf, Disk: collateral.Files(dir)})
		}
		get := func(c *collateral.Cache[[]byte], asked int32) {
			t.Helper()
			if _, err := c.Get(t.Context(), "../x", s.fetch); err != nil || s.asked.Load() != asked {
				t.Errorf("%v, asked %d times, want %d", err, s.asked.Load(), asked)
			}
			synctest.Wait()
		}
		get(open(dir), 1)
		if _, err := os.Stat(filepath.Join(dir, "x")); err != nil {
			t.Errorf("the file: %v", err)
		}
		get(open(dir), 1)
		time.Sleep(40 * time.Minute)
		c := open(dir)
		c.Close()
		get(c, 1) // old, and served
		get(open(dir), 1)
		get(open(dir), 2) // the one before asked after it had answered
		c.Forget("../x", errDown)
		get(open(dir), 3)
		if err := os.WriteFile(filepath.Join(dir, "x"), make([]byte, collateral.Max+1), 0o600); err != nil {
			t.Fatal(err)
		}
		get(open(dir), 4)
		lost := open(filepath.Join(dir, "none"))
		get(lost, 5)
		get(lost, 5)
	})
}
