package settlement

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencocoon/cocoon/coin"
	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
)

// What lies in the directory of a client or a worker.
const (
	recordFile    = "settlement.json"
	statementFile = "statement.jsonl"
	evidenceFile  = "evidence.jsonl"
)

// ClientConfig is what settles a client's accounts. Chain, Wallet, Registry,
// Dir and Secret are required.
type ClientConfig struct {
	Chain    ton.Chain
	Wallet   Wallet
	Registry contract.Registry
	// Dir keeps what was counted, promised and done. Nobody else may use it.
	Dir string
	// Secret proves to proxies who the client is; see [Secret].
	Secret string
	// Limits bound what requests may cost.
	Limits ledger.Limits
	// MaxTopUpHour and MaxTopUpDay bound what is paid in by itself, to all
	// proxies together. Zero means five and twenty stakes.
	MaxTopUpHour, MaxTopUpDay coin.Nano
	// CloseAfter is how long a proxy may stay away before its account is
	// closed and the money taken home. Zero means a week, negative never.
	CloseAfter time.Duration
	// Every is how often accounts are looked over. Zero means five seconds.
	Every time.Duration
	Now   func() time.Time
	Log   *slog.Logger
}

func (cfg *ClientConfig) fill() error {
	cfg.CloseAfter = cmp.Or(cfg.CloseAfter, 7*24*time.Hour)
	cfg.Every = cmp.Or(cfg.Every, 5*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Chain == nil || cfg.Wallet == nil || cfg.Registry == nil || cfg.Dir == "" {
		return errors.New("settlement of a client: chain, wallet, registry or directory is missing")
	}
	if err := CheckSecret(cfg.Secret); err != nil {
		return fmt.Errorf("settlement of a client: %w", err)
	}
	return nil
}

// Client settles a client's accounts: one contract for each proxy and
// generation. It is the client role's Registrar.
//
// It opens accounts, keeps head-room for requests within a budget, submits the
// charges that follow the client's own count, and brings the money home when a
// generation, or the proxy, ends. A proxy that has signed more than was used gets no more
// money; what it signed is kept in the directory's evidence file.
//
// Safe for concurrent use.
type Client struct {
	cfg    ClientConfig
	poster *Poster
	tally  *ledger.Tally
	hash   [32]byte
	start  func(*clientAccount) // runs an account; nil before Run

	mu        sync.Mutex // guards all below; the tally's lock is taken before it, never after
	accounts  map[string]*clientAccount
	statement *statement
	evidence  *lines
	proven    map[string]bool // evidence that is kept, by payment
	topUps    []topUp
}

// clientRecord is what must be remembered.
type clientRecord struct {
	Tally    ledger.TallyState         `json:"tally"`
	Accounts map[string]*accountRecord `json:"accounts"`
	TopUps   []topUp                   `json:"top_ups,omitempty"`
}

type topUp struct {
	At     int64     `json:"at"` // Unix seconds
	Amount coin.Nano `json:"amount"`
}

// NewClient reads what is in the directory, or begins.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, poster: NewPoster(cfg.Chain, cfg.Wallet), hash: SecretHash(cfg.Secret), accounts: map[string]*clientAccount{}, proven: map[string]bool{}}
	record := clientRecord{}
	err := loadRecord(c.path(recordFile), &record)
	if err != nil {
		return nil, err
	}
	for name, r := range record.Accounts {
		if c.accounts[name], err = c.newAccount(r); err != nil {
			return nil, fmt.Errorf("%s: account %s: %w", c.path(recordFile), name, err)
		}
	}
	c.topUps = record.TopUps
	c.tally = ledger.NewTally(ledger.TallyConfig{Limits: cfg.Limits, Now: cfg.Now, Save: func(s ledger.TallyState) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.saveWith(s)
	}}, record.Tally)
	if c.statement, err = openStatement(c.path(statementFile)); err != nil {
		return nil, err
	}
	c.evidence, err = openLines(c.path(evidenceFile), func(line []byte) error {
		var e evidence
		err := json.Unmarshal(line, &e)
		c.proven[e.id()] = true
		return err
	})
	if err != nil {
		c.statement.close()
		return nil, err
	}
	return c, nil
}

func (c *Client) path(name string) string { return filepath.Join(c.cfg.Dir, name) }

// Tally is the client's own count, for the client role.
func (c *Client) Tally() *ledger.Tally { return c.tally }

// save makes the record durable. Called without mu.
func (c *Client) save() error { return c.tally.Sync() }

// saveWith is called with mu held, and the tally's lock.
func (c *Client) saveWith(s ledger.TallyState) error {
	record := clientRecord{Tally: s, Accounts: make(map[string]*accountRecord, len(c.accounts)), TopUps: c.topUps}
	for name, a := range c.accounts {
		r := a.r
		record.Accounts[name] = &r
	}
	return saveRecord(c.path(recordFile), &record)
}

// Run settles until ctx ends, and returns when nothing of it runs any more.
func (c *Client) Run(ctx context.Context) error {
	var running sync.WaitGroup
	c.mu.Lock()
	c.start = func(a *clientAccount) { running.Go(func() { a.run(ctx) }) }
	for _, a := range c.accounts {
		c.start(a)
	}
	c.mu.Unlock()
	running.Go(func() { c.watchWallet(ctx) })
	for pause(ctx, time.Minute) == nil {
		if err := c.save(); err != nil {
			c.cfg.Log.Error("settlement: the record cannot be written", "error", err)
		}
	}
	c.mu.Lock()
	c.start = func(*clientAccount) {}
	c.mu.Unlock()
	running.Wait()
	state := c.tally.State()
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.saveWith(state), c.statement.close(), c.evidence.file.Close())
}

// Accounts lists the accounts, by contract.
func (c *Client) list() []*clientAccount {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := slices.Sorted(maps.Keys(c.accounts))
	list := make([]*clientAccount, len(names))
	for i, name := range names {
		list[i] = c.accounts[name]
	}
	return list
}
