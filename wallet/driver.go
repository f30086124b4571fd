package wallet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// Driver sends a node wallet's messages, each exactly once.
//
// At most one order is carried out for each of the wallet's seqnos, whoever
// signed it; that is the contract's promise, and all of this rests on it. So a
// message may be part of any number of orders for the same seqno, and of one
// for the next only after the wallet's transactions, which are proven, have
// shown that the order of this seqno was another. What neither journal nor
// chain tells is never guessed: the driver waits and says why.
//
// Safe for concurrent use.
type Driver struct {
	cfg     Config
	address *address.Address
	init    *tlb.StateInit
	wake    chan struct{}

	// mu guards the rest. It is held while the journal is written, and never
	// while the chain is asked.
	mu      sync.Mutex
	journal *journal
	state   *state
	account *ton.Account // as of the newest look, nil before the first
	blocked bool
	sent    sent // of the newest draft
	stuck   string
	told    string // what the log was told of it
	last    lastError
	foreign []Stranger
	running bool
}

type sent struct {
	hash  Hash
	times int
	at    time.Time
}

type lastError struct {
	text string
	at   time.Time
}

// Open reads the journal, or begins one. Nothing is sent before [Driver.Run].
func Open(cfg Config) (*Driver, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	addr, init, err := contract.NewWallet(cfg.Code, cfg.Owner, cfg.Key.Public())
	if err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, address: addr, init: init, wake: make(chan struct{}, 1), state: newState(addr.StringRaw())}
	journal, records, err := openJournal(cfg.Dir, cfg.Fault)
	if err != nil {
		return nil, err
	}
	d.journal = journal
	if err := d.replay(records); err != nil {
		journal.close()
		return nil, err
	}
	return d, nil
}

func (d *Driver) replay(records []record) error {
	if len(records) == 0 {
		return d.commit(&record{Open: &opening{Format: journalFormat, Wallet: d.state.wallet}})
	}
	if records[0].Open == nil {
		return fmt.Errorf("wallet journal %s: %w: it does not begin as one", d.journal.path(), ErrDamaged)
	}
	for i := range records {
		if err := d.state.apply(&records[i]); err != nil {
			return fmt.Errorf("wallet journal %s: line %d: %w", d.journal.path(), i+1, err)
		}
	}
	return nil
}

// Close releases the journal, after Run has returned. What is in the queue is
// sent after the next Open.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.journal.close()
}

// Address is the wallet's.
func (d *Driver) Address() *address.Address { return d.address.Copy() }

// commit makes a record durable and then true. Called with mu held, or before
// anybody else has the driver.
func (d *Driver) commit(r *record) error {
	if d.journal.broken || d.journal.long() {
		if err := d.journal.rewrite(d.state.records()); err != nil && d.journal.broken {
			return err
		}
	}
	if err := d.journal.append(r); err != nil {
		return err
	}
	return d.state.apply(r)
}

// Run drives the wallet until ctx ends, and then returns nil, with nothing
// running any more; an order that is under way is found again by the next Run,
// in this process or another.
func (d *Driver) Run(ctx context.Context) error {
	d.mu.Lock()
	again := d.running
	d.running = true
	d.mu.Unlock()
	if again {
		return errors.New("node wallet: Run twice at the same time")
	}
	defer func() { d.mu.Lock(); d.running = false; d.mu.Unlock() }()
	for ctx.Err() == nil {
		at, err := d.step(ctx)
		if ctx.Err() != nil {
			break
		}
		d.note(err)
		d.wait(ctx, at, err)
	}
	return nil
}

// retry is how long to wait after an error.
const retry = 3 * time.Second

// wait returns when there may be something to do.
func (d *Driver) wait(ctx context.Context, at ton.Block, err error) {
	d.mu.Lock()
	busy, pause := len(d.state.queue) > 0, d.cfg.Idle
	if busy {
		pause = d.cfg.Resend
	}
	d.mu.Unlock()
	var changed <-chan struct{}
	if err != nil {
		pause = min(pause, retry)
	} else if busy {
		changed = d.cfg.Chain.Changed(at)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-d.wake:
	case <-changed:
	case <-ton.OutageOf(d.cfg.Chain).Back:
	case <-timer.C:
	}
	select {
	case <-d.wake: // the coming look sees to it
	default:
	}
}

// note keeps an error for Status, and logs it when it is another than before.
func (d *Driver) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.told
	d.stuck, d.told = "", ton.Alike(err)
	if err != nil {
		d.stuck = err.Error()
		d.last = lastError{d.stuck, d.cfg.Now()}
	}
	switch {
	case d.told == before:
	case err != nil:
		d.cfg.Log.Warn("node wallet: cannot go on", "wallet", d.address.String(), "why", d.stuck, "queue", len(d.state.queue))
	default:
		d.cfg.Log.Info("node wallet: goes on", "wallet", d.address.String())
	}
}
