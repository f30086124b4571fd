package ton

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tvm/cell"
)

const (
	// resendEvery is how long a message may be missing before it is sent again:
	// a network may forget what it was handed.
	resendEvery = 5 * time.Second
	// lookEvery is how often the account is read when no new block is heard of.
	lookEvery = time.Second
	// giveUp is how long reading may fail without pause.
	giveUp = time.Minute
	// An earlier call may have sent the message: the history is searched back
	// for glance before the first try, and for reach before a bad outcome is told.
	glance = time.Hour
	reach  = 24 * time.Hour
	// maxSearched bounds a search, in transactions.
	maxSearched = 4096
)

// ExpiredError is [ErrExpired] with the block that makes it certain.
type ExpiredError struct {
	Until time.Time
	At    Block
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("ton: %v: it was valid until %s, and no transaction came of it up to block %d of %s",
		ErrExpired, e.Until.UTC().Format(time.RFC3339), e.At.Seqno, e.At.Time.UTC().Format(time.RFC3339))
}

// Unwrap gives [ErrExpired].
func (e *ExpiredError) Unwrap() error { return ErrExpired }

// UnconfirmedError is [ErrUnconfirmed] with its reason.
type UnconfirmedError struct {
	Until time.Time
	// Sent says whether a server may have the message from this call.
	Sent bool
	// Last is why waiting ended.
	Last error
}

func (e *UnconfirmedError) Error() string {
	return fmt.Sprintf("ton: %v: it may be executed until %s (sent: %v): %v", ErrUnconfirmed, e.Until.UTC().Format(time.RFC3339), e.Sent, e.Last)
}

// Unwrap gives [ErrUnconfirmed] and the reason.
func (e *UnconfirmedError) Unwrap() []error { return []error{ErrUnconfirmed, e.Last} }

// SendAndConfirm sends an external message to an account and returns the
// transaction that came of it. Until is when the message expires, by the clock of the
// chain: the contract must refuse it from then on. The message is sent again as
// long as it is missing. To go on after a crash, call it again with the same
// message: a transaction that is there already is found, if it is no older than a
// day before until or before now, whichever is earlier.
//
// The outcomes, each a type of error:
//   - nil: the transaction is proven. It may have failed, see its ExitCode and ActionCode.
//   - [RefusedError]: the contract does not accept the message, by a run on its
//     proven state, and no server took it. Only a copy sent by an earlier call could still be executed, until
//     it expires.
//   - [ExpiredError]: for certain, it was not executed and never will be.
//   - [UnconfirmedError]: unknown, as ctx ended or the chain was out of reach
//     for a minute. Call again, or wait for the expiry.
func SendAndConfirm(ctx context.Context, chain Chain, account *address.Address, message *cell.Cell, until time.Time) (*Transaction, error) {
	m, err := parseExternal(message)
	if err != nil {
		return nil, err
	}
	if account == nil || !m.To.Equals(account) {
		return nil, &RefusedError{Reason: fmt.Sprintf("the message is to %s, not to %s", m.To, account)}
	}
	c := &confirmation{chain: chain, account: account, message: message, want: m, until: until}
	return c.run(ctx)
}

// confirmation is one message on its way.
type confirmation struct {
	chain   Chain
	account *address.Address
	message *cell.Cell
	want    *Message
	until   time.Time

	begun   bool
	seen    TxID // the newest transaction that was looked at
	sent    bool // a server may have it
	refusal *RefusedError
	resend  time.Time
	failing time.Time // since when reading fails; zero if it does not
}

func (c *confirmation) run(ctx context.Context) (*Transaction, error) {
	for {
		at, tx, err := c.look(ctx)
		if err == nil && tx == nil {
			c.failing = time.Time{}
			tx, err = c.over(ctx, at)
		}
		switch {
		case tx != nil:
			return tx, nil
		case settled(err):
			return nil, err
		case err != nil && !c.patient(ctx), ctx.Err() != nil:
			return nil, c.unknown(errors.Join(err, ctx.Err()))
		case err == nil && !time.Now().Before(c.resend):
			c.send(ctx)
		default:
			c.wait(ctx, at)
		}
	}
}

