package settlement

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
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
	cfg.MaxUnpaid = or(cfg.MaxUnpaid, 20*coin.TON)
	cfg.PayoutFrom = or(cfg.PayoutFrom, 10*coin.TON)
	cfg.PayoutIdle = or(cfg.PayoutIdle, coin.TON/5)
	cfg.PayoutClosing = or(cfg.PayoutClosing, coin.TON/100)
	cfg.IdleAfter = or(cfg.IdleAfter, 10*time.Minute)
	cfg.Every = or(cfg.Every, 5*time.Second)
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
	poster *Poster // nil without a chain

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
	w := &Worker{cfg: cfg, accounts: map[string]*workerAccount{}}
	if cfg.Chain != nil {
		w.poster = NewPoster(cfg.Chain, cfg.Wallet)
	}
	record := workerRecord{Earned: earnings{}}
	if err := loadRecord(w.path(), &record); err != nil {
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

func (w *Worker) path() string { return filepath.Join(w.cfg.Dir, workerFile) }

// save makes what has changed durable.
func (w *Worker) save() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.dirty {
		return nil
	}
	record := workerRecord{Accounts: make(map[string]*workerAccountRecord, len(w.accounts)), ByHand: w.hand, Earned: w.earned}
	for name, a := range w.accounts {
		record.Accounts[name] = &a.r
	}
	err := saveRecord(w.path(), &record)
	w.dirty = err != nil
	return err
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

// Open makes the account with a proxy known.
func (w *Worker) Open(root *contract.Root, proxy *address.Address, key ed25519.PublicKey) error {
	d, err := root.DeployWorker(w.cfg.Owner, proxy, key)
	if err != nil {
		return err
	}
	init, err := initCell(d.Init)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.accounts[d.Address.StringRaw()]
	if a == nil {
		if len(w.accounts) >= maxAccounts {
			w.forget()
		}
		if a, err = w.newAccount(&workerAccountRecord{Init: init, Fresh: true}); err != nil {
			return err
		}
		w.accounts[a.name], w.dirty = a, true
		if w.start != nil {
			w.start(a)
		}
	}
	a.opened = true
	a.kick()
	return nil
}

// forget drops accounts that owe nothing. Called with mu held.
func (w *Worker) forget() {
	maps.DeleteFunc(w.accounts, func(_ string, a *workerAccount) bool {
		return !a.opened && (a.over || a.r.Signed.Tokens <= a.r.Paid && a.terms.WorkerFeePerToken.Times(a.r.Worked-a.r.Signed.Tokens) < w.cfg.PayoutClosing)
	})
}

func (w *Worker) accountOf(own *address.Address) *workerAccount { return w.accounts[own.StringRaw()] }

// Known is what was promised and counted before, to compare a proxy with.
func (w *Worker) Known(own *address.Address) (signed, stored, most int64, payment []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.accountOf(own); a != nil {
		return a.r.Signed.Tokens, a.r.Stored, a.r.Most, a.r.Signed.Payment
	}
	return 0, 0, 0, nil
}

// Promised takes what a proxy says it owes. The payment is verified.
func (w *Worker) Promised(own *address.Address, signed, stored, most int64, payment []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.accountOf(own)
	if a == nil {
		return
	}
	r := &a.r
	if r.Fresh { // what was earned before this record is the proxy's word
		r.Worked, r.Fresh, w.dirty = max(r.Worked, most), false, true
	}
	if signed > r.Signed.Tokens {
		r.Signed, w.dirty = signedTotal{signed, payment}, true
		a.kick()
	}
	if r.Stored != stored || r.Most != most {
		r.Stored, r.Most, w.dirty = stored, most, true
	}
}

// Worked counts an answer: what was reported to the proxy, in adjusted tokens.
func (w *Worker) Worked(own *address.Address, model string, tokens int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.accountOf(own)
	if a == nil || tokens <= 0 {
		return
	}
	now := w.cfg.Now()
	a.r.Worked, a.r.Fresh, a.worked, w.dirty = a.r.Worked+tokens, false, now, true
	w.earned.add(now, model, tokens, a.terms.WorkerFeePerToken.Times(tokens))
}

// unpaidShare is the part of all work, one in so many, that a proxy may leave
// unpaid for good: work that failed on its way, or that a client could not pay.
const unpaidShare = 20

// Behind says why a proxy should get no more work; nil if it may.
func (w *Worker) Behind(own *address.Address) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.accountOf(own)
	if a == nil {
		return nil
	}
	open := a.terms.WorkerFeePerToken.Times(max(0, a.r.Worked-a.r.Worked/unpaidShare-a.r.Signed.Tokens))
	if open <= w.cfg.MaxUnpaid {
		return nil
	}
	return fmt.Errorf("%s were earned that the proxy has not signed for, %s is the limit", open.Text(), w.cfg.MaxUnpaid.Text())
}

