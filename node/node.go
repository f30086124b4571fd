// Package node turns settings into running roles.
//
// There is one struct of settings per role: [Client], [Proxy], [Worker],
// [Keys], [Engine] and [Chain]. Their JSON names are the keys of configuration files, so the same
// struct can be filled by a command line, written to a file for another
// process, or run right here. Check reports all problems at once; Run builds
// the role from the library packages and returns when it has ended.
//
// This is wiring: it decides defaults and where files lie, and leaves what
// a role does to the role.
package node

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Problems collects everything that is wrong with settings, so that a person
// fixes it in one go.
type Problems []string

// Add notes a problem.
func (p *Problems) Add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// Error joins the problems in one line.
func (p Problems) Error() string { return strings.Join(p, "; ") }

// Err is nil if there are none.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// Env is what a role gets from its surroundings and not from settings.
type Env struct {
	// Log gets what happens; nil discards it.
	Log *slog.Logger
	// Ready, if not nil, is called once when the role's addresses are open,
	// with the address of its HTTP server.
	Ready func(http string)
	// Guide tells the person who started the role what to do before it can go
	// on; nil logs it.
	Guide func(text string)
	// Now is the clock by which the chain, its registry and all money are dated.
	// Nil means time.Now.
	Now func() time.Time
}

func (e Env) now() time.Time {
	if e.Now == nil {
		return time.Now()
	}
	return e.Now()
}

func (e Env) guide(text string) {
	if e.Guide == nil {
		e.log().Warn(text)
		return
	}
	e.Guide(text)
}

func (e Env) log() *slog.Logger {
	if e.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return e.Log
}
