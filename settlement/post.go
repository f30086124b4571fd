package settlement

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// Message is what a node tells a contract.
type Message struct {
	// Purpose says what the message is for, the same after a crash: "charge",
	// the contract and the counter, for instance. A message that was accepted
	// under it is found again and not sent twice, unless it failed. Empty means
	// that nobody will ask again.
	Purpose string
	To      *address.Address
	// Value arrives; what the contract does not need comes back as change.
	Value coin.Nano
	// Init deploys the contract along the way. Such messages do not bounce.
	Init *tlb.StateInit
	// Body is what is said; nil only pays.
	Body contract.Body
	// Quiet messages bring no money for gas: the contract does not run, and
	// they are done when they have arrived.
	Quiet bool
}

// RefusedError means that a contract got the message and did nothing. What the
// message brought has come back, fees taken off.
type RefusedError struct {
	To *address.Address
	// Ran says whether the contract's code ran: without code, or money for gas, it does not.
	Ran bool
	// ExitCode is the code's, ActionCode that of the messages it wanted to send.
	ExitCode, ActionCode int32
	Tx                   ton.TxID
}

func (e *RefusedError) Error() string {
	switch {
	case !e.Ran:
		return fmt.Sprintf("contract %s did not run: it is not deployed, or got no money for gas", e.To)
	case e.ExitCode != 0 && e.ExitCode != 1:
		return fmt.Sprintf("contract %s refused the message with %d: %s", e.To, e.ExitCode, contract.Exit(e.ExitCode))
	}
	return fmt.Sprintf("contract %s failed in its actions with %d: %s", e.To, e.ActionCode, contract.Exit(e.ActionCode))
}

// LostError means that the message never left the wallet, and never will: post it again.
type LostError struct{ Why string }

func (e *LostError) Error() string { return "message did not leave the wallet: " + e.Why }

// UnknownError means that waiting ended before it was known what became of the
// message; it may still be carried out. Post it again under the same purpose to learn it.
type UnknownError struct{ Err error }

func (e *UnknownError) Error() string { return fmt.Sprintf("message is under way: %v", e.Err) }

// Unwrap is why waiting ended.
func (e *UnknownError) Unwrap() error { return e.Err }

// settled says that after this error of [Poster.Post] nothing comes of the
// message any more. After others, of the disk for instance, it may: then it must
// be posted again under its purpose, and no other in its place.
func settled(err error) bool {
	var refused *RefusedError
	var lost *LostError
	if errors.As(err, &refused) || errors.As(err, &lost) {
		return true
	}
	for _, refusal := range []error{wallet.ErrPoor, wallet.ErrLimit, wallet.ErrFull, wallet.ErrReused} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// Poster sends a node's messages to contracts, one at a time to each. It is
// safe for concurrent use.
type Poster struct {
	chain  ton.Chain
	wallet Wallet

	mu       sync.Mutex               // guards all below
	busy     map[string]chan struct{} // by destination; closed when it is free
	attempts map[string]int           // by purpose: those known to have failed
}

// NewPoster sends through a wallet, whose driver runs.
func NewPoster(chain ton.Chain, w Wallet) *Poster {
	return &Poster{chain: chain, wallet: w, busy: map[string]chan struct{}{}, attempts: map[string]int{}}
}

// Post sends the message and waits for the transaction that it causes at its
// destination. Errors are [RefusedError], [LostError], [UnknownError] when ctx
// ends first, and those of wallet.Driver.Enqueue and of the chain, after which
// nothing was sent.
//
// That the transaction succeeded says that the contract took the message. What
// it caused in turn elsewhere, and whether that came back, the contract's state tells.
func (p *Poster) Post(ctx context.Context, m Message) (*ton.Transaction, error) {
	leave, err := p.enter(ctx, m.To)
	if err != nil {
		return nil, err
	}
	defer leave()
	for {
		id := p.id(m.Purpose)
		h := p.wallet.Find(id)
		news := h == nil || !finished(h)
		if h == nil {
			if h, err = p.enqueue(ctx, m, id); err != nil {
				return nil, err
			}
		}
		tx, err := p.follow(ctx, m, h)
		if err == nil {
			return tx, nil
		}
		if unknown := (*UnknownError)(nil); errors.As(err, &unknown) {
			return nil, err
		}
		p.failed(m.Purpose)
		if news {
			return tx, err
		}
		// An earlier process knew that this attempt failed, and wanted another.
	}
}

func finished(h *wallet.Handle) bool {
	_, known := h.Outcome()
	return known
}

// enter waits until nothing else is under way to the destination. The error is
// the context's.
func (p *Poster) enter(ctx context.Context, to *address.Address) (leave func(), err error) {
	key := to.StringRaw()
	for {
		p.mu.Lock()
		busy := p.busy[key]
		if busy == nil {
			mine := make(chan struct{})
			p.busy[key] = mine
			p.mu.Unlock()
			return func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				delete(p.busy, key)
				close(mine)
			}, nil
		}
		p.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, fmt.Errorf("message to %s was not sent: another is under way: %w", to, ctx.Err())
		}
	}
}