// settled says whether an error is the outcome, rather than trouble in finding it.
func settled(err error) bool {
	return errors.Is(err, ErrExpired) || errors.Is(err, ErrRefused) || errors.Is(err, ErrUnconfirmed)
}

func (c *confirmation) unknown(why error) error {
	return &UnconfirmedError{Until: c.until, Sent: c.sent, Last: why}
}

// patient says whether failed reading is worth another try.
func (c *confirmation) patient(ctx context.Context) bool {
	now := time.Now()
	if c.failing.IsZero() {
		c.failing = now
	}
	return ctx.Err() == nil && now.Sub(c.failing) < giveUp
}

// over says for certain that no transaction will come, if that is so. The
// account given is that after the newest look.
func (c *confirmation) over(ctx context.Context, at *Account) (*Transaction, error) {
	var outcome error
	switch {
	case at.Time.After(c.until):
		outcome = &ExpiredError{Until: c.until, At: at.At}
	case c.refusal == nil || c.sent:
		return nil, nil
	default:
		// A server's refusal is only its word: the proven state decides. It may
		// refuse because the message has been executed, so the last look comes after it.
		c.refusal = nil
		if _, outcome = Emulate(ctx, c.chain, c.message); !errors.Is(outcome, ErrRefused) {
			return nil, nil
		}
		var err error
		if at, err = c.chain.Account(ctx, c.account); err != nil {
			return nil, err
		}
	}
	tx, complete, err := search(ctx, c.chain, at, TxID{}, earlier(c.until, at.Time).Add(-reach), c.isIt)
	if tx != nil || err != nil {
		return tx, err
	}
	if !complete {
		return nil, c.unknown(fmt.Errorf("%w: the last day's could not all be searched", ErrGap))
	}
	return nil, outcome
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (c *confirmation) send(ctx context.Context) {
	c.resend = time.Now().Add(resendEvery)
	if c.refusal = nil; !errors.As(c.chain.Send(ctx, c.message), &c.refusal) {
		c.sent = true // or lost on the way: nobody knows
	}
}

// wait returns at the next block, or soon.
func (c *confirmation) wait(ctx context.Context, at *Account) {
	var changed <-chan struct{}
	if at != nil {
		changed = c.chain.Changed(at.At)
	}
	t := time.NewTimer(lookEvery)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
	}
}

// look reads the account and searches what is new in its history.
func (c *confirmation) look(ctx context.Context) (*Account, *Transaction, error) {
	at, err := c.chain.Account(ctx, c.account)
	if err != nil {
		return nil, nil, err
	}
	oldest := time.Time{}
	if !c.begun {
		oldest = earlier(c.until, at.Time).Add(-glance)
	}
	found, _, err := search(ctx, c.chain, at, c.seen, oldest, c.isIt)
	if err != nil {
		return nil, nil, err
	}
	c.begun, c.seen = true, at.Last
	return at, found, nil
}

func (c *confirmation) isIt(tx *Transaction) bool {
	return tx.In != nil && tx.In.From == nil && (tx.In.Hash == c.want.Hash || tx.In.normalized == c.want.normalized)
}

// search looks for a transaction from an account's newest one back to, not
// including, seen or those older than oldest. It says whether it came so far.
func search(ctx context.Context, chain Chain, account *Account, seen TxID, oldest time.Time, match func(*Transaction) bool) (*Transaction, bool, error) {
	at := account.Last
	for searched := 0; at.LT > seen.LT; searched += page - 2 {
		if searched >= maxSearched {
			return nil, false, nil
		}
		list, err := chain.Transactions(ctx, account.Address, at, seen, page-1)
		gap := errors.Is(err, ErrGap)
		if err != nil && !gap {
			return nil, false, err
		}
		for i := len(list) - 1; i >= 0; i-- {
			if match(list[i]) {
				return list[i], true, nil
			}
			if list[i].Time.Before(oldest) {
				return nil, true, nil
			}
		}
		if !gap {
			return nil, true, nil
		}
		if len(list) < 2 {
			return nil, false, nil // servers do not keep the rest
		}
		at = list[0].TxID // which the next page begins with, again
	}
	return nil, true, nil
}
