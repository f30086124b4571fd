package worker

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/tl"
)

// earnings is what one worker contract has been promised by its proxy, in
// adjusted tokens. Signed can be cashed; db survives the proxy's restart;
// most is what the proxy says it has counted. All three only grow: a proxy that
// takes any of them back is dropped. Source: wire.md §5.3, §5.6.
type earnings struct {
	book     Book // nil if nobody keeps it
	contract *address.Address
	proxy    *address.Address
	key      ed25519.PublicKey

	mu      sync.Mutex // guards all below
	signed  int64
	db      int64
	most    int64
	payment []byte // the newest signed promise, ready to be cashed
}

// Book keeps what a worker has earned across restarts, cashes it, and remembers
// what was set by hand. Accounts are named by their worker contracts. All
// methods must be quick and safe for concurrent use.
type Book interface {
	// Open is told of a proxy, its contract and key, before anything is earned.
	Open(root *contract.Root, proxy *address.Address, key ed25519.PublicKey) error
	// Known is what the proxy had said at last: see earnings.
	Known(own *address.Address) (signed, stored, most int64, payment []byte)
	// Promised takes what it says now. The payment is verified.
	Promised(own *address.Address, signed, stored, most int64, payment []byte)
	// Worked counts an answer, in the adjusted tokens that were reported.
	Worked(own *address.Address, model string, tokens int64)
	// Behind says why a proxy should get no more work, nil if it may.
	Behind(own *address.Address) error
	// Remembered is the price and pause that were set by hand, if they were
	// while this price was configured. Remember must be durable when it returns.
	Remembered(configured int32) (coefficient int32, paused bool)
	Remember(configured, coefficient int32, paused bool) error
}

// balance is a moment of earnings.
type balance struct{ signed, db, most int64 }

func (e *earnings) balance() balance {
	e.mu.Lock()
	defer e.mu.Unlock()
	return balance{e.signed, e.db, e.most}
}

// take books what a proxy says. Messages about one contract may come on several
// connections and overtake each other, so each is compared with what was known
// when the proxy can have said it, since; what is kept is the highest.
func (e *earnings) take(since balance, p tl.ProxySignedPaymentClass, db, most int64) (balance, error) {
	got := balance{db: db, most: most}
	var err error
	if got.signed, err = e.pay(p); err != nil {
		return since, err
	}
	if err := got.check(since); err != nil {
		return since, err
	}
	e.mu.Lock()
	e.db, e.most = max(e.db, db), max(e.most, most)
	e.mu.Unlock()
	e.report()
	return got, nil
}

// report tells the book what is known now.
func (e *earnings) report() {
	if e.book == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock() // in the order in which it was learned
	e.book.Promised(e.contract, e.signed, e.db, e.most, e.payment)
}

// behind says why the proxy should get no more work.
func (e *earnings) behind() error {
	if e.book == nil {
		return nil
	}
	return e.book.Behind(e.contract)
}

func (b balance) check(since balance) error {
	switch {
	case b.signed < since.signed:
		return fmt.Errorf("signed payment is for %d tokens, had one for %d before", b.signed, since.signed)
	case b.db < since.db:
		return fmt.Errorf("proxy has stored %d tokens, had stored %d before", b.db, since.db)
	case b.most < since.most:
		return fmt.Errorf("proxy has counted %d tokens, had counted %d before", b.most, since.most)
	}
	return nil
}

// or is the higher of both in each counter.
func (b balance) or(c balance) balance {
	return balance{max(b.signed, c.signed), max(b.db, c.db), max(b.most, c.most)}
}

var errNoPayment = errors.New("signed payment is missing, want one, if need be over zero tokens")

// pay verifies a signed promise, keeps it if it is the highest, and returns
// its tokens.
func (e *earnings) pay(p tl.ProxySignedPaymentClass) (int64, error) {
	signed, ok := p.(*tl.ProxySignedPayment)
	if !ok {
		return 0, errNoPayment
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	// Proxies repeat the newest promise with every message; a signature is
	// dear and worth checking once.
	if e.payment != nil && bytes.Equal(signed.Data, e.payment) {
		return e.signed, nil
	}
	payment, err := contract.VerifyPayment(signed.Data, contract.Payout, e.contract, e.key)
	if err != nil {
		return 0, err
	}
	if payment.Tokens >= e.signed {
		e.signed, e.payment = payment.Tokens, bytes.Clone(signed.Data) // the message's buffer goes
	}
	return payment.Tokens, nil
}

// forget accepts that a proxy which restarted has lost what it had counted but
// not stored; the stored and the signed part it may not lose.
func (e *earnings) forget(most int64) (lost int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	lost = max(e.most-most, 0)
	e.most = min(e.most, max(most, 0))
	return lost
}

// earningsOf returns the account of a worker contract.
func (w *Worker) earningsOf(root *contract.Root, own, proxy *address.Address, key ed25519.PublicKey) (*earnings, error) {
	if w.cfg.Book != nil {
		if err := w.cfg.Book.Open(root, proxy, key); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	name := own.StringRaw()
	e := w.earned[name]
	if e == nil {
		e = &earnings{book: w.cfg.Book, contract: own, proxy: proxy, key: key}
		if e.book != nil {
			e.signed, e.db, e.most, e.payment = e.book.Known(own)
		}
		w.earned[name] = e
	}
	return e, nil
}
