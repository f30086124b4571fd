package worker

import (
	"context"
	"sync"
	"time"
)

// crew runs requests on goroutines that stay a moment for the next one. A new
// goroutine has a small stack, and making it grow on its way through HTTP and
// JSON took an eighth of this role's CPU when requests are small.
type crew struct {
	work chan func() // has receivers only while members rest
}

// rest is how long a member waits for the next request.
const rest = 100 * time.Millisecond

func newCrew() crew { return crew{work: make(chan func())} }

// run runs f on a goroutine that members counts. Resting members leave when
// life ends.
func (c crew) run(life context.Context, members *sync.WaitGroup, f func()) {
	select {
	case c.work <- f:
	default:
		members.Go(func() { c.member(life, f) })
	}
}

func (c crew) member(life context.Context, f func()) {
	bored := time.NewTimer(rest)
	defer bored.Stop()
	for {
		f()
		bored.Reset(rest)
		select {
		case f = <-c.work:
		case <-bored.C:
			return
		case <-life.Done():
			return
		}
	}
}
