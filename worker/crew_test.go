package worker

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A member that has finished takes the next request; who finds nothing to do
// leaves, by itself or when the worker ends.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		var members sync.WaitGroup
		c, done := newCrew(), make(chan bool)
		hire := func() { c.run(life, &members, func() { done <- true }) }
		gone := func() <-chan struct{} {
			ch := make(chan struct{})
			go func() { members.Wait(); close(ch) }()
			return ch
		}
		for range 3 { // one after another: the same member
			hire()
			<-done
			synctest.Wait()
			time.Sleep(rest / 2)
		}
		select {
		case c.work <- func() {}:
		default:
			t.Error("nobody waits for the next request")
		}
		synctest.Wait()
		start := time.Now()
		if <-gone(); time.Since(start) != rest {
			t.Errorf("the last member left after %v, want %v", time.Since(start), rest)
		}
		hire() // two at once: both run
		hire()
		<-done
		<-done
		start = time.Now()
		end()
		if <-gone(); time.Since(start) != 0 {
			t.Errorf("a resting member outlived the worker by %v", time.Since(start))
		}
	})
}
