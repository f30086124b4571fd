package ledger

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"
)

// Config of a ledger.
type Config struct {
	// Store keeps the records; Close of the ledger closes it. Nil keeps nothing: such a ledger
	// forgets everything when the process ends, and because peers remember, its proxy must then take a new key.
	Store Store
	// Key signs the records. Required with a store.
	Key ed25519.PrivateKey
	// Every is the time between two notes in the mode without a chain; 0 is one second.
	Every time.Duration
	// Limit bounds the accounts of each side that nothing durable is known of; 0 is 100,000.
	Limit int
	// CompactAfter is how many bytes the log may grow beyond the newest snapshot before Run
	// compacts it; 0 is 64 MiB, or the snapshot's own size if that is more.
	CompactAfter int64
	// Now dates events. Nil means time.Now.
	Now func() time.Time
}

// Ledger is the accounts of one proxy. Its methods are safe for concurrent use.
type Ledger struct {
	cfg     Config
	session Hash

	compacting sync.Mutex // one compaction at a time; taken before all others
	admin      sync.Mutex // one generation, note or observation at a time; taken before mu

	mu    sync.Mutex // guards all below; never held while signing or storing
	state *state
	chain chain
	sign  func(Promise) ([]byte, error)
	begun bool // Begin was called
	shown bool // the chain has shown a note of this session
	holds map[*Hold]struct{}
	sent  map[sentKey]sent     // orders that were submitted
	short map[sentKey]struct{} // orders that the proxy's contract holds too little for
	why   error                // no work is taken; never goes back to nil
	lied  bool                 // why is a rollback: nothing is signed

	queue   []*booking // to be written
	writing bool
	storing time.Time // since when the store has been asked to keep something; zero while it is not
	grown   int64     // bytes of the log since the newest snapshot
	carried int64     // bytes of the newest snapshot
}

