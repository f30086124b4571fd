package worker

import (
	"context"
	"sync"
)

// slots lets no more requests in than there are slots. A slot is free again
// when the last message of an answer is about to be sent, because the proxy may
// fill it the moment it has that message; the request has ended a little
// later, when the message has been queued.
type slots struct {
	mu      sync.Mutex // guards all below
	limit   int
	taken   int
	used    func(taken, limit int) // nil, or told of each change
	running int
	quiet   chan struct{} // closed while none is running
}

func newSlots(limit int) *slots {
	s := &slots{limit: limit, quiet: make(chan struct{})}
	close(s.quiet)
	return s
}

// take occupies a slot if one is free, and begins a request.
func (s *slots) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.limit {
		return false
	}
	if s.running == 0 {
		s.quiet = make(chan struct{})
	}
	s.taken++
	s.tell()
	s.running++
	return true
}

// free gives a slot back, end ends its request; each once.
func (s *slots) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	s.tell()
}

// tell is called with mu held.
func (s *slots) tell() {
	if s.used != nil {
		s.used(s.taken, s.limit)
	}
}

func (s *slots) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running--; s.running == 0 {
		close(s.quiet)
	}
}

// active is how many slots are occupied.
func (s *slots) active() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// wait returns when no request runs, or with ctx's error.
func (s *slots) wait(ctx context.Context) error {
	s.mu.Lock()
	quiet := s.quiet
	s.mu.Unlock()
	select {
	case <-quiet:
		return nil
	default:
	}
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
