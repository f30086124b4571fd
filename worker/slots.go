package worker

import (
	"context"
	"sync"
)

// slots counts running requests and lets no more in than there are slots.
type slots struct {
	mu    sync.Mutex // guards all below
	limit int
	used  int
	quiet chan struct{} // closed while none is used
}

func newSlots(limit int) *slots {
	s := &slots{limit: limit, quiet: make(chan struct{})}
	close(s.quiet)
	return s
}

// take occupies a slot if one is free.
func (s *slots) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= s.limit {
		return false
	}
	if s.used == 0 {
		s.quiet = make(chan struct{})
	}
	s.used++
	return true
}

func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used--; s.used == 0 {
		close(s.quiet)
	}
}

func (s *slots) active() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// wait returns when no slot is used, or with ctx's error.
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