// New loads the ledger of the store. An error that is [ErrDamaged] means
// that something in it was altered or lost.
func New(cfg Config) (*Ledger, error) {
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	if cfg.Limit <= 0 {
		cfg.Limit = 100_000
	}
	if cfg.CompactAfter <= 0 {
		cfg.CompactAfter = 64 << 20
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &Ledger{cfg: cfg, holds: map[*Hold]struct{}{}, sent: map[sentKey]sent{}, short: map[sentKey]struct{}{}, state: newState()}
	rand.Read(l.session[:])
	if cfg.Store == nil {
		return l, nil
	}
	if len(cfg.Key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("ledger: Key has %d bytes, want %d", len(cfg.Key), ed25519.PrivateKeySize)
	}
	r, err := replay(cfg.Store, 0, cfg.Key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	l.state, l.chain, l.grown, l.carried = r.state, r.chain, r.grown, r.carried
	return l, nil
}

// replayed is what the records of a store add up to.
type replayed struct {
	state          *state
	chain          chain
	grown, carried int64 // bytes of log and snapshot
}

// replay adds up the records to an event, 0 for all.
func replay(s Store, upto uint64, key ed25519.PublicKey) (*replayed, error) {
	r := &replayed{state: newState(), chain: chain{key: key}}
	damaged := func(err error) error { return fmt.Errorf("%w: %w", ErrDamaged, err) }
	err := s.Load(upto, func(rec Record) error {
		o, err := openRecord(rec.Data)
		if err == nil {
			err = r.chain.follow(o)
		}
		if err == nil && (rec.Last != o.last() || rec.First != o.first) {
			err = fmt.Errorf("the record of events %d to %d is stored as %d to %d", o.first, o.last(), rec.First, rec.Last)
		}
		if err != nil {
			return damaged(err)
		}
		if o.kind == snapshotRecord {
			r.state.seq = o.first
			r.carried += int64(len(rec.Data))
		} else {
			r.grown += int64(len(rec.Data))
		}
		for i := range o.events {
			if err := r.state.apply(&o.events[i]); err != nil {
				return damaged(err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := r.chain.end(); err != nil {
		return nil, damaged(err)
	}
	return r, nil
}

// Begin continues the newest accounts, or starts new ones under later terms.
// Those before become a list to be closed, which survives restarts; see [Ledger.Due].
func (l *Ledger) Begin(t Terms) error {
	l.admin.Lock()
	defer l.admin.Unlock()
	if t.Price < 0 || t.Fee < 0 || t.Fee > t.Price {
		return fmt.Errorf("ledger: a price of %d and a fee of %d nanoTON, want 0 ≤ fee ≤ price", t.Price, t.Fee)
	}
	if len(t.Contract) > maxName || len(t.Memo) > maxText || t.Credit.Paid < 0 || t.Credit.Stake < 0 {
		return fmt.Errorf("ledger: terms with a contract of %d and a memo of %d bytes and a credit of %+v are out of range", len(t.Contract), len(t.Memo), t.Credit)
	}
	l.mu.Lock()
	switch g := l.state.current(); {
	case g != nil && t.Params < g.Params:
		l.mu.Unlock()
		return fmt.Errorf("%w: params_version %d, the newest accounts have %d", ErrTerms, t.Params, g.Params)
	case g != nil && g.is(&t):
		defer l.mu.Unlock()
		if g.Price != t.Price || g.Fee != t.Fee || g.chainless() != (t.Credit != Deposit{}) {
			return fmt.Errorf("%w: params_version %d has price %d and fee %d nanoTON, the accounts of the same version %d and %d",
				ErrTerms, t.Params, t.Price, t.Fee, g.Price, g.Fee)
		}
		l.sign, l.begun = t.Sign, true
		return nil
	}
	e := Event{Kind: Began, Generation: 1, Params: t.Params, Contract: t.Contract, Price: t.Price, Fee: t.Fee,
		Paid: t.Credit.Paid, Staked: t.Credit.Stake, Memo: t.Memo}
	if g := l.state.current(); g != nil {
		e.Generation = g.Number + 1
	}
	return l.write(&booking{event: e, done: func(err error) {
		if err != nil {
			return
		}
		l.sign, l.begun = t.Sign, true
		for h := range l.holds {
			if !h.booking {
				l.end(h)
			}
		}
	}})
}

// Generations lists what accounts there are, the current ones last; those before are closing.
func (l *Ledger) Generations() []Generation {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Generation, 0, len(l.state.generations))
	for _, g := range l.state.generations {
		list = append(list, g.Generation)
	}
	return list
}

// Health is nil while work is taken; else it says why not, and what to do.
func (l *Ledger) Health() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.healthLocked()
}

func (l *Ledger) healthLocked() error {
	switch {
	case l.why != nil:
		return l.why
	case !l.begun:
		return errors.New("ledger: no terms yet")
	case !l.storing.IsZero() && time.Since(l.storing) > slowStore:
		return errSlow
	case l.opening():
		return ErrOpening
	}
	return nil
}

// opening says whether the chain has yet to show that this ledger is the
// newest. Of one that forgets there are no copies. mu is held, terms are there.
func (l *Ledger) opening() bool {
	return !l.shown && !l.state.current().chainless() && l.cfg.Store != nil
}

// slowStore is how long a write may take before no more work is taken that
// would have to wait behind it.
const slowStore = 10 * time.Second

var errSlow = errors.New("ledger: the store does not answer: look at its disk, or its server")

// refuse takes no more work for the reason. mu is held. The first rollback is
// kept, since it says most.
func (l *Ledger) refuse(why error) {
	var rollback *RollbackError
	if isRollback := errors.As(why, &rollback); l.why == nil || isRollback && !l.lied {
		l.why, l.lied = why, isRollback
	}
}

// Run keeps the log short and, in the mode without a chain, commits what was
// booked, until ctx ends and once more then. A store that fails ends the
// taking of work and not Run.
func (l *Ledger) Run(ctx context.Context) error {
	tick := time.NewTicker(l.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.Commit()
			return nil
		case <-tick.C:
			l.Commit()
			if l.long() {
				l.Compact()
			}
		}
	}
}

// long says whether the log is due for compaction.
func (l *Ledger) long() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why == nil && l.grown > max(l.cfg.CompactAfter, l.carried)
}

// Compact replaces the log by its sum, as it stands now. It reads the store
// beside whatever goes on, in memory of its own, so bookings do not wait.
func (l *Ledger) Compact() error {
	if l.cfg.Store == nil {
		return nil
	}
	l.compacting.Lock()
	defer l.compacting.Unlock()
	l.mu.Lock()
	upto, before := l.state.seq, l.grown
	l.mu.Unlock()
	if upto == 0 {
		return nil
	}
	r, err := replay(l.cfg.Store, upto, l.chain.key)
	if err != nil {
		return err
	}
	var size int64
	if err := l.cfg.Store.Compact(upto, l.sealSnapshot(r, &size)); err != nil {
		return fmt.Errorf("ledger: compact: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grown, l.carried = l.grown-before, size
	return nil
}

// sealSnapshot writes a state as records, and adds up their size.
func (l *Ledger) sealSnapshot(r *replayed, size *int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		previous, batch, more := r.chain.head, make([]Event, 0, maxBatch), true
		flush := func() {
			rec, hash, err := seal(snapshotRecord, l.cfg.Key, previous, r.state.seq, batch)
			previous, batch = hash, batch[:0]
			*size += int64(len(rec.Data))
			more = yield(rec, err) && err == nil
		}
		r.state.snapshot(func(e Event) bool {
			if batch = append(batch, e); len(batch) == maxBatch || e.Kind == CarriedEnd {
				flush()
			}
			return more
		})
	}
}

// Close ends the ledger and closes its store.
func (l *Ledger) Close() error {
	l.mu.Lock()
	l.refuse(fmt.Errorf("%w: it is closed", ErrStore))
	l.mu.Unlock()
	if l.cfg.Store == nil {
		return nil
	}
	return l.cfg.Store.Close()
}
