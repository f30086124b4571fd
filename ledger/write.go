package ledger

import (
	"fmt"
	"time"
)

// booking is one event on its way into the store.
type booking struct {
	event Event
	// done is called with mu held, once it is known whether the event happened.
	done func(error)
	wake chan bool // true: write the queue; false: done
	err  error
}

// write stores the event and applies it. It is called with mu held and
// returns without, when the event is durable or known to have failed.
//
// Many goroutines share one write. The first to come writes, alone, while the
// others queue up behind it; when it is done it wakes the first of the queue,
// who writes everything that has gathered.
func (l *Ledger) write(b *booking) error {
	if l.why != nil {
		err := l.why
		if b.event.Kind == Settled && l.lied { // what was earned is earned
			err = nil
		}
		if err != nil {
			b.done(err)
			l.mu.Unlock()
			return err
		}
	}
	b.wake = make(chan bool, 1)
	l.queue = append(l.queue, b)
	lead := !l.writing
	l.writing = true
	l.mu.Unlock()
	if lead || <-b.wake {
		l.lead()
	}
	return b.err
}

// lead writes what has queued up, the caller's booking first.
func (l *Ledger) lead() {
	l.mu.Lock()
	n := min(len(l.queue), maxBatch)
	batch := l.queue[:n:n]
	l.queue = l.queue[n:]
	l.storing = time.Now()
	failed := l.why != nil && !l.lied
	err := l.why
	l.mu.Unlock()
	var rec Record
	var hash Hash
	if !failed {
		rec, hash, err = l.store(batch)
	}
	l.mu.Lock()
	l.storing = time.Time{}
	for i, b := range batch {
		if b.err = err; err == nil {
			b.err = l.state.apply(&b.event)
		}
		if b.err != nil {
			l.refuse(b.err)
		}
		b.done(b.err)
		if i > 0 {
			b.wake <- false
		}
	}
	if err == nil && l.cfg.Store != nil {
		l.chain.head, l.chain.last = hash, rec.Last
		l.grown += int64(len(rec.Data))
	}
	if len(l.queue) > 0 {
		l.queue[0].wake <- true
	} else {
		l.writing, l.queue = false, nil
	}
	l.mu.Unlock()
}

// store numbers, dates, seals and appends. Only the one who leads is here, so
// that state.seq and chain stand still.
func (l *Ledger) store(batch []*booking) (Record, Hash, error) {
	first, now := l.state.seq+1, l.cfg.Now().UnixMilli()
	events := make([]Event, len(batch))
	for i, b := range batch {
		b.event.Seq, b.event.Time = first+uint64(i), now
		events[i] = b.event
	}
	if l.cfg.Store == nil {
		return Record{}, Hash{}, nil
	}
	rec, hash, err := seal(logRecord, l.cfg.Key, l.chain.head, first, events)
	if err == nil {
		err = l.cfg.Store.Append(rec)
	}
	if err != nil {
		return rec, hash, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return rec, hash, nil
}
