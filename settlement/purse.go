package settlement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/xssnick/tonutils-go/address"

	"github.com/opencocoon/cocoon/contract"
	"github.com/opencocoon/cocoon/ledger"
	"github.com/opencocoon/cocoon/ton"
	"github.com/opencocoon/cocoon/wallet"
)

// PurseConfig is what a client pays from. Dir, Owner, Chain and Registry are required.
type PurseConfig struct {
	// Dir keeps everything that must survive: the node wallet's key and queue,
	// the secret, what was counted and what was paid. Keep a copy of wallet.key.
	Dir string
	// Owner is the wallet of the person behind the client, who can take
	// everything out of the node wallet.
	Owner    *address.Address
	Chain    ton.Chain
	Registry contract.Registry
	// Secret proves to proxies who the client is. Empty means one that is made
	// and kept in Dir.
	Secret string
	// Limits bound what requests may cost.
	Limits ledger.Limits
	Log    *slog.Logger
}

// Purse is a client's money: its node wallet and the settlement of its
// accounts. Give the client role its [Purse.Address], Secret, Client (the
// Registrar) and Client.Tally, and Run it as long as the client runs.
type Purse struct {
	*Client
	Secret string
	wallet *wallet.Driver
}

// walletIdle is how often the node wallet is looked at when nothing waits: a
// person who has just paid it watches.
const walletIdle = 5 * time.Second

// OpenPurse opens everything in the directory, or makes it.
func OpenPurse(cfg PurseConfig) (p *Purse, err error) {
	p = &Purse{Secret: cfg.Secret}
	defer func() {
		if err == nil {
			return
		}
		err = fmt.Errorf("purse in %s: %w", cfg.Dir, err)
		if p.wallet != nil {
			err = errors.Join(err, p.wallet.Close())
		}
	}()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	key, err := wallet.NodeKey(filepath.Join(cfg.Dir, "wallet.key"))
	if err != nil {
		return nil, err
	}
	if p.Secret == "" {
		if p.Secret, err = Secret(filepath.Join(cfg.Dir, "secret")); err != nil {
			return nil, err
		}
	}
	p.wallet, err = wallet.Open(wallet.Config{Dir: filepath.Join(cfg.Dir, "wallet"), Key: key, Owner: cfg.Owner, Chain: cfg.Chain, Idle: walletIdle, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	p.Client, err = NewClient(ClientConfig{
		Chain: cfg.Chain, Wallet: p.wallet, Registry: cfg.Registry, Dir: filepath.Join(cfg.Dir, "settlement"), Secret: p.Secret, Limits: cfg.Limits, Log: cfg.Log,
	})
	return p, err
}

// Address is the node wallet's: money sent there pays for requests.
func (p *Purse) Address() *address.Address { return p.wallet.Address() }

// Run pays until ctx ends, and closes the purse.
func (p *Purse) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { _ = p.wallet.Run(ctx) }) // it ends with ctx only
	err := p.Client.Run(ctx)
	running.Wait()
	return errors.Join(err, p.Close())
}

// Close lets a purse go that does not run.
func (p *Purse) Close() error { return p.wallet.Close() }
