package ledger

import (
	"fmt"
	"math"
)

// Notes are the proxy's messages to itself on chain: a number, and the hash of
// the session, which is one start of a proxy. When the chain shows a note of
// ours, everything booked before it was prepared is committed, and may be
// signed. When it shows one that this ledger never prepared, this ledger is a
// copy of another, or older than it should be. Source: contracts.md section 18.4.

// Note prepares the next save-state note and makes that durable. It is not ok
// while a note of this session waits to be seen ([Ledger.PendingNote]), and when there is nothing
// that the chain has not been told: an idle proxy pays no gas. The first of a session is
// always due, since seeing it shows that nobody else works with this ledger.
func (l *Ledger) Note() (number int32, session Hash, ok bool) {
	l.admin.Lock()
	defer l.admin.Unlock()
	l.mu.Lock()
	g := l.state.current()
	first := g != nil && !g.chainless() && l.cfg.Store != nil && l.state.sessions[l.session] == span{}
	waits := len(l.state.pending) > 0 && l.state.pending[len(l.state.pending)-1].session == l.session
	if l.why != nil || !l.begun || waits || !first && !l.uncommitted() || l.state.note == math.MaxInt32 {
		l.mu.Unlock()
		return 0, Hash{}, false
	}
	number = l.state.note + 1
	err := l.write(&booking{event: Event{Kind: Noted, Note: number, Session: l.session}, done: func(error) {}})
	return number, l.session, err == nil
}

// uncommitted says whether something is durable that no seen note covers. mu is held.
func (l *Ledger) uncommitted() bool {
	if len(l.state.dirty) > 0 {
		return true
	}
	for _, n := range l.state.pending { // of earlier sessions: they may never land
		if len(n.levels) > 0 {
			return true
		}
	}
	return false
}

// PendingNote is the note of this session that was prepared and not seen: send
// it again if its transaction was lost.
func (l *Ledger) PendingNote() (number int32, session Hash, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.state.pending {
		if n.session == l.session {
			return n.number, n.session, true
		}
	}
	return 0, Hash{}, false
}

// NoteSeen takes a note of the proxy's own wallet that the chain shows. Every
// such note must be brought here, in the chain's order, from where
// [Ledger.Followed] says on. One that we prepared commits what it covers, late ones of
// earlier sessions too; one that was overtaken changes nothing. Any other is a [RollbackError].
func (l *Ledger) NoteSeen(number int32, session Hash) error {
	l.admin.Lock()
	defer l.admin.Unlock()
	l.mu.Lock()
	if !l.state.known(number, session) {
		err := &RollbackError{fmt.Sprintf("the chain holds note %d of session %.8s…, which this ledger did not prepare; its last is %d", number, session, l.state.note)}
		l.refuse(err)
		l.mu.Unlock()
		return err
	}
	waits := false
	for _, n := range l.state.pending {
		waits = waits || n.number == number
	}
	if !waits {
		l.mu.Unlock()
		return nil
	}
	return l.write(&booking{event: Event{Kind: NoteSeen, Note: number, Session: session}, done: func(err error) {
		l.shown = l.shown || err == nil && session == l.session
	}})
}

// Commit does in the mode without a chain what the chain would do: a note is
// prepared and at once taken as seen. With a chain it does nothing.
func (l *Ledger) Commit() {
	l.mu.Lock()
	g := l.state.current()
	chainless := g != nil && g.chainless()
	l.mu.Unlock()
	if !chainless {
		return
	}
	if number, session, ok := l.Note(); ok {
		l.NoteSeen(number, session)
	}
}
