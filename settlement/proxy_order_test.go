package settlement

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
)

// No more than so many jobs run at a time, each that has failed rests, and one
// that nobody wants again is forgotten.
func TestJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := ProxyConfig{RetryAfter: time.Minute}
		_ = cfg.fill() // for what has defaults
		p := &Proxy{cfg: cfg, log: cfg.Log, life: t.Context(), jobs: map[string]*job{}, failed: map[string]string{}, wake: make(chan struct{}, 1)}
		end := make(chan error)
		start := func(i int) bool {
			return p.start(fmt.Sprint("job ", i), false, func(context.Context) error { return <-end })
		}
		for i := range maxJobs {
			if !start(i) || start(i) {
				t.Fatalf("job %d does not start once", i)
			}
		}
		if start(maxJobs) {
			t.Error("one too many runs")
		}
		for i := range maxJobs {
			var err error
			if i > 0 {
				err = &LostError{coin.Nano(i).Text()}
			}
			end <- err
		}
		synctest.Wait()
		if p.busy != 0 || len(p.jobs) != maxJobs-1 {
			t.Errorf("%d run, %d are remembered, want 0 and the %d that failed", p.busy, len(p.jobs), maxJobs-1)
		}
		rests := 0
		for i := range maxJobs {
			if start(i) {
				end <- errors.New("again")
				continue
			}
			rests++
		}
		synctest.Wait()
		if rests != maxJobs-1 {
			t.Errorf("%d rest, want the %d that failed", rests, maxJobs-1)
		}
		time.Sleep(time.Minute + jobMemory)
		p.forget()
		if len(p.jobs) != maxJobs {
			t.Errorf("%d jobs are remembered for their time, want %d", len(p.jobs), maxJobs)
		}
		time.Sleep(time.Nanosecond)
		p.forget()
		if len(p.jobs) != 0 {
			t.Errorf("%d jobs are remembered for ever", len(p.jobs))
		}
	})
}

// A grant brings the client what it has less what is charged and taken away with it.
func TestRefundOfAGrant(t *testing.T) {
	state := &contract.ClientState{Balance: 5000, Tokens: 7}
	for _, x := range []struct {
		tokens, returned int64
		want             coin.Nano
	}{{7, 0, 5000}, {107, 0, 3000}, {107, 50, 2000}, {107, 500, 0}, {5, 0, 5000}} {
		if got := refundOf(20, ledger.Order{Kind: ledger.Grant, Tokens: x.tokens, Returned: x.returned}, state); got != x.want {
			t.Errorf("%d tokens, %d returned: %d, want %d", x.tokens, x.returned, got, x.want)
		}
	}
	state.Debt = 6000
	if got := refundOf(20, ledger.Order{Tokens: 7}, state); got != 0 {
		t.Errorf("a client in debt gets %d", got)
	}
}