// Remembered is what was set by hand under this configured price.
func (w *Worker) Remembered(configured int32) (coefficient int32, paused bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.hand == nil:
		return configured, false
	case w.hand.Configured != configured:
		return configured, w.hand.Paused
	}
	return w.hand.Coefficient, w.hand.Paused
}

// Remember keeps what was set by hand, and is durable when it returns.
func (w *Worker) Remember(configured, coefficient int32, paused bool) error {
	w.mu.Lock()
	w.hand, w.dirty = &byOperator{configured, coefficient, paused}, true
	w.mu.Unlock()
	return w.save()
}

// Funding is what the worker's node wallet needs.
func (w *Worker) Funding() *Funding {
	return &Funding{Address: w.cfg.Wallet.Address(), Want: contract.WalletKeeps + workerFloat,
		For: "2 TON that stay in it and 1.5 TON for messages, most of which comes back. The worker's earnings go to its owner."}
}

// WorkerStatus is a worker's money.
type WorkerStatus struct {
	Wallet   *wallet.Status        `json:"wallet,omitempty"`
	Accounts []WorkerAccountStatus `json:"accounts"`
	Earnings EarningsReport        `json:"earnings"`
}

// WorkerAccountStatus is one worker contract. Tokens are adjusted.
type WorkerAccountStatus struct {
	Proxy         string         `json:"proxy_sc_address"`
	Key           string         `json:"proxy_public_key"`
	Contract      string         `json:"sc_address"`
	Deployed      bool           `json:"deployed"`
	State         contract.State `json:"state"`
	ParamsVersion uint32         `json:"params_version"`
	Worked        int64          `json:"own_count"`
	Signed        int64          `json:"earned_tokens_committed_to_blockchain"`
	Paid          int64          `json:"cached_out_tokens"`
	Fee           coin.Nano      `json:"worker_fee_per_token"`
	Busy          string         `json:"running_request,omitempty"`
	Trouble       string         `json:"trouble,omitempty"`
}

// Status is what is known at this moment; it asks nobody.
func (w *Worker) Status() WorkerStatus {
	s := WorkerStatus{Accounts: []WorkerAccountStatus{}}
	if w.cfg.Wallet != nil {
		status := w.cfg.Wallet.Status()
		s.Wallet = &status
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(w.accounts)) {
		a := w.accounts[name]
		x := WorkerAccountStatus{
			Proxy: a.proxy.String(), Key: hex.EncodeToString(a.key), Contract: a.address.String(), ParamsVersion: a.terms.ParamsVersion,
			Worked: a.r.Worked, Signed: a.r.Signed.Tokens, Paid: a.r.Paid, Fee: a.terms.WorkerFeePerToken, Busy: a.busy, Trouble: a.trouble,
		}
		if a.state != nil {
			x.Deployed, x.State = true, a.state.State
		}
		s.Accounts = append(s.Accounts, x)
	}
	s.Earnings = w.report()
	return s
}

// Payout cashes the newest promise of a proxy by hand.
func (w *Worker) Payout(proxy string) (string, error) {
	at, err := contract.ParseAddress(proxy)
	if err != nil {
		return "", err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var found *workerAccount
	for _, a := range w.accounts {
		if a.proxy.StringRaw() == at.StringRaw() && (found == nil || a.terms.ParamsVersion > found.terms.ParamsVersion) {
			found = a
		}
	}
	switch {
	case found == nil:
		return "", ErrNoAccount
	case found.busy != "":
		return "", fmt.Errorf("request already running: %s", found.busy)
	case found.r.Signed.Tokens <= found.r.Paid:
		return "", errors.New("nothing to pay out: the proxy has signed no more than was paid")
	}
	found.asked = true
	found.kick()
	return "request sent", nil
}
