package ton

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"
)

// Update is what happened to an account.
type Update struct {
	// Account is as of the newest block, even if older transactions come first.
	Account *Account
	// Transactions are new, oldest first. The first update may have none.
	Transactions []*Transaction
	// Next is the cursor for everything after this update. Store it together
	// with what the update caused, and each transaction counts exactly once.
	Next TxID
	// More means that another update follows at once, from the same reading.
	More bool
}

// Watcher follows accounts of one chain. All that watch the same chain share
// its notice of new blocks; an account is read once per new block. The zero Watcher lacks
// only its Chain.
type Watcher struct {
	Chain Chain
	// Batch is the most transactions in an update. Zero means 256.
	Batch int
	// Every is the least time between two readings of an account. Zero means
	// that each block is looked at.
	Every time.Duration
	// Idle is how long to wait for a new block before the account is read all
	// the same, to learn whether anybody is still there. Zero means half a minute.
	Idle time.Duration
	// Trouble hears why the chain cannot be read, each time that it is tried in
	// vain, and nil when it works again. Nil ignores that.
	Trouble func(error)
}

// Watch follows an account: see [Watcher.Watch].
func Watch(ctx context.Context, chain Chain, addr *address.Address, after TxID, handle func(Update) error) error {
	w := Watcher{Chain: chain}
	return w.Watch(ctx, addr, after, handle)
}

// Watch calls handle with the account as it is and with every transaction
// after the given one, in order and each once; then again whenever there are
// new ones. The zero TxID means from the beginning, an account's Last from now on. Calls to handle do not overlap.
//
// It returns when ctx ends or handle returns an error, with that error. It
// outlasts a chain that is unreachable or stale, and tries again after pauses of up
// to ten seconds. It ends with [ErrGap] if servers no longer have a transaction, or the account
// was deleted in between; with [ErrCursor] if after is not in its history. Then begin with the
// zero TxID or the account's Last, knowing that something is missed.
//
// However long ago after is, no more than a batch of transactions is held, and
// 40 bytes for each batch that is to come: the history is read twice, once
// backwards to find its parts, once part by part.
func (w *Watcher) Watch(ctx context.Context, addr *address.Address, after TxID, handle func(Update) error) error {
	watch := &watch{Watcher: w, addr: addr, cursor: after, handle: handle}
	failures := 0
	for {
		err := watch.turn(ctx)
		var own ended
		switch {
		case errors.As(err, &own):
			return own.error
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrGap), errors.Is(err, ErrCursor):
			return err
		case err != nil:
			failures++
			w.report(err)
			watch.rest(ctx, watch.backoff(min(failures, 8)))
		default:
			if failures > 0 {
				w.report(nil)
			}
			failures = 0
			watch.wait(ctx)
		}
	}
}

// backoff spreads the watchers of a program by their accounts and not by
// chance, so that what they do can be played again.
func (w *watch) backoff(failures int) time.Duration {
	d := backoffOf(failures)
	return d - d/2*time.Duration(w.addr.Data()[31])/255
}

// rest waits so long or, where the chain is away, for its return and a moment:
// not all watchers come back at once.
func (w *watch) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-OutageOf(w.Chain).Back:
		pause(ctx, time.Second*time.Duration(w.addr.Data()[31])/255)
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (w *Watcher) report(err error) {
	if w.Trouble != nil {
		w.Trouble(err)
	}
}

// ended is handle's own error.
type ended struct{ error }

// watch is the following of one account.
type watch struct {
	*Watcher
	addr   *address.Address
	cursor TxID
	handle func(Update) error
	told   bool // handle has been called
	at     Block
}

// turn reads the account once and delivers what is new. After an error it may
// be called again and goes on where it was.
func (w *watch) turn(ctx context.Context) error {
	account, err := w.Chain.Account(ctx, w.addr)
	if err != nil {
		return err
	}
	w.at = account.At
	if account.Last.LT < w.cursor.LT && account.Last.LT > 0 {
		// Another server may still be behind what an earlier run has seen.
		return fmt.Errorf("ton: watch %s: its newest transaction is %d, and %d was seen before", w.addr, account.Last.LT, w.cursor.LT)
	}
	if account.Last == w.cursor && w.told {
		return nil
	}
	parts, oldest, err := w.parts(ctx, account.Last)
	if err != nil {
		return err
	}
	for i := len(parts) - 1; i >= 0; i-- {
		if err := w.deliver(ctx, Update{Account: account, Transactions: oldest, Next: parts[i], More: i > 0}); err != nil {
			return err
		}
		oldest = nil
	}
	return nil
}

// parts divides the history since the cursor: each part ends with the
// transaction given, the newest part first. It returns what is in the oldest part too.
func (w *watch) parts(ctx context.Context, newest TxID) (parts []TxID, oldest []*Transaction, err error) {
	parts = []TxID{newest}
	for at := newest; ; {
		list, err := w.Chain.Transactions(ctx, w.addr, at, w.cursor, w.batch()+1)
		if err == nil && len(list) <= w.batch() {
			return parts, list, nil
		}
		if err != nil && (!errors.Is(err, ErrGap) || len(list) <= w.batch()) {
			return nil, nil, err // there is no more to be had
		}
		at = list[0].TxID
		parts = append(parts, at)
	}
}

func (w *watch) batch() int {
	if w.Batch <= 0 {
		return 256
	}
	return w.Batch
}

// deliver hands on one part, and reads it if need be.
func (w *watch) deliver(ctx context.Context, u Update) (err error) {
	if u.Transactions == nil && u.Next != w.cursor {
		if u.Transactions, err = w.Chain.Transactions(ctx, w.addr, u.Next, w.cursor, w.batch()); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.handle(u); err != nil {
		return ended{err}
	}
	w.cursor, w.told = u.Next, true
	return nil
}

// wait returns when the account may have changed.
func (w *watch) wait(ctx context.Context) {
	if w.Every > 0 {
		pause(ctx, w.Every)
	}
	idle := time.NewTimer(cmp.Or(w.Idle, 30*time.Second))
	defer idle.Stop()
	select {
	case <-w.Chain.Changed(w.at):
	case <-OutageOf(w.Chain).Gone: // which is found out at once, and told
	case <-idle.C:
	case <-ctx.Done():
	}
}
