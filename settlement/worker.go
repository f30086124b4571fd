package settlement

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"

	"github.com/opencocoon/cocoon/atomicfile"
)

// WorkerConfig is what keeps and cashes a worker's earnings. Dir is required.
// Without a chain, which then also means without Wallet and Registry, they are only kept.
type WorkerConfig struct {
	Chain    ton.Chain
	Wallet   Wallet
	Registry contract.Registry
	Owner    *address.Address // who is paid
	Dir      string
	// MaxUnpaid is what a proxy may leave unsigned of what was earned with it
	// before it gets no more work. Zero means 20 TON.
	MaxUnpaid coin.Nano
	// PayoutFrom is the amount from which on a promise is cashed while there is
	// work, PayoutIdle that after IdleAfter without any, PayoutClosing that of an old generation.
	// Zero means 10, 0.2 and 0.01 TON, and ten minutes.
	PayoutFrom, PayoutIdle, PayoutClosing coin.Nano
	IdleAfter                             time.Duration
	// Every is how often accounts are looked over. Zero means five seconds.
	Every time.Duration
	Now   func() time.Time
	Log   *slog.Logger
}

func (cfg *WorkerConfig) fill() error {
	cfg.MaxUnpaid = cmp.Or(cfg.MaxUnpaid, 20*coin.TON)
	cfg.PayoutFrom = cmp.Or(cfg.PayoutFrom, 10*coin.TON)
	cfg.PayoutIdle = cmp.Or(cfg.PayoutIdle, coin.TON/5)
	cfg.PayoutClosing = cmp.Or(cfg.PayoutClosing, coin.TON/100)
	cfg.IdleAfter = cmp.Or(cfg.IdleAfter, 10*time.Minute)
	cfg.Every = cmp.Or(cfg.Every, 5*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dir == "" || cfg.Owner == nil {
		return errors.New("settlement of a worker: directory or owner is missing")
	}
	if cfg.Chain != nil && (cfg.Wallet == nil || cfg.Registry == nil) {
		return errors.New("settlement of a worker: wallet or registry is missing")
	}
	return nil
}

// Worker keeps what a worker has earned, per account, model and day, and cashes
// it: it is the worker role's Book. It also remembers the price and pause that
// were set by hand.
//
// Safe for concurrent use.
type Worker struct {
	cfg    WorkerConfig
	poster *Poster    // nil without a chain
	saving sync.Mutex // one writer at a time; taken before mu
	write  func(path string, content []byte, mode fs.FileMode) error

	mu       sync.Mutex // guards all below
	start    func(*workerAccount)
	accounts map[string]*workerAccount
	hand     *byOperator
	earned   earnings
	dirty    bool
}

// byOperator is what was set by hand. It yields to another configuration.
type byOperator struct {
	Configured  int32 `json:"configured_coefficient"`
	Coefficient int32 `json:"coefficient"`
	Paused      bool  `json:"paused"`
}

type workerRecord struct {
	Accounts map[string]*workerAccountRecord `json:"accounts"`
	ByHand   *byOperator                     `json:"by_hand,omitempty"`
	Earned   earnings                        `json:"earned"`
}

const workerFile = "worker.json"

// NewWorker reads what is in the directory, or begins.
func NewWorker(cfg WorkerConfig) (*Worker, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	w := &Worker{cfg: cfg, write: atomicfile.Replace, accounts: map[string]*workerAccount{}}
	if cfg.Chain != nil {
		w.poster = NewPoster(cfg.Chain, cfg.Wallet)
	}
	record := workerRecord{Earned: earnings{}}
	if err := w.load(&record); err != nil {
		return nil, err
	}
	for name, r := range record.Accounts {
		a, err := w.newAccount(r)
		if err != nil {
			return nil, fmt.Errorf("%s: account %s: %w", w.path(), name, err)
		}
		w.accounts[name] = a
	}
	w.hand, w.earned = record.ByHand, record.Earned
	return w, nil
}

// load reads the record. With a chain a damaged one is put aside, once: proxies
// sign again what they owe, and what was paid the contracts know. Without, or if
// it happens again, somebody must look at it.
func (w *Worker) load(record *workerRecord) error {
	err := loadRecord(w.path(), record)
	if !errors.Is(err, errDamaged) || w.cfg.Chain == nil {
		return err
	}
	aside := w.path() + ".damaged"
	if _, there := os.Stat(aside); !errors.Is(there, fs.ErrNotExist) {
		return fmt.Errorf("%w; an earlier one lies in %s", err, aside)
	}
	w.cfg.Log.Warn("settlement: the record is damaged and was put aside; the own count, the report of earnings and what was set by hand begin anew", "file", w.path(), "now", aside)
	if err := os.Rename(w.path(), aside); err != nil {
		return err
	}
	return atomicfile.SyncDir(w.cfg.Dir)
}

func (w *Worker) path() string { return filepath.Join(w.cfg.Dir, workerFile) }

// save makes what has changed durable. The disk is not waited for under mu,
// which requests need.
func (w *Worker) save() error {
	w.saving.Lock()
	defer w.saving.Unlock()
	text, err := w.record()
	if err != nil || text == nil {
		return err
	}
	if err := w.write(w.path(), sumLine(text), 0o600); err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.dirty = true
		return err
	}
	return nil
}

// record is what is to be written, nil if nothing has changed.
func (w *Worker) record() ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.dirty {
		return nil, nil
	}
	record := workerRecord{Accounts: make(map[string]*workerAccountRecord, len(w.accounts)), ByHand: w.hand, Earned: w.earned}
	for name, a := range w.accounts {
		record.Accounts[name] = &a.r
	}
	text, err := json.Marshal(&record)
	w.dirty = err != nil
	return text, err
}

// saveEvery bounds what a crash can take from the count; what is signed the proxy has too.
const saveEvery = 2 * time.Second

// Run keeps and cashes until ctx ends.
func (w *Worker) Run(ctx context.Context) error {
	var running sync.WaitGroup
	if w.cfg.Chain != nil {
		w.mu.Lock()
		w.start = func(a *workerAccount) { running.Go(func() { a.run(ctx) }) }
		for _, a := range w.accounts {
			w.start(a)
		}
		w.mu.Unlock()
	}
	for pause(ctx, saveEvery) == nil {
		if err := w.save(); err != nil {
			w.cfg.Log.Error("settlement: the record cannot be written", "error", err)
		}
	}
	w.mu.Lock()
	w.start = func(*workerAccount) {}
	w.mu.Unlock()
	running.Wait()
	return w.save()
}