// Busy says whether a message to the contract is under way.
func (p *Poster) Busy(to *address.Address) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy[to.StringRaw()] != nil
}

// Left says whether a message for the purpose has left the wallet or may yet
// do so, one of an earlier process too.
func (p *Poster) Left(purpose string) bool {
	p.mu.Lock()
	n := p.attempts[purpose]
	p.mu.Unlock()
	for ; ; n++ {
		h := p.wallet.Find(attempt(purpose, n))
		if h == nil {
			return false
		}
		if out, known := h.Outcome(); !known || out.Sent {
			return true
		}
	}
}

// id is the wallet's name for the present attempt; 0 lets the wallet choose.
func (p *Poster) id(purpose string) uint64 {
	if purpose == "" {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return attempt(purpose, p.attempts[purpose])
}

func attempt(purpose string, n int) uint64 {
	h := sha256.Sum256(fmt.Appendf(nil, "settlement\x00%s\x00%d", purpose, n))
	return max(1, binary.BigEndian.Uint64(h[:]))
}

func (p *Poster) failed(purpose string) {
	if purpose == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.attempts) >= maxAttempts { // the wallet still knows them
		clear(p.attempts)
	}
	p.attempts[purpose]++
}

// maxAttempts bounds how many failed purposes are remembered.
const maxAttempts = 10_000

// enqueue gives the message to the wallet, unless nobody would be there to get
// it: what bounces off an account that does not exist leaves no trace there.
func (p *Poster) enqueue(ctx context.Context, m Message, id uint64) (*wallet.Handle, error) {
	if m.Init == nil {
		account, err := p.chain.Account(ctx, m.To)
		if err != nil {
			return nil, err
		}
		if account.Status != ton.Active {
			return nil, &RefusedError{To: m.To}
		}
	}
	var body *cell.Cell
	if m.Body != nil {
		var err error
		if body, err = m.Body.Cell(); err != nil {
			return nil, err
		}
	}
	return p.wallet.Enqueue(ctx, wallet.Message{ID: id, To: m.To, Value: m.Value, Init: m.Init, Body: body})
}

func (p *Poster) follow(ctx context.Context, m Message, h *wallet.Handle) (*ton.Transaction, error) {
	out, err := h.Wait(ctx)
	switch {
	case err != nil:
		return nil, &UnknownError{err}
	case !out.Sent:
		return nil, &LostError{out.Why}
	}
	tx, err := p.arrival(ctx, m.To, out)
	if err != nil {
		return nil, &UnknownError{err}
	}
	if !m.Quiet && !done(tx) {
		return tx, &RefusedError{To: m.To, Ran: tx.Ran, ExitCode: tx.ExitCode, ActionCode: tx.ActionCode, Tx: tx.TxID}
	}
	return tx, nil
}

// done says whether the contract did what it was told.
func done(tx *ton.Transaction) bool {
	return tx.Ran && !tx.Aborted && (tx.ExitCode == 0 || tx.ExitCode == 1) && tx.ActionCode == 0
}

// readAgain is how long a chain that cannot be read, or without news, is left alone.
const readAgain = 2 * time.Second

// arrival is the transaction of the message that left the wallet. A message may
// take its time, but it does arrive: so the error is the context's.
func (p *Poster) arrival(ctx context.Context, to *address.Address, out wallet.Outcome) (*ton.Transaction, error) {
	for {
		at, tx, err := p.look(ctx, to, out)
		switch {
		case tx != nil:
			return tx, nil
		case ctx.Err() != nil:
			return nil, errors.Join(ctx.Err(), err)
		}
		t := time.NewTimer(readAgain)
		var changed <-chan struct{}
		if err == nil {
			changed = p.chain.Changed(at)
		}
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// pageSize is how many transactions are looked through at a time.
const pageSize = 16

// look searches the destination's history from now back to when the message left.
func (p *Poster) look(ctx context.Context, to *address.Address, out wallet.Outcome) (ton.Block, *ton.Transaction, error) {
	account, err := p.chain.Account(ctx, to)
	if err != nil {
		return ton.Block{}, nil, err
	}
	for at := account.Last; at.LT > out.OutLT; {
		list, err := p.chain.Transactions(ctx, to, at, ton.TxID{}, pageSize)
		if err != nil && !errors.Is(err, ton.ErrGap) {
			return account.At, nil, err
		}
		for i := len(list) - 1; i >= 0; i-- {
			if in := list[i].In; in != nil && in.Hash == [32]byte(out.Out) {
				return account.At, list[i], nil
			}
		}
		if err == nil || len(list) < 2 {
			break
		}
		at = list[0].TxID // which the next page begins with, again
	}
	return account.At, nil, nil
}
