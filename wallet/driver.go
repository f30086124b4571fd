package wallet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"
	"github.com/xssnick/tonutils-go/tlb"
	"github.com/xssnick/tonutils-go/tvm/cell"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
)

// Config describes a node's wallet and its limits.
type Config struct {
	// Dir holds the journal. Nobody else may have it open.
	Dir string
	// Key gives the orders; whoever has it can spend everything above 2 TON.
	Key Key
	// Owner is the person's wallet that may block this one and empty it.
	Owner *address.Address
	// Code is the wallet's contract. Nil means ours.
	Code  *cell.Cell
	Chain ton.Chain
	// MaxOrder bounds what one order spends, and so one message. Zero means
	// 1000 TON, as in the network's own nodes.
	MaxOrder coin.Nano
	// MaxHour bounds the value of the messages accepted in any hour. Zero means
	// twice MaxOrder.
	MaxHour coin.Nano
	// Reserve stays in the wallet on top of the 2 TON that its contract insists
	// on. Zero means 0.1 TON.
	Reserve coin.Nano
	// MaxQueue is how many messages may wait. Zero means 1000.
	MaxQueue int
	// TTL is how long an order is valid, by the chain's clock. Zero means ten
	// minutes. An order that expires is signed anew.
	TTL time.Duration
	// Resend is when an order that has not been carried out is sent again. Zero
	// means fifteen seconds.
	Resend time.Duration
	// Idle is how often the wallet is looked at when nothing waits. Zero means
	// thirty seconds.
	Idle time.Duration
	// Now is this machine's clock. It dates the hour and resending; what
	// becomes of orders is judged by the chain's. Nil means time.Now.
	Now func() time.Time
	// Log receives what an operator should know. Nil discards.
	Log *slog.Logger

	fault func(point string) error // see journal
}

func (cfg *Config) fill() error {
	cfg.MaxOrder = or(cfg.MaxOrder, 1000*coin.TON)
	cfg.MaxHour = or(cfg.MaxHour, cfg.MaxOrder.Times(2))
	cfg.Reserve = or(cfg.Reserve, coin.TON/10)
	cfg.MaxQueue = or(cfg.MaxQueue, 1000)
	cfg.TTL = or(cfg.TTL, 10*time.Minute)
	cfg.Resend = or(cfg.Resend, 15*time.Second)
	cfg.Idle = or(cfg.Idle, 30*time.Second)
	if cfg.Code == nil {
		cfg.Code = contract.OurCodes().Wallet
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Dir == "":
		return errors.New("node wallet: no directory for its journal")
	case cfg.Key.IsZero():
		return errors.New("node wallet: no key")
	case cfg.Chain == nil:
		return errors.New("node wallet: no chain")
	case cfg.MaxOrder < 0 || cfg.MaxHour < 0 || cfg.Reserve < 0 || cfg.MaxQueue < 0 || cfg.Resend < 0 || cfg.Idle < 0:
		return errors.New("node wallet: a limit is negative")
	case cfg.TTL < time.Minute || cfg.TTL > 24*time.Hour:
		return fmt.Errorf("node wallet: orders valid for %v, want a minute to a day", cfg.TTL)
	}
	return nil
}

func or[T comparable](value, otherwise T) T {
	if value == *new(T) {
		return otherwise
	}
	return value
}

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
	journal, records, err := openJournal(cfg.Dir, cfg.fault)
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
	case <-timer.C:
	}
}

// note keeps an error for Status, and logs it when it is another than before.
func (d *Driver) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.stuck
	d.stuck = ""
	if err != nil {
		d.stuck = err.Error()
		d.last = lastError{d.stuck, d.cfg.Now()}
	}
	switch {
	case d.stuck == before:
	case err != nil:
		d.cfg.Log.Warn("node wallet: cannot go on", "wallet", d.address.String(), "why", d.stuck, "queue", len(d.state.queue))
	default:
		d.cfg.Log.Info("node wallet: goes on", "wallet", d.address.String())
	}
}
