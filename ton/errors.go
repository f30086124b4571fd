package ton

import (
	"fmt"
	"strings"
	"time"
)

// UnreachableError is [ErrUnreachable] with its reasons.
type UnreachableError struct {
	// Doing is what was asked.
	Doing string
	// Servers are those tried, or known if none could be tried.
	Servers []string
	// Last is the last server's failure; it may be a context's error, or
	// [ErrProof] if the last server was dropped for lying.
	Last error

	lacking bool // every server that was asked answered that it lacks the thing
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("ton: %s: %v: tried %s: %v", e.Doing, ErrUnreachable, strings.Join(e.Servers, ", "), e.Last)
}

// Unwrap gives [ErrUnreachable] and the last failure.
func (e *UnreachableError) Unwrap() []error { return []error{ErrUnreachable, e.Last} }

// StaleError is [ErrStale] with the newest block that any server has.
type StaleError struct {
	Newest Block
	// Age is how old that block is. It may be small: a server that is behind
	// a block seen earlier is stale too.
	Age time.Duration
	// Seen is the newest block that was ever seen.
	Seen Block
}

func (e *StaleError) Error() string {
	if e.Newest.Seqno < e.Seen.Seqno {
		return fmt.Sprintf("ton: %v: the newest block that servers have is %d of %s, and %d was seen before; if the chain was set back, connect anew",
			ErrStale, e.Newest.Seqno, e.Newest.Time.UTC().Format(time.RFC3339), e.Seen.Seqno)
	}
	return fmt.Sprintf("ton: %v: the newest block, %d, is of %s, %v ago", ErrStale, e.Newest.Seqno, e.Newest.Time.UTC().Format(time.RFC3339), e.Age.Round(time.Second))
}

// Unwrap gives [ErrStale].
func (e *StaleError) Unwrap() error { return ErrStale }

// RefusedError is [ErrRefused] with what is known of the reason.
type RefusedError struct {
	// ExitCode is the contract's, if Ran. Zero means that it ended well and
	// did not accept.
	ExitCode int32
	Ran      bool
	// Reason is in words: a server's, or the local machine's.
	Reason string
}

func (e *RefusedError) Error() string {
	if e.Ran {
		return fmt.Sprintf("ton: %v: the contract ended with exit code %d before accepting it", ErrRefused, e.ExitCode)
	}
	return fmt.Sprintf("ton: %v: %s", ErrRefused, e.Reason)
}

// Unwrap gives [ErrRefused].
func (e *RefusedError) Unwrap() error { return ErrRefused }

// MethodError is a get-method that ended with an exit code of failure.
type MethodError struct {
	Method   string
	ExitCode int64
}

func (e *MethodError) Error() string {
	return fmt.Sprintf("ton: get-method %s ended with exit code %d", e.Method, e.ExitCode)
}

// wrong is an answer that does not follow from the block it names.
func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrProof, fmt.Errorf(format, args...))
}
